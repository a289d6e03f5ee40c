"""The recipe: what a user writes of a lineage, in TOML, as flags or as keywords in Python.

A recipe becomes one `Spec` for each network once its data is known. Nothing here imports torch, so
that the command line answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from anew.core import fields
from anew.core.errors import AnewError
from anew.core.fields import WholeTexts, option
from anew.core.parsing import parse_toml
from anew.core.ranges import Range
from anew.core.spec import (
    FROM_TEACHER,
    SEEDS,
    DataSpec,
    ModelSpec,
    ObjectiveSpec,
    Spec,
    TrainingSpec,
)

MOST_GENERATIONS = 1000
STOP_RULES = ("none", "network", "ensemble")
AUTO = "auto"
AUTO_MOST, AUTO_RULE = 10, "network"
"""What `generations = "auto"` stands for: so many at most, and the rule that ends them."""


@dataclass(frozen=True)
class Recipe:
    """A lineage as a user writes it: trained from labels, then anew generation by generation."""

    model: ModelSpec = option(ModelSpec, "the architecture of every generation")
    data: DataSpec = option(DataSpec, "the examples")
    objective: ObjectiveSpec = option(ObjectiveSpec, "what the students minimise")
    training: TrainingSpec = option(TrainingSpec, "how every network is trained")
    generations: int = option(
        3,
        "number of students, one after another, after generation 0; auto trains as many as gain "
        "by --stop-rule",
        allowed=Range(0, MOST_GENERATIONS, also=AUTO),
    )
    stop_rule: str = option(
        "none",
        "end the lineage when a generation shows no gain in validation NLL (paired by example, "
        "5 %): network compares it with the one before, ensemble compares the ensembles with "
        "and without it. `--generations auto` means at most 10, by the rule network",
        allowed=STOP_RULES,
        flag="--stop-rule",
    )
    seed: int = option(0, "seed of weights and dropout", allowed=SEEDS)
    siblings: tuple[str, ...] = option(
        (),
        "further objectives: each trains a student beside every student, in the same pass over "
        "data and teacher",
    )
    sibling_seeds: tuple[int, ...] = option(
        (),
        "further seeds: every network is trained with each of them too, in the same pass",
        allowed=SEEDS,
    )
    label_smoothing: float = option(0.0, "label smoothing of generation 0", allowed=Range(0.0, 1.0))
    frozen: tuple[str, ...] = option(
        (),
        "parts of the model that every student copies from its teacher and never trains, such as "
        "first,classifier",
    )
    teacher_model: ModelSpec | None = option(
        None, "architecture of generation 0, where it is another one"
    )
    teacher: tuple[str, ...] | None = option(
        None,
        "a trained teacher instead of generation 0 (repeat for an ensemble of several): a file "
        "or folder of weights (safetensors, torch.save, shards, save_pretrained), with :KEY for "
        "a part of it; FAMILY:ID; or generations of a family: FAMILY:all, FAMILY:0-2, "
        "FAMILY:last-3; FAMILY:ID:all if it holds several lineages",
        allowed=WholeTexts(),
    )
    teacher_weights: tuple[float, ...] = option(
        (),
        "the weight of each given teacher in their mean, in the order of --teacher; default: equal",
        allowed=Range(0.0, above=True),
    )
    start_from: str | None = option(
        None,
        "initial weights of every network, instead of random ones: teacher (its own first "
        "teacher's), pretrained (timm's or torchvision's, from their local cache), FAMILY:ID, "
        "or a file or folder as for --teacher",
        flag="--from",
    )
    soft_labels: str | None = option(
        None,
        "a file with a row of soft labels for each training example, instead of a teacher: "
        ".npy, .npz, .safetensors, .parquet or .pt; FILE:NAME if it holds several arrays",
    )
    soft_labels_are: str = option(
        "auto",
        "contents of --soft-labels; auto detects and prints them",
        allowed=("auto", "probabilities", "counts", "logits"),
    )
    taught_by: str = option(
        "last",
        "teachers of a student from generation 2 on: the last generation, all before it, or the "
        "last few, such as last-2; several teach as an ensemble",
    )

    @property
    def taught_by_last(self) -> int | None:
        """How many generations before a student teach it; None for all of them.

        Raises `AnewError` if `taught_by` says neither.
        """
        if self.taught_by in ("last", "all"):
            return 1 if self.taught_by == "last" else None
        word, _, count = self.taught_by.partition("-")
        if word == "last" and count.isdecimal() and 1 <= int(count) <= MOST_GENERATIONS:
            return int(count)
        raise AnewError(
            f"taught_by must be last, all, or last-K such as last-2, got '{self.taught_by}'; set "
            "--taught-by"
        )


def lineage_of(
    recipe: Recipe, data: DataSpec, teachers: Sequence[Spec] = (), start: str = ""
) -> tuple[Spec, ...]:
    """Return the specs of a recipe's lineage, oldest first.

    `data` is the recipe's with the fingerprint of what was read. Generation 0 has it without
    unlabelled examples. `teachers` are networks that were
    given: they take the place of generation 0. `start` is the start of the networks of the recipe's
    model, as a spec has it: generation 0 has it too, unless it is of another model. Objective
    options must be filled in. Raises `AnewError` if settings do not fit together.
    """
    _check(recipe, teachers)
    given = tuple(teachers) or (
        Spec(
            model=recipe.teacher_model or recipe.model,
            data=data.labelled_only,
            training=recipe.training,
            objective=ObjectiveSpec.of("label", smoothing=recipe.label_smoothing),
            seed=recipe.seed,
            start=start if recipe.teacher_model is None and start != FROM_TEACHER else "",
        ),
    )

    # Who taught so far: the given ones together, and then each student.
    taught: list[tuple[Spec, ...]] = [given]
    shares, count = _shares(recipe.teacher_weights, given), recipe.taught_by_last
    for _ in range(recipe.generations):
        together = taught if count is None else taught[-count:]
        student = Spec(
            recipe.model,
            data,
            recipe.training,
            recipe.objective,
            recipe.seed,
            teachers=tuple(chain.from_iterable(together)),
            frozen=tuple(sorted(set(recipe.frozen))),
            teacher_weights=shares if len(taught) == 1 else (),
            start=start,
        )
        taught.append((student,))
    return max(taught[-1], key=lambda spec: spec.generation).lineage


def _shares(weights: Sequence[float], teachers: Sequence[Spec]) -> tuple[float, ...]:
    """Return the teachers' shares in their mean, which add up to 1; () if all are equal.

    Raises `AnewError` unless there is one for each teacher.
    """
    if weights and len(weights) != len(teachers):
        raise AnewError(
            f"teacher_weights: {len(weights)} weights for {len(teachers)} "
            f"network{'s' if len(teachers) > 1 else ''} that teach together; give one weight for "
            "each, in the order of --teacher"
        )
    if len(set(weights)) < 2:
        return ()
    # Rounded, so that 1,2,2 and 0.2,0.4,0.4 are the same shares.
    return tuple(round(weight / sum(weights), 12) for weight in weights)


def siblings_of(recipe: Recipe, spec: Spec) -> tuple[Spec, ...]:
    """Return a network of the recipe's lineage and, after it, its siblings.

    A student's siblings have the recipe's further objectives and seeds, those of generation 0 only
    the seeds. The lineage goes on from the network itself. Raises `AnewError` if two are equal.
    """
    if spec.weights:
        return (spec,)

    objectives = [spec.objective]
    if spec.teachers:
        # The teacher answers once for all siblings, so what is asked of it is the same for all.
        asked = ObjectiveSpec(
            top_k=recipe.objective.top_k,
            rest=recipe.objective.rest,
            shuffled=recipe.objective.shuffled,
        )
        objectives += [replace(asked, name=name) for name in recipe.siblings]

    together: list[Spec] = []
    for objective in objectives:
        for seed in (spec.seed, *recipe.sibling_seeds):
            sibling = replace(spec, objective=objective, seed=seed)
            if sibling in together:
                raise AnewError(
                    f"siblings: objective '{objective.name}' with seed {seed} is given twice; "
                    "give each objective and each seed once"
                )
            together.append(sibling)
    return tuple(together)


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's content; raises `AnewError` if it is missing or is not TOML."""
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnewError(
            f"recipe {path}: cannot be read ({error.strerror}); check --recipe"
        ) from error
    except ValueError as error:
        raise AnewError(f"recipe {path}: is not TOML ({error}); correct that line") from error


def override(recipe: Recipe, given: Mapping[str, Any], where: str = "") -> Recipe:
    """Return the recipe with the given values in place of its own, every value checked.

    `where` names the values' origin, such as a recipe's file, in messages.
    """
    if given.get("generations") == AUTO:
        rule = AUTO_RULE if recipe.stop_rule == "none" else recipe.stop_rule
        given = {"stop_rule": rule, **given, "generations": AUTO_MOST}
    return fields.override(recipe, given, where)


def _check(recipe: Recipe, teachers: Sequence[Spec]) -> None:
    """Raise `AnewError` if a recipe's settings do not fit together."""
    if recipe.stop_rule != "none" and recipe.generations and not recipe.data.validation:
        raise AnewError(
            "stop_rule: needs validation examples, and none are held out; set --data.validation "
            "0.1, or --stop-rule none and a number of --generations"
        )
    if recipe.data.unlabelled and not recipe.generations:
        raise AnewError(
            "data.unlabelled: only students learn from unlabelled examples, and there are no "
            "students; set --generations 1 or more, or drop --unlabelled"
        )
    if recipe.data.unlabelled and any(one.is_soft_labels for one in teachers):
        raise AnewError(
            "data.unlabelled: soft labels have no row for unlabelled examples; drop --unlabelled"
        )
    # Students need a teacher's objective and epochs.
    if recipe.objective.name == "label" and recipe.generations > 0:
        raise AnewError(
            "objective 'label' has no teacher, so it cannot train students; choose another "
            "--objective, or set --generations 0 (independent networks: other values of --seed)"
        )
    if recipe.training.epochs == 0 and recipe.generations > 0:
        raise AnewError(
            "training.epochs must be a whole number >= 1 where students learn, got 0; set "
            "--epochs, or --generations 0 for an untrained network alone"
        )

    if recipe.teacher_weights and not (teachers and recipe.generations):
        raise AnewError(
            "teacher_weights: need given teachers and a student; set --teacher and "
            "--generations, or drop --teacher-weights"
        )
    if recipe.teacher_weights and recipe.generations > 1 and recipe.taught_by_last != 1:
        raise AnewError(
            "teacher_weights: are for given networks alone, and with taught_by "
            f"'{recipe.taught_by}' students teach with them; set --generations 1 or drop "
            "--teacher-weights"
        )

    if any(one.is_soft_labels for one in teachers):
        _check_soft_labels(recipe, len(teachers))
    built_here = [one for one in teachers if not one.weights]
    if teachers and recipe.teacher_model is not None and len(built_here) == len(teachers):
        raise AnewError(
            "teacher_model: the given teacher brings its own architecture; drop --teacher-model"
        )
    if recipe.start_from == FROM_TEACHER and not recipe.generations:
        raise AnewError("start_from: 'teacher' is for students, and there are none; drop --from")
    if recipe.frozen and not recipe.generations:
        raise AnewError("frozen: is for students, and there are none; drop --frozen")


def _check_soft_labels(recipe: Recipe, teachers: int) -> None:
    """Raise `AnewError` if a recipe asks of soft labels what only a network has."""
    if teachers > 1:
        raise AnewError(
            "soft_labels: cannot be combined with another teacher; drop one, or put the mean of "
            "both into the file"
        )
    if not recipe.generations:
        raise AnewError(
            "soft_labels: are for students, and there are none; set --generations 1 or more"
        )
    if recipe.generations > 1 and recipe.taught_by_last != 1:
        raise AnewError(
            f"taught_by: '{recipe.taught_by}' would combine soft labels with networks; drop "
            "--taught-by, or set --generations 1"
        )

    if recipe.frozen:
        raise AnewError("frozen: needs a network as the teacher, not soft labels; drop --frozen")
    if recipe.start_from == "teacher":
        raise AnewError(
            "start_from: 'teacher' needs a network as the teacher, not soft labels; drop --from"
        )
    if recipe.teacher_model is not None:
        raise AnewError("teacher_model: soft labels need no model; drop --teacher-model")
