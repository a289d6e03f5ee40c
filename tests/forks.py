"""Processes forked from the one that tests run in: real ones, to be killed, stopped and waited for.

A process that starts Python again spends two seconds and more on importing torch, before it does
what a test is about. A fork has everything already. What a start of Python itself is part of (the
first signals, spawned workers, torchrun's own doing) needs `runs.start`.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

# Every optimizer imports the compiler, and every evaluation scipy's statistics: here once, not in
# each fork.
import scipy.stats  # noqa: F401
import torch._dynamo
import torch.distributed

from anew.cli import main
from anew.training.launch import local
from commands import without_page

# Those that may still run; a test that fails must not leave one behind.
_running: "list[Forked]" = []


class Forked:
    """A forked process, with the methods of `subprocess.Popen` that the tests need.

    What it prints goes into files, which may be read while it runs.
    """

    def __init__(self, work: Callable[[], object]):
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        self._ended: tuple[str, str] | None = None
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads: pytest-xdist has one that waits for its controller.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            self._become(work)
        _running.append(self)

    def _become(self, work: Callable[[], object]) -> None:
        """Do the work in the child, which never returns to the tests."""
        code = 1
        try:
            # A group of its own, as `runs.start` has it.
            os.setsid()
            for stream, file in zip((1, 2), self._files, strict=True):
                os.dup2(file.fileno(), stream)
            sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    @property
    def out(self) -> str:
        """What it has printed until now."""
        return self._read(0)

    @property
    def errors(self) -> str:
        """What it has printed on standard error until now."""
        return self._read(1)

    def _read(self, number: int) -> str:
        if self._ended:
            return self._ended[number]
        # The child shares the file's position, so reading must not move it.
        descriptor = self._files[number].fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None:
            number, status = os.waitpid(self.pid, os.WNOHANG)
            if number:
                self._ended = (self.out, self.errors)
                self.returncode = os.waitstatus_to_exitcode(status)
                for file in self._files:
                    file.close()
                _running.remove(self)
        return self.returncode

    def communicate(self, timeout: float = 180) -> tuple[str, str]:
        """Wait for its end; return what it printed."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.002)
        return self.out, self.errors

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it at once (SIGKILL), if it still runs."""
        self.send_signal(signal.SIGKILL)


def end_all() -> None:
    """Kill every fork that still runs."""
    for process in list(_running):
        process.kill()
        process.communicate()


def fork(*arguments: object, cwd: Path | None = None) -> Forked:
    """Run `anew ...` in a forked process."""
    words = [str(word) for word in without_page(arguments)]

    def work() -> None:
        if cwd is not None:
            os.chdir(cwd)
        main.main(words)

    return Forked(work)


def fork_training(out: Path, npz: Path, *options: object) -> Forked:
    """Run `anew train` in a forked process, as `runs.start` does in one of its own."""
    return fork("train", "--data", f"npz:{npz}", "--out", out, "--threads", 1, *options)


def fork_workers(method: str = "fork") -> multiprocessing.context.BaseContext:
    """Return the context of worker processes that are forked, not spawned. In `local.get_context`'s
    place, it saves each worker of this process a start of Python.
    """
    return multiprocessing.get_context("fork")


def fork_with_workers(out: Path, npz: Path, *options: object) -> Forked:
    """Run `anew train` in a forked process, and its workers (`--jobs`) in forks of that."""
    data = f"npz:{npz}"
    command = ("train", "--data", data, "--out", out, "--threads", 1, "--no-page", *options)

    def work() -> None:
        local.get_context = fork_workers
        main.main([str(word) for word in command])

    return Forked(work)


def fork_together(out: Path, source: object, *options: object, processes: int = 2) -> Forked:
    """Run `anew train` in several processes that train together, as `runs.start` does by torchrun.

    The fork that is returned stands for torchrun: it holds the store where the processes meet, sets
    the variables that they read, and ends all when one fails. They are of its group.
    """
    command = ("train", "--data", source, "--out", out, "--threads", 1, "--no-page", *options)
    words = [str(word) for word in command]

    def work() -> None:
        store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        common = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
        }
        context = multiprocessing.get_context("fork")
        ranks = [
            context.Process(
                target=_train_as_a_rank,
                args=(words, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}),
            )
            for rank in range(processes)
        ]
        for process in ranks:
            process.start()
        while any(process.exitcode is None for process in ranks):
            if any(process.exitcode for process in ranks):
                for process in ranks:
                    process.terminate()
            time.sleep(0.01)
        sys.exit(next((process.exitcode for process in ranks if process.exitcode), 0))

    return Forked(work)


def _train_as_a_rank(words: list[str], variables: dict[str, str]) -> None:
    os.environ.update(variables)
    main.main(words)


def fork_code(code: str, *arguments: object) -> Forked:
    """Run Python code in a forked process, with these arguments in `sys.argv`."""

    def work() -> None:
        sys.argv = ["code", *map(str, arguments)]
        exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})

    return Forked(work)
