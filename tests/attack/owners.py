"""Several processes that want one network: one sleeps, another takes over, the first wakes up."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attack import child, tiny
from attack.cases import Case, Outcome, judge
from attack.faults import Fault
from attack.tiny import Reference

ELSEWHERE = {"host": "another-host", "boot": "another-boot", "namespace": 1}
CONTAINER = {"namespace": 1}
LONG_AGO = 600.0
PATIENCE = 15.0


def cases(reference: Reference) -> list[Case]:
    """Return the attacks: stops at changes of files, and locks of other owners, damaged or odd."""
    attacks: list[tuple[str, Callable[[Path], Outcome]]] = []
    count = len(reference.changes)
    # Within the teacher, before and within the students, and while they are being finished.
    for at in sorted({*range(24, count - 4, 18), count - 40, count - 20}):
        kind, path = reference.changes[at]
        short = f"{kind} {Path(path).name.split('.')[0] or Path(path).name}"
        attacks += [
            (f"asleep at {short}, another finishes", _asleep(reference, at)),
            (f"asleep at {short}, another is at work", _both_asleep(reference, at)),
        ]
    for title, owner, beat, freed in _locks():
        attacks.append((title, _with_lock(reference, owner, beat, freed)))
    attacks.append(("two at the same time", _two_at_once(reference)))
    return [Case("owners", n, title, run) for n, (title, run) in enumerate(attacks)]


def _asleep(reference: Reference, at: int) -> Callable[[Path], Outcome]:
    def run(place: Path) -> Outcome:
        family = place / "family"
        first = _stopped(reference, family, place, at)
        if first is None:
            return Outcome("not stopped")
        _as_if_elsewhere(family)
        second = _train(reference, family, place).wait(PATIENCE)
        sealed = tiny.seal_of(family)

        first.send(signal.SIGCONT)
        return (
            _judged("second", second, must=0)
            or _judged("first", first.wait(PATIENCE))
            or _unchanged(sealed, family)
            or tiny.goes_on(reference, family, place)
            or Outcome()
        )

    return run


def _both_asleep(reference: Reference, at: int) -> Callable[[Path], Outcome]:
    def run(place: Path) -> Outcome:
        family = place / "family"
        first = _stopped(reference, family, place, at)
        if first is None:
            return Outcome("not stopped")
        _as_if_elsewhere(family)
        second = _stopped(reference, family, place, 30)

        first.send(signal.SIGCONT)
        one = _judged("first", first.wait(PATIENCE))
        if second is None:
            return one or tiny.goes_on(reference, family, place) or Outcome()
        second.send(signal.SIGCONT)
        other = _judged("second", second.wait(PATIENCE))
        return one or other or tiny.goes_on(reference, family, place) or Outcome()

    return run


def _two_at_once(reference: Reference) -> Callable[[Path], Outcome]:
    def run(place: Path) -> Outcome:
        family = place / "family"
        both = [_train(reference, family, place) for _ in range(3)]
        for number, running in enumerate(both):
            wrong = _judged(f"process {number}", running.wait(PATIENCE))
            if wrong is not None:
                return wrong
        return tiny.goes_on(reference, family, place) or Outcome()

    return run


def _locks() -> list[tuple[str, object, float, bool]]:
    """Return locks of nobody here: a title, the lock, its beat, and whether it is to be taken."""
    host = {"host": socket.gethostname(), "token": "t", "started": "0"}
    return [
        ("an empty lock", b"", -LONG_AGO, True),
        ("an empty lock, new", b"", 0.0, False),
        ("a lock that is no JSON", b"{", -LONG_AGO, True),
        ("a lock that is a list", b"[1]", -LONG_AGO, True),
        ("a lock that is not UTF-8", b"\xff\xfe\x80", -LONG_AGO, True),
        ("a lock nested deeply", b"[" * 100_000, -LONG_AGO, True),
        ("a lock of many digits", b'{"process": ' + b"9" * 5000 + b"}", -LONG_AGO, True),
        ("a lock of process -1", {**host, "process": -1}, -LONG_AGO, True),
        ("a lock of process 0", {**host, "process": 0}, -LONG_AGO, True),
        ("a lock of process 10^30", {**host, "process": 10**30}, -LONG_AGO, True),
        ("a lock of process true", {**host, "process": True}, -LONG_AGO, True),
        ("a lock of a process in words", {**host, "process": "1"}, -LONG_AGO, True),
        ("a lock of this number, started earlier", {**host, "process": 1}, -LONG_AGO, True),
        ("another host's lock, dead", {**host, **ELSEWHERE, "process": 1}, -LONG_AGO, True),
        ("another host's lock, alive", {**host, **ELSEWHERE, "process": 1}, 0.0, False),
        ("a heartbeat in the future", {**host, **ELSEWHERE, "process": 1}, 86400.0, True),
        ("a heartbeat far in the future", {**host, **ELSEWHERE, "process": 1}, 4e9, True),
        ("a heartbeat of 1970", {**host, **ELSEWHERE, "process": 1}, -1e9, True),
        ("escapes in a lock", {**host, "host": "\x1b[2Jevil\x9b31m", "process": 1}, 0.0, False),
        ("a huge lock", {**host, "host": "h" * 10_000_000, "process": 1}, -LONG_AGO, True),
        ("a folder in the lock's place", "folder", -LONG_AGO, False),
        ("a named pipe in the lock's place", "pipe", -LONG_AGO, False),
        ("a dangling link in the lock's place", "dangling", -LONG_AGO, True),
    ]


def _with_lock(
    reference: Reference, owner: object, beat: float, freed: bool
) -> Callable[[Path], Outcome]:
    def run(place: Path) -> Outcome:
        family = place / "family"
        tiny.run(tiny.train(reference.data, family), place, Fault("kill", 40), family)
        (lock,) = family.glob("networks/*/lock")
        lock.unlink()
        _put(lock, owner, beat)
        ending = _train(reference, family, place).wait(PATIENCE)
        wrong = _judged("taking", ending, must=0 if freed else None)
        if wrong is not None:
            return wrong
        if freed:
            return tiny.goes_on(reference, family, place) or Outcome()
        if lock.is_dir():
            lock.rmdir()
        else:
            lock.unlink(missing_ok=True)
        return tiny.goes_on(reference, family, place) or Outcome()

    return run


def _put(lock: Path, owner: object, beat: float) -> None:
    if owner == "folder":
        lock.mkdir()
    elif owner == "pipe":
        os.mkfifo(lock)
    elif owner == "dangling":
        lock.symlink_to(lock.parent.parent.parent.parent / "planted")
    else:
        lock.write_bytes(owner if isinstance(owner, bytes) else json.dumps(owner).encode())
    at = max(0.0, time.time() + beat)
    os.utime(lock, (at, at), follow_symlinks=False)


def _stopped(reference: Reference, family: Path, place: Path, at: int) -> child.Running | None:
    """Start a training that stops itself (SIGSTOP) before a change of a file."""
    running = child.Running(
        lambda: _short(
            lambda: tiny.with_fault(
                tiny.train(reference.data, family), Fault("stop", at), family, None
            )[0]
        ),
        place / "report",
    )
    if running.wait_until_stopped(PATIENCE):
        return running
    running.wait(0)
    return None


def _train(reference: Reference, family: Path, place: Path) -> child.Running:
    return child.Running(
        lambda: _short(lambda: child.command(*tiny.train(reference.data, family))),
        place / "report",
    )


def _short(work: Callable[[], Any]) -> Any:
    """Do some work with short waits: what must be watched for seconds is watched for a moment."""
    for name, module in list(sys.modules.items()):
        if name.startswith("anew.") and hasattr(module, "WATCH_SECONDS"):
            module.WATCH_SECONDS, module.LOOK_SECONDS = 0.3, 0.1  # type: ignore[attr-defined]
    return work()


def _as_if_elsewhere(family: Path) -> None:
    """Let locks look as those of another host whose heart stands still."""
    for lock in family.glob("networks/*/lock"):
        owner = json.loads(lock.read_bytes())
        lock.write_text(json.dumps({**owner, **ELSEWHERE}))
        at = time.time() - LONG_AGO
        os.utime(lock, (at, at))


def _judged(who: str, ending: child.Ending, must: int | None = None) -> Outcome | None:
    code = ending.value if isinstance(ending.value, int) else ending.code
    wrong = judge(child.Ending(code, ending.signal, ending.out, ending.err, None, ending.hung))
    if wrong is not None:
        return Outcome(f"{who}: {wrong.how}", wrong.detail)
    if must is not None and code != must:
        said = ending.err.strip().splitlines()
        return Outcome(f"{who}: exit {code}", said[-1] if said else "")
    return None


def _unchanged(sealed: dict[str, str], family: Path) -> Outcome | None:
    seal = tiny.seal_of(family)
    changed = sorted(name for name in sealed | seal if sealed.get(name) != seal.get(name))
    changed = [
        name for name in changed if not name.startswith(tiny.STORES) and not name.endswith("/lock")
    ]
    return Outcome("changed what the other finished", ", ".join(changed[:4])) if changed else None
