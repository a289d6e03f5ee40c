"""Standard output and standard error: no text deceives who reads them, no failure ends a command.

Names of classes, files and networks come from outside, and a terminal obeys the escape sequences
in a text: it moves its cursor, takes a new title, pastes from the clipboard. While a command runs,
all that is written to the two streams is cleaned here. Only what a `Terminal` draws keeps its
colours and its moves, which are anew's own; it cleans the texts that it is given.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from anew.core.text import clean

_KEPT = "\n\t"
_TIED = "\ue000"
"""Stands for a blank at which a line is not broken; it is a blank again where it is drawn."""


class Stream(io.TextIOBase):
    """A standard stream, or None for one that is closed, whose failures end nothing.

    After the first failure, `error`, what is written is dropped: a training must not die of a full
    disk under its log, nor before its report of a reader that has gone.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def write(self, text: str, /) -> int:
        """Write a text; signs that the stream's encoding lacks are written out."""
        if self._stream is not None and self.error is None:
            encoding = self._stream.encoding or "utf-8"
            encodable = text.encode(encoding, "backslashreplace").decode(encoding)
            try:
                self._stream.write(encodable)
            # A ValueError says that somebody closed the stream.
            except (OSError, ValueError) as error:
                self.error = error
        return len(text)

    def flush(self) -> None:
        """Hand over what is written."""
        if self._stream is not None and self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self.error = error

    def let_go(self) -> None:
        """Flush for the last time, and keep Python from another attempt, which would fail too."""
        self.flush()
        if self.error is None:
            return
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        except (OSError, ValueError):
            # It is no file of the system, or closed: there is nothing that Python could flush.
            return

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor."""
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    # A plain attribute in Python's own class.
    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding that a text is written in."""
        return (self._stream and self._stream.encoding) or "utf-8"


class Cleaned(Stream):
    """A stream whose texts are cleaned; `inner` takes what needs no cleaning."""

    def __init__(self, inner: Stream) -> None:
        super().__init__(None)
        self.inner = inner

    def write(self, text: str, /) -> int:
        """Write a text without its control characters."""
        # Bars of other libraries, as of a download, begin their line anew with each write.
        start = "\r" if text.startswith("\r") else ""
        self.inner.write(start + clean(text[len(start) :], _KEPT))
        return len(text)

    def flush(self) -> None:
        """Hand over what is written."""
        self.inner.flush()

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self.inner.isatty()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.inner.fileno()


class Terminal(Console):
    """What draws tables, trees and bars on standard output, or with `stderr` on standard error.

    The texts in what it draws are cleaned; its own colours and moves of the cursor stay.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        stream = sys.stderr if stderr else sys.stdout
        inner = stream.inner if isinstance(stream, Cleaned) else Stream(stream)
        # A path may hold what rich would take for the name of an emoji.
        super().__init__(file=inner, stderr=stderr, emoji=False, **options)  # type: ignore[arg-type]

    def say(self, text: str, style: str | None = None) -> None:
        """Print a text as it is: a line in a log, and broken between words on a terminal."""
        text, is_log = tied(clean(text, _KEPT)), not self.is_terminal
        self.print(text, markup=False, highlight=False, style=style, soft_wrap=is_log)

    def note(self, text: str, style: str | None = None) -> None:
        """Print a note to a table: broken between words where the table is, in a log too."""
        self.print(tied(clean(text, _KEPT)), markup=False, highlight=False, style=style)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Return what is drawn, in pieces; each text is cleaned, and no line ends in blanks."""
        pieces = super().render(renderable, options)
        # Pieces with a control are moves of the cursor, which no text can be.
        return _without_blank_ends(
            Segment(text if control else clean(text, _KEPT).replace(_TIED, " "), style, control)
            for text, style, control in pieces
        )


def tied(text: str) -> str:
    """Return a text whose lines are not broken between a number and its unit."""
    return re.sub(r"(?<=\d) (?=(?:%|s|min|h|[kMG]B)(?!\w))", _TIED, text)


def _without_blank_ends(pieces: Iterable[Segment]) -> Generator[Segment]:
    """Return pieces of lines without the blanks that rich fills cells and wrapped lines with."""
    blanks: list[Segment] = []
    for text, style, control in pieces:
        if control:
            yield from (*blanks, Segment(text, style, control))
            blanks = []
            continue

        for line in re.findall(r".*\n|.+", text):
            shown = line.rstrip(" \n")
            if shown or line.endswith("\n"):
                yield from blanks if shown else ()
                blanks = []
            if line.endswith("\n"):
                yield Segment(f"{shown}\n", style)
            elif shown:
                yield Segment(shown, style)
                blanks = [Segment(line[len(shown) :], style)]
            else:
                blanks.append(Segment(line, style))
    yield from blanks


@contextmanager
def standing_in() -> Generator[Stream]:
    """Put cleaned streams into the places of the standard ones, and return standard output's."""
    _open_closed_descriptors()
    kept = sys.stdout, sys.stderr
    output, error = Stream(kept[0]), Stream(kept[1])
    sys.stdout, sys.stderr = Cleaned(output), Cleaned(error)
    try:
        yield output
    finally:
        output.let_go()
        error.let_go()
        sys.stdout, sys.stderr = kept


def _open_closed_descriptors() -> None:
    """Let the standard descriptors that are closed lead nowhere.

    Else the next file that is opened, such as a network's weights, would get the number of standard
    error, and a library's warning would be written into it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
