"""A plan as text: for the terminal, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anew.core.text import clean, csv_table, in_bytes, in_count, in_time, table
from anew.studies.planning.plan import Plan

COLUMNS = (
    "network",
    "parameters",
    "GFLOPs",
    "there",
    "train",
    "trained on",
    "forward",
    "time",
    "disk",
)
NARROW = (0, 1, 4, 5, 6, 7, 8)
"""The columns that a terminal shows."""


def lines(plan: Plan) -> list[list[str]]:
    """Return a line of texts for every model, the teachers, the data, and all of them together.

    `COLUMNS` names the texts.
    """
    rows = [
        [
            line.model,
            in_count(line.parameters),
            f"{line.flops / 1e9:.3g}",
            f"{line.held:,}",
            f"{line.networks:,}",
            in_count(line.trained),
            in_count(line.evaluated),
            in_time(line.seconds),
            in_bytes(line.bytes),
        ]
        for line in plan.lines
    ]

    asked, stores = in_count(plan.answers + plan.checked), in_bytes(plan.disk.stores)
    rows.append(["their teachers", *[""] * 5, asked, in_time(plan.teacher_seconds), stores])
    rows.append(["data and views", *[""] * 6, in_time(plan.batch_seconds), ""])
    rows.append(
        [
            "all",
            "",
            "",
            f"{plan.held:,}",
            f"{plan.networks:,}",
            in_count(plan.trained),
            in_count(plan.evaluated + plan.answers + plan.checked),
            in_time(plan.seconds),
            in_bytes(plan.disk.networks + plan.disk.stores),
        ]
    )
    return rows


def for_terminal(plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Return the columns and lines of a narrower table."""
    narrow = [[line[place] for place in NARROW] for line in lines(plan)]
    return [COLUMNS[place] for place in NARROW], narrow


def about(plan: Plan) -> list[str]:
    """Return the notes to a plan: sharing, time on workers, disk, and the source of the speeds."""
    notes = [f"Note: {note.rstrip('.')}." for note in plan.notes]
    if not plan.networks:
        return [f"Nothing to train: the family holds all {plan.held:,} networks.", *notes]

    unshared = plan.answers + plan.saved_by_siblings + plan.saved_by_stores
    shared = plan.saved_by_siblings / unshared if unshared else 0.0
    stored = plan.saved_by_stores / unshared if unshared else 0.0
    room = "it fits" if plan.fits else "IT DOES NOT FIT: `anew study run` needs --force"
    on_several = ""
    if plan.workers > 1:
        on_several = f", {in_time(plan.critical_seconds)} on {plan.workers:,} workers"

    return [
        f"train: {plan.networks:,} networks in {plan.groups:,} groups of siblings, "
        f"{plan.steps:,} steps; {plan.held:,} are finished already.",
        "trained on, forward: examples with a backward pass, and examples in forward passes alone "
        "(evaluation and teachers).",
        f"Teachers: {in_count(plan.answers)} of {in_count(unshared)} forward passes; siblings save "
        f"{100 * shared:.0f} %, caches {100 * stored:.0f} %.",
        f"Time: {in_time(plan.seconds)} on one worker{on_several}. With any number of workers at "
        f"least {in_time(plan.chain_seconds)}, the time of the longest lineage.",
        f"Disk: {in_bytes(plan.disk.networks)} for networks, up to {in_bytes(plan.disk.stores)} "
        f"for cached targets, {in_bytes(plan.disk.states)} more during training; "
        f"{in_bytes(plan.free_bytes)} is free: {room}.",
        f"Speeds: {plan.speeds}.",
        *notes,
    ]


def markdown(plan: Plan) -> str:
    """Return the table in Markdown, with its notes."""
    return "\n\n".join([table(COLUMNS, lines(plan), numbers_from=1), *about(plan)])


def as_csv(plan: Plan) -> str:
    """Return the table as CSV, with its notes as comment lines."""
    comments = "".join(f"# {clean(line)}\n" for line in about(plan))
    return comments + csv_table(COLUMNS, lines(plan))


FORMATS: Mapping[str, Callable[[Plan], str]] = {"markdown": markdown, "csv": as_csv}
