"""`anew show` and `anew verify`: what a family holds, and whether its files are as they were
written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from anew.cli.family import FamilyFolder
from anew.cli.options import AS_TABLE, Printed
from anew.cli.printing import notify, print_json
from anew.cli.streams import Terminal
from anew.core.errors import AnewError
from anew.core.text import counted, in_digits, in_time, listed

if TYPE_CHECKING:
    from anew.core.spec import Spec
    from anew.family import Family, NetworkFolder

MOST_EPOCHS = 12
"""The lines of the table of epochs: the first, the last, and some between."""
_MEASURES = ("validation_perplexity", "validation_error", "train_error")
_SCORES = {
    "perplexity": ("perplexity", 2),
    "error": ("error %", 2),
    "balanced_error": ("balanced error %", 2),
    "nll": ("NLL", 4),
    "ece": ("ECE %", 2),
    "brier": ("Brier", 4),
}


def show(family: Path, /, network: str = "", *, printed: Printed = AS_TABLE) -> None:
    """Print who learned from whom in a family, with learning curves; or one network's results,
    settings and epochs.

    Parameters
    ----------
    family
        The family's folder, written by `anew train --out`.
    network
        Show this network (the start of its id).
    printed
        How it is printed.
    """
    from anew.cli import terminal
    from anew.family import Family

    opened = Family.open(family)
    folders = [opened.find(network)] if network else list(opened.folders())
    specs = list(opened.specs([folder.id for folder in folders], gaps=True).values())
    notify(opened.missing())
    records = {folder.id: folder.done if folder.is_done else None for folder in folders}
    metrics = {folder.id: folder.read_metrics() for folder in folders}

    if printed.is_json:
        described = [
            _to_json(spec, folder, records[spec.id], metrics[spec.id])
            for spec, folder in zip(specs, folders, strict=True)
        ]
        print_json(described[0] if network else described)
        return

    console = Terminal()
    if network:
        _print_network(console, specs[0], folders[0], metrics[specs[0].id])
    else:
        console.print(terminal.lineage_tree(str(family), specs, records))
    drawn = specs if network else _of_one_lineage(opened, specs)
    console.say(_curves(drawn, metrics, several=len(drawn) < len(specs)))


def _to_json(
    spec: Spec,
    folder: NetworkFolder,
    record: Mapping[str, Any] | None,
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return all that is known of a network: its spec, record, inputs and epochs."""
    described = {"id": spec.id, "generation": spec.generation, **spec.to_json()}
    # What the folder's reader needs, and nobody else.
    hidden = ("format", "files", "probe")
    known = {name: value for name, value in (record or {}).items() if name not in hidden}
    whole: dict[str, Any] = {"spec": described, "record": known}
    inputs = _inputs(spec, folder)
    if inputs:
        whole["inputs"] = {name.removeprefix("inputs."): value for name, value in inputs.items()}
    return {**whole, "epochs": list(rows)}


def _inputs(spec: Spec, folder: NetworkFolder) -> dict[str, Any]:
    """Return the units of pictures, their mean and deviation: they are in the network's file alone.

    Nothing of a network that is not finished, or of soft labels.
    """
    from anew.models import saving

    if not folder.is_done or spec.is_soft_labels:
        return {}
    inputs = saving.read_signature(folder.weights).inputs()
    return {f"inputs.{name}": value for name, value in inputs.items()}


def _heading(spec: Spec, folder: NetworkFolder, record: Mapping[str, Any] | None) -> list[str]:
    """Return what a network is, who taught it and how far it is, in lines."""
    from anew.cli import terminal

    if record is not None and spec.is_soft_labels:
        return [f"{spec.id}: {terminal.soft_labels_in_words(record)}"]

    state = "not finished" if record is None else f"trained in {in_time(record.get('seconds', 0))}"
    if record is not None and "given" in record:
        state = f"given: {record['given']}"
    names: list[str] = []
    for teacher in spec.teachers:
        beside = replace(folder, path=folder.path.parent / teacher.id)
        names.append(beside.soft_labels if teacher.is_soft_labels else teacher.id)
    return [
        f"network {spec.id}: generation {spec.generation}, {spec.origin}, seed {spec.seed}",
        f"learned from {listed(names) or 'the labels'}; {state}",
    ]


def _print_network(
    console: Terminal,
    spec: Spec,
    folder: NetworkFolder,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Print one network as tables: its results, its epochs, its settings and inputs."""
    from anew.cli import terminal
    from anew.family.differences import settings

    record = folder.done if folder.is_done else None
    for line in _heading(spec, folder, record):
        console.say(line)

    if record is not None and not spec.is_soft_labels:
        console.print()
        terminal.show_table(console, *_results(record))
    if rows:
        console.print()
        terminal.show_table(console, *_epochs(rows), numbers_from=0)
        console.note(
            "loss: of the network's objective, on the training examples; seconds: since the start "
            "of training.",
            style="dim",
        )
    console.print()
    values = {**settings(spec), **_inputs(spec, folder)}
    named = [[name, _value(value)] for name, value in values.items()]
    console.print(terminal.listing(["setting", "value"], named))
    console.print()


def _results(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the table of a finished network's scores and of the checks of its teacher."""
    test: Mapping[str, Any] = record.get("test", {})
    lines = [
        [f"test {shown}", in_digits(test[name], digits)]
        for name, (shown, digits) in _SCORES.items()
        if name in test
    ]
    lines.append(["test examples", f"{test.get('examples', 0):,}"])
    best: Mapping[str, Any] = record.get("best_epoch") or {}
    if best:
        lines.append(["best epoch (validation)", str(best.get("epoch"))])

    checks: Mapping[str, Any] = record.get("checks", {})
    if isinstance(checks.get("teacher_accuracy"), float):
        where = checks.get("measured_on", "")
        error = in_digits(100 * (1 - checks["teacher_accuracy"]), 2)
        lines.append([f"teacher's {where} error %", error])
    if isinstance(checks.get("signal"), float):
        lines.append(["gradient, teacher / labels", in_digits(checks["signal"], 3)])
    return ["result", "value"], lines


def _epochs(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the table of epochs: the first, the last, and some between at even distances."""
    columns = {
        "epoch": ("epoch", 0),
        "train_loss": ("loss", 4),
        "train_error": ("train error %", 2),
        "validation_perplexity": ("val. perplexity", 2),
        "validation_error": ("val. error %", 2),
        "validation_nll": ("val. NLL", 4),
        "learning_rate": ("learning rate", 5),
        "seconds": ("seconds", 1),
    }

    there = {name: about for name, about in columns.items() if any(name in row for row in rows)}
    count = min(MOST_EPOCHS, len(rows))
    places = sorted({round(at * (len(rows) - 1) / max(1, count - 1)) for at in range(count)})
    lines = [
        [in_digits(rows[place].get(name), digits) for name, (_, digits) in there.items()]
        for place in places
    ]
    return [shown for shown, _ in there.values()], lines


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        table = cast("Mapping[str, object]", value)
        return ", ".join(f"{name}={one}" for name, one in table.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, cast("Sequence[object]", value)))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _of_one_lineage(family: Family, specs: Sequence[Spec]) -> Sequence[Spec]:
    """Return the networks whose curves are drawn: the lineage that the report shows, and what goes
    on from it.

    Marks are generations, so other lineages' would be taken for this one's. All networks are drawn
    if none is finished.
    """
    from anew.family import choose_lineage, unfinished_after

    chosen = choose_lineage(family, several="longest", gaps=True)
    if not chosen:
        return specs
    kept = {spec.id for spec in [*chosen, *unfinished_after(family).get(chosen[-1].id, ())]}
    return [spec for spec in specs if spec.id in kept]


def _curves(
    specs: Sequence[Spec],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    several: bool = False,
) -> str:
    """Return the learning curves of networks, marked by their generations.

    With `several` the family has other networks, and the title says whose curves these are.
    """
    from anew.cli import terminal

    rows = [row for epochs in metrics.values() for row in epochs]
    measure = next((one for one in _MEASURES if any(one in row for row in rows)), "train_error")
    series: list[tuple[str, list[float]]] = []
    for spec in sorted(specs, key=lambda spec: spec.generation):
        values = [row[measure] for row in metrics[spec.id] if measure in row]
        series.append((str(spec.generation % 10), values))
    unit = "" if measure == "validation_perplexity" else ", %"
    whose = f" of the lineage to {max(specs, key=_generation).id}" if several else ""
    return terminal.curves(
        series, f"{measure.replace('_', ' ')}{unit} (digits mark generations{whose})"
    )


def _generation(spec: Spec) -> int:
    return spec.generation


def verify(
    family: FamilyFolder,
    /,
    *,
    set_aside: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Move the files of damaged networks to a folder `set-aside-N`. The command "
            "that trained them then trains them again, with the same bits. Nothing is deleted.",
        ),
    ] = False,
    printed: Printed = AS_TABLE,
) -> None:
    """Check the hash of every file of a family; print missing and changed files."""
    from anew.family import Family
    from anew.teachers import store

    opened = Family.open(family)
    moved = opened.set_aside_damaged() if set_aside else []
    if not printed.is_json:
        for place in moved:
            Terminal().say(f"moved to {place}; run the command that trained it again")

    _, wrong = opened.verify()
    stores = store.folders(opened.stores)
    for folder in stores:
        wrong += store.verify(folder)
    held = {} if wrong else _held(opened, len(stores))
    if printed.is_json:
        print_json({**held, "wrong": wrong, "set_aside": [str(place) for place in moved]})

    if wrong:
        raise AnewError(
            f"{family}: {len(wrong)} of its files are missing or have changed: {'; '.join(wrong)}"
        )
    if not printed.is_json:
        Terminal().say(f"{family}: {_verified(held)}")


def _held(family: Family, stores: int) -> dict[str, int]:
    """Return how many things of each kind a family holds."""
    specs = family.finished(gaps=True)
    rows = sum(spec.is_soft_labels for spec in specs)
    return {
        "networks": len(specs) - rows,
        "soft_labels": rows,
        "target_caches": stores,
        "unfinished": sum(not folder.is_done for folder in family.folders()),
    }


def _verified(held: Mapping[str, int]) -> str:
    """Return what was verified, in words."""
    verified = [counted(held["networks"], "network")]
    if rows := held["soft_labels"]:
        verified.append(f"{rows} {'sets' if rows > 1 else 'set'} of soft labels")
    if held["target_caches"]:
        verified.append(counted(held["target_caches"], "target cache"))

    said = f"OK: {listed(verified)}, all hashes match"
    if held["unfinished"]:
        said += f"; {counted(held['unfinished'], 'network')} not finished, which have no hashes yet"
    return said
