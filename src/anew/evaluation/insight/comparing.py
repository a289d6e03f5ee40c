"""Networks side by side: the students of one teacher, or the generations of a lineage, over seeds.

Each is held against its teacher (`kept`), and if that is asked against groups of classes
(`grouping`) and against people (`people`). All from stored outputs: no network runs, and no data
are needed. Of one seed, intervals are the bootstrap's over examples. Of several seeds they are
Student's over seeds, each the mean of what was measured on the networks of that seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from anew import objectives
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.core.text import plain
from anew.evaluation import ensemble, statistics
from anew.evaluation.insight import dark_knowledge, grouping, kept, people
from anew.evaluation.insight.collecting import (
    Options,
    chosen_places,
    log_probabilities,
    permutation_of,
)
from anew.evaluation.insight.grouping import Inside
from anew.evaluation.insight.kept import Kept, alone
from anew.evaluation.insight.people import Nearness
from anew.evaluation.outputs import outputs_in, read_whole
from anew.evaluation.statistics import Columns, Interval
from anew.family import Family
from anew.family.siblings import Siblings

FORMAT = 1
T = TypeVar("T")
TEACHER, PERMUTED = "teacher", "its outputs, permuted"
LABELS = "labels, best smoothed"


@dataclass(frozen=True)
class Against:
    """What else networks are held against: files of the user's."""

    groups: Path | None = None
    """A group for each class (see `grouping.read_groups`)."""
    people: str | None = None
    """People's answers to the test examples (see `people.read_people`)."""


@dataclass(frozen=True)
class Alike:
    """Which classes are alike to a network, against two other views, by rank over pairs i != j."""

    errors: Interval
    """Against its own errors (`dark_knowledge.agreement`)."""
    people: Interval
    """Against people's: by their first choice, where the other answers lie. NaN without people."""


@dataclass(frozen=True)
class Compared:
    """A network of each seed, or an ensemble, and what was measured of it; None if it was not."""

    name: str
    ids: tuple[tuple[str, ...], ...]
    """By seed; several ids are an ensemble's members, and none of what is no network."""
    kept: Kept | None
    alike: Alike
    inside: Inside | None
    inside_change: Inside | None
    """Its numbers less its teacher's, paired; of an ensemble less generation 0's."""
    people: Nearness | None
    people_change: Nearness | None


@dataclass(frozen=True)
class Comparison:
    """Networks side by side on the same examples."""

    format: int
    """The version of these fields, 1."""
    what: str
    """`siblings` or `similarity`."""
    split: str
    examples: int
    classes: tuple[str, ...]
    groups: tuple[str, ...] | None
    """The group of each class."""
    teachers: tuple[str, ...]
    """By seed, the ids of the siblings' teachers, or of the lineages' last networks."""
    described: str
    """The model, objective and seeds in words."""
    networks: tuple[Compared, ...]
    people_entropy: float | None
    """Mean entropy of people's shares in nats: the least cross-entropy that there is."""
    notices: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as `anew insight --format json` prints it."""
        return plain(self)


@dataclass(frozen=True)
class _Shown:
    """What stands in a line: what it says, and by its name what it learned from."""

    ids: tuple[str, ...]
    log_p: Float[Tensor, "examples classes"]
    teacher: str = ""
    is_like_teacher: bool = False
    """Whether it is compared with its teacher's outputs, and not only with its scores."""


@dataclass(frozen=True)
class _Panel:
    """All lines of one seed, on the same examples."""

    labels: Int64[Tensor, "examples"]
    shown: dict[str, _Shown]
    people: Float[Tensor, "examples classes"] | None


def compare_siblings(
    family: Family, siblings: Sequence[Siblings], options: Options, against: Against
) -> Comparison:
    """Compare the students of teachers that differ in their seeds alone (see `find_siblings`).

    Raises `AnewError` for the split `train`, damaged files, networks without stored outputs or of
    different examples, and files of `against` that do not fit.
    """
    reader = _Reader(family, options, against)
    panels: list[_Panel] = []
    for one in siblings:
        specs = {TEACHER: one.teacher, **one.students, **one.labelled}
        labels, places, logits = reader.read(specs)
        log_p = {name: log_probabilities([values]) for name, values in logits.items()}
        shown = {TEACHER: _Shown((one.teacher.id,), log_p[TEACHER])}
        for name, spec in one.students.items():
            shown[name] = _Shown((spec.id,), log_p[name], TEACHER, is_like_teacher=True)
        for name, spec in one.labelled.items():
            shown[name] = _Shown((spec.id,), log_p[name], TEACHER, is_like_teacher=True)

        integers = permutation_of(one.teacher, places, log_p[TEACHER].shape[-1])
        shuffled = objectives.permute_dark_knowledge(log_p[TEACHER], integers)
        shown[PERMUTED] = _Shown((), shuffled, TEACHER, is_like_teacher=True)
        panels.append(reader.panel(labels, places, shown))

    first = siblings[0]
    seeds = ", ".join(str(one.teacher.seed) for one in siblings)
    described = (
        f"{first.teacher.model.name}, students of generation {first.teacher.generation} "
        f"({first.teacher.origin}), seed {seeds}"
    )
    ids = tuple(one.teacher.id for one in siblings)
    return reader.comparison("siblings", described, ids, panels)


def compare_generations(
    family: Family, lineages: Sequence[Sequence[Spec]], options: Options, against: Against
) -> Comparison:
    """Compare the generations and ensembles of lineages that differ in their seeds alone.

    Raises `AnewError` as `compare_siblings` does.
    """
    reader = _Reader(family, options, against)
    panels: list[_Panel] = []
    for lineage in lineages:
        names = [f"generation {number}" for number in range(len(lineage))]
        labels, places, logits = reader.read(dict(zip(names, lineage, strict=True)))
        shown: dict[str, _Shown] = {}
        for number, (name, spec) in enumerate(zip(names, lineage, strict=True)):
            teacher = names[number - 1] if number else ""
            log_p = log_probabilities([logits[name]])
            shown[name] = _Shown((spec.id,), log_p, teacher, is_like_teacher=bool(number))

        for members, mean in ensemble.listed_means([logits[name] for name in names]):
            ids = tuple(lineage[member].id for member in members)
            name = f"ensemble {members[0]}-{members[-1]}"
            shown[name] = _Shown(ids, mean, names[0])
        panels.append(reader.panel(labels, places, shown))

    last = lineages[0][-1]
    seeds = ", ".join(str(lineage[-1].seed) for lineage in lineages)
    described = (
        f"{last.model.name}, {last.origin}, generations 0 to {len(lineages[0]) - 1}, seed {seeds}"
    )
    return reader.comparison(
        "similarity", described, tuple(lineage[-1].id for lineage in lineages), panels
    )


class _Reader:
    """Reads stored outputs and what they are held against; measures, and puts seeds together."""

    def __init__(self, family: Family, options: Options, against: Against) -> None:
        if options.split == "train":
            raise AnewError(
                "split train: siblings and similarity need stored outputs, and training examples "
                "have none; set --split test, or validation"
            )
        if against.people is not None and options.split != "test":
            raise AnewError(
                f"human labels {against.people}: are of the test examples; drop --split "
                f"{options.split}"
            )
        self._family, self._options, self._against = family, options, against
        self._classes: tuple[str, ...] = ()

    def read(
        self, specs: Mapping[str, Spec]
    ) -> tuple[Int64[Tensor, "all"], Int64[Tensor, "examples"], dict[str, Tensor]]:
        """Return the labels of all stored examples, which are looked at, and logits of these."""
        logits: dict[str, Tensor] = {}
        labels: Tensor | None = None
        for name, spec in specs.items():
            folder = self._family.folder(spec.id)
            folder.check_done()
            if folder.outputs.exists():
                folder.checked(folder.outputs)
            tensors, header = read_whole(folder)
            own, theirs = outputs_in(tensors, folder, self._options.split)
            if theirs.ndim > 1:
                raise AnewError(
                    f"{self._family.path}: its networks have outputs at every position, and "
                    "insight needs one for each example"
                )

            if labels is not None and not torch.equal(labels, theirs):
                raise AnewError(
                    f"{self._family.path}: {spec.id} was evaluated on other {self._options.split} "
                    f"examples than the others, so they cannot be compared"
                )
            labels, logits[name] = theirs, own
            self._classes = tuple(header["classes"])

        assert labels is not None, "there is a network"
        places = chosen_places(len(labels), self._options.examples)
        return labels, places, {name: values[places] for name, values in logits.items()}

    def panel(self, labels: Tensor, places: Tensor, shown: dict[str, _Shown]) -> _Panel:
        """Return one seed's lines with people's answers to the same examples."""
        shares = None
        if self._against.people is not None:
            shares = people.read_people(self._against.people, labels, self._classes)[places]
            best = people.smoothed_labels(labels[places], shares)
            shown = {**shown, LABELS: _Shown((), best)}
        return _Panel(labels[places], shown, shares)

    def comparison(
        self, what: str, described: str, teachers: tuple[str, ...], panels: Sequence[_Panel]
    ) -> Comparison:
        """Measure every line of every seed, and put the seeds together."""
        groups = None
        if self._against.groups is not None:
            groups = grouping.read_groups(self._against.groups, self._classes)
        numbers = grouping.numbers_of(groups) if groups is not None else None
        measured = [
            {name: _measure(panel, name, numbers) for name in panel.shown} for panel in panels
        ]

        # In the order of the first seed that has them.
        names = list(dict.fromkeys(name for one in measured for name in one))
        notices: list[str] = []
        networks: list[Compared] = []
        for name in names:
            there = [one[name] for one in measured if name in one]
            if len(there) < len(panels):
                notices.append(
                    f"{name}: has {len(there)} of {len(panels)} seeds; its means are over these."
                )
            networks.append(_over_seeds(there))

        return Comparison(
            format=FORMAT,
            what=what,
            split=self._options.split,
            examples=len(panels[0].labels),
            classes=self._classes,
            groups=groups,
            teachers=teachers,
            described=described,
            networks=tuple(networks),
            people_entropy=_entropy(panels[0].people),
            notices=tuple(notices),
        )


def _measure(panel: _Panel, name: str, groups: Tensor | None) -> Compared:
    """Measure one line of one seed."""
    shown = panel.shown[name]
    teacher = panel.shown.get(shown.teacher)
    is_network = name != LABELS

    inside: tuple[Inside | None, Inside | None] = None, None
    if groups is not None and is_network:
        inside = _paired(
            Inside,
            lambda log_p: grouping.columns(log_p, panel.labels, groups),
            grouping.quantities,
            (shown, teacher),
        )
    near: tuple[Nearness | None, Nearness | None] = None, None
    if panel.people is not None:
        shares = panel.people
        near = _paired(
            Nearness,
            lambda log_p: people.columns(log_p, shares),
            people.quantities,
            (shown, teacher),
        )

    compared_with = teacher if shown.is_like_teacher else shown if name == TEACHER else None
    return Compared(
        name=name,
        ids=(shown.ids,),
        kept=(
            kept.measure(shown.log_p, compared_with.log_p, panel.labels)
            if compared_with is not None
            else None
        ),
        alike=_alike(panel, shown.log_p) if is_network else _unlike(),
        inside=inside[0],
        inside_change=inside[1],
        people=near[0],
        people_change=near[1],
    )


def _paired(
    made: Callable[..., T],
    columns: Callable[[Tensor], Mapping[str, NDArray[np.float64]]],
    quantities: Callable[[Columns], Columns],
    pair: tuple[_Shown, _Shown | None],
) -> tuple[T, T | None]:
    """Return what is measured of a line, and that less its teacher's, on the same samples."""
    shown, teacher = pair
    own = dict(columns(shown.log_p))
    both = dict(own)
    if teacher is not None:
        both |= {f"teacher {name}": values for name, values in columns(teacher.log_p).items()}

    def of_means(mean: Columns) -> Columns:
        found = dict(quantities({name: mean[name] for name in own}))
        if teacher is None:
            return found
        theirs = quantities({name: mean[f"teacher {name}"] for name in own})
        return found | {f"change {name}": found[name] - theirs[name] for name in theirs}

    intervals = statistics.bootstrap(both, of_means)
    alone_ = {name: one for name, one in intervals.items() if not name.startswith("change ")}
    change = {name: intervals[f"change {name}"] for name in alone_ if teacher is not None}
    return made(**alone_), made(**change) if change else None


def _alike(panel: _Panel, log_p: Tensor) -> Alike:
    """Return which classes are alike to a network, against its errors and against people."""
    p, called = log_p.exp(), log_p.argmax(-1)
    similar = dark_knowledge.similarity(p, called)
    confusion = dark_knowledge.confusion_matrix(panel.labels, called, p.shape[-1])

    with_people = math.nan
    if panel.people is not None:
        theirs = dark_knowledge.similarity(panel.people, panel.people.argmax(-1))
        rows = (similar.sum(-1) > 0) & (theirs.sum(-1) > 0)
        with_people = dark_knowledge.rank_correlation(similar, theirs, rows)
    return Alike(alone(dark_knowledge.agreement(similar, confusion)), alone(with_people))


def _unlike() -> Alike:
    return Alike(alone(math.nan), alone(math.nan))


def _over_seeds(measured: Sequence[Compared]) -> Compared:
    """Put one line's seeds together; of one seed it stays as it is."""
    if len(measured) == 1:
        return measured[0]
    first = measured[0]
    parts = ("kept", "alike", "inside", "inside_change", "people", "people_change")
    together: dict[str, Any] = {
        part: statistics.across([getattr(one, part) for one in measured])
        for part in parts
        if getattr(first, part) is not None
    }
    return replace(first, ids=tuple(one.ids[0] for one in measured), **together)


def _entropy(shares: Tensor | None) -> float | None:
    return None if shares is None else -torch.special.xlogy(shares, shares).sum(-1).mean().item()
