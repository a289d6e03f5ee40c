"""A graph as ONNX, and what onnxruntime answers with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from anew.core.errors import AnewError, in_one_line
from anew.core.version import __version__
from anew.export.comparison import Ask
from anew.export.description import OUTPUT
from anew.export.graph import BATCH, quiet

OPSET = 18
"""The version of ONNX's operations: onnxruntime knows it since 1.14, of February 2023."""
# A file of protocol buffers has at most 2 GiB.
_MOST_BYTES = 2**31 - 2**20
_OPERATION = re.compile(r"target=torch\.ops\.([\w.]+)")


def onnx_bytes(program: ExportedProgram, described: Mapping[str, Any], called: str) -> bytes:
    """Return a graph as an ONNX file, with its description in the metadata, each value as JSON.

    Raises `AnewError`, naming the file with `called`, if ONNX has no such operation, or if the
    weights are too large for one file.
    """
    weights = sum(value.numel() * value.element_size() for value in program.state_dict.values())
    if weights > _MOST_BYTES:
        raise AnewError(
            f"{called}: the weights take {weights / 2**30:.1f} GiB, and an ONNX file has at most "
            "2; export .pt2, or fewer generations"
        )

    try:
        with quiet():
            exported: Any = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[described["input"]["name"]],
                output_names=[OUTPUT],
                dynamic_shapes=({0: BATCH},),
                verbose=False,
            )
            model: Any = exported.model_proto
    # The converter raises errors of its own, and of whatever it calls.
    except Exception as error:
        raise AnewError(f"{called}: {_why_not(error)}; export .pt2") from error

    _forget_places(model)
    model.producer_name, model.producer_version = "anew", __version__
    for key, value in described.items():
        model.metadata_props.add(key=key, value=_text(value))
    model.metadata_props.add(key="opset", value=str(OPSET))
    return model.SerializeToString(deterministic=True)


def asking(content: bytes, described: Mapping[str, Any]) -> Ask:
    """Return a function that asks onnxruntime for the answers of an ONNX file."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    # Errors only.
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    name = described["input"]["name"]

    def ask(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])

    return ask


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _forget_places(model: Any) -> None:
    """Remove what the converter notes of where the code lies on this machine."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]


def _why_not(error: BaseException) -> str:
    """Return which operation cannot be an ONNX one."""
    causes = list(_causes(error))
    operations = [match[1] for cause in causes if (match := _OPERATION.search(str(cause)))]
    if operations:
        return f"ONNX has no operation for '{operations[-1].removesuffix('.default')}'"
    return f"cannot be converted ({in_one_line(causes[-1])[:300]})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it came from, outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__
