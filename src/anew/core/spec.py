"""The immutable description of one network to train, its id, and the recipe that describes a whole
lineage.

A `Recipe` is what a user writes: in TOML, as command-line flags, or as keywords in Python. It
becomes one `Spec` per network once its data is known. A spec's id is a hash of everything that
decides the weights: same spec, same id, on any machine. Where the data lies is not part of it; what
the data holds is.

Nothing here imports torch, so that the command line answers at once.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from anew.core import fields
from anew.core.errors import AnewError
from anew.core.fields import Options, option

HUGE = 10_000_000


@dataclass(frozen=True)
class ModelSpec:
    """An architecture by name, with its options; `anew models` lists the names."""

    name: str = option(
        "small_cnn",
        "architecture; `anew models` lists them, timm:NAME and package.module:callable work too",
    )
    options: Options = option(
        (), "the architecture's own options, as key=value (repeat for several)"
    )


@dataclass(frozen=True)
class DataSpec:
    """Which examples, how they are split and augmented, and the seed of their split, order and
    views.
    """

    source: str = option(
        "digits",
        "where examples come from; `anew data` lists the kinds, such as parquet:PATH or "
        "folder:PATH",
        identity=False,
    )
    root: str = option(
        "data",
        "folder of torchvision's data sets (FashionMNIST/, cifar-10-batches-py/, ...)",
        identity=False,
    )
    download: bool = option(
        False, "fetch a missing torchvision data set into the root", identity=False
    )
    fingerprint: str = option("", "refuse examples whose content has another hash than this")
    seed: int = option(
        0, "seed of the split, the order of examples and their views", low=0, high=2**63 - 1
    )
    limit: int | None = option(
        None,
        "use at most this many training examples (validation included), by class",
        low=2,
        high=HUGE * 1000,
        flag="--limit",
    )
    validation: float = option(
        0.1, "share of the training examples held out for validation", low=0.0, high=0.9
    )
    test: float = option(
        0.2,
        "share cut off as the test set, where the source has none of its own",
        low=0.01,
        high=0.9,
    )
    views: str | None = option(
        None,
        "augmentation; the source's own where not given",
        choices=("none", "flip", "crop", "crop+flip"),
        flag="--views",
    )
    padding: int = option(4, "how many pixels a crop moves at most", low=0, high=256)
    padding_mode: str = option(
        "zero", "what a crop shows beyond the edge", choices=("zero", "reflect")
    )
    mean: tuple[float, ...] | None = option(
        None,
        "the mean of each channel, for a given teacher's preprocessing; measured where not given",
    )
    std: tuple[float, ...] | None = option(
        None,
        "the standard deviation of each channel; measured where not given",
        low=0.0,
        above=True,
    )

    def is_same(self, other: DataSpec) -> bool:
        """Say whether these are the same examples, split and augmented alike, wherever they lie."""
        mine, theirs = (replace(one, source="", root="", download=False) for one in (self, other))
        return mine == theirs

    def at(self, source: str | None = None, root: str | Path | None = None) -> DataSpec:
        """Return the same data where they lie now; what is not given stays."""
        return replace(self, source=source or self.source, root=str(root) if root else self.root)


@dataclass(frozen=True)
class TrainingSpec:
    """How a network is trained: the optimizer, its schedule, and what else decides the weights."""

    epochs: int = option(
        20,
        "passes over the training examples; 0 is an untrained network",
        low=0,
        high=HUGE,
        flag="--epochs",
    )
    batch_size: int = option(128, "examples in a step", low=1, high=HUGE, flag="--batch-size")
    optimizer: str = option(
        "sgd", "SGD with Nesterov momentum, or AdamW", choices=("sgd", "adamw"), flag="--optimizer"
    )
    learning_rate: float = option(
        0.1, "the schedule's highest rate", low=0.0, above=True, high=1e3, flag="--learning-rate"
    )
    momentum: float = option(
        0.9, "SGD's momentum; AdamW's first beta", low=0.0, high=0.9999, flag="--momentum"
    )
    nesterov: bool = option(True, "Nesterov's form of momentum", flag="--nesterov")
    weight_decay: float = option(5e-4, "weight decay", low=0.0, high=10.0, flag="--weight-decay")
    decay_all: bool = option(True, "decay norms and biases as well", flag="--decay-all")
    schedule: str = option(
        "step",
        "learning rate over the steps; step is the paper's",
        choices=("step", "cosine", "one-cycle", "constant"),
        flag="--schedule",
    )
    milestones: tuple[float, ...] = option(
        (0.3, 0.6, 0.8),
        "where the step schedule drops the rate, as shares of all steps",
        low=0.0,
        high=1.0,
        flag="--milestones",
    )
    drop: float = option(
        0.2,
        "what the step schedule multiplies the rate by",
        low=0.0,
        above=True,
        high=1.0,
        flag="--drop",
    )
    warmup: float = option(
        0.0,
        "share of the steps over which the rate first rises (one-cycle: 0.3)",
        low=0.0,
        high=0.9,
        flag="--warmup",
    )
    clip_norm: float | None = option(
        None, "clip the gradient's norm to this", low=0.0, above=True, high=1e9, flag="--clip-norm"
    )
    precision: str = option(
        "float32",
        "float32, or bfloat16 autocast",
        choices=("float32", "bfloat16"),
        flag="--precision",
    )
    memory_format: str = option(
        "channels_last",
        "layout of pictures in memory",
        choices=("channels_last", "contiguous"),
        flag="--memory-format",
    )
    compile: bool = option(False, "compile the network (torch.compile)", flag="--compile")
    best_epoch: bool = option(
        False,
        "keep the weights of the epoch that the validation split picks, and report it beside the "
        "last",
        flag="--best-epoch",
    )


@dataclass(frozen=True)
class ObjectiveSpec:
    """What a student minimises; options that are not given take the objective's own defaults."""

    name: str = option("ban", "label, kd, ban, ban+l, cwtm, teacher-smoothing or dkpp")
    smoothing: float | None = option(None, "label: label smoothing")
    temperature: float | None = option(None, "kd: temperature")
    alpha: float | None = option(None, "kd: weight of the teacher")
    label_weight: float | None = option(None, "ban+l: weight of the labels")
    top_k: int | None = option(
        None,
        "learn from the teacher's k largest probabilities, the rest spread evenly; for very many "
        "classes",
        low=1,
        high=HUGE,
    )
    shuffled: bool = option(
        False,
        "a control: for each example learn from the teacher's answers to another one of the same "
        "predicted class",
        later=True,
    )

    @property
    def options(self) -> dict[str, float | None]:
        """The options by name, None where not given."""
        of_all = ("name", "top_k", "shuffled")
        return {name: value for name, value in fields.write(self).items() if name not in of_all}


@dataclass(frozen=True)
class Recipe:
    """A lineage as a user writes it: one architecture, trained from labels, then anew generation by
    generation.
    """

    model: ModelSpec = option(ModelSpec, "the architecture of every generation")
    data: DataSpec = option(DataSpec, "the examples")
    objective: ObjectiveSpec = option(ObjectiveSpec, "what the students minimise")
    training: TrainingSpec = option(TrainingSpec, "how every network is trained")
    generations: int = option(
        3, "students trained one after another, after generation 0", low=0, high=1000
    )
    seed: int = option(0, "seed of the weights and of dropout", low=0, high=2**63 - 1)
    siblings: tuple[str, ...] = option(
        (),
        "further objectives: each makes a student beside every student, on one pass of data and "
        "teacher",
    )
    sibling_seeds: tuple[int, ...] = option(
        (),
        "further seeds: every network is trained with each of them too, side by side",
        low=0,
        high=2**63 - 1,
    )
    label_smoothing: float = option(0.0, "label smoothing of generation 0", low=0.0, high=1.0)
    frozen: tuple[str, ...] = option(
        (),
        "parts of the model that every student copies from its teacher and never trains, such as "
        "first,classifier",
    )
    teacher_model: ModelSpec | None = option(
        None, "architecture of generation 0, where it is another one"
    )
    teacher: str | None = option(
        None,
        "a trained network to start from in place of generation 0: FAMILY:ID, or a safetensors "
        "state dict",
    )


@dataclass(frozen=True)
class Spec:
    """One network to train: everything that decides its weights, and its teachers, whose outputs
    are averaged.

    `weights` is the hash of a checkpoint that was given and not trained here; training and
    objective say nothing then. `frozen` are modules of the model that are copied from the first
    teacher and stay as they are.
    """

    model: ModelSpec
    data: DataSpec
    training: TrainingSpec
    objective: ObjectiveSpec
    seed: int = 0
    teachers: tuple[Spec, ...] = ()
    weights: str = ""
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frozen and not self.teachers:
            raise AnewError(
                f"frozen: {', '.join(self.frozen)} are parts of a teacher, and there is none; drop "
                f"them"
            )

    @cached_property
    def id(self) -> str:
        """The content hash: 16 hexadecimal digits of SHA-256 over the canonical JSON of
        `identity`.
        """
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def identity(self) -> dict[str, Any]:
        """What the id is made of: all fields that decide the weights, with the teachers by their
        ids.
        """
        parts = (
            ("model", self.model),
            ("data", self.data),
            ("training", self.training),
            ("objective", self.objective),
        )
        return {
            **{name: fields.write(part, identity=True) for name, part in parts},
            "seed": self.seed,
            "teachers": [teacher.id for teacher in self.teachers],
            "weights": self.weights,
            # Where nothing is frozen nothing is said, so that ids are those from before this could
            # be said.
            **({"frozen": list(self.frozen)} if self.frozen else {}),
        }

    @property
    def generation(self) -> int:
        """The distance from the labels: 0 without a teacher, else one more than the
        teachers' own.
        """
        return 1 + max(teacher.generation for teacher in self.teachers) if self.teachers else 0

    @property
    def is_untrained(self) -> bool:
        """Whether the network keeps its first weights, because its description asks for no
        epoch.
        """
        return self.training.epochs == 0 and not self.weights

    @property
    def origin(self) -> str:
        """What made the weights, as people are told of it: an objective, or that they were given or
        never trained.
        """
        if self.weights:
            return "given"
        if self.is_untrained:
            return "untrained"
        return (
            f"{self.objective.name}, shuffled teacher"
            if self.objective.shuffled
            else self.objective.name
        )

    @property
    def lineage(self) -> tuple[Spec, ...]:
        """The chain of first teachers down to this network, oldest first."""
        return (*(self.teachers[0].lineage if self.teachers else ()), self)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as it is saved: with where the data was found, and the teachers by id."""
        return {**self.identity, "data": fields.write(self.data)}

    @classmethod
    def from_json(cls, written: Mapping[str, Any], teachers: tuple[Spec, ...]) -> Spec:
        """Read back what `to_json` wrote, with the teachers already found."""
        return cls(
            model=fields.read(ModelSpec, written["model"], prefix=("model",)),
            data=fields.read(DataSpec, written["data"], prefix=("data",)),
            training=fields.read(TrainingSpec, written["training"], prefix=("training",)),
            objective=fields.read(ObjectiveSpec, written["objective"], prefix=("objective",)),
            seed=written["seed"],
            teachers=teachers,
            weights=written["weights"],
            frozen=tuple(written.get("frozen", ())),
        )


def lineage_of(recipe: Recipe, data: DataSpec, teacher: Spec | None = None) -> tuple[Spec, ...]:
    """Return the specs that a recipe asks for, oldest first, with the data as it was found.

    `teacher` is a network that was given: it stands in place of generation 0. Objective options
    must be filled in.
    """
    if recipe.objective.name == "label" and recipe.generations > 0:
        raise AnewError(
            "objective 'label' has no teacher, so it makes no generations; choose another "
            "--objective, or set "
            "--generations 0 (independent networks: other values of --seed)"
        )
    if recipe.training.epochs == 0 and recipe.generations > 0:
        raise AnewError(
            "training.epochs must be a whole number >= 1 where students learn, got 0; set "
            "--epochs, or --generations 0 "
            "for an untrained network alone"
        )
    if teacher is not None and recipe.teacher_model is not None and not teacher.weights:
        raise AnewError(
            "teacher_model: the given teacher brings its own architecture; drop --teacher-model"
        )
    if recipe.frozen and not recipe.generations:
        raise AnewError(
            "frozen: students copy these parts, and there are no students; drop --frozen"
        )
    first = teacher or Spec(
        model=recipe.teacher_model or recipe.model,
        data=data,
        training=recipe.training,
        objective=ObjectiveSpec("label", smoothing=recipe.label_smoothing),
        seed=recipe.seed,
    )
    specs = [*first.lineage]
    for _ in range(recipe.generations):
        specs.append(
            Spec(
                recipe.model,
                data,
                recipe.training,
                recipe.objective,
                recipe.seed,
                teachers=(specs[-1],),
                frozen=tuple(sorted(set(recipe.frozen))),
            )
        )
    return tuple(specs)


def siblings_of(recipe: Recipe, spec: Spec) -> tuple[Spec, ...]:
    """Return a network of the recipe's lineage and, after it, those that are trained beside it.

    A student's siblings have the recipe's further objectives and seeds; generation 0's only the
    seeds. The lineage goes on from the network itself.
    """
    if spec.weights:
        return (spec,)
    # What is asked of the teacher is asked once for all.
    asked = ObjectiveSpec(top_k=recipe.objective.top_k, shuffled=recipe.objective.shuffled)
    further = [replace(asked, name=name) for name in recipe.siblings] if spec.teachers else []
    together = [
        replace(spec, objective=objective, seed=seed)
        for objective in (spec.objective, *further)
        for seed in (spec.seed, *recipe.sibling_seeds)
    ]
    for number, one in enumerate(together):
        if one in together[:number]:
            raise AnewError(
                f"siblings: objective '{one.objective.name}' with seed {one.seed} is there twice; "
                f"name each objective "
                "and each seed once"
            )
    return tuple(together)


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's content; raises `AnewError` if it is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnewError(
            f"recipe {path}: cannot be read ({error.strerror}); check --recipe"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AnewError(f"recipe {path}: is not TOML ({error}); mend that line") from error


def override(recipe: Recipe, given: Mapping[str, Any], where: str = "") -> Recipe:
    """Return the recipe with the given values in place of its own, checked.

    `where` names the values' origin, such as a recipe's file, in messages.
    """
    checked = fields.read(Recipe, given, where)
    changes: dict[str, Any] = {}
    for name, value in given.items():
        inside, old = getattr(checked, name), getattr(recipe, name)
        if isinstance(value, Mapping) and old is not None:
            changes[name] = replace(old, **{key: getattr(inside, key) for key in value})
        else:
            changes[name] = inside
    return replace(recipe, **changes)
