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
from anew.version import __version__

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Execution:
    """How to run: on which device, with how many threads, how often to save, and whether to go on despite checks."""

    device: str = "auto"
    threads: int | None = None
    save_minutes: float = 5.0
    force: bool = False

    def torch_device(self) -> torch.device:
        """Return the device; `AnewError` where this machine has none of that kind."""
        kind, _, number = self.device.partition(":")
        if kind not in DEVICES or (number and not number.isdigit()):
            raise AnewError(
                f"device must be one of {', '.join(DEVICES)} (or cuda:1, ...), got '{self.device}'"
                f"{did_you_mean(kind, DEVICES)}; set --device"
            )
        if kind == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
        if (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()) or (kind == "mps" and not _has_mps()):
            raise AnewError(f"device '{self.device}': this machine has no such device; set --device cpu")
        return torch.device(self.device)

    @contextmanager
    def settings(self) -> Generator[torch.device]:
        """Set torch's threads and deterministic algorithms for the code inside, and restore them after it."""
        device = self.torch_device()
        threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        benchmark = torch.backends.cudnn.benchmark
        if device.type == "cuda":
            # cuBLAS reads it once, when it starts; without it torch refuses deterministic matrix products.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        try:
            torch.set_num_threads(self.threads or threads)
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
            yield device
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
            torch.backends.cudnn.benchmark = benchmark


def environment(device: torch.device) -> dict[str, Any]:
    """Return what the bits of a result may depend on beside the spec: machine, device, threads, versions."""
    return {
        "machine": platform.machine(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "anew": __version__,
    }


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
