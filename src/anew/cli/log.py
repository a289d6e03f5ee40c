"""The log of a family: FAMILY/log.txt, with every notice and result of its trainings.

Nobody reads it but people. It is appended to line by line, by the first process alone, and where it
cannot be written the training goes on without it.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from anew.cli.options import COMMAND
from anew.cli.printing import notify
from anew.cli.terminal import Lines
from anew.core import distributed, files
from anew.core.spec import Spec
from anew.core.text import clean
from anew.core.version import __version__

NAME = "log.txt"
EARLIER = "log-earlier.txt"
MOST_BYTES = 4 << 20
"""A log that is larger becomes the earlier one, in place of the one before."""
# Names and passwords in an address, such as a tracker's.
_SECRET = re.compile(r"(?<=//)[^/@\s]+(?=@)")


class LogFile(Lines):
    """Appends what a training says to its family's log.

    The first line waits until a network is trained or found: a command that is refused before
    leaves a family as it was.
    """

    def __init__(self, family: Path) -> None:
        super().__init__(self._write, several=True)
        self._path = family / NAME
        words = shlex.join(["anew", *COMMAND.get()])
        self._waiting = [f"{clean(_SECRET.sub('...', words))} (anew {__version__})"]
        self._begun, self._failed = False, not distributed.is_main_process()

    def _write(self, text: str) -> None:
        """Write a text, a line each, with the time before it."""
        lines = [clean(line) for line in text.splitlines()]
        if not self._begun:
            self._waiting += lines
        else:
            self._append(lines)

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """Write what is trained."""
        self._begin()
        super().training_started(specs, steps, done, batch_size)

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """Write nothing: a network's epochs are in its own folder."""

    def network_done(self, spec: Spec, record: dict[str, Any], *, found: bool) -> None:
        """Write a network's result."""
        self._begin()
        super().network_done(spec, record, found=found)

    def ended(self, error: BaseException) -> None:
        """Write why the command ends early, if a training had begun."""
        if self._begun:
            self.log(f"ended: {str(error) or type(error).__name__}")

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._append(self._waiting)

    def _append(self, lines: Sequence[str]) -> None:
        """Append lines; the first failure is said, and nothing is tried again."""
        if self._failed or not lines:
            return
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        text = "".join(f"{now}  {line}\n" for line in lines)
        try:
            _append(self._path, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._failed = True
            notify([f"{self._path}: cannot be written ({error.strerror}); training continues"])


@contextmanager
def kept(family: Path) -> Generator[LogFile]:
    """Keep a log of a training in its family, also of the error that ends it."""
    log = LogFile(family)
    try:
        yield log
    except BaseException as error:
        log.ended(error)
        raise


def _append(path: Path, content: bytes) -> None:
    """Append to a plain file, at once, so that processes do not cut each other's lines."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | files.NO_LINK, 0o666)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is no plain file")
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    if status.st_size > MOST_BYTES:
        path.replace(path.with_name(EARLIER))
