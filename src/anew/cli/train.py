"""`anew train` and `anew bench`: train a recipe, or measure what it costs here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from anew.cli.options import DEFAULT_FAMILY, WHOLE, nested, with_recipe
from anew.core import fields
from anew.core.errors import AnewError


def train(
    *,
    out: Path = DEFAULT_FAMILY,
    recipe: Path | None = None,
    device: str = "auto",
    threads: Annotated[int | None, WHOLE] = None,
    save_minutes: float = 5.0,
    force: bool = False,
    ask: str = "auto",
    disk_budget: float = 4.0,
    trust: list[str] | None = None,
    jobs: Annotated[int, WHOLE] = 1,
    keep_epochs: Annotated[int | None, WHOLE] = None,
    page: bool = True,
    **given: Any,
) -> None:
    """Train a lineage and evaluate it; the same command goes on where it was stopped or killed.

    Without options: the demo, three generations of a small network on scikit-learn's digits.
    """
    from anew.core.spec import read_recipe

    whole = read_recipe(recipe, nested(given))
    from rich.console import Console

    from anew.cli import terminal
    from anew.core import distributed
    from anew.core.execution import Execution
    from anew.data.loading import load_data
    from anew.training import lineage
    from anew.training.device import torch_device

    execution = Execution(
        device,
        threads,
        save_minutes,
        force,
        ask,
        disk_budget,
        tuple(trust or ()),
        jobs,
        keep_epochs,
    )
    torch_device(execution)
    console = Console(stderr=True)
    # Whoever sits there sees the recipe whole; a log names it, since every network keeps it.
    recipe_said = (
        fields.to_toml(whole) if console.is_terminal else terminal.recipe_in_words(whole, out)
    )
    with terminal.watching(console, recipe_said, several=jobs > 1) as watcher:
        data_read = load_data(whole.data)
        trained = lineage.train_lineage(whole, data_read, out, execution, watcher)
    if distributed.is_main_process():
        output = Console()
        output.print(terminal.scores_table(trained.rows, "test"))
        output.print(f"family: {out}", highlight=False, soft_wrap=True)
        if page:
            from anew.report.writing import write_after_training

            said = write_after_training(trained.family, trained.lineage, data_read)
            output.print(said, markup=False, highlight=False, soft_wrap=True)
    if trained.failures:
        raise AnewError("; ".join(map(str, trained.failures)))


_TRAIN_OPTIONS = {
    "out": "the family's folder",
    "recipe": "a TOML file with any of the values below; options go over it",
    "device": "cpu, cuda (cuda:1, ...), mps, or auto: the fastest there is",
    "threads": "torch's threads on the CPU; the bits are the same for the same number",
    "save_minutes": "save at least this often within an epoch; every epoch is saved",
    "force": "go on where a teacher is at chance or its term does nothing",
    "ask": "how teachers are asked: live, table (once a view, then from the disk), or auto; the "
    "result is the same",
    "disk_budget": "GB that the stored targets of one teacher may take",
    "trust": "a model of your own, package.module:callable, that a teacher's file may name (repeat "
    "for several)",
    "jobs": "train so many siblings at once, each in a process with its share of the threads",
    "keep_epochs": "keep the weights of every so-many-th epoch, for `anew insight` to show how "
    "training went",
    "page": "write the family's report at the end, as `anew report` does",
}


def bench(
    *,
    recipe: Path | None = None,
    device: str = "auto",
    threads: Annotated[int | None, WHOLE] = None,
    disk_budget: float = 4.0,
    rounds: Annotated[int, WHOLE] = 5,
    steps: Annotated[int, WHOLE] = 16,
    as_json: bool = False,
    **given: Any,
) -> None:
    """Measure what a student costs here, by each way to ask its teacher, beside a label-only
    network.

    Takes the options of `anew train`; trains nothing to an end and keeps nothing.
    """
    from anew.core.spec import read_recipe

    whole = read_recipe(recipe, nested(given))
    from rich.console import Console

    from anew.cli import terminal
    from anew.core.execution import Execution
    from anew.data.loading import load_data
    from anew.training import costs

    execution = Execution(device, threads, disk_budget=disk_budget)
    found = costs.measure(whole, load_data(whole.data), execution, rounds, steps)
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
        return
    lines = [
        [
            cost.name,
            f"{cost.rate:,.0f}",
            f"{cost.ratio:.3f}",
            f"{cost.least:.3f} to {cost.most:.3f}",
        ]
        for cost in found.costs
    ]
    columns = ("a step of", "examples/s", "time / label-only", "of rounds")
    Console().print(terminal.table(columns, lines, f"{whole.model.name}, {found.setting}"))
    for line in found.conclusions:
        print(line)


_BENCH_OPTIONS = {
    "recipe": "a TOML file with any of the values below; options go over it",
    "device": "cpu, cuda (cuda:1, ...), mps, or auto: the fastest there is",
    "threads": "torch's threads on the CPU",
    "disk_budget": "GB that the stored targets of one teacher may take",
    "rounds": "how often each is measured, in turn",
    "steps": "steps in a round",
    "as_json": "print JSON",
}


with_recipe(train, _TRAIN_OPTIONS)
with_recipe(bench, _BENCH_OPTIONS)
