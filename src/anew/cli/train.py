"""`anew train` and `anew bench`: train a recipe, or measure what it costs here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from anew.cli.options import (
    AS_TABLE,
    COMMON,
    DEFAULT_FAMILY,
    ROWS_AS_TABLE,
    RUN,
    WHOLE,
    Printed,
    PrintedRows,
    settings_from,
    takes_recipe,
)
from anew.cli.printing import print_json, print_rows
from anew.cli.streams import Terminal
from anew.core import fields
from anew.core.errors import AnewError

if TYPE_CHECKING:
    from anew.training.lineage import Trained

RecipeFile = Annotated[
    Path | None,
    Parameter(
        group=COMMON,
        help="A TOML file with any of the settings below, some in a table [execution]; options "
        "override it.",
    ),
]


@takes_recipe()
def train(
    *,
    out: Annotated[Path, Parameter(group=COMMON, help="The family's folder.")] = DEFAULT_FAMILY,
    recipe: RecipeFile = None,
    page: Annotated[
        bool,
        Parameter(group=RUN, help="Write the family's report at the end, as `anew report` does."),
    ] = True,
    verbose: Annotated[
        bool, Parameter(group=RUN, negative=(), help="Print all settings, as a recipe in TOML.")
    ] = False,
    quiet: Annotated[
        bool, Parameter(group=RUN, negative=(), help="Print only results and errors, no progress.")
    ] = False,
    printed: Printed = AS_TABLE,
    **given: Any,
) -> None:
    """Train a lineage and evaluate it; the same command resumes a stopped or killed training.

    Without options: the demo, three generations of a small network on scikit-learn's digits.
    """
    whole, execution = settings_from(recipe, given)
    from anew.cli import log, terminal
    from anew.core import distributed
    from anew.core.callbacks import Callbacks
    from anew.data.loading import load_data
    from anew.data.storage import Storage
    from anew.report.closing import closing
    from anew.report.writing import write_after_training
    from anew.training import lineage
    from anew.training.device import torch_device
    from anew.training.tracking import check_trackers

    # A device or a tracker that is not there is refused before anything is printed.
    torch_device(execution)
    check_trackers(execution.track)

    console = Terminal(stderr=True)
    heading = fields.to_toml(whole) if verbose else terminal.recipe_in_words(whole, out)
    several = execution.jobs > 1
    with log.kept(out) as kept:
        with terminal.watching(console, heading, several=several, quiet=quiet) as watcher:
            progress = Callbacks([watcher, kept])
            data = load_data(whole.data, Storage.of(execution, progress.log))
            trained = lineage.train_lineage(whole, data, out, execution, progress)

        if distributed.is_main_process():
            output = Terminal()
            if not printed.is_json:
                terminal.show_scores(output, trained.rows, "test")
            advice = [] if quiet else _advice(trained)
            validated = len(data.validation) > 0
            closed = closing(trained.family, trained.lineage, trained.rows, validated=validated)
            closed.append(f"family: {out}")
            if page:
                closed.append(write_after_training(trained.family, trained.lineage, data))
            if printed.is_json:
                _print_json(trained, closed)
            for line in advice:
                console.say(line)
            for line in () if printed.is_json else closed:
                output.say(line)
            kept.log("\n".join([*advice, *closed]))

        if trained.failures:
            raise AnewError("; ".join(map(str, trained.failures)))


def _print_json(trained: Trained, closed: Sequence[str]) -> None:
    """Print a trained lineage, its scores as `anew evaluate --json` does, and the closing lines.

    Closing lines of one name, such as `next: `, are a list.
    """
    said: dict[str, list[str]] = {}
    for line in closed:
        name, _, rest = line.partition(": ")
        said.setdefault(name.replace(" ", "_"), []).append(rest)
    named = {name: lines if name == "next" else lines[0] for name, lines in said.items()}
    print_json(
        {
            "lineage": [spec.id for spec in trained.lineage],
            "rows": [row.to_json() for row in trained.rows],
            **named,
        }
    )


def _advice(trained: Trained) -> list[str]:
    """Return what would probably help, from what the network from labels left."""
    from anew.evaluation import advice

    first = trained.lineage[0]
    if first.weights:
        return []
    return [one.in_words() for one in advice.advise(advice.facts_of(trained.family, first))]


@takes_recipe("device", "threads", "disk_budget")
def bench(
    *,
    recipe: RecipeFile = None,
    rounds: Annotated[int, WHOLE, Parameter(group=RUN, help="Rounds of measurements.")] = 5,
    steps: Annotated[int, WHOLE, Parameter(group=RUN, help="Steps in a round.")] = 16,
    printed: PrintedRows = ROWS_AS_TABLE,
    **given: Any,
) -> None:
    """Measure the training time of a student on this machine, with a live and with a cached
    teacher, beside that of a label-only network.

    Takes the options of `anew train`. It finishes no training and keeps no files.
    """
    whole, execution = settings_from(recipe, given)
    from anew.cli import terminal
    from anew.data.loading import load_data
    from anew.training import costs

    measured = costs.measure(whole, load_data(whole.data), execution, rounds, steps)
    form = printed.chosen
    if form == "json":
        print_json(measured.to_json())
        return
    if form != "table":
        rows = [[one.name, one.rate, one.ratio, one.least, one.most] for one in measured.costs]
        print_rows(form, ("name", "rate", "ratio", "least", "most"), rows)
        return

    lines = [
        [
            cost.name,
            f"{cost.rate:,.0f}",
            f"{cost.ratio:.3f}",
            f"{cost.least:.3f} to {cost.most:.3f}",
        ]
        for cost in measured.costs
    ]
    columns = ("training of", "examples/s", "time / label-only", "lowest and highest")
    console = Terminal()
    terminal.show_table(console, columns, lines, f"{whole.model.name}, {measured.setting}")
    for line in measured.conclusions:
        console.say(line)
