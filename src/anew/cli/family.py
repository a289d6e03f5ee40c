"""Commands that read a family: `anew evaluate`, `insight`, `predict`, `show` and `verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from anew.cli.options import WHOLE
from anew.core.errors import AnewError
from anew.core.text import csv_table


def evaluate(
    family: Path,
    /,
    *,
    split: Literal["test", "validation"] = "test",
    all_subsets: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Print error, NLL, ECE and Brier score of every generation and of every ensemble of
    consecutive ones.

    Parameters
    ----------
    family
        The folder that `anew train --out` wrote.
    split
        Which examples: the test set, or the held-out validation split.
    all_subsets
        Ensembles of all subsets of the generations, not only of consecutive ones.
    as_json
        Print JSON, a list with one entry a lineage.
    """
    from rich.console import Console

    from anew import evaluation
    from anew.cli import terminal
    from anew.family import Family

    opened = Family.open(family)
    lineages = opened.lineages()
    if not lineages:
        raise AnewError(
            f"{family}: holds no finished network; `anew train --out {family}` trains or goes on"
        )
    evaluated = [
        (lineage, evaluation.evaluate_lineage(opened, lineage, split, all_subsets=all_subsets))
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
        print(json.dumps(entries, indent=1))
        return

    console = Console()
    for lineage, rows in evaluated:
        last = lineage[-1]
        ids = " > ".join(spec.id for spec in lineage)
        heading = f"{last.model.name}, {last.objective.name}, seed {last.seed}: {ids}"
        console.print(heading, highlight=False)
        console.print(terminal.scores_table(rows, split))


def insight(
    family: Path,
    /,
    *,
    split: Literal["test", "validation", "train"] = "test",
    lineage: str = "",
    examples: Annotated[int | None, WHOLE] = None,
    form: Annotated[Literal["table", "json", "markdown"], Parameter(name="--format")] = "table",
    data: str | None = None,
    root: Path | None = None,
    device: str = "auto",
    threads: Annotated[int | None, WHOLE] = None,
    trust: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
) -> None:
    """Print what the students learned: gradients, dark knowledge, calibration, who is harmed, how
    alike they are.

    Parameters
    ----------
    family
        The folder that `anew train --out` wrote.
    split
        Which examples: the test set or the validation split, from the stored outputs, or the
        training examples, which the networks are shown again.
    lineage
        The network at the end of the lineage to look at, by the start of its id; needed where a
        family has several.
    examples
        Look at so many examples, drawn at random; all stored ones, or 10,000 training examples,
        where not given.
    form
        A table, JSON (docs/insight.md says what is in it) or Markdown.
    data
        Where the data lie now, such as parquet:PATH, if not where they were; for --split train and
        kept epochs.
    root
        The folder of torchvision's data sets, if not where it was.
    device
        Where to run: cpu, cuda, mps or auto.
    threads
        Torch's threads on the CPU.
    trust
        A model of your own, package.module:callable, that the family's files may name; repeat for
        several.
    """
    from rich.console import Console

    from anew.cli import terminal
    from anew.core.execution import Execution
    from anew.evaluation import insight as insights
    from anew.evaluation.insight import wording
    from anew.family import Family, choose_lineage
    from anew.training.device import settings

    opened = Family.open(family)
    chosen = choose_lineage(opened, lineage, flag="--lineage")
    with settings(Execution(device, threads)) as where:
        options = insights.Options(split, examples, where, trust or ())
        found = insights.collect_with_data(opened, chosen, options, source=data, root=root)
    if form == "json":
        print(json.dumps(found.to_json(), indent=1))
    elif form == "markdown":
        print(wording.markdown(found))
    else:
        console = Console()
        console.print(wording.heading(found), markup=False, highlight=False)
        for section in wording.sections(found):
            console.print()
            console.print(terminal.table(section.columns, section.rows, section.title))
            console.print(section.about, markup=False, highlight=False, style="dim")
        for log in found.notices:
            console.print(log, markup=False, highlight=False)


def predict(
    family: Path,
    /,
    *pictures: Path,
    network: str = "",
    generations: str = "last",
    top: Annotated[int, WHOLE] = 3,
    form: Annotated[Literal["table", "csv", "json"], Parameter(name="--format")] = "table",
    device: str = "auto",
    trust: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
) -> None:
    """Print the classes that a generation, or the mean of several, sees in pictures, with their
    probabilities.

    Parameters
    ----------
    family
        The folder that `anew train --out` wrote.
    pictures
        Picture files, of the size that the networks were trained on.
    network
        The network at the end of the lineage to use, by the start of its id; needed where a family
        has several.
    generations
        Which generations: `last`, `all`, one such as 2, a range such as 0-2, or a list such as 0,2.
    top
        How many classes to print for each picture.
    form
        A table, CSV or JSON.
    device
        Where to run: cpu, cuda, mps or auto.
    trust
        A model of your own, package.module:callable, that the family's files may name; repeat for
        several.
    """
    from rich.console import Console

    from anew.cli import terminal
    from anew.core.execution import Execution
    from anew.evaluation import prediction
    from anew.family import Family
    from anew.training.device import settings

    if not pictures:
        raise AnewError(
            "predict: no picture was given; name one or more picture files after the family"
        )
    if top < 1:
        raise AnewError(f"predict: top must be a whole number >= 1, got {top}; set --top")
    with settings(Execution(device)) as where:
        networks = prediction.load_generations(
            Family.open(family), network, generations, trust or ()
        )
        found = prediction.predict_files(networks, list(pictures), where)
    if form == "json":
        print(json.dumps([one.to_json() for one in found], indent=1))
        return
    lines = [
        [str(one.path), str(rank + 1), name, f"{probability:.4f}"]
        for one in found
        for rank, (name, probability) in enumerate(one.ranked[:top])
    ]
    columns = ["picture", "rank", "class", "probability"]
    if form == "csv":
        print(csv_table(columns, lines), end="")
    else:
        Console().print(terminal.table(columns, lines))


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
    from rich.console import Console

    from anew.cli import terminal
    from anew.family import Family

    opened = Family.open(family)
    console = Console()
    chosen = [
        opened.spec(folder.id)
        for folder in ([opened.find(network)] if network else opened.folders())
    ]
    records = {
        spec.id: opened.folder(spec.id).done if opened.folder(spec.id).is_done else None
        for spec in chosen
    }
    rows = {spec.id: opened.folder(spec.id).read_metrics() for spec in chosen}
    if network:
        (spec,) = chosen
        described = {"id": spec.id, "generation": spec.generation, **spec.to_json()}
        record = {
            key: value
            for key, value in (records[spec.id] or {}).items()
            if key not in ("format", "files")
        }
        console.print_json(json.dumps({"spec": described, "record": record}))
    else:
        console.print(terminal.lineage_tree(str(family), chosen, records))
    measure = (
        "validation_error"
        if any("validation_error" in row for one in rows.values() for row in one)
        else "train_error"
    )
    series = [
        (str(spec.generation % 10), [row[measure] for row in rows[spec.id] if measure in row])
        for spec in sorted(chosen, key=lambda one: one.generation)
    ]
    title = f"{measure.replace('_', ' ')}, % (marks are generations)"
    console.print(terminal.curves(series, title), markup=False, highlight=False)


def verify(family: Path, /, *, set_aside: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Hash every file of a family again and report what is missing or has changed.

    Parameters
    ----------
    family
        The folder that `anew train --out` wrote.
    set_aside
        Move the files of damaged networks into a folder `set-aside-N` of their own. The command
        that trained them then trains them again, to the same bits; nothing is removed.
    """
    from anew.family import Family
    from anew.teachers import store

    opened = Family.open(family)
    if set_aside:
        for place in opened.set_aside_damaged():
            print(f"set aside: {place}; give the command that trained it again")
    checked, wrong = opened.verify()
    # A name that starts with a dot is a store that a killed process had not made to its end; it is
    # never used.
    stores = [
        folder for folder in sorted(opened.stores.glob("*/*")) if not folder.name.startswith(".")
    ]
    wrong += [line for folder in stores for line in store.verify(folder)]
    if wrong:
        raise AnewError(
            f"{family}: {len(wrong)} of its files are not as they were written: {'; '.join(wrong)}"
        )
    print(
        f"{family}: {checked} finished networks, every file as it was written; {len(stores)} "
        f"stores of teachers' "
        "answers, every answer as it was given"
    )
