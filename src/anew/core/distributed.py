"""One network trained by several processes (`torchrun`): the result of one process, up to the order
of sums.

Each process runs the model on its part of every batch. The parts' logits are gathered, every
process computes the objective of the whole batch (so an objective may couple examples, as CWTM
does), and its gradient with respect to its own part's logits flows back through its own copy. Batch
norm's statistics are those of the whole batch. Gradients are summed by torch's
DistributedDataParallel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from anew.core.errors import AnewError

Result = TypeVar("Result")


@dataclass(frozen=True)
class World:
    """The processes that train together, and the rank of this one.

    Of a single process no method does anything.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def part(self, batch_size: int) -> slice:
        """Return this process's part of a batch; `AnewError` if it has no equal parts."""
        if batch_size % self.size:
            nearest = max(1, round(batch_size / self.size)) * self.size
            raise AnewError(
                f"training.batch_size {batch_size} cannot be split into {self.size} equal parts, "
                f"one for each process; set --batch-size {nearest}"
            )
        each = batch_size // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, part: Tensor) -> Tensor:
        """Return all processes' parts, joined along the first axis.

        Gradients flow into this process's part only.
        """
        if self.size == 1:
            return part

        # Bytes, since not every back end has 16-bit numbers.
        own = part.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather([empty.view(torch.uint8) for empty in parts], own.view(torch.uint8))
        parts[self.rank] = part
        return torch.cat(parts)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of all processes' values; each entry is not 0 in one of them only."""
        if self.size == 1:
            return values
        total = values.to(_device_of_messages())
        dist.all_reduce(total)
        return total.to(values.device)

    def agree(self, wish: bool) -> bool:
        """Return whether any process has this wish, so that all do the same at the same step."""
        if self.size == 1:
            return wish
        wishes = torch.tensor([float(wish)], device=_device_of_messages())
        dist.all_reduce(wishes, dist.ReduceOp.MAX)
        return bool(wishes.item())

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """Do work that writes to shared folders in the main process first, then in the others.

        The others find what the main process wrote. If it fails there, it fails in all.
        """
        if not self.is_main:
            self.wait()
            return work()
        try:
            return work()
        finally:
            self.wait()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()


def is_main_process() -> bool:
    """Return whether this process prints: it is alone, or the first that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def join(device: torch.device) -> Generator[World]:
    """Join the processes that `torchrun` started with this one, or yield a world of one."""
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
    return (
        torch.device("cuda", torch.cuda.current_device())
        if dist.get_backend() == "nccl"
        else torch.device("cpu")
    )
