"""Faults of disks and sudden deaths: every change of a file below a folder is counted and may fail.

`Disk.install` wraps, in a child, the calls of Python by which anew changes files. Before the N-th
change it does what was asked: dies (SIGKILL), dies half-way through, stops (SIGSTOP), or fails with
an error of the operating system, once or from then on.

It also keeps a model of what a loss of power would leave: the files whose content was never flushed
by fsync, and the names that were made, renamed or removed in a folder that was not flushed since.
`lose_power` applies one of the states that the disk may then be in.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import shutil
import signal
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GROWING = ("create", "write", "truncate", "mkdir")
"""What fails on a full disk; names can still be changed and removed."""
TORN = ("write", "rename", "unlink", "create", "mkdir", "truncate", "rmdir")
"""What can be half done: half of the bytes are written, or the change is done and nothing after."""


@dataclass(frozen=True)
class Fault:
    """What happens at which change."""

    do: str
    """"kill" (before the change), "torn" (half-way), "stop", or "fail"."""
    at: int
    """The number of the change, from 0."""
    code: int = 0
    """The error's number, of a failure."""
    onward: bool = False
    """Whether all changes from there on fail, as on a full or read-only disk."""


NEVER = Fault("none", -1)


@dataclass
class Disk:
    """Counts the changes below a folder, and lets one fail."""

    root: str
    fault: Fault = NEVER
    report: Path | None = None
    """Where the model of a loss of power is written before a death; outside of the folder."""
    changes: list[tuple[str, str]] = field(default_factory=list)
    """Kind and path of every change so far."""
    dirty: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Files whose content may not be on the disk, with the ranges that were written."""
    flushed: dict[str, int] = field(default_factory=dict)
    """How many bytes of a file were flushed at last; all that a file had before it was changed."""
    pending: list[dict[str, str]] = field(default_factory=list)
    """Changes of names that may not be on the disk, in their order."""
    unflushed: list[tuple[bool, bool]] = field(default_factory=list)
    """Before every change: whether there were such files, and such changes of names."""
    _inside: threading.local = field(default_factory=threading.local)

    def install(self) -> Disk:
        """Wrap the calls that change files, for the rest of this process's life."""
        self.root = os.path.realpath(self.root)
        for name in ("rename", "replace"):
            setattr(os, name, self._two_names(getattr(os, name)))
        for name, kind in (
            ("unlink", "unlink"),
            ("remove", "unlink"),
            ("rmdir", "rmdir"),
            ("mkdir", "mkdir"),
        ):
            setattr(os, name, self._one_name(getattr(os, name), kind))
        for name in ("symlink", "link"):
            setattr(os, name, self._link(getattr(os, name)))
        os.truncate = self._on_file(os.truncate, "truncate")
        os.ftruncate = self._on_file(os.ftruncate, "truncate")
        os.utime = self._on_file(os.utime, "utime")
        os.fsync = self._flush(os.fsync)
        os.fdatasync = self._flush(os.fdatasync)
        os.write = self._write(os.write)
        os.pwrite = self._write(os.pwrite)
        os.open = self._open_descriptor(os.open)
        builtins.open = io.open = self._open_file(io.open)
        return self

    # What is done at a change.

    def meet(self, kind: str, path: str, half: Callable[[], Any] | None = None) -> None:
        """Count a change that is about to be made; die, stop or raise if it is the one."""
        number = len(self.changes)
        self.changes.append((kind, os.path.relpath(path, self.root)))
        self.unflushed.append((bool(self.dirty), bool(self.pending)))
        fault = self.fault
        if number < fault.at or (number > fault.at and not fault.onward) or fault.at < 0:
            return
        if fault.do == "fail":
            if fault.code == errno.ENOSPC and kind not in GROWING:
                return
            if half is not None and kind == "write" and number == fault.at:
                half()
            raise OSError(fault.code, os.strerror(fault.code), path)
        if fault.do == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        if fault.do == "torn" and half is not None:
            half()
        if self.report is not None:
            with _quiet(self):
                self.report.write_text(json.dumps(self._model()))
        os.kill(os.getpid(), signal.SIGKILL)

    def _where(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Return the real path of a file below the folder, or None for any other."""
        if getattr(self._inside, "quiet", False):
            return None
        if isinstance(path, int):
            with contextlib.suppress(OSError):
                return self._if_below(os.readlink(f"/proc/self/fd/{path}"))
            return None
        text = os.fsdecode(path)
        if dir_fd is not None and not os.path.isabs(text):
            text = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), text)
        folder, name = os.path.split(os.path.abspath(text))
        return self._if_below(os.path.join(os.path.realpath(folder), name))

    def _if_below(self, path: str) -> str | None:
        return path if path == self.root or path.startswith(self.root + os.sep) else None

    # The model of a loss of power.

    def _keep(self, path: str) -> str:
        """Keep a file that a change of names removes, and return where; it may come back."""
        if self.report is None or not os.path.lexists(path) or os.path.isdir(path):
            return ""
        kept = f"{self.report}.{len(self.changes)}.kept"
        with _quiet(self):
            shutil.copyfile(path, kept, follow_symlinks=False)
        return kept

    def _moved(self, old: str, new: str) -> None:
        for known in (self.dirty, self.flushed):
            for path in [one for one in known if one == old or one.startswith(old + os.sep)]:
                known[new + path[len(old) :]] = known.pop(path)  # type: ignore[assignment]

    def _flushed(self, path: str) -> None:
        if os.path.isdir(path):
            self.pending = [
                change
                for change in self.pending
                if path not in map(os.path.dirname, _names(change))
            ]
        else:
            self.dirty.pop(path, None)
            self.flushed[path] = os.path.getsize(path)

    def wrote(self, path: str, start: int, length: int) -> None:
        """Note bytes that are about to be written."""
        self._know(path)
        self.dirty.setdefault(path, []).append((start, start + length))

    def cut(self, path: str, size: int) -> None:
        """Note that a file is about to get another size."""
        self._know(path)
        self.dirty.setdefault(path, [])
        self.flushed[path] = min(self.flushed[path], size)

    def _know(self, path: str) -> None:
        if path not in self.flushed:
            self.flushed[path] = os.path.getsize(path) if os.path.exists(path) else 0

    def _forget(self, path: str) -> None:
        self.dirty.pop(path, None)
        self.flushed.pop(path, None)

    def _model(self) -> dict[str, Any]:
        files = {path: [self.flushed[path], ranges] for path, ranges in self.dirty.items()}
        return {"dirty": files, "pending": self.pending}

    # The wrappers, one a shape of call.

    def _one_name(self, call: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def changed(path: Any, *rest: Any, dir_fd: int | None = None, **named: Any) -> Any:
            given = named if dir_fd is None else {**named, "dir_fd": dir_fd}
            where = self._where(path, dir_fd)
            # What is certain to fail changes nothing.
            exists = where is not None and os.path.lexists(where)
            there = where is not None and os.path.isdir(os.path.dirname(where))
            if where is None or exists == (kind == "mkdir") or not there:
                return call(path, *rest, **given)
            self.meet(kind, where, lambda: call(path, *rest, **given))
            kept = self._keep(where) if kind == "unlink" else ""
            answer = call(path, *rest, **given)
            self.pending.append({"kind": kind, "path": where, "kept": kept})
            if kind == "unlink":
                self._forget(where)
            return answer

        return changed

    def _two_names(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def changed(old: Any, new: Any, **named: Any) -> Any:
            source, target = self._where(old), self._where(new)
            if source is None or target is None:
                return call(old, new, **named)
            self.meet("rename", target, lambda: call(old, new, **named))
            kept = self._keep(target)
            answer = call(old, new, **named)
            self._forget(target)
            self._moved(source, target)
            self.pending.append({"kind": "rename", "path": target, "old": source, "kept": kept})
            return answer

        return changed

    def _link(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def changed(target: Any, name: Any, *rest: Any, **named: Any) -> Any:
            where = self._where(name)
            if where is not None:
                self.meet("create", where)
                self.pending.append({"kind": "create", "path": where})
            return call(target, name, *rest, **named)

        return changed

    def _on_file(self, call: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def changed(path: Any, *rest: Any, **named: Any) -> Any:
            where = self._where(path)
            # A heartbeat comes at any time; it is no step of the run.
            if where is None or threading.current_thread() is not threading.main_thread():
                return call(path, *rest, **named)
            self.meet(kind, where, lambda: call(path, *rest, **named))
            if kind == "truncate":
                self.cut(where, rest[0])
            return call(path, *rest, **named)

        return changed

    def _flush(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def flushed(descriptor: Any) -> Any:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            where = self._where(number)
            if where is not None:
                self.meet("fsync", where)
                self._flushed(where)
            # The model knows what is flushed: nothing is to be gained from waiting for a disk.
            return None

        return flushed

    def _write(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def written(descriptor: int, content: Any, *rest: Any) -> Any:
            where = self._where(descriptor)
            if where is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
                half = bytes(content)[: len(content) // 2]
                self.meet("write", where, lambda: call(descriptor, half, *rest))
                start = rest[0] if rest else os.lseek(descriptor, 0, os.SEEK_CUR)
                self.wrote(where, start, len(content))
            return call(descriptor, content, *rest)

        return written

    def _open_descriptor(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Any, flags: int, *rest: Any, dir_fd: int | None = None) -> Any:
            given = {} if dir_fd is None else {"dir_fd": dir_fd}
            where = self._where(path, dir_fd)
            if where is not None and flags & (os.O_CREAT | os.O_TRUNC):
                self._creating(where, flags, lambda: os.close(call(path, flags, *rest, **given)))
            return call(path, flags, *rest, **given)

        return opened

    def _open_file(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def opened(
            file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any
        ) -> Any:
            where = self._where(file)
            if where is None or not set(mode) & set("wax+"):
                return call(file, mode, buffering, *rest, **named)
            if not isinstance(file, int) and set(mode) & set("wax"):
                flags = os.O_CREAT | (os.O_TRUNC if "w" in mode else 0)
                self._creating(where, flags, lambda: call(file, mode.replace("+", "")).close())
            plain = mode.replace("b", "").replace("t", "")
            raw = _Raw(file, plain, self, where)
            if buffering == 0:
                return raw
            buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            if "b" in mode:
                return buffered
            return io.TextIOWrapper(
                buffered, *rest[:3], **{k: v for k, v in named.items() if k != "opener"}
            )

        return opened

    def _creating(self, where: str, flags: int, half: Callable[[], Any]) -> None:
        there = os.path.lexists(where)
        if there and not (flags & os.O_TRUNC and os.path.getsize(where)):
            return
        self.meet("create", where, half)
        self.cut(where, 0)
        if not there:
            self.pending.append({"kind": "create", "path": where})


class _Raw(io.FileIO):
    """A file whose writes are changes; what Python buffers above it comes when it would come."""

    def __init__(self, file: Any, mode: str, disk: Disk, where: str) -> None:
        super().__init__(file, mode)
        self._disk, self._where = disk, where

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        half = view[: len(view) // 2]
        self._disk.meet("write", self._where, lambda: super(_Raw, self).write(half))
        self._disk.wrote(self._where, self.tell(), len(view))
        return super().write(content)

    def truncate(self, size: int | None = None) -> int:
        cut = self.tell() if size is None else size
        if cut != os.fstat(self.fileno()).st_size:
            self._disk.meet("truncate", self._where, lambda: super(_Raw, self).truncate(cut))
            self._disk.cut(self._where, cut)
        return super().truncate(cut)


@contextlib.contextmanager
def _quiet(disk: Disk) -> Any:
    disk._inside.quiet = True
    try:
        yield
    finally:
        disk._inside.quiet = False


def _names(change: dict[str, str]) -> list[str]:
    return [change[key] for key in ("path", "old") if key in change]


POWER_STATES = ("unflushed content lost", "half of it lost", "changes of names lost too")


def lose_power(report: Path, state: int) -> bool:
    """Put a folder into one of the states in which a loss of power may leave it.

    0: content that was not flushed is lost: a file ends where it ended when it was flushed, and
    what was written within reads as zeros. 1: the first half of it is there. 2: as 0, and names
    that were not flushed are as they were before. Returns False if nothing had to be changed.
    """
    model = json.loads(report.read_text())
    for path, (flushed, ranges) in model["dirty"].items():
        if os.path.isfile(path):
            _lose_content(path, flushed, ranges, half=state == 1)
    if state < 2:
        return bool(model["dirty"])
    for change in reversed(model["pending"]):
        _undo(change)
    return bool(model["pending"])


def _lose_content(path: str, flushed: int, ranges: list[list[int]], *, half: bool) -> None:
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        for start, end in ranges:
            first = (start + end) // 2 if half else start
            file.seek(first)
            file.write(bytes(max(0, min(end, size) - first)))
        file.truncate(min(size, flushed + ((size - flushed) // 2 if half else 0)))


def _undo(change: dict[str, str]) -> None:
    path, kind = change["path"], change["kind"]
    if kind in ("create", "mkdir"):
        shutil.rmtree(path) if os.path.isdir(path) else Path(path).unlink(missing_ok=True)
        return
    if kind == "rmdir":
        os.makedirs(path, exist_ok=True)
        return
    if kind == "rename" and os.path.lexists(path):
        os.makedirs(os.path.dirname(change["old"]), exist_ok=True)
        os.rename(path, change["old"])
    if change.get("kept"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copyfile(change["kept"], path)
