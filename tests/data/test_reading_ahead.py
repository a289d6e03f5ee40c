"""Processes that read pictures ahead: the order of what they make, their errors and their ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from anew.core import memory
from anew.core.errors import AnewError
from anew.data.workers import in_order


def square(number):
    return number * number


def refuse(number):
    if number == 5:
        raise AnewError("number 5: is odd; give another")
    return number


def ask_to_end(number):
    # As a scheduler does with all processes of a job.
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(os.getpid(), each)
    return os.getpid()


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order(workers):
    assert list(in_order(square, range(20), workers)) == [n * n for n in range(20)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_the_one_line_of_the_work(workers):
    done = []
    with pytest.raises(AnewError) as refused:
        for one in in_order(refuse, range(9), workers):
            done.append(one)
    assert str(refused.value) == "number 5: is odd; give another"
    assert done == [0, 1, 2, 3, 4]


def test_signals_are_left_to_the_process_that_trains():
    others = set(in_order(ask_to_end, range(6), 2))
    assert os.getpid() not in others and len(others) == 2


def test_a_process_that_dies_is_one_line():
    with pytest.raises(AnewError, match=r"a process that reads pictures died.*--workers"):
        list(in_order(die, range(4), 2))


def test_wherever_torch_raises_it():
    error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
    assert "--workers 0" in str(memory.refusal(error))


LEFT_OPEN = """
from anew.core.errors import AnewError
from anew.data.workers import in_order
from test_reading_ahead import refuse, square
kept = in_order(square, range(50), 2)
next(kept)
try:
    list(in_order(refuse, range(9), 2))
except AnewError as error:
    kept_error = error
print("at the end")
"""


def test_python_ends_although_readers_were_not_closed():
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "at the end\n", "")
