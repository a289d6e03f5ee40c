"""The device of an execution, torch's settings while networks run, and what the bits of a result
may depend on.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from anew.core.errors import AnewError, did_you_mean
from anew.core.execution import Execution
from anew.core.version import __version__
from anew.training.allocation import freed_memory_kept

DEVICES = ("auto", "cpu", "cuda", "mps")


def torch_device(execution: Execution) -> torch.device:
    """Return the execution's device. Raises `AnewError` if this machine has none of that kind."""
    kind, _, number = execution.device.partition(":")
    if kind not in DEVICES or (number and not number.isdigit()):
        raise AnewError(
            f"device must be one of {', '.join(DEVICES)} (or cuda:1, ...), got '{execution.device}'"
            f"{did_you_mean(kind, DEVICES)}; set --device"
        )

    if kind == "auto":
        kind = "cpu"
        if torch.cuda.is_available():
            kind = "cuda"
        elif _has_mps():
            kind = "mps"
    if kind == "cuda" and not number:
        # torchrun numbers the processes of a machine, one for each GPU.
        number = os.environ.get("LOCAL_RANK", "")

    missing_gpu = kind == "cuda" and int(number or 0) >= torch.cuda.device_count()
    if missing_gpu or (kind == "mps" and not _has_mps()):
        raise AnewError(
            f"device '{execution.device}': this machine has no such device; set --device cpu"
        )
    return torch.device(f"{kind}:{number}" if number else kind)


@contextmanager
def settings(execution: Execution) -> Generator[torch.device]:
    """Set torch's threads and deterministic algorithms for a block, and restore them after it.

    On a CPU the memory that torch frees is kept for the block.
    """
    device = torch_device(execution)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if device.type == "cuda":
        # cuBLAS reads it once, when it starts; without it torch refuses deterministic matrix
        # products.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    try:
        torch.set_num_threads(execution.threads or threads)
        torch.use_deterministic_algorithms(True)
        # No code here reads memory before it writes it; filling it first would cost a pass over
        # every new tensor.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        with freed_memory_kept() if device.type == "cpu" else nullcontext():
            yield device
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]


def environment(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Return what a result's bits may depend on beside its spec: machine, threads, versions."""
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
