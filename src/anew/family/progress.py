"""How far the networks of a family are, read from their files alone, beside a running training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.family.family import Family
from anew.family.folder import NetworkFolder
from anew.family.lock import NetworkLock

State = Literal["waiting", "training", "stopped", "finished", "unreadable"]
RECENT_EPOCHS = 5
"""The speed is that of so many last epochs."""


@dataclass(frozen=True)
class NetworkProgress:
    """How far a network is. What is not known yet is None."""

    id: str
    state: State
    """`waiting`: described, but not begun. `stopped`: begun, and no process trains it now."""
    generation: int = 0
    objective: str = ""
    seed: int = 0
    epoch: int = 0
    """Epochs done."""
    epochs: int = 0
    step: int = 0
    steps: int | None = None
    """Steps of the whole training, known after the first epoch."""
    train_loss: float | None = None
    validation_error: float | None = None
    """In percent."""
    validation_perplexity: float | None = None
    """Of language models."""
    test_error: float | None = None
    """In percent, of a finished network."""
    test_perplexity: float | None = None
    steps_per_second: float | None = None
    """Over the last epochs, with their validation."""
    seconds_left: float | None = None
    problem: str = ""
    """What is wrong with an unreadable network's files."""

    def to_json(self) -> dict[str, Any]:
        """Return what is known, by name."""
        unknown = (None, "")
        return {name: value for name, value in asdict(self).items() if value not in unknown}


@dataclass
class Progress:
    """Looks at the networks of a family again and again; only what has changed is read."""

    family: Family
    _known: dict[str, NetworkProgress] = field(default_factory=dict[str, NetworkProgress])
    _stamps: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    _locks: dict[str, NetworkLock] = field(default_factory=dict[str, NetworkLock])
    _specs: dict[str, Spec] = field(default_factory=dict[str, Spec])

    def look(self) -> list[NetworkProgress]:
        """Return how far each network is: by generation, then by objective and seed.

        A network whose files cannot be read is among them, as `unreadable`.
        """
        looked = [self._of(folder) for folder in self.family.folders()]
        # Soft labels are no network: nothing trains them.
        networks = [one for one in looked if one.generation >= 0]
        return sorted(networks, key=lambda one: (one.generation, one.objective, one.seed, one.id))

    def _of(self, folder: NetworkFolder) -> NetworkProgress:
        known = self._known.get(folder.id)
        if known is not None and known.state == "finished":
            return known
        try:
            self._known[folder.id] = self._read(folder)
        # A file may go or be replaced between two looks, as when a network is set aside.
        except (AnewError, OSError, KeyError, TypeError, ValueError) as error:
            return NetworkProgress(folder.id, "unreadable", problem=" ".join(str(error).split()))
        return self._known[folder.id]

    def _read(self, folder: NetworkFolder) -> NetworkProgress:
        if folder.id not in self._specs:
            self._specs[folder.id] = self.family.spec(folder.id, gaps=True)
        spec = self._specs[folder.id]
        if folder.is_done:
            return _finished(spec, folder)

        lock = self._locks.setdefault(folder.id, NetworkLock(folder.path))
        state: State = "training" if lock.is_held() else "stopped"
        stamp = _stamp(folder.metrics)
        known = self._known.get(folder.id)
        if known is None or stamp != self._stamps.get(folder.id):
            known = _of_rows(spec, folder.read_metrics())
            self._stamps[folder.id] = stamp

        if state == "stopped" and not known.epoch and not folder.state.exists():
            state = "waiting"
        return replace(known, state=state, seconds_left=_left(spec, known, stamp, state))


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes with a file: its time in nanoseconds and its size; 0 without a file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _described(spec: Spec, state: State) -> NetworkProgress:
    return NetworkProgress(
        spec.id, state, spec.generation, spec.origin, spec.seed, epochs=spec.training.epochs
    )


def _finished(spec: Spec, folder: NetworkFolder) -> NetworkProgress:
    """Return the end of a finished network; of one that was given there are no epochs."""
    test: Mapping[str, Any] = folder.done.get("test", {})
    rows = [] if spec.is_untrained else folder.read_metrics()
    epochs = spec.training.epochs if rows else 0
    return replace(
        _of_rows(spec, rows),
        state="finished",
        epochs=epochs,
        test_error=test.get("error"),
        test_perplexity=test.get("perplexity"),
        seconds_left=None,
    )


def _of_rows(spec: Spec, rows: Sequence[Mapping[str, Any]]) -> NetworkProgress:
    """Return how far a network is by its rows of metrics."""
    described = _described(spec, "training")
    if not rows:
        return described

    last = rows[-1]
    return replace(
        described,
        epoch=last["epoch"],
        step=last["step"],
        steps=last["step"] // last["epoch"] * spec.training.epochs,
        train_loss=last["train_loss"],
        validation_error=last.get("validation_error"),
        validation_perplexity=last.get("validation_perplexity"),
        steps_per_second=_speed(rows),
    )


def _speed(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the steps a second over the last epochs."""
    before = rows[-1 - RECENT_EPOCHS] if len(rows) > RECENT_EPOCHS else {"step": 0, "seconds": 0.0}
    steps = rows[-1]["step"] - before["step"]
    seconds = rows[-1]["seconds"] - before["seconds"]
    return steps / seconds if seconds > 0 else None


def _left(spec: Spec, known: NetworkProgress, stamp: tuple[int, int], state: State) -> float | None:
    """Return the seconds that a network in training will still take, None if that is not known.

    What has passed since its last epoch was written is taken off, but for a clock that differs.
    """
    if state != "training" or known.steps is None or not known.steps_per_second:
        return None
    left = (known.steps - known.step) / known.steps_per_second
    of_an_epoch = known.steps / spec.training.epochs / known.steps_per_second
    passed = min(max(0.0, time.time() - stamp[0] / 1e9), of_an_epoch)
    return max(0.0, left - passed)
