"""The way of an export: a description, a file in memory, a comparison, and only then its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anew.core import files
from anew.core.errors import AnewError
from anew.evaluation.predictor import Predictor
from anew.export import archive, onnx_graph, state_dict
from anew.export.comparison import Ask, compare
from anew.export.description import describe
from anew.export.graph import trace
from anew.export.target import Target
from anew.models.network import Network


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    path: Path
    size: int
    """Its bytes."""
    difference: float
    """The largest difference of a probability from what anew itself answers."""
    described: Mapping[str, Any]
    """What stands in its metadata."""
    lines: tuple[str, ...] = ()
    """The lines of Python that load a state dict."""


def export(predictor: Predictor, target: Target) -> Exported:
    """Write a network or an ensemble as one file that works without anew.

    The file is made in memory and compared with the module; only if it answers the same does it get
    its name, whole. Raises `AnewError` if the model cannot be exported, or its answers differ.
    """
    called = str(target.path)
    _check_stateless(predictor, called)
    described = describe(predictor)
    content, ask, lines = _made(predictor, target, described)
    difference = compare(predictor, ask, called)
    files.sweep(target.path)
    files.write_bytes(target.path, content)
    return Exported(target.path, len(content), difference, described, lines)


def _check_stateless(predictor: Predictor, called: str) -> None:
    """Raise `AnewError` for a model that reads a text with a state, which no format here takes."""
    for member in predictor.together.members:
        if isinstance(member, Network) and member.has_state:
            raise AnewError(
                f"{called}: model '{member.spec.name}' has a state, which the formats do not "
                "support; use `anew predict --text` or Python"
            )


def _made(
    predictor: Predictor, target: Target, described: Mapping[str, Any]
) -> tuple[bytes, Ask, tuple[str, ...]]:
    """Return a file's bytes, a function that asks it, and the lines that load it."""
    called = str(target.path)
    if target.format.suffix == ".safetensors":
        state_dict.check_single(predictor, called)
        content = state_dict.state_dict_bytes(predictor, described, target.path.name)
        lines = state_dict.lines(predictor, target.path.name)
        return content, state_dict.asking(content, predictor), tuple(lines)

    program = trace(predictor, called)
    if target.format.suffix == ".pt2":
        content = archive.archive_bytes(program, described)
        return content, archive.asking(content), ()
    content = onnx_graph.onnx_bytes(program, described, called)
    return content, onnx_graph.asking(content, described), ()
