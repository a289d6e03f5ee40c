"""A live teacher: one or several trained networks in inference mode."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor

from anew.models.language import State
from anew.models.network import Network, Outputs, Runner
from anew.objectives import mean_of_teachers


class LiveTeacher:
    """Trained networks in inference mode; several answer with the mean of their probabilities."""

    def __init__(
        self,
        networks: Sequence[Network],
        precision: str,
        compile: bool,
        features: Sequence[str] = (),
        weights: Sequence[float] = (),
    ) -> None:
        """Freeze the networks in evaluation mode; `features` names modules of the only network.

        `weights` are the networks' shares in the mean, equal if there are none.
        """
        assert len(networks) == 1 or not features, "features of several networks have no mean"
        assert len(weights) in (0, len(networks)), "a share for each network"
        self.networks, self.weights = networks, tuple(weights)
        self.signature = networks[0].signature
        self.features = tuple(features)
        self._runners = [
            Runner(network.eval().requires_grad_(False), precision, compile, features)
            for network in networks
        ]

    @torch.no_grad()
    def outputs(self, inputs: Num[Tensor, "batch ..."]) -> Outputs:
        """Return the logits (B, *positions, C) and features of a single network."""
        # Not in inference mode: a module that learns from features saves them for its gradient.
        (run,) = self._runners
        return run(inputs)

    @torch.inference_mode()
    def logits(self, inputs: Num[Tensor, "batch ..."]) -> Float[Tensor, "batch *positions classes"]:
        """Return the teacher's logits (B, *positions, C) for inputs as they are stored."""
        return self._mean([run(inputs).logits for run in self._runners])

    def start(self, count: int) -> list[State]:
        """Return the networks' states before `count` texts."""
        return [network.start(count) for network in self.networks]

    @torch.inference_mode()
    def read(
        self, inputs: Num[Tensor, "batch steps"], states: Sequence[State]
    ) -> tuple[Float[Tensor, "batch steps classes"], list[State]]:
        """Return the teacher's logits for the next windows of texts, and the next states."""
        outputs = [run(inputs, state) for run, state in zip(self._runners, states, strict=True)]
        return self._mean([one.logits for one in outputs]), [one.state for one in outputs]

    def _mean(self, answers: Sequence[Tensor]) -> Tensor:
        if len(answers) == 1:
            return answers[0]
        return mean_of_teachers(torch.stack(list(answers)), self.weights)
