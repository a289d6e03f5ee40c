"""Deaths and failing disks at every change of a file of a tiny run."""

from __future__ import annotations

import errno
import random
import re
from collections.abc import Callable
from pathlib import Path

from attack import tiny
from attack.cases import Case, Outcome, judge
from attack.faults import GROWING, POWER_STATES, TORN, Fault, lose_power
from attack.tiny import Reference

KEEPSAKE = "what a user keeps beside a family"


def kill(reference: Reference) -> list[Case]:
    """SIGKILL before each change."""
    return _at_each(reference, "kill", lambda at, kind: Fault("kill", at))


def torn(reference: Reference) -> list[Case]:
    """SIGKILL half-way through each change: half of a write, or right after a change of a name."""
    return _at_each(reference, "torn", lambda at, kind: Fault("torn", at) if kind in TORN else None)


def power(reference: Reference) -> list[Case]:
    """A loss of power before each change, in up to three states of the disk.

    Where all was flushed, the state is that of a kill and is not tried again.
    """
    cases: list[Case] = []
    for at, (kind, path) in enumerate(reference.changes):
        content, names = reference.unflushed[at]
        for state, words in enumerate(POWER_STATES):
            if not (names if state == 2 else content):
                continue
            title = f"before {kind} {_plain(path)}, {words}"
            cases.append(
                Case("power", 3 * at + state, title, _dying(reference, Fault("kill", at), state))
            )
    return cases


def errors(reference: Reference) -> list[Case]:
    """A full disk from each change on that takes room, one failure of the disk at each change, and
    a disk that is read-only, or a folder that is closed, from each eighth change on.
    """
    cases: list[Case] = []
    for at, (kind, path) in enumerate(reference.changes):
        closed = errno.EROFS if at % 16 else errno.EACCES
        for number, (code, onward) in enumerate(
            [(errno.ENOSPC, True), (errno.EIO, False), (closed, True)]
        ):
            if (number == 0 and kind not in GROWING) or (number == 2 and at % 8):
                continue
            until = "from then on" if onward else "once"
            title = f"{errno.errorcode[code]} {until} at {kind} {_plain(path)}"
            fault = Fault("fail", at, code, onward)
            cases.append(Case("errors", 3 * at + number, title, _failing(reference, fault)))
    return cases


def random_kills(reference: Reference, seed: int, count: int) -> list[Case]:
    """Several deaths of one run, one after another, at changes drawn by chance."""

    def dying(number: int) -> Callable[[Path], Outcome]:
        def run(place: Path) -> Outcome:
            dice = random.Random(f"{seed} {number}")
            family = _place(place)
            for _ in range(dice.randint(2, 6)):
                fault = Fault(dice.choice(["kill", "torn"]), dice.randrange(120))
                tiny.run(tiny.train(reference.data, family), place, fault, family)
            return _again(reference, place)

        return run

    return [Case("kills", n, "several deaths of one run", dying(n)) for n in range(count)]


def _at_each(
    reference: Reference, name: str, fault_at: Callable[[int, str], Fault | None]
) -> list[Case]:
    words = {"kill": "before", "torn": "within"}[name]
    cases: list[Case] = []
    for at, (kind, path) in enumerate(reference.changes):
        fault = fault_at(at, kind)
        if fault is not None:
            run = _dying(reference, fault)
            cases.append(Case(name, at, f"{words} {kind} {_plain(path)}", run))
    return cases


def _dying(
    reference: Reference, fault: Fault, state: int | None = None
) -> Callable[[Path], Outcome]:
    def run(place: Path) -> Outcome:
        family, report = _place(place), place / "report"
        model = None if state is None else report
        died = tiny.run(tiny.train(reference.data, family), place, fault, family, model)
        if died.signal != 9:
            return Outcome("not killed", f"exit {died.code}; {died.err.strip()[-200:]}")
        if state is not None and not lose_power(report, state):
            return Outcome(warning="same as a kill")
        return _again(reference, place)

    return run


def _failing(reference: Reference, fault: Fault) -> Callable[[Path], Outcome]:
    def run(place: Path) -> Outcome:
        family = _place(place)
        ending = tiny.run(tiny.train(reference.data, family), place, fault, family)
        code = ending.value[0] if ending.value else ending.code
        wrong = judge(type(ending)(code, ending.signal, ending.out, ending.err, None, ending.hung))
        return wrong or _again(reference, place)

    return run


def _place(place: Path) -> Path:
    (place / "keepsake").write_text(KEEPSAKE)
    return place / "family"


def _again(reference: Reference, place: Path) -> Outcome:
    wrong = tiny.goes_on(reference, place / "family", place)
    if wrong is not None:
        return wrong
    beside = {path.name for path in place.iterdir() if not path.name.startswith("report")}
    if beside != {"keepsake", "family"} or (place / "keepsake").read_text() != KEEPSAKE:
        return Outcome("wrong place", f"beside the family: {sorted(beside)}")
    return Outcome()


def _plain(path: str) -> str:
    """Return a path without what differs from run to run: ids and process numbers."""
    return re.sub(r"\.\d+(-[0-9a-f]{8})?\.tmp", ".N.tmp", re.sub(r"[0-9a-f]{16}", "ID", path))
