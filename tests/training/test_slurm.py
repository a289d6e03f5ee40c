"""Scripts for SLURM: run by bash as SLURM would, they give the bits of one process."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anew.family import Family
from elsewhere import FAILS, write_study
from forks import fork
from runs import weights

# What `sbatch` does, without a queue: each task of the array at once, one after another, and a
# number for the job.
SBATCH = """#!/bin/bash
echo "$@" >> calls
script="${@: -1}"
last=$(sed -n 's/^#SBATCH --array=0-//p' "$script")
for task in $(seq 0 "$last"); do
    SLURM_ARRAY_TASK_ID=$task bash "$script" > "task.$task.log" 2>&1
    echo "$? $(tail -1 task.$task.log)" >> ends
done
echo "1234;cluster"
"""

# In Python's place in the scripts: it asks the test for a fork that has torch already, and waits.
PYTHON = """#!/bin/bash
folder=$(mktemp -d "{requests}/XXXXXX")
printf '%s\\0' "$PWD" "$@" > "$folder/words"
mv "$folder/words" "$folder/asked"
until [ -e "$folder/code" ]; do sleep 0.1; done
cat "$folder/said"
exit "$(cat "$folder/code")"
"""


@pytest.fixture
def study(tmp_path, arrays):
    return write_study(tmp_path, arrays, epochs=3)


def write(command, study, *options, threads=1):
    return command(
        "study",
        "run",
        study,
        "--out",
        "family",
        "--threads",
        threads,
        "--on",
        "slurm-script",
        "--scripts",
        "scripts",
        *options,
        check=0,
    ).out


def test_a_task_tracks_what_the_study_tracks(command, study, tmp_path):
    write(command, study, "--track", "tensorboard:runs", "--track", "wandb:a b")
    scripts = [path.read_text() for path in (tmp_path / "scripts").glob("*.sh")]
    trained = [text for text in scripts if "study train" in text]
    assert trained
    assert all("--track tensorboard:runs --track 'wandb:a b'" in text for text in trained)


def test_a_task_reads_data_and_caches_answers_as_the_study_does(command, study, tmp_path):
    asked = "--disk-budget 1.5 --storage disk --workers 2 --cache-budget 3.0"
    write(command, study, *asked.split(), "--save-minutes", "1", "--ask", "table")
    scripts = [path.read_text() for path in (tmp_path / "scripts").glob("generation-*.sh")]
    assert scripts
    for text in scripts:
        (line,) = [one for one in text.splitlines() if one.startswith("exec ")]
        assert f"--ask table --save-minutes 1.0 {asked}" in line


def submit(tmp_path, *options):
    """Run the written scripts by an sbatch that runs its tasks here; returns the calls of it, and
    how tasks ended.
    """
    tools = tmp_path / "tools"
    write_program(tools / "sbatch", SBATCH)
    for name in ("calls", "ends"):
        (tmp_path / name).write_text("")
    submitted = subprocess.Popen(
        ["bash", "scripts/submit.sh", *options],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        env={
            **os.environ,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        },
    )
    while submitted.poll() is None:
        for asked in tools.glob("requests/*/asked"):
            answer(asked)
        time.sleep(0.02)
    assert submitted.returncode == 0
    return [(tmp_path / name).read_text().splitlines() for name in ("calls", "ends")]


def write_program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def answer(asked):
    """Run the command that a script asks for, as `PYTHON` has noted it, and say how it ended."""
    folder, *words = asked.read_text().rstrip("\0").split("\0")
    asked.unlink()
    assert words[:2] == ["-m", "anew"]
    done = fork(*words[2:], cwd=Path(folder))
    (asked.parent / "said").write_text("".join(done.communicate()))
    (asked.parent / "ended").write_text(str(done.returncode))
    (asked.parent / "ended").rename(asked.parent / "code")


def test_the_scripts_train_the_bits_of_one_process(command, study, tmp_path, monkeypatch):
    done = command("study", "run", study, "--out", "one", "--threads", 1, check=2)
    assert FAILS in done.err
    requests = tmp_path / "tools" / "requests"
    write_program(tmp_path / "tools" / "python", PYTHON.format(requests=requests))
    requests.mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "tools" / "python"))
    said = write(command, study, "--jobs", 2)
    assert "3 array jobs" in said and "bash scripts/submit.sh" in said
    # The specs are there, and nothing is trained yet.
    assert len(list(Family.open(tmp_path / "family").folders())) == 5 and not weights(
        tmp_path / "family"
    )
    calls, ends = submit(tmp_path, "--partition", "gpu")
    assert weights(tmp_path / "family") == weights(tmp_path / "one")
    assert len(weights(tmp_path / "one")) == 4
    scripts = [str(tmp_path / "scripts" / f"generation-{generation}.sh") for generation in range(3)]
    assert calls == [
        f"--parsable --partition gpu {scripts[0]}",
        *(
            f"--parsable --dependency=afterany:1234 --partition gpu {script}"
            for script in scripts[1:]
        ),
    ]
    # A teacher, two parts of its three students of which one fails, a student of one.
    assert sorted(end[0] for end in ends) == ["0", "0", "0", "2"]
    assert re.search("1 networks failed: .*gradient", next(end for end in ends if end[0] == "2"))
    # Again: what is missing alone.
    write(command, study)
    assert [path.name for path in sorted((tmp_path / "scripts").iterdir())] == [
        "generation-1.sh",
        "submit.sh",
    ]
    forced = write(command, study, "--force")
    assert "1 array jobs" in forced
    # A task's command without a shell, which other tasks have had: the check is passed over.
    folders = Family.open(tmp_path / "family").folders()
    (failed,) = (folder.id for folder in folders if not folder.is_done)
    data = ("--data", f"npz:{tmp_path / 'small.npz'}")
    command("study", "train", "family", failed, *data, "--threads", 1, "--force", check=0)
    assert len(weights(tmp_path / "family")) == 5
    assert "nothing to do" in write(command, study)


def test_a_script_asks_slurm_for_what_a_group_needs(command, study, tmp_path):
    write(command, study, "--gpus-per-network", 2, "--force", "--keep-epochs", 4, threads=3)
    text = (tmp_path / "scripts" / "generation-1.sh").read_text()
    assert "#SBATCH --cpus-per-task=6\n#SBATCH --gres=gpu:2\n" in text
    assert "-m torch.distributed.run --standalone --nproc-per-node 2 -m anew study train" in text
    assert "--device cuda --threads 3 --ask live --keep-epochs 4 --force" in text
    # One group of siblings, whole.
    assert "#SBATCH --array=0-0\n" in text
    for script in (tmp_path / "scripts").iterdir():
        subprocess.run(["bash", "-n", script], check=True)


def test_names_run_nothing_in_a_script(command, study, tmp_path):
    text = study.read_text().replace(
        'title = "Where it runs"', 'title = "A\\ntouch hacked\\n$(touch hacked)"'
    )
    study.write_text(text)
    folder = "scripts; touch hacked $(touch hacked)"
    command(
        "study",
        "run",
        study,
        "--out",
        folder + " out",
        "--on",
        "slurm-script",
        "--scripts",
        folder,
        check=0,
    )
    script = tmp_path / folder / "generation-0.sh"
    done = subprocess.run(
        ["bash", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "SLURM_ARRAY_TASK_ID": "0", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert len(weights(tmp_path / (folder + " out"))) == 1
    assert not (tmp_path / "hacked").exists()


OWN = """
from pathlib import Path
Path("imported").touch()
from anew.models import SmallCNN
def build(input_shape, classes):
    return SmallCNN(input_shape[0], classes)
"""


def test_a_model_of_own_code_is_built_only_if_it_is_trusted_as_scripts_do(
    command, refused, study, tmp_path, monkeypatch
):
    (tmp_path / "own_network_of_a_study.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    name = "own_network_of_a_study:build"
    study.write_text(study.read_text().replace('"small_cnn"', f'"{name}"'))
    write(command, study, "--columns", "Teacher", "BAN")
    # Students name their teacher's model too.
    for script in ("generation-0.sh", "generation-1.sh"):
        assert f" --trust {name}" in (tmp_path / "scripts" / script).read_text()

    # Whoever gets the family has named nothing.
    monkeypatch.delitem(sys.modules, "own_network_of_a_study")
    (tmp_path / "imported").unlink()
    family = Family.open(tmp_path / "family")
    specs = sorted(
        (family.spec(folder.id) for folder in family.folders()), key=lambda one: one.generation
    )
    ids = [spec.id for spec in specs]
    for other in ((), ("--trust", "another:build")):
        said = refused("study", "train", "family", *ids, *other)
        assert f"set --trust {name}" in said and ids[0] in said
    assert not (tmp_path / "imported").exists() and not weights(tmp_path / "family")
    command("study", "train", "family", *ids, "--threads", 1, "--trust", name, check=0)
    assert len(weights(tmp_path / "family")) == 2


def test_networks_that_cannot_be_trained_are_one_line(command, refused, study, tmp_path):
    write(command, study)
    family = Family.open(tmp_path / "family")
    oldest, *students = sorted(
        (family.spec(folder.id) for folder in family.folders()), key=lambda one: one.generation
    )
    assert f"its teacher {oldest.id} is not finished" in refused(
        "study", "train", "family", students[0].id
    )
    assert "needs one or more ids" in refused("study", "train", "family")
    assert "no network with an id that starts with 'zz'" in refused(
        "study", "train", "family", "zz"
    )
    assert "is no family" in refused("study", "train", "nowhere", oldest.id)
    assert "has the fingerprint" in refused(
        "study", "train", "family", oldest.id, "--data", "digits"
    )
    assert not weights(tmp_path / "family")
