"""Executors of this machine: this process, or several worker processes, each with its own threads.

One network keeps many cores busy only if it is large. Several small ones, a core each, train faster
together: they never wait for each other. A network's bits depend on the number of threads and not
on the worker that trained it.
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

import torch

from anew.core import memory
from anew.core.callbacks import Forward
from anew.core.errors import AnewError, in_one_line
from anew.core.execution import Execution
from anew.core.interruption import Interrupted
from anew.core.spec import Spec
from anew.data import Data
from anew.training.launch.workers import (
    ATTEMPTS,
    LOOK_SECONDS,
    STOPPED,
    Executor,
    Finished,
    failed_together,
    run_group,
    run_group_elsewhere,
)
from anew.training.session import Session


@contextmanager
def executor(session: Session) -> Generator[Executor]:
    """Open the executor for a session's groups: this process, or `jobs` worker processes.

    Raises `AnewError` if several jobs are asked for under torchrun.
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


class Inline:
    """Trains each group in this process, as soon as it is submitted."""

    count = 1

    def __init__(self, session: Session) -> None:
        self._session = session
        self._finished: list[Finished] = []

    def submit(self, specs: Sequence[Spec], data: Data) -> None:
        """Train a group to its end."""
        self._finished.append(run_group(self._session, specs, data))

    def wait(self) -> Finished:
        """Return the group that was submitted."""
        return self._finished.pop()


class Processes:
    """Worker processes; each trains one group at a time in the family of a session.

    A worker that dies is replaced, and its group resumes from what it saved. The workers end with
    this process, even if it is killed.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.count = session.execution.jobs
        self._workers: list[_Worker | None] = [None] * self.count

    def submit(self, specs: Sequence[Spec], data: Data) -> None:
        """Give a group to an idle worker; a process is started if none is idle."""
        for number, worker in enumerate(self._workers):
            if worker is None or worker.task is None:
                idle = worker or self._begin(number)
                idle.give(_Task(tuple(specs), data))
                return
        raise AssertionError("more groups were submitted than workers exist")

    def wait(self) -> Finished:
        """Return the next group that finishes.

        Raises `Interrupted` if a stop was requested, after all workers have saved.
        """
        while True:
            if self._session.stop.requested:
                raise Interrupted(self._stop())

            for number, worker in enumerate(self._workers):
                if worker is not None and worker.task is not None and worker.pipe.poll():
                    finished = self._receive(number, worker)
                    if finished is not None:
                        return finished

            connection.wait([worker.pipe for worker in self._busy()], LOOK_SECONDS)

    def close(self) -> None:
        """End all worker processes."""
        for worker in self._workers:
            if worker is not None:
                # What is saved is whole, whenever a process ends.
                worker.process.kill()
                worker.process.join()
                worker.pipe.close()
        self._workers = [None] * self.count

    def _busy(self) -> list[_Worker]:
        """Return the workers that have a group."""
        return [
            worker for worker in self._workers if worker is not None and worker.task is not None
        ]

    def _receive(self, number: int, worker: _Worker) -> Finished | None:
        """Take one message of a worker: deliver a callback's call, or return a finished group."""
        task = worker.task
        assert task is not None
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError):
            return self._replace(number, worker, task)

        if kind == "call":
            content.deliver(self._session.progress)
            return None
        worker.task = None
        if kind == "refused":
            # The group's data did not fit into the worker's memory.
            worker.data = None
            return failed_together(self._session, task.specs, AnewError(content))
        if kind == "interrupted":
            # Another process asked the worker to stop: it has saved, and the group is not done.
            raise Interrupted(content)
        return Finished(task.specs, {name: AnewError(text) for name, text in content.items()})

    def _replace(self, number: int, worker: _Worker, task: _Task) -> Finished | None:
        """Give the group of a worker that was killed to a new one; fail it after `ATTEMPTS`.

        Raises `RuntimeError` if the worker ended by an error of our own.
        """
        worker.process.join()
        self._workers[number] = None
        code = worker.process.exitcode or 0
        if code >= 0:
            raise RuntimeError(f"worker process {worker.process.pid} failed; its error is above")

        death = f"worker process {worker.process.pid} was killed ({signal.Signals(-code).name})"
        if task.attempts < ATTEMPTS:
            self._session.progress.log(f"{death}; another one continues from its last save")
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
        """Ask all workers to save and stop, wait for them, and return one's last message."""
        last_message = STOPPED
        busy = self._busy()
        for worker in busy:
            worker.process.terminate()

        for worker in busy:
            try:
                kind, content = worker.pipe.recv()
                while kind == "call":
                    kind, content = worker.pipe.recv()
            except (EOFError, OSError):
                # The worker was still starting and has nothing to save.
                continue
            if kind == "interrupted":
                last_message = content
        return last_message


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
    """The data that the process holds."""

    @classmethod
    def begin(cls, family: Path, execution: Execution, number: int) -> _Worker:
        """Start a worker process."""
        # Spawned and not forked: a forked process may hang in the parent's thread pools.
        context = get_context("spawn")
        pipe, theirs = context.Pipe()
        # No daemon: those may have no processes of their own, such as those that decode pictures.
        process = context.Process(target=_work, args=(theirs, family, execution, number))
        process.start()
        theirs.close()
        return cls(process, pipe)

    def give(self, task: _Task) -> None:
        """Send a group, with its data if the worker does not hold them."""
        task.attempts += 1
        self.task = task
        new = None if task.data is self.data else task.data
        self.data = task.data

        # By value, not through shared memory, which in containers is often too small.
        try:
            content = pickle.dumps((task.specs, new))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise AnewError(
                f"data: cannot be given to other processes ({in_one_line(error)}); define a data "
                "set and its transforms at the top of a module, or drop --jobs"
            ) from error
        try:
            self.pipe.send_bytes(content)
        except ConnectionError:
            # The worker died; the next look at its pipe shows that.
            return


def _work(pipe: Connection, family: Path, execution: Execution, number: int) -> None:
    """Train the groups that come through the pipe, one after another: a worker's main function."""
    # Between groups the parent handles Ctrl-C; within a group it is a request to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if torch.cuda.is_available():
        os.environ["LOCAL_RANK"] = str(number % torch.cuda.device_count())
    execution = replace(execution, threads=execution.threads_of_a_job)

    forward = Forward(lambda call: pipe.send(("call", call)))
    data: Data | None = None
    try:
        while True:
            try:
                specs, new = pickle.loads(pipe.recv_bytes())
            except (MemoryError, RuntimeError) as error:
                # The data that other networks were trained with are of no use for these.
                refused, data = memory.refusal(error), None
                if refused is None:
                    raise
                pipe.send(("refused", str(refused)))
                continue
            data = new or data
            assert data is not None
            failed = run_group_elsewhere(family, execution, forward, specs, data)
            pipe.send(("finished", failed))
    except Interrupted as error:
        pipe.send(("interrupted", str(error)))
    except (EOFError, ConnectionError):
        # The parent has gone.
        return
    except KeyboardInterrupt:
        # A second Ctrl-C stops at once, and the parent reports it.
        return


def _end_with_parent() -> None:
    """End this process as soon as its parent ends; after a SIGKILL nothing else would end it."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
