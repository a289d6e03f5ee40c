"""A model's size and work on a kind of inputs: parameters, operations, bytes of its files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from anew.core import files
from anew.core.files import TensorSize
from anew.core.spec import ModelSpec, Spec, TrainingSpec
from anew.data import Contents
from anew.data.signature import Signature
from anew.models import is_foreign, network
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

    def state_bytes(self, training: TrainingSpec) -> int:
        """Return the size of the resumable state: weights, optimizer, and the best weights."""
        return checkpoint_bytes(self.tensors, self.learned, training)


@cache
def footprint(
    model: ModelSpec,
    input_shape: tuple[int, ...],
    classes: int,
    positions: tuple[int, ...] = (),
) -> Footprint:
    """Build a model once and count.

    Anew's own architectures are built without memory or work, on torch's meta device. Others may
    not support that. Raises `AnewError` if the model is not known or does not take such inputs.
    """
    channels = input_shape[0]
    # Statistics with as many digits as real ones: their text is part of the file of weights.
    statistics = (100 / 3,) * channels
    words = tuple(map(str, range(classes)))
    if positions:
        signature = Signature(input_shape, words, kind="tokens", positions=positions)
    else:
        signature = Signature(input_shape, words, statistics, statistics)

    with torch.device("cpu" if is_foreign(model.name) else "meta"):
        built = network.build_empty(model, signature)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            built.eval()(signature.blank(1))

    return Footprint(
        parameters=sum(parameter.numel() for parameter in built.parameters()),
        flops=counter.get_total_flops(),
        tensors=tuple(files.sizes_of(built.model.state_dict())),
        learned=tuple(tuple(p.shape) for p in built.parameters() if p.requires_grad),
        weights_bytes=built.saved_bytes({"id": "0" * 16, "generation": 0}),
    )


def footprint_of(spec: Spec, contents: Contents) -> Footprint:
    """Return the footprint of a network on the data that a source holds."""
    return footprint(spec.model, contents.input_shape, contents.classes, contents.positions)
