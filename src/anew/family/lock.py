"""One writer for each network: a lock file with its owner and heartbeat.

The file `lock` in a network's folder names the owner; its modification time is the heartbeat. An
owner on this machine is asked for by its process. An owner elsewhere (another host, or another
container of this one) is dead if its heartbeat stands still: first by the clock, and then while
this process watches, because two machines' clocks may differ.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from anew.core import files
from anew.core.errors import AnewError
from anew.core.interruption import StopRequest

HEARTBEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0
WATCH_SECONDS = 11.0
"""How long a heartbeat must stand still before our eyes: two beats and a second."""
CLOCK_SECONDS = 5.0
"""How far in the future a heartbeat may lie before the clocks are known to differ."""
OUTLIVES_DEATH = 90.0
"""A patience, in seconds, that outlasts the lock of an owner who died on another machine."""
LOOK_SECONDS = 1.0
GUARD_SECONDS = 3.0
"""How long the guard of locks is waited for: it is held for an instant, or its holder stands still.
"""
LARGEST_PROCESS = 2**31 - 1
LARGEST_LOCK = 4096
_MACHINE = ("host", "boot", "namespace")
"""What must be equal for a process number to mean a process that this one can ask for."""


class _Owner(Enum):
    """What is known of a lock's owner."""

    ALIVE = "alive"
    SILENT = "its heartbeat stands still by the clock, but was not watched for long enough"
    DEAD = "dead"


@dataclass(frozen=True)
class _Beat:
    """A lock as it was seen: who holds it, when its heart last beat, and since when it is so."""

    token: object
    at: float
    """The lock's modification time."""
    seen: float
    """When this process first saw this beat, on its own monotonic clock."""


class NetworkLock:
    """Holds a network's folder for one process, as a context manager.

    Raises `AnewError` on entry if a live process still holds it after `patience` seconds, or if a
    stop was requested.
    """

    def __init__(
        self, folder: Path, patience: float = 0.0, stop: StopRequest | None = None
    ) -> None:
        self.folder = folder
        self.path = folder / "lock"
        self.owner: dict[str, object] = {
            "host": socket.gethostname(),
            "boot": _boot(),
            "namespace": _namespace(),
            "process": os.getpid(),
            "started": _process_started(os.getpid()),
            "token": secrets.token_hex(8),
        }
        self._patience, self._stop_request = patience, stop or StopRequest()
        self._last_beat: _Beat | None = None
        self._stop = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> NetworkLock:
        files.ensure_folder(self.folder)
        give_up = time.monotonic() + self._patience

        while True:
            state, holder = self._take()
            if state is _Owner.DEAD and self._is_ours():
                break
            impatient = time.monotonic() >= give_up and state is _Owner.ALIVE
            if impatient or self._stop_request.requested:
                raise AnewError(
                    f"{self.folder}: {_in_words(holder)} is training this network now; wait "
                    "until it has finished, or give another --out"
                )
            time.sleep(LOOK_SECONDS)

        self._heartbeat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._heartbeat.join()
        if self._is_ours():
            self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise `AnewError` if another process took the lock over, as after this one slept."""
        if not self._is_ours():
            raise AnewError(
                f"{self.folder}: another process took over this network while this one was "
                "suspended; let it finish"
            )

    def _take(self) -> tuple[_Owner, dict[str, object]]:
        """Take the lock if no live process holds it; return what is known of its owner."""
        with _guard(self.folder.parent) as guarded:
            holder = self._read()
            state = _Owner.DEAD if holder is None else self._look_at(holder)
            if state is _Owner.DEAD:
                files.write_bytes(self.path, json.dumps(self.owner).encode())
        if state is _Owner.DEAD and not guarded:
            # Another process may have taken the lock in the same instant: the last one has it.
            time.sleep(LOOK_SECONDS)
        return state, holder or {}

    def remove_if_dead(self) -> None:
        """Remove the lock of a finished network whose owner died before it gave the lock back.

        A living owner gives it back itself.
        """
        if os.path.lexists(self.path):
            with _guard(self.folder.parent):
                holder = self._read()
                if holder is not None and self._look_at(holder) is not _Owner.ALIVE:
                    self.path.unlink(missing_ok=True)

    def is_held(self) -> bool:
        """Return whether a process holds the network, as far as the lock's file says.

        One elsewhere whose heartbeat stands still counts until it was watched for long enough: ask
        the same object again.
        """
        holder = self._read()
        return holder is not None and self._look_at(holder) is not _Owner.DEAD

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                if self._is_ours():
                    os.utime(self.path)
            except OSError:
                # A disk that fails for a moment: the next beat may succeed, and `check` decides.
                continue

    def _is_ours(self) -> bool:
        holder = self._read()
        return holder is not None and holder.get("token") == self.owner["token"]

    def _read(self) -> dict[str, object] | None:
        """Return what the lock says of its owner: nothing known if it is damaged, None if none."""
        try:
            # No link is followed, and no named pipe is waited for.
            descriptor = os.open(self.path, os.O_RDONLY | files.NO_LINK)
        except FileNotFoundError:
            return None
        except OSError:
            return {}
        with os.fdopen(descriptor, "rb") as file:
            try:
                holder = json.loads(file.read(LARGEST_LOCK))
            except (ValueError, OSError, RecursionError):
                return {}
        return holder if isinstance(holder, dict) else {}

    def _look_at(self, holder: dict[str, object]) -> _Owner:
        """Return whether an owner is alive: by its process here, by its heartbeat elsewhere."""
        process = holder.get("process")
        # Version 0.1 wrote only the host: its lock is judged as it judged it.
        same = [holder.get(name, self.owner[name]) == self.owner[name] for name in _MACHINE]
        here = "host" in holder and all(same)
        if here and type(process) is int and 0 < process <= LARGEST_PROCESS:
            lives = _process_exists(process) and _process_started(process) == holder.get("started")
            return _Owner.ALIVE if lives else _Owner.DEAD

        try:
            beat_at = self.path.lstat().st_mtime
        except FileNotFoundError:
            # Given back between the reading and this look.
            return _Owner.DEAD
        if -CLOCK_SECONDS <= time.time() - beat_at < DEAD_AFTER_SECONDS:
            return _Owner.ALIVE
        return self._watch(holder.get("token"), beat_at)

    def _watch(self, token: object, beat_at: float) -> _Owner:
        """Return whether a heartbeat stood still for long enough while this process watched."""
        now = time.monotonic()
        last = self._last_beat
        if last is None or (last.token, last.at) != (token, beat_at):
            self._last_beat = last = _Beat(token, beat_at, now)
        return _Owner.DEAD if now - last.seen >= WATCH_SECONDS else _Owner.SILENT


@contextmanager
def _guard(networks: Path) -> Generator[bool]:
    """Make "look, then take" one step among the processes of this machine.

    A family has one guard, which stays: a file that is removed would guard only those who had it
    open. Yields whether it is held: a process that was stopped while it held it would stop all
    others for ever, so they go on without, and look again at what they took.
    """
    guard = FileLock(networks / ".lock-guard", timeout=GUARD_SECONDS)
    try:
        guard.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        guard.release()


def _in_words(holder: dict[str, object]) -> str:
    process, host = holder.get("process"), holder.get("host")
    if type(process) is not int or not isinstance(host, str):
        return "a process that its damaged lock does not name"
    return f"process {process} on {host}"


def _boot() -> str:
    """Return what tells this start of this machine from all others ("" if unknown)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _namespace() -> int:
    """Return which process numbers are meant: containers have their own (0 if unknown)."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _process_exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # One that has ended stays until its parent asks how, which the first process of a container may
    # never do.
    return _stat(process)[:1] not in (["Z"], ["X"])


def _process_started(process: int) -> str:
    """Return when a process started, which tells it from an older one of the same number.

    "" if that is unknown.
    """
    return "".join(_stat(process)[19:20])


def _stat(process: int) -> list[str]:
    """Return what Linux says of a process from its state on (field 3); [] if that is unknown."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return []
    # The command's name, in brackets, may hold spaces.
    return stat.rpartition(")")[2].split()
