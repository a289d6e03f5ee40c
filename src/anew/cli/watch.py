"""`anew watch`: how far the networks of a family are, while they are trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.cells import cell_len
from rich.live import Live
from rich.table import Table
from rich.text import Text

from anew.cli.options import AS_TABLE, Printed
from anew.cli.streams import Terminal
from anew.core.errors import AnewError
from anew.core.text import clean, counted, in_digits, in_time, json_text

if TYPE_CHECKING:
    from anew.family.progress import NetworkProgress, Progress

STILL_SECONDS = 10.0
"""How long nothing trains before the command ends: between two networks a training loads, evaluates
and compiles."""
_SHORT_ID = 8
# From the least important on: what is left out where a terminal is narrow.
_DROPPED_FIRST = ("seed", "steps/s", "loss", "test err. %", "test ppl.", "epoch", "gen.")
# In which order networks are shown where a terminal is low.
_IMPORTANCE = ("training", "unreadable", "stopped", "waiting", "finished")


def watch(
    family: Annotated[Path, Parameter(help="The family's folder, written by `anew train --out`.")],
    /,
    *,
    every: Annotated[float, Parameter(help="Seconds between updates.")] = 1.0,
    wait: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Keep watching until all networks of the folder are finished, even while none "
            "is training, such as in a cluster's queue.",
        ),
    ] = False,
    printed: Printed = AS_TABLE,
) -> None:
    """Show the progress of a family's networks: epoch, loss, validation error, speed, time left.

    It only reads files, so it works beside a training of any number of processes or machines. It
    ends when no network is training, or with Ctrl-C, which does not affect the training. A
    terminal shows a table; elsewhere each change is a line, with --json a line of JSON.
    """
    from anew.family import Family
    from anew.family.progress import Progress

    if not 0.05 <= every <= 3600:
        raise AnewError(f"every must be a number from 0.05 to 3600, got {every:g}; set --every")

    progress = Progress(Family.open(family))
    console = Terminal()
    try:
        if printed.is_json or not console.is_terminal:
            shown = _Changes(console, as_json=printed.is_json)
            _follow(progress, shown.show, every, wait=wait)
        else:
            with Live(console=console, auto_refresh=False, transient=False) as live:
                _follow(
                    progress,
                    lambda networks: live.update(
                        drawn(networks, console.width, console.height), refresh=True
                    ),
                    every,
                    wait=wait,
                )
    except KeyboardInterrupt:
        # It only looks: there is nothing to save, and nothing went wrong.
        return


def _follow(
    progress: Progress, show: Callable[[list[NetworkProgress]], None], every: float, *, wait: bool
) -> None:
    """Look again and again, until nothing has trained for a while, or with `wait` all is done."""
    last_training = -math.inf
    while True:
        networks = progress.look()
        show(networks)
        states = {one.state for one in networks}
        if "training" in states:
            last_training = time.monotonic()

        is_still = time.monotonic() - last_training > STILL_SECONDS
        is_unfinished = bool(states & {"training", "stopped", "waiting"}) or not networks
        if is_still and not (wait and is_unfinished):
            return
        time.sleep(every)


class _Changes:
    """Prints a line for each network that has changed since the last look."""

    def __init__(self, console: Terminal, *, as_json: bool) -> None:
        self._console, self._as_json = console, as_json
        self._said: dict[str, tuple[str, int]] = {}
        self._is_first = True

    def show(self, networks: list[NetworkProgress]) -> None:
        """Print what has changed; at the first look, every network."""
        for one in networks:
            if self._said.get(one.id) != (one.state, one.epoch):
                self._said[one.id] = one.state, one.epoch
                line = json_text(one.to_json(), indent=None) if self._as_json else _in_words(one)
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self._is_first and not self._as_json:
            self._console.print(_summary(networks), markup=False, highlight=False, soft_wrap=True)
        self._is_first = False
        # A log is read while it grows.
        self._console.file.flush()


def _in_words(one: NetworkProgress) -> str:
    """Return a network's progress as a line of a log."""
    head = f"generation {one.generation} ({one.objective}, seed {one.seed}) {one.id[:_SHORT_ID]}"
    if one.state == "unreadable":
        return f"{one.id}: unreadable: {one.problem}"

    parts = [one.state]
    if one.epochs and one.state != "finished":
        parts.append(f"epoch {one.epoch}/{one.epochs}")
    if one.train_loss is not None:
        parts.append(f"loss {one.train_loss:.4f}")
    parts += _scores_in_words(one)
    if one.state == "training" and one.steps_per_second is not None:
        parts.append(f"{one.steps_per_second:,.1f} steps/s")
    if one.seconds_left is not None:
        parts.append(f"{in_time(one.seconds_left)} left")
    return f"{head}: {', '.join(parts)}"


def _scores_in_words(one: NetworkProgress) -> list[str]:
    words: list[str] = []
    if one.validation_perplexity is not None:
        words.append(f"validation perplexity {one.validation_perplexity:.2f}")
    elif one.validation_error is not None:
        words.append(f"validation error {one.validation_error:.2f} %")
    if one.test_perplexity is not None:
        words.append(f"test perplexity {one.test_perplexity:.2f}")
    elif one.test_error is not None:
        words.append(f"test error {one.test_error:.2f} %")
    return words


def _summary(networks: Sequence[NetworkProgress]) -> str:
    """Return how many networks are in which state, and how long those in training still take."""
    if not networks:
        return "no networks yet"
    states = [one.state for one in networks]
    counts = [f"{states.count(state)} {state}" for state in _IMPORTANCE if state in states]
    lefts = [one.seconds_left for one in networks if one.seconds_left is not None]
    left = f"; time left of those in training: {in_time(max(lefts))}" if lefts else ""
    return f"{counted(len(networks), 'network')}: {', '.join(counts)}{left}"


def drawn(networks: Sequence[NetworkProgress], width: int, height: int) -> Table:
    """Return the table of networks for a terminal of so many columns and rows.

    Where it is narrow, columns are left out; where it is low, networks that are finished or wait.
    """
    from anew.cli import terminal

    room = max(1, height - 4)
    by_importance = sorted(networks, key=lambda one: _IMPORTANCE.index(one.state))
    kept = {one.id for one in by_importance[:room]}
    shown = [one for one in networks if one.id in kept]

    is_text = any(one.validation_perplexity or one.test_perplexity for one in networks)
    cells = [_cells(one, is_text=is_text) for one in shown]
    names = list(cells[0]) if cells else []
    for name in _DROPPED_FIRST:
        if _width(names, cells) > width and name in names:
            names.remove(name)
    lines = [[line[name] for name in names] for line in cells]

    notes = [_summary(networks)]
    if len(shown) < len(networks):
        notes.append(f"{len(networks) - len(shown)} more do not fit the terminal")
    notes += [f"{one.id}: {one.problem}" for one in shown if one.problem]

    whole = Table.grid()
    if lines:
        whole.add_row(terminal.table(names, lines, numbers_from=4))
    for note in notes:
        whole.add_row(Text(clean(note)))
    return whole


def _cells(one: NetworkProgress, *, is_text: bool) -> dict[str, str]:
    """Return a network's line of the table, by column."""
    validation = one.validation_perplexity if is_text else one.validation_error
    test = one.test_perplexity if is_text else one.test_error
    what = "ppl." if is_text else "err. %"

    return {
        "network": one.id[:_SHORT_ID],
        "gen.": str(one.generation) if one.state != "unreadable" else "",
        "objective": one.objective,
        "state": one.state,
        "seed": str(one.seed) if one.state != "unreadable" else "",
        "epoch": f"{one.epoch}/{one.epochs}" if one.epochs else "",
        "loss": in_digits(one.train_loss, 3),
        f"val. {what}": in_digits(validation, 2),
        f"test {what}": in_digits(test, 2),
        "steps/s": in_digits(one.steps_per_second, 1) if one.state == "training" else "",
        "left": "" if one.seconds_left is None else in_time(one.seconds_left),
    }


def _width(names: Sequence[str], cells: Sequence[dict[str, str]]) -> int:
    widths = [max([cell_len(name), *(cell_len(line[name]) for line in cells)]) for name in names]
    return sum(widths) + 2 * max(0, len(widths) - 1)
