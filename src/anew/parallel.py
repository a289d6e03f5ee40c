"""One network trained by several processes (`torchrun`): the result of one process, up to the order of sums.

Each process runs the model on its part of every batch. The parts' logits are gathered, every process computes the
objective of the whole batch (so an objective may couple examples, as CWTM does), and its gradient with respect to its
own part's logits flows back through its own copy. Batch norm's statistics are those of the whole batch. Gradients are
summed by torch's DistributedDataParallel.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.parallel import DistributedDataParallel

from anew.errors import AnewError


@dataclass(frozen=True)
class World:
    """The processes that train together, and which of them this one is. Alone, everything here does nothing."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def part(self, batch_size: int) -> slice:
        """Return this process's part of a batch; `AnewError` where a batch cannot be cut into equal parts."""
        if batch_size % self.size:
            raise AnewError(
                f"training.batch_size {batch_size} cannot be cut into {self.size} equal parts, one for each process; "
                f"set --batch-size {max(1, round(batch_size / self.size)) * self.size}"
            )
        each = batch_size // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, part: Tensor) -> Tensor:
        """Return all processes' parts, one after another along the first axis; gradients flow into one's own."""
        if self.size == 1:
            return part
        # Bytes, since not every back end has 16-bit numbers.
        own = part.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather([one.view(torch.uint8) for one in parts], own.view(torch.uint8))
        parts[self.rank] = part
        return torch.cat(parts)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of all processes' values, where each entry is filled in by one of them."""
        if self.size == 1:
            return values
        total = values.to(_device_of_messages())
        dist.all_reduce(total)
        return total.to(values.device)

    def agree(self, wish: bool) -> bool:
        """Return whether any process has this wish: all do the same at the same step."""
        if self.size == 1:
            return wish
        wishes = torch.tensor([float(wish)], device=_device_of_messages())
        dist.all_reduce(wishes, dist.ReduceOp.MAX)
        return bool(wishes.item())

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def share(self, network: nn.Module) -> nn.Module:
        """Return a network whose gradients are summed and whose batch norms see the whole batch."""
        if self.size == 1:
            return network
        for module in list(network.modules()):
            if isinstance(module, _BatchNorm):
                # Its class alone changes, so that weights, names and copies stay what they are.
                kind = type(module)
                module.__class__ = type(f"WholeBatch{kind.__name__}", (_SeesWholeBatch, kind), {})
        return DistributedDataParallel(network, broadcast_buffers=False)


def leads() -> bool:
    """Whether this process prints: it is alone, or the first of those that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def join(device: torch.device) -> Generator[World]:
    """Join the processes that `torchrun` started with this one; alone where there are none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def _device_of_messages() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


class _SeesWholeBatch(_BatchNorm):
    """A batch norm that takes its statistics, while it trains, from all processes' parts of a batch."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the whole batch's mean and variance, or in evaluation as ever."""
        if not self.training:
            return super().forward(input)
        count = input.numel() // input.shape[1] * dist.get_world_size()
        output, mean, variance = _WholeBatchNorm.apply(input, self.weight, self.bias, self.eps, count)  # type: ignore[misc]
        if self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), share)
        return output


class _WholeBatchNorm(torch.autograd.Function):
    """Batch normalisation with statistics summed over the processes, forward and backward (Ioffe and Szegedy 2015).

    torch's own SyncBatchNorm runs on GPUs only. Two messages of 2 C numbers: sums forward, sums backward.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, count: int
    ) -> tuple[Float[Tensor, "..."], Tensor, Tensor]:
        # Torch's own kernels throughout, which pass over the memory as seldom as can be.
        own_mean, own_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        sums = torch.stack([own_mean, own_variance]).double()
        # Second moments add up; in float64, so that little is lost where the mean is large.
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
        # As if this part were all there is, but about the whole batch's mean and deviation ...
        into, own_weight, own_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, scale, True, ctx.eps, [True, True, True]
        )
        own = torch.stack([own_bias, own_weight])
        whole = own.clone()
        dist.all_reduce(whole)
        # ... then what the part's own sums took too much or too little: a batch norm of x by that much.
        mine = x.numel() // x.shape[1]
        level, slope = (own / mine - whole / ctx.count) * (scale if weight is None else weight * scale)
        into += nn.functional.batch_norm(x, mean, variance, slope, level, False, 0.0, ctx.eps)
        # Weights' gradients stay one's own part's: they are summed over the processes with all others.
        own_weight, own_bias = (None, None) if weight is None else (own_weight, own_bias)
        return into, own_weight, own_bias, None, None
