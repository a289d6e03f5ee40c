"""Where and how a spec is run: device, threads, saving. None of it is part of what a network is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from anew.core.errors import AnewError, did_you_mean

WAYS = ("auto", "live", "table")
DEFAULT_BUDGET_GIGABYTES = 4.0


@dataclass(frozen=True)
class Execution:
    """How to run: on which device, with how many threads, how often to save, and whether to go on
    despite checks.
    """

    device: str = "auto"
    threads: int | None = None
    save_minutes: float = 5.0
    force: bool = False
    ask: str = "auto"
    """How to ask teachers: `live`, `table`, or `auto`."""
    disk_budget: float = DEFAULT_BUDGET_GIGABYTES
    """What stored targets of one teacher may take, in GB."""
    trust: tuple[str, ...] = ()
    """Models of own code, `package.module:callable`, that a teacher's file may name."""
    jobs: int = 1
    """How many networks are trained at once, each by a process with its own threads."""
    keep_epochs: int | None = None
    """Keep the weights of every so-many-th epoch beside the last's; none where not given."""
    patience: float = 0.0
    """Seconds to wait for a network that another process holds, as one may that died on another
    machine.
    """

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise AnewError(
                f"threads must be a whole number >= 1 and <= 1024, got {self.threads}; set "
                f"--threads"
            )
        if not 1 <= self.jobs <= 1024:
            raise AnewError(
                f"jobs must be a whole number >= 1 and <= 1024, got {self.jobs}; set --jobs"
            )
        if not 0 < self.save_minutes <= 1e6:
            raise AnewError(
                f"save-minutes must be a number > 0 and <= 1e+06, got {self.save_minutes:g}; set "
                f"--save-minutes"
            )
        if self.ask not in WAYS:
            raise AnewError(
                f"ask must be one of {', '.join(WAYS)}, got "
                f"'{self.ask}'{did_you_mean(self.ask, WAYS)}; set --ask"
            )
        if not 0 <= self.disk_budget <= 1e9:
            raise AnewError(
                f"disk-budget must be a number of GB >= 0, got {self.disk_budget:g}; set "
                f"--disk-budget"
            )
        if self.keep_epochs is not None and self.keep_epochs < 1:
            raise AnewError(
                f"keep-epochs must be a whole number >= 1, got {self.keep_epochs}; set "
                f"--keep-epochs"
            )

    def keeps(self, epoch: int) -> bool:
        """Say whether the weights after so many epochs are to be kept."""
        return self.keep_epochs is not None and epoch % self.keep_epochs == 0

    @property
    def threads_of_a_job(self) -> int:
        """Torch's threads in each of several processes: those asked for, or the machine's cores
        shared out evenly.
        """
        return self.threads or max(1, (os.cpu_count() or 1) // self.jobs)
