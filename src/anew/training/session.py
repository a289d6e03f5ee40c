"""A session of training: the family, the device, the processes, and who watches or stops it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from anew.core import distributed
from anew.core.callbacks import Callback
from anew.core.distributed import World
from anew.core.execution import Execution
from anew.core.interruption import StopRequest
from anew.core.spec import Spec
from anew.data import Batches, Data
from anew.evaluation.loading import load_network
from anew.family import Family
from anew.models.network import Network
from anew.training.device import settings
from anew.training.tracking import with_trackers


@dataclass(frozen=True)
class Group:
    """Siblings, trained in one pass: they share teachers, data and batch size."""

    specs: tuple[Spec, ...]
    data: Data


@dataclass(frozen=True)
class Session:
    """Where networks are trained now, and who watches."""

    family: Family
    execution: Execution
    device: torch.device
    world: World
    progress: Callback
    stop: StopRequest
    in_memory: Mapping[str, Network] = field(default_factory=dict[str, Network])
    """Teachers that were given as objects, by id: no file can build them again."""

    def network(self, spec: Spec, data: Data) -> Network:
        """Return a trained or a given network, loaded from its file or as it was given.

        Raises `AnewError` if its file is not as it was written, or if it answers otherwise than
        then; that is seen on the `data` if it learned from these.
        """
        if spec.id in self.in_memory:
            return self.in_memory[spec.id]
        folder = self.family.folder(spec.id)
        return load_network(folder, [spec.model.name], data=data, learned=spec.data)

    def batches(self, group: Group) -> Batches:
        """Return a group's training batches on the device, this process's part of each.

        Raises `AnewError` if a batch cannot be cut into equal parts.
        """
        batch_size = group.specs[0].training.batch_size
        if not group.data.is_text:
            batch_size = min(batch_size, len(group.data.training))
        return Batches(group.data, batch_size, self.device, self.world.part(batch_size))


@contextmanager
def open_session(
    out: Path,
    execution: Execution,
    progress: Callback,
    in_memory: Mapping[str, Network] | None = None,
) -> Generator[Session]:
    """Open a session on the family at `out`, and make that folder if it is missing.

    Ctrl-C requests a stop as long as the session is open. Only the main process reports progress,
    to trackers too. Raises `AnewError` if one of these cannot be had.
    """
    heard = with_trackers(progress, execution.track)
    with settings(execution) as device, StopRequest() as stop, distributed.join(device) as world:
        family = world.in_turn(lambda: Family.create(out))
        watcher = heard if world.is_main else Callback()
        try:
            yield Session(family, execution, device, world, watcher, stop, in_memory or {})
        finally:
            watcher.training_ended()
