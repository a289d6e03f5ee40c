"""Children of a warmed-up process: a command of anew in a process of its own, in milliseconds.

Importing torch and anew takes seconds. This process imports them once, and each attack runs in a
fork: a real process, with a time limit, a memory limit, and files for its two outputs.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import io
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 20.0
"""How long a command may take."""
MEMORY = 3 << 30
"""Bytes of memory that a command may take beyond what the imports take."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ending:
    """How a child ended."""

    code: int | None
    """The exit code; None if it was killed or was still running."""
    signal: int
    out: str
    err: str
    value: Any = None
    """What its work returned."""
    hung: bool = False
    peak: int = 0
    """The largest part of the memory that it used, in bytes."""


def warm_up() -> None:
    """Import what commands import, and read what they read, before the first fork."""
    os.environ.update({"OMP_NUM_THREADS": "1", "COLUMNS": "120", "MKL_NUM_THREADS": "1"})
    os.environ.pop("ANEW_DEBUG", None)
    import torch

    torch.set_num_threads(1)
    for name in (
        "anew.api",
        "anew.cli.main",
        "PIL.Image",
        "pyarrow.parquet",
        "sklearn.datasets",
        "timm",
        "torchvision",
    ):
        importlib.import_module(name)
    import PIL.Image

    PIL.Image.init()


def warm_up_with(work: Callable[[], Any], folder: Path) -> Ending:
    """Run some work in a child, and import here what it imported there."""

    def run() -> list[str]:
        before = set(sys.modules)
        work()
        return sorted(set(sys.modules) - before)

    ending = fork(run, folder, seconds=120)
    for name in ending.value or []:
        try:
            importlib.import_module(name)
        except Exception:  # a module that only its parent can import
            continue
    gc.collect()
    gc.freeze()
    return ending


def command(*arguments: object) -> int:
    """Run `anew ...` in this process as the interpreter would; return its exit code."""
    main = importlib.import_module("anew.cli.main").main
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue
    return 0


def anew(
    *arguments: object, folder: Path, before: Callable[[], None] | None = None, **limits: Any
) -> Ending:
    """Run `anew ...` in a child; `before` runs there first."""

    def run() -> int:
        if before is not None:
            before()
        return command(*arguments)

    ending = fork(run, folder, **limits)
    code = ending.value if isinstance(ending.value, int) else ending.code
    return Ending(
        code, ending.signal, ending.out, ending.err, None, hung=ending.hung, peak=ending.peak
    )


class Running:
    """A child at work."""

    def __init__(self, work: Callable[[], Any], folder: Path, *, memory: int | None = MEMORY):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.monotonic_ns()}"
        self._files = [folder / f"{name}.{kind}" for kind in ("out", "err", "value")]
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python 3.12 warns if there are threads; none of them holds a lock that a child needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _be_the_child(work, self._files, memory)
        self._handle = os.pidfd_open(self.pid)

    def fileno(self) -> int:
        """Return what `select` waits for: it is readable when the child has ended."""
        return self._handle

    def wait(self, seconds: float = SECONDS) -> Ending:
        """Wait for the end, and kill the child and its own children after so many seconds."""
        ready, _, _ = select.select([self._handle], [], [], seconds)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self._handle)

        out, err, value = (_read(path) for path in self._files)
        return Ending(
            code=os.WEXITSTATUS(status) if os.WIFEXITED(status) and ready else None,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) and ready else 0,
            out=out,
            err=err,
            value=json.loads(value) if value else None,
            hung=not ready,
            peak=usage.ru_maxrss << 10,
        )

    def send(self, number: int) -> None:
        """Send the child a signal."""
        os.kill(self.pid, number)

    def wait_until_stopped(self, seconds: float = SECONDS) -> bool:
        """Wait until the child is stopped by a signal; return False if it ended before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "T":
                return True
            if state == "Z":
                return False
            time.sleep(0.002)
        return False


def fork(
    work: Callable[[], Any], folder: Path, *, seconds: float = SECONDS, memory: int | None = MEMORY
) -> Ending:
    """Run some work in a child and wait for its end."""
    return Running(work, folder, memory=memory).wait(seconds)


def open_streams() -> None:
    """Let Python write to this process's two outputs, whatever they are now."""
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)),
        "utf-8",
        "backslashreplace",
        line_buffering=True,
    )


def _be_the_child(work: Callable[[], Any], files: Sequence[Path], memory: int | None) -> None:
    code = 99
    try:
        os.setsid()
        # Under nohup the suite ignores this signal, and so would all that it starts.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        # Who is killed for being too slow takes its own children along.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # What follows is the child's own: torch's and Python's streams go to files.
        for descriptor, path in zip((1, 2), files, strict=False):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        open_streams()
        # Attacks look at what is written, and a model knows what is flushed: no disk is waited for.
        os.fsync = lambda descriptor: None
        if memory is not None:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
        value = work()
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        files[2].write_text(json.dumps(value))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "backslashreplace")
    except FileNotFoundError:
        return ""
    finally:
        path.unlink(missing_ok=True)
