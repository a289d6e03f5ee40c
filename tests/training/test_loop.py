"""Training: the same numbers however it is run, killed or interrupted; what is learned, recorded
and refused.
"""

import json
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import anew
from anew import AnewError
from anew.core import fields, files
from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.spec import TrainingSpec
from anew.evaluation import read_outputs
from anew.family import Family
from anew.family.lock import NetworkLock
from anew.models import network
from anew.studies.running import train_networks
from conftest import QUICK, quick
from forks import fork_training
from runs import (
    RECIPE,
    StopsAfter,
    finish,
    interrupted_often,
    kill_at_random,
    metrics,
    saved_steps,
    start,
    step_of_stop,
    train,
    weights,
)


@pytest.fixture(scope="module")
def trained(arrays, tmp_path_factory):
    return train(arrays, tmp_path_factory.mktemp("trained") / "family")


def test_a_lineage_learns(trained):
    assert [spec.generation for spec in trained.lineage] == [0, 1, 2]
    assert [row.name for row in trained.scores] == [
        "generation 0",
        "generation 1",
        "generation 2",
        "ensemble 0-1",
        "ensemble 1-2",
        "ensemble 0-2",
    ]
    assert all(row.scores.error < 40 for row in trained.scores)
    assert (
        len({row["step"] for row in trained.family.folder(trained.lineage[0].id).read_metrics()})
        == 3
    )


def test_the_same_spec_gives_the_same_bits(trained, arrays, tmp_path):
    again = train(arrays, tmp_path / "again")
    assert weights(again.family.path) == weights(trained.family.path)
    assert metrics(again.family.path) == metrics(trained.family.path)
    # The caller's own random numbers before and between make no difference, and are not touched.
    torch.manual_seed(12345)
    np.random.seed(3)
    state = torch.get_rng_state()
    third = train(arrays, tmp_path / "third")
    assert weights(third.family.path) == weights(trained.family.path)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_command_gives_the_bits_of_python(trained, npz, process, tmp_path):
    process("train", "--data", f"npz:{npz}", "--out", "family", "--threads", "1", *QUICK, check=0)
    assert weights(tmp_path / "family") == weights(trained.family.path)


def test_another_seed_and_each_generation_start_from_other_weights(trained, arrays, tmp_path):
    signature = trained.network(0).signature
    specs = [*trained.lineage, replace(trained.lineage[0], seed=1)]
    starts = [
        network.build(spec, signature).model.state_dict()["classifier.weight"] for spec in specs
    ]
    for number, one in enumerate(starts):
        assert all(not torch.equal(one, other) for other in starts[:number])


def test_finished_networks_are_not_trained_again_and_more_generations_go_on(
    trained, arrays, tmp_path
):
    first = train(arrays, tmp_path / "f", generations=1)
    stamps = {
        path: path.stat().st_mtime_ns for path in first.family.path.rglob("*") if path.is_file()
    }
    more = train(arrays, tmp_path / "f", generations=2)
    assert weights(more.family.path) == weights(trained.family.path)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_a_finished_network_has_its_files_and_no_state(trained):
    for folder in trained.family.folders():
        names = {path.name for path in folder.path.iterdir()}
        assert names == {
            "spec.json",
            "weights.safetensors",
            "metrics.jsonl",
            "outputs.safetensors",
            "done.json",
        }
    assert trained.family.verify() == (3, [])


def test_checks_are_recorded(trained):
    record = trained.family.folder(trained.lineage[1].id).done
    assert 0 < record["checks"]["signal"] < 10
    assert record["checks"]["teacher_accuracy"] > record["checks"]["chance_limit"]
    assert record["environments"][0]["threads"] == 1


def test_scores_equal_a_computation_of_ones_own(trained, arrays):
    logits, labels = (
        files.read_tensors(trained.family.folder(trained.lineage[1].id).outputs)[0][name]
        for name in ("test.last", "test.labels")
    )
    assert trained.scores[1].scores.error == pytest.approx(
        100 * (logits.argmax(1) != labels).double().mean().item()
    )
    assert len(labels) == 48  # a fifth of 240, which has no test set of its own


@pytest.mark.parametrize("objective", ["kd", "ban+l", "cwtm", "dkpp"])
def test_every_objective_trains(arrays, tmp_path, objective):
    result = train(arrays, tmp_path / "f", objective=objective, generations=1)
    assert result.scores[1].scores.error < 50


@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "adamw", "learning_rate": 0.01},
        {"schedule": "cosine", "warmup": 0.1, "clip_norm": 1.0},
        {"schedule": "one-cycle", "decay_all": False},
        {"precision": "bfloat16"},
        {"memory_format": "contiguous", "best_epoch": True},
    ],
)
def test_every_setting_trains_and_resumes_to_the_same_bits(arrays, tmp_path, training):
    recipe = {
        "training": {**RECIPE["training"], **training},
        "model": {"options": {"width": 16, "dropout": 0.2}},
    }
    recipe["data"] = {"views": "crop+flip", "padding": 2}
    whole = train(arrays, tmp_path / "whole", recipe=recipe, generations=1)
    assert whole.scores[0].scores.error < 60
    stopped = interrupted_often(arrays, tmp_path / "stopped", recipe=recipe, generations=1)
    assert weights(stopped) == weights(whole.family.path)
    assert metrics(stopped) == metrics(whole.family.path)


def test_interrupted_runs_end_with_the_same_bits(trained, arrays, tmp_path):
    out = interrupted_often(arrays, tmp_path / "f")
    assert weights(out) == weights(trained.family.path)
    assert metrics(out) == metrics(trained.family.path)


@pytest.mark.parametrize(
    ("seed", "kills", "begin"),
    [(0, 4, fork_training), (1, 4, fork_training), (2, 4, fork_training), (3, 1, start)],
)
def test_killed_at_random_instants_it_ends_with_the_same_bits(
    trained, npz, tmp_path, seed, kills, begin
):
    out = tmp_path / "family"
    kill_at_random(out, npz, kills, seed, begin=begin)
    assert weights(out) == weights(trained.family.path)
    assert metrics(out) == metrics(trained.family.path)
    assert Family.open(out).verify() == (3, [])
    assert (
        not list(out.rglob("*.tmp"))
        and not list(out.rglob("lock"))
        and not list(out.rglob("state"))
    )


def test_after_a_kill_only_what_was_not_saved_is_done_again(npz, tmp_path):
    out = tmp_path / "family"
    process = fork_training(out, npz, *quick(60))
    deadline = time.monotonic() + 60
    while not any(step > 20 for step in saved_steps(out).values()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    (step,) = saved_steps(out).values()
    again = fork_training(out, npz, *quick(60))
    while "resumes at" not in again.errors:
        assert again.poll() is None, "it began anew"
        time.sleep(0.01)
    again.kill()
    again.communicate()
    assert f"resumes at step {step} of" in again.errors


def test_ctrl_c_saves_and_says_how_to_go_on(npz, tmp_path):
    out = tmp_path / "family"
    process = start(out, npz, *quick(2000))
    while not saved_steps(out):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command resumes" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    # What it says is what it saved: the last step, not the last epoch's end.
    assert step_of_stop(errors.splitlines()[-1]) == max(saved_steps(out).values()) > 0


def test_two_processes_on_one_network(npz, tmp_path):
    out = tmp_path / "family"
    process = fork_training(out, npz, *quick(2000))
    while not saved_steps(out):
        assert process.poll() is None
        time.sleep(0.01)
    # A fork too: one that was not refused would train for minutes.
    second = fork_training(out, npz, *quick(2000))
    _, said = second.communicate(timeout=60)
    process.kill()
    process.communicate()
    assert second.returncode == 2
    assert f"process {process.pid} on" in said and "is training this network now" in said
    assert "Traceback" not in said


def test_who_waits_for_another_process_finds_the_network_done(npz, tmp_path):
    out = tmp_path / "family"
    process = fork_training(out, npz, *quick(40, generations=1))
    while not saved_steps(out):
        assert process.poll() is None
        time.sleep(0.01)
    (folder,) = Family.open(out).folders()
    watching = Watching()
    assert not folder.is_done
    assert train_networks(out, [folder.id], Execution("cpu", 1, patience=120.0), watching) == {}
    finish(process)
    assert watching.done == [folder.id] and watching.started == 0


class TakenOver(Callback):
    """Gives the network to another process at an instant, and keeps what the folder then holds."""

    def __init__(self, out, at):
        self.out, self.at, self.folder, self.content, self.steps = out, at, None, {}, 0

    def step_done(self):
        self.steps += 1
        self._meet(("step", self.steps))

    def epoch_done(self, spec, row):
        self._meet(("epoch", row["epoch"]))

    def _meet(self, instant):
        if instant == self.at:
            (self.folder,) = Family.open(self.out).folders()
            (self.folder.path / "lock").write_text(json.dumps({"token": "another's"}))
            # The other one is further than this one ever was.
            with self.folder.metrics.open("a") as file:
                file.write("another's rows" * 9)
            self.content = files_of(self.folder)


def files_of(folder):
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("at", [("step", 2), ("epoch", 1), ("epoch", 3)])
def test_who_slept_while_another_took_over_stops_and_changes_nothing(arrays, tmp_path, at):
    taken = TakenOver(tmp_path / "family", at)
    with pytest.raises(AnewError, match="another process took over this network"):
        train(arrays, tmp_path / "family", generations=0, keep_epochs=1, progress=taken)
    assert files_of(taken.folder) == taken.content


def test_the_lock_that_died_with_its_owner_goes_with_the_next_command(arrays, tmp_path, npz):
    family = train(arrays, tmp_path / "family", generations=0).family
    (folder,) = family.folders()
    lock = folder.path / "lock"
    # A process that never was: Linux numbers none so.
    owner = {**NetworkLock(folder.path).owner, "process": 2**30, "token": "t"}
    lock.write_text(json.dumps(owner))
    train(arrays, tmp_path / "family", generations=0)
    assert not lock.exists()

    lock.write_text(json.dumps(NetworkLock(folder.path).owner))
    train(arrays, tmp_path / "family", generations=0)
    assert lock.exists(), "a living owner gives its lock back itself"


@pytest.mark.parametrize("ignored", [False, True])
def test_a_lost_terminal_saves_unless_it_is_ignored(npz, tmp_path, ignored):
    out = tmp_path / "family"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    process = fork_training(out, npz, *quick(2000))
    signal.signal(signal.SIGHUP, before)
    while not saved_steps(out):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    if ignored:
        time.sleep(0.3)
        assert process.poll() is None
        process.kill()
    _, errors = process.communicate(timeout=60)
    if not ignored:
        assert process.returncode == 130
        assert step_of_stop(errors.splitlines()[-1]) == max(saved_steps(out).values()) > 0


class Watching(Callback):
    """Counts what begins, and keeps the ids of what is done."""

    def __init__(self):
        self.started, self.done = 0, []

    def training_started(self, specs, steps, done, batch_size):
        self.started += 1

    def network_done(self, spec, record, *, found):
        self.done.append(spec.id)


def test_a_loss_that_is_not_finite_stops_with_the_last_good_state(arrays, tmp_path):
    recipe = {
        **RECIPE,
        "training": {**RECIPE["training"], "learning_rate": 1000.0, "epochs": 50, "warmup": 0.5},
    }
    with pytest.raises(
        AnewError,
        match=r"(loss is|weights are no longer).* at step \d+ of \d+, learning rate .* lower",
    ) as caught:
        train(arrays, tmp_path / "f", recipe=recipe)
    (folder,) = Family.open(tmp_path / "f").folders()
    assert not folder.is_done
    assert not (folder.path / "lock").exists()
    if "last good state" in str(caught.value):
        tensors, _ = files.read_tensors(folder.state)
        assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_teacher_at_chance_stops_and_force_goes_on(arrays, tmp_path):
    shuffled = arrays[0], np.random.default_rng(1).permutation(arrays[1])
    with pytest.raises(
        AnewError, match=r"teacher: its accuracy .* it has nothing to teach.*--force"
    ):
        train(shuffled, tmp_path / "f", generations=1, seed=0)
    result = train(shuffled, tmp_path / "f", generations=1, seed=0, force=True)
    assert result.family.folder(result.lineage[1].id).done["checks"]["forced"] is True


def test_a_term_that_does_nothing_stops(arrays, tmp_path):
    with pytest.raises(
        AnewError, match=r"gradient of the teacher's term is .* of the label term's"
    ):
        train(
            arrays,
            tmp_path / "f",
            objective={"name": "kd", "alpha": 1e-5, "temperature": 1.0},
            generations=1,
        )


class Stops(StopsAfter):
    """Stops after so many steps, and keeps what is said."""

    def __init__(self, steps):
        super().__init__(steps)
        self.said = []

    def log(self, text):
        self.said.append(text)


def test_a_training_stops_early_with_the_weights_of_the_least_validation_loss(arrays, tmp_path):
    # So high a rate that the loss soon rises.
    training = {
        "epochs": 30,
        "batch_size": 43,
        "learning_rate": 0.5,
        "schedule": "constant",
        "early_stopping": 2,
    }
    recipe = {**RECIPE, "training": {**RECIPE["training"], **training}}
    heard = Stops(10**9)
    result = train(arrays, tmp_path / "f", generations=1, recipe=recipe, progress=heard)
    for generation, spec in enumerate(result.lineage):
        folder = result.family.folder(spec.id)
        losses = [row["validation_nll"] for row in folder.read_metrics()]
        best = min(range(len(losses)), key=losses.__getitem__)
        assert len(losses) < 30 and len(losses) - 1 - best == 2
        # No epoch before was two behind the least so far.
        for end in range(1, len(losses)):
            so_far = losses[:end]
            assert end - 1 - min(range(end), key=so_far.__getitem__) < 2
        logits, labels = read_outputs(folder, "validation")
        nll = F.cross_entropy(logits.double(), labels).item()
        assert nll == pytest.approx(losses[best], rel=1e-6)
        assert folder.done["best_epoch"]["epoch"] == best + 1
        assert not folder.best.exists()
        said = f"generation {generation} stops early after epoch {len(losses)} of 30 with the"
        assert any(line.startswith(f"{said} weights of epoch {best + 1},") for line in heard.said)

    # Interrupted within epochs, also those after the best one, it ends with the same bits.
    steps = result.family.folder(result.lineage[0].id).read_metrics()[0]["step"]
    for stop in (3, 2 * steps + 1, steps, steps + 2, 10**9):
        try:
            train(arrays, tmp_path / "g", generations=1, recipe=recipe, progress=Stops(stop))
        except AnewError as error:
            assert error.exit_code == 130
    assert weights(tmp_path / "g") == weights(tmp_path / "f")


def test_early_stopping_needs_validation_examples(arrays, tmp_path):
    recipe = {"training": {"early_stopping": 3}, "data": {"validation": 0}}
    with pytest.raises(AnewError, match="follows the validation loss, and no validation data"):
        train(arrays, tmp_path / "f", generations=0, recipe={**RECIPE, **recipe})
    both = {**RECIPE["training"], "early_stopping": 3, "best_epoch": True}
    with pytest.raises(AnewError, match="drop --best-epoch"):
        train(arrays, tmp_path / "f", generations=0, recipe={**RECIPE, "training": both})
    assert "early_stopping" not in fields.write(TrainingSpec(), identity=True)


def test_the_best_epoch_is_validations_and_stands_beside_the_last(arrays, tmp_path):
    recipe = {**RECIPE, "training": {**RECIPE["training"], "best_epoch": True, "epochs": 5}}
    result = train(arrays, tmp_path / "f", recipe=recipe, generations=0)
    folder = result.family.folder(result.lineage[0].id)
    rows = folder.read_metrics()
    best = min(rows, key=lambda row: row["validation_error"])
    assert folder.done["best_epoch"]["epoch"] == best["epoch"]
    assert result.scores[0].best is not None
    assert result.family.verify() == (1, [])


def test_a_given_family_network_teaches_and_brings_its_ancestors(trained, arrays, tmp_path):
    given = f"{trained.family.path}:{trained.lineage[1].id[:8]}"
    result = train(arrays, tmp_path / "f", teacher=given, generations=1, objective="ban+l")
    assert [spec.generation for spec in result.lineage] == [0, 1, 2]
    assert result.lineage[:2] == trained.lineage[:2]
    assert result.family.verify() == (3, [])


def test_a_given_state_dict_teaches(trained, arrays, tmp_path):
    path = tmp_path / "teacher.safetensors"
    tensors, _ = files.read_tensors(trained.family.folder(trained.lineage[0].id).weights)
    files.safetensors.torch.save_file(tensors, path)
    result = train(arrays, tmp_path / "f", teacher=path, generations=1)
    assert result.lineage[0].weights == files.sha256(path)
    assert result.scores[0].scores == trained.scores[0].scores
    # The same weights teach the same student as the family's own network did, though by another
    # name.
    student = trained.family.folder(trained.lineage[1].id)
    mine, theirs = (
        files.read_tensors(one.weights)[0]
        for one in (result.family.folder(result.lineage[1].id), student)
    )
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_another_architecture_can_be_generation_0(arrays, tmp_path):
    result = train(arrays, tmp_path / "f", teacher_model="mlp", generations=1)
    assert [spec.model.name for spec in result.lineage] == ["mlp", "small_cnn"]


@pytest.mark.parametrize(
    ("batch_size", "epochs", "is_said"), [(128, 10, 1), (16, 10, 0), (128, 3, 0)]
)
def test_dozens_of_epochs_of_a_step_are_said_to_be_few(
    arrays, tmp_path, capsys, batch_size, epochs, is_said
):
    settings = {"epochs": epochs, "batch_size": batch_size}
    train(arrays, tmp_path / "f", generations=0, progress=True, **settings)
    said = " ".join(capsys.readouterr().err.split())
    words = f"{epochs} in all: few to train a network with; lower --batch-size, to 16 for example"
    assert said.count(words) == is_said and said.count("few to train") == is_said


def test_vectors_train_an_mlp(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    features = rng.normal(size=(300, 5)) + 3 * np.eye(3, 5)[labels]
    result = anew.train(
        "mlp",
        (features, labels),
        generations=1,
        epochs=10,
        batch_size=32,
        out=tmp_path / "f",
        progress=False,
    )
    assert result.scores[1].scores.error < 20
    probabilities = result.predict(features[:7], generations=(0, 1))
    assert probabilities.shape == (7, 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(7, dtype=torch.float64))


def test_prediction_is_the_mean_of_probabilities(trained, arrays):
    each = [trained.predict(arrays[0][:9], (generation,)) for generation in (0, 1, 2)]
    torch.testing.assert_close(trained.predict(arrays[0][:9], (0, 1, 2)), sum(each) / 3)
    assert "ensemble 0-2" in str(trained)


def test_metrics_are_one_line_an_epoch(trained):
    for folder in trained.family.folders():
        rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        assert {
            "step",
            "learning_rate",
            "train_loss",
            "train_error",
            "validation_error",
            "validation_nll",
        } <= rows[0].keys()
