"""Everything that a report shows, as plain data: what is read is separated from how it looks."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from anew.evaluation.insight import Insight
from anew.evaluation.statistics import Difference

FORMAT = 1
"""Of the report's JSON; docs/report.md says what is in it."""


@dataclass(frozen=True)
class Network:
    """One network of the family, finished or not."""

    id: str
    generation: int
    model: str
    objective: str
    """`label`, `ban`, ...; "given" where the network was not trained here."""
    seed: int
    teachers: tuple[str, ...]
    finished: bool
    epochs: int
    """How many it is trained for."""
    epochs_done: int
    error: float | None
    """Test error in percent; None where it is not finished."""
    cost: Cost
    curve: tuple[Mapping[str, Any], ...]
    """The rows of its metrics, one an epoch."""
    spec: Mapping[str, Any]
    """Every setting by its dotted name, without the places on the machine that it was trained on.
    """
    checks: Mapping[str, Any]
    environments: tuple[Mapping[str, Any], ...]
    files: Mapping[str, Mapping[str, Any]]
    """Hash and size of each file."""


@dataclass(frozen=True)
class Cost:
    """What a network took: seconds, pictures shown to it, and answers of its teacher's networks."""

    seconds: float | None = None
    pictures: int | None = None
    asked: int | None = None
    """Its share of the teacher's forwards: siblings that trained together share them equally."""
    served: int | None = None
    """For how many pictures of its batches its teacher's targets were given: what asking live and
    alone would take.
    """

    @property
    def saved(self) -> int | None:
        """The teacher's forwards that a store, or siblings, made needless; 0 at least."""
        if self.asked is None or self.served is None:
            return None
        return max(0, self.served - self.asked)


@dataclass(frozen=True)
class Comparison:
    """A generation or a mean of several compared with generation 0, on the same test examples."""

    name: str
    generations: tuple[int, ...]
    difference: Difference
    """Its error less generation 0's, in points: negative is better."""
    corrected_p: float
    """Holm's, over all comparisons of the answer."""
    verdict: str

    @property
    def label(self) -> str:
        """Its name in a chart or table, where there is little room."""
        name = self.name.replace("mean of generations", "mean of")
        return name[0].upper() + name[1:]


@dataclass(frozen=True)
class Answer:
    """What the page opens with: one sentence, what it rests on, and the comparisons behind it."""

    sentence: str
    basis: str
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A test picture with what every generation says about it."""

    index: int
    """Its place among the test examples."""
    label: int
    png: bytes
    probabilities: tuple[tuple[float, ...], ...]
    """Of every generation, oldest first, for every class."""
    predicted: tuple[int, ...]
    kind: str
    """`lost` (generation 0 right, the last wrong), `won`, `disagreement`, `wrong` (all agree and
    err), `right`.
    """


@dataclass(frozen=True)
class Gallery:
    """Some of the test pictures, and by which rule they were chosen; or why there are none."""

    pictures: tuple[Picture, ...] = ()
    rule: str = ""
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many of all test examples are of each kind."""
    missing: str = ""


@dataclass(frozen=True)
class StudyTable:
    """A study's table: its lines, what must be said with it, and all of it as data."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    controls_columns: tuple[str, ...]
    controls_lines: tuple[tuple[str, ...], ...]
    """Comparisons with controls, where the study has any."""
    about: tuple[str, ...]
    results: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """Everything on the page."""

    family: str
    """The folder's name."""
    model: str
    data: str
    examples: int
    """How many test examples; 0 where no network is finished."""
    classes: tuple[str, ...]
    answer: Answer
    notices: tuple[str, ...]
    """What is not there, and why."""
    lineage: tuple[str, ...]
    """The ids of the lineage that is shown, oldest first."""
    networks: tuple[Network, ...]
    """All of the family, oldest first."""
    rows: tuple[Mapping[str, Any], ...]
    """The lineage's scores, as `anew evaluate --json` prints them."""
    all_subsets: bool
    """Whether `rows` has every subset of the generations, or ensembles of consecutive ones only."""
    study: StudyTable | None
    insight: Insight | None
    gallery: Gallery
    version: str
    """anew's, which made the report."""

    @property
    def shown(self) -> tuple[Network, ...]:
        """The networks of the lineage that is shown, oldest first."""
        by_id = {network.id: network for network in self.networks}
        return tuple(by_id[one] for one in self.lineage)

    def to_json(self) -> dict[str, Any]:
        """Return the report as `anew report --format json` prints it: what is not known is null,
        PNGs are base64.
        """
        return {"format": FORMAT, "what": "a report of a family by anew", **plain(asdict(self))}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: it has no NaN and no bytes."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value
