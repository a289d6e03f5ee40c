"""`anew watch`: what it says of a training, from the files alone, and when it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from anew.cli import watch
from anew.core import files
from anew.family import Family
from anew.family.progress import RECENT_EPOCHS, Progress
from conftest import quick
from forks import fork_training
from runs import kill, train


@pytest.fixture(scope="module")
def finished(arrays, tmp_path_factory):
    out = tmp_path_factory.mktemp("watched") / "f"
    train(arrays, out, generations=1, siblings=["ban+l"])
    return out


@pytest.fixture
def stopped(finished, tmp_path):
    """A family with a student that was stopped after two epochs, and one that was never begun."""
    out = tmp_path / "f"
    shutil.copytree(finished, out)
    *_, begun, described = sorted(
        Family.open(out).folders(), key=lambda folder: folder.done["generation"]
    )
    for folder in (begun, described):
        folder.done_file.unlink()
    described.metrics.unlink()
    lines = begun.metrics.read_text().splitlines(keepends=True)
    begun.metrics.write_text("".join(lines[:2]))
    return out, begun, described


def test_what_is_finished_is_said_once_and_the_command_ends(finished, command):
    lines = command("watch", finished, check=0).out.splitlines()
    assert len(lines) == 4 and lines[-1] == "3 networks: 3 finished"
    for folder in Family.open(finished).folders():
        (line,) = [line for line in lines if folder.id[:8] in line]
        assert f"finished, loss {folder.read_metrics()[-1]['train_loss']:.4f}" in line
        assert line.endswith(f"test error {folder.done['test']['error']:.2f} %")


def test_numbers_are_those_of_the_files(stopped):
    out, begun, described = stopped
    looked = {one.id: one for one in Progress(Family.open(out)).look()}
    one, rows = looked[begun.id], begun.read_metrics()
    assert (one.state, one.epoch, one.epochs) == ("stopped", 2, 3)
    assert one.steps == 3 * rows[0]["step"] and one.step == rows[-1]["step"]
    assert len(rows) < RECENT_EPOCHS
    assert one.steps_per_second == pytest.approx(rows[-1]["step"] / rows[-1]["seconds"])
    assert one.validation_error == rows[-1]["validation_error"]
    assert one.seconds_left is None
    assert looked[described.id].state == "waiting"


def test_the_speed_is_that_of_the_last_epochs_and_the_time_left_follows_from_it(stopped):
    out, begun, _ = stopped
    rows = [
        {"epoch": number, "step": 10 * number, "train_loss": 1.0, "seconds": seconds}
        for number, seconds in enumerate([90.0, 91.0, 92.0, 93.0, 94.0, 95.0], 1)
    ]
    spec = files.read_json(begun.spec_file)
    assert spec["training"]["epochs"] == 3
    begun.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    looked = {one.id: one for one in Progress(Family.open(out)).look()}
    assert looked[begun.id].steps_per_second == pytest.approx(20 / 91)

    # The owner of the lock is this process, so that the network counts as being trained.
    from anew.family.lock import NetworkLock

    with NetworkLock(begun.path):
        progress = Progress(Family.open(out))
        one = next(one for one in progress.look() if one.id == begun.id)
        assert one.state == "training"
        assert one.seconds_left == pytest.approx(10 / (20 / 91), rel=0.2)
        begun.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
        one = next(one for one in progress.look() if one.id == begun.id)
        assert one.steps_per_second == pytest.approx(50 / 5)


def test_a_training_is_followed_until_it_is_killed(npz, tmp_path, command, monkeypatch):
    monkeypatch.setattr(watch, "STILL_SECONDS", 0.5)
    out = tmp_path / "f"
    training = fork_training(out, npz, *quick(200, 0))
    deadline = time.monotonic() + 60
    while not list(out.glob("networks/*/metrics.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    timer = threading.Timer(2.0, kill, [training])
    timer.start()
    said = command("watch", out, "--json", "--every", "0.05", check=0).out.splitlines()
    timer.join()

    rows = [json.loads(line) for line in said]
    epochs = [row["epoch"] for row in rows if row["state"] == "training"]
    assert len(epochs) > 1 and epochs == sorted(set(epochs))
    assert any("seconds_left" in row for row in rows)
    assert rows[-1]["state"] == "stopped"
    (folder,) = Family.open(out).folders()
    assert rows[-1]["epoch"] == len(folder.read_metrics())


def test_ctrl_c_ends_it_quietly(stopped):
    out, *_ = stopped
    # What a shell starts behind itself ignores Ctrl-C, and so would what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    watching = subprocess.Popen(
        [sys.executable, "-m", "anew", "watch", str(out), "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    signal.signal(signal.SIGINT, before)
    assert watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("width", "absent"), [(120, ()), (80, ("seed",)), (62, ("seed", "loss", "test"))]
)
def test_the_table_fits_the_terminal_and_keeps_every_name(stopped, width, absent):
    from anew.cli.streams import Terminal

    networks = Progress(Family.open(stopped[0])).look()
    console = Terminal(width=width, no_color=True)
    with console.capture() as text:
        console.print(watch.drawn(networks, width, 40))
    lines = [line.rstrip() for line in text.get().splitlines()]
    assert max(map(len, lines)) <= width
    assert all(any(line.startswith(one.id[:8]) for line in lines) for one in networks)
    assert not set(absent) & set(lines[0].split())
    assert lines[-1] == "3 networks: 1 stopped, 1 waiting, 1 finished"


def test_a_low_terminal_shows_first_what_is_trained(stopped):
    from anew.cli.streams import Terminal

    networks = Progress(Family.open(stopped[0])).look()
    console = Terminal(width=100, no_color=True)
    with console.capture() as text:
        console.print(watch.drawn(networks, 100, 5))
    said = text.get()
    assert stopped[1].id[:8] in said and "2 more do not fit" in said


def test_a_network_that_cannot_be_read_hides_no_other(stopped, command):
    out, begun, described = stopped
    described.spec_file.write_text("{")
    said = command("watch", out, check=0).out
    assert f"{described.id}: unreadable: " in said
    assert f"{begun.id[:8]}: stopped, epoch 2/3" in said


@pytest.mark.parametrize("every", ["0", "-1", "nan", "1e9"])
def test_a_distance_of_looks_that_cannot_be_is_refused(every, finished, refused):
    assert "every must be a number from 0.05 to 3600" in refused(
        "watch", finished, "--every", every
    )


def test_no_family_is_refused(refused, tmp_path):
    assert "is no family" in refused("watch", tmp_path / "none")
