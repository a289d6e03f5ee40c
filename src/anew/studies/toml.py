"""A study as a TOML file of the user's own.

title = "Does CWTM suffice?"
seeds = [0, 1, 2]
[data]
source = "fashion-mnist"
[training]
epochs = 10
[rows]
small = "small_cnn"
[columns.Teacher]
[columns.BAN]
teacher = "Teacher"
objective = "ban"
[columns."Teacher and BAN"]
ensemble = ["Teacher", "BAN"]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anew.core import fields
from anew.core.errors import AnewError, did_you_mean
from anew.core.parsing import parse_toml
from anew.core.spec import HUGE, DataSpec, ModelSpec, TrainingSpec
from anew.studies.study import REFERENCE, Column, Study

_TABLES = ("data", "training", "rows", "columns", "published")
_KEYS = ("title", "seeds", "reference", "controls", *_TABLES)


def read_study(path: Path) -> Study:
    """Read a study from TOML.

    Raises `AnewError` for a file that is missing or not TOML, an unknown key and a wrong value.
    """
    return study_from(_read(path), path.stem, f"study {path}")


def study_from(written: Mapping[str, Any], name: str, where: str) -> Study:
    """Return a study from the values of its TOML; `where` is what an error names.

    Raises `AnewError` for an unknown key and a wrong value.
    """
    for key in written:
        if key not in _KEYS:
            raise AnewError(
                f"{where}: unknown key '{key}'{did_you_mean(key, _KEYS)}; known: {', '.join(_KEYS)}"
            )
    for table in _TABLES:
        if not isinstance(written.get(table, {}), dict):
            raise AnewError(f"{where}: {table} must be a table, got {written[table]!r}")
    seeds, controls = written.get("seeds", [0, 1, 2]), written.get("controls", [])
    if not isinstance(seeds, list) or not all(
        type(seed) is int and 0 <= seed < HUGE for seed in seeds
    ):
        raise AnewError(f"{where}: seeds must be a list of whole numbers >= 0, got {seeds!r}")
    if not isinstance(controls, list) or not all(type(name) is str for name in controls):
        raise AnewError(f"{where}: controls must be a list of columns' names, got {controls!r}")

    rows: dict[str, ModelSpec] = {}
    for row, value in written.get("rows", {}).items():
        described = value if isinstance(value, dict) else {"name": value}
        rows[row] = fields.read(ModelSpec, described, where, ("rows", row))
    columns = {
        column: fields.read(Column, value, where, ("columns", column))
        for column, value in written.get("columns", {}).items()
    }

    return Study(
        name=name,
        title=str(written.get("title", name)),
        rows=rows,
        columns=columns,
        data=fields.read(DataSpec, written.get("data", {}), where, ("data",)),
        training=fields.read(TrainingSpec, written.get("training", {}), where, ("training",)),
        seeds=tuple(seeds),
        reference=str(written.get("reference", next(iter(columns), REFERENCE))),
        controls=tuple(controls),
        published=_published(written.get("published", {}), rows, columns, where),
    )


def _read(path: Path) -> dict[str, Any]:
    """Return what a file holds."""
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnewError(
            f"study {path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except ValueError as error:
        raise AnewError(f"study {path}: is not TOML ({error}); correct that line") from error


def _published(
    written: Mapping[str, Any],
    rows: Mapping[str, ModelSpec],
    columns: Mapping[str, Column],
    where: str,
) -> dict[tuple[str, str], float]:
    """Return published errors by row and column."""
    published: dict[tuple[str, str], float] = {}
    for row, values in written.items():
        for column, value in values.items():
            if row not in rows or column not in columns or not isinstance(value, int | float):
                raise AnewError(
                    f"{where}: published.{row}.{column} must be a number for a row and a column of "
                    f"the study"
                )
            published[row, column] = float(value)
    return published
