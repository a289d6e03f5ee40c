"""A live teacher: one or several trained networks in inference mode."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor

from anew.models.network import Network, Runner
from anew.objectives import mean_of_teachers


class LiveTeacher:
    """Trained networks in inference mode; several answer with the mean of their probabilities."""

    def __init__(self, networks: Sequence[Network], precision: str, compile: bool) -> None:
        """Freeze the networks and put them into evaluation mode."""
        self.networks = networks
        self.signature = networks[0].signature
        self._runners = [
            Runner(one.eval().requires_grad_(False), precision, compile) for one in networks
        ]

    @torch.inference_mode()
    def logits(self, inputs: Num[Tensor, "batch ..."]) -> Float[Tensor, "batch *positions classes"]:
        """Return the teacher's logits (B, *positions, C) for inputs as they are stored."""
        answers = [run(inputs).logits for run in self._runners]
        return answers[0] if len(answers) == 1 else mean_of_teachers(torch.stack(answers))
