"""Which way to ask: from how often each view will be asked for, and what a table of all of them
takes.
"""

from __future__ import annotations

from dataclasses import dataclass

WORTHWHILE = 0.1


@dataclass(frozen=True)
class Choice:
    """A way to ask, `live` or `table`, and the line that says why."""

    way: str
    reason: str


def distinct_views(views: int, epochs: int) -> float:
    """Return how many of an example's views are met in so many epochs: V (1 - (1 - 1/V)^E), the
    mean over draws.
    """
    return views * (1 - (1 - 1 / views) ** epochs)


def choose(
    way: str,
    *,
    views: int,
    epochs: int,
    passes: int,
    store_bytes: int,
    budget_bytes: float,
    free_bytes: float,
    is_there: bool = False,
) -> Choice:
    """Choose between asking live and a table, and say why in one line.

    Without a store every one of `passes` passes (a pass serves all siblings) asks E times for each
    example; with one, each distinct view is asked for once, in all passes together, since they show
    the same views. `auto` takes the table where that saves at least a tenth of the forwards and the
    table fits the budget and half of the free disk, or where an earlier student has begun one
    (`is_there`).
    """
    asked, met = float(passes * epochs), distinct_views(views, epochs)
    saved = 1 - met / asked
    sums = (
        f"{passes} pass{'es' if passes > 1 else ''} of {epochs} epochs ask {asked:,.0f} times for "
        f"each example, "
        f"{met:,.1f} of {views:,} views are distinct: a table of {store_bytes / 1e6:,.0f} MB saves "
        f"{saved:.0%}"
    )
    if way != "auto":
        return Choice(way, f"teacher asked {_in_words(way)}, as told ({sums})")
    if is_there:
        return Choice(
            "table", f"teacher asked once a view: an earlier student began the table ({sums})"
        )
    room = min(budget_bytes, free_bytes / 2)
    if saved < WORTHWHILE:
        return Choice("live", f"teacher asked live: {sums}, too little")
    if store_bytes > room:
        return Choice(
            "live",
            f"teacher asked live: {sums}, but {room / 1e6:,.0f} MB is all that it may take "
            f"(--disk-budget, or half of "
            "the free disk); --objective.top-k keeps fewer classes",
        )
    return Choice("table", f"teacher asked once a view: {sums}")


def _in_words(way: str) -> str:
    return "live" if way == "live" else "once a view"
