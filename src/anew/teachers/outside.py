"""A trained teacher in a loop that is not anew's: its targets for views of training examples."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from anew.core import files
from anew.core.distributed import World
from anew.core.execution import Execution
from anew.core.spec import ObjectiveSpec, Spec, TrainingSpec
from anew.data.batches import Batch, Batches
from anew.data.split import Data
from anew.models.matching import conform
from anew.models.network import Network, place
from anew.teachers.opening import open_teacher, teacher_parts
from anew.teachers.teacher import Teacher

Targets = Float[Tensor, "batch *positions classes"]


class LoopTeacher:
    """A teacher for a loop of your own, asked by batches of an epoch or by the numbers of views.

    Its targets are logits (B, *positions, C), float32, those that anew's students learn from.
    To be closed after use, or used in a `with` block, so that what was stored last is written.
    """

    def __init__(self, teacher: Teacher, batches: Batches) -> None:
        self.teacher, self.batches = teacher, batches

    def __call__(self, indices: Int64[Tensor, "batch"], views: Int64[Tensor, "batch"]) -> Targets:
        """Return the targets for views, by their numbers, of training examples, by their places."""
        batch = self.batches.showing(indices, views)
        ((_, outputs),) = self.teacher.teach([batch])
        return outputs.logits

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, Targets]]:
        """Yield an epoch's batches, each with its targets, in the order in which anew trains."""
        for batch, outputs in self.teacher.teach(self.batches.epoch(epoch)):
            yield batch, outputs.logits

    def close(self) -> None:
        """Write what is not written yet, and close the store."""
        self.teacher.close()

    def __enter__(self) -> LoopTeacher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def teacher(
    networks: Network | Sequence[Network],
    data: Data,
    *,
    batch_size: int = 128,
    device: str | torch.device = "cpu",
    store: str | Path | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> LoopTeacher:
    """Return trained networks as the teacher of a loop that is not anew's.

    Several networks answer with the mean of their probabilities. `data` are a result's `data`, or
    what `anew.data.prepare` returns; its training examples are numbered from 0. `store` is a folder
    that keeps the answers, so that no view is asked about twice, in later runs neither; without it,
    or where views cannot be counted, the networks are asked each time. `log` hears what is to be
    said. Raises `AnewError` if the networks do not fit the data, or the store holds other answers
    than they give.
    """
    device = torch.device(device)
    given = [networks] if isinstance(networks, Network) else list(networks)
    fitting = [conform(one, data.signature, "teacher") for one in given]
    # Copies: a teacher is frozen and moved, and what is given stays as it is.
    placed = [place(copy.deepcopy(one), device, "channels_last") for one in fitting]
    batches = Batches(data, batch_size, device)

    label, training = ObjectiveSpec.of("label", smoothing=0.0), TrainingSpec()
    specs = tuple(
        Spec(one.spec, data.spec, training, label, weights=_hash_of(one)) for one in placed
    )
    spec = Spec(specs[0].model, data.spec, TrainingSpec(), ObjectiveSpec(), teachers=specs)
    parts = teacher_parts(placed, spec, batches)
    if store is None or not batches.views.is_countable:
        if store is not None:
            log("these views cannot be counted, so the teacher's outputs are not cached")
        return LoopTeacher(parts.teacher(log=log), batches)

    files.ensure_folder(Path(store))
    execution = Execution(ask="table")
    return LoopTeacher(open_teacher(parts, batches, Path(store), execution, log, World()), batches)


def _hash_of(network: Network) -> str:
    """Return a hash of all that decides a network's answers, for the key of a store."""
    tensors = {name: value.cpu() for name, value in network.model.state_dict().items()}
    return files.sha256_of_tensors(tensors, network.header({}))
