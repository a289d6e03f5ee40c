"""The command line: `anew train`, `evaluate`, `insight`, `predict`, `show`, `verify`, `bench`,
`models`, `data`, ...

Every command is a plain function; what a recipe can say becomes an option of `anew train` by
itself. What a user can mend is one line on standard error and exit code 2; results go to standard
output, progress to standard error. Torch comes inside the commands, so that help and mistakes are
answered at once.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter

from anew.cli.options import DEFAULT_FAMILY, WHOLE, nested, with_recipe
from anew.cli.report import report
from anew.cli.study import study
from anew.core import fields
from anew.core.errors import AnewError
from anew.core.spec import HUGE
from anew.core.text import csv_table
from anew.core.version import __version__

app = App(
    name="anew",
    help="Train neural networks anew: generation after generation, each taught by the one before, "
    "and their average.",
    version=__version__,
    help_format="plaintext",
    # `main` says that what was saved is whole.
    suppress_keyboard_interrupt=False,
    help_epilogue="Any command takes --debug, which shows where in the code an error arose.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process: 0, or 2 with one line for what the user can mend, or 130
    after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        app(
            [one for one in given if one != "--debug"],
            exit_on_error=False,
            print_error=False,
            result_action="return_none",
        )
        # What is still buffered must meet a reader that has gone here, where that is handled.
        sys.stdout.flush()
    except AnewError as error:
        _end(str(error), error.exit_code, debug)
    except cyclopts.CycloptsError as error:
        _end(" ".join(str(error).split()) + " `anew --help` lists what there is.", 2, debug)
    except KeyboardInterrupt:
        _end(
            "stopped at once; what was saved is whole, the same command goes on from there",
            130,
            debug,
        )
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python must not complain about it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(
            f"{where}cannot be used ({error.strerror or error}); check the path and its "
            f"permissions",
            2,
            debug,
        )


def _end(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"anew: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


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


def verify(family: Path, /) -> None:
    """Hash every file of a family again and say what is missing or has changed.

    Parameters
    ----------
    family
        The folder that `anew train --out` wrote.
    """
    from anew.family import Family
    from anew.teachers import store

    opened = Family.open(family)
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


def models(
    name: str = "",
    /,
    *,
    input: str = "3x32x32",
    classes: Annotated[int, WHOLE] = 10,
) -> None:
    """List the architectures with their parameter counts, or count the parameters of one.

    Parameters
    ----------
    name
        A model's name, such as wide_resnet-28-10, timm:resnet18 or package.module:callable.
    input
        Channels x height x width of the pictures.
    classes
        The number of classes.
    """
    from rich.console import Console

    from anew import models as architectures
    from anew.cli import terminal

    try:
        shape = tuple(int(size) for size in input.split("x"))
    except ValueError:
        shape = ()
    if len(shape) not in (1, 3) or min(shape) < 1 or max(shape) > HUGE:
        raise AnewError(
            f"input must be channels x height x width, such as 3x32x32, got '{input}'; set --input"
        )
    if not 2 <= classes <= HUGE:
        raise AnewError(
            f"classes must be a whole number >= 2 and <= {HUGE:,}, got {classes}; set --classes"
        )
    try:
        if name:
            model = architectures.build(name, shape, classes)
            count = sum(parameter.numel() for parameter in model.parameters())
            print(f"{name}: {count:,} parameters with inputs {input} and {classes} classes")
            return
        entries = architectures.catalogue(shape, classes)
    except (RuntimeError, MemoryError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise AnewError(
            f"models: inputs {input} and {classes} classes are too much here ({why}); lower "
            f"--input or --classes"
        ) from error
    rows = [[entry.name, f"{entry.parameters:,}", entry.summary] for entry in entries]
    drawn = terminal.table(("model", "parameters", "what"), rows)
    drawn.columns[2].justify = "left"
    drawn.columns[2].no_wrap = False
    Console().print(drawn)
    print("also timm:NAME, torchvision:NAME, and package.module:callable for your own")


def data(source: str = "", /, *, root: Path = Path("data"), download: bool = False) -> None:
    """List the kinds of data, or read one and say what it holds.

    Parameters
    ----------
    source
        A source, such as fashion-mnist, parquet:PATH or folder:PATH.
    root
        The folder of torchvision's data sets.
    download
        Fetch a missing torchvision data set into the root.
    """
    from rich.console import Console

    from anew.cli import terminal
    from anew.data import sources

    if not source:
        rows = [[name, one.summary] for name, one in sources.SOURCES.items()]
        Console().print(terminal.table(("data", "what"), rows, numbers_from=9))
        return
    found = sources.load(source, root, download)
    test = (
        f"{len(found.test):,} test"
        if found.test is not None
        else "no test set of its own (one is cut off)"
    )
    shape = "x".join(map(str, found.train.inputs.shape[1:]))
    print(
        f"{source}: {len(found.train):,} training examples, {test}, each {shape} "
        f"{found.train.inputs.dtype}".replace("torch.", "")
    )
    names = ", ".join(found.classes[:10]) + (", ..." if len(found.classes) > 10 else "")
    print(f"{len(found.classes)} classes: {names}")
    print(f"views: {found.views}; fingerprint: {found.fingerprint}")


with_recipe(train, _TRAIN_OPTIONS)
with_recipe(bench, _BENCH_OPTIONS)
_COMMANDS: tuple[Callable[..., None], ...] = (
    train,
    evaluate,
    insight,
    predict,
    show,
    report,
    verify,
    bench,
    models,
    data,
)
for _command in _COMMANDS:
    app.command(_command)
app.command(study)
