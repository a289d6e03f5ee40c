"""Where and how a spec is run: device, threads, saving. None of it is part of what a network is."""

from __future__ import annotations

import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from anew.errors import AnewError, did_you_mean
from anew.teachers.choice import DEFAULT_BUDGET_GIGABYTES, WAYS
from anew.version import __version__

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Execution:
    """How to run: on which device, with how many threads, how often to save, and whether to go on despite checks."""

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
    """Seconds to wait for a network that another process holds, as one may that died on another machine."""

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise AnewError(f"threads must be a whole number >= 1 and <= 1024, got {self.threads}; set --threads")
        if not 1 <= self.jobs <= 1024:
            raise AnewError(f"jobs must be a whole number >= 1 and <= 1024, got {self.jobs}; set --jobs")
        if not 0 < self.save_minutes <= 1e6:
            raise AnewError(
                f"save-minutes must be a number > 0 and <= 1e+06, got {self.save_minutes:g}; set --save-minutes"
            )
        if self.ask not in WAYS:
            raise AnewError(
                f"ask must be one of {', '.join(WAYS)}, got '{self.ask}'{did_you_mean(self.ask, WAYS)}; set --ask"
            )
        if not 0 <= self.disk_budget <= 1e9:
            raise AnewError(f"disk-budget must be a number of GB >= 0, got {self.disk_budget:g}; set --disk-budget")
        if self.keep_epochs is not None and self.keep_epochs < 1:
            raise AnewError(f"keep-epochs must be a whole number >= 1, got {self.keep_epochs}; set --keep-epochs")

    def keeps(self, epoch: int) -> bool:
        """Say whether the weights after so many epochs are to be kept."""
        return self.keep_epochs is not None and epoch % self.keep_epochs == 0

    @property
    def threads_of_a_job(self) -> int:
        """Torch's threads in each of several processes: those asked for, or the machine's cores shared out evenly."""
        return self.threads or max(1, (os.cpu_count() or 1) // self.jobs)

    def torch_device(self) -> torch.device:
        """Return the device; `AnewError` where this machine has none of that kind."""
        kind, _, number = self.device.partition(":")
        if kind not in DEVICES or (number and not number.isdigit()):
            raise AnewError(
                f"device must be one of {', '.join(DEVICES)} (or cuda:1, ...), got '{self.device}'"
                f"{did_you_mean(kind, DEVICES)}; set --device"
            )
        if kind == "auto":
            kind = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
        if kind == "cuda" and not number:
            # torchrun numbers the processes of a machine, one for each GPU.
            number = os.environ.get("LOCAL_RANK", "")
        if (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()) or (kind == "mps" and not _has_mps()):
            raise AnewError(f"device '{self.device}': this machine has no such device; set --device cpu")
        return torch.device(f"{kind}:{number}" if number else kind)

    @contextmanager
    def settings(self) -> Generator[torch.device]:
        """Set torch's threads and deterministic algorithms for the code inside, and restore them after it."""
        device = self.torch_device()
        threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        benchmark = torch.backends.cudnn.benchmark
        filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        if device.type == "cuda":
            # cuBLAS reads it once, when it starts; without it torch refuses deterministic matrix products.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        try:
            torch.set_num_threads(self.threads or threads)
            torch.use_deterministic_algorithms(True)
            # Nothing here reads memory that was not written; filling it first would cost a pass over every new tensor.
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            torch.backends.cudnn.benchmark = False
            yield device
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
            torch.backends.cudnn.benchmark = benchmark
            torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]


def environment(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Return what the bits of a result may depend on beside the spec: machine, device, threads, versions."""
    return {
        "machine": platform.machine(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "anew": __version__,
    }


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
