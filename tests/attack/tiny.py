"""A family so small that a run takes a third of a second, and what two runs of it must share."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attack import child
from attack.cases import Outcome, judge
from attack.faults import NEVER, Disk, Fault

TIMES = ("seconds", "environments", "sha256", "bytes", "files", "teacher")
"""What two runs of one spec need not share in `done.json`: times, how often the teacher was asked,
and the hashes of files that hold times.
"""
STORES = "teachers"
"""Stored targets are a cache: which of them are there depends on when a run died."""


def write_data(folder: Path) -> Path:
    """Write 120 pictures of 3 classes, a bright patch at a place of each."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    pictures = rng.integers(0, 100, (120, 8, 8))
    for picture, label in zip(pictures, labels, strict=True):
        picture[2 * label : 2 * label + 3] += 100
    x, y = pictures.astype(np.uint8), labels
    path = folder / "small.npz"
    np.savez(path, x_train=x[:90], y_train=y[:90], x_test=x[90:], y_test=y[90:])
    return path


def settings(data: Path) -> list[str]:
    """Return the options of the run: a teacher and two siblings that learn from its table."""
    return [
        *("--data", f"npz:{data}", "--model", "small_cnn", "--model.options", "width=4"),
        *("--epochs", "2", "--batch-size", "32", "--learning-rate", "0.1", "--best-epoch"),
        *("--generations", "1", "--siblings", "cwtm", "--device", "cpu", "--threads", "1"),
        # The teacher may be at chance: what is learned is not what is looked at.
        "--force",
    ]


def train(data: Path, out: Path, *more: str) -> list[str]:
    """Return the command of the run: saved after every step, targets stored, epochs kept."""
    how = ["--save-minutes", "1e-9", "--ask", "table", "--keep-epochs", "1", "--no-page"]
    return ["train", *settings(data), *how, "--out", str(out), *more]


@dataclass(frozen=True)
class Reference:
    """The undisturbed run: its folder, what is in it, and which changes of files made it."""

    data: Path
    family: Path
    seal: dict[str, str]
    changes: list[tuple[str, str]]
    unflushed: list[tuple[bool, bool]]
    """Before each change: whether content, and whether changes of names, were not flushed."""

    def compare(self, family: Path) -> Outcome | None:
        """Return how a family differs from the undisturbed one, or None."""
        seal = seal_of(family)
        left = sorted(seal.keys() - self.seal.keys())
        if left:
            return Outcome("left behind", ", ".join(left[:4]))
        lost = self.seal.keys() - seal.keys()
        missing = sorted(name for name in lost if not name.startswith(STORES))
        if missing:
            return Outcome("lost", ", ".join(missing[:4]))
        other = sorted(name for name, value in seal.items() if value != self.seal[name])
        other = [name for name in other if not name.startswith(STORES)]
        return Outcome("other bits", ", ".join(other[:4])) if other else None


def make_reference(folder: Path) -> Reference:
    """Run once without a fault, and note every change of a file."""
    data, family = write_data(folder), folder / "family"
    ending = run(train(data, family), folder, NEVER, family)
    assert ending.value and ending.value[0] == 0, ending.err
    changes = [(kind, path) for kind, path in ending.value[1]]
    made = {path for kind, path in changes if kind in ("create", "rename", "mkdir")}
    whole = {
        str(path.relative_to(family))
        for path in family.rglob("*")
        # A folder that was renamed brought what was in it.
        if not any(
            str(above.relative_to(family)) in made
            for above in [path, *path.parents][:-1]
            if above.is_relative_to(family)
        )
    }
    assert not whole, f"changes of these files were not seen: {whole}"
    unflushed = [(content, names) for content, names in ending.value[2]]
    return Reference(data, family, seal_of(family), changes, unflushed)


def run(
    arguments: Sequence[str],
    folder: Path,
    fault: Fault,
    root: Path,
    report: Path | None = None,
    seconds: float = child.SECONDS,
) -> child.Ending:
    """Run a command with a fault in a child; its value is what `with_fault` returns."""
    return child.fork(lambda: with_fault(arguments, fault, root, report), folder, seconds=seconds)


def start(arguments: Sequence[str], folder: Path, fault: Fault, root: Path) -> child.Running:
    """Start a command with a fault in a child."""
    return child.Running(lambda: with_fault(arguments, fault, root, None), folder)


def with_fault(
    arguments: Sequence[str], fault: Fault, root: Path, report: Path | None
) -> tuple[int, list[tuple[str, str]], list[tuple[bool, bool]]]:
    """Run a command with a fault in this process; return its exit code and what it changed."""
    disk = Disk(str(root), fault, report).install()
    code = child.command(*arguments)
    return code, disk.changes, disk.unflushed


def goes_on(reference: Reference, family: Path, folder: Path) -> Outcome | None:
    """Give the same command again, undisturbed, and compare all that is left with the reference."""

    def again() -> list[int]:
        trained = child.command(*train(reference.data, family))
        return [trained, child.command("verify", family) if trained == 0 else 0]

    ending = child.fork(again, folder)
    codes = ending.value or [ending.code, 0]
    wrong = judge(child.Ending(codes[0], ending.signal, ending.out, ending.err, None, ending.hung))
    if wrong is not None:
        return Outcome(f"again: {wrong.how}", wrong.detail)
    if codes != [0, 0]:
        what = "verify" if codes[0] == 0 else "train"
        said = ending.err.strip().splitlines()
        return Outcome(f"again: {what} exit {max(codes)}", said[-1] if said else "")
    return reference.compare(family)


def seal_of(family: Path) -> dict[str, str]:
    """Return a hash of every file of a family, without the times that some of them hold."""
    seal: dict[str, str] = {}
    for path in sorted(family.rglob("*")):
        name = str(path.relative_to(family))
        if name == "log.txt":
            # It says when what was done, and is no part of what was trained.
            continue
        if path.is_symlink():
            seal[name] = f"link {path.readlink()}"
        elif path.is_dir():
            seal[name] = "folder"
        else:
            seal[name] = hashlib.sha256(_without_times(path)).hexdigest()
    return seal


def _without_times(path: Path) -> bytes:
    content = path.read_bytes()
    try:
        if path.name == "done.json":
            return json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
        if path.name == "metrics.jsonl":
            rows = [json.loads(line) for line in content.splitlines()]
            return json.dumps(_timeless(rows), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return content
    return content


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {name: _timeless(part) for name, part in value.items() if name not in TIMES}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def same_family(reference: Reference, place: Path) -> Path:
    """Copy the undisturbed family; links stay links."""
    shutil.copytree(reference.family, place, symlinks=True)
    return place
