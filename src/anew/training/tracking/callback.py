"""What all trackers share: runs, no step twice, and failures that change no training.

The calls of the training are queued, and a thread of the tracker's own writes them. So a tracker
that is slow, raises an error or never answers costs the training nothing.
"""

from __future__ import annotations

import math
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

from anew.core.callbacks import Callback
from anew.core.errors import in_one_line
from anew.core.spec import Spec
from anew.family.differences import settings

END_SECONDS = 60.0
"""How long the end of a training waits for a tracker that has not written everything yet."""
_PARTS = ("train", "validation")
# Names of a row that are no measurements.
_PLACES = ("step",)


@dataclass(frozen=True)
class Run:
    """What a tracker is told of a network: its run's id, name, group and settings."""

    id: str
    """The network's id: the same network always has the same run."""
    name: str
    group: str
    """The lineage: the id of its first network."""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, spec: Spec) -> Run:
        """Return the run of a network."""
        name = f"generation {spec.generation}, {spec.origin}, seed {spec.seed} ({spec.id[:8]})"
        about = {"generation": spec.generation, "teachers": [one.id for one in spec.teachers]}
        return cls(spec.id, name, f"lineage {spec.lineage[0].id}", {**about, **settings(spec)})


@runtime_checkable
class RunLog(Protocol):
    """A run that is open for writing."""

    last_step: int
    """The last training step that the run holds, 0 if it is new."""

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add values at a step."""
        ...

    def close(self) -> None:
        """Write what is buffered, and close the run."""
        ...


@runtime_checkable
class Destination(Protocol):
    """Where runs are written: a folder, a server, a project."""

    def open(self, run: Run) -> RunLog:
        """Open a network's run, new or as it was left."""
        ...


class Tracker(Callback):
    """Writes networks' metrics to a tracker.

    An error of the tracker is said in one line, by `say` (standard error if None), and nothing more
    is written. It never reaches the training.
    """

    def __init__(
        self, name: str, destination: Destination, say: Callable[[str], None] | None = None
    ) -> None:
        self.name = name
        self._destination, self._say = destination, say or _say_on_standard_error
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._runs: dict[str, RunLog] = {}
        self._failure = ""
        self._is_over = False

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """Open the networks' runs."""
        for spec in specs:
            self._give(partial(self._open, spec))

    def training_resumed(self, spec: Spec, rows: Sequence[dict[str, Any]]) -> None:
        """Write the epochs before the start that the run lacks."""
        for row in rows:
            self._give(partial(self._write, spec, _values(row), row["step"]))

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """Write an epoch's metrics at its last step."""
        self._give(partial(self._write, spec, _values(row), row["step"]))

    def network_done(self, spec: Spec, record: dict[str, Any], *, found: bool) -> None:
        """Write the test scores one step after the last, and close the run.

        A network that was finished before this training has its run already, or none.
        """
        if not found:
            self._give(partial(self._finish, spec, _numbers("test", record["test"])))

    def training_ended(self) -> None:
        """Wait until everything is written, for a minute at most, and close the runs."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            thread.join(END_SECONDS)
            if thread.is_alive() and not self._is_over:
                self._failure = f"has not answered for {END_SECONDS:.0f} seconds"
        self._report()

    def _give(self, call: Callable[[], object]) -> None:
        """Queue a call for the tracker's thread; drop it after a failure."""
        self._report()
        if self._is_over:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
            self._thread.start()
        self._calls.put(call)

    def _report(self) -> None:
        """Say once, in the training's own thread, that the tracker failed."""
        if self._failure and not self._is_over:
            self._is_over = True
            self._say(f"tracker {self.name}: {self._failure}; training continues without it")

    def _work(self) -> None:
        """Make the queued calls, one after another: the main function of the thread."""
        # Whatever a tracker raises is its own: any error of it must leave the training alone.
        try:
            while (call := self._calls.get()) is not None:
                call()
            while self._runs:
                self._runs.popitem()[1].close()
        except Exception as error:
            self._failure = in_one_line(error)

    def _open(self, spec: Spec) -> RunLog:
        if spec.id not in self._runs:
            self._runs[spec.id] = self._destination.open(Run.of(spec))
        return self._runs[spec.id]

    def _write(self, spec: Spec, values: Mapping[str, float], step: int) -> None:
        run = self._open(spec)
        if step > run.last_step:
            run.write(values, step)
            run.last_step = step

    def _finish(self, spec: Spec, values: Mapping[str, float]) -> None:
        run = self._open(spec)
        run.write(values, run.last_step)
        self._runs.pop(spec.id).close()


def _values(row: Mapping[str, Any]) -> dict[str, float]:
    """Return an epoch's numbers by the names that trackers group: `validation/error`."""
    values: dict[str, float] = {}
    for name, value in row.items():
        part, _, inner = name.partition("_")
        shown = f"{part}/{inner}" if part in _PARTS and inner else name
        if name not in _PLACES and _is_number(value):
            values[shown] = float(value)
    return values


def _numbers(part: str, scores: Mapping[str, Any]) -> dict[str, float]:
    return {f"{part}/{name}": float(value) for name, value in scores.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _say_on_standard_error(line: str) -> None:
    print(line, file=sys.stderr)
