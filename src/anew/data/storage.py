"""How pictures that lie in files are held: in memory, or on the disk and read by processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anew.core import memory
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.text import in_bytes
from anew.data.cache import cache_folder
from anew.data.workers import default_workers

SMALL = 64 << 20
"""Data of fewer bytes are held in memory without a word."""
SHARE = 0.6
"""The part of the free memory that data may take: networks need the rest."""
TELL_EVERY = 20.0


def _unheard(text: str) -> None:
    """Take a line that nobody listens to."""


@dataclass(frozen=True)
class Storage:
    """Where decoded pictures lie, who decodes them, and who hears of it."""

    way: str = "auto"
    """`memory`, `disk`, or `auto`: in memory if they fit."""
    workers: int | None = None
    """Processes that decode; one for each core if not given."""
    budget: float = 20e9
    """Bytes that the cache of decoded pictures may take."""
    log: Callable[[str], None] = field(default=_unheard, compare=False)
    jobs: int = 1
    """How many networks are trained at once on this machine, each with processes of its own."""

    @classmethod
    def of(cls, execution: Execution, log: Callable[[str], None]) -> Storage:
        """Return what the settings of a run say."""
        budget = execution.cache_budget * 1e9
        return cls(execution.storage, execution.workers, budget, log, execution.jobs)

    @property
    def processes(self) -> int:
        """The number of processes that decode; 0 if it is done by the one that trains."""
        return default_workers() if self.workers is None else self.workers

    @property
    def ahead(self) -> int:
        """The number of processes that decode what one network is shown: its part of the cores."""
        return max(1, default_workers() // self.jobs) if self.workers is None else self.workers

    def __getstate__(self) -> dict[str, Any]:
        # Who hears of it stays in this process.
        return {**self.__dict__, "log": _unheard}

    @property
    def folder(self) -> Path | None:
        """The folder of the cache; None if nothing may be cached."""
        return cache_folder() / "pictures" if self.budget > 0 else None

    def holds(self, what: str, size: int) -> bool:
        """Return whether `size` bytes of pictures are held in memory, and say so in one line.

        Raises `AnewError` if they must be, and do not fit.
        """
        free = memory.free_bytes()
        fits = size <= SHARE * free
        sums = f"{in_bytes(size)} of {in_bytes(free)} of free memory"
        if self.way == "memory" and size > free:
            raise AnewError(
                f"{what}: take {sums}; give --storage disk, a smaller --data.size, or --limit"
            )
        if self.way == "memory" or (self.way == "auto" and fits):
            if size >= SMALL:
                self.log(f"{what}: held in memory, {sums}")
            return True

        why = "as told" if self.way == "disk" else "too much to hold"
        self.log(f"{what}: read from the disk by {self.processes} processes; {sums}, {why}")
        return False

    def progress(self, what: str, total: int) -> Callable[[int], None]:
        """Return what to call with the number of pictures done; it tells how long the rest takes.

        The first line comes after a while, so that what is quick is silent.
        """
        started = told = time.monotonic()

        def tell(done: int) -> None:
            nonlocal told
            now = time.monotonic()
            if now - told < TELL_EVERY or not done:
                return
            told = now
            rate = done / (now - started)
            self.log(
                f"{what}: {done:,} of {total:,} ({100 * done / total:.0f} %), {rate:,.0f} a "
                f"second, {(total - done) / rate / 60:,.1f} min left"
            )

        return tell
