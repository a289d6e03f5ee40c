"""The exception for what a user can mend, and the nearest known name for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AnewError(Exception):
    """Something outside anew is wrong: an option, a file, a folder, a teacher.

    The message is one line that names the field or file, the value found and the fix. The command
    line prints it without a traceback and exits with code 2. Mistakes of anew itself are assertions
    and other exceptions.
    """

    exit_code = 2


class MissingNetworkError(AnewError):
    """A network that others of a family learned from is not in its folder."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the nearest known name, or "" if none is near."""
    names = list(known)
    # One that differs in its case alone is nearer than any other.
    near = [one for one in names if one.strip().casefold() == name.strip().casefold()]
    near = near or difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def in_one_line(error: BaseException) -> str:
    """Return the type and message of an exception of other code, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
