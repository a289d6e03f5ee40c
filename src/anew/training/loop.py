"""The training loop: siblings from their first step to their last, on one pass of data and teacher.

A step is: batch, teacher's targets, then for each sibling forward, objective, backward, update
(`trainer.Trainer.train_step`). A sibling trained among others has the bits that it has alone: a
step of one does not depend on another.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from anew.core import randomness
from anew.core.errors import AnewError
from anew.core.interruption import Interrupted
from anew.core.spec import Spec
from anew.data.batches import Batch, Batches
from anew.family.lock import NetworkLock
from anew.models import network
from anew.models.network import Outputs
from anew.teachers import (
    FLUSH_SECONDS,
    ReadingTeacher,
    Rows,
    RowTeacher,
    Teacher,
    asking,
    open_teacher,
    teacher_parts,
)
from anew.training import checks
from anew.training.allocation import FreedMemory
from anew.training.checks import CheckError, Knowledge, TextKnowledge
from anew.training.session import Group, Session
from anew.training.trainer import NotFiniteError, Trainer

# Processes that train together agree on saving and stopping once in this many steps.
AGREE_EVERY = 20


def train_siblings(session: Session, group: Group) -> dict[str, AnewError]:
    """Train the siblings of a group that are not done, each from its last save to its end.

    Returns the errors, by id, of those that a check stopped or whose loss was no longer finite; the
    others are finished. Raises `AnewError` if the checks stop all or a folder cannot be written,
    and `Interrupted`, after saving, if a stop was requested. The last saves stay whole always.
    """
    with ExitStack() as stack, randomness.torch_generator(0, session.device):
        locks = {
            spec.id: stack.enter_context(_lock(session, spec))
            for spec in _missing(session, group)
            if session.world.is_main
        }
        session.world.wait()
        # While this process waited for a lock, another may have trained that network to its end.
        missing = _missing(session, group)
        if not missing:
            return {}

        batches = session.batches(group)
        teacher = stack.enter_context(_teaching(session, group, batches))
        siblings = _Siblings(session, batches, teacher, locks)
        siblings.begin(missing, group)
        while siblings.finish_done():
            siblings.train_epoch()
        return siblings.failures


class _Siblings:
    """The networks of a group while they are trained, and the errors of those that failed."""

    def __init__(
        self,
        session: Session,
        batches: Batches,
        teacher: Teacher | RowTeacher | None,
        locks: Mapping[str, NetworkLock],
    ) -> None:
        self.failures: dict[str, AnewError] = {}
        self._session, self._batches, self._teacher, self._locks = session, batches, teacher, locks
        self._trainers: list[Trainer] = []
        self._sharing = 0
        self._freed = FreedMemory()

    def begin(self, specs: Sequence[Spec], group: Group) -> None:
        """Build the networks and restore their last saves; check the teacher of those without one.

        Raises the first error if the checks stop all.
        """
        session, teacher = self._session, self._teacher
        copied = teacher.live.networks[0] if isinstance(teacher, Teacher) else None
        trainers = [
            Trainer(
                spec,
                replace(session.family.folder(spec.id), lock=self._locks.get(spec.id)),
                group.data,
                self._batches,
                session.world,
                copied,
            )
            for spec in specs
        ]

        knowledge: Knowledge | TextKnowledge | None = None
        for trainer in trainers:
            if session.world.is_main:
                trainer.folder.sweep()
            if trainer.folder.state.exists():
                trainer.restore(session.progress, force=session.execution.force)
            elif teacher is not None:
                given = any(one.weights for one in trainer.spec.teachers)
                knowledge = knowledge or checks.knowledge(
                    teacher, group.data, session.device, given=given
                )
                try:
                    force = session.execution.force
                    trainer.check_teacher(teacher, knowledge, session.progress, force=force)
                except CheckError as error:
                    self.failures[trainer.spec.id] = error
            if session.world.is_main and not trainer.folder.state.exists():
                trainer.folder.restart_metrics()
        if len(self.failures) == len(trainers):
            raise next(iter(self.failures.values()))
        for error in self.failures.values():
            session.progress.log(f"{error}; its siblings continue")

        self._trainers = [one for one in trainers if one.spec.id not in self.failures]
        self._resume_teacher()
        self._sharing = len(self._trainers)
        session.world.wait()
        session.progress.training_started(
            [trainer.spec for trainer in self._trainers],
            max(trainer.steps for trainer in self._trainers),
            min(trainer.step for trainer in self._trainers),
            self._batches.batch_size,
        )
        for trainer in self._trainers:
            if trainer.epoch and session.world.is_main:
                session.progress.training_resumed(trainer.spec, trainer.folder.read_metrics())

    def _resume_teacher(self) -> None:
        """Let a teacher that reads a text go on where the sibling with the fewest steps does."""
        if isinstance(self._teacher, ReadingTeacher):
            last = min(self._trainers, key=lambda trainer: trainer.step)
            first = last.step - last.epoch * self._batches.steps
            if first < self._batches.steps:
                self._teacher.resume(last.epoch, first, last.teacher_state)

    def finish_done(self) -> bool:
        """Finish the networks that had their last epoch; return whether others are left."""
        for trainer in self._trainers:
            if trainer.is_at_end:
                if trainer.spec.training.early_stopping:
                    self._session.progress.log(trainer.what_is_kept())
                trainer.finish()
        self._session.world.wait()
        self._trainers = [trainer for trainer in self._trainers if not trainer.is_at_end]
        return bool(self._trainers)

    def train_epoch(self) -> None:
        """Train from the least step of all to the end of its epoch."""
        # Siblings that were saved at different steps meet here: those ahead wait for the others.
        epoch = min(trainer.epoch for trainer in self._trainers)
        step = min(trainer.step for trainer in self._trainers)
        first = step - epoch * self._batches.steps

        for batch, targets in _taught(self._batches.epoch(epoch, first), self._teacher):
            for trainer in self._at_step(step):
                with self._stopping_alone(trainer):
                    trainer.train_step(batch, targets)
            if not self._trainers:
                return
            step += 1
            self._session.progress.step_done()
            self._save_or_stop(step)
            self._freed.check()

        for trainer in [one for one in self._trainers if one.epoch == epoch]:
            with self._stopping_alone(trainer):
                self._end_epoch(trainer)

    def _end_epoch(self, trainer: Trainer) -> None:
        row = trainer.end_epoch()
        if self._session.execution.keeps(trainer.epoch):
            trainer.keep_epoch()
        self._save(trainer)
        self._session.progress.epoch_done(trainer.spec, row)

    def _save_or_stop(self, step: int) -> None:
        """Save if a stop was requested or the last save is long ago; raise `Interrupted` to stop.

        All processes do the same at the same step.
        """
        world = self._session.world
        if world.size > 1 and step % AGREE_EVERY:
            return

        stopping = world.agree(self._session.stop.requested)
        limit = self._session.execution.save_minutes
        if stopping or world.agree(any(one.minutes_unsaved > limit for one in self._trainers)):
            for trainer in self._at_step(step):
                with self._stopping_alone(trainer):
                    self._save(trainer)
        if stopping and self._trainers:
            raise Interrupted(_where(self._trainers))

    def _save(self, trainer: Trainer) -> None:
        if self._teacher is not None:
            self._teacher.flush(at_least_every=FLUSH_SECONDS)
            trainer.count_teaching(self._teacher, self._sharing)
        if self._session.execution.saves:
            trainer.save(self._teacher)

    def _at_step(self, step: int) -> list[Trainer]:
        return [trainer for trainer in self._trainers if trainer.step == step]

    @contextmanager
    def _stopping_alone(self, trainer: Trainer) -> Generator[None]:
        """Take a network out of the group if its numbers are no longer finite, and note why."""
        try:
            yield
        except NotFiniteError as error:
            self._trainers.remove(trainer)
            self.failures[trainer.spec.id] = error
            if self._trainers:
                self._session.progress.log(f"{error}; its siblings continue")


def _missing(session: Session, group: Group) -> list[Spec]:
    return [spec for spec in group.specs if not session.family.folder(spec.id).is_done]


def _lock(session: Session, spec: Spec) -> NetworkLock:
    folder = session.family.folder(spec.id)
    return NetworkLock(folder.path, session.execution.patience, session.stop)


@contextmanager
def _teaching(
    session: Session, group: Group, batches: Batches
) -> Generator[Teacher | RowTeacher | None]:
    """Open the group's teacher, or None if the group learns from labels, and close it afterwards.

    Raises `AnewError` if a teacher's file or table is damaged.
    """
    spec = group.specs[0]
    if not spec.teachers:
        yield None
        return

    if spec.teachers[0].is_soft_labels:
        folder = session.family.folder(spec.teachers[0].id)
        rows = Rows.load(folder.sound_weights)
        yield RowTeacher(rows, spec, batches, session.progress.log)
        return

    networks = [
        network.place(
            session.network(one, group.data),
            session.device,
            spec.training.memory_format,
        )
        for one in spec.teachers
    ]
    teacher = open_teacher(
        teacher_parts(networks, asking(group.specs), batches),
        batches,
        session.family.stores,
        session.execution,
        session.progress.log,
        session.world,
    )
    try:
        yield teacher
    finally:
        teacher.close()


def _taught(
    epoch: Iterable[Batch], teacher: Teacher | RowTeacher | None
) -> Iterator[tuple[Batch, Outputs | None]]:
    """Yield batches with the teacher's targets, None without a teacher."""
    if teacher is None:
        yield from ((batch, None) for batch in epoch)
    else:
        yield from teacher.teach(epoch)


def _where(trainers: Sequence[Trainer]) -> str:
    trainer = trainers[0]
    siblings = f" ({len(trainers)} siblings)" if len(trainers) > 1 else ""
    return (
        f"generation {trainer.spec.generation}{siblings} stopped and saved at step "
        f"{trainer.step} of {trainer.steps}; the same command resumes from there"
    )
