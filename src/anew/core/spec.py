"""The immutable description of one network to train, and its id.

A spec's id is a hash of everything that decides the weights: same spec, same id, on any machine.
Where the data lies is not part of it; what the data holds is. Nothing here imports torch, so that
the command line answers at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from anew.core import fields
from anew.core.errors import AnewError
from anew.core.fields import Parts, Scalar, Table, option
from anew.core.ranges import Range

HUGE = 10_000_000
PHOTOGRAPH = 64
"""Pictures of at least so many pixels a side are taken for photographs, not for thumbnails."""
SEEDS = Range(0, 2**63 - 1)
FROM_TEACHER = "teacher"
"""The start of a network that begins with the weights of its first teacher."""

VIEWS = Parts(
    (
        "fresh",
        "crop",
        "resized-crop",
        "flip",
        "trivial",
        "rand",
        "colour",
        "erase",
        "mixup",
        "cutmix",
    )
)
"""The parts of views, in the order in which they are applied."""

FORMAT_1 = {
    "model": ("name", "options"),
    "data": (
        "fingerprint",
        "seed",
        "limit",
        "validation",
        "test",
        "views",
        "padding",
        "padding_mode",
        "mean",
        "std",
    ),
    "objective": ("name", "smoothing", "temperature", "alpha", "label_weight", "top_k"),
    "training": (
        "epochs",
        "batch_size",
        "optimizer",
        "learning_rate",
        "momentum",
        "nesterov",
        "weight_decay",
        "decay_all",
        "schedule",
        "milestones",
        "drop",
        "warmup",
        "clip_norm",
        "precision",
        "memory_format",
        "compile",
        "best_epoch",
    ),
}
"""What an identity writes whatever its value is: the fields that were there when the first ids were
given. Never add a name: an identity leaves out every other field that is at its default, so a field
that is added leaves all ids that were given before.
"""


SOFT_LABELS = "soft-labels"
"""The name in the place of a model for soft labels that were given, a row for each example."""

VALIDATED = ("plateau", "stall")
"""The schedules whose rate is a function of the validation perplexities of the epochs so far."""

PLACE = {"source", "root", "download"}
"""Where data lie: no part of an identity, and saved beside it."""
COLUMNS = ("image_column", "label_column")
"""How data are found where they lie: no part of an identity, and saved where they are given."""


TEXTS = ("text", "ptb")
"""The kinds of sources that are texts."""


def is_text(source: str) -> bool:
    """Return whether a source is a text: whose settings have other defaults, and that is read."""
    return source.partition(":")[0] in TEXTS


@dataclass(frozen=True)
class ModelSpec:
    """An architecture by name, with its options; `anew models` lists the names."""

    name: str = option(
        "small_cnn",
        "architecture; `anew models` lists them, timm:NAME and package.module:callable work too",
    )
    options: Table = option((), "the architecture's own options, as key=value (repeat for several)")

    ALWAYS_WRITTEN: ClassVar = FORMAT_1["model"]


@dataclass(frozen=True)
class DataSpec:
    """Which examples, how they are split and augmented; the seed of split, order and views."""

    source: str = option(
        "digits",
        "data set, such as cifar10, folder:PATH or parquet:PATH; `anew data` lists the kinds",
        identity=False,
    )
    root: str = option(
        "data",
        "folder of torchvision's data sets (FashionMNIST/, cifar-10-batches-py/, ...)",
        identity=False,
    )
    download: bool = option(
        False, "download a missing torchvision data set to the root", identity=False
    )
    fingerprint: str = option("", "refuse examples whose content has another hash")
    seed: int = option(0, "seed of the split, the order of examples and their views", allowed=SEEDS)
    limit: int | None = option(
        None,
        "use at most this many training examples (validation included), by class",
        allowed=Range(2, HUGE * 1000),
        flag="--limit",
    )
    validation: float = option(
        0.1, "share of the training examples held out for validation", allowed=Range(0.0, 0.9)
    )
    test: float = option(
        0.2,
        "share split off as the test set, if the source has none",
        allowed=Range(0.01, 0.9),
    )
    views: str | None = option(
        None,
        "augmentation, as parts joined by +, such as resized-crop+flip; default: the usual one "
        "of the source; fresh uses a torch data set's own random transforms",
        allowed=VIEWS,
        flag="--views",
    )
    padding: int = option(4, "largest shift of a crop, in pixels", allowed=Range(0, 256))
    padding_mode: str = option(
        "zero", "fill beyond the picture's edge", allowed=("zero", "reflect")
    )
    crop_area: float = option(
        0.08,
        "resized-crop: the smallest crop, as a share of the area",
        allowed=Range(0.0, 1.0, above=True),
    )
    rand_operations: int = option(2, "rand: operations for each picture", allowed=Range(1, 14))
    rand_magnitude: int = option(9, "rand: strength of the operations", allowed=Range(0, 30))
    colour: float = option(
        0.4,
        "colour: largest change of brightness, contrast and saturation, as a share",
        allowed=Range(0.0, 1.0, above=True),
    )
    erase: float = option(
        0.25,
        "erase: the share of pictures that lose a rectangle",
        allowed=Range(0.0, 1.0, above=True),
    )
    mix_alpha: float = option(
        1.0,
        "mixup, cutmix: shares are drawn from Beta(alpha, alpha); below 1 one of the two "
        "pictures dominates",
        allowed=Range(0.0, 100.0, above=True),
    )
    mean: tuple[float, ...] | None = option(
        None,
        "mean of each channel, to match a given teacher's preprocessing, in the pictures' "
        "units; for bytes also in 0..1, as in torchvision; default: measured",
    )
    std: tuple[float, ...] | None = option(
        None,
        "standard deviation of each channel, in the units of the mean; default: measured",
        allowed=Range(0.0, above=True),
    )
    units: str = option(
        "auto",
        "units of the pictures: bytes (0..255), unit (0..1) or own; auto detects them",
        allowed=("auto", "bytes", "unit", "own"),
    )
    balance: str = option(
        "none",
        "for uneven classes: sampling shows all classes equally often, weights gives rare "
        "classes a larger weight in the label term",
        allowed=("none", "sampling", "weights"),
    )

    folds: int | None = option(
        None,
        "split training and validation examples into this many folds; one fold is the "
        "validation split (`anew suspects` trains a network for each)",
        allowed=Range(2, 1000),
    )
    fold: int = option(0, "the fold that is held out, from 0", allowed=Range(0, 999))

    size: tuple[int, ...] | None = option(
        None,
        "height and width of the networks' inputs, such as 224 or 128,96: pictures are resized "
        "and centre-cropped; default: no resizing",
        allowed=Range(1, 16384),
    )
    resize: int | None = option(
        None,
        "length of the shorter side before the centre crop, such as 256 for size 224; default: "
        "that of the size, or an eighth more for resized crops",
        allowed=Range(1, 16384),
    )
    skip_damaged: bool = option(
        False, "skip pictures that cannot be read; they are counted and named"
    )

    steps: int = option(
        35,
        "text: tokens in a window, through which gradients flow back",
        allowed=Range(1, 1_000_000),
    )
    tokens: str = option(
        "words",
        "text: tokens are words between spaces, or characters; a line's end is a token too",
        allowed=("words", "characters"),
    )
    vocabulary: int | None = option(
        None,
        "text: size of the vocabulary, with <eos> and <unk>; rarer words become <unk>. Default: "
        "all words of the training text; if one file is split, those that occur at least twice "
        "in it",
        allowed=Range(3, HUGE),
    )
    unlabelled: str = option(
        "",
        "further examples without labels, on which students learn the teacher's outputs: "
        "folder:PATH, npz:PATH, or the training examples of any source",
        flag="--unlabelled",
        identity=False,
    )
    unlabelled_limit: int | None = option(
        None, "use at most this many unlabelled examples", allowed=Range(1, HUGE * 1000)
    )
    unlabelled_fingerprint: str = option(
        "", "refuse unlabelled examples whose content has another hash"
    )
    skip_test_examples: bool = option(
        False, "skip unlabelled examples that occur in the test set, instead of an error"
    )

    image_column: str = option(
        "",
        "Parquet files and tables of labels: the column with the pictures or their file names; "
        "tar files: the suffix of the pictures; default: found by its name",
        identity=False,
    )
    label_column: str = option(
        "",
        "Parquet files and tables of labels: the column with the classes; tar files: the suffix "
        "of the labels, or a field of the JSON; default: found by its name",
        identity=False,
    )

    ALWAYS_WRITTEN: ClassVar = FORMAT_1["data"]

    @property
    def labelled_only(self) -> DataSpec:
        """The same data without unlabelled examples, as generation 0 learns from them."""
        return replace(
            self,
            unlabelled="",
            unlabelled_limit=None,
            unlabelled_fingerprint="",
            skip_test_examples=False,
        )

    def complete(self) -> DataSpec:
        """Return the description with what a size entails filled in.

        Photographs are shown in resized crops and flipped where no views are asked for, and for
        resized crops they are kept by an eighth larger than they are shown. Raises `AnewError` for
        sizes that cannot be.
        """
        shown = self.shown_size
        if shown is None or self.kept_size is None:
            return self
        views = self.views
        if views is None and min(shown) >= PHOTOGRAPH:
            views = "resized-crop+flip"
        resize = self.resize
        if resize is None and "resized-crop" in (views or ""):
            resize = round(min(shown) * 8 / 7)
        return replace(self, size=shown, views=views, resize=resize)

    @property
    def shown_size(self) -> tuple[int, int] | None:
        """Height and width of the pictures that networks see, None if they stay as they are.

        Raises `AnewError` if more than two numbers are given.
        """
        if self.size is None:
            return None
        if len(self.size) not in (1, 2):
            raise AnewError(
                f"data.size must be one number, or height and width, got {len(self.size)} numbers; "
                "set --data.size"
            )
        return self.size[0], self.size[-1]

    @property
    def cut_size(self) -> tuple[int, int] | None:
        """Height and width of what is shown, None if that is all that is kept."""
        return self.shown_size if self.shown_size != self.kept_size else None

    @property
    def kept_size(self) -> tuple[int, int] | None:
        """Height and width of the pictures that are kept, from which views are made.

        Raises `AnewError` if they are smaller than what is shown.
        """
        shown = self.shown_size
        if shown is None:
            if self.resize is not None:
                raise AnewError("data.resize needs a size to crop to; set --data.size")
            return None
        side = self.resize or min(shown)
        if side < min(shown):
            raise AnewError(
                f"data.resize must be >= {min(shown)}, the shorter side of data.size, got {side}; "
                "set --data.resize"
            )
        return round(shown[0] * side / min(shown)), round(shown[1] * side / min(shown))

    def is_same(self, other: DataSpec) -> bool:
        """Return whether these are the same examples, split and augmented alike."""
        return fields.write(self, identity=True) == fields.write(other, identity=True)

    def at(self, source: str | None = None, root: str | Path | None = None) -> DataSpec:
        """Return the same data at another place; an argument that is not given changes nothing.

        Nothing is fetched: a description that a family holds must not choose where files appear.
        """
        place = str(root) if root else self.root
        return replace(self, source=source or self.source, root=place, download=False)


@dataclass(frozen=True)
class TrainingSpec:
    """How a network is trained: the optimizer, its schedule, and what else decides the weights."""

    epochs: int = option(
        20,
        "passes over the training examples; 0 is an untrained network",
        allowed=Range(0, HUGE),
        flag="--epochs",
    )
    batch_size: int = option(128, "examples in a step", allowed=Range(1, HUGE), flag="--batch-size")
    optimizer: str = option(
        "sgd",
        "SGD with Nesterov momentum, Adam, AdamW, Lion, or Muon (for hidden matrices, AdamW for "
        "the rest)",
        allowed=("sgd", "adam", "adamw", "lion", "muon"),
        flag="--optimizer",
    )
    learning_rate: float = option(
        0.1,
        "the schedule's highest learning rate",
        allowed=Range(0.0, 1e3, above=True),
        flag="--learning-rate",
    )
    momentum: float = option(
        0.9,
        "momentum of SGD and Muon; the first beta of Adam, AdamW and Lion",
        allowed=Range(0.0, 0.9999),
        flag="--momentum",
    )
    nesterov: bool = option(True, "Nesterov's form of momentum", flag="--nesterov")
    weight_decay: float = option(
        5e-4, "weight decay", allowed=Range(0.0, 10.0), flag="--weight-decay"
    )
    decay_all: bool = option(True, "apply weight decay to norms and biases too", flag="--decay-all")
    schedule: str = option(
        "step",
        "learning-rate schedule; step is the paper's for pictures. For text, plateau multiplies "
        "the rate by drop after an epoch whose validation perplexity is not the lowest so far, "
        "stall after one that lowered it by less than least-gain",
        allowed=("step", "cosine", "one-cycle", "constant", *VALIDATED),
        flag="--schedule",
    )
    milestones: tuple[float, ...] = option(
        (0.3, 0.6, 0.8),
        "step: when the rate drops, as shares of all steps",
        allowed=Range(0.0, 1.0),
        flag="--milestones",
    )
    drop: float = option(
        0.2,
        "step, plateau, stall: the factor by which the rate drops",
        allowed=Range(0.0, 1.0, above=True),
        flag="--drop",
    )
    least_gain: float = option(
        0.5,
        "stall: the rate drops after an epoch with a smaller fall of the validation perplexity",
        allowed=Range(0.0, 1e9),
    )
    warmup: float = option(
        0.0,
        "share of the steps in which the rate rises to its highest (one-cycle: 0.3)",
        allowed=Range(0.0, 0.9),
        flag="--warmup",
    )
    clip_norm: float | None = option(
        None,
        "clip the gradient's norm to this value",
        allowed=Range(0.0, 1e9, above=True),
        flag="--clip-norm",
    )
    precision: str = option(
        "float32",
        "float32, or bfloat16 autocast",
        allowed=("float32", "bfloat16"),
        flag="--precision",
    )
    memory_format: str = option(
        "channels_last",
        "layout of pictures in memory",
        allowed=("channels_last", "contiguous"),
        flag="--memory-format",
    )
    compile: bool = option(False, "compile the network (torch.compile)", flag="--compile")
    best_epoch: bool = option(
        False,
        "also keep the weights of the best epoch on the validation split, and report it beside "
        "the last",
        flag="--best-epoch",
    )

    accumulate: int = option(
        1,
        "split a batch that does not fit the memory into this many parts and add their "
        "gradients; batch norm sees one part at a time",
        allowed=Range(1, HUGE),
        flag="--accumulate",
    )
    averaging: float = option(
        0.0,
        "also keep an exponential moving average of the weights with this decay, such as 0.999, "
        "and evaluate it beside the last weights; 0 for none",
        allowed=Range(0.0, 0.999999),
        flag="--averaging",
    )

    early_stopping: int = option(
        0,
        "stop after this many epochs without a new lowest validation loss, and use the weights "
        "of the lowest; 0 trains all epochs",
        allowed=Range(0, HUGE),
        flag="--early-stopping",
    )

    ALWAYS_WRITTEN: ClassVar = FORMAT_1["training"]

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of an epoch that validation picks are kept."""
        return self.best_epoch or self.early_stopping > 0

    @property
    def kept_weights(self) -> tuple[str, ...]:
        """The weights that are kept and evaluated: "last", and perhaps "best" and "averaged"."""
        best = ("best",) if self.best_epoch else ()
        return ("last", *best, *(("averaged",) if self.averaging else ()))


@dataclass(frozen=True)
class ObjectiveSpec:
    """What a student minimises; an option that is not given has the objective's own default.

    In TOML, JSON and on the command line an option stands beside the name: `temperature = 4`.
    """

    name: str = option(
        "ban",
        "what a student minimises: label, kd, ban, ban+l, dkd, at, cwtm, teacher-smoothing, "
        "argmax-smoothing or dkpp "
        "(docs/objectives.md)",
    )
    options: Table = option(
        (),
        "an objective's own options, as key=value (repeat for several)",
        keys={
            "smoothing": "label, at: label smoothing",
            "label_smoothing": "kd, ban+l: label smoothing in the label term",
            "temperature": "kd, dkd: temperature",
            "temperature_end": "kd: temperature at the end of training, reached in equal steps",
            "alpha": "kd: weight of the teacher; above 1, for wrong labels, the labels' weight "
            "is below 0; dkd: weight of its first part",
            "alpha_end": "kd: weight of the teacher at the end of training, such as 0",
            "beta": "dkd: weight of its second part; at: weight of the teacher's maps",
            "bounded": "kd (alpha above 1), ban+l (label_weight below 0): yes limits the "
            "negative weight of each label so that the loss has a lower bound",
            "standardise": "kd, dkd: yes standardises logits to mean 0 and standard deviation 1",
            "label_weight": "ban+l, dkd: weight of the labels; ban+l: below 0, for wrong "
            "labels, the teacher's weight is above 1",
            "label_weight_end": "ban+l: weight of the labels at the end of training, such as 1",
            "redraw": "dkpp: draw a permutation in each epoch (epoch), or once for each example "
            "(example)",
        },
    )
    top_k: int | None = option(
        None,
        "learn from the teacher's k largest probabilities, with the rest spread over the other "
        "classes; for very many classes",
        allowed=Range(1, HUGE),
    )
    rest: str = option(
        "evenly",
        "top-k: spread the rest evenly, or by the classes' frequencies in the training labels",
        allowed=("evenly", "frequencies"),
    )
    shuffled: bool = option(
        False,
        "a control: for each example, learn from the teacher's outputs for another example of "
        "the same predicted class",
    )

    ALWAYS_WRITTEN: ClassVar = FORMAT_1["objective"]

    @classmethod
    def of(cls, name: str, **options: Scalar) -> ObjectiveSpec:
        """Return an objective with some options, such as `of("kd", temperature=4.0)`."""
        return cls(name, tuple(sorted(options.items())))


@dataclass(frozen=True)
class Spec:
    """One network to train: everything that decides its weights, with its teachers.

    The probabilities of several teachers are averaged, with `teacher_weights` that add up to 1,
    equally if there are none. `weights` is the hash of a checkpoint that was given and not trained
    here; then training and objective have no meaning. `frozen` names modules of the model that are
    copied from the first teacher and not trained. `start` says from which weights training starts:
    "" from fresh ones, `FROM_TEACHER` from the first teacher's, else the hash of weights that were
    given. Raises `AnewError` if a network without a teacher has frozen modules or starts from its
    teacher.

    Specs with the same id, of data at the same place, are equal; so no teachers are compared one by
    one, whose number of paths to the labels may be huge.
    """

    model: ModelSpec
    data: DataSpec
    training: TrainingSpec
    objective: ObjectiveSpec
    seed: int = 0
    teachers: tuple[Spec, ...] = ()
    weights: str = ""
    frozen: tuple[str, ...] = ()
    teacher_weights: tuple[float, ...] = ()
    start: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spec):
            return NotImplemented
        return self is other or (self.id == other.id and self.data == other.data)

    def __hash__(self) -> int:
        return hash(self.id)

    def __post_init__(self) -> None:
        # Known as soon as the teachers' are: no chain is too long to be walked by recursion.
        assert self.generation <= self.depth
        if self.frozen and not self.teachers:
            raise AnewError(
                f"frozen: {', '.join(self.frozen)} are copied from a teacher, and there is none; "
                "drop them"
            )
        if self.start == FROM_TEACHER and not self.teachers:
            raise AnewError(
                "start_from: a network without a teacher cannot start from its teacher's weights; "
                "drop --from"
            )

    @cached_property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON of `identity`."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def identity(self) -> dict[str, Any]:
        """All fields that decide the weights, with the teachers by their ids: the id hashes it."""
        identity: dict[str, Any] = {
            "model": fields.write(self.model, identity=True),
            "data": fields.write(self.data, identity=True),
            "training": fields.write(self.training, identity=True),
            "objective": fields.write(self.objective, identity=True),
            "seed": self.seed,
            "teachers": [teacher.id for teacher in self.teachers],
            "weights": self.weights,
        }

        # Left out at their defaults, as the parts' fields that are not in `FORMAT_1`.
        if self.frozen:
            identity["frozen"] = list(self.frozen)
        if self.teacher_weights:
            identity["teacher_weights"] = list(self.teacher_weights)
        if self.start:
            identity["start"] = self.start
        return identity

    @cached_property
    def generation(self) -> int:
        """The distance from the labels: 0 without a teacher, else one more than the teachers'.

        Soft labels are labels, so a network that they teach is of generation 0, they of -1.
        """
        if not self.teachers:
            return -1 if self.is_soft_labels else 0
        return 1 + max(teacher.generation for teacher in self.teachers)

    @cached_property
    def depth(self) -> int:
        """How often something taught: the generation, and one more if it began with soft labels.

        Streams of random numbers are keyed by it, so that soft labels teach as the network does
        whose answers they are.
        """
        return 1 + max((teacher.depth for teacher in self.teachers), default=-1)

    @property
    def is_soft_labels(self) -> bool:
        """Whether this stands for soft labels that were given, and for no network."""
        return self.model.name == SOFT_LABELS and bool(self.weights)

    @property
    def is_untrained(self) -> bool:
        """Whether the network keeps its first weights, because it trains for no epoch."""
        return self.training.epochs == 0 and not self.weights

    @property
    def origin(self) -> str:
        """What made the weights, in words: the objective, `given` or `untrained`."""
        if self.weights:
            return "soft labels" if self.is_soft_labels else "given"
        if self.is_untrained:
            return "untrained"
        several = f" of {len(self.teachers)} teachers" if len(self.teachers) > 1 else ""
        if any(teacher.is_soft_labels for teacher in self.teachers):
            several = " of soft labels"
        shuffled = ", shuffled teacher" if self.objective.shuffled else ""
        start = ", from given weights" if self.start else ""
        if self.start == FROM_TEACHER:
            start = ", from its teacher's weights"
        return f"{self.objective.name}{several}{shuffled}{start}"

    @property
    def chief_teacher(self) -> Spec | None:
        """The teacher in the network's lineage: of several the first of the largest generation."""
        return max(self.teachers, key=lambda teacher: teacher.generation, default=None)

    @property
    def lineage(self) -> tuple[Spec, ...]:
        """The chain of chief teachers and, last, this network: one network a generation.

        Soft labels are no network, and no part of the lineage of those that they teach.
        """
        chain: list[Spec] = [self]
        while (teacher := chain[-1].chief_teacher) is not None and not teacher.is_soft_labels:
            chain.append(teacher)
        return tuple(reversed(chain))

    @property
    def ancestry(self) -> tuple[Spec, ...]:
        """All networks that this one descends from, each after its teachers, and itself."""
        found: dict[str, Spec] = {}
        missing: list[Spec] = [self]
        while missing:
            spec = missing.pop()
            if spec.id not in found:
                found[spec.id] = spec
                missing += spec.teachers
        return tuple(sorted(found.values(), key=lambda spec: spec.generation))

    @property
    def beside_lineage(self) -> tuple[Spec, ...]:
        """The networks that this one descends from beside its lineage, oldest first."""
        lineage = {spec.id for spec in self.lineage}
        beside = (spec for spec in self.ancestry if spec.id not in lineage)
        return tuple(spec for spec in beside if not spec.is_soft_labels)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as it is saved: its identity, with the place of the data."""
        identity = self.identity
        columns = {name for name in (*COLUMNS, "unlabelled") if getattr(self.data, name)}
        kept = identity["data"].keys() | PLACE | columns
        data = {name: value for name, value in fields.write(self.data).items() if name in kept}
        return {**identity, "data": data}

    @property
    def is_missing(self) -> bool:
        """Whether nothing is known of the network but its id: its folder is gone."""
        return False

    @classmethod
    def from_json(cls, written: Mapping[str, Any], teachers: tuple[Spec, ...]) -> Spec:
        """Return the spec that `to_json` wrote; the caller has read its teachers.

        Raises `AnewError` for an unknown key and a wrong value.
        """
        return cls(
            model=fields.read(ModelSpec, written["model"], prefix=("model",)),
            data=fields.read(DataSpec, written["data"], prefix=("data",)),
            training=fields.read(TrainingSpec, written["training"], prefix=("training",)),
            objective=fields.read(ObjectiveSpec, written["objective"], prefix=("objective",)),
            seed=written["seed"],
            teachers=teachers,
            weights=written["weights"],
            frozen=tuple(written.get("frozen", ())),
            teacher_weights=tuple(written.get("teacher_weights", ())),
            start=written.get("start", ""),
        )


@dataclass(frozen=True, eq=False)
class MissingSpec(Spec):
    """A network that others learned from and whose folder is gone; only its id is known.

    Its settings are those of a student of it, which most lineages share.
    """

    missing_id: str = ""
    number: int = 0
    """Its generation, 0 if that is not known."""

    @classmethod
    def of(cls, missing_id: str, student: Mapping[str, Any], number: int) -> MissingSpec:
        """Return the spec of a missing network, from what `to_json` wrote of a student of it."""
        parts = ("model", "data", "training", "objective", "seed", "weights")
        like = Spec.from_json({part: student[part] for part in parts}, ())
        return cls(
            model=like.model,
            data=like.data,
            training=like.training,
            objective=like.objective,
            seed=like.seed,
            missing_id=missing_id,
            number=number,
        )

    @cached_property
    def id(self) -> str:
        """The id by which its students name it."""
        return self.missing_id

    @cached_property
    def generation(self) -> int:
        """One less than its student's."""
        return self.number

    @cached_property
    def depth(self) -> int:
        """Its generation, since its teachers are not known."""
        return self.number

    @property
    def origin(self) -> str:
        """What made the weights is not known."""
        return "missing"

    @property
    def is_missing(self) -> bool:
        """Whether nothing is known of the network but its id: its folder is gone."""
        return True
