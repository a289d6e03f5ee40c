"""Muon for a network's hidden matrices, and AdamW for all else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anew.core.errors import AnewError


def is_hidden_matrix(shape: Sequence[int], classes: int) -> bool:
    """Return whether Muon moves a parameter of this shape.

    It is for matrices between hidden layers. Convolutions, norms and biases are none; embeddings of
    words and classifiers, of which one dimension is the number of classes, are left to AdamW, as
    Muon's author says.
    """
    return len(shape) == 2 and classes not in shape


class MuonAndAdamW(torch.optim.Optimizer):
    """torch's Muon (Jordan et al. 2024) for hidden matrices, its AdamW for other parameters.

    A step of Muon is scaled to the size of AdamW's (Liu et al. 2025, "Muon is scalable for LLM
    training"), so that one rate and one weight decay are for both. Both halves share their groups
    and their state with this optimizer, whose groups are Muon's first. Raises `AnewError` if there
    is no hidden matrix.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        others: Sequence[Mapping[str, Any]],
        common: Mapping[str, Any],
        momentum: tuple[float, bool],
        fused: bool,
    ) -> None:
        """`others` are groups of AdamW, `common` the rate and the decay of all groups that name
        none, `momentum` Muon's and AdamW's first beta, and whether it is Nesterov's.
        """
        if not matrices:
            raise AnewError(
                "training.optimizer: 'muon' needs weight matrices of hidden layers, and the "
                "model has none; set --optimizer adamw"
            )
        beta, nesterov = momentum
        muon = torch.optim.Muon(
            [{"params": list(matrices)}],
            momentum=beta,
            nesterov=nesterov,
            adjust_lr_fn="match_rms_adamw",
            **common,
        )
        self._halves: list[torch.optim.Optimizer] = [muon]
        if others:
            groups = [dict(group) for group in others]
            adamw = torch.optim.AdamW(groups, betas=(beta, 0.999), fused=fused, **common)
            self._halves.append(adamw)

        super().__init__([group for half in self._halves for group in half.param_groups], {})
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step along the gradients that the parameters hold."""
        assert closure is None, "a step is taken along gradients that are there"
        for half in self._halves:
            half.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state that `state_dict` returned."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Let both halves move by this optimizer's groups and state."""
        first = 0
        for half in self._halves:
            last = first + len(half.param_groups)
            half.param_groups = self.param_groups[first:last]
            half.state = self.state
            first = last
