"""How much memory there is, and one line where it does not hold what was asked for.

What is read or unpacked is asked for here before it is, because a file of kilobytes may ask for
terabytes. The limit may be the machine's, a container's or the process's own.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from anew.core import text
from anew.core.errors import AnewError, in_one_line

_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = (
    # The limit, what is taken of it, and the part of that which is given back when it is needed.
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|unable to allocate|bad_alloc"
    r"|storage size calculation overflowed|can't start new thread",
    re.IGNORECASE,
)
_ASKED_FOR = re.compile(r"allocate ([0-9.]+) ?(bytes|[KMGT]i?B)")
_UNITS = {"bytes": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def free_bytes() -> float:
    """Return the bytes of memory that this process may still take; infinity if nobody says."""
    return max(0.0, min(_of_machine(), _of_groups(), _of_process()))


def held_bytes() -> float:
    """Return the bytes of memory that this process holds alone; 0 if nobody says."""
    try:
        _, resident, shared, *_ = _process_sizes()
    except (OSError, ValueError):
        return 0.0
    return resident - shared


def demand(what: str, size: float, remedy: str) -> None:
    """Raise `AnewError` if `size` bytes are more than there are.

    `what` names what takes them, such as a file; `remedy` says what the user can do.
    """
    free = free_bytes()
    if size > free:
        raise AnewError(
            f"{what} takes {text.in_bytes(size)} of memory, {text.in_bytes(free)} are free; "
            f"{remedy}"
        )


def refusal(error: BaseException) -> AnewError | None:
    """Return the one line for an error of this process or its device that ran out of memory.

    Returns None for any other error.
    """
    said = in_one_line(error)
    if isinstance(error, RuntimeError) and "DataLoader worker" in said:
        # torch raises it wherever the process that trains happens to be.
        return AnewError(
            "a process that reads pictures died, perhaps for lack of memory, or of shared memory "
            "in a container (docker run --shm-size); lower --workers, or try --workers 0; the "
            "same command resumes from the last save"
        )
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not is_memory and not (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(said)):
        return None

    asked = _ASKED_FOR.search(said)
    size = "more than available was requested"
    if asked is not None:
        unit = asked[2] if asked[2] == "bytes" else asked[2][0]
        base = 1024 if "i" in asked[2] else 1000
        size = f"{text.in_bytes(float(asked[1]) * base ** _UNITS[unit])} more were requested"
    # A device says by itself what it has.
    there = said if "CUDA" in said else f"{text.in_bytes(free_bytes())} are free"
    return AnewError(
        f"out of memory: {size}; {there}; lower --batch-size, --jobs or the model's size, or "
        "give fewer or smaller examples; the same command resumes from the last save"
    )


def _of_machine() -> float:
    """Return what the machine has left, with what it can swap out."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return _of_any_unix()
    sizes = dict(line.split(":", 1) for line in lines if ":" in line)
    parts = [sizes[name].split()[0] for name in ("MemAvailable", "SwapFree") if name in sizes]
    return 1024.0 * sum(map(int, parts)) if parts else math.inf


def _of_any_unix() -> float:
    """Return the whole memory of a machine that does not say what is left of it, such as a Mac."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def _of_groups() -> float:
    """Return what the process's control groups leave it, as those of containers and SLURM do."""
    return min((_left_in(folder) for folder in _group_folders()), default=math.inf)


def _group_folders() -> Iterator[Path]:
    """Yield the folders of this process's control groups, with those above them."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root = _GROUPS / kinds
        own = root / path.lstrip("/")
        # In a container a group's own path may not be there, and the root is its limit.
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _left_in(folder: Path) -> float:
    for limit, taken, cache in _LIMITS:
        try:
            most = (folder / limit).read_text().strip()
            used = int((folder / taken).read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):
            continue
        given_back = [int(line.split()[1]) for line in lines if line.split()[0] == cache]
        return math.inf if most == "max" else float(int(most) - used + sum(given_back))
    return math.inf


def _of_process() -> float:
    """Return what the process's own limit (`ulimit -v`) leaves it."""
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most == resource.RLIM_INFINITY:
            return math.inf
        return most - _process_sizes()[0]
    except (ImportError, OSError, ValueError):
        return math.inf


def _process_sizes() -> list[float]:
    """Return what Linux says of this process's memory in bytes: mapped, resident, shared, ..."""
    pages = Path("/proc/self/statm").read_text().split()
    return [float(int(one) * os.sysconf("SC_PAGE_SIZE")) for one in pages]
