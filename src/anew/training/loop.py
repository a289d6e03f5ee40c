"""The loop: siblings, or one network alone, from their first step to their last on one pass of data
and teacher.

A step is: batch, teacher's targets, then for each sibling forward, objective, backward, update
(`run.Trainer.train_step`). A sibling trained among others has the bits that it has alone: nothing
of one's step depends on another's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor

from anew.core import randomness
from anew.core.callbacks import Callback
from anew.core.distributed import World
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.interruption import Interrupted, StopRequest
from anew.core.spec import Spec
from anew.data.batches import Batch, Batches
from anew.data.split import Data
from anew.family import NetworkFolder
from anew.family.lock import NetworkLock
from anew.teachers import FLUSH_SECONDS, Teacher
from anew.training import checks
from anew.training.checks import CheckError
from anew.training.trainer import NotFiniteError, Trainer

# Processes that train together ask each other whether to save or stop once in so many steps.
AGREE_EVERY = 20


def train_siblings(
    specs: Sequence[Spec],
    folders: Sequence[NetworkFolder],
    data: Data,
    batches: Batches,
    teacher: Teacher | None,
    execution: Execution,
    world: World,
    progress: Callback,
    stop: StopRequest,
) -> dict[str, AnewError]:
    """Train the networks of specs with the same teacher, data and batch size, each from where it
    stands to its end.

    Returns the errors, by id, of those that a check stopped or whose loss was no longer finite; the
    others are finished. Raises `AnewError` where the checks stop all or a folder cannot be written,
    and `Interrupted`, after saving, where a stop was requested. In every case the last saves stay
    whole.
    """
    with ExitStack() as locks, randomness.torch_generator(0, batches.device):
        waiting = (execution.patience, stop)
        held = {
            folder.id: locks.enter_context(NetworkLock(folder.path, *waiting))
            for folder in folders
            if world.is_main
        }
        world.wait()
        # While this process waited for a lock, another may have trained that network to its end.
        missing = [one for one in zip(specs, folders, strict=True) if not one[1].is_done]
        if not missing:
            return {}
        first = teacher.live.networks[0] if teacher is not None else None
        runs = [Trainer(*one, data, batches, world, first) for one in missing]
        failures = _begin(runs, teacher, execution, progress)
        runs = [run for run in runs if run.spec.id not in failures]
        world.wait()
        steps, done, together = (
            max(run.steps for run in runs),
            min(run.step for run in runs),
            len(runs),
        )
        progress.training_started([run.spec for run in runs], steps, done, batches.batch_size)

        def save(run: Trainer) -> None:
            if teacher is not None:
                teacher.flush(at_least_every=FLUSH_SECONDS)
                run.count_teaching(teacher, together)
            if world.is_main:
                held[run.spec.id].check()
            run.save()

        while runs := _finish_those_done(runs, world):
            # Siblings that were saved at different steps meet here: those ahead wait for the
            # others.
            epoch, step = min(run.epoch for run in runs), min(run.step for run in runs)
            for batch, targets in _taught(
                batches.epoch(epoch, first=step - epoch * batches.steps), teacher
            ):
                for run in [run for run in runs if run.step == step]:
                    with _stopping_alone(run, runs, failures, progress):
                        run.train_step(batch, targets)
                if not runs:
                    break
                step += 1
                progress.step_done()
                if world.size == 1 or step % AGREE_EVERY == 0:
                    stopping = world.agree(stop.requested)
                    if stopping or world.agree(
                        any(run.minutes_unsaved > execution.save_minutes for run in runs)
                    ):
                        for run in [run for run in runs if run.step == step]:
                            with _stopping_alone(run, runs, failures, progress):
                                save(run)
                    if stopping and runs:
                        raise Interrupted(_where(runs))
            for run in [run for run in runs if run.epoch == epoch]:
                with _stopping_alone(run, runs, failures, progress):
                    row = run.end_epoch()
                    if execution.keeps(run.epoch):
                        run.keep_epoch()
                    save(run)
                    progress.epoch_done(run.spec, row)
    return failures


def _begin(
    runs: Sequence[Trainer], teacher: Teacher | None, execution: Execution, progress: Callback
) -> dict[str, AnewError]:
    """Bring runs to where their last saves left them; at the start of the others, check what they
    are to learn from.

    Returns the errors, by id, of those that a check stops; raises the first where it stops all.
    """
    knowledge = None
    failures: dict[str, AnewError] = {}
    for run in runs:
        if run.world.is_main:
            run.folder.sweep()
        if run.folder.state.exists():
            run.restore(progress)
        elif teacher is not None:
            knowledge = knowledge or checks.knowledge(teacher, run.data, run.batches.device)
            try:
                run.check_teacher(teacher, knowledge, progress, force=execution.force)
            except CheckError as error:
                failures[run.spec.id] = error
    if len(failures) == len(runs):
        raise next(iter(failures.values()))
    for error in failures.values():
        progress.log(f"{error}; its siblings go on")
    return failures


def _finish_those_done(runs: Sequence[Trainer], world: World) -> list[Trainer]:
    """Finish the runs that had their last epoch, and return the others."""
    for run in runs:
        if run.epoch == run.spec.training.epochs:
            run.finish()
    world.wait()
    return [run for run in runs if run.epoch < run.spec.training.epochs]


def _taught(
    epoch: Iterable[Batch], teacher: Teacher | None
) -> Iterator[tuple[Batch, Tensor | None]]:
    """Yield batches with the teacher's targets, or with none where there is no teacher."""
    if teacher is None:
        yield from ((batch, None) for batch in epoch)
    else:
        yield from teacher.teach(epoch)


@contextmanager
def _stopping_alone(
    run: Trainer, runs: list[Trainer], failures: dict[str, AnewError], progress: Callback
) -> Generator[None]:
    """Take a run whose numbers are no longer finite out of the group and note why; its siblings go
    on.
    """
    try:
        yield
    except NotFiniteError as error:
        runs.remove(run)
        failures[run.spec.id] = error
        if runs:
            progress.log(f"{error}; its siblings go on")


def _where(runs: Sequence[Trainer]) -> str:
    run = runs[0]
    names = f"generation {run.spec.generation}" + (
        f" ({len(runs)} siblings)" if len(runs) > 1 else ""
    )
    return (
        f"{names} stopped and saved at step {run.step} of {run.steps}; the same command goes on "
        "from there"
    )
