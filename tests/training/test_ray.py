"""Studies on Ray: the bits of one process whatever is killed or stopped; what makes no sense is one
clear line.
"""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from anew.family import Family
from elsewhere import FAILS, write_study
from runs import saved_steps, weights

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (anew[ray])"
)


@pytest.fixture(scope="module")
def place(arrays, tmp_path_factory):
    """A folder with a study, and the family `one` that one process makes of it."""
    folder = tmp_path_factory.mktemp("ray")
    study = write_study(folder, arrays, epochs=30)
    finish(run(study, "--out", folder / "one"))
    assert len(weights(folder / "one")) == 4
    return study, folder


@pytest.fixture
def short_folder():
    """A folder for Ray, whose sockets' paths must be short; afterwards nothing that was started
    with it may be left.
    """
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    yield folder
    for number in of_ray(folder):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    wait_for(lambda: not of_ray(folder), 60)
    shutil.rmtree(folder)


@pytest.fixture
def on_ray(short_folder):
    """Start the study on a Ray of this machine alone, which ends with the command, however that
    ends.
    """
    started = []

    def start(study, out):
        process = run(
            # Ray keeps a token in the home.
            study,
            "--out",
            out,
            "--on",
            "ray",
            "--jobs",
            2,
            RAY_TMPDIR=str(short_folder),
            HOME=str(short_folder),
            RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES=str(100 * 10**6),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
    wait_for(lambda: not of_ray(short_folder), 60)


def run(study, *options, **environment):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "anew",
            "study",
            "run",
            str(study),
            *map(str, options),
            "--threads",
            "1",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", **environment},
        start_new_session=True,
    )


def finish(process):
    """Wait for a study of which one network fails and all others are trained; returns what was
    said.
    """
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2 and FAILS in errors.splitlines()[-1], errors
    assert "gradient of the teacher's term is 0.0e+00" in errors
    assert "Traceback" not in errors
    return errors


def of_ray(folder):
    """The processes that a Ray with this temporary folder started."""
    return having(f"RAY_TMPDIR={folder}")


def having(setting):
    """The processes with a setting in the environment that they inherited, and their commands."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            # Not the name, which Ray's workers set: their names say whether they train.
            if setting.encode() in (path / "environ").read_bytes().split(b"\0"):
                command = (
                    (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                found[int(path.name)] = command.strip()
        except OSError:
            continue
    return {number: command for number, command in found.items() if command}


def training(driver):
    """The workers that have a task now."""
    folder = (
        Path(f"/proc/{driver.pid}/environ")
        .read_bytes()
        .split(b"RAY_TMPDIR=")[1]
        .split(b"\0")[0]
        .decode()
    )
    return [
        number for number, command in of_ray(folder).items() if command.startswith("ray::_train")
    ]


def wait_for(what, seconds=200):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@needs_ray
@pytest.mark.slow
def test_a_worker_that_is_killed_is_retried_and_goes_on_to_the_same_bits(place, on_ray):
    study, folder = place
    process = on_ray(study, folder / "killed")
    wait_for(lambda: any(step > 20 for step in saved_steps(folder / "killed").values()))
    workers = wait_for(lambda: training(process))
    os.kill(workers[0], signal.SIGKILL)
    said = finish(process)
    assert weights(folder / "killed") == weights(folder / "one")
    assert Family.open(folder / "killed").verify() == (4, [])
    assert said.count("generation 2 (small_cnn, ban), seed 0: test error") == 1
    # Watchers hear on Ray what they hear elsewhere: starts and epochs too.
    assert re.search(r"generation 0 \(.*\): [\d,]+ of [\d,]+ steps to go", said)
    assert re.search(r"epoch \d+/30: loss", said)
    assert not re.search(r"raylet|pid=|WARNING|INFO", said)


@needs_ray
@pytest.mark.slow
def test_a_study_that_is_stopped_and_killed_goes_on_to_the_same_bits(place, on_ray):
    study, folder = place
    out = folder / "stopped"
    process = on_ray(study, out)
    wait_for(lambda: saved_steps(out) and training(process))
    # As Ctrl-C in a terminal, to all processes of the command.
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 130, said
    assert (
        "the same command resumes from there" in said.splitlines()[-1] and "Traceback" not in said
    )
    assert re.match(
        r"anew: generation \d.* stopped and saved at step \d+ of 300; the same",
        said.splitlines()[-1],
    )
    before = saved_steps(out)
    process = on_ray(study, out)
    wait_for(lambda: saved_steps(out) != before)
    # The driver alone, not what it started: that must notice.
    process.kill()
    process.communicate()
    finish(on_ray(study, out))
    assert weights(out) == weights(folder / "one")


@needs_ray
@pytest.mark.slow
def test_a_machine_that_is_lost_is_survived_with_the_same_bits(place, short_folder):
    study, folder = place
    settings = {"RAY_TMPDIR": str(short_folder), "HOME": str(short_folder)}
    node = [
        Path(sys.executable).parent / "ray",
        "start",
        "--num-cpus=1",
        "--object-store-memory=100000000",
    ]
    head = ["--head", "--port=0", "--include-dashboard=false", "--disable-usage-stats"]
    said = told([*node, *head], settings | {"NODE": "head"})
    address = re.search(r"--address='([0-9.:]+)'", said)[1]
    told([*node, f"--address={address}"], settings | {"NODE": "other"})
    out = folder / "lost"
    process = run(study, "--out", out, "--on", "ray", "--ray-address", address, **settings)
    # All that runs on the other machine, at once, while something is trained there.
    wait_for(lambda: any(step > 20 for step in saved_steps(out).values()))
    wait_for(
        lambda: any(command.startswith("ray::_train") for command in having("NODE=other").values())
    )
    for number in having("NODE=other"):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    finish(process)
    assert weights(out) == weights(folder / "one")
    assert Family.open(out).verify() == (4, [])


def told(command, environment):
    """Run a command that must succeed; returns what it said."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_ray
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--ray-address", "127.0.0.1:{closed}"],
            "ray-address '127.0.0.1:.*': no cluster is there",
        ),
        (["--ray-address", "127.0.0.1:{open}"], "no cluster is there .timed out"),
        (["--ray-address", "nowhere"], "ray-address must be host:port, .*, got 'nowhere'"),
        (
            ["--gpus-per-network", "1.5"],
            "gpus-per-network must be a number >= 0 and <= 1 on Ray, got 1.5",
        ),
        (["--gpus-per-network", "1", "--device", "cpu"], "a GPU has no use with --device cpu"),
        (["--device", "mps"], "on Ray, .* must be auto, cpu or cuda"),
        (["--jobs", "0"], "jobs must be a whole number >= 1, got 0"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    refused, tmp_path, arrays, monkeypatch, options, says
):
    # Somebody who does not answer is waited for, but not for five seconds.
    monkeypatch.setattr("anew.training.launch.ray.REACH_SECONDS", 0.5)
    with socket.socket() as listening, socket.socket() as closed:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        closed.bind(("127.0.0.1", 0))
        ports = {"open": listening.getsockname()[1], "closed": closed.getsockname()[1]}
        given = [option.format(**ports) for option in options]
        line = refused(
            "study", "run", write_study(tmp_path, arrays, 1), "--out", "f", "--on", "ray", *given
        )
    assert re.search(says, line)
    assert not list(tmp_path.glob("f/networks/*"))


def test_without_ray_one_line_says_what_to_install(refused, tmp_path, arrays, monkeypatch):
    # Python takes None here for a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "ray", None)
    line = refused("study", "run", write_study(tmp_path, arrays, 1), "--on", "ray")
    assert line == "anew: on 'ray' needs Ray; pip install 'anew[ray]'"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--ray-address", "auto"], "ray-address 'auto': has no use with --on here"),
        (["--gpus-per-network", "1"], "gpus-per-network: has no use with --on here"),
        (
            ["--on", "slurm-script", "--gpus-per-network", "0.5"],
            "must be a whole number for SLURM, got 0.5",
        ),
        (["--on", "moon"], "moon"),
    ],
)
def test_an_option_of_one_place_is_refused_at_another(refused, tmp_path, arrays, options, says):
    assert says in refused("study", "run", write_study(tmp_path, arrays, 1), *options)
