"""What an exported file answers, beside what anew itself answers, on inputs that look real."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from anew.core import randomness
from anew.core.errors import AnewError
from anew.data.signature import Signature
from anew.evaluation.predictor import Predictor

Ask = Callable[[Tensor], Tensor]
"""Returns the probabilities (B, *positions, C) of inputs (B, ...)."""

MOST = 1e-5
"""The largest difference of a probability with which a file is still written."""
COUNTS = (1, 2, 29)
"""The sizes of the batches that are compared."""
_COARSE = 4


def input_dtype(signature: Signature) -> torch.dtype:
    """Return the type of an exported graph's inputs: uint8 for pictures in bytes."""
    if signature.kind == "tokens":
        return torch.int64
    return torch.uint8 if signature.units == "bytes" else torch.float32


def sample(signature: Signature, count: int) -> Tensor:
    """Return `count` random inputs (B, ...) with about the mean and deviation of real ones.

    Pictures have large and small shapes: on plain noise a network gives nearly one answer. They
    come from a stream of their own, so that they are the same every time.
    """
    size = (count, *signature.input_shape)
    with randomness.torch_generator(randomness.key("export", *size)):
        if signature.kind == "tokens":
            return torch.randint(len(signature.classes), size)
        drawn = torch.randn(size)
        if signature.is_picture:
            _, height, width = signature.input_shape
            coarse = torch.randn(count, 1, _COARSE, _COARSE)
            large = F.interpolate(coarse, (height, width), mode="bilinear")
            drawn = 0.9 * large + 0.4 * drawn

    mean, scale = signature.statistics()
    inputs = drawn / scale + mean
    if signature.units == "bytes":
        return inputs.clamp(0, 255).round().to(input_dtype(signature))
    return inputs.clamp(0, 1) if signature.units == "unit" else inputs


@torch.no_grad()
def compare(predictor: Predictor, ask: Ask, called: str) -> float:
    """Return the largest difference of a probability between a file and the module it came from.

    Batches of several sizes are compared. Raises `AnewError`, naming the file with `called`, if a
    difference is above `MOST` or an answer is of another shape or not finite.
    """
    largest = 0.0
    for count in COUNTS:
        inputs = sample(predictor.signature, count)
        expected, found = predictor(inputs), ask(inputs)

        if found.shape != expected.shape:
            raise AnewError(
                f"{called}: its outputs have shape {tuple(found.shape)}, anew's own "
                f"{tuple(expected.shape)}, for {count} inputs; nothing was written"
            )
        difference = (found.double() - expected.double()).abs().max().item()
        # So that a difference that is no number is refused too.
        if not difference <= MOST:
            raise AnewError(
                f"{called}: its probabilities differ from anew's own by up to {difference:.3g}, "
                f"more than the allowed {MOST:g}; nothing was written: look for a random operation "
                "in evaluation mode, or export another format"
            )
        largest = max(largest, difference)
    return largest
