"""A study: rows (architectures), columns (who learns from whom, or an ensemble), and seeds.

A cell is one network or several. `toml` reads a study from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from anew import models, objectives
from anew.core.errors import AnewError, did_you_mean
from anew.core.fields import option
from anew.core.ranges import Range
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec, is_text

# Seeds of a study are this far apart, so that columns of one study's seed never meet another's.
SEEDS_APART = 1000
REFERENCE = "Teacher"
"""The column that others are compared with, unless a study names another."""


@dataclass(frozen=True)
class Column:
    """What a column trains on every row.

    A network from labels, a student of another column (also of an ensemble), or an ensemble of
    columns.
    """

    teacher: str = option(
        "",
        "the column that teaches, a network or an ensemble, whose mean then teaches; without one, "
        "the network learns from the labels",
    )
    objective: ObjectiveSpec = option(ObjectiveSpec, "what a student minimises")
    ensemble: tuple[str, ...] = option(
        (), "columns whose probabilities are averaged, in place of a network"
    )
    model: ModelSpec | None = option(None, "another architecture than the row's")
    seed: int = option(
        0, "tells networks apart that are equal otherwise", allowed=Range(0, SEEDS_APART - 1)
    )
    epochs: float = option(
        1.0,
        "how many times the study's epochs; 0 is an untrained network",
        allowed=Range(0.0, 1000.0),
    )
    label_smoothing: float = option(
        0.0, "label smoothing of a network that learns from the labels", allowed=Range(0.0, 1.0)
    )
    best_epoch: bool = option(
        False,
        "show the network at the epoch that the validation split picks, which training.best_epoch "
        "keeps, in place of the last",
    )
    unlabelled: bool = option(
        False, "learn on the study's unlabelled examples (data.unlabelled) beside the labelled ones"
    )
    frozen: tuple[str, ...] = option(
        (), "parts of the model that are copied from the teacher and never trained"
    )


@dataclass(frozen=True)
class Study:
    """A table of cells: what is trained on which data with which seeds, and what was published."""

    name: str
    title: str
    rows: Mapping[str, ModelSpec]
    columns: Mapping[str, Column]
    data: DataSpec = field(default_factory=DataSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    seeds: tuple[int, ...] = (0, 1, 2)
    reference: str = REFERENCE
    controls: tuple[str, ...] = ()
    """Columns with which all others are compared too."""
    published: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    """Test error in percent, or test perplexity, by row and column."""
    published_validation: Mapping[tuple[str, str], float] = field(
        default_factory=dict[tuple[str, str], float]
    )
    """Validation perplexity, by row and column."""
    published_parameters: Mapping[tuple[str, str], float] = field(
        default_factory=dict[tuple[str, str], float]
    )
    """Millions of parameters, by row and column."""
    exceptions: Mapping[tuple[str, str], Column | None] = field(
        default_factory=dict[tuple[str, str], "Column | None"]
    )
    """Cells that differ from their column; None for a cell that does not exist."""
    shown: tuple[str, ...] = ()
    """The columns that are wanted, by default all; what they learn from is trained all the same."""
    trainings: Mapping[str, TrainingSpec] = field(default_factory=dict[str, TrainingSpec])
    """How the networks of a row are trained, of rows that are trained otherwise than `training`."""
    notes: tuple[str, ...] = ()
    """What a reader of the table must know: what was scaled down, what the source leaves open."""

    def __post_init__(self) -> None:
        """Raise `AnewError` for a table that cannot be trained."""
        if not self.rows or not self.columns or not self.seeds:
            raise AnewError(
                f"study '{self.name}': needs rows, columns and seeds, one at least of each"
            )
        if self.training.epochs == 0:
            raise AnewError(
                f"study '{self.name}': training.epochs must be a whole number >= 1, got 0; set "
                f"--epochs (an untrained network is a column with epochs = 0)"
            )
        if len(set(self.seeds)) < len(self.seeds):
            twice = next(seed for seed in self.seeds if self.seeds.count(seed) > 1)
            raise AnewError(
                f"study '{self.name}': seed {twice} is given twice; name each seed once"
            )

        known = f"columns: {', '.join(self.columns)}"
        if self.reference not in self.columns:
            raise AnewError(
                f"study '{self.name}': reference '{self.reference}' is no column"
                f"{did_you_mean(self.reference, self.columns)}; {known}"
            )
        for control in self.controls:
            if control not in self.columns or control == self.reference:
                raise AnewError(
                    f"study '{self.name}': control '{control}' is no column beside the reference"
                    f"{did_you_mean(control, self.columns)}; {known}"
                )
        for row in self.rows:
            for name in self.columns:
                self._check(row, name)

    @property
    def is_text(self) -> bool:
        """Whether the networks are language models, whose score is the perplexity."""
        return is_text(self.data.source)

    def training_of(self, row: str) -> TrainingSpec:
        """Return how the networks of a row are trained."""
        return self.trainings.get(row, self.training)

    def column(self, row: str, name: str) -> Column | None:
        """Return what a cell trains; None if the table has no such cell."""
        return self.exceptions.get((row, name), self.columns[name])

    def _check(self, row: str, name: str) -> None:
        """Raise `AnewError` if a cell's column contradicts itself or names what does not exist."""
        column = self.column(row, name)
        if column is None:
            return

        where = f"study '{self.name}', column '{name}'"
        if column.ensemble and column.teacher:
            raise AnewError(f"{where}: has a teacher and an ensemble; give one of them")
        if column.best_epoch and (column.ensemble or not self.training.best_epoch):
            raise AnewError(
                f"{where}: best_epoch needs one network and training.best_epoch; set that, or "
                "drop best_epoch"
            )
        if column.unlabelled and not (column.teacher and self.data.unlabelled):
            raise AnewError(
                f"{where}: unlabelled needs a teacher, and data.unlabelled in the study; give "
                "both, or drop unlabelled"
            )
        if column.frozen and not column.teacher:
            raise AnewError(f"{where}: frozen needs a teacher; give one, or drop frozen")
        self._check_others(row, column, where)
        if column.teacher:
            self._check_teacher(row, name, column, where)

    def _check_others(self, row: str, column: Column, where: str) -> None:
        """Raise `AnewError` if a column names columns that are missing, or an ensemble's members
        are ensembles.
        """
        for other in (*column.ensemble, *([column.teacher] if column.teacher else [])):
            if other not in self.columns or self.column(row, other) is None:
                raise AnewError(
                    f"{where}: names the column '{other}', which row '{row}' does not have"
                    f"{did_you_mean(other, self.columns)}; columns: {', '.join(self.columns)}"
                )
            target = self.column(row, other)
            if column.ensemble and target is not None and target.ensemble:
                raise AnewError(f"{where}: names '{other}', which is an ensemble; name its members")

    def _check_teacher(self, row: str, name: str, column: Column, where: str) -> None:
        """Raise `AnewError` if a student cannot learn from its teachers."""
        if not column.epochs:
            raise AnewError(
                f"{where}: has a teacher and 0 epochs; give it epochs, or drop the teacher"
            )
        if "teacher" not in objectives.find(column.objective.name).needs:
            raise AnewError(
                f"{where}: objective '{column.objective.name}' has no teacher; choose another, or "
                f"drop it"
            )
        objectives.find(column.objective.name).features_of(column.model or self.rows[row])
        if column.unlabelled:
            objectives.check_unlabelled(column.objective.name)

        # From column to teacher, without recursion; a table's keys are found at once, and keep
        # their order.
        way, followed = {name: iter(self.taught_by(row, name))}, set[str]()
        while way:
            current = next(reversed(way))
            for other in way[current]:
                if other in way:
                    raise AnewError(
                        f"{where}: learns from itself ({' < '.join([*way, other])}); correct its "
                        "teachers"
                    )
                if other not in followed:
                    way[other] = iter(self.taught_by(row, other))
                    break
            else:
                followed.add(current)
                del way[current]

    def taught_by(self, row: str, name: str) -> tuple[str, ...]:
        """Return the columns that teach one: its teacher, or the members of the ensemble that is.

        () without a teacher, or if the row has no such column, which its own check reports.
        """
        column = self.column(row, name) if name in self.columns else None
        if column is None or not column.teacher:
            return ()
        teacher = self.column(row, column.teacher) if column.teacher in self.columns else None
        return teacher.ensemble if teacher is not None and teacher.ensemble else (column.teacher,)

    def spec(self, row: str, name: str, seed: int, data: DataSpec) -> Spec:
        """Return the spec of a column's network on a row.

        `data` is the data's description as it was found for this seed.
        """
        # From the labels on, without recursion, and each network once: a chain may be long.
        missing = [name]
        while missing:
            current = missing[-1]
            lacking = [
                one
                for one in self.taught_by(row, current)
                if (row, one, seed, data) not in self._made
            ]

            if (row, current, seed, data) not in self._made and not lacking:
                self._made[row, current, seed, data] = self._network(row, current, seed, data)
            if lacking:
                missing += lacking
            else:
                missing.pop()
        return self._made[row, name, seed, data]

    @cached_property
    def _made(self) -> dict[tuple[str, str, int, DataSpec], Spec]:
        """The specs that were made, by row, column, seed and data."""
        return {}

    def _network(self, row: str, name: str, seed: int, data: DataSpec) -> Spec:
        """Return the spec of a network whose teachers' are made."""
        column = self.column(row, name)
        assert column is not None and not column.ensemble, "only networks have a spec"

        training = self.training_of(row)
        epochs = max(1, round(training.epochs * column.epochs)) if column.epochs else 0
        objective = ObjectiveSpec.of("label", smoothing=column.label_smoothing)
        if column.teacher:
            objective = objectives.fill(column.objective)
        return Spec(
            models.spelled(column.model or self.rows[row]),
            data if column.unlabelled else data.labelled_only,
            replace(training, epochs=epochs),
            objective,
            SEEDS_APART * seed + column.seed,
            tuple(self._made[row, one, seed, data] for one in self.taught_by(row, name)),
            frozen=tuple(sorted(set(column.frozen))),
        )

    def cell(self, row: str, name: str, seed: int, data: DataSpec) -> tuple[Spec, ...]:
        """Return the networks of a cell: one, or the members of an ensemble.

        () if the table has no such cell.
        """
        column = self.column(row, name)
        if column is None:
            return ()
        return tuple(self.spec(row, member, seed, data) for member in (column.ensemble or (name,)))

    def specs(self, data: Callable[[int], DataSpec]) -> list[Spec]:
        """Return every network that the study needs, each once, teachers before their students."""
        networks: dict[str, Spec] = {}
        for seed in self.seeds:
            for row in self.rows:
                for name in self.shown or self.columns:
                    for member in self.cell(row, name, seed, data(seed)):
                        networks |= {spec.id: spec for spec in member.ancestry}
        return sorted(networks.values(), key=lambda spec: spec.generation)

    def only(self, rows: tuple[str, ...] = (), columns: tuple[str, ...] = ()) -> Study:
        """Return the study with some of its rows and columns.

        What those columns learn from is trained all the same.
        """
        for what, chosen, known in (("row", rows, self.rows), ("column", columns, self.columns)):
            for name in chosen:
                if name not in known:
                    raise AnewError(
                        f"study '{self.name}': has no {what} '{name}'{did_you_mean(name, known)}; "
                        f"{what}s: {', '.join(known)}"
                    )
        kept = {name: model for name, model in self.rows.items() if not rows or name in rows}
        return replace(self, rows=kept, shown=columns)


def data_of_seed(data: DataSpec, seed: int) -> DataSpec:
    """Return the description of a study's data for a seed, which draws split, order and views."""
    return replace(data, seed=data.seed + SEEDS_APART * seed)
