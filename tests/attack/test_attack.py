"""A share of the attack suite, and that its faults are what they say.

`make attack` runs all of it.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attack import child
from attack.cases import read_known
from attack.faults import Disk, Fault, lose_power


def test_a_share_of_the_attacks_is_withstood():
    """In a process of its own, without the run-time checks of types that these tests install."""
    done = subprocess.run(
        [sys.executable, "-m", "attack", "--quick"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_known_failures_have_reasons():
    assert all(entry.reason for entry in read_known())


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "old").write_text("old")
    return folder


def changes(root):
    """Change files in the ways that anew does, the name of "old" last."""
    with (root / "new").open("wb") as file:
        file.write(b"0123456789")
        file.flush()
        os.fsync(file.fileno())
    (root / "new").replace(root / "old")
    descriptor = os.open(root, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    (root / "late").write_bytes(b"0123456789")
    (root / "late").replace(root / "old")
    (root / "gone").write_bytes(b"")


def died(root, fault, report=None):
    return child.fork(
        lambda: (Disk(str(root), fault, report).install(), changes(root)), root.parent / "o",
        memory=None,
    )  # fmt: skip


KINDS = ["create", "write", "fsync", "rename", "fsync", "create", "write", "rename", "create"]


def test_every_change_is_counted(root):
    def counted():
        disk = Disk(str(root)).install()
        changes(root)
        return [kind for kind, _ in disk.changes]

    assert child.fork(counted, root.parent / "o", memory=None).value == KINDS


@pytest.mark.parametrize(
    ("do", "at", "left"),
    [
        ("kill", 1, {"old": b"old", "new": b""}),
        ("torn", 1, {"old": b"old", "new": b"01234"}),
        ("kill", 3, {"old": b"old", "new": b"0123456789"}),
        ("torn", 3, {"old": b"0123456789"}),
    ],
)
def test_a_death_leaves_what_was_done(root, do, at, left):
    assert died(root, Fault(do, at)).signal == 9
    assert {path.name: path.read_bytes() for path in root.iterdir()} == left


@pytest.mark.parametrize(
    ("state", "old"), [(0, b""), (1, b"01234"), (2, b"0123456789")], ids=["empty", "half", "names"]
)
def test_a_loss_of_power_takes_what_was_not_flushed(root, state, old):
    report = root.parent / "report"
    assert died(root, Fault("kill", 8), report).signal == 9
    assert (root / "old").read_bytes() == b"0123456789"
    assert lose_power(report, state)
    # In the last state the second rename is undone: what the first brought was flushed whole.
    assert (root / "old").read_bytes() == old


@pytest.mark.parametrize("onward", [False, True])
def test_a_disk_fails_once_or_from_then_on(root, onward):
    def failing():
        Disk(str(root), Fault("fail", 0, errno.EIO, onward)).install()
        seen = []
        for _ in range(2):
            try:
                (root / "x").write_text("x")
                seen.append(0)
            except OSError as error:
                seen.append(error.errno)
        return seen

    second = errno.EIO if onward else 0
    assert child.fork(failing, root.parent / "o", memory=None).value == [errno.EIO, second]


def test_a_child_that_hangs_is_killed(tmp_path):
    import time

    assert child.fork(lambda: time.sleep(60), tmp_path, seconds=0.3, memory=None).hung


@pytest.mark.parametrize(("state", "left"), [(0, b"012\0\0\0"), (1, b"012a\0\0cc")])
def test_what_was_flushed_before_is_kept(root, state, left):
    """A file of six bytes, of which three are overwritten, and to which four are added."""
    (root / "old").write_bytes(b"012345")
    report = root.parent / "report"

    def change():
        Disk(str(root), Fault("kill", 2), report).install()
        with (root / "old").open("r+b", buffering=0) as file:
            file.seek(3)
            file.write(b"abb")
            file.seek(6)
            file.write(b"cccc")
        (root / "next").write_bytes(b"")

    assert child.fork(change, root.parent / "o", memory=None).signal == 9
    assert lose_power(report, state)
    assert (root / "old").read_bytes() == left
