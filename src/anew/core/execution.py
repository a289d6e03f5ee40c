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
        "where to run: cpu, cuda (cuda:1, ...), mps, or auto for the fastest of them",
        flag="--device",
    )
    threads: int | None = option(
        None,
        "torch's threads on the CPU; the bits are the same for the same number",
        allowed=Range(1, 1024),
        flag="--threads",
    )
    save_minutes: float = option(
        5.0,
        "minutes between saves within an epoch; every epoch is saved",
        allowed=Range(0.0, 1e6, above=True),
        flag="--save-minutes",
    )
    force: bool = option(
        False,
        "go on although a check fails: a teacher at chance, a term that does nothing, too little "
        "room on the disk for a study",
        flag="--force",
    )
    ask: str = option(
        "auto",
        "whether teacher outputs are cached on the disk (table) or computed in each epoch (live); "
        "auto caches them where that saves time; the result is the same",
        allowed=WAYS,
        flag="--ask",
    )
    disk_budget: float = option(
        DEFAULT_BUDGET_GIGABYTES,
        "GB that the stored targets of one teacher may take",
        allowed=Range(0.0, 1e9),
        flag="--disk-budget",
    )
    trust: tuple[str, ...] = option(
        (),
        "a model of your own, package.module:callable, that a network's file may name (repeat for "
        "several)",
        flag="--trust",
    )
    jobs: int = option(
        1,
        "how many siblings are trained at once, each in a process with its share of the threads",
        allowed=Range(1, 1024),
        flag="--jobs",
    )
    keep_epochs: int | None = option(
        None,
        "keep the weights of every so-many-th epoch, for `anew insight` to show how training went",
        allowed=Range(1),
        flag="--keep-epochs",
    )
    storage: str = option(
        "auto",
        "where pictures are held: memory, disk (decoded when they are shown), or auto for memory "
        "if they fit; the result is the same",
        allowed=STORAGE,
        flag="--storage",
    )
    workers: int | None = option(
        None,
        "processes that decode pictures; one for each core where not given, 0 for none",
        allowed=Range(0, 1024),
        flag="--workers",
    )
    cache_budget: float = option(
        20.0,
        "GB that the cache of decoded pictures may take, in ANEW_CACHE or the user's cache folder",
        allowed=Range(0.0, 1e9),
        flag="--cache-budget",
    )
    track: tuple[str, ...] = option(
        (),
        "a tracker that hears of every epoch: tensorboard:FOLDER, mlflow:URI, wandb:PROJECT or "
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
