"""What a study takes: networks, examples, bytes and seconds, by arithmetic from specs, sizes and
speeds alone.

Nothing here is measured: speeds come from `estimating`, or from a rate that is given.

An example costs a network in training three of its forward passes (one forward, two backward).
Networks that are evaluated, and teachers that are asked, pass it forward once.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from anew.core import fields, files
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.spec import ModelSpec, Spec, TrainingSpec
from anew.data import Contents, Sizes, sizes
from anew.data.signature import Signature
from anew.family import FORMAT
from anew.models import network
from anew.teachers import Encoding, StoreKey, choose
from anew.teachers.store import store_key
from anew.training.checks import CHECKED_EXAMPLES, SIGNAL_BATCHES
from anew.training.launch.scheduler import in_order, next_parts

FORWARDS_OF_A_STEP = 3
# Text whose length hangs on what comes out: a line of metrics, a finished network's record, how far
# a state got.
METRICS_LINE_BYTES = 200
RECORD_BYTES = 1200
PROGRESS_BYTES = 700
HIGHEST_RATE = 1e12


@dataclass(frozen=True)
class Footprint:
    """What a model is on a kind of inputs: its parameters, its work, its tensors."""

    parameters: int
    flops: int
    """Floating-point operations of the forward pass of one example; a multiplication and an
    addition are two.
    """
    tensors: tuple[tuple[str, int, tuple[int, ...]], ...]
    """The state dict: each tensor's name, bytes an element and shape."""
    learned: tuple[tuple[int, ...], ...]
    """The shapes of the parameters that the optimizer moves."""
    header: str
    """What the file of weights says of the network."""

    @property
    def weights_bytes(self) -> int:
        """The size of the file of weights."""
        return file_bytes(self.tensors, self.header)

    def state_bytes(self, training: TrainingSpec) -> int:
        """Return the size of the file that a resumed run starts from: weights, optimizer, and the
        best weights.
        """
        tensors = [(f"model.{name}", size, shape) for name, size, shape in self.tensors]
        if training.best_epoch:
            tensors += [(f"best.{name}", size, shape) for name, size, shape in self.tensors]
        kept = ("exp_avg", "exp_avg_sq") if training.optimizer == "adamw" else ("momentum_buffer",)
        if training.optimizer == "adamw" or training.momentum > 0:
            tensors += [
                (f"optimizer.{number}.{name}", 4, shape)
                for number, shape in enumerate(self.learned)
                for name in kept
            ]
        return file_bytes(tensors, " " * PROGRESS_BYTES)


@cache
def footprint(model: ModelSpec, input_shape: tuple[int, ...], classes: int) -> Footprint:
    """Build a model once and count; `AnewError` where it is not known or does not take such inputs.

    Anew's own architectures are built without memory or work (torch's meta device); others may not
    know how.
    """
    channels = input_shape[0]
    signature = Signature(
        input_shape, tuple(map(str, range(classes))), (0.0,) * channels, (1.0,) * channels
    )
    with torch.device("cpu" if ":" in model.name else "meta"):
        built = network.build_empty(model, signature)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            built.eval()(torch.zeros(1, *input_shape))
    header = {
        "id": "0" * 16,
        "generation": 0,
        "model": fields.write(model),
        "input_shape": input_shape,
        "classes": signature.classes,
        "mean": (100 / 3,) * channels,
        "std": (100 / 3,) * channels,
    }
    return Footprint(
        parameters=sum(parameter.numel() for parameter in built.parameters()),
        flops=counter.get_total_flops(),
        tensors=tuple(
            (name, tensor.element_size(), tuple(tensor.shape))
            for name, tensor in built.model.state_dict().items()
        ),
        learned=tuple(tuple(one.shape) for one in built.parameters() if one.requires_grad),
        header=json.dumps(header),
    )


def file_bytes(tensors: Sequence[tuple[str, int, tuple[int, ...]]], header: str) -> int:
    """Return the size of a safetensors file: eight bytes, a JSON table padded to eight, and the
    tensors.
    """
    table: dict[str, Any] = {"__metadata__": {"anew": header}}
    end = 0
    for name, size, shape in tensors:
        start, end = end, end + size * math.prod(shape)
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": (start, end)}
    text = len(json.dumps(table, separators=(",", ":")))
    return 8 + -(-text // 8) * 8 + end


@dataclass(frozen=True)
class GroupNeeds:
    """What it takes to train the networks of a group of siblings that the family does not hold."""

    specs: tuple[Spec, ...]
    """Those that are missing."""
    sizes: Sizes
    batch_size: int
    way: str
    """How their teacher is asked: `live` or `table`; "" where they have none."""
    answers: int
    """Forward passes of teachers, one an example and network, as a mean over the draws of views."""
    answers_unshared: int
    """The same if every student asked live for itself."""
    answers_live: int
    """The same if the group asked live, once for all siblings."""
    store_bytes: int
    """What the store of answers takes in addition to what lies there."""
    network_bytes: int
    """What the finished networks take."""
    state_bytes: int
    """What their resumable states take while they are trained, the one that is being written
    counted twice.
    """

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
        """Return the examples on which a network is evaluated: validation each epoch, validation
        and test at the end.

        A network that is asked for its best epoch too passes the last ones twice.
        """
        last = (self.sizes.validation + self.sizes.test) * (2 if spec.training.best_epoch else 1)
        return spec.training.epochs * self.sizes.validation + last

    @property
    def evaluated(self) -> int:
        """Examples that pass forward to be evaluated."""
        return sum(map(self.evaluated_of, self.specs))

    @property
    def checked(self) -> int:
        """Forward passes that check the teachers before the first step; on the training set without
        a validation.
        """
        if not self.way:
            return 0
        teachers = len(self.specs[0].teachers)
        examples = min(CHECKED_EXAMPLES, self.sizes.validation or self.sizes.training)
        if self.specs[0].objective.shuffled:
            # Each training example is asked about once, to find its class.
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
    filled: Callable[[StoreKey], int | None] = lambda key: None,
) -> list[GroupNeeds]:
    """Return what each group takes that is not held whole, in the order in which they are trained.

    `held` are the ids of finished networks; `filled` tells how many answers a store holds that is
    there already, and None for one that is not. Teachers are asked as `teachers.choose` will choose
    with the disk that is left by then.
    """
    found: list[GroupNeeds] = []
    begun: dict[Path, int] = {}
    for group in groups:
        missing = tuple(spec for spec in group if spec.id not in held)
        if missing:
            used = sum(one.network_bytes + one.store_bytes for one in found)
            found.append(
                _group_needs(missing, contents, execution, free_bytes - used, filled, begun)
            )
    return found


def _group_needs(
    specs: tuple[Spec, ...],
    contents: Contents,
    execution: Execution,
    free_bytes: float,
    filled: Callable[[StoreKey], int | None],
    begun: dict[Path, int],
) -> GroupNeeds:
    """Return what one group takes; `begun` are the stores of the groups before it, with the epochs
    that fill them.
    """
    first, count = specs[0], sizes(contents, specs[0].data)
    batch_size = min(first.training.batch_size, count.training)
    shown, epochs = (
        count.training // batch_size * batch_size,
        max(spec.training.epochs for spec in specs),
    )
    teachers = len(first.teachers)
    way, answers, store_bytes = "", 0, 0
    if teachers:
        key = store_key(
            first, count.training, batch_size, Encoding(contents.classes, first.objective.top_k)
        )
        place, there = key.folder(Path()), filled(key)
        earlier = begun.get(place, 0)
        way = choose(
            execution.ask,
            views=key.views,
            epochs=epochs,
            passes=1,
            store_bytes=key.bytes,
            budget_bytes=execution.disk_budget * 1e9,
            free_bytes=free_bytes,
            is_there=there is not None or place in begun,
        ).way
        answers = epochs * shown
        if way == "table":
            before, after = (
                _met(key, shown / count.training, past) for past in (earlier, earlier + epochs)
            )
            answers = max(0, round(after) - max(round(before), there or 0))
            if there is None and place not in begun:
                store_bytes = key.bytes + len(
                    json.dumps({"format": FORMAT, "key": key.to_json()}, indent=1)
                )
            begun[place] = earlier + epochs
    states = [_footprint(spec, contents).state_bytes(spec.training) for spec in specs]
    return GroupNeeds(
        specs=specs,
        sizes=count,
        batch_size=batch_size,
        way=way,
        answers=teachers * answers,
        answers_unshared=teachers * shown * sum(spec.training.epochs for spec in specs),
        answers_live=teachers * shown * epochs,
        store_bytes=store_bytes,
        network_bytes=sum(_network_bytes(spec, contents, count) for spec in specs),
        state_bytes=sum(states) + max(states),
    )


def _met(key: StoreKey, share: float, epochs: int) -> float:
    """Return how many distinct views are met, as a mean: an epoch shows an example with that
    probability, in one of V.

    n V (1 - (1 - share / V)^E).
    """
    return key.examples * key.views * (1 - (1 - share / key.views) ** epochs)


def _footprint(spec: Spec, contents: Contents) -> Footprint:
    return footprint(spec.model, contents.input_shape, contents.classes)


def _network_bytes(spec: Spec, contents: Contents, count: Sizes) -> int:
    """Return what a finished network's folder holds: weights, outputs, spec, metrics and record."""
    kept = 2 if spec.training.best_epoch else 1
    outputs = [
        (f"{split}.{what}", size, shape)
        for split, examples in (("validation", count.validation), ("test", count.test))
        for what, size, shape in (
            ("labels", 8, (examples,)),
            *[("last", 4, (examples, contents.classes))] * kept,
        )
    ]
    written = len(json.dumps({"format": FORMAT, "id": spec.id, **spec.to_json()}, indent=1)) + 1
    text = written + RECORD_BYTES + spec.training.epochs * METRICS_LINE_BYTES
    names = json.dumps(
        {"classes": [str(one) for one in range(contents.classes)], "fingerprint": "0" * 16}
    )
    return kept * _footprint(spec, contents).weights_bytes + file_bytes(outputs, names) + text


def check_room(name: str, found: Sequence[GroupNeeds], workers: int, out: Path) -> None:
    """Raise `AnewError` where what groups write, so many at once, does not fit the disk on which
    `out` lies.
    """
    disk, free = Disk.of(found, workers), files.free_bytes(out)
    if disk.whole > free:
        raise AnewError(
            f"study '{name}': needs {in_bytes(disk.whole)} at {out} ({in_bytes(disk.networks)} "
            f"networks, "
            f"{in_bytes(disk.stores)} stored targets, {in_bytes(disk.states)} states while they "
            f"are trained), "
            f"{in_bytes(free)} is free; give another --out, fewer --seeds or --rows, or go on with "
            f"--force"
        )


@dataclass(frozen=True)
class Disk:
    """Bytes that a study adds to its family's disk."""

    networks: int
    """Weights, outputs and records of the finished networks."""
    stores: int
    """Stored targets; a store's file is sparse, so this is reached only where all views are met."""
    states: int
    """Resumable states at their most, of the groups that are trained at once; gone at the end."""

    @property
    def whole(self) -> int:
        """What must be free to start."""
        return self.networks + self.stores + self.states

    @classmethod
    def of(cls, found: Sequence[GroupNeeds], workers: int) -> Disk:
        """Return what groups take when so many are trained at once."""
        at_once = heapq.nlargest(workers, (one.state_bytes for one in found))
        return cls(
            sum(one.network_bytes for one in found),
            sum(one.store_bytes for one in found),
            sum(at_once),
        )


NetworkKind = tuple[ModelSpec, object, TrainingSpec]
TeacherKind = tuple[tuple[ModelSpec, ...], TrainingSpec, int | None]


def network_kind(spec: Spec) -> NetworkKind:
    """Return what decides the speed of a network's steps: model, objective and settings, but not
    the epochs.
    """
    return spec.model, spec.objective, replace(spec.training, epochs=1)


def teacher_kind(spec: Spec) -> TeacherKind:
    """Return what decides the speed at which a student's teacher answers."""
    return (
        tuple(one.model for one in spec.teachers),
        replace(spec.training, epochs=1),
        spec.objective.top_k,
    )


@dataclass(frozen=True)
class Pace:
    """Seconds of one kind of network."""

    step: float
    """A training step on one batch."""
    evaluated: float
    """One example forward, in evaluation."""
    epoch: float = 0.0
    """The end of an epoch: its record and its save, without the evaluation."""
    whole: float = 0.0
    """To build, place and finish a network, without the evaluation."""


@dataclass(frozen=True)
class Asking:
    """Seconds in which one kind of teacher answers for a batch."""

    live: float
    filling: float
    """Asked, and its answers written to a store."""
    reading: float
    """Read from a store."""
    whole: float = 0.0
    """To bring the teacher's networks into memory."""


@dataclass(frozen=True)
class Speeds:
    """How fast networks are trained and teachers answer, by their kinds, and where that is known
    from.
    """

    said: str
    networks: Mapping[NetworkKind, Pace]
    teachers: Mapping[TeacherKind, Asking]
    batch: float = 0.0
    """Seconds to make a batch of views, once for all siblings."""
    reading: float = 0.0
    """Seconds to read and split the data, once a study."""


def speeds_of_rate(rate: float, found: Sequence[GroupNeeds], contents: Contents) -> Speeds:
    """Return speeds from the examples a second at which the study's largest network (by FLOPs) is
    trained.

    All other work is scaled by its FLOPs: as if every network kept the device as busy as the
    largest does, which small ones do not, so that for them it is a lower bound of the time.
    """
    specs = [spec for one in found for spec in one.specs]
    largest = max(specs, key=lambda spec: _footprint(spec, contents).flops)
    flops = _footprint(largest, contents).flops
    second = rate * FORWARDS_OF_A_STEP * flops

    def forward(model: ModelSpec) -> float:
        return footprint(model, contents.input_shape, contents.classes).flops / second

    networks: dict[NetworkKind, Pace] = {}
    teachers: dict[TeacherKind, Asking] = {}
    for one in found:
        for spec in one.specs:
            once = forward(spec.model)
            networks[network_kind(spec)] = Pace(FORWARDS_OF_A_STEP * one.batch_size * once, once)
        asked = one.batch_size * sum(forward(teacher.model) for teacher in one.specs[0].teachers)
        teachers[teacher_kind(one.specs[0])] = Asking(asked, asked, 0.0)
    said = (
        f"{largest.model.name} at {rate:,.4g} examples a second in training, as given "
        f"({flops / 1e9:,.3g} GFLOPs "
        f"forward, so {second / 1e12:,.3g} TFLOP/s); all else scaled by FLOPs, so at least this "
        f"for smaller networks"
    )
    return Speeds(said, networks, teachers)


def network_seconds(one: GroupNeeds, spec: Spec, speeds: Speeds) -> float:
    """Return the seconds of one network of a group: steps, evaluations, saves; without batches and
    teachers.
    """
    pace = speeds.networks[network_kind(spec)]
    checked = one.first_batches * one.batch_size if spec.teachers else 0
    return (
        one.steps_of(spec) * pace.step
        + (one.evaluated_of(spec) + checked) * pace.evaluated
        + spec.training.epochs * pace.epoch
        + pace.whole
    )


def teacher_seconds(one: GroupNeeds, speeds: Speeds) -> float:
    """Return the seconds in which a group's teacher is checked and answers."""
    if not one.way:
        return 0.0
    asking, teachers = speeds.teachers[teacher_kind(one.specs[0])], len(one.specs[0].teachers)
    checked = one.checked / one.batch_size / teachers * asking.live + asking.whole
    asked = one.answers / one.batch_size / teachers
    if one.way == "live":
        return checked + asked * asking.live
    return checked + asked * asking.filling + (one.batches - asked) * asking.reading


def group_seconds(one: GroupNeeds, speeds: Speeds) -> float:
    """Return the seconds of a group of siblings side by side on one worker."""
    networks = sum(network_seconds(one, spec, speeds) for spec in one.specs)
    return networks + teacher_seconds(one, speeds) + one.batches * speeds.batch


def schedule(
    groups: Sequence[Sequence[Spec]], seconds: Callable[[Sequence[Spec]], float], workers: int
) -> float:
    """Return when so many equal workers have trained groups of siblings, as
    `scheduling.train_groups` gives them out.

    Each group when its teachers are there, the most awaited first, cut into parts where workers
    would stand idle; `seconds` tells of a group, or a part of one, how long a worker takes for it.
    No worker stands idle while a group could be trained, so this is at most (2 - 1 / workers) times
    the best for the same parts (Graham 1969).
    """
    waiting = in_order(groups, workers)
    absent = {spec.id for group in groups for spec in group}
    running: list[tuple[float, int, list[Spec]]] = []
    now, begun = 0.0, itertools.count()
    while waiting or running:
        parts, waiting = next_parts(
            waiting, workers - len(running), lambda spec: spec.id not in absent
        )
        for part in parts:
            heapq.heappush(running, (now + seconds(part), next(begun), part))
        now, _, finished = heapq.heappop(running)
        absent.difference_update(spec.id for spec in finished)
    return now


@dataclass(frozen=True)
class Line:
    """What the networks of one model take."""

    model: str
    parameters: int
    flops: int
    networks: int
    held: int
    trained: int
    evaluated: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a study takes, in all and by model."""

    study: str
    lines: list[Line]
    groups: int
    """Groups of siblings that have networks to train."""
    steps: int
    answers: int
    """Forward passes of teachers that are asked."""
    saved_by_siblings: int
    """Forward passes of teachers that siblings save by sharing them."""
    saved_by_stores: int
    checked: int
    teacher_seconds: float
    batch_seconds: float
    """Seconds in which batches of views are made and the data is read."""
    disk: Disk
    free_bytes: float
    workers: int
    critical_seconds: float
    """When the last of the workers is done."""
    chain_seconds: float
    """The longest lineage, each network on a worker of its own: no number of workers is faster."""
    speeds: str
    notes: tuple[str, ...] = field(default_factory=tuple[str, ...])

    @property
    def networks(self) -> int:
        """Networks to train."""
        return sum(line.networks for line in self.lines)

    @property
    def held(self) -> int:
        """Networks that the family holds."""
        return sum(line.held for line in self.lines)

    @property
    def trained(self) -> int:
        """Examples that pass forward and backward."""
        return sum(line.trained for line in self.lines)

    @property
    def evaluated(self) -> int:
        """Examples that pass forward to be evaluated."""
        return sum(line.evaluated for line in self.lines)

    @property
    def seconds(self) -> float:
        """The time on one worker."""
        return sum(line.seconds for line in self.lines) + self.teacher_seconds + self.batch_seconds

    @property
    def fits(self) -> bool:
        """Whether the disk has room for it."""
        return self.disk.whole <= self.free_bytes

    def to_json(self) -> dict[str, Any]:
        """Return the plan as `anew study plan --format json` prints it."""
        totals = {
            name: getattr(self, name)
            for name in ("networks", "held", "trained", "evaluated", "seconds", "fits")
        }
        return {**asdict(self), **totals}


def plan(
    study: str,
    groups: Sequence[Sequence[Spec]],
    found: Sequence[GroupNeeds],
    contents: Contents,
    speeds: Speeds,
    workers: int,
    free_bytes: float,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Add up what the groups of a study take: `found` is what `needs` returned for them."""
    everything = [spec for group in groups for spec in group]
    lines: list[Line] = []
    for model in dict.fromkeys(spec.model for spec in everything):
        of_model = [(one, spec) for one in found for spec in one.specs if spec.model == model]
        counted = footprint(model, contents.input_shape, contents.classes)
        lines.append(
            Line(
                model=" ".join([model.name, *(f"{name}={value}" for name, value in model.options)]),
                parameters=counted.parameters,
                flops=counted.flops,
                networks=len(of_model),
                held=sum(spec.model == model for spec in everything) - len(of_model),
                trained=sum(one.steps_of(spec) * one.batch_size for one, spec in of_model),
                evaluated=sum(one.evaluated_of(spec) for one, spec in of_model),
                bytes=sum(_network_bytes(spec, contents, one.sizes) for one, spec in of_model),
                seconds=sum(network_seconds(one, spec, speeds) for one, spec in of_model),
            )
        )
    group_of = {spec.id: one for one in found for spec in one.specs}
    missing = [one.specs for one in found]

    def seconds(part: Sequence[Spec]) -> float:
        # Parts of a group that are trained at once each ask their teacher.
        return group_seconds(replace(group_of[part[0].id], specs=tuple(part)), speeds)

    reading = speeds.reading if found else 0.0
    return Plan(
        study=study,
        lines=lines,
        groups=len(found),
        steps=sum(one.steps_of(spec) for one in found for spec in one.specs),
        answers=sum(one.answers for one in found),
        saved_by_siblings=sum(one.answers_unshared - one.answers_live for one in found),
        saved_by_stores=sum(one.answers_live - one.answers for one in found),
        checked=sum(one.checked for one in found),
        teacher_seconds=sum(teacher_seconds(one, speeds) for one in found),
        batch_seconds=sum(one.batches for one in found) * speeds.batch + reading,
        disk=Disk.of(found, workers),
        free_bytes=free_bytes,
        workers=workers,
        critical_seconds=schedule(missing, seconds, workers) + reading,
        chain_seconds=schedule(missing, seconds, max(1, len(group_of))) + reading,
        speeds=speeds.said,
        notes=notes,
    )


def in_bytes(count: float) -> str:
    """Return bytes in words."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


def in_time(seconds: float) -> str:
    """Return a time in words: seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
