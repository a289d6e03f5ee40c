"""Where in what a model returns its logits are: models answer with more than a tensor.

A tensor is the logits. In a mapping, a named tuple or an object (a `ModelOutput` of Hugging Face)
they are found by their usual names, else, as in a tuple or a list, as the first tensor of their
shape. A model may answer with a tensor in evaluation mode and with a tuple in training mode.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from torch import Tensor

NAMES = (
    "logits",
    "output",
    "outputs",
    "out",
    "prediction",
    "predictions",
    "pred",
    "preds",
    "scores",
    "class_logits",
    "cls",
    "y",
    "y_hat",
)
"""What logits are usually called in a mapping or an object, in the order in which they are sought.
"""


class NoLogitsError(ValueError):
    """A model's answer holds no logits; the message says what it holds."""


def find_logits(answer: Any, output_shape: Sequence[int]) -> Tensor:
    """Return the logits (B, *output_shape) in what a model returned.

    A tensor is returned as it is, whatever its shape. Raises `NoLogitsError` if there are none.
    """
    if isinstance(answer, Tensor):
        return answer
    return _find(answer, output_shape)[1]


def describe(answer: Any, output_shape: Sequence[int]) -> str:
    """Return which part of a model's answer is taken for its logits; "" if it is a tensor.

    Raises `NoLogitsError` if there is none.
    """
    if isinstance(answer, Tensor):
        return ""
    name, _ = _find(answer, output_shape)
    return f"'{name}' of {in_words(answer)}"


def in_words(answer: Any) -> str:
    """Return what a model's answer is: `dict(loss float, logits (2, 10))`, `tensor (2, 10)`."""
    if isinstance(answer, Tensor):
        return f"tensor {_shape(answer)}"
    named = [f"{name} {_shape(value)}" for name, value in _parts(answer)]
    return f"{type(answer).__name__}({', '.join(named)})" if named else repr(answer)[:60]


def _find(answer: Any, output_shape: Sequence[int]) -> tuple[str, Tensor]:
    """Return the name and the tensor of the logits in an answer of several parts."""
    fitting = [
        (name, value)
        for name, value in _parts(answer)
        if isinstance(value, Tensor) and _fits(value, output_shape)
    ]
    if not fitting:
        raise NoLogitsError(in_words(answer))

    # A sort keeps the order of those with equal ranks: of unknown names the first is taken.
    return min(fitting, key=lambda part: _rank(part[0]))


def _rank(name: str) -> int:
    return NAMES.index(name) if name in NAMES else len(NAMES)


def _fits(value: Tensor, output_shape: Sequence[int]) -> bool:
    # The batch is left out: where a graph is traced, its size is a variable.
    return value.ndim == 1 + len(output_shape) and tuple(value.shape[1:]) == tuple(output_shape)


def _parts(answer: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of an answer with their names, those of a tuple with their numbers."""
    if isinstance(answer, Mapping):
        yield from ((str(name), value) for name, value in cast("Mapping[Any, Any]", answer).items())
    elif isinstance(answer, tuple | list):
        parts = cast("Sequence[Any]", answer)
        names = getattr(cast("object", answer), "_fields", range(len(parts)))
        yield from zip(map(str, names), parts, strict=True)
    elif dataclasses.is_dataclass(answer):
        yield from (
            (field.name, getattr(cast("object", answer), field.name))
            for field in dataclasses.fields(answer)
        )
    elif answer is not None:
        yield from vars(answer).items() if hasattr(answer, "__dict__") else ()


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
