"""The C library's memory is kept between the steps of a training, and given back after it."""

import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from forks import fork_code

LARGE = 16 << 20
"""Floats of 64 MiB: more than glibc keeps by itself."""

# A large tensor is made and freed 20 times, after 20 times before, in a process whose heap has no
# holes yet: how many pages the kernel gives, and how much memory the process holds.
STEPS = """
import json, resource, torch
from pathlib import Path
from anew.core.execution import Execution
from anew.training.device import settings

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def faults(size=16 << 20):
    for _ in range(20):
        torch.ones(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.ones(10)
before = held()
with settings(Execution("cpu", 1)):
    found = {"faults": faults(), "grown by": held() - before}
print(json.dumps(found | {"left": held() - before}))
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone")


def measured(**variables: str) -> dict[str, int]:
    """Run `STEPS` in a fresh process with these variables for the allocator, and no others."""
    plain = {name: value for name, value in os.environ.items() if "MALLOC" not in name.upper()}
    plain.pop("GLIBC_TUNABLES", None)
    ran = subprocess.run(
        [sys.executable, "-c", STEPS],
        env={**plain, **variables},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, int] = json.loads(ran.stdout)
    return found


def held() -> int:
    """The bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_training_asks_the_kernel_for_the_same_memory_once_and_gives_it_back():
    found = measured()
    # Who sets anything of glibc's allocator keeps all of their settings.
    as_set = measured(GLIBC_TUNABLES="glibc.malloc.arena_max=8")
    assert found["faults"] < as_set["faults"] / 10
    assert found["grown by"] > 3 * LARGE
    assert found["grown by"] - found["left"] > 3 * LARGE


@pytest.mark.parametrize("room", [100 << 20, 100 << 30])
def test_where_memory_is_short_it_is_given_back(room: int):
    # Room is what the process's own limit leaves it; it holds some hundred MB already.
    forked = fork_code(
        """
import resource, sys, torch
from pathlib import Path
from test_allocation import LARGE, held
from anew.training.allocation import FreedMemory, freed_memory_kept

with freed_memory_kept():
    there = [torch.ones(LARGE) for _ in range(6)]
    del there
    kept = held()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    FreedMemory().check()
    print(kept - held())
""",
        room,
    )
    given_back = int(forked.communicate()[0])
    if room < 1 << 30:
        assert given_back > 5 * 4 * LARGE
    else:
        assert given_back < LARGE
