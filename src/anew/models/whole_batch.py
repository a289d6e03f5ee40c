"""A model trained by several processes, whose batch norms see the whole batch."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.parallel import DistributedDataParallel

from anew.core import randomness
from anew.core.distributed import World

# Torch 2.14 renames the option by which buffers are not sent at each step.
_SENDS_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


def share(network: nn.Module, world: World, *, uses_all: bool = True) -> nn.Module:
    """Return a network with averaged gradients and batch norms over the processes' whole batch.

    `uses_all` says that each of its weights has a part in its logits at every step. Otherwise those
    without a part are found at each step, and keep their values.
    """
    if world.size == 1:
        return network
    for module in list(network.modules()):
        if isinstance(module, _BatchNorm):
            # Only its class changes, so that weights, names and copies stay as they are.
            kind = type(module)
            module.__class__ = type(f"WholeBatch{kind.__name__}", (_SeesWholeBatch, kind), {})
    options: dict[str, Any] = {_SENDS_BUFFERS: False, "find_unused_parameters": not uses_all}
    return DistributedDataParallel(network, **options)


def uses_all(network: nn.Module, inputs: Num[Tensor, "batch ..."]) -> bool:
    """Whether the logits of inputs (B, ...) in training mode depend on each weight that is trained.

    The network stays as it is.
    """
    tried = copy.deepcopy(network).train()
    with randomness.torch_generator(randomness.key("which weights are used")):
        tried(inputs).sum().backward()
    learned = [tensor for tensor in tried.parameters() if tensor.requires_grad]
    return all(tensor.grad is not None for tensor in learned)


class _SeesWholeBatch(_BatchNorm):
    """A batch norm whose statistics in training come from all processes' parts of a batch."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the whole batch's mean and variance, or in evaluation as ever."""
        if not self.training:
            return super().forward(input)

        count = input.numel() // input.shape[1] * dist.get_world_size()
        output, mean, variance = _WholeBatchNorm.apply(
            input, self.weight, self.bias, self.eps, count
        )  # type: ignore[misc]

        if self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            share = self.momentum
            if share is None:
                share = 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        return output


class _WholeBatchNorm(torch.autograd.Function):
    """Batch normalisation (Ioffe and Szegedy 2015) with statistics summed over the processes.

    torch's own SyncBatchNorm runs on GPUs only. Two messages of 2 C numbers: sums forward, sums
    backward.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, count: int
    ) -> tuple[Float[Tensor, "..."], Tensor, Tensor]:
        # Torch's own kernels throughout, which pass over the memory as seldom as can be.
        own_mean, own_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        sums = torch.stack([own_mean, own_variance]).double()
        # Second moments add up; in float64, so that little is lost if the mean is large.
        sums[1] += sums[0].square()
        dist.all_reduce(sums)
        sums /= dist.get_world_size()
        mean = sums[0].float()
        variance = (sums[1] - sums[0].square()).clamp_min(0).float()
        output = nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps = count, eps
        ctx.mark_non_differentiable(mean, variance)
        return output, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, mean, variance = ctx.saved_tensors
        scale = (variance + ctx.eps).rsqrt()

        # As if this part were the batch, but about the whole batch's mean and deviation ...
        into, own_weight, own_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, scale, True, ctx.eps, [True, True, True]
        )
        own = torch.stack([own_bias, own_weight])
        whole = own.clone()
        dist.all_reduce(whole)

        # ... then what the part's own sums took too much or too little: a batch norm of x by that
        # much.
        mine = x.numel() // x.shape[1]
        level, slope = (own / mine - whole / ctx.count) * (
            scale if weight is None else weight * scale
        )
        into += nn.functional.batch_norm(x, mean, variance, slope, level, False, 0.0, ctx.eps)

        # Weights' gradients are those of this part: they are summed over the processes with all
        # others.
        own_weight, own_bias = (None, None) if weight is None else (own_weight, own_bias)
        return into, own_weight, own_bias, None, None
