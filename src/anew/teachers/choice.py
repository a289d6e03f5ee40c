"""Whether a teacher is asked live or through a table: what either takes, and the choice."""

from __future__ import annotations

from dataclasses import dataclass

from anew.core.execution import Execution
from anew.core.text import in_bytes

WORTHWHILE = 0.1


LIVE = "teacher outputs are computed in each epoch"
CACHED = "teacher outputs are cached"


@dataclass(frozen=True)
class Need:
    """What a group of siblings asks of its teacher, and the disk that a table would lie on."""

    views: int
    """Views of one example."""
    epochs: int
    store_bytes: int
    """The size of the full table."""
    free_bytes: float
    """Free disk space."""
    passes: int = 1
    """Passes over the data; one pass serves all siblings of a group."""
    is_begun: bool = False
    """Whether an earlier student began the table."""
    features: bool = False
    """Whether an objective needs the teacher's features; a table holds logits alone."""
    by: str = "view"
    """What numbers a table's answers, as `StoreKey.by`: no view occurs twice in a table by
    epoch."""


@dataclass(frozen=True)
class Choice:
    """A way to ask, `live` or `table`, and the line that says why."""

    way: str
    reason: str


def distinct_views(views: int, epochs: int, by: str = "view") -> float:
    """Return the mean number of distinct views of an example in E epochs.

    V (1 - (1 - 1/V)^E) of V views; all E where views cannot be counted and a table is by epoch.
    """
    if by == "epoch":
        return epochs
    return views * (1 - (1 - 1 / views) ** epochs)


def choose(need: Need, execution: Execution) -> Choice:
    """Choose between asking live and a table, with the reason in one line.

    Asking live takes one forward pass of the teacher for each example, epoch and pass over the
    data. A table takes one for each distinct view, since all passes show the same views. `auto`
    chooses the table if it saves at least a tenth of the forward passes and fits the disk budget
    and half of the free disk, or if an earlier student began it. Features are asked live always.

    Where views cannot be counted a table saves nothing within a pass, but serves later students of
    the same teacher, data and number of epochs.
    """
    asked = float(need.passes * need.epochs)
    distinct = distinct_views(need.views, need.epochs, need.by)
    saved = 1 - distinct / asked
    size = in_bytes(need.store_bytes)
    instead = f"{distinct:,.1f} forward passes per example instead of {asked:,.0f}"
    sums = f"a cache of {size} takes {instead}"
    if need.by == "epoch":
        sums = f"no view occurs twice; {sums}"

    if need.features:
        return Choice(
            "live", f"{LIVE}: the objective needs the teacher's features, a cache holds logits"
        )
    if execution.ask == "live":
        return Choice("live", f"{LIVE}, as --ask live says ({sums})")
    if execution.ask == "table":
        return Choice("table", f"{CACHED}, as --ask table says ({size}: {instead})")
    if need.is_begun:
        return Choice("table", f"{CACHED}, because an earlier student began it ({size}: {instead})")

    room = min(execution.disk_budget * 1e9, need.free_bytes / 2)
    if saved < WORTHWHILE and need.by == "epoch":
        smaller = "" if need.store_bytes <= room else ", --objective.top-k makes it smaller"
        return Choice(
            "live",
            f"{LIVE}: no view occurs twice; a cache of {size} would serve later students of this "
            f"teacher, data and number of epochs (--ask table{smaller})",
        )
    if saved < WORTHWHILE:
        return Choice("live", f"{LIVE}: {sums}, which saves too little")
    if need.store_bytes > room:
        return Choice(
            "live",
            f"{LIVE}: {sums}, but {in_bytes(room)} is all that it may take (--disk-budget, or "
            "half of the free disk); --objective.top-k keeps fewer classes",
        )
    return Choice("table", f"{CACHED} ({size}): {instead}")
