"""Callbacks: what training tells whoever watches it, such as the terminal or a tracker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anew.core.spec import Spec


class Callback:
    """Watches a lineage being trained; every method does nothing until a subclass overrides it."""

    def log(self, text: str) -> None:
        """Hear a line that is worth knowing."""

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """Hear that a network, or siblings side by side, train from step `done` of `steps`."""

    def training_resumed(self, spec: Spec, rows: Sequence[dict[str, Any]]) -> None:
        """Hear that a network goes on from a save; `rows` are those of the epochs before it."""

    def step_done(self) -> None:
        """Hear that all siblings have done one step; steps of other processes are not told."""

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """Hear that a network's epoch is done and saved; `row` is its line in the metrics file."""

    def network_done(self, spec: Spec, record: dict[str, Any], *, found: bool) -> None:
        """Hear that a network is finished; with `found` it was finished before this command."""

    def training_ended(self) -> None:
        """Hear that nothing more is trained, also after an error; workers' ends are not told."""


class Callbacks(Callback):
    """Several callbacks as one: each call goes to all of them, in their order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)

    def log(self, text: str) -> None:
        """Tell all callbacks."""
        for callback in self.callbacks:
            callback.log(text)

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """Tell all callbacks."""
        for callback in self.callbacks:
            callback.training_started(specs, steps, done, batch_size)

    def training_resumed(self, spec: Spec, rows: Sequence[dict[str, Any]]) -> None:
        """Tell all callbacks."""
        for callback in self.callbacks:
            callback.training_resumed(spec, rows)

    def step_done(self) -> None:
        """Tell all callbacks."""
        for callback in self.callbacks:
            callback.step_done()

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """Tell all callbacks."""
        for callback in self.callbacks:
            callback.epoch_done(spec, row)

    def network_done(self, spec: Spec, record: dict[str, Any], *, found: bool) -> None:
        """Tell all callbacks."""
        for callback in self.callbacks:
            callback.network_done(spec, record, found=found)

    def training_ended(self) -> None:
        """Tell all callbacks."""
        for callback in self.callbacks:
            callback.training_ended()


FORWARDED = ("log", "training_started", "training_resumed", "epoch_done", "network_done")
"""The methods that `Forward` carries; a call of any other name is never made."""


@dataclass(frozen=True)
class Call:
    """A call of a callback's method, which another process or machine can be sent."""

    method: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def deliver(self, callback: Callback) -> None:
        """Make the call."""
        # What comes through a pipe chooses the method, so the names are checked.
        if self.method not in FORWARDED:
            raise ValueError(f"no callback's method is called {self.method!r}")
        getattr(callback, self.method)(*self.arguments, **self.options)


class Forward(Callback):
    """Carries calls out of a worker: `send` takes each, and the other side delivers it.

    Steps are not sent: those of several workers would make no common bar, and they are many.
    """

    def __init__(self, send: Callable[[Call], None]) -> None:
        self._send = send

    def log(self, text: str) -> None:
        """Send the call."""
        self._send(Call("log", (text,)))

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """Send the call."""
        self._send(Call("training_started", (tuple(specs), steps, done, batch_size)))

    def training_resumed(self, spec: Spec, rows: Sequence[dict[str, Any]]) -> None:
        """Send the call."""
        self._send(Call("training_resumed", (spec, list(rows))))

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """Send the call."""
        self._send(Call("epoch_done", (spec, row)))

    def network_done(self, spec: Spec, record: dict[str, Any], *, found: bool) -> None:
        """Send the call."""
        self._send(Call("network_done", (spec, record), {"found": found}))
