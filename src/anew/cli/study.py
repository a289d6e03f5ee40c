"""`anew study list`, `plan`, `run`, `train` and `show`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
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
    in_paragraphs,
    takes_execution,
)
from anew.cli.printing import notify, print_json, print_rows
from anew.cli.streams import Terminal
from anew.cli.study_choice import AS_IT_IS, Choice, as_run, only_study
from anew.cli.study_place import HERE, Place
from anew.core.errors import AnewError

if TYPE_CHECKING:
    from anew.family import Family
    from anew.studies import Results
    from anew.training.launch.workers import Executor
    from anew.training.session import Session

study = App(
    name="study",
    help="Train and print tables of many networks: the paper's, or your own from a TOML file.",
)

_LARGE = ("save_minutes", "ask", "disk_budget", "storage", "workers", "cache_budget")
"""The options of `Execution` for large data, networks and teachers' outputs."""

StudyName = Annotated[
    str, Parameter(help="A study from `anew study list`, or a TOML file of your own.")
]


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
@in_paragraphs
@takes_execution("device", "threads")
def plan_study(
    name: StudyName,
    /,
    *,
    out: Annotated[
        Path, Parameter(help="The family's folder; networks that it holds are not trained again.")
    ] = DEFAULT_FAMILY,
    choice: Choice = AS_IT_IS,
    workers: Annotated[
        int,
        WHOLE,
        Parameter(
            name=("--workers", "--gpus"),
            help="Groups that are trained at once, each assumed as fast as one alone.",
        ),
    ] = 1,
    rate: Annotated[
        float | None,
        Parameter(
            help="Training speed of the study's largest network in examples a second, instead "
            "of measuring; other networks are scaled by FLOPs."
        ),
    ] = None,
    printed: PrintedRows = ROWS_AS_TABLE,
    **given: Any,
) -> None:
    """Print the cost of a study: networks, examples, disk space, and time here or at a given rate.

    Takes the options of `anew study run`. It finishes no training and keeps no files. Data sets of
    known sizes (cifar10, cifar100, mnist, fashion-mnist) need not be present.
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
    terminal.show_table(console, *plan_rendering.for_terminal(plan), chosen.title)
    for line in plan_rendering.about(plan):
        console.note(line)


@study.command(name="run")
@in_paragraphs
@takes_execution("device", "threads", "force", "keep_epochs", "track", *_LARGE)
def run_study(
    name: StudyName,
    /,
    *,
    out: Annotated[
        Path,
        Parameter(help="The family's folder; studies in one family share equal networks."),
    ] = DEFAULT_FAMILY,
    choice: Choice = AS_IT_IS,
    place: Place = HERE,
    page: Annotated[
        bool, Parameter(help="Write the study's report at the end, as `anew report` does.")
    ] = True,
    printed: PrintedStudy = STUDY_AS_TABLE,
    **given: Any,
) -> None:
    """Train the missing networks of a study, then print its table.

    The same command resumes a stopped study.
    """
    from anew import studies
    from anew.cli import log, terminal
    from anew.core import distributed
    from anew.core.callbacks import Callbacks
    from anew.data.storage import Storage
    from anew.family import Family
    from anew.report.writing import write_after_study

    form = printed.chosen
    place.check_sound()
    chosen = choice.of(name)
    asked = execution_from(given)
    if place.on == "slurm-script":
        place.write_scripts(chosen, out, asked, studies.StudyData(chosen))
        _remember(Family.open(out), name, choice)
        return

    execution, opens = place.executor(asked)

    def open_executor(session: Session) -> AbstractContextManager[Executor]:
        # The study can run, and its family is there.
        _remember(session.family, name, choice)
        return opens(session)

    several = execution.jobs > 1 or place.on == "ray"
    with log.kept(out) as kept:
        with terminal.watching(Terminal(stderr=True), several=several) as watcher:
            progress = Callbacks([watcher, kept])
            data_read = studies.StudyData(chosen, Storage.of(execution, progress.log))
            failed = studies.run(chosen, out, execution, progress, data_read, open_executor)

        if distributed.is_main_process():
            family = Family.open(out)
            results = studies.collect(chosen, family, data_read, failed)
            _print_study(results, form)
            places = [f"family: {out}"]
            if page:
                places.append(write_after_study(family, results, data_read))
            # Beside a table for a program the places are notices.
            console = Terminal(stderr=form != "table")
            for line in places:
                console.say(line)
            kept.log("\n".join(places))

        if failed:
            raise AnewError(
                f"study '{name}': {len(failed)} networks failed; the table has the reasons"
            )


def _remember(family: Family, name: str, choice: Choice) -> None:
    """Keep a study's name and options in the family; that they cannot be kept stops no training."""
    from anew.core import distributed
    from anew.studies import remembered

    if not distributed.is_main_process():
        return
    try:
        remembered.remember(family, remembered.Remembered.of(name, choice.given))
    except AnewError as error:
        notify([f"the study's options are not kept: {error}"])


@study.command(name="train")
@in_paragraphs
@takes_execution("device", "threads", "force", "keep_epochs", "trust", "track", *_LARGE)
def train_networks(
    family: Annotated[Path, Parameter(help="The family's folder.")],
    /,
    *ids: Annotated[
        str,
        Parameter(
            help="The networks, by the start of their ids. Their teachers must be finished, or "
            "among them."
        ),
    ],
    moved: Moved = AS_RECORDED,
    **given: Any,
) -> None:
    """Train single networks of a family from their specs, for SLURM scripts.

    `anew study run --on slurm-script` writes such scripts. A model of your own code is built only
    if --trust names it.
    """
    from anew.cli import terminal
    from anew.family.lock import OUTLIVES_DEATH
    from anew.studies import running

    if not ids:
        raise AnewError(
            f"study train: needs one or more ids of networks after the family, {family}"
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
@in_paragraphs
def show_study(
    name: Annotated[
        str,
        Parameter(
            help="A study from `anew study list`, or a TOML file of your own. May be omitted if "
            "the family holds one study."
        ),
    ],
    family: Annotated[
        Path | None, Parameter(help="The family's folder, written by `anew study run --out`.")
    ] = None,
    /,
    *,
    choice: Choice = AS_IT_IS,
    printed: PrintedStudy = STUDY_AS_TABLE,
) -> None:
    """Print a study's table from the family's networks; nothing is trained.

    The family keeps the options of the last run; options given here override them.
    """
    from anew import studies
    from anew.family import Family

    form = printed.chosen
    opened = Family.open(Path(name) if family is None else family)
    chosen = as_run(opened, only_study(opened) if family is None else name, choice)
    results = studies.collect(chosen, opened, studies.StudyData(chosen))
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
    terminal.show_table(console, *rendering.for_terminal(results), results.study.title)
    about = rendering.about(results, titled=True)
    if results.controls:
        console.print()
        controls = rendering.controls_for_terminal(results)
        terminal.show_table(console, *controls, "Differences to the controls")
        about = [rendering.about_controls(results), *about]
    for line in about:
        console.note(line)
