"""Where and how a spec is run: device, threads, saving. None of it is part of what a network is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from anew.core import fields
from anew.core.fields import option
from anew.core.ranges import Range

WAYS = ("auto", "live", "table")
STORAGE = ("auto", "memory", "disk")
DEFAULT_BUDGET_GIGABYTES = 4.0
TABLE = "execution"
"""The table of a TOML file that holds an execution, and the start of its options' keys."""


@dataclass(frozen=True)
class Execution:
    """How to run: the device, the threads, how often to save, and whether to override checks.

    Raises `AnewError` if a value has the wrong type or is out of its range.
    """

    device: str = option(
        "auto",
        "device: cpu, cuda (cuda:1, ...), mps, or auto for the fastest available",
        flag="--device",
    )
    threads: int | None = option(
        None,
        "CPU threads of torch; another number may change the last bits of the results",
        allowed=Range(1, 1024),
        flag="--threads",
    )
    save_minutes: float = option(
        5.0,
        "minutes between saves within an epoch; the end of an epoch is always saved",
        allowed=Range(0.0, 1e6, above=True),
        flag="--save-minutes",
    )
    force: bool = option(
        False,
        "continue although a check fails: a teacher at chance, a term without effect, too "
        "little disk space for a study",
        flag="--force",
    )
    ask: str = option(
        "auto",
        "cache the teacher's outputs on the disk (table) or compute them in each epoch (live); "
        "auto caches them if that saves time; the result is the same",
        allowed=WAYS,
        flag="--ask",
    )
    disk_budget: float = option(
        DEFAULT_BUDGET_GIGABYTES,
        "largest cache of one teacher's outputs, in GB",
        allowed=Range(0.0, 1e9),
        flag="--disk-budget",
    )
    trust: tuple[str, ...] = option(
        (),
        "allow a network's file to build this model of your own, package.module:callable "
        "(repeat for several)",
        flag="--trust",
    )
    jobs: int = option(
        1,
        "siblings that are trained at once, each in its own process with its share of the threads",
        allowed=Range(1, 1024),
        flag="--jobs",
    )
    keep_epochs: int | None = option(
        None,
        "keep the weights of every N-th epoch, for `anew insight` and the report",
        allowed=Range(1),
        flag="--keep-epochs",
    )
    storage: str = option(
        "auto",
        "keep pictures in memory, or on disk (decoded when they are shown); auto uses memory if "
        "they fit; the result is the same",
        allowed=STORAGE,
        flag="--storage",
    )
    workers: int | None = option(
        None,
        "processes that decode pictures; default: one for each core; 0 for none",
        allowed=Range(0, 1024),
        flag="--workers",
    )
    cache_budget: float = option(
        20.0,
        "largest cache of decoded pictures, in GB (in ANEW_CACHE or the user's cache folder)",
        allowed=Range(0.0, 1e9),
        flag="--cache-budget",
    )
    track: tuple[str, ...] = option(
        (),
        "send metrics to a tracker: tensorboard:FOLDER, mlflow:URI, wandb:PROJECT or "
        "trackio:PROJECT (repeat for several)",
        allowed=fields.WholeTexts(),
        flag="--track",
    )
    patience: float = 0.0
    """Seconds to wait for a network that another process holds: on another machine a process may
    have died without giving it up.
    """
    saves: bool = True
    """Whether trainings are saved so that a stopped one resumes. In a folder that is removed at the
    end nothing is lost by not saving, and small networks train several times as fast.
    """

    def __post_init__(self) -> None:
        # The options' "defaults" are here the values of this execution.
        for setting in fields.options(Execution, (TABLE,), self):
            object.__setattr__(self, setting.path[-1], fields.check(setting, setting.default))

    def keeps(self, epoch: int) -> bool:
        """Return whether the weights after this many epochs are kept."""
        return self.keep_epochs is not None and epoch % self.keep_epochs == 0

    @property
    def threads_of_a_job(self) -> int:
        """Torch's threads in each process: `threads`, or an equal part of the cores."""
        return self.threads or max(1, (os.cpu_count() or 1) // self.jobs)
