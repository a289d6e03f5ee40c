"""Everything that a report shows, as plain data, apart from how it looks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from anew.core.text import capitalised, plain
from anew.evaluation import Row
from anew.evaluation.insight import Insight
from anew.evaluation.statistics import Difference
from anew.studies.results import Results

FORMAT = 1
"""The version of the report's JSON; docs/report.md describes it."""


@dataclass(frozen=True)
class NetworkSummary:
    """One network of the family, finished or not."""

    id: str
    generation: int
    model: str
    objective: str
    """`label`, `ban`, ...; "given" if the network was not trained here; "soft labels (FILE)"."""
    seed: int
    teachers: tuple[str, ...]
    finished: bool
    epochs: int
    """The epochs of its whole training."""
    epochs_done: int
    error: float | None
    """Test error in percent; None if the network is not finished."""
    perplexity: float | None
    """Test perplexity of a finished language model."""
    cost: Cost
    curve: tuple[Mapping[str, Any], ...]
    """The rows of its metrics, one an epoch."""
    spec: Mapping[str, Any]
    """Every setting by its dotted name, without folders of the machine that trained it."""
    checks: Mapping[str, Any]
    environments: tuple[Mapping[str, Any], ...]
    files: Mapping[str, Mapping[str, Any]]
    """Hash and size of each file."""

    @property
    def is_soft_labels(self) -> bool:
        """Whether soft labels stand here, and no network: they have no generation."""
        return self.generation < 0

    @property
    def result(self) -> tuple[str, str]:
        """The score and what it is: `61.65`, `test perplexity`."""
        if self.perplexity is not None:
            return f"{self.perplexity:.2f}", "test perplexity"
        return "-" if self.error is None else f"{self.error:.2f} %", "test error"

    def goes_on(self, lineage: Collection[str]) -> bool:
        """Return whether the network is not finished and its curve belongs beside a lineage's.

        It learns from the lineage, given by ids; where no network is finished, each belongs there.
        """
        if self.finished or not self.curve:
            return False
        return not lineage or bool(set(self.teachers) & set(lineage))


@dataclass(frozen=True)
class Cost:
    """What a network took: seconds, pictures, and forward passes of its teacher's networks."""

    seconds: float | None = None
    pictures: int | None = None
    asked: int | None = None
    """Its share of the teacher's forward passes, which siblings on one pass share equally."""
    served: int | None = None
    """The pictures for which it got its teacher's targets: what asking live and alone would take.
    """

    @property
    def saved(self) -> int | None:
        """The teacher's forward passes that a store or siblings saved; at least 0."""
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
    """By Holm's method, over all comparisons of the answer."""
    verdict: str

    @property
    def label(self) -> str:
        """Its short name, for a chart or a table."""
        return capitalised(self.name.replace("ensemble of generations", "ensemble of"))


@dataclass(frozen=True)
class Answer:
    """The sentence that opens the page, what it is based on, and the comparisons behind it."""

    sentence: str
    basis: str
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Use:
    """The network of a lineage to use alone, and where its file is."""

    generation: int
    is_last: bool
    """Whether it is the last of its lineage, which commands take where none is named."""
    id: str
    why: str
    file: str
    """Its weights, from the family's folder."""
    is_language_model: bool = False
    lineage: str = ""
    """The id at the end of its lineage, where the family has several and commands must name one."""


@dataclass(frozen=True)
class Picture:
    """A test picture with every generation's probabilities."""

    index: int
    """Its number among the test examples."""
    label: int
    png: bytes
    probabilities: tuple[tuple[float, ...], ...]
    """By generation, oldest first, then by class."""
    predicted: tuple[int, ...]
    kind: str
    """`lost` (generation 0 right, the last wrong), `won`, `disagreement`, `wrong` (all agree and
    err), `right`.
    """


@dataclass(frozen=True)
class Gallery:
    """Some test pictures, and the rule that chose them; or the reason for having none."""

    pictures: tuple[Picture, ...] = ()
    rule: str = ""
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many of all test examples are of each kind."""
    missing: str = ""


@dataclass(frozen=True)
class WordGroup:
    """Words of similar frequency, and what each later generation gains on them."""

    name: str
    share: float
    """Their share of the test tokens."""
    gains: tuple[float, ...]
    """Mean of log p less generation 0's, in nats, by generation from 1 on."""


@dataclass(frozen=True)
class Guess:
    """What a generation holds for the likeliest words at a place, with their probabilities."""

    generation: int
    words: tuple[tuple[str, float], ...]
    of_token: float
    """The probability of the word that is there."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of the test text, and the word in it where the generations differ most."""

    line: int
    before: str
    word: str
    after: str
    gain: float
    """The last generation's log p of the sentence less generation 0's, in nats."""
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class TextPart:
    """Where the last generation gains on the first: by words and by sentences."""

    groups: tuple[WordGroup, ...] = ()
    gained: tuple[Sentence, ...] = ()
    lost: tuple[Sentence, ...] = ()


@dataclass(frozen=True)
class StudyTable:
    """A study's table: its results, and their texts on the page."""

    results: Results
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    controls_columns: tuple[str, ...]
    controls_lines: tuple[tuple[str, ...], ...]
    """Comparisons with controls, if the study has any."""
    about: tuple[str, ...]
    """Notes that a reader of the table must know."""

    @property
    def title(self) -> str:
        """The study's title."""
        return self.results.study.title

    def to_json(self) -> dict[str, Any]:
        """Return the table as a report's JSON holds it."""
        return {
            "title": self.title,
            "columns": self.columns,
            "lines": self.lines,
            "controls_columns": self.controls_columns,
            "controls_lines": self.controls_lines,
            "about": self.about,
            "results": self.results.to_json(),
        }


@dataclass(frozen=True)
class Report:
    """Everything on the page."""

    family: str
    """The folder's name."""
    model: str
    data: str
    examples: int
    """The number of test examples; 0 if no network is finished."""
    classes: tuple[str, ...]
    answer: Answer
    notices: tuple[str, ...]
    """What is missing, and why."""
    lineage: tuple[str, ...]
    """The ids of the lineage that is shown, oldest first."""
    networks: tuple[NetworkSummary, ...]
    """All of the family, oldest first."""
    rows: tuple[Row, ...]
    """The lineage's scores."""
    all_subsets: bool
    """Whether `rows` has every subset of the generations, or only runs of consecutive ones."""
    study: StudyTable | None
    insight: Insight | None
    gallery: Gallery
    version: str
    """The version of anew that made the report."""
    text: TextPart | None = None
    """Of language models, where a generation gains."""
    use: Use | None = None
    """The network to use; None if none is finished, or if the page is a study's."""
    command: str = ""
    """The command that trains what is shown; "" if no single one does."""

    @property
    def is_text(self) -> bool:
        """Whether the networks are language models."""
        return self.text is not None

    @property
    def shown(self) -> tuple[NetworkSummary, ...]:
        """The networks of the lineage that is shown, oldest first."""
        by_id = {network.id: network for network in self.networks}
        return tuple(by_id[network_id] for network_id in self.lineage)

    def to_json(self) -> dict[str, Any]:
        """Return the report as `anew report --format json` prints it.

        What is not known is null, and PNGs are base64.
        """
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        parts["rows"] = [row.to_json() for row in self.rows]
        parts["study"] = self.study.to_json() if self.study is not None else None
        return {"format": FORMAT, "what": "a report of a family by anew", **plain(parts)}
