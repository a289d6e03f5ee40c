"""One writer per network: a lock file with its owner and heartbeat, taken over from an owner that is dead."""

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

from anew import storage
from anew.errors import AnewError

HEARTBEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0


class NetworkLock:
    """Holds a network's folder for one process, as a context manager.

    The file `lock` names host, process and when that process started; its modification time is the heartbeat. A lock
    is dead when its process is gone (same host) or its heartbeat is older than a minute (another host).
    Raises `AnewError` on entry where a live process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        # The guard makes "look, then take" one step among the processes of this machine; it is held for an instant.
        storage.ensure_folder(self.folder)
        with FileLock(self.folder / ".lock-guard"):
            holder = self._read()
            if holder is not None and self._is_alive(holder):
                raise AnewError(
                    f"{self.folder}: process {holder.get('process')} on {holder.get('host')} is training this network "
                    "now; wait for it, or give another --out"
                )
            storage.write_bytes(self.path, json.dumps(self.owner).encode())
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._heartbeat.join()
        if self._is_ours():
            self.path.unlink(missing_ok=True)
        (self.folder / ".lock-guard").unlink(missing_ok=True)

    def check(self) -> None:
        """Raise `AnewError` where another process took the lock over, as after this one slept for minutes."""
        if not self._is_ours():
            raise AnewError(
                f"{self.folder}: another process took this network over while this one stood still; let it finish"
            )

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
        return time.time() - self.path.stat().st_mtime < DEAD_AFTER_SECONDS


def _process_exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _process_started(process: int) -> str:
    """Return when a process started, so that a new process with an old number is not taken for it ("" if unknown)."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    # The command's name, in brackets, may hold spaces; field 22 counts from the process number before it.
    return stat.rpartition(")")[2].split()[19]
