"""An executor on a Ray cluster: each group of siblings is a task with the processors and the GPU
that it needs.

The family lies in a folder that all machines of the cluster see; data sets travel through Ray's
object store, once each. If a worker or its machine dies, Ray gives its task to another worker,
which resumes from what was saved. Tasks set their own number of threads, so a network's bits do not
depend on Ray.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anew.core.callbacks import Call, Forward
from anew.core.errors import AnewError, in_one_line
from anew.core.execution import Execution
from anew.core.interruption import Interrupted
from anew.core.spec import Spec
from anew.data import Data
from anew.family import lock
from anew.training.launch.workers import (
    ATTEMPTS,
    LOOK_SECONDS,
    STOPPED,
    Executor,
    ExecutorFactory,
    Finished,
    failed_together,
    run_group_elsewhere,
)
from anew.training.session import Session

REACH_SECONDS = 5.0
SETTINGS = b"\x04"
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"
"""The first bytes of a client of HTTP/2, and so of gRPC and Ray: RFC 9113, section 3.4.

A plain connect is not enough: if another server listens at the port, `ray.init` tries for minutes.
"""
SEEN_SECONDS = 60.0
"""How long a shared folder may hide what another machine wrote: NFS caches for up to a minute."""


@dataclass(frozen=True)
class Cluster:
    """Which Ray cluster, how many groups at once, and which part of a GPU each needs.

    Raises `AnewError` if a number is out of range.
    """

    address: str = ""
    """`host:port`, `ray://host:port`, or `auto` for the cluster that this machine is part of.

    If it is empty, the environment variable RAY_ADDRESS counts; without that, a cluster of this
    machine alone is started and ends with the study.
    """
    jobs: int | None = None
    """The number of groups under way at once; None is as many as the cluster has room for."""
    gpus: float | None = None
    """The part of a GPU for each group; None is 1 if the cluster has GPUs and the device may be
    one.
    """

    def __post_init__(self) -> None:
        if self.gpus is not None and not 0 <= self.gpus <= 1:
            raise AnewError(
                f"gpus-per-network must be a number >= 0 and <= 1 on Ray, got {self.gpus:g}; set "
                f"--gpus-per-network"
            )
        if self.jobs is not None and self.jobs < 1:
            raise AnewError(f"jobs must be a whole number >= 1, got {self.jobs}; set --jobs")


def executor(cluster: Cluster, execution: Execution) -> ExecutorFactory:
    """Return what opens an executor on a cluster; `execution` is that of its tasks.

    Raises `AnewError` at once if Ray is not installed, nothing listens at the address, or the
    execution does not fit the cluster.
    """
    ray = _import()
    if execution.device not in ("auto", "cpu", "cuda"):
        raise AnewError(
            f"device '{execution.device}': on Ray, which assigns GPUs, it must be auto, cpu or cuda"
        )
    if execution.device == "cpu" and cluster.gpus:
        raise AnewError(
            f"gpus-per-network {cluster.gpus:g}: a GPU has no use with --device cpu; drop one of "
            f"them"
        )
    if execution.device == "cuda" and cluster.gpus == 0:
        raise AnewError(
            "gpus-per-network 0: --device cuda needs a GPU, or a part of one; set "
            "--gpus-per-network 1"
        )
    address = cluster.address or os.environ.get("RAY_ADDRESS", "") or "local"
    if not ray.is_initialized():
        _check_reachable(address)

    @contextmanager
    def open_executor(session: Session) -> Generator[Executor]:
        if session.world.size > 1:
            raise AnewError(
                "on ray: torchrun's processes train one network together; drop --on ray, or "
                "torchrun"
            )
        with _connected(ray, address):
            yield RayTasks(ray, session, cluster, execution)

    return open_executor


class RayTasks:
    """Trains groups of siblings as tasks on the Ray cluster that this process is connected to."""

    def __init__(self, ray: Any, session: Session, cluster: Cluster, execution: Execution) -> None:
        self._ray, self._session = ray, session
        # Ray starts processes elsewhere, in other folders than this one.
        self._family = session.family.path.resolve()

        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = cluster.gpus
        if gpus is None:
            has_gpus = any(machine.get("GPU") for machine in machines)
            wanted = execution.device == "cuda" or (execution.device == "auto" and has_gpus)
            gpus = float(wanted)
        needs = {"CPU": execution.threads or 1, "GPU": gpus}
        self.count = cluster.jobs or _room(machines, needs)

        self._execution = replace(
            execution,
            device="cuda" if gpus else "cpu",
            threads=execution.threads or 1,
            jobs=1,
            patience=lock.OUTLIVES_DEATH,
        )
        if len(machines) > 1 and execution.ask == "auto":
            # Two machines that fill one table see each other's writes late.
            self._execution = replace(self._execution, ask="live")

        self._task = self._ray.remote(_train).options(
            num_cpus=needs["CPU"],
            num_gpus=gpus,
            max_retries=ATTEMPTS - 1,
            # A worker is asked to stop if its machine is to be given back: another one resumes.
            retry_exceptions=[Interrupted],
        )
        self._mailbox = self._ray.remote(_Mailbox).options(num_cpus=0, max_restarts=-1).remote()
        self._under_way: dict[Any, tuple[Spec, ...]] = {}
        self._data: dict[int, tuple[Data, Any]] = {}

    def submit(self, specs: Sequence[Spec], data: Data) -> None:
        """Give a group to Ray."""
        reference = self._task.remote(
            self._family, self._execution, tuple(specs), self._put(data), self._mailbox
        )
        self._under_way[reference] = tuple(specs)

    def wait(self) -> Finished:
        """Return the next group that finishes.

        Raises `Interrupted` if a stop was requested, after all tasks have saved.
        """
        while True:
            if self._session.stop.requested:
                raise Interrupted(self._stop())
            done, _ = self._ray.wait(list(self._under_way), timeout=LOOK_SECONDS)
            self._deliver()
            if done:
                return self._finished(done[0])

    def _deliver(self) -> None:
        """Deliver the calls of callbacks that tasks have sent."""
        try:
            calls: list[Call] = self._ray.get(self._mailbox.take.remote())
        except self._ray.exceptions.RayActorError:
            # Its machine died, and Ray starts it again on another one. Only messages are lost.
            return
        for call in calls:
            call.deliver(self._session.progress)

    def _put(self, data: Data) -> Any:
        """Return Ray's reference to a data set, which is sent once."""
        if id(data) not in self._data:
            # The data is kept, so that no other data set takes its place in memory and so its id.
            self._data[id(data)] = (data, self._ray.put(data))
        return self._data[id(data)][1]

    def _finished(self, reference: Any) -> Finished:
        """Return the group of a task that ended."""
        specs = self._under_way.pop(reference)
        try:
            report: _Report = self._ray.get(reference)
        except Interrupted as error:
            return self._lost(specs, f"was stopped {ATTEMPTS} times ({_in_its_words(error)})")
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ImportError):
                raise AnewError(
                    f"on ray: a machine of the cluster lacks what this one has ({error.cause}); "
                    f"install it there"
                ) from error
            raise
        except self._ray.exceptions.RayError as error:
            return self._lost(
                specs, f"was lost by Ray ({in_one_line(error)[:300]}), {ATTEMPTS} times"
            )

        failed = {name: AnewError(text) for name, text in report.failed.items()}
        unseen = [spec.id for spec in specs if spec.id not in failed and not self._is_seen(spec)]
        error = AnewError(
            f"{self._family}: files that {report.machine} wrote there are not visible here; give "
            "an --out that all machines of the cluster share"
        )
        return Finished(specs, failed | dict.fromkeys(unseen, error))

    def _lost(self, specs: Sequence[Spec], what: str) -> Finished:
        names = ", ".join(spec.id for spec in specs)
        return failed_together(self._session, specs, AnewError(f"the task of {names} {what}"))

    def _is_seen(self, spec: Spec) -> bool:
        """Wait until a network that a task finished is finished here; False if it never is."""
        give_up = time.monotonic() + SEEN_SECONDS
        while not self._session.family.folder(spec.id).is_done:
            if time.monotonic() > give_up or self._session.stop.requested:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def _stop(self) -> str:
        """Ask all tasks to save and stop, wait for them, and return one's last message."""
        last_message = STOPPED
        for reference in self._under_way:
            # A task takes this for a Ctrl-C, and so for a request to stop; one that has not begun
            # never will.
            self._ray.cancel(reference)

        for reference in self._under_way:
            try:
                self._ray.get(reference)
            except Interrupted as error:
                last_message = _in_its_words(error)
            except self._ray.exceptions.RayError:
                # It had not begun, or was still starting, and has nothing to save.
                continue
        return last_message


@dataclass(frozen=True)
class _Report:
    """The end of a task: the errors of its networks, by id, and the machine that ran it."""

    failed: dict[str, str]
    machine: str


class _Mailbox:
    """An actor that holds calls of callbacks between the tasks that send them and the driver."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def put(self, call: Call) -> None:
        """Keep a call until it is taken."""
        self._calls.append(call)

    def take(self) -> list[Call]:
        """Return the calls since the last time."""
        calls, self._calls = self._calls, []
        return calls


def _train(
    family: Path, execution: Execution, specs: Sequence[Spec], data: Data, mailbox: Any
) -> _Report:
    """Train a group from where it was left: a task of Ray."""
    sent: list[Any] = []
    forward = Forward(lambda call: sent.append(mailbox.put.remote(call)))
    failed = run_group_elsewhere(family, execution, forward, specs, data)

    # All calls must have arrived before the task ends; a mailbox that died loses messages only.
    ray = _import()
    with suppress(ray.exceptions.RayError):
        ray.get(sent)
    return _Report(failed, socket.gethostname())


def _in_its_words(error: Exception) -> str:
    """Return the message of a task's error, without Ray's account of where it came from."""
    return str(getattr(error, "cause", error))


def _room(machines: Sequence[dict[str, float]], needs: dict[str, float]) -> int:
    """Return how many tasks with such needs the machines hold at once.

    Raises `AnewError` if no machine holds even one.
    """
    room = 0
    for machine in machines:
        fits = [int(machine.get(what, 0) / need + 1e-6) for what, need in needs.items() if need]
        room += min(fits)

    if not room:
        largest = " or ".join(
            f"{machine.get('CPU', 0):g} CPU and {machine.get('GPU', 0):g} GPU"
            for machine in machines
        )
        raise AnewError(
            f"on ray: no machine of the cluster has {needs['CPU']:g} CPU and {needs['GPU']:g} GPU "
            f"for a network, as "
            f"--threads and --gpus-per-network ask; there are {largest or 'none'}"
        )
    return room


def _import() -> Any:
    """Import Ray with its usage reports and warnings off; `AnewError` if it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise AnewError("on 'ray' needs Ray; pip install 'anew[ray]'") from error
    return ray


@contextmanager
def _connected(ray: Any, address: str) -> Generator[None]:
    """Connect to a cluster, or start one on this machine alone, which ends with the block.

    A connection that this process has already is used as it is. Raises `AnewError` if it fails.
    """
    if ray.is_initialized():
        yield
        return

    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    with _kept_signals():
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise AnewError(
                f"ray-address '{address}': cannot be used ({in_one_line(error)[:300]}); look with "
                f"`ray status`; a "
                "cluster that asks for a token needs RAY_AUTH_MODE=token here too"
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise `AnewError` if no server of Ray's kind listens at an address.

    Ray itself would try for minutes.
    """
    if address in ("local", "auto"):
        return

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise AnewError(
            f"ray-address must be host:port, ray://host:port or auto, got '{address}'; set "
            f"--ray-address, such as "
            "127.0.0.1:6379"
        )
    try:
        with socket.create_connection((host, int(port)), timeout=REACH_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                connection.sendall(HELLO)
                # A server of HTTP/2 answers with its own settings first.
                if connection.recv(9, socket.MSG_WAITALL)[3:4] != SETTINGS:
                    raise ConnectionError("something else answers")
    except (OSError, OverflowError) as error:
        raise AnewError(
            f"ray-address '{address}': no cluster is there ({error}); start one with `ray start "
            f"--head`, or drop "
            "--ray-address for one of this machine alone"
        ) from error


@contextmanager
def _kept_signals() -> Generator[None]:
    """Restore the handler of SIGTERM, which Ray replaces while it starts: anew saves and stops."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
