"""The recipe: what a user writes of a lineage, in TOML, as flags or as keywords in Python.

A recipe becomes one `Spec` for each network once its data is known. Nothing here imports torch, so
that the command line answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anew.core import fields
from anew.core.errors import AnewError
from anew.core.fields import option
from anew.core.parsing import parse_toml
from anew.core.ranges import Range
from anew.core.spec import SEEDS, DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec


@dataclass(frozen=True)
class Recipe:
    """A lineage as a user writes it: trained from labels, then anew generation by generation."""

    model: ModelSpec = option(ModelSpec, "the architecture of every generation")
    data: DataSpec = option(DataSpec, "the examples")
    objective: ObjectiveSpec = option(ObjectiveSpec, "what the students minimise")
    training: TrainingSpec = option(TrainingSpec, "how every network is trained")
    generations: int = option(
        3, "students trained one after another, after generation 0", allowed=Range(0, 1000)
    )
    seed: int = option(0, "seed of the weights and of dropout", allowed=SEEDS)
    siblings: tuple[str, ...] = option(
        (),
        "further objectives: each makes a student beside every student, on one pass of data and "
        "teacher",
    )
    sibling_seeds: tuple[int, ...] = option(
        (),
        "further seeds: every network is trained with each of them too, side by side",
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
    teacher: str | None = option(
        None,
        "a trained network to start from in place of generation 0: FAMILY:ID, or a safetensors "
        "state dict",
    )


def lineage_of(recipe: Recipe, data: DataSpec, teacher: Spec | None = None) -> tuple[Spec, ...]:
    """Return the specs of a recipe's lineage, oldest first.

    `data` is the recipe's with the fingerprint of what was read. `teacher` is a network that was
    given: it takes the place of generation 0. Objective options must be filled in. Raises
    `AnewError` if settings do not fit together.
    """
    _check(recipe, teacher)
    first = teacher or Spec(
        model=recipe.teacher_model or recipe.model,
        data=data,
        training=recipe.training,
        objective=ObjectiveSpec.of("label", smoothing=recipe.label_smoothing),
        seed=recipe.seed,
    )

    specs = [*first.lineage]
    frozen = tuple(sorted(set(recipe.frozen)))
    for _ in range(recipe.generations):
        student = Spec(
            recipe.model,
            data,
            recipe.training,
            recipe.objective,
            recipe.seed,
            teachers=(specs[-1],),
            frozen=frozen,
        )
        specs.append(student)
    return tuple(specs)


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
        asked = ObjectiveSpec(top_k=recipe.objective.top_k, shuffled=recipe.objective.shuffled)
        objectives += [replace(asked, name=name) for name in recipe.siblings]

    together: list[Spec] = []
    for objective in objectives:
        for seed in (spec.seed, *recipe.sibling_seeds):
            sibling = replace(spec, objective=objective, seed=seed)
            if sibling in together:
                raise AnewError(
                    f"siblings: objective '{objective.name}' with seed {seed} is there twice; name "
                    "each objective and each seed once"
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
        raise AnewError(f"recipe {path}: is not TOML ({error}); mend that line") from error


def override(recipe: Recipe, given: Mapping[str, Any], where: str = "") -> Recipe:
    """Return the recipe with the given values in place of its own, every value checked.

    `where` names the values' origin, such as a recipe's file, in messages.
    """
    return fields.override(recipe, given, where)


def _check(recipe: Recipe, teacher: Spec | None) -> None:
    """Raise `AnewError` if a recipe's settings do not fit together."""
    # Students need a teacher's objective and epochs.
    if recipe.objective.name == "label" and recipe.generations > 0:
        raise AnewError(
            "objective 'label' has no teacher, so it makes no generations; choose another "
            "--objective, or set --generations 0 (independent networks: other values of --seed)"
        )
    if recipe.training.epochs == 0 and recipe.generations > 0:
        raise AnewError(
            "training.epochs must be a whole number >= 1 where students learn, got 0; set "
            "--epochs, or --generations 0 for an untrained network alone"
        )

    if teacher is not None and recipe.teacher_model is not None and not teacher.weights:
        raise AnewError(
            "teacher_model: the given teacher brings its own architecture; drop --teacher-model"
        )
    if recipe.frozen and not recipe.generations:
        raise AnewError(
            "frozen: students copy these parts, and there are no students; drop --frozen"
        )
