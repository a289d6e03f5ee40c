"""Commands that read a family: `anew evaluate`, `insight`, `predict`, `show` and `verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from anew.cli.options import AS_RECORDED, WHOLE, Moved, execution_from, takes_execution
from anew.cli.streams import Terminal
from anew.core.errors import AnewError
from anew.core.text import csv_table, in_digits, json_text

if TYPE_CHECKING:
    from anew.evaluation.prediction import Prediction

FamilyFolder = Annotated[Path, Parameter(help="The folder that `anew train --out` wrote.")]


def evaluate(
    family: FamilyFolder,
    /,
    *,
    split: Annotated[
        Literal["test", "validation"],
        Parameter(help="Which examples: the test set, or the held-out validation split."),
    ] = "test",
    all_subsets: Annotated[
        bool,
        Parameter(
            help="Ensembles of all subsets of the generations, not only of consecutive ones."
        ),
    ] = False,
    as_json: Annotated[
        bool,
        Parameter(name="--json", negative=(), help="Print JSON, a list with one entry a lineage."),
    ] = False,
) -> None:
    """Print the scores of every generation and of ensembles of consecutive generations: error, NLL,
    ECE and Brier score. Of more than 9 generations, those of the first and of the last ones.
    """
    from anew import evaluation
    from anew.cli import terminal
    from anew.evaluation import ensemble
    from anew.family import Family

    opened = Family.open(family)
    lineages = opened.lineages()
    if not lineages:
        raise AnewError(
            f"{family}: holds no finished network; `anew train --out {family}` trains or goes on"
        )

    evaluated = [
        (
            lineage,
            [
                *evaluation.evaluate_lineage(opened, lineage, split, all_subsets=all_subsets),
                *evaluation.evaluate_networks(opened, lineage[-1].beside_lineage, split),
            ],
        )
        for lineage in lineages
    ]
    if as_json:
        entries = [
            {
                "lineage": [spec.id for spec in lineage],
                "model": lineage[-1].model.name,
                "objective": lineage[-1].objective.name,
                "seed": lineage[-1].seed,
                "split": split,
                "rows": [row.to_json() for row in rows],
            }
            for lineage, rows in evaluated
        ]
        print(json_text(entries))
        return

    console = Terminal()
    for lineage, rows in evaluated:
        last = lineage[-1]
        ids = " > ".join(spec.id for spec in lineage)
        heading = f"{last.model.name}, {last.objective.name}, seed {last.seed}: {ids}"
        console.print(heading, markup=False, highlight=False)
        console.print(terminal.scores_table(rows, split))
        left_out = "" if all_subsets else ensemble.notice_of_listed(len(lineage))
        if left_out:
            console.print(left_out, markup=False, highlight=False)


@takes_execution("device", "threads", "trust")
def insight(
    family: FamilyFolder,
    /,
    *,
    split: Annotated[
        Literal["test", "validation", "train"],
        Parameter(
            help="Which examples: the test set or the validation split, from the stored "
            "outputs, or the training examples, which the networks are shown again."
        ),
    ] = "test",
    lineage: Annotated[
        str,
        Parameter(
            help="The network at the end of the lineage to look at, by the start of its "
            "id; needed where a family has several."
        ),
    ] = "",
    examples: Annotated[
        int | None,
        WHOLE,
        Parameter(
            help="Look at so many examples, drawn at random; all stored ones, or 10,000 "
            "training examples, where not given."
        ),
    ] = None,
    form: Annotated[
        Literal["table", "json", "markdown"],
        Parameter(
            name="--format", help="A table, JSON (docs/insight.md says what is in it) or Markdown."
        ),
    ] = "table",
    moved: Moved = AS_RECORDED,
    **given: Any,
) -> None:
    """Print what the students learned: gradients, dark knowledge, calibration, who is harmed, how
    alike they are.
    """
    from anew.cli import terminal
    from anew.evaluation import insight as insights
    from anew.evaluation.insight import wording
    from anew.family import Family, choose_lineage
    from anew.training.device import settings

    execution = execution_from(given)
    opened = Family.open(family)
    chosen = choose_lineage(opened, lineage, flag="--lineage")
    with settings(execution) as device:
        options = insights.Options(split, examples, device, execution.trust)
        measured = insights.collect_with_data(
            opened, chosen, options, source=moved.data, root=moved.root
        )

    if form == "json":
        print(json_text(measured.to_json()))
        return
    if form == "markdown":
        print(wording.markdown(measured))
        return
    console = Terminal()
    console.print(wording.heading(measured), markup=False, highlight=False)
    for section in wording.sections(measured):
        console.print()
        console.print(terminal.table(section.columns, section.rows, section.title))
        console.print(section.about, markup=False, highlight=False, style="dim")
    for notice in measured.notices:
        console.print(notice, markup=False, highlight=False)


@takes_execution("device", "trust")
def predict(
    family: FamilyFolder,
    /,
    *pictures: Annotated[Path, Parameter(help="Picture files, or folders with such.")],
    network: Annotated[
        str,
        Parameter(
            help="The network at the end of the lineage to use, by the start of its id; "
            "needed where a family has several."
        ),
    ] = "",
    generations: Annotated[
        str,
        Parameter(
            help="Which generations: `last`, `all`, one such as 2, a range such as 0-2, a "
            "list such as 0,2, or the last few, such as last-2."
        ),
    ] = "last",
    top: Annotated[int, WHOLE, Parameter(help="How many classes to print for each picture.")] = 3,
    form: Annotated[
        Literal["table", "csv", "json"], Parameter(name="--format", help="A table, CSV or JSON.")
    ] = "table",
    **given: Any,
) -> None:
    """Print the classes that a generation, or the mean of several, sees in pictures, with their
    probabilities.
    """
    from anew.data.kept import some_of
    from anew.evaluation import prediction
    from anew.family import Family
    from anew.training.device import settings

    if not pictures:
        raise AnewError(
            "predict: no picture was given; name one or more picture files after the family"
        )
    if top < 1:
        raise AnewError(f"predict: top must be a whole number >= 1, got {top}; set --top")
    execution = execution_from(given)
    with settings(execution) as device:
        networks = prediction.load_generations(
            Family.open(family), network, generations, execution.trust
        )
        files = prediction.picture_files(pictures)
        predictions, unread = prediction.predict_files(networks, files, device)

    if predictions:
        _print_predictions(predictions, top, form)
    if unread:
        others = "; the others are predicted, replace these" if predictions else "; give others"
        counted = f"{len(unread):,} of {len(files):,} files cannot be read: "
        several = counted if len(files) > 1 else ""
        raise AnewError(f"{several}{some_of(unread)}{others}")


def _print_predictions(
    predictions: Sequence[Prediction], top: int, form: Literal["table", "csv", "json"]
) -> None:
    from anew.cli import terminal

    if form == "json":
        print(json_text([predicted.to_json() for predicted in predictions]))
        return
    lines = [
        [str(predicted.path), str(rank + 1), name, in_digits(probability, 4)]
        for predicted in predictions
        for rank, (name, probability) in enumerate(predicted.ranked[:top])
    ]
    columns = ["picture", "rank", "class", "probability"]
    if form == "csv":
        print(csv_table(columns, lines), end="")
    else:
        Terminal().print(terminal.table(columns, lines))


def show(family: Path, network: str = "", /) -> None:
    """Print a family's tree of who learned from whom with its learning curves, or one network
    whole.

    Parameters
    ----------
    family
        The folder that `anew train --out` wrote.
    network
        The start of a network's id: its spec, checks, results and learning curve.
    """
    from anew.cli import terminal
    from anew.family import Family
    from anew.models import saving

    opened = Family.open(family)
    folders = [opened.find(network)] if network else list(opened.folders())
    specs = list(opened.specs([folder.id for folder in folders]).values())
    records = {folder.id: folder.done if folder.is_done else None for folder in folders}
    metrics = {folder.id: folder.read_metrics() for folder in folders}

    console = Terminal()
    if network:
        (spec,) = specs
        described = {"id": spec.id, "generation": spec.generation, **spec.to_json()}
        record = dict(records[spec.id] or {})
        # What the folder's reader needs, and nobody else.
        record.pop("format", None)
        record.pop("files", None)
        shown: dict[str, Any] = {"spec": described, "record": record}
        if record:
            # The units of pictures, their mean and deviation are in the network's file alone.
            shown["inputs"] = saving.read_signature(folders[0].weights).inputs()
        console.print_json(json_text(shown))
    else:
        console.print(terminal.lineage_tree(str(family), specs, records))

    rows = [row for epochs in metrics.values() for row in epochs]
    is_validated = any("validation_error" in row for row in rows)
    measure = "validation_error" if is_validated else "train_error"
    series: list[tuple[str, list[float]]] = []
    for spec in sorted(specs, key=lambda spec: spec.generation):
        values = [row[measure] for row in metrics[spec.id] if measure in row]
        series.append((str(spec.generation % 10), values))
    title = f"{measure.replace('_', ' ')}, % (marks are generations)"
    console.print(terminal.curves(series, title), markup=False, highlight=False)


def verify(
    family: FamilyFolder,
    /,
    *,
    set_aside: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Move the files of damaged networks into a folder `set-aside-N` of their own. The "
            "command that trained them then trains them again, to the same bits; nothing is "
            "removed.",
        ),
    ] = False,
) -> None:
    """Hash every file of a family again and print which are missing or have changed."""
    from anew.family import Family
    from anew.teachers import store

    opened = Family.open(family)
    if set_aside:
        for place in opened.set_aside_damaged():
            print(f"set aside: {place}; give the command that trained it again")

    checked, wrong = opened.verify()
    stores = store.folders(opened.stores)
    for folder in stores:
        wrong += store.verify(folder)

    if wrong:
        raise AnewError(
            f"{family}: {len(wrong)} of its files are not as they were written: {'; '.join(wrong)}"
        )
    print(
        f"{family}: {checked} finished networks, every file as it was written; {len(stores)} "
        "stores of teachers' answers, every answer as it was given"
    )
