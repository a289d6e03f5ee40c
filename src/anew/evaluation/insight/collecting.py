"""Everything that insight measures of one lineage on one set of examples, in one description.

On test and validation examples the stored outputs are enough, without data or networks. On training
examples, and at kept epochs, the networks are run on unaugmented examples in evaluation mode.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from anew import evaluation
from anew.core import randomness
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.core.text import plain
from anew.data import Data, Examples
from anew.data.loading import load_data
from anew.evaluation import ensemble
from anew.evaluation.insight import calibration, dark_knowledge, fidelity, gradients
from anew.evaluation.insight.calibration import Calibration, Harm
from anew.evaluation.insight.dark_knowledge import DarkKnowledge
from anew.evaluation.insight.fidelity import Fidelity
from anew.evaluation.insight.gradients import Gradients
from anew.evaluation.loading import load_network
from anew.evaluation.outputs import outputs_in, read_whole
from anew.family import Family, NetworkFolder
from anew.models import network, saving

FORMAT = 1
TRAINING_EXAMPLES = 10_000
"""How many training examples are looked at by default."""
Split = Literal["test", "validation", "train"]


@dataclass(frozen=True)
class Options:
    """Which examples are looked at, and how networks are read and run."""

    split: Split = "test"
    examples: int | None = None
    """How many, drawn at random; by default all stored ones, or 10,000 training examples."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    trusted: Collection[str] = ()
    """Names of models of the user's own that the family's files may name."""
    verified: Collection[str] = ()
    """Ids of networks whose files the caller has verified, so that they are not hashed again."""

    def __post_init__(self) -> None:
        if self.examples is not None and self.examples < 1:
            raise AnewError(
                f"examples must be a whole number >= 1, got {self.examples}; set --examples"
            )


@dataclass(frozen=True)
class Member:
    """A generation of the lineage that was looked at."""

    generation: int
    id: str
    model: str
    objective: str
    """An objective, or `given`, or `untrained`: what made its weights."""
    seed: int
    teachers: tuple[str, ...]
    kept_epochs: tuple[int, ...]
    """The epochs whose weights were kept, the last among them."""


@dataclass(frozen=True)
class Insight:
    """What a lineage learned, on the examples of one split: all that `anew insight` prints."""

    format: int
    """The version of these fields, 1; it grows when one changes its meaning or is removed."""
    split: str
    """`test`, `validation` or `train`."""
    examples: int
    classes: tuple[str, ...]
    lineage: tuple[Member, ...]
    """Oldest first."""
    gradients: tuple[Gradients, ...]
    """By generation, then epoch; generation 0 has none, because it has no teacher."""
    dark_knowledge: tuple[DarkKnowledge, ...]
    """Of every generation."""
    calibration: tuple[Calibration, ...]
    """Of every generation, then of ensembles of neighbours: see `ensemble.listed`."""
    harm: tuple[Harm, ...]
    """Teacher to student by generation; then first to last, and first to the whole ensemble."""
    fidelity: Fidelity
    notices: tuple[str, ...]
    """What is missing and why, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        """Return the insight as `anew insight --format json` prints it (see docs/insight.md)."""
        return plain(self)


@dataclass(frozen=True)
class _Seen:
    """The examples that are looked at, and what every generation says of them."""

    places: Int64[Tensor, "examples"]
    """Their numbers in the split."""
    labels: Int64[Tensor, "examples"]
    logits: tuple[Float[Tensor, "examples classes"], ...]
    """Of the lineage's networks, oldest first."""
    teachers: tuple[Float[Tensor, "examples classes"], ...]
    """What each student learned from, from generation 1 on; several teachers are averaged."""
    permutation: Int64[Tensor, "examples classes"]
    """DKPP's random integers, by the examples' numbers."""


def collect(
    family: Family,
    lineage: Sequence[Spec],
    options: Options | None = None,
    data: Data | None = None,
) -> Insight:
    """Measure what a finished lineage learned, on the examples of a split.

    `data` are the lineage's own data (see `find_data`). The split `train` needs them, and so do
    epochs whose weights were kept, which are left out without them.

    Raises `AnewError` for a network that is not finished, damaged files, a family without stored
    outputs, a split that was not held out, and data that are not the lineage's.
    """
    options = options or Options()
    collector = _Collector(family, lineage, options)
    if data is not None:
        _check_same(data, lineage[-1])
    elif options.split == "train":
        raise AnewError(
            "split train: needs the lineage's training data; give the data, or another split"
        )

    seen, classes = collector.see(data)
    return Insight(
        format=FORMAT,
        split=options.split,
        examples=len(seen.labels),
        classes=classes,
        lineage=collector.members(),
        gradients=collector.gradients(seen, data),
        dark_knowledge=tuple(
            dark_knowledge.measure(
                dark_knowledge.Generation(number, spec.id, seen.logits[number]),
                seen.labels,
                seen.permutation,
                seen.places,
            )
            for number, spec in enumerate(lineage)
        ),
        calibration=collector.calibration(seen),
        harm=_harm(seen, classes),
        fidelity=fidelity.measure(seen.logits, seen.labels),
        notices=tuple(collector.notices),
    )


def collect_with_data(
    family: Family,
    lineage: Sequence[Spec],
    options: Options | None = None,
    *,
    source: str | None = None,
    root: str | Path | None = None,
) -> Insight:
    """Collect, and read the lineage's data again if they are needed (see `find_data`).

    Missing data are an error for the split `train`, and if the caller says where they are. They
    are a notice if only kept epochs are left out.
    """
    options = options or Options()
    kept = any(family.folder(spec.id).kept_epochs() for spec in lineage[1:])
    data, missing = None, ""
    if options.split == "train" or kept or source is not None:
        try:
            data = find_data(lineage, source, root)
        except AnewError as error:
            if options.split == "train" or source is not None or root is not None:
                raise
            missing = f"Kept epochs are skipped: {error}."

    insight = collect(family, lineage, options, data)
    return replace(insight, notices=(*insight.notices, missing)) if missing else insight


def find_data(
    lineage: Sequence[Spec], source: str | None = None, root: str | Path | None = None
) -> Data:
    """Read a lineage's data again, from where they were or from `source` and `root`.

    Raises `AnewError` if they are not there.
    """
    try:
        return load_data(lineage[-1].data.at(source, root))
    except AnewError as error:
        raise AnewError(
            f"the family's data are not available ({error}); give their place with --data and "
            "--root"
        ) from error


class _Collector:
    """Measures one lineage: its folders, its stored outputs, and the notices on the way."""

    def __init__(self, family: Family, lineage: Sequence[Spec], options: Options) -> None:
        self._family, self._lineage, self._options = family, lineage, options
        # A student's further teachers are beside the lineage.
        self._everybody = {
            spec.id: spec
            for student in lineage
            for spec in (*student.teachers, student)
            if not spec.is_soft_labels
        }
        self._folders = {spec.id: self._sound(spec) for spec in self._everybody.values()}
        self._outputs: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {}
        self.notices = _unfinished(family, lineage)

    def _sound(self, spec: Spec) -> NetworkFolder:
        """Return a network's folder.

        Raises `AnewError` if it is not finished, or if a file is not as it was written.
        """
        folder = self._family.folder(spec.id)
        folder.check_done()
        wrong = [] if spec.id in self._options.verified else folder.verify()
        if wrong:
            raise AnewError(f"{wrong[0]}; restore it from a copy")
        return folder

    def members(self) -> tuple[Member, ...]:
        """Return the generations in words and numbers, oldest first."""
        return tuple(
            _member(number, spec, self._folders[spec.id])
            for number, spec in enumerate(self._lineage)
        )

    def see(self, data: Data | None) -> tuple[_Seen, tuple[str, ...]]:
        """Return what the networks say of the chosen examples, and the names of the classes."""
        if self._options.split == "train":
            assert data is not None, "checked by the caller"
            classes = data.classes
            wanted = self._options.examples or TRAINING_EXAMPLES
            places = chosen_places(len(data.training), wanted)
            chosen = data.training.take(places)
            labels = chosen.labels
            says = {
                network_id: self._ask(spec, self._folders[network_id].weights, chosen)
                for network_id, spec in self._everybody.items()
            }
        else:
            classes = tuple(self._stored(self._lineage[-1].id)[1]["classes"])
            says, labels = self._read_stored()
            places = chosen_places(len(labels), self._options.examples)
            says = {network_id: logits[places] for network_id, logits in says.items()}
            labels = labels[places]

        if labels.ndim > 1:
            raise AnewError(
                f"{self._family.path}: its networks have outputs at every position, and insight "
                "needs one for each example"
            )
        teachers = [
            _together([says[teacher.id] for teacher in spec.teachers], spec.teacher_weights)
            for spec in self._lineage[1:]
        ]
        seen = _Seen(
            places=places,
            labels=labels,
            logits=tuple(says[spec.id] for spec in self._lineage),
            teachers=tuple(teachers),
            permutation=permutation_of(self._lineage[-1], places, len(classes)),
        )
        return seen, classes

    def _stored(self, network_id: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return a network's stored outputs and their header; each file is read once."""
        if network_id not in self._outputs:
            self._outputs[network_id] = read_whole(self._folders[network_id])
        return self._outputs[network_id]

    def _read_stored(self) -> tuple[dict[str, Tensor], Int64[Tensor, "examples"]]:
        """Return the stored logits of networks by their ids, and their labels.

        Raises `AnewError` if the networks have outputs of different examples.
        """
        split = self._options.split
        # Files without stored outputs are refused before any is looked into.
        stored = {network_id: self._stored(network_id)[0] for network_id in self._everybody}
        outputs = {
            network_id: outputs_in(tensors, self._folders[network_id], split)
            for network_id, tensors in stored.items()
        }
        labels = outputs[self._lineage[-1].id][1]
        if any(not torch.equal(labels, other) for _, other in outputs.values()):
            raise AnewError(
                f"{self._family.path}: the networks of this lineage were evaluated on different "
                f"{split} examples, so they cannot be compared"
            )
        return {network_id: logits for network_id, (logits, _) in outputs.items()}, labels

    def _ask(self, spec: Spec, path: Path, examples: Examples) -> Float[Tensor, "examples classes"]:
        """Return the logits of a network with the weights at a path.

        They are computed as at the end of its training.
        """
        folder, device = self._folders[spec.id], self._options.device
        if path == folder.weights:
            loaded = load_network(folder, self._options.trusted)
        else:
            loaded = saving.load(path, self._options.trusted)
        placed = network.place(loaded, device, spec.training.memory_format)
        return evaluation.predict(placed, examples, device)

    def gradients(self, seen: _Seen, data: Data | None) -> tuple[Gradients, ...]:
        """Measure every student's gradients, towards its teacher at the teacher's end.

        At the student's end, and at its kept epochs if the data are at hand.
        """
        if len(self._lineage) == 1:
            self.notices.append(
                "There is no student yet, so there are no gradients and no comparisons."
            )
        if any(teacher.is_soft_labels for teacher in self._lineage[0].teachers):
            self.notices.append(
                "Generation 0 learned from soft labels, which do not cover these examples: it "
                "has no gradients."
            )
        for generation, spec in enumerate(self._lineage):
            if spec.objective.shuffled:
                self.notices.append(
                    f"Generation {generation} learned from a shuffled teacher: gradients are "
                    f"towards its own answers."
                )

        examples = None
        if data is not None:
            splits = {"test": data.test, "validation": data.validation, "train": data.training}
            examples = splits[self._options.split].take(seen.places)

        measured: list[Gradients] = []
        for generation, spec in enumerate(self._lineage[1:], 1):
            folder = self._folders[spec.id]
            epochs: list[tuple[int, Tensor]] = []
            if examples is not None:
                for epoch in folder.kept_epochs():
                    epochs.append((epoch, self._ask(spec, folder.at_epoch(epoch), examples)))
            epochs.append((_epoch_of(spec, folder), seen.logits[generation]))

            teacher = gradients.Teaching(
                seen.teachers[generation - 1], seen.labels, seen.permutation
            )
            for epoch, logits in epochs:
                student = gradients.Student(generation, spec.id, epoch, logits)
                measured.append(gradients.measure(student, teacher))
        return tuple(measured)

    def calibration(self, seen: _Seen) -> tuple[Calibration, ...]:
        """Measure every generation, then the ensembles of neighbours."""
        left_out = ensemble.notice_of_listed(len(self._lineage))
        if left_out:
            self.notices.append(left_out)

        held_out = self._held_out()
        logits, labels = held_out if held_out is not None else ([], seen.labels)
        measured: list[Calibration] = []
        # Without held-out examples the second sequence has no members, and ends at once.
        both = itertools.zip_longest(_singles_and_means(seen.logits), _singles_and_means(logits))
        for (members, log_p), other in both:
            validation = (other[1], labels) if other is not None else None
            measured.append(calibration.measure(members, log_p, seen.labels, validation))
        return tuple(measured)

    def _held_out(self) -> tuple[list[Tensor], Tensor] | None:
        """Return all generations' stored validation logits, and the labels.

        None, with a notice, if they cannot be used to fit a temperature.
        """
        if self._options.split == "validation":
            self.notices.append(
                "No temperature is fitted: it would be scored on the validation examples that "
                "chose it."
            )
            return None
        if not all(self._folders[spec.id].outputs.exists() for spec in self._lineage):
            self.notices.append(
                "No temperature is fitted: there are no stored outputs of validation examples."
            )
            return None

        stored = [self._stored(spec.id)[0] for spec in self._lineage]
        nothing = torch.zeros(0, dtype=torch.int64)
        labels = stored[0].get("validation.labels", nothing)
        if not len(labels):
            self.notices.append(
                "No temperature is fitted: no validation split was held out (--data.validation)."
            )
            return None
        others = [tensors.get("validation.labels", nothing) for tensors in stored]
        if not all(torch.equal(labels, other) for other in others):
            self.notices.append(
                "No temperature is fitted: the generations have different validation examples."
            )
            return None
        return [tensors["validation.last"] for tensors in stored], labels


def _check_same(data: Data, spec: Spec) -> None:
    if not data.spec.is_same(spec.data):
        raise AnewError(
            f"data '{data.spec.source}': are not the lineage's training data (fingerprint "
            f"{data.spec.fingerprint}, wanted {spec.data.fingerprint}, or another split); give "
            "the same data"
        )


def _unfinished(family: Family, lineage: Sequence[Spec]) -> list[str]:
    """Return a notice for each unfinished network that would carry this lineage on."""
    begun = family.specs(
        (folder.id for folder in family.folders() if not folder.is_done), gaps=True
    )
    return [
        f"generation {spec.generation} ({spec.id}, {spec.origin}) is not finished and is skipped."
        for spec in begun.values()
        if lineage[-1] in spec.lineage
    ]


def _epoch_of(spec: Spec, folder: NetworkFolder) -> int:
    """Return the epoch whose weights a finished network has: its last, or the least validation
    loss's.
    """
    best = folder.done.get("best_epoch") if spec.training.early_stopping else None
    return best["epoch"] if best else spec.training.epochs


def _member(generation: int, spec: Spec, folder: NetworkFolder) -> Member:
    last = () if spec.weights else (_epoch_of(spec, folder),)
    return Member(
        generation=generation,
        id=spec.id,
        model=spec.model.name,
        objective=spec.origin,
        seed=spec.seed,
        teachers=tuple(teacher.id for teacher in spec.teachers),
        kept_epochs=(*folder.kept_epochs(), *last),
    )


def chosen_places(count: int, wanted: int | None) -> Int64[Tensor, "examples"]:
    """Return the numbers of the examples to look at, in order.

    All of them, or so many drawn at random, the same each time.
    """
    if wanted is None or wanted >= count:
        return torch.arange(count)
    return randomness.order(randomness.key(0, "insight examples"), count)[:wanted].sort().values


def permutation_of(
    spec: Spec, places: Int64[Tensor, "examples"], classes: int
) -> Int64[Tensor, "examples classes"]:
    """Return DKPP's random integers (N, C) for examples by their numbers."""
    counters = places[:, None] * classes + torch.arange(classes)
    return randomness.bits(randomness.key(spec.data.seed, "insight permutation"), counters)


def _together(
    logits: Sequence[Tensor], weights: Sequence[float]
) -> Float[Tensor, "examples classes"]:
    """Return what teachers say together."""
    return logits[0] if len(logits) == 1 else ensemble.log_mean(logits, weights=weights)


def log_probabilities(logits: Sequence[Tensor]) -> Float[Tensor, "examples classes"]:
    """Return what a network, or the mean of several, says: log-probabilities in float64."""
    if len(logits) == 1:
        return F.log_softmax(logits[0].double(), dim=-1)
    return ensemble.log_mean(logits)


def _singles_and_means(logits: Sequence[Tensor]) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Yield every network, then the ensembles of neighbours, with their log-probabilities."""
    for number, one in enumerate(logits):
        yield (number,), log_probabilities([one])
    yield from ensemble.listed_means(logits)


def _harm(seen: _Seen, classes: Sequence[str]) -> tuple[Harm, ...]:
    """Compare neighbours, then the first with the last, then the first with the ensemble of all."""
    last = len(seen.logits) - 1
    everybody = tuple(range(last + 1))
    pairs: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    pairs += [((number - 1,), (number,)) for number in range(1, last + 1)]
    if last > 1:
        pairs.append(((0,), (last,)))
    if last > 0:
        pairs.append(((0,), everybody))

    def answers(members: tuple[int, ...]) -> calibration.Answers:
        logits = [seen.logits[number] for number in members]
        return calibration.Answers(members, log_probabilities(logits).argmax(-1) == seen.labels)

    repair = answers(everybody)
    return tuple(
        calibration.compare(
            answers(before),
            answers(after),
            repair if after != everybody else None,
            seen.labels,
            classes,
        )
        for before, after in pairs
    )
