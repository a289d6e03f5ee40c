"""Lion, an optimizer that torch does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """Evolved sign momentum (Chen et al. 2023, "Symbolic discovery of optimization algorithms").

    With gradient g and momentum m: theta <- theta - lr (sign(b1 m + (1 - b1) g) + wd theta), then
    m <- b2 m + (1 - b2) g. Every weight moves by the rate itself, so the rate is three to ten times
    smaller and the weight decay as many times larger than AdamW's. It keeps one number a weight.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step along the gradients that the parameters hold."""
        assert closure is None, "a step is taken along gradients that are there"
        for group in self.param_groups:
            rate, (first, second) = group["lr"], group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self._momentum(parameter)
                move = momentum.lerp(parameter.grad, 1 - first).sign_()
                parameter.mul_(1 - rate * group["weight_decay"]).add_(move, alpha=-rate)
                momentum.lerp_(parameter.grad, 1 - second)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
        return state["exp_avg"]
