"""A module as a graph of torch.export for batches of any size, and why some have none."""

from __future__ import annotations

import contextlib
import io
import linecache
import logging
import re
import traceback
import warnings
from collections.abc import Generator
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from anew.core.errors import AnewError, in_one_line
from anew.evaluation.predictor import Predictor
from anew.export.comparison import sample

BATCH = "batch"
_TORCH = str(Path(torch.__file__).parent)
_ONE_SIZE = re.compile(r"specialized it to be a constant \((\d+)\)")


def trace(predictor: Predictor, called: str) -> ExportedProgram:
    """Return the graph of a module, whose batch may have any size.

    Raises `AnewError`, naming the file with `called`, if the model is more than a graph of tensor
    operations.
    """
    inputs = sample(predictor.signature, 2)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(
                predictor, (inputs,), dynamic_shapes=({0: Dim(BATCH, min=1)},)
            )
    # Whatever somebody else's forward raises, and whatever torch says of it.
    except Exception as error:
        raise AnewError(f"{called}: {_names(predictor)} {_why_not(error)}") from error

    for node in program.graph.nodes:
        # Where the code lies on this machine is nobody's business elsewhere.
        node.meta.pop("stack_trace", None)
    return program


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keep what exporters print, log and warn of from the terminal: errors say what is wrong."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable()
        try:
            yield
        finally:
            logging.disable(before)


def _names(predictor: Predictor) -> str:
    names = sorted({f"'{member.spec.name}'" for member in predictor.members})
    return f"model {' or '.join(names)}"


def _why_not(error: Exception) -> str:
    """Return why a module cannot be traced, with the operation and its line."""
    size = _ONE_SIZE.search(str(error))
    if size is not None:
        return (
            f"depends on the batch size, so its graph would only take batches of {size[1]}; "
            "write it for any first dimension"
        )

    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_TORCH, str(Path(__file__).parent.parent), "<"))
    ]
    place = ""
    if own:
        line = linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
        place = f" at {Path(own[-1].filename).name} line {own[-1].lineno}, `{line}`"
    said = in_one_line(error).partition(". ")[0]
    return (
        f"cannot be traced{place} ({said}); use only tensor operations, without branches on values"
    )
