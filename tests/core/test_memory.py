"""What memory there is, and the line when it is not enough: compared with what the system does."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from anew import AnewError
from anew.core import memory
from forks import fork_code


def test_what_is_free_is_a_part_of_what_the_machine_has():
    free = memory.free_bytes()
    assert free > 1e6
    if Path("/proc/meminfo").exists():
        sizes = re.findall(r"(MemTotal|SwapTotal): +(\d+)", Path("/proc/meminfo").read_text())
        assert free < 1024 * sum(int(size) for _, size in sizes)


@pytest.mark.parametrize(
    ("limit", "used", "given_back", "left"),
    [("max", 10, 5, None), ("1000", 600, 100, 500.0), ("1000", 2000, 0, 0.0)],
)
def test_the_smallest_limit_of_the_groups_above_a_process_counts(
    tmp_path, monkeypatch, limit, used, given_back, left
):
    group = tmp_path / "job" / "step"
    group.mkdir(parents=True)
    (group.parent / "memory.max").write_text(f"{limit}\n")
    (group.parent / "memory.current").write_text(f"{used}\n")
    (group.parent / "memory.stat").write_text(f"anon 3\ninactive_file {given_back}\n")
    monkeypatch.setattr(memory, "_group_folders", lambda: [group, group.parent, tmp_path])
    assert memory.free_bytes() == (
        left if left is not None else pytest.approx(memory._of_machine(), rel=0.1)
    )


LIMITED = """
import resource, sys
import numpy, torch
from pathlib import Path
from anew.core import memory
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (256 << 20),) * 2)
assert 0 < memory.free_bytes() <= 256 << 20, memory.free_bytes()
for allocate, count in ((torch.zeros, 1 << 31), (numpy.zeros, 1 << 33), (bytearray, 1 << 33)):
    try:
        allocate(count)
    except (RuntimeError, MemoryError) as error:
        print(memory.refusal(error))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_what_libraries_say_without_memory_becomes_one_line_with_sizes():
    limited = fork_code(LIMITED)
    said, errors = limited.communicate()
    assert limited.returncode == 0, errors
    lines = said.splitlines()
    assert len(lines) == 3
    for line, size in zip(
        lines, ("8.59 GB more were", "68.7 GB more were", "more than available was"), strict=True
    ):
        assert (
            line.startswith(f"out of memory: {size} requested; ")
            and "MB are free; lower --batch-size" in line
        )


def test_a_device_without_memory_is_a_line_and_another_error_is_none():
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB")
    said = str(memory.refusal(full))
    assert said.startswith("out of memory: 2.15 GB more were requested; ") and "GPU 0 has" in said
    assert memory.refusal(RuntimeError("shapes differ")) is None
    assert memory.refusal(ValueError("out of memory")) is None
    assert memory.refusal(np.linalg.LinAlgError("singular")) is None


def test_a_demand_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 2e9)
    memory.demand("the file", 2e9, "give less")
    with pytest.raises(AnewError) as caught:
        memory.demand("the file", 3e9, "give less")
    assert str(caught.value) == "the file takes 3 GB of memory, 2 GB are free; give less"
