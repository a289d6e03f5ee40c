"""What an executor is, and what a worker does with a group of siblings that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from anew.core import memory
from anew.core.callbacks import Callback
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.interruption import Interrupted
from anew.core.spec import Spec
from anew.data import Data
from anew.family import Family
from anew.training.group import train_group
from anew.training.session import Group, Session, open_session

ATTEMPTS = 3
"""How often a group is given to a worker if workers die for reasons outside the group."""
LOOK_SECONDS = 0.2
"""How often an executor looks for a request to stop while it waits."""
STOPPED = "stopped and saved; the same command resumes"


@dataclass(frozen=True)
class Finished:
    """A group that a worker has finished, and the errors of its networks that failed, by id."""

    specs: tuple[Spec, ...]
    failed: dict[str, AnewError]


@runtime_checkable
class Executor(Protocol):
    """Trains groups of siblings, `count` at a time."""

    @property
    def count(self) -> int:
        """The number of groups that train at once."""
        ...

    def submit(self, specs: Sequence[Spec], data: Data) -> None:
        """Train a group of siblings; at most `count` may be under way."""
        ...

    def wait(self) -> Finished:
        """Return the next group that finishes.

        Raises `Interrupted` if a stop was requested, after all workers have saved.
        """
        ...


ExecutorFactory = Callable[[Session], AbstractContextManager[Executor]]
"""Opens the executor for a session, such as `local.executor`, and closes it at the block's end."""


def run_group(session: Session, specs: Sequence[Spec], data: Data) -> Finished:
    """Train a group in this process.

    An error of the whole group (a check, a lock, a disk) is the error of each network that is not
    done. Raises `Interrupted` after saving.
    """
    try:
        return Finished(tuple(specs), train_group(session, Group(tuple(specs), data)))
    except Interrupted:
        raise
    except AnewError as error:
        return failed_together(session, specs, error)


def failed_together(session: Session, specs: Sequence[Spec], error: AnewError) -> Finished:
    """Return a group as finished: the error is that of each network that is not done."""
    undone = [spec.id for spec in specs if not session.family.folder(spec.id).is_done]
    return Finished(tuple(specs), dict.fromkeys(undone, error))


def run_group_elsewhere(
    family: Path, execution: Execution, callback: Callback, specs: Sequence[Spec], data: Data
) -> dict[str, str]:
    """Train a group in a session of its own and return the errors of its networks, by id.

    Workers in other processes and on other machines call this. The family must exist. Memory that
    does not suffice here is an error of the networks. Raises `Interrupted` after saving.
    """
    try:
        # The family is never made here: a folder that another machine lacks is not shared.
        Family.open(family)
        # Trackers hear of it where the callback leads.
        with open_session(family, replace(execution, track=()), callback) as session:
            finished = run_group(session, specs, data)

    except Interrupted:
        raise
    except AnewError as error:
        return {spec.id: str(error) for spec in specs}
    except (MemoryError, RuntimeError) as error:
        refused = memory.refusal(error)
        if refused is None:
            raise
        return {spec.id: str(refused) for spec in specs}
    return {name: str(error) for name, error in finished.failed.items()}
