"""An exponential moving average of a network's weights, kept beside them while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from anew.core.errors import AnewError

NAME = "averaged"
"""What the averaged weights are called: their file, their outputs, their place in a checkpoint."""


class Averaging:
    """The average a of a model's state: after step t a <- d a + (1 - d) w.

    d = min(decay, (1 + t) / (10 + t)), so that the first weights are forgotten soon. Buffers of
    whole numbers are copied. Nothing of it flows back into the training.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self.state: dict[str, Tensor] = {}
        """The averaged state dict; empty if the decay is 0, which is no average."""
        if decay:
            self.state = {name: value.clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step`, counted from 1."""
        if not self.state:
            return
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in self._model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    def restore(self, state: Mapping[str, Tensor], path: Path) -> None:
        """Fill the average with a state that was saved in the file `path`.

        Raises `AnewError` if it is of another network.
        """
        same = {name: value.shape for name, value in self.state.items()}
        if {name: value.shape for name, value in state.items()} != same:
            raise AnewError(
                f"{path}: holds averaged weights of another network; restore it from a copy, or "
                "move it away: the same command then trains this network from its start"
            )
        for name, value in state.items():
            self.state[name].copy_(value)
