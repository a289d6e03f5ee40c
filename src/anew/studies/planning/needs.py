"""What groups of siblings take: steps, forward passes of their teachers, and bytes on the disk.

Everything here is arithmetic from specs and sizes. Nothing is trained or measured.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from anew.core import files
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.spec import Spec
from anew.core.text import in_bytes
from anew.data import Contents, Sizes, sizes
from anew.evaluation.outputs import outputs_bytes
from anew.family.folder import records_bytes
from anew.studies.planning.footprint import footprint_of
from anew.teachers import Encoding, Need, StoreKey, asking, choose
from anew.teachers.store import store_key
from anew.training.checks import CHECKED_EXAMPLES, SIGNAL_BATCHES

Filled = Callable[[StoreKey], int | None]
"""Returns how many answers a store holds already; None if no such store exists."""


@dataclass(frozen=True)
class GroupNeeds:
    """What it takes to train the networks of a group of siblings that the family does not hold."""

    specs: tuple[Spec, ...]
    """The networks that are missing."""
    sizes: Sizes
    batch_size: int
    way: str
    """How their teacher is asked: `live` or `table`; "" without a teacher."""
    answers: int
    """Forward passes of teachers, one an example and network: the mean over the draws of views."""
    answers_unshared: int
    """The same if every student asked live for itself."""
    answers_live: int
    """The same if the group asked live, once for all siblings."""
    store_bytes: int
    """What the store of answers takes beyond what is on the disk already."""
    network_bytes: int
    """What the finished networks take."""
    state_bytes: int
    """What their resumable states take during training; the one being written counts twice."""

    def steps_of(self, spec: Spec) -> int:
        """Return the number of steps that a network takes."""
        return spec.training.epochs * (self.sizes.training // self.batch_size)

    @property
    def batches(self) -> int:
        """The batches that pass, each once for all siblings."""
        return max(map(self.steps_of, self.specs))

    @property
    def trained(self) -> int:
        """Examples that pass forward and backward."""
        return sum(map(self.steps_of, self.specs)) * self.batch_size

    def evaluated_of(self, spec: Spec) -> int:
        """Return the number of examples on which a network is evaluated.

        Validation examples each epoch; validation and test examples at the end, and again if the
        best epoch or an average is kept.
        """
        last = (self.sizes.validation + self.sizes.test) * len(spec.training.kept_weights)
        return spec.training.epochs * self.sizes.validation + last

    @property
    def evaluated(self) -> int:
        """Examples that pass forward to be evaluated."""
        return sum(map(self.evaluated_of, self.specs))

    @property
    def checked(self) -> int:
        """Forward passes that check the teachers before the first step.

        They are on validation examples, or on training examples if no validation is held out.
        """
        if not self.way:
            return 0
        teachers = len(self.specs[0].teachers)
        examples = min(CHECKED_EXAMPLES, self.sizes.validation or self.sizes.training)
        if self.specs[0].objective.shuffled:
            # A shuffled teacher classifies each training example once before the first step.
            examples += self.sizes.training
        return teachers * (examples + len(self.specs) * self.first_batches * self.batch_size)

    @property
    def first_batches(self) -> int:
        """The batches on which a student's teacher's term is measured."""
        return min(SIGNAL_BATCHES, self.sizes.training // self.batch_size)


def needs(
    groups: Sequence[Sequence[Spec]],
    held: Collection[str],
    contents: Contents,
    execution: Execution,
    free_bytes: float,
    filled: Filled = lambda key: None,
) -> list[GroupNeeds]:
    """Return what each group takes that has networks to train, in the order of training.

    `held` are the ids of finished networks. `filled` returns how many answers a store holds.
    Teachers are asked as `teachers.choose` will choose with the disk that is left by then.
    """
    counter = _Counter(contents, execution, filled)
    counted: list[GroupNeeds] = []
    for group in groups:
        missing = tuple(spec for spec in group if spec.id not in held)
        if missing:
            used = sum(group.network_bytes + group.store_bytes for group in counted)
            counted.append(counter.count(missing, free_bytes - used))
    return counted


@dataclass(frozen=True)
class _Answers:
    """How a group's teacher is asked, for how many examples, and what its new store takes."""

    way: str = ""
    examples: int = 0
    store_bytes: int = 0


class _Counter:
    """Counts what groups take, one after the other: later groups use the stores of earlier ones."""

    def __init__(self, contents: Contents, execution: Execution, filled: Filled) -> None:
        self._contents, self._execution, self._filled = contents, execution, filled
        # The epochs that have filled each store so far.
        self._epochs: dict[Path, int] = {}

    def count(self, specs: tuple[Spec, ...], free_bytes: float) -> GroupNeeds:
        """Return what one group takes."""
        first = specs[0]
        count = sizes(self._contents, first.data)
        batch_size = min(first.training.batch_size, count.training)
        shown = count.training // batch_size * batch_size
        epochs = max(spec.training.epochs for spec in specs)

        teachers = len(first.teachers)
        answers = self._answers(specs, shown, free_bytes) if teachers else _Answers()
        states = [
            footprint_of(spec.model, self._contents).state_bytes(spec.training) for spec in specs
        ]
        return GroupNeeds(
            specs=specs,
            sizes=count,
            batch_size=batch_size,
            way=answers.way,
            answers=teachers * answers.examples,
            answers_unshared=teachers * shown * sum(spec.training.epochs for spec in specs),
            answers_live=teachers * shown * epochs,
            store_bytes=answers.store_bytes,
            network_bytes=sum(network_bytes(spec, self._contents, count) for spec in specs),
            state_bytes=sum(states) + max(states),
        )

    def _answers(self, specs: tuple[Spec, ...], shown: int, free_bytes: float) -> _Answers:
        """Return how a group's teacher is asked if `shown` examples pass each epoch."""
        first, training = asking(specs), sizes(self._contents, specs[0].data).training
        encoding = Encoding(self._contents.classes, first.objective.top_k)
        batch_size = min(first.training.batch_size, training)
        key = store_key(first, training, batch_size, encoding, self._contents.positions)
        place, held = key.folder(Path()), self._filled(key)
        is_new = held is None and place not in self._epochs
        epochs = first.training.epochs
        need = Need(key.views, epochs, key.bytes, free_bytes, is_begun=not is_new, by=key.by)
        way = choose(need, self._execution).way
        if way != "table":
            return _Answers(way, epochs * shown)

        earlier = self._epochs.get(place, 0)
        self._epochs[place] = earlier + epochs
        before = _distinct(key, shown / training, earlier)
        after = _distinct(key, shown / training, earlier + epochs)
        asked = max(0, round(after) - max(round(before), held or 0))
        return _Answers(way, asked, key.bytes + len(key.header) if is_new else 0)


def _distinct(key: StoreKey, share: float, epochs: int) -> float:
    """Return the mean number of distinct (example, view) pairs in so many epochs.

    n V (1 - (1 - share / V)^E): an epoch shows an example with probability `share`, in one of V
    views. A store by epoch has a place for each example and epoch, whoever learns.
    """
    if key.by == "epoch":
        return key.examples * share * min(epochs, key.views)
    return key.examples * key.views * (1 - (1 - share / key.views) ** epochs)


def network_bytes(spec: Spec, contents: Contents, count: Sizes) -> int:
    """Return the size of a finished network's folder: weights, outputs and records."""
    epochs = spec.training.kept_weights
    weights = len(epochs) * footprint_of(spec.model, contents).weights_bytes
    outputs = outputs_bytes(count, contents.classes, epochs, contents.positions)
    return weights + outputs + records_bytes(spec)


@dataclass(frozen=True)
class Disk:
    """Bytes that a study adds to its family's disk."""

    networks: int
    """Weights, outputs and records of the finished networks."""
    stores: int
    """Stored targets. The files are sparse: they grow so large only if all views are met."""
    states: int
    """The largest resumable states of groups that are trained at once; removed at the end."""

    @property
    def whole(self) -> int:
        """What must be free at the start."""
        return self.networks + self.stores + self.states

    @classmethod
    def of(cls, groups: Sequence[GroupNeeds], workers: int) -> Disk:
        """Return what groups take if so many are trained at once."""
        at_once = heapq.nlargest(workers, (group.state_bytes for group in groups))
        return cls(
            networks=sum(group.network_bytes for group in groups),
            stores=sum(group.store_bytes for group in groups),
            states=sum(at_once),
        )


def check_room(name: str, groups: Sequence[GroupNeeds], workers: int, out: Path) -> None:
    """Raise `AnewError` if the disk of `out` has no room for what groups write."""
    disk, free = Disk.of(groups, workers), files.free_bytes(out)
    if disk.whole > free:
        raise AnewError(
            f"study '{name}': needs {in_bytes(disk.whole)} at {out} ({in_bytes(disk.networks)} "
            f"networks, {in_bytes(disk.stores)} cached targets, {in_bytes(disk.states)} training "
            f"states), {in_bytes(free)} is free; give another --out, fewer --seeds or --rows, or "
            "continue with --force"
        )
