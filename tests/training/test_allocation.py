"""The C library's memory is kept between the steps of a training, and given back after it."""

import platform
import resource
from pathlib import Path

import pytest
import torch

from anew.core.execution import Execution
from anew.training.allocation import freed_memory_kept
from anew.training.device import settings
from forks import fork_code

LARGE = 16 << 20
"""Floats of 64 MiB: more than glibc keeps by itself."""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone")


def faults_of_steps():
    """How many pages the kernel has to give while a large tensor is made and freed 20 times, after
    20 times before.
    """
    for _ in range(20):
        torch.ones(LARGE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(LARGE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def held():
    """The bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch):
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


def test_training_asks_the_kernel_for_the_same_memory_once():
    with settings(Execution("cpu", 1)):
        kept = faults_of_steps()
    assert kept < faults_of_steps() / 10


def test_what_was_kept_is_given_back():
    before = held()
    with freed_memory_kept():
        faults_of_steps()
        kept = held() - before
    assert kept > 3 * LARGE
    assert held() - before < LARGE


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


def test_what_the_environment_sets_stands(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    with freed_memory_kept():
        as_set = faults_of_steps()
    assert as_set > faults_of_steps() / 2
