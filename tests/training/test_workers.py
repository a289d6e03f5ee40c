"""Several worker processes: the bits of one whatever is killed or stopped, each network when its
teachers are there.
"""

import os
import pickle
import random
import re
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from anew import AnewError
from anew.cli import main
from anew.core.callbacks import Callback
from anew.core.distributed import World
from anew.core.execution import Execution
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.family import Family
from anew.training.launch import local
from anew.training.launch.local import executor
from anew.training.launch.scheduler import awaited_apart, most_awaited_first, spread, train_groups
from anew.training.launch.workers import Finished
from anew.training.session import open_session
from conftest import quick
from forks import Forked, fork_training, fork_with_workers, fork_workers
from runs import finish, kill, kill_at_random, saved_steps, start, weights

SIBLINGS = ("--siblings", "cwtm,dkpp", "--ask", "table")
OPTIONS = (*quick(epochs=4, generations=2), *SIBLINGS)
LONG = (*quick(epochs=400, generations=2), *SIBLINGS, "--jobs", 2)

# The first test, and what asks workers to stop, start Python for each worker as users do. The
# others' workers are forks.


def workers_of(process):
    """The worker processes that a process has started, spawned or forked."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == process.pid and "resource_tracker" not in command:
            found.append(int(folder.name))
    return found


def wait_for(what, process=None, seconds=90):
    """Wait until something is there, as long as a process lives."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


def exists(process):
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.fixture(scope="module")
def one(arrays, tmp_path_factory):
    """The family that one process trains, and its data."""
    import numpy as np

    place = tmp_path_factory.mktemp("workers")
    npz = place / "small.npz"
    np.savez(npz, x=arrays[0], y=arrays[1])
    finish(fork_training(place / "one", npz, *OPTIONS))
    return place / "one", npz


def test_two_workers_give_the_bits_of_one_process_and_say_who_is_meant(one, tmp_path):
    family, npz = one
    said = finish(start(tmp_path / "two", npz, *OPTIONS, "--jobs", 2))
    assert weights(tmp_path / "two") == weights(family)
    assert len(weights(family)) == 7
    assert Family.open(tmp_path / "two").verify() == (7, [])
    for name in ("ban", "cwtm", "dkpp"):
        assert said.count(f"generation 2 (small_cnn, {name}), seed 0: test error") == 1
    # Three siblings for two workers: a part of two and one of one.
    assert said.count("generation 1 (small_cnn, 2 siblings: ") == 1


def test_a_worker_that_is_killed_is_replaced_and_its_networks_go_on(one, tmp_path):
    family, npz = one
    options = (*OPTIONS, "--jobs", 2, "--save-minutes", "0.00001")
    process = fork_with_workers(tmp_path / "f", npz, *options)
    wait_for(lambda: saved_steps(tmp_path / "f"), process)
    os.kill(wait_for(lambda: workers_of(process), process)[0], signal.SIGKILL)
    said = finish(process)
    assert "was killed (SIGKILL); another one continues from its last save" in said
    assert weights(tmp_path / "f") == weights(family)


def test_a_worker_that_is_killed_again_and_again_fails_its_networks_alone(one, tmp_path):
    _, npz = one
    process = fork_with_workers(tmp_path / "f", npz, *OPTIONS, "--jobs", 2)
    gone = set()
    while process.poll() is None:
        for worker in set(workers_of(process)) - gone:
            gone.add(worker)
            os.kill(worker, signal.SIGKILL)
        time.sleep(0.02)
    said = process.communicate()[1]
    assert process.returncode == 2
    assert (
        said.splitlines()[-1].startswith("anew: worker process ")
        and "3 times with the same networks" in said
    )
    assert len(gone) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_a_worker_without_enough_memory_says_so_in_one_line(one, tmp_path):
    # The command holds no weights; each worker those of a network of 290 MB, and its gradients.
    # Workers have the limit of the command.
    options = ["--epochs", 1, "--generations", 1, "--jobs", 2, "--model", "mlp"]
    options += ["--model.options", "hidden=6000", "--model.options", "layers=3"]
    command = ["train", "--data", f"npz:{one[1]}", "--out", tmp_path / "f", *options]

    def limited():
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + (700 << 20),) * 2)
        local.get_context = fork_workers
        main.main([*map(str, command), "--no-page"])

    process = Forked(limited)
    said = process.communicate()[1]
    assert process.returncode == 2, said
    assert said.splitlines()[-1].startswith("anew: out of memory: ")
    assert "Traceback" not in said


class TooLarge:
    """Data that no memory holds once they are unpickled."""

    def __reduce__(self):
        return bytearray, (1 << 62,)


def test_a_worker_whose_data_do_not_fit_says_so_and_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "get_context", fork_workers)
    worker = local._Worker.begin(tmp_path, Execution(threads=1), 0)
    try:
        for _ in range(2):
            worker.pipe.send_bytes(pickle.dumps(((), TooLarge())))
            kind, said = worker.pipe.recv()
            assert kind == "refused" and said.startswith("out of memory") and "\n" not in said
    finally:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def test_workers_end_with_a_process_that_is_killed_and_the_command_goes_on(one, tmp_path):
    family, npz = one
    options = (*OPTIONS, "--jobs", 2, "--save-minutes", "0.00001")
    process = fork_with_workers(tmp_path / "f", npz, *options)
    workers = wait_for(lambda: workers_of(process), process)
    wait_for(lambda: saved_steps(tmp_path / "f"), process)
    # The parent alone, not its group.
    process.kill()
    process.communicate()
    try:
        wait_for(lambda: not any(map(exists, workers)), seconds=30)
    finally:
        for worker in filter(exists, workers):
            os.kill(worker, signal.SIGKILL)
    finish(fork_with_workers(tmp_path / "f", npz, *OPTIONS, "--jobs", 2))
    assert weights(tmp_path / "f") == weights(family)


@pytest.mark.slow
def test_kills_at_random_change_nothing(one, tmp_path):
    family, npz = one
    kill_at_random(tmp_path / "f", npz, 2, 1, (*OPTIONS, "--jobs", 2), start)
    assert weights(tmp_path / "f") == weights(family)


@pytest.mark.parametrize(
    ("number", "everybody"),
    [
        pytest.param(signal.SIGTERM, False, marks=pytest.mark.slow),
        (signal.SIGINT, True),
    ],
)
def test_a_request_to_stop_saves_in_every_worker(one, tmp_path, number, everybody):
    _, npz = one
    process = start(tmp_path / "f", npz, *LONG)
    wait_for(lambda: saved_steps(tmp_path / "f"), process)
    time.sleep(random.Random(number).uniform(0, 0.5))
    # In a terminal, Ctrl-C reaches the workers as well.
    if everybody:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "the same command resumes from there" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert min(saved_steps(tmp_path / "f").values()) > 0
    if not everybody:
        # Going on from such saves is the same however the stop came.
        return
    again = fork_with_workers(tmp_path / "f", npz, *LONG)
    said_again = wait_for(lambda: re.findall(".*to go.*\n", again.errors), again)
    kill(again)
    # Not from the start, where a network is 400 epochs of 20 steps.
    assert " of " in said_again[0] and "8,000 of 8,000" not in said_again[0]


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(one, tmp_path):
    _, npz = one
    process = start(tmp_path / "f", npz, *LONG)
    wait_for(lambda: saved_steps(tmp_path / "f"), process)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.01)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("anew: stopped at once; the same command resumes")
    assert "Traceback" not in said


def test_what_makes_no_sense_is_refused(one, refused, tmp_path):
    _, npz = one
    line = refused("train", "--data", f"npz:{npz}", "--out", "f", *OPTIONS, "--jobs", 0)
    assert line.startswith("anew: execution.jobs must be a whole number >= 1")
    with open_session(tmp_path / "g", Execution("cpu", 1, jobs=2), Callback()) as alone:
        of_two = replace(alone, world=World(0, 2))
        says = "torchrun's processes train one network together; drop --jobs, or torchrun"
        with pytest.raises(AnewError, match=says), executor(of_two):
            pass


class Recorder:
    """An executor that notes its groups and finishes them in an order of its own."""

    def __init__(self, family, count, failing=()):
        self.family, self.count, self.failing = family, count, failing
        self.under_way, self.given, self.most = [], [], 0
        self.dice = random.Random(0)

    def submit(self, specs, data):
        for spec in specs:
            assert all(self.family.folder(one.id).is_done for one in spec.teachers)
        self.under_way.append(specs)
        self.given.append(list(specs))
        self.most = max(self.most, len(self.under_way))
        assert len(self.under_way) <= self.count

    def wait(self):
        specs = self.under_way.pop(self.dice.randrange(len(self.under_way)))
        failed = {
            spec.id: AnewError("it burst") for spec in specs if spec.objective.name in self.failing
        }
        for spec in specs:
            if spec.id not in failed:
                self.family.begin(spec)
                self.family.folder(spec.id).done_file.write_text("{}")
        return Finished(tuple(specs), failed)


def tree(seeds):
    """For each seed a teacher, three students of it, and a student of the first of these."""
    groups = []
    for seed in seeds:
        first = Spec(
            ModelSpec("mlp"),
            DataSpec(fingerprint="f", seed=seed),
            TrainingSpec(),
            ObjectiveSpec("label"),
            seed,
        )
        students = [
            replace(first, objective=ObjectiveSpec(name), teachers=(first,))
            for name in ("ban", "cwtm", "dkpp")
        ]
        groups += [[first], students, [replace(students[0], teachers=(students[0],))]]
    return groups


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_network_is_trained_once_and_after_its_teachers(tmp_path, count):
    family = Family.create(tmp_path / "f")
    executor = Recorder(family, count)
    groups = tree(range(3))
    done = [
        spec.id
        for one in train_groups(groups, lambda spec: None, family, executor)
        for spec in one.specs
    ]
    assert sorted(done) == sorted(spec.id for group in groups for spec in group)
    assert len(set(done)) == len(done)
    assert executor.most == count if count <= 3 else 3 < executor.most <= count
    if count == 1:
        assert max(map(len, executor.given)) == 3


def test_a_failure_takes_its_students_alone(tmp_path):
    family = Family.create(tmp_path / "f")
    executor = Recorder(family, 2, failing=("ban",))
    failed = {}
    for one in train_groups(tree([0]), lambda spec: None, family, executor):
        failed |= one.failed
    assert [str(error) for error in failed.values()] == ["it burst", "its teacher failed: it burst"]
    assert len([folder for folder in family.folders() if folder.is_done]) == 3


def test_the_longest_lineage_goes_first(tmp_path):
    (first,), students, _ = tree([0])
    last = replace(students[2], teachers=(students[2],))
    alone = replace(first, seed=9)
    order = most_awaited_first([[alone], [first], students, [last]])
    assert order == [[first], students, [alone], [last]]
    assert awaited_apart([students, [last]]) == [[students[2]], students[:2], [last]]
    executor = Recorder(Family.create(tmp_path / "f"), 1)
    assert sum(
        1
        for _ in train_groups(
            [[alone], [first], students, [last]], lambda spec: None, executor.family, executor
        )
    )
    assert [group[0] for group in executor.given] == [first, students[0], alone, last]


def test_groups_are_cut_only_where_workers_would_stand_idle():
    assert spread([[1, 2, 3, 4]], 1) == [[1, 2, 3, 4]]
    assert spread([[1, 2, 3, 4]], 2) == [[1, 2], [3, 4]]
    assert spread([[1, 2, 3]], 9) == [[1], [2], [3]]
    assert spread([[1, 2, 3], [4]], 2) == [[1, 2, 3], [4]]
    assert spread([], 2) == []
