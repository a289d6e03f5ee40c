"""Who trains groups of siblings: this process, or several of this machine, each with threads of its
own.

One network keeps many cores busy only if it is large. Several small ones, a core each, are faster
together: they never wait for each other. What a network becomes depends on the number of threads
and not on the worker that trained it.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from anew.core.callbacks import Callback, Forward
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.interruption import Interrupted
from anew.core.spec import Spec
from anew.data import Data
from anew.family import Family
from anew.training import group
from anew.training.group import Session

ATTEMPTS = 3
"""How often a group is given to a worker, where workers die of what is not the group's fault."""
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Finished:
    """A group that a worker is done with, and why networks of it failed, by id."""

    specs: tuple[Spec, ...]
    failed: dict[str, AnewError]


@runtime_checkable
class Workers(Protocol):
    """Train groups, so many at once."""

    @property
    def count(self) -> int:
        """How many groups are trained at once."""
        ...

    def start(self, specs: Sequence[Spec], data: Data) -> None:
        """Train a group of siblings; at most `count` may be under way."""
        ...

    def wait(self) -> Finished:
        """Return the next group that is finished; raises `Interrupted`, after all have saved."""
        ...


@contextmanager
def workers(session: Session) -> Generator[Workers]:
    """Return who trains a session's groups: as many processes as its `jobs`, this one where it is
    one.
    """
    if session.execution.jobs == 1:
        yield Inline(session)
        return
    if session.world.size > 1:
        raise AnewError(
            f"jobs {session.execution.jobs}: torchrun's processes train one network together; drop "
            f"--jobs, or torchrun"
        )
    processes = Processes(session)
    try:
        yield processes
    finally:
        processes.close()


def train(session: Session, specs: Sequence[Spec], data: Data) -> Finished:
    """Train a group; what is wrong with all of it (a check, a lock, a disk) is the error of each
    that is not done.
    """
    try:
        return Finished(tuple(specs), group.train_group(session, specs, data))
    except Interrupted:
        raise
    except AnewError as error:
        return failed_together(session, specs, error)


def failed_together(session: Session, specs: Sequence[Spec], error: AnewError) -> Finished:
    """Return a group that is over because of one error, which is that of each network that is not
    done.
    """
    undone = [spec.id for spec in specs if not session.family.folder(spec.id).is_done]
    return Finished(tuple(specs), dict.fromkeys(undone, error))


def run_group_elsewhere(
    family: Path, execution: Execution, progress: Callback, specs: Sequence[Spec], data: Data
) -> dict[str, str]:
    """Train a group in a process of its own, in a family that is there; returns why networks
    failed, by id.

    Raises `Interrupted` after saving.
    """
    try:
        # Never made here: on another machine, a folder that is not there is not shared.
        Family.open(family)
        with group.session(family, execution, progress) as session:
            return {name: str(error) for name, error in train(session, specs, data).failed.items()}
    except Interrupted:
        raise
    except AnewError as error:
        return {spec.id: str(error) for spec in specs}


class Inline:
    """Trains each group as it is given."""

    count = 1

    def __init__(self, session: Session) -> None:
        self._session = session
        self._finished: list[Finished] = []

    def start(self, specs: Sequence[Spec], data: Data) -> None:
        """Train a group to its end."""
        self._finished.append(train(self._session, specs, data))

    def wait(self) -> Finished:
        """Return the group."""
        return self._finished.pop()


class Processes:
    """Worker processes, each training one group at a time in the family of a session.

    A worker that dies is replaced, and its group goes on from what it saved. The workers end with
    this process, even where it is killed.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.count = session.execution.jobs
        self._workers: list[_Worker | None] = [None] * self.count

    def start(self, specs: Sequence[Spec], data: Data) -> None:
        """Give a group to a worker that has none."""
        number = next(
            place
            for place, worker in enumerate(self._workers)
            if worker is None or worker.task is None
        )
        worker = self._workers[number] or self._begin(number)
        worker.give(_Task(tuple(specs), data))

    def wait(self) -> Finished:
        """Return the next group that is finished; raises `Interrupted`, after all have saved."""
        while True:
            if self._session.stop.requested:
                raise Interrupted(self._stop())
            for number, worker in enumerate(self._workers):
                if worker is not None and worker.task is not None and worker.pipe.poll():
                    finished = self._hear(number, worker)
                    if finished is not None:
                        return finished
            busy = [
                worker.pipe
                for worker in self._workers
                if worker is not None and worker.task is not None
            ]
            connection.wait(busy, LOOK_SECONDS)

    def close(self) -> None:
        """End the workers, which have nothing to do any more or are to do nothing more."""
        for worker in self._workers:
            if worker is not None:
                # What is saved is whole, whenever a process ends.
                worker.process.kill()
                worker.process.join()
                worker.pipe.close()
        self._workers = [None] * self.count

    def _hear(self, number: int, worker: _Worker) -> Finished | None:
        """Take one message of a worker: progress is passed on, a finished group is returned."""
        task = worker.task
        assert task is not None
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError):
            return self._replace(number, worker, task)
        if kind == "progress":
            content.deliver(self._session.progress)
            return None
        worker.task = None
        if kind == "interrupted":
            # Somebody else asked it to stop: it has saved, and the group is not done.
            raise Interrupted(content)
        return Finished(task.specs, {name: AnewError(text) for name, text in content.items()})

    def _replace(self, number: int, worker: _Worker, task: _Task) -> Finished | None:
        """Give the group of a worker that was killed to a new one, unless that has happened too
        often.
        """
        worker.process.join()
        self._workers[number] = None
        code = worker.process.exitcode or 0
        if code >= 0:
            raise RuntimeError(
                f"worker process {worker.process.pid} failed; its own error stands above"
            )
        death = f"worker process {worker.process.pid} was killed ({signal.Signals(-code).name})"
        if task.attempts < ATTEMPTS:
            self._session.progress.log(f"{death}; another goes on from what it saved")
            self._begin(number).give(task)
            return None
        error = AnewError(
            f"{death}, {task.attempts} times with the same networks; lower --jobs if memory is "
            f"short"
        )
        return failed_together(self._session, task.specs, error)

    def _begin(self, number: int) -> _Worker:
        worker = _Worker.begin(self._session.family.path, self._session.execution, number)
        self._workers[number] = worker
        return worker

    def _stop(self) -> str:
        """Ask all workers to save and stop, wait for that, and return what one of them said."""
        said = "stopped and saved; the same command goes on from there"
        busy = [
            worker for worker in self._workers if worker is not None and worker.task is not None
        ]
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            try:
                while True:
                    kind, content = worker.pipe.recv()
                    if kind != "progress":
                        break
                said = content if kind == "interrupted" else said
            except (EOFError, OSError):
                # It was still starting, and has nothing to save.
                continue
        return said


@dataclass
class _Task:
    specs: tuple[Spec, ...]
    data: Data
    attempts: int = 0


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: _Task | None = None
    data: Data | None = None
    """The data that it has."""

    @classmethod
    def begin(cls, family: Path, execution: Execution, number: int) -> _Worker:
        # Spawned and not forked: a forked process may hang in the parent's thread pools.
        context = get_context("spawn")
        pipe, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, family, execution, number), daemon=True
        )
        process.start()
        theirs.close()
        return cls(process, pipe)

    def give(self, task: _Task) -> None:
        """Send a group, with its data where the worker has other data."""
        task.attempts += 1
        self.task = task
        new = None if task.data is self.data else task.data
        self.data = task.data
        # By value, not through shared memory, which in containers is often too small.
        try:
            self.pipe.send_bytes(pickle.dumps((task.specs, new)))
        except ConnectionError:
            # It died; the next look at its pipe shows that.
            return


def _work(pipe: Connection, family: Path, execution: Execution, number: int) -> None:
    """A worker process: train the groups that come through the pipe, one after another."""
    # Between groups, Ctrl-C is the parent's matter; within one, it asks for a stop as ever.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if torch.cuda.is_available():
        os.environ["LOCAL_RANK"] = str(number % torch.cuda.device_count())
    execution = replace(execution, threads=execution.threads_of_a_job)
    told = Forward(lambda call: pipe.send(("progress", call)))
    data: Data | None = None
    try:
        while True:
            specs, new = pickle.loads(pipe.recv_bytes())
            data = new or data
            assert data is not None
            failed = run_group_elsewhere(family, execution, told, specs, data)
            pipe.send(("finished", failed))
    except Interrupted as error:
        pipe.send(("interrupted", str(error)))
    except (EOFError, ConnectionError):
        # The parent has gone.
        return
    except KeyboardInterrupt:
        # A second Ctrl-C stops at once, and the parent says so.
        return


def _end_with_parent() -> None:
    """End this process at once when its parent is gone, however that went: nobody else would."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
