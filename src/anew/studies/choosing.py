"""From a user's words to a study: its name or file, a scale, and changes to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anew.core import fields
from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import DataSpec, TrainingSpec
from anew.studies.controls import with_controls
from anew.studies.paper import STUDIES
from anew.studies.scales import scaled
from anew.studies.study import Study
from anew.studies.toml import read_study


@dataclass(frozen=True)
class Changes:
    """What the user changes about a study; by default nothing."""

    seeds: Sequence[int] = ()
    """Other seeds than the study's."""
    rows: Sequence[str] = ()
    """The only rows that are wanted."""
    columns: Sequence[str] = ()
    """The only columns that are wanted; what these learn from is trained all the same."""
    controls: bool = False
    """Whether the controls are added as columns."""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the study's data by name; None for the study's own."""
    epochs: int | None = None


def choose(name: str | Study, scale: str | None = None, changes: Changes | None = None) -> Study:
    """Return a study by its name or TOML file, or a study of the user's own, with changes.

    Raises `AnewError` for a name, row, column, scale or value that does not exist, and for a scale
    of a user's own study.
    """
    study = _by_name(name, scale)
    if changes is None:
        return study

    study = _with_settings(study, changes)
    if changes.seeds:
        if min(changes.seeds) < 0:
            raise AnewError(
                f"seeds must be whole numbers >= 0, got {min(changes.seeds)}; set --seeds"
            )
        study = replace(study, seeds=tuple(changes.seeds))
    if changes.controls:
        study = with_controls(study)
    return study.only(tuple(changes.rows), tuple(changes.columns))


def _by_name(name: str | Study, scale: str | None) -> Study:
    is_own = isinstance(name, Study) or name.endswith(".toml")
    if is_own and scale is not None:
        called = name.name if isinstance(name, Study) else name
        raise AnewError(
            f"study '{called}': --scale is for the paper's studies; set the sizes in the file"
        )
    if isinstance(name, Study):
        return name
    if is_own:
        return read_study(Path(name))

    if name not in STUDIES:
        raise AnewError(
            f"study '{name}' is not known{did_you_mean(name, STUDIES)}; choose one of "
            f"{', '.join(STUDIES)}, or name a TOML file"
        )
    return scaled(STUDIES[name], scale or "full")


def _with_settings(study: Study, changes: Changes) -> Study:
    """Return a study with changed data and epochs, whose values are checked."""
    given = {key: value for key, value in changes.data.items() if value is not None}
    checked = fields.read(DataSpec, given, prefix=("data",))
    data = replace(study.data, **{key: getattr(checked, key) for key in given})

    training = study.training
    if changes.epochs is not None:
        given = {"epochs": changes.epochs}
        epochs = fields.read(TrainingSpec, given, prefix=("training",)).epochs
        training = replace(training, epochs=epochs)
        trainings = {row: replace(one, epochs=epochs) for row, one in study.trainings.items()}
        study = replace(study, trainings=trainings)
    return replace(study, data=data, training=training)
