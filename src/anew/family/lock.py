"""One writer per network: a lock file with its owner and heartbeat, taken over from an owner that
is dead.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

from filelock import FileLock

from anew.core import files
from anew.core.errors import AnewError
from anew.core.interruption import StopRequest

HEARTBEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0
OUTLIVES_DEATH = 90.0
"""A patience, in seconds, that is longer than an owner who died on another machine is taken for
alive.
"""
LOOK_SECONDS = 1.0


class NetworkLock:
    """Holds a network's folder for one process, as a context manager.

    The file `lock` names host, process and when that process started; its modification time is the
    heartbeat. A lock is dead when its process is gone (same host) or its heartbeat is older than a
    minute (another host). Raises `AnewError` on entry where a live process still holds it after
    `patience` seconds, or a stop was requested.
    """

    def __init__(
        self, folder: Path, patience: float = 0.0, stop: StopRequest | None = None
    ) -> None:
        self.folder = folder
        self._patience, self._stop_request = patience, stop or StopRequest()
        self.path = folder / "lock"
        self.owner = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": _process_started(os.getpid()),
            "token": secrets.token_hex(8),
        }
        self._stop = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> NetworkLock:
        files.ensure_folder(self.folder)
        give_up = time.monotonic() + self._patience
        while (holder := self._take()) is not None:
            if time.monotonic() >= give_up or self._stop_request.requested:
                raise AnewError(
                    f"{self.folder}: process {holder.get('process')} on {holder.get('host')} is "
                    f"training this network "
                    "now; wait for it, or give another --out"
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
        """Raise `AnewError` where another process took the lock over, as after this one slept for
        minutes.
        """
        if not self._is_ours():
            raise AnewError(
                f"{self.folder}: another process took this network over while this one stood "
                f"still; let it finish"
            )

    def _take(self) -> dict[str, object] | None:
        """Take the lock where no live process holds it; returns the one that does."""
        # The guard makes "look, then take" one step among the processes of this machine; it is held
        # for an instant. A family has one, which stays: a file that is removed would guard only
        # those who had it open.
        with FileLock(self.folder.parent / ".lock-guard"):
            holder = self._read()
            if holder is not None and self._is_alive(holder):
                return holder
            files.write_bytes(self.path, json.dumps(self.owner).encode())
        return None

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            if self._is_ours():
                os.utime(self.path)

    def _is_ours(self) -> bool:
        holder = self._read()
        return holder is not None and holder.get("token") == self.owner["token"]

    def _read(self) -> dict[str, object] | None:
        try:
            holder = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return holder if isinstance(holder, dict) else {}

    def _is_alive(self, holder: dict[str, object]) -> bool:
        process = holder.get("process")
        if holder.get("host") == self.owner["host"] and isinstance(process, int):
            return _process_exists(process) and _process_started(process) == holder.get("started")
        try:
            return time.time() - self.path.stat().st_mtime < DEAD_AFTER_SECONDS
        except FileNotFoundError:
            # Given back between the reading and this look.
            return False


def _process_exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _process_started(process: int) -> str:
    """Return when a process started, so that a new process with an old number is not taken for it
    ("" if unknown).
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    # The command's name, in brackets, may hold spaces; field 22 counts from the process number
    # before it.
    return stat.rpartition(")")[2].split()[19]
