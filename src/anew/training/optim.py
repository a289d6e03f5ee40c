"""The optimizer of a spec, and learning rates as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from anew.core.errors import AnewError
from anew.core.files import TensorSize
from anew.core.spec import VALIDATED, TrainingSpec
from anew.training.lion import Lion
from anew.training.muon import MuonAndAdamW, is_hidden_matrix

ONE_CYCLE_WARMUP = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4 / 25
LION_SECOND = 0.99
ADAMS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
_ADAMS_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_MOMENTS = ("momentum_buffer", "exp_avg", "exp_avg_sq", "step")


def learning_rate(
    training: TrainingSpec, step: int, steps: int, perplexities: Sequence[float] = ()
) -> float:
    """Return the learning rate of step 0 <= step < steps.

    - `step`: the rate times `drop` for every milestone (a share of all steps) that is reached; the
      paper's, from Zagoruyko and Komodakis 2016: x0.2 at 30, 60 and 80 %.
    - `cosine`: half a cosine from the rate to 0 (Loshchilov and Hutter 2017, without restarts).
    - `one-cycle`: a half-cosine up from 1/25 of the rate and one down to 1/250,000 of it (Smith and
      Topin 2018, with the defaults of torch's OneCycleLR); it rises for `warmup` of the steps, or
      0.3 of them if `warmup` is 0.
    - `constant`.
    - `plateau`, `stall`: the rate times `drop` for every epoch that failed, by the validation
      `perplexities` of the epochs before this one: see `failures`.

    All but one-cycle first rise linearly over the share `warmup` of the steps, if it is set.
    """
    peak, done = training.learning_rate, step / steps
    if training.schedule == "one-cycle":
        top = (training.warmup or ONE_CYCLE_WARMUP) * steps - 1
        if step <= top:
            return _half_cosine(peak * ONE_CYCLE_START, peak, step / top if top > 0 else 1.0)
        return _half_cosine(peak, peak * ONE_CYCLE_END, (step - top) / (steps - 1 - top))

    if done < training.warmup:
        return peak * (step + 1) / (training.warmup * steps + 1)
    if training.schedule == "cosine":
        return _half_cosine(peak, 0.0, (done - training.warmup) / (1 - training.warmup))
    if training.schedule == "step":
        # Whole numbers are compared: 0.6 * steps may lie a rounding above the step that it means.
        reached = sum(step >= round(milestone * steps) for milestone in training.milestones)
        return peak * training.drop**reached
    if training.schedule in VALIDATED:
        return peak * training.drop ** failures(training, perplexities)
    return peak


def failures(training: TrainingSpec, perplexities: Sequence[float]) -> int:
    """Return how many epochs failed, from the validation perplexity of each.

    By `plateau` an epoch fails if its perplexity is not below the least before it (PyTorch's word
    language model), by `stall` if it is less than `least_gain` below that of the epoch before (Kim
    et al. 2016). The first epoch never fails.
    """
    failed = 0
    for epoch in range(1, len(perplexities)):
        now = perplexities[epoch]
        if training.schedule == "plateau":
            failed += not now < min(perplexities[:epoch])
        else:
            failed += not perplexities[epoch - 1] - now >= training.least_gain
    return failed


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def optimizer(
    parameters: Iterable[nn.Parameter],
    training: TrainingSpec,
    device: torch.device,
    classes: int = 0,
) -> torch.optim.Optimizer:
    """Return the optimizer of parameters: SGD (Nesterov), Adam, AdamW, Lion, or Muon beside AdamW,
    fused if the device has it.

    Adam adds weight decay to the gradient, the others but SGD shrink the weights by it. Of a
    network of so many `classes` Muon moves the hidden matrices. Parameters without gradients are
    left out. Weight decay acts on every other one, as in the
    paper, or with `decay_all` off on those of two dimensions and more: not on norms and biases.
    """
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    matrices: list[nn.Parameter] = []
    if training.optimizer == "muon":
        hidden = [is_hidden_matrix(one.shape, classes) for one in parameters]
        matrices = [one for one, moves in zip(parameters, hidden, strict=True) if moves]
        parameters = [one for one, moves in zip(parameters, hidden, strict=True) if not moves]

    decayed = [parameter for parameter in parameters if training.decay_all or parameter.ndim >= 2]
    spared = [
        parameter for parameter in parameters if not training.decay_all and parameter.ndim < 2
    ]
    groups = [
        {"params": group, "weight_decay": decay}
        for group, decay in ((decayed, training.weight_decay), (spared, 0.0))
        if group
    ]

    rate, fused = training.learning_rate, device.type in ("cpu", "cuda")
    if training.optimizer == "lion":
        return Lion(groups, rate, (training.momentum, LION_SECOND))
    if training.optimizer == "muon":
        common = {"lr": rate, "weight_decay": training.weight_decay}
        momentum = training.momentum, training.nesterov
        return MuonAndAdamW(matrices, groups, common, momentum, fused)
    if training.optimizer in ADAMS:
        adam = ADAMS[training.optimizer]
        return adam(groups, lr=rate, betas=(training.momentum, 0.999), fused=fused)
    return torch.optim.SGD(
        groups,
        lr=rate,
        momentum=training.momentum,
        nesterov=training.nesterov and training.momentum > 0,
        fused=fused,
    )


def state_sizes(
    shapes: Sequence[tuple[int, ...]], training: TrainingSpec, classes: int = 0
) -> list[TensorSize]:
    """Return the sizes of the tensors of `optimizer_state`, for parameters of such shapes."""
    if training.optimizer == "muon":
        hidden = [shape for shape in shapes if is_hidden_matrix(shape, classes)]
        others = [shape for shape in shapes if not is_hidden_matrix(shape, classes)]
        moments = [("momentum_buffer",)] * len(hidden) + [_ADAMS_MOMENTS] * len(others)
        shapes = [*hidden, *others]
    else:
        moments = [_moments(training)] * len(shapes)

    sizes: list[TensorSize] = []
    for number, (shape, names) in enumerate(zip(shapes, moments, strict=True)):
        for name in names:
            sizes.append((f"{number}.{name}", 4, () if name == "step" else shape))
    return sizes


def _moments(training: TrainingSpec) -> tuple[str, ...]:
    """Return the names of what an optimizer keeps of each parameter."""
    if training.optimizer in ADAMS:
        return _ADAMS_MOMENTS
    if training.optimizer == "lion":
        return ("exp_avg",)
    return ("momentum_buffer",) if training.momentum > 0 else ()


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's tensors by the number of their parameter: `0.momentum_buffer`."""
    tensors: dict[str, Tensor] = {}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            # Without momentum, SGD keeps a None in the place of its buffer.
            if value is not None:
                tensors[f"{number}.{name}"] = value
    return tensors


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Fill an optimizer with the tensors that `optimizer_state` returned, read from a file.

    Raises `AnewError` if they are not this optimizer's.
    """
    parameters: list[Tensor] = []
    for group in optimizer.param_groups:
        parameters += group["params"]

    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        known = number.isdecimal() and int(number) < len(parameters) and key in _MOMENTS
        if not known or value.shape not in (parameters[int(number)].shape, ()):
            raise AnewError(
                f"{path}: holds '{name}' of another optimizer; restore it from a copy, or move it "
                "away: the same command then trains this network from its start"
            )
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # Fused updates walk parameter and state side by side in memory, so the state takes the
            # parameter's strides.
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(number), {})[key] = value.detach()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
