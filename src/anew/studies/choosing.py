"""From what a user says to a study: its name or file, at a scale, with seeds, rows, columns,
controls and data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anew.core import fields
from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import DataSpec, TrainingSpec
from anew.studies.controls import with_controls
from anew.studies.paper import STUDIES
from anew.studies.scales import scaled
from anew.studies.study import Study, read_study


def choose(
    name: str,
    scale: str | None = None,
    seeds: Sequence[int] | None = None,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    controls: bool = False,
    data: Mapping[str, Any] | None = None,
    epochs: int | None = None,
) -> Study:
    """Return a study by its name or TOML file, changed as given; `data` are fields of its data,
    None for its own.

    Raises `AnewError` for what is not known, and for a scale where the study is a user's own.
    """
    if name.endswith(".toml"):
        if scale is not None:
            raise AnewError(
                f"study '{name}': scales are for the paper's studies; write the sizes into the file"
            )
        study = read_study(Path(name))
    elif name in STUDIES:
        study = scaled(STUDIES[name], scale or "full")
    else:
        raise AnewError(
            f"study '{name}' is not known{did_you_mean(name, STUDIES)}; choose one of "
            f"{', '.join(STUDIES)}, or name a "
            "TOML file"
        )
    given = {key: value for key, value in (data or {}).items() if value is not None}
    checked = fields.read(DataSpec, given, prefix=("data",))
    study = replace(
        study, data=replace(study.data, **{key: getattr(checked, key) for key in given})
    )
    if epochs is not None:
        checked_epochs = fields.read(TrainingSpec, {"epochs": epochs}, prefix=("training",)).epochs
        study = replace(study, training=replace(study.training, epochs=checked_epochs))
    if seeds:
        if min(seeds) < 0:
            raise AnewError(f"seeds must be whole numbers >= 0, got {min(seeds)}; set --seeds")
        study = replace(study, seeds=tuple(seeds))
    if controls:
        study = with_controls(study)
    return study.only(tuple(rows or ()), tuple(columns or ()))
