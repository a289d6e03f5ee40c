"""What training tells whoever watches: plain calls, answered by the terminal, or by nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from anew.core.spec import Spec


@runtime_checkable
class Progress(Protocol):
    """Somebody who watches a lineage being trained."""

    def log(self, text: str) -> None:
        """Say something worth knowing, a line."""
        ...

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """A network, or several siblings side by side, are trained from step `done` of `steps`."""
        ...

    def step_done(self) -> None:
        """One step is done, by all siblings."""
        ...

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """A network's epoch is done and saved; `row` is its line in the metrics file."""
        ...

    def network_done(self, spec: Spec, record: dict[str, Any], *, found: bool) -> None:
        """A network is finished; with `found`, it was finished before and nothing was done."""
        ...


class Silent:
    """Nobody watches."""

    def log(self, text: str) -> None:
        """Say nothing."""

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """Say nothing."""

    def step_done(self) -> None:
        """Say nothing."""

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """Say nothing."""

    def network_done(self, spec: Spec, record: dict[str, Any], *, found: bool) -> None:
        """Say nothing."""
