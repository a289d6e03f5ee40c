"""Work that processes do ahead of the one that trains, in order, such as decoding pictures."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from anew.core import memory
from anew.core.errors import AnewError

Item = TypeVar("Item")
Done = TypeVar("Done")
AHEAD = 3
"""How many results each process makes before they are asked for."""


def default_workers() -> int:
    """Return the number of processes that `auto` means: one for each core that may be used.

    Under torchrun the processes of this machine share its cores.
    """
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    here = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, min(usable, 16) // (int(here) if here.isdigit() and int(here) else 1))


def in_order(work: Callable[[Item], Done], items: Sequence[Item], workers: int) -> Iterator[Done]:
    """Yield `work(item)` for each item in order, made ahead by so many processes.

    With 0 processes, or a single item, the work is done here. The results are the same. Raises what
    the work raises if that is an `AnewError`, and `AnewError` if a process died.
    """
    if not workers or len(items) < 2:
        yield from map(work, items)
        return

    # Once, and before what multiprocessing itself does at the end.
    atexit.unregister(_end_all)
    atexit.register(_end_all)
    with warnings.catch_warnings():
        # More processes than cores are what was asked for.
        warnings.simplefilter("ignore")
        loader = DataLoader(
            _Work(work, items),
            batch_size=None,
            sampler=range(len(items)),
            num_workers=min(workers, len(items)),
            prefetch_factor=AHEAD,
            collate_fn=_as_it_is,
            worker_init_fn=_begin,
            multiprocessing_context="fork" if sys.platform == "linux" else "spawn",
        )
        made = iter(loader)
    try:
        for done in made:
            if isinstance(done, AnewError):
                raise done
            yield done
    except RuntimeError as error:
        died = memory.refusal(error)
        if died is None:
            raise
        raise died from None
    finally:
        # Its end ends the processes, also where somebody keeps the error and so this frame.
        del made


class _Work(Dataset[Any], Generic[Item, Done]):
    """The work as a data set of torch, whose loader runs and ends the processes."""

    def __init__(self, work: Callable[[Item], Done], items: Sequence[Item]) -> None:
        self._work, self._items = work, items

    def __getitem__(self, index: int) -> Done | AnewError:
        try:
            return self._work(self._items[index])
        except AnewError as error:
            # As a result: an exception would come with the trace of the process.
            return type(error)(*error.args)


def _as_it_is(done: Any) -> Any:
    return done


def _end_all() -> None:
    """End the processes of readers that nobody closed, before Python waits for them at its end.

    They ignore the signal by which Python asks them to end. Torch would raise an error for each.
    """
    if sys.platform != "win32":
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def _begin(number: int) -> None:
    # Ctrl-C goes to all processes of a terminal, and schedulers end all processes of a job. The one
    # that trains saves, and ends the others.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
