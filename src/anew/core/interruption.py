"""Ctrl-C, SIGTERM and SIGHUP: the step under way is finished and saved before the process ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from anew.core.errors import AnewError

# Windows has no SIGHUP.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupted(AnewError):  # noqa: N818 -- nothing failed
    """Training was asked to stop and has saved; the same command resumes it."""

    exit_code = 130


class StopRequest:
    """A context manager around training that catches the signals to stop.

    The first signal requests a stop after the step under way; a second SIGINT stops at once.
    Signals reach the main thread only; in other threads no stop is ever requested.
    """

    def __init__(self) -> None:
        self.requested = False
        self._kept: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # Under nohup SIGHUP is ignored, and the training outlives the terminal.
                if number.name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN:
                    self._kept[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._kept.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
