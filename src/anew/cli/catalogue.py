"""`anew models` and `anew data`: the architectures and the data sets that anew knows."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from anew.cli.options import WHOLE, settings_from, takes_data
from anew.cli.streams import Terminal
from anew.core.errors import AnewError
from anew.core.spec import HUGE
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
    from anew import models as architectures
    from anew.cli import terminal
    from anew.data.signature import Signature
    from anew.models import coverage

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
            for note in coverage.say(name, model, Signature.of_shape(shape, classes)):
                print(f"note: {note}")
            return
        entries = architectures.catalogue(shape, classes)
        entries += architectures.language_models()
    except (RuntimeError, MemoryError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise AnewError(
            f"models: inputs {input} and {classes} classes are too much here ({why}); lower "
            f"--input or --classes"
        ) from error

    rows = [[entry.name, f"{entry.parameters:,}", entry.summary] for entry in entries]
    Terminal().print(terminal.listing(("model", "parameters", "what"), rows))
    print("also timm:NAME, torchvision:NAME, and package.module:callable for your own")


@takes_data("storage", "workers", "cache_budget")
def data(
    source: str = "",
    /,
    *,
    root: Path = Path("data"),
    download: bool = False,
    sheet: Path | None = None,
    **given: Any,
) -> None:
    """List the kinds of data, or read one and describe it.

    Parameters
    ----------
    source
        A source, such as fashion-mnist, parquet:PATH or folder:PATH.
    root
        The folder of torchvision's data sets.
    download
        Fetch a missing torchvision data set into the root.
    sheet
        Write a contact sheet of the training examples and their views to this PNG file.
    given
        The other options: what is read and how it is shown, as `anew train` takes them.
    """
    from anew.cli import terminal
    from anew.core import memory
    from anew.data import prepare, sources
    from anew.data.storage import Storage
    from anew.data.units import find_units, units_in_words

    if not source:
        rows = [[name, kind.summary] for name, kind in sources.SOURCES.items()]
        Terminal().print(terminal.listing(("data", "what"), rows))
        return

    recipe, execution = settings_from(None, given)
    spec = replace(recipe.data, source=source, root=str(root), download=download)
    storage = Storage.of(execution, print)
    loaded = sources.open_source(spec, storage)
    if loaded.is_text:
        _print_text(source, loaded)
        return
    test = "no test set of its own (one is cut off)"
    if loaded.test is not None:
        test = f"{len(loaded.test):,} test"
    if loaded.validation is not None:
        test = f"{len(loaded.validation):,} validation, {test}"
    shape = "x".join(map(str, loaded.train.input_shape))
    dtype = str(loaded.train.show(slice(0, 1)).dtype).removeprefix("torch.")
    print(f"{source}: {len(loaded.train):,} training examples, {test}, each {shape} {dtype}")

    for line in loaded.files:
        print(clean(line))
    names = ", ".join(loaded.classes[:10]) + (", ..." if len(loaded.classes) > 10 else "")
    print(f"{len(loaded.classes)} classes: {clean(names)}")
    _print_sizes(loaded)
    if loaded.train.kind == "picture":
        print(f"units: {units_in_words(find_units(loaded.train, loaded.units))}")
    size = sum(
        len(one) * math.prod(one.input_shape) * one.show(slice(0, 1)).element_size()
        for one in loaded.splits
    )
    print(f"in memory: {in_bytes(size)}; {in_bytes(memory.free_bytes())} are free here")
    print(f"views: {spec.complete().views or loaded.views}; fingerprint: {loaded.fingerprint}")
    if source.startswith("npz:") and loaded.train.kind == "picture":
        print("note: arrays are shown as they are; --views crop+flip shows them as files are")
    for note in loaded.notes:
        print(f"note: {clean(note)}")
    if sheet is not None:
        _write_sheet(sheet, prepare(loaded, spec))


def _print_text(source: str, loaded: Source) -> None:
    """Describe a text: its tokens and its vocabulary."""
    (steps,) = loaded.train.input_shape
    print(f"{source}: {loaded.notes[0]}, in windows of {steps}")
    print(f"commonest: {clean(' '.join(loaded.classes[:10]))}")
    print(f"fingerprint: {loaded.fingerprint}")
    for note in loaded.notes[1:]:
        print(f"note: {clean(note)}")


def _print_sizes(loaded: Source) -> None:
    """Say how many examples the classes have."""
    from anew.data.classes import class_sizes

    if loaded.train.labels.ndim == 1:
        print(clean(class_sizes(loaded.train.labels, loaded.classes).in_words()))
        for split, examples in (("validation", loaded.validation), ("test", loaded.test)):
            if examples is not None and len(examples):
                # What uneven classes ask of training is said of the training examples.
                counts = class_sizes(examples.labels, loaded.classes).in_words().split(";")[0]
                print(clean(f"{counts} ({split})"))


def _write_sheet(path: Path, prepared: Data) -> None:
    from anew.core import files
    from anew.data.sheet import contact_sheet

    content = io.BytesIO()
    contact_sheet(prepared).save(content, "PNG")
    files.write_bytes(path, content.getvalue())
    print(f"sheet: {path}")
