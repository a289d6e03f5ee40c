"""`anew models` and `anew data`: the architectures and the data sets that anew knows."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from anew.cli.options import ROWS_AS_TABLE, WHOLE, PrintedRows, settings_from, takes_data
from anew.cli.printing import notify, print_facts, print_json, print_rows
from anew.cli.streams import Terminal
from anew.core.errors import AnewError
from anew.core.spec import HUGE, DataSpec
from anew.core.text import clean, in_bytes

if TYPE_CHECKING:
    from anew.data import Data
    from anew.data.sources import Source


def models(
    name: str = "",
    /,
    *,
    input: str = "3x32x32",
    classes: Annotated[int, WHOLE] = 10,
    printed: PrintedRows = ROWS_AS_TABLE,
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
    printed
        How they are printed.
    """
    from anew import models as architectures
    from anew.cli import terminal
    from anew.data.signature import Signature
    from anew.models import coverage

    form = printed.chosen
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
            notes = list(coverage.say(name, model, Signature.of_shape(shape, classes)))
            facts = {"model": name, "parameters": count, "input": shape, "classes": classes}
            if form != "table":
                print_facts(form, {**facts, "notes": notes})
                return
            Terminal().say(f"{name}: {count:,} parameters with inputs {input}, {classes} classes")
            for note in notes:
                Terminal().say(f"note: {note}")
            return
        entries = architectures.catalogue(shape, classes)
        entries += architectures.language_models()
    except (RuntimeError, MemoryError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise AnewError(
            f"models: inputs {input} and {classes} classes do not fit here ({why}); lower "
            "--input or --classes"
        ) from error

    columns = ("model", "parameters", "what")
    rows = [(entry.name, entry.parameters, entry.summary) for entry in entries]
    if form == "json":
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif form != "table":
        print_rows(form, columns, rows)
    else:
        counted = [[name, f"{count:,}", what] for name, count, what in rows]
        console = Terminal()
        console.print(terminal.listing(columns, counted))
        console.say(
            "also: timm:NAME, torchvision:NAME, and package.module:callable for a model of your own"
        )


@takes_data("storage", "workers", "cache_budget")
def data(
    source: str = "",
    /,
    *,
    root: Annotated[Path, Parameter(name=["--root", "--data.root"])] = Path("data"),
    download: Annotated[bool, Parameter(name=["--download", "--data.download"])] = False,
    sheet: Path | None = None,
    printed: PrintedRows = ROWS_AS_TABLE,
    **given: Any,
) -> None:
    """List the kinds of data sets, or read a data set and describe it.

    Parameters
    ----------
    source
        A data set, such as fashion-mnist, parquet:PATH or folder:PATH.
    root
        The folder of torchvision's data sets.
    download
        Download a missing torchvision data set to the root.
    sheet
        Write a contact sheet of the training examples and their views to this PNG file.
    printed
        How it is printed.
    given
        The other options: what is read and how it is shown, as `anew train` takes them.
    """
    from anew.data import prepare, sources
    from anew.data.storage import Storage

    form = printed.chosen
    if not source:
        _list_kinds(form)
        return

    recipe, execution = settings_from(None, given)
    spec = replace(recipe.data, source=source, root=str(root), download=download)
    storage = Storage.of(execution, lambda line: notify([line]))
    loaded = sources.open_source(spec, storage)
    facts = _text_facts(loaded) if loaded.is_text else _facts(loaded, spec)
    if form != "table":
        print_facts(form, {"source": source, **facts})
    elif loaded.is_text:
        _print_text(source, loaded)
    else:
        _print_data(source, loaded, facts)
    if sheet is not None and not loaded.is_text:
        _write_sheet(sheet, prepare(loaded, spec))
        Terminal(stderr=form != "table").say(f"sheet: {sheet}")


def _list_kinds(form: str) -> None:
    """List the kinds of sources."""
    from anew.cli import terminal
    from anew.data import sources

    columns = ("data", "what")
    rows = [[name, kind.summary] for name, kind in sources.SOURCES.items()]
    if form == "json":
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif form != "table":
        print_rows(form, columns, rows)
    else:
        Terminal().print(terminal.listing(columns, rows))


def _facts(loaded: Source, spec: DataSpec) -> dict[str, Any]:
    """Return what is known of a source of examples; None for a set that it has not."""
    from anew.core import memory
    from anew.data.remarks import remarks
    from anew.data.units import find_units

    free = memory.free_bytes()
    size = sum(
        len(one) * math.prod(one.input_shape) * one.show(slice(0, 1)).element_size()
        for one in loaded.splits
    )
    notes = [*loaded.notes, *remarks(loaded)]
    is_picture = loaded.train.kind == "picture"
    if spec.source.startswith("npz:") and is_picture:
        notes.insert(
            0, "arrays are not augmented; --views crop+flip augments them like picture files"
        )

    return {
        "training_examples": len(loaded.train),
        "validation_examples": None if loaded.validation is None else len(loaded.validation),
        "test_examples": None if loaded.test is None else len(loaded.test),
        "shape": loaded.train.input_shape,
        "dtype": str(loaded.train.show(slice(0, 1)).dtype).removeprefix("torch."),
        "units": find_units(loaded.train, loaded.units) if is_picture else None,
        "classes": loaded.classes,
        "training_class_counts": _counts(loaded),
        "bytes_in_memory": size,
        "bytes_free": free if math.isinf(free) else int(free),
        "views": spec.complete().views or loaded.views,
        "fingerprint": loaded.fingerprint,
        "files": loaded.files,
        "notes": notes,
    }


def _counts(loaded: Source) -> list[int] | None:
    """Return how many training examples each class has; None where examples have several labels."""
    labels = loaded.train.labels
    if labels.ndim != 1:
        return None
    return labels.bincount(minlength=len(loaded.classes)).tolist()


def _text_facts(loaded: Source) -> dict[str, Any]:
    """Return what is known of a text."""
    (steps,) = loaded.train.input_shape
    return {
        "text": loaded.notes[0],
        "window": steps,
        "vocabulary": len(loaded.classes),
        "commonest": loaded.classes[:10],
        "fingerprint": loaded.fingerprint,
        "notes": loaded.notes[1:],
    }


def _print_data(source: str, loaded: Source, facts: Mapping[str, Any]) -> None:
    """Describe a source of examples."""
    from anew.data.units import units_in_words

    test = "no test set of its own (one is split off)"
    if loaded.test is not None:
        test = f"{len(loaded.test):,} test"
    if loaded.validation is not None:
        test = f"{len(loaded.validation):,} validation, {test}"
    shape = "x".join(map(str, facts["shape"]))
    lines = [
        f"{source}: {len(loaded.train):,} training examples, {test}, each {shape} {facts['dtype']}",
        *loaded.files,
    ]

    between = "; " if any("," in one for one in loaded.classes) else ", "
    more = f"{between}..." if len(loaded.classes) > 10 else ""
    names = between.join(loaded.classes[:10]) + more
    lines.append(f"{len(loaded.classes)} classes: {names}")
    lines += _sizes(loaded)
    if facts["units"] is not None:
        lines.append(f"units: {units_in_words(facts['units'])}")
    sizes = in_bytes(facts["bytes_in_memory"]), in_bytes(facts["bytes_free"])
    lines.append(f"in memory: {sizes[0]}; {sizes[1]} is free")
    lines.append(f"views: {facts['views']}; fingerprint: {facts['fingerprint']}")
    lines += [f"note: {note}" for note in facts["notes"]]
    console = Terminal()
    for line in lines:
        console.say(clean(line))


def _print_text(source: str, loaded: Source) -> None:
    """Describe a text: its tokens and its vocabulary."""
    (steps,) = loaded.train.input_shape
    console = Terminal()
    console.say(f"{source.removesuffix(':')}: {loaded.notes[0]}, in windows of {steps} tokens")
    console.say(f"commonest: {clean(' '.join(loaded.classes[:10]))}")
    console.say(f"fingerprint: {loaded.fingerprint}")
    for note in loaded.notes[1:]:
        console.say(f"note: {clean(note)}")


def _sizes(loaded: Source) -> list[str]:
    """Return in lines how many examples the classes have."""
    from anew.data.classes import class_sizes

    lines: list[str] = []
    if loaded.train.labels.ndim == 1:
        lines.append(class_sizes(loaded.train.labels, loaded.classes).in_words())
        for split, examples in (("validation", loaded.validation), ("test", loaded.test)):
            if examples is not None and len(examples):
                # What uneven classes ask of training is said of the training examples.
                counts = class_sizes(examples.labels, loaded.classes).in_words().split(";")[0]
                lines.append(f"{counts} ({split})")
    return lines


def _write_sheet(path: Path, prepared: Data) -> None:
    from anew.core import files
    from anew.data.sheet import contact_sheet

    content = io.BytesIO()
    contact_sheet(prepared).save(content, "PNG")
    files.write_bytes(path, content.getvalue())
