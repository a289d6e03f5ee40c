"""A model's size and work on a kind of inputs: parameters, operations, bytes of its files."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from anew.core import files
from anew.core.files import TensorSize
from anew.core.spec import ModelSpec, TrainingSpec
from anew.data import Contents
from anew.data.signature import Signature
from anew.models import is_foreign, network
from anew.models.outlines import outlined
from anew.training.checkpoint import checkpoint_bytes

FORWARDS_OF_A_STEP = 3
"""A training step on an example costs three of its forward passes: one forward, two backward."""


@dataclass(frozen=True)
class Footprint:
    """What a model takes for a kind of inputs."""

    parameters: int
    flops: int
    """Floating-point operations of the forward pass of one example.

    A multiplication and an addition are two.
    """
    tensors: tuple[TensorSize, ...]
    """The state dict."""
    learned: tuple[tuple[int, ...], ...]
    """The shapes of the parameters that the optimizer moves."""
    weights_bytes: int
    """The size of the file of weights."""
    classes: int

    def state_bytes(self, training: TrainingSpec) -> int:
        """Return the size of the resumable state: weights, optimizer, and the best weights."""
        return checkpoint_bytes(self.tensors, self.learned, training, self.classes)


@cache
def footprint(
    model: ModelSpec,
    input_shape: tuple[int, ...],
    classes: int,
    positions: tuple[int, ...] = (),
    words: tuple[str, ...] = (),
) -> Footprint:
    """Build a model once and count.

    `words` are the vocabulary of a text, numbers if it is not given: a model that reads words by
    their characters convolves as many places as the longest has. It is counted as if all words of
    a window were different ones; in a batch those that occur again are read once.

    Anew's own architectures are built without memory or work, on torch's meta device. Others may
    not support that. Raises `AnewError` if the model is not known or does not take such inputs.
    """
    channels = input_shape[0]
    # Statistics with as many digits as real ones: their text is part of the file of weights.
    statistics = (100 / 3,) * channels
    names = words or tuple(map(str, range(classes)))
    if positions:
        signature = Signature(input_shape, names, kind="tokens", positions=positions)
    else:
        signature = Signature(input_shape, names, statistics, statistics)

    with torch.device("cpu") if is_foreign(model.name) else outlined():
        built = network.build_empty(model, signature)
        with _decomposed(), FlopCounterMode(display=False) as counter, torch.no_grad():
            built.eval()(signature.blank(1))

    return Footprint(
        parameters=sum(parameter.numel() for parameter in built.parameters()),
        flops=counter.get_total_flops(),
        tensors=tuple(files.sizes_of(built.model.state_dict())),
        learned=tuple(tuple(p.shape) for p in built.parameters() if p.requires_grad),
        weights_bytes=built.saved_bytes({"id": "0" * 16, "generation": 0}),
        classes=classes,
    )


@contextmanager
def _decomposed() -> Generator[None]:
    """Run recurrent layers on a CPU as products of matrices: oneDNN's are not counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def footprint_of(model: ModelSpec, contents: Contents) -> Footprint:
    """Return the footprint of a model on the data that a source holds."""
    shapes = contents.input_shape, contents.classes, contents.positions
    return footprint(model, *shapes, contents.words)
