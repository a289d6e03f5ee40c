"""Groups of siblings in a family: which networks train together, and one group trained where it is
not yet.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from anew.core import distributed
from anew.core.callbacks import Callback
from anew.core.distributed import World
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.interruption import StopRequest
from anew.core.spec import Spec
from anew.data import Batches, Data
from anew.family import Family
from anew.models import network, saving
from anew.teachers import Encoding, LiveTeacher, Store, Teacher, choose
from anew.teachers.store import store_key
from anew.training.device import settings
from anew.training.loop import train_siblings

Found = TypeVar("Found")


@dataclass(frozen=True)
class Session:
    """Where and how networks are trained now: family, device, processes, who watches and who may
    stop it.
    """

    family: Family
    execution: Execution
    device: torch.device
    world: World
    progress: Callback
    stop: StopRequest

    def in_turn(self, work: Callable[[], Found]) -> Found:
        """Do what writes to the family in the leading process first; the others then find it
        done.
        """
        return _in_turn(self.world, work)


@contextmanager
def session(out: Path, execution: Execution, progress: Callback) -> Generator[Session]:
    """Open a session on the family at `out`, which is made where it is not there; Ctrl-C is a
    request to stop in it.
    """
    with settings(execution) as device, StopRequest() as stop, distributed.join(device) as world:
        family = _in_turn(world, lambda: Family.create(out))
        yield Session(
            family, execution, device, world, progress if world.is_main else Callback(), stop
        )


def train_group(session: Session, specs: Sequence[Spec], data: Data) -> dict[str, AnewError]:
    """Train siblings that the family does not hold yet; returns the errors of those that failed, by
    id.

    Raises `AnewError` where none can be trained, and `Interrupted` after saving.
    """
    folders = session.in_turn(lambda: [session.family.begin(spec) for spec in specs])
    found = [folder.is_done for folder in folders]
    missing = [
        (spec, folder) for spec, folder, done in zip(specs, folders, found, strict=True) if not done
    ]
    failed: dict[str, AnewError] = {}
    if missing:
        training = specs[0].training
        whole = min(training.batch_size, len(data.training))
        batches = Batches(data, training.batch_size, session.device, session.world.part(whole))
        teacher = _teacher(session, specs[0], batches, data) if specs[0].teachers else None
        try:
            failed = train_siblings(
                [spec for spec, _ in missing],
                [folder for _, folder in missing],
                data,
                batches,
                teacher,
                session.execution,
                session.world,
                session.progress,
                session.stop,
            )
        finally:
            if teacher is not None:
                teacher.close()
    for spec, folder, was_there in zip(specs, folders, found, strict=True):
        if folder.is_done:
            if session.world.is_main:
                folder.clear_state()
            session.progress.network_done(spec, folder.done, found=was_there)
    return failed


def _teacher(session: Session, spec: Spec, batches: Batches, data: Data) -> Teacher:
    """Return the teacher of a student, with its store where a store is chosen."""
    training, classes = spec.training, len(data.classes)
    networks = [
        network.place(
            saving.load(session.family.folder(one.id).sound_weights, [one.model.name]),
            batches.device,
            training.memory_format,
        )
        for one in spec.teachers
    ]
    live = LiveTeacher(networks, training.precision, training.compile)
    encoding = Encoding(classes, spec.objective.top_k)
    key = store_key(spec, len(data.training), batches.batch_size, encoding)
    choice = choose(
        session.execution.ask,
        views=key.views,
        epochs=training.epochs,
        passes=1,
        store_bytes=key.bytes,
        budget_bytes=session.execution.disk_budget * 1e9,
        free_bytes=shutil.disk_usage(session.family.path).free,
        is_there=key.folder(session.family.stores).exists(),
    )
    session.progress.log(choice.reason)
    store = None
    if choice.way == "table":
        try:
            store = session.in_turn(lambda: Store.open(session.family.stores, key))
        except OSError as error:
            session.progress.log(
                f"stored targets {session.family.stores}: cannot be made ({error.strerror}); the "
                f"teacher is asked "
                "live, the result is the same"
            )
    teacher = Teacher(
        live, encoding, batches.batch_size, store, session.progress.log, session.world
    )
    teacher.verify(batches, training.precision)
    if spec.objective.shuffled:
        teacher.shuffle(batches)
    return teacher


def _in_turn(world: World, work: Callable[[], Found]) -> Found:
    """Do what writes to the family in the leading process first; the others then find it done."""
    if not world.is_main:
        world.wait()
        return work()
    try:
        return work()
    finally:
        # Where it failed, it fails for the others too, and they say so themselves.
        world.wait()
