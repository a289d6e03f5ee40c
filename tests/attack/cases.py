"""What an attack is, how it ended, and which failures are known."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attack.child import Ending

WITHSTOOD = "withstood"
KNOWN = Path(__file__).with_name("known.toml")


@dataclass(frozen=True)
class Outcome:
    """How a case ended: withstood, or one of the ways to fail, with what was seen."""

    how: str = WITHSTOOD
    detail: str = ""
    warning: str = ""

    @property
    def good(self) -> bool:
        return self.how == WITHSTOOD


@dataclass(frozen=True)
class Case:
    """One attack, with a number that finds it again: `--only KIND:NUMBER`."""

    kind: str
    number: int
    title: str
    run: Callable[[Path], Outcome]
    """Attack in a folder of its own."""
    group: str = ""
    """Its row in the table; its kind where none is given."""

    @property
    def row(self) -> str:
        return self.group or self.kind

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.number}"


def judge(ending: Ending, *, starts: bool = False, base: int = 0) -> Outcome | None:
    """Return what is wrong with a command's ending, or None: it succeeded, or refused in one line.

    With `starts`, a command that is still training when its time is up took its input for valid.
    """
    said = ending.err.strip()
    if ending.hung:
        return None if starts and "steps to go" in said else Outcome("hang", _last(said))
    if ending.signal:
        return Outcome("crash", f"signal {ending.signal}; {_last(said)}")
    if "Traceback" in said or "Traceback" in ending.out:
        return Outcome("traceback", _where(said))
    for stream, text in (("stdout", ending.out), ("stderr", ending.err)):
        control = next((sign for sign in text if _is_control(sign)), None)
        if control is not None:
            at = text.index(control)
            return Outcome("control characters", f"{stream}: {text[max(0, at - 30) : at + 10]!r}")
    if ending.code not in (0, 2, 130):
        return Outcome("exit code", f"{ending.code}; {_last(said)}")
    if ending.code == 2:
        lines = said.splitlines()
        if not lines or not lines[-1].startswith("anew: "):
            return Outcome("no line", repr(said[-200:]))
        if sum(line.startswith("anew: ") for line in lines) != 1:
            return Outcome("several lines", repr(said[-300:]))
    return None


def _is_control(sign: str) -> bool:
    if sign in "\n\t":
        return False
    return (
        unicodedata.category(sign) in ("Cc", "Cs") or sign in "\u2028\u2029\u202a\u202b\u202d\u202e"
    )


def _last(text: str) -> str:
    lines = text.splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def _where(text: str) -> str:
    """Return a traceback's last line and the innermost place of anew in it."""
    places = re.findall(r'File "[^"]*/anew/([^"]+)", line (\d+), in (\S+)', text)
    if not places:
        return _last(text)
    file, line, function = places[-1]
    return f"{_last(text)} [{file}:{line} {function}]"


@dataclass(frozen=True)
class Known:
    """A failure that is known: a pattern of `KIND title: how: detail`, and the reason."""

    pattern: re.Pattern[str]
    reason: str


def read_known() -> list[Known]:
    entries = tomllib.loads(KNOWN.read_text(encoding="utf-8")).get("known", [])
    return [Known(re.compile(entry["match"]), entry["reason"]) for entry in entries]


def is_known_by_title(case: Case) -> bool:
    """Return whether an attack by a hostile file is known to succeed, before it is tried."""
    heads = [entry.pattern.pattern.partition(": ")[0] for entry in read_known()]
    title = f"{case.kind} {case.title}"
    return any(re.search(head, title) for head in heads if head.startswith("^hostile"))


def line_of(case: Case, outcome: Outcome) -> str:
    """Return a failure in one line: what was tried, how it failed, and what was seen."""
    return f"{case.kind} {case.title}: {outcome.how}: {_in_short(outcome.detail)}"


def cause_of(case: Case, outcome: Outcome) -> str:
    """Return what failures of one cause share: how it failed and what was seen, without numbers."""
    detail = re.sub(r"\d+", "N", _in_short(outcome.detail))[:110]
    return f"{case.kind} {outcome.how}: {detail}"


def _in_short(text: str) -> str:
    """Return a text in one line, without what differs from run to run."""
    text = re.sub(r"/\S*?/cases/[a-z]+-\d+/", "", " ".join(text.split()))
    text = re.sub(r"\b[0-9a-f]{16}\b", "ID", text)
    return "".join(sign if sign.isprintable() else "?" for sign in text)
