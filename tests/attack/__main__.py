"""`python -m attack`: attack anew, and print what was tried and what was withstood."""

from __future__ import annotations

import argparse
import random
import select
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from attack import child, crashes, hostile, malformed, owners, tiny
from attack.cases import Case, Outcome, cause_of, is_known_by_title, line_of, read_known
from attack.tiny import Reference

KINDS = {
    "kill": "SIGKILL before each change of a file",
    "torn": "SIGKILL half-way through each change of a file",
    "power": "loss of power before each change of a file, three states of the disk",
    "errors": "a full, a failing and a read-only disk at each change of a file",
    "kills": "several deaths of one run",
    "owners": "several processes that want one network",
    "hostile": "files that are made to run code, write or delete elsewhere",
    "malformed": "damaged and impossible files and values",
}
CASE_SECONDS = 240.0
SHOWN = 4
"""How many failures of one cause are printed at the end."""
QUICK = {
    "kill": 5,
    "torn": 4,
    "power": 6,
    "errors": 5,
    "kills": 0,
    "owners": 2,
    "hostile": 24,
    "malformed": 40,
}
"""How many cases `--quick` draws of a kind; a hostile file that is known to do harm is left out."""


def main() -> int:
    """Run the attacks that the command line asks for; return the exit code."""
    asked = _parse()
    # Attacks run elsewhere and import all the same.
    sys.path[:] = [str(Path(path).absolute()) for path in sys.path]
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="attack-"))
    try:
        child.warm_up()
        reference = _prepare(work)
        cases = _choose(reference, work, asked)
        print(f"seed {asked.seed}: {len(cases)} attacks, {asked.jobs} at a time", flush=True)
        outcomes = _attack(cases, work, asked)
    finally:
        if asked.keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    return _conclude(outcomes, time.monotonic() - started, asked)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m attack", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn by chance")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--quick", action="store_true", help="a sample, in seconds")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one attack; its folder is kept")
    parser.add_argument("--inputs", type=int, default=2000, help="malformed inputs")
    parser.add_argument("--jobs", type=int, default=2, help="attacks at a time")
    parser.add_argument("--keep", action="store_true", help="keep the folders of what failed")
    parser.add_argument("--share", type=float, default=1.0, help="draw only a share, such as 0.1")
    parser.add_argument("--slowest", type=int, default=0, help="print the slowest attacks")
    asked = parser.parse_args()
    if asked.only:
        asked.kinds, asked.keep, asked.jobs = [asked.only.split(":")[0]], True, 1
    return asked


def _prepare(work: Path) -> Reference:
    """Make the undisturbed family, after a run that shows what else is to be imported."""
    first, second = work / "warm", work / "reference"
    for folder in (first, second):
        folder.mkdir()
    data = tiny.write_data(first)

    def once() -> None:
        family = first / "family"
        child.command(*tiny.train(data, family))
        for command in ("verify", "show", "evaluate", "insight", "report"):
            child.command(command, family)

    child.warm_up_with(once, first)
    shutil.rmtree(first)
    return tiny.make_reference(second)


def _choose(reference: Reference, work: Path, asked: argparse.Namespace) -> list[Case]:
    makers = {
        "kill": lambda: crashes.kill(reference),
        "torn": lambda: crashes.torn(reference),
        "power": lambda: crashes.power(reference),
        "errors": lambda: crashes.errors(reference),
        "kills": lambda: crashes.random_kills(reference, asked.seed, 30),
        "owners": lambda: owners.cases(reference),
        "hostile": lambda: hostile.cases(reference),
        "malformed": lambda: malformed.cases(reference, work, asked.seed, asked.inputs),
    }
    chosen: list[Case] = []
    for kind in asked.kinds:
        cases = makers[kind]()
        if asked.only:
            cases = [case for case in cases if case.name == asked.only]
            if not cases:
                sys.exit(f"no attack is named {asked.only}")
        else:
            share = round(asked.share * len(cases))
            if asked.quick:
                cases = [case for case in cases if not is_known_by_title(case)]
                share = min(share, QUICK[kind])
            dice = random.Random(f"{asked.seed} {kind}")
            drawn = dice.sample(range(len(cases)), min(share, len(cases)))
            cases = [cases[number] for number in sorted(drawn)]
        chosen += cases
    return chosen


def _attack(
    cases: Sequence[Case], work: Path, asked: argparse.Namespace
) -> list[tuple[Case, Outcome]]:
    """Run the attacks, some at a time, each in a process and a folder of its own."""
    outcomes: list[tuple[Case, Outcome]] = []
    times: list[tuple[float, str]] = []
    waiting = list(reversed(cases))
    active: list[tuple[child.Running, Case, float]] = []
    known = read_known()
    causes: Counter[str] = Counter()
    said = time.monotonic()

    while waiting or active:
        while waiting and len(active) < asked.jobs:
            case = waiting.pop()
            active.append((_start(case, work), case, time.monotonic()))
        select.select([running for running, _, _ in active], [], [], 1.0)

        now = time.monotonic()
        for entry in list(active):
            running, case, began = entry
            if not select.select([running], [], [], 0)[0] and now - began < CASE_SECONDS:
                continue
            active.remove(entry)
            outcome = _outcome(running.wait(0.0))
            outcomes.append((case, outcome))
            times.append((now - began, f"{case.name} {case.title}"))
            text = line_of(case, outcome)
            if not outcome.good and not any(entry.pattern.search(text) for entry in known):
                causes[cause_of(case, outcome)] += 1
                if causes[cause_of(case, outcome)] == 1:
                    print(f"FAILED {case.name} {text[:400]}", flush=True)
            if outcome.good or not asked.keep:
                shutil.rmtree(_place(case, work), ignore_errors=True)
        if now - said > 30:
            said = now
            print(f"{len(outcomes)} of {len(cases)}", flush=True)

    for seconds, name in sorted(times, reverse=True)[: asked.slowest]:
        print(f"{seconds:6.1f} s {name}")
    return sorted(outcomes, key=lambda pair: (list(KINDS).index(pair[0].kind), pair[0].number))


def _start(case: Case, work: Path) -> child.Running:
    place = _place(case, work)
    place.mkdir(parents=True)
    return child.Running(lambda: astuple(case.run(place)), work / "outputs", memory=None)


def _place(case: Case, work: Path) -> Path:
    return work / "cases" / case.name.replace(":", "-")


def _outcome(ending: child.Ending) -> Outcome:
    if ending.value is not None:
        return Outcome(*ending.value)
    return Outcome("the attack itself failed", "hung" if ending.hung else ending.err[-300:])


def _conclude(
    outcomes: Sequence[tuple[Case, Outcome]], seconds: float, asked: argparse.Namespace
) -> int:
    """Print the table, then each failure in one line; return 1 if one of them is not known."""
    known = read_known()
    reasons: Counter[str] = Counter()
    news: dict[str, list[str]] = {}
    failed: Counter[str] = Counter()
    for case, outcome in outcomes:
        if outcome.good:
            continue
        failed[case.row] += 1
        text = line_of(case, outcome)
        entry = next((one for one in known if one.pattern.search(text)), None)
        if entry is None:
            again = f"--seed {asked.seed} --only {case.name}"
            news.setdefault(cause_of(case, outcome), []).append(f"{again}  {text[:300]}")
        else:
            reasons[entry.reason] += 1

    tried = Counter(case.row for case, _ in outcomes)
    print("\n| kind | tried | withstood | what |\n|---|---|---|---|")
    for kind, count in tried.items():
        what = KINDS.get(kind, "")
        print(f"| {kind} | {count:,} | {count - failed[kind]:,} | {what} |")
    total, bad = len(outcomes), sum(failed.values())
    print(f"| all | {total:,} | {total - bad:,} | seed {asked.seed}, {seconds:.0f} s |")
    for reason, count in reasons.most_common():
        print(f"known: {count} times: {reason}")
    if not (asked.quick or asked.only or asked.share < 1 or asked.kinds != list(KINDS)):
        for entry in known:
            if not reasons[entry.reason]:
                print(f"mended, to be taken out of known.toml: {entry.reason}")
    for cause, texts in news.items():
        print(f"NEW, {len(texts)} times: {cause}")
        for text in texts[:SHOWN]:
            print(f"    {text}")
    return int(bool(news))


if __name__ == "__main__":
    sys.exit(main())
