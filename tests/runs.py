"""Runs of anew that many tests share: in this process, stopped by signals, and as real processes
that are killed.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import anew
from anew import AnewError
from anew.core import files
from anew.core.callbacks import Callback
from anew.family import Family
from conftest import QUICK
from forks import fork_training

RECIPE = {
    "training": {"epochs": 3, "batch_size": 16, "learning_rate": 0.1},
    "model": {"options": {"width": 16}},
}


def train(arrays, out, **given):
    settings = {
        "generations": 2,
        "recipe": RECIPE,
        "progress": False,
        "threads": 1,
        "device": "cpu",
        **given,
    }
    return anew.train("small_cnn", arrays, out=out, **settings)


def weights(family):
    folders = [folder for folder in Family.open(Path(family)).folders() if folder.is_done]
    return {folder.id: files.sha256(folder.weights) for folder in folders}


def metrics(family):
    """Every network's metrics, without the times."""
    return {
        folder.id: [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in folder.read_metrics()
        ]
        for folder in Family.open(Path(family)).folders()
    }


class StopsAfter(Callback):
    """Watches, and asks for a stop after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def step_done(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def step_of_stop(said):
    """The step at which training says that it stopped and saved."""
    return int(re.search(r"stopped and saved at step ([\d,]+) of", said)[1].replace(",", ""))


def interrupted_often(arrays, out, **given):
    for steps in (1, 3, 2, 4, 5, 7, 6, 3, 5, 4, 6, 100):
        try:
            train(arrays, out, progress=StopsAfter(steps), **given)
        except AnewError as error:
            assert error.exit_code == 130
            assert step_of_stop(str(error)) in saved_steps(out).values()
        else:
            return out
    raise AssertionError("the last run was not to be stopped")


def start(out, npz, *options, processes=1):
    """Start `anew train` as a process of its own, or as several under torchrun.

    `npz` is a file of arrays, or a source with its kind, `folder:PATH` or `text:PATH`.
    """
    launcher = (
        ["torch.distributed.run", "--nproc-per-node", str(processes), "-m"] if processes > 1 else []
    )
    source = npz if str(npz).startswith(("folder:", "text:")) else f"npz:{npz}"
    common = ["--data", source, "--out", str(out), "--threads", "1", "--no-page"]
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, "anew", "train", *common, *map(str, options)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A group of its own, so that a kill reaches all processes of a launcher.
        start_new_session=True,
    )


def kill(process):
    """Kill a process and those that it started, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(process):
    """Wait for a process that must succeed; returns what it said."""
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return errors


def saved_steps(out):
    """How far every network's last save got."""
    steps = {}
    for path in Path(out).glob("networks/*/state/state.safetensors"):
        try:
            steps[path] = files.read_tensors(path)[1]["step"]
        # Another save may take its place while it is opened.
        except (AnewError, RuntimeError):
            continue
    return steps


def progress(out):
    """What a family's folder shows of how far its training got."""
    return sorted(Path(out).glob("networks/*/*.json")), saved_steps(out)


def kill_at_random(out, npz, kills, seed, options=QUICK, begin=fork_training):
    """Kill a process at random instants of its training, again and again, then let it end.

    `begin` starts it: a fork of this process, or `start`, where a start of Python belongs to what
    is tested.
    """
    dice = random.Random(seed)
    for _ in range(kills):
        before = progress(out)
        process = begin(out, npz, *options, "--save-minutes", "0.00001")
        deadline = time.monotonic() + 60
        # Once it goes on from what was saved: a kill before that would hit it while it starts.
        while progress(out) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.3))
        if process.poll() is not None:
            process.communicate()
            break
        kill(process)
    return finish(begin(out, npz, *options))
