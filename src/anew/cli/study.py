"""`anew study list`, `plan`, `run`, `train` and `show`, and the options that choose a study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from anew.cli.options import (
    AS_RECORDED,
    DEFAULT_FAMILY,
    ROWS_AS_TABLE,
    STUDY_AS_TABLE,
    WHOLE,
    Moved,
    PrintedRows,
    PrintedStudy,
    execution_from,
    takes_execution,
)
from anew.cli.printing import print_json, print_rows
from anew.cli.streams import Terminal
from anew.cli.study_place import HERE, Place
from anew.core.errors import AnewError

if TYPE_CHECKING:
    from anew.studies import Results, Study

study = App(
    name="study", help="Tables of many networks: the paper's, and your own from a TOML file."
)

StudyName = Annotated[
    str, Parameter(help="A study of `anew study list`, or a TOML file of your own.")
]
_SEVERAL = Parameter(negative_iterable=(), consume_multiple=True)


@Parameter(name="*")
@dataclass(frozen=True)
class Choice:
    """The changes to a study before it is trained or shown.

    The same options mean the same networks, so `anew study show` takes those that `anew study run`
    was given.
    """

    scale: Annotated[
        str | None,
        Parameter(
            help="Of the paper's studies: tiny (digits, minutes), small (CIFAR-10, hours on a "
            "processor) or full."
        ),
    ] = None
    seeds: Annotated[
        list[int] | None,
        _SEVERAL,
        Parameter(help="Which seeds; the study's own (0 1 2) where not given."),
    ] = None
    rows: Annotated[list[str] | None, _SEVERAL, Parameter(help="Only these rows.")] = None
    columns: Annotated[
        list[str] | None,
        _SEVERAL,
        Parameter(help="Only these columns; what they learn from is trained all the same."),
    ] = None
    controls: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Add the controls as columns: label-only networks with other seeds, with the "
            "whole compute, and "
            "averaged.",
        ),
    ] = False
    data: Annotated[
        str | None, Parameter(help="Another source than the study's, such as parquet:PATH.")
    ] = None
    root: Annotated[Path | None, Parameter(help="The folder of torchvision's data sets.")] = None
    epochs: Annotated[int | None, WHOLE, Parameter(help="Another number of epochs.")] = None
    limit: Annotated[int | None, WHOLE, Parameter(help="At most this many training examples.")] = (
        None
    )

    def of(self, name: str) -> Study:
        """Return the study of a name or a TOML file with the chosen changes.

        Raises `AnewError` if the study is unknown or a change does not fit it.
        """
        from anew import studies

        data = {
            "source": self.data,
            "root": None if self.root is None else str(self.root),
            "limit": self.limit,
        }
        changes = studies.Changes(
            seeds=self.seeds or (),
            rows=self.rows or (),
            columns=self.columns or (),
            controls=self.controls,
            data=data,
            epochs=self.epochs,
        )
        return studies.choose(name, self.scale, changes)


AS_IT_IS = Choice()
"""No option given: the study as it is written."""


@study.command(name="list")
def list_studies(*, printed: PrintedRows = ROWS_AS_TABLE) -> None:
    """List the studies that are built in."""
    from anew.cli import terminal
    from anew.studies import STUDIES

    form = printed.chosen
    if form == "json":
        print_json(
            [
                {
                    "study": study.name,
                    "rows": list(study.rows),
                    "columns": list(study.columns),
                    "title": study.title,
                }
                for study in STUDIES.values()
            ]
        )
        return
    columns = ("study", "rows", "columns", "what")
    rows = [
        [study.name, str(len(study.rows)), str(len(study.columns)), study.title]
        for study in STUDIES.values()
    ]
    if form != "table":
        print_rows(form, columns, rows)
        return
    console = Terminal()
    console.print(terminal.listing(columns, rows))
    console.say("also a file of your own: anew study run my_study.toml")


@study.command(name="plan")
@takes_execution("device", "threads")
def plan_study(
    name: StudyName,
    /,
    *,
    out: Annotated[
        Path, Parameter(help="The family's folder: what it holds is not trained again.")
    ] = DEFAULT_FAMILY,
    choice: Choice = AS_IT_IS,
    workers: Annotated[
        int,
        WHOLE,
        Parameter(
            name=("--workers", "--gpus"),
            help="So many groups are trained at once, each as fast as one alone.",
        ),
    ] = 1,
    rate: Annotated[
        float | None,
        Parameter(
            help="Examples a second at which the study's largest network is trained, in place of "
            "measuring; others by "
            "their FLOPs."
        ),
    ] = None,
    printed: PrintedRows = ROWS_AS_TABLE,
    **given: Any,
) -> None:
    """Print what a study takes: networks, examples, disk, and time here or at a given rate.

    Takes the options that the study would be run with; trains nothing to an end and keeps nothing.
    Data sets whose sizes are known (cifar10, cifar100, mnist, fashion-mnist) need not be at hand.
    """
    from anew import studies
    from anew.cli import terminal
    from anew.studies.planning import rendering as plan_rendering

    form = printed.chosen
    chosen = choice.of(name)
    plan = studies.plan(chosen, out, execution_from(given), rate, workers)
    if form == "json":
        print_json(plan.to_json())
        return
    if form != "table":
        print(plan_rendering.FORMATS[form](plan))
        return
    console = Terminal()
    console.print(terminal.table(*plan_rendering.for_terminal(plan), chosen.title))
    for line in plan_rendering.about(plan):
        console.say(line)


@study.command(name="run")
@takes_execution("device", "threads", "force", "keep_epochs", "track")
def run_study(
    name: StudyName,
    /,
    *,
    out: Annotated[
        Path,
        Parameter(
            help="The family's folder; studies that need the same networks share them there."
        ),
    ] = DEFAULT_FAMILY,
    choice: Choice = AS_IT_IS,
    place: Place = HERE,
    page: Annotated[
        bool, Parameter(help="Write the study's report at the end, as `anew report` does.")
    ] = True,
    printed: PrintedStudy = STUDY_AS_TABLE,
    **given: Any,
) -> None:
    """Train the networks of a study that the family does not hold, then print its table.

    The same command goes on where it was stopped.
    """
    from anew import studies
    from anew.cli import terminal
    from anew.core import distributed
    from anew.family import Family

    form = printed.chosen
    place.check_sound()
    chosen = choice.of(name)
    data_read = studies.StudyData(chosen)
    asked = execution_from(given)
    if place.on == "slurm-script":
        place.write_scripts(chosen, out, asked, data_read)
        return

    execution, open_executor = place.executor(asked)
    with terminal.watching(
        Terminal(stderr=True), several=execution.jobs > 1 or place.on == "ray"
    ) as watcher:
        failed = studies.run(chosen, out, execution, watcher, data_read, open_executor)

    if distributed.is_main_process():
        family = Family.open(out)
        results = studies.collect(chosen, family, data_read, failed)
        _print_study(results, form)
        places = [f"family: {out}"]
        if page:
            from anew.report.writing import write_after_study

            places.append(write_after_study(family, results, data_read))
        # Beside a table for a program the places are notices.
        console = Terminal(stderr=form != "table")
        for line in places:
            console.say(line)

    if failed:
        raise AnewError(f"study '{name}': {len(failed)} networks failed; the table says why")


@study.command(name="train")
@takes_execution("device", "threads", "ask", "force", "keep_epochs", "trust", "track")
def train_networks(
    family: Annotated[Path, Parameter(help="The family's folder.")],
    /,
    *ids: Annotated[
        str,
        Parameter(
            help="The networks, by the start of their ids; their teachers must be trained or be "
            "among them."
        ),
    ],
    moved: Moved = AS_RECORDED,
    **given: Any,
) -> None:
    """Train networks whose specs a family holds, as SLURM scripts do.

    `anew study run --on slurm-script` writes such scripts. A model of somebody's own code is built
    only if --trust names it.
    """
    from anew.cli import terminal
    from anew.family.lock import OUTLIVES_DEATH
    from anew.studies import running

    if not ids:
        raise AnewError(
            f"study train: no network was given; name one or more ids after the family, {family}"
        )
    execution = replace(execution_from(given), patience=OUTLIVES_DEATH)
    source, root = moved.data or "", str(moved.root or "")
    with terminal.watching(Terminal(stderr=True)) as watcher:
        failed = running.train_networks(family, ids, execution, watcher, source, root)

    if failed:
        raise AnewError(
            f"{len(failed)} networks failed: {'; '.join(dict.fromkeys(failed.values()))}"
        )


@study.command(name="show")
def show_study(
    name: StudyName,
    family: Annotated[Path, Parameter(help="The folder that `anew study run --out` wrote.")],
    /,
    *,
    choice: Choice = AS_IT_IS,
    printed: PrintedStudy = STUDY_AS_TABLE,
) -> None:
    """Print a study's table from the networks that a family holds; nothing is trained.

    Takes the options that the study was run with.
    """
    from anew import studies
    from anew.family import Family

    form = printed.chosen
    chosen = choice.of(name)
    results = studies.collect(chosen, Family.open(family), studies.StudyData(chosen))
    _print_study(results, form)


def _print_study(results: Results, form: str) -> None:
    """Print a study's table in one of its formats."""
    from anew.cli import terminal
    from anew.studies import rendering

    if form == "json":
        print_json(results.to_json())
        return
    if form != "table":
        print(rendering.FORMATS[form](results))
        return

    console = Terminal()
    console.print(terminal.table(*rendering.for_terminal(results), results.study.title))
    about = rendering.about(results)
    if results.controls:
        console.print()
        console.print(
            terminal.table(*rendering.controls_for_terminal(results), "Differences to the controls")
        )
        about = [rendering.about_controls(results), *about]
    for line in about:
        console.say(line)
