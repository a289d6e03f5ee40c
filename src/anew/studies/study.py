"""A study: rows (architectures), columns (who learns from whom, or an ensemble), seeds; a cell is
one or several specs.

In TOML:

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

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anew import objectives
from anew.core import fields
from anew.core.errors import AnewError, did_you_mean
from anew.core.fields import option
from anew.core.spec import HUGE, DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec

# Seeds of a study are this far apart, so that columns of one study's seed never meet another's.
SEEDS_APART = 1000
REFERENCE = "Teacher"
"""The column that others are compared with, unless a study names another."""


@dataclass(frozen=True)
class Column:
    """What a column trains on every row: a network from labels, a student of a column, or an
    ensemble of columns.
    """

    teacher: str = option(
        "", "the column that teaches; without one, the network learns from the labels"
    )
    objective: ObjectiveSpec = option(ObjectiveSpec, "what a student minimises")
    ensemble: tuple[str, ...] = option(
        (), "columns whose probabilities are averaged, in place of a network"
    )
    model: ModelSpec | None = option(None, "another architecture than the row's")
    seed: int = option(
        0, "tells networks apart that are equal otherwise", low=0, high=SEEDS_APART - 1
    )
    epochs: float = option(
        1.0, "how many times the study's epochs; 0 is an untrained network", low=0.0, high=1000.0
    )
    label_smoothing: float = option(
        0.0, "label smoothing of a network that learns from the labels", low=0.0, high=1.0
    )
    frozen: tuple[str, ...] = option(
        (), "parts of the model that are copied from the teacher and never trained"
    )


@dataclass(frozen=True)
class Study:
    """A table of cells: what is trained, on what, with which seeds, and what was published where it
    was.
    """

    name: str
    title: str
    rows: Mapping[str, ModelSpec]
    columns: Mapping[str, Column]
    data: DataSpec = field(default_factory=DataSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    seeds: tuple[int, ...] = (0, 1, 2)
    reference: str = REFERENCE
    controls: tuple[str, ...] = ()
    """Columns that all others are compared with too."""
    published: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    """Test error in percent, by row and column."""
    published_parameters: Mapping[tuple[str, str], float] = field(
        default_factory=dict[tuple[str, str], float]
    )
    """Millions of parameters, by row and column."""
    exceptions: Mapping[tuple[str, str], Column | None] = field(
        default_factory=dict[tuple[str, str], "Column | None"]
    )
    """Cells that differ from their column; None for those that are not there."""
    shown: tuple[str, ...] = ()
    """The columns that are wanted, all where none is named; what these learn from is trained all
    the same.
    """
    notes: tuple[str, ...] = ()
    """What a reader of the table must know: what was scaled down, what the source leaves open."""

    def __post_init__(self) -> None:
        if not self.rows or not self.columns or not self.seeds:
            raise AnewError(
                f"study '{self.name}': needs rows, columns and seeds, one at least of each"
            )
        if self.training.epochs == 0:
            raise AnewError(
                f"study '{self.name}': training.epochs must be a whole number >= 1, got 0; set "
                f"--epochs (an untrained "
                "network is a column with epochs = 0)"
            )
        if len(set(self.seeds)) < len(self.seeds):
            twice = next(seed for seed in self.seeds if self.seeds.count(seed) > 1)
            raise AnewError(
                f"study '{self.name}': seed {twice} is given twice; name each seed once"
            )
        if self.reference not in self.columns:
            raise AnewError(
                f"study '{self.name}': reference '{self.reference}' is no column"
                f"{did_you_mean(self.reference, self.columns)}; columns: {', '.join(self.columns)}"
            )
        for control in self.controls:
            if control not in self.columns or control == self.reference:
                raise AnewError(
                    f"study '{self.name}': control '{control}' is no column beside the reference"
                    f"{did_you_mean(control, self.columns)}; columns: {', '.join(self.columns)}"
                )
        for row in self.rows:
            for name in self.columns:
                self._check(row, name)

    def column(self, row: str, name: str) -> Column | None:
        """Return what a cell trains; None where the table has no such cell."""
        return self.exceptions.get((row, name), self.columns[name])

    def _check(self, row: str, name: str) -> None:
        column = self.column(row, name)
        if column is None:
            return
        where = f"study '{self.name}', column '{name}'"
        if column.ensemble and column.teacher:
            raise AnewError(f"{where}: has a teacher and an ensemble; give one of them")
        if column.teacher and not column.epochs:
            raise AnewError(
                f"{where}: has a teacher and learns in 0 epochs; give it epochs, or drop the "
                f"teacher"
            )
        for other in (*column.ensemble, *([column.teacher] if column.teacher else [])):
            if other not in self.columns or self.column(row, other) is None:
                raise AnewError(
                    f"{where}: names the column '{other}', which row '{row}' does not have"
                    f"{did_you_mean(other, self.columns)}; columns: {', '.join(self.columns)}"
                )
            target = self.column(row, other)
            if target is not None and target.ensemble:
                raise AnewError(f"{where}: names '{other}', which is an ensemble; name its members")
        if column.teacher and not objectives.find(column.objective.name).uses_teacher:
            raise AnewError(
                f"{where}: objective '{column.objective.name}' has no teacher; choose another, or "
                f"drop it"
            )
        if column.frozen and not column.teacher:
            raise AnewError(
                f"{where}: freezes parts of a teacher and has none; give it a teacher, or drop "
                f"frozen"
            )
        seen, at = [name], column
        while at.teacher:
            if at.teacher in seen:
                raise AnewError(
                    f"{where}: learns from itself ({' < '.join([*seen, at.teacher])}); mend its "
                    f"teachers"
                )
            seen.append(at.teacher)
            following = self.column(row, at.teacher)
            assert following is not None, "checked above"
            at = following

    def spec(self, row: str, name: str, seed: int, data: DataSpec) -> Spec:
        """Return the spec of a column's network on a row, with the data as it was found for this
        seed.
        """
        column = self.column(row, name)
        assert column is not None and not column.ensemble, "only networks have a spec"
        epochs = max(1, round(self.training.epochs * column.epochs)) if column.epochs else 0
        teachers: tuple[Spec, ...] = ()
        objective = ObjectiveSpec("label", smoothing=column.label_smoothing)
        if column.teacher:
            teachers = (self.spec(row, column.teacher, seed, data),)
            options = objectives.fill_options(column.objective.name, column.objective.options)
            objective = replace(column.objective, **options)
        return Spec(
            column.model or self.rows[row],
            data,
            replace(self.training, epochs=epochs),
            objective,
            SEEDS_APART * seed + column.seed,
            teachers,
            frozen=tuple(sorted(set(column.frozen))),
        )

    def cell(self, row: str, name: str, seed: int, data: DataSpec) -> tuple[Spec, ...]:
        """Return the networks of a cell: one, or the members of an ensemble; none where there is no
        such cell.
        """
        column = self.column(row, name)
        if column is None:
            return ()
        return tuple(self.spec(row, member, seed, data) for member in (column.ensemble or (name,)))

    def specs(self, data: Callable[[int], DataSpec]) -> list[Spec]:
        """Return every network that the study needs, each once, teachers before their students."""
        found: dict[str, Spec] = {}
        for seed in self.seeds:
            for row in self.rows:
                for name in self.shown or self.columns:
                    for member in self.cell(row, name, seed, data(seed)):
                        found |= {spec.id: spec for spec in member.lineage}
        return sorted(found.values(), key=lambda spec: spec.generation)

    def only(self, rows: tuple[str, ...] = (), columns: tuple[str, ...] = ()) -> Study:
        """Return the study with some of its rows and columns; what those columns learn from is
        trained all the same.
        """
        for what, chosen, known in (("row", rows, self.rows), ("column", columns, self.columns)):
            for one in chosen:
                if one not in known:
                    raise AnewError(
                        f"study '{self.name}': has no {what} '{one}'{did_you_mean(one, known)}; "
                        f"{what}s: "
                        f"{', '.join(known)}"
                    )
        kept = {name: model for name, model in self.rows.items() if not rows or name in rows}
        return replace(self, rows=kept, shown=columns)


def data_of_seed(data: DataSpec, seed: int) -> DataSpec:
    """Return the description of a study's data for one of its seeds: split, order and views are
    drawn by it.
    """
    return replace(data, seed=data.seed + SEEDS_APART * seed)


def read_study(path: Path) -> Study:
    """Read a study from TOML; `AnewError` for a file that is missing or not TOML, an unknown key, a
    wrong value.
    """
    try:
        written: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnewError(
            f"study {path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AnewError(f"study {path}: is not TOML ({error}); mend that line") from error
    known = (
        "title",
        "seeds",
        "reference",
        "controls",
        "data",
        "training",
        "rows",
        "columns",
        "published",
    )
    for key in written:
        if key not in known:
            raise AnewError(
                f"study {path}: unknown key '{key}'{did_you_mean(key, known)}; known: "
                f"{', '.join(known)}"
            )
    where = f"study {path}"
    seeds = written.get("seeds", [0, 1, 2])
    if not isinstance(seeds, list) or any(
        type(one) is not int or not 0 <= one < HUGE for one in seeds
    ):
        raise AnewError(f"{where}: seeds must be a list of whole numbers >= 0, got {seeds!r}")
    controls = written.get("controls", [])
    if not isinstance(controls, list) or any(type(one) is not str for one in controls):
        raise AnewError(f"{where}: controls must be a list of columns' names, got {controls!r}")
    tables = {
        name: written.get(name, {}) for name in ("rows", "columns", "published", "data", "training")
    }
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise AnewError(f"{where}: {name} must be a table, got {table!r}")
    rows = {
        name: fields.read(
            ModelSpec, value if isinstance(value, dict) else {"name": value}, where, ("rows", name)
        )
        for name, value in tables["rows"].items()
    }
    columns = {
        name: fields.read(Column, value, where, ("columns", name))
        for name, value in tables["columns"].items()
    }
    published: dict[tuple[str, str], float] = {}
    for row, values in tables["published"].items():
        for column, value in values.items():
            if row not in rows or column not in columns or not isinstance(value, int | float):
                raise AnewError(
                    f"{where}: published.{row}.{column} must be a number for a row and a column of "
                    f"the study"
                )
            published[row, column] = float(value)
    return Study(
        name=path.stem,
        title=str(written.get("title", path.stem)),
        rows=rows,
        columns=columns,
        data=fields.read(DataSpec, tables["data"], where, ("data",)),
        training=fields.read(TrainingSpec, tables["training"], where, ("training",)),
        seeds=tuple(seeds),
        reference=str(written.get("reference", next(iter(columns), REFERENCE))),
        controls=tuple(controls),
        published=published,
    )
