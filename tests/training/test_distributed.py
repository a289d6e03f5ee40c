"""Several processes under torchrun: one process's result up to the order of sums, the same bits
from run to run.
"""

import os
import sys
from functools import partial

import pytest
import torch

from anew.core import files
from anew.family import Family
from anew.models import network, saving
from forks import fork_together, fork_training
from runs import finish, kill_at_random, start, train, weights

# A small rate: what is compared is how sums are formed, not how rounding grows over many large
# steps.
OPTIONS = (
    "--generations",
    1,
    "--epochs",
    2,
    "--batch-size",
    16,
    "--learning-rate",
    "1e-4",
    "--weight-decay",
    0,
    "--force",
    "--model.options",
    "width=16",
    "--views",
    "crop+flip",
    "--data.padding",
    2,
    "--siblings",
    "cwtm,dkpp",
)


def movements(out, folder, reference):
    """How far training moved a network's parameters, and how far they lie from another run's."""
    spec = Family.open(out).spec(folder.id)
    trained = saving.load(folder.weights)
    first = network.build(spec, trained.signature).model.state_dict()
    here, there = (
        files.read_tensors(path)[0]
        for path in (folder.weights, reference / folder.id / folder.weights.name)
    )
    moved = torch.cat(
        [
            (here[name] - first[name]).double().flatten()
            for name, _ in trained.model.named_parameters()
        ]
    )
    apart = torch.cat(
        [
            (here[name] - there[name]).double().flatten()
            for name, _ in trained.model.named_parameters()
        ]
    )
    return moved.norm().item(), apart.norm().item(), here, there


@pytest.fixture(scope="module")
def pair(arrays, tmp_path_factory):
    """The same family trained by one process and by two, which torchrun starts."""
    import numpy as np

    place = tmp_path_factory.mktemp("parallel")
    npz = place / "small.npz"
    np.savez(npz, x=arrays[0], y=arrays[1])
    finish(fork_training(place / "one", npz, *OPTIONS, "--ask", "table"))
    said = finish(start(place / "two", npz, *OPTIONS, "--ask", "table", processes=2))
    return place, npz, said


def test_two_processes_give_the_result_of_one_up_to_the_order_of_sums(pair):
    place, _, _ = pair
    folders = list(Family.open(place / "one").folders())
    assert len(folders) == 4
    for folder in folders:
        moved, apart, here, there = movements(place / "one", folder, place / "two" / "networks")
        # Another number of threads alone moves them apart by about a thousandth of the way.
        assert apart < 0.01 * moved
        for name, value in here.items():
            if "running" in name:
                torch.testing.assert_close(there[name], value, rtol=1e-4, atol=1e-4)
            if "num_batches" in name:
                assert torch.equal(there[name], value)


def test_one_process_prints_and_writes(pair):
    place, _, said = pair
    assert said.count("generation 0 (small_cnn, label): test error") == 1
    assert Family.open(place / "two").verify() == (4, [])
    record = next(iter(Family.open(place / "two").folders())).done
    assert record["environments"][0]["processes"] == 2


def test_two_processes_fill_the_store_of_one(pair):
    place, _, _ = pair
    stores = [sorted((place / run / "teachers").glob("*/*/filled.u8")) for run in ("one", "two")]
    assert [path.parent.name for path in stores[0]] == [path.parent.name for path in stores[1]]
    filled = [path.read_bytes() for path in (stores[0][0], stores[1][0])]
    assert filled[0] == filled[1] and any(filled[0])


def test_killed_and_from_run_to_run_two_processes_have_the_same_bits(pair, tmp_path):
    place, npz, _ = pair
    options = [*OPTIONS, "--ask", "live"]
    kill_at_random(tmp_path / "again", f"npz:{npz}", 1, 0, options, fork_together)
    assert weights(tmp_path / "again") == weights(place / "two")


@pytest.mark.slow
def test_two_processes_exchange_a_shuffled_teachers_answers_as_one_does(pair, tmp_path):
    _, npz, _ = pair
    shuffled = (*OPTIONS, "--objective.shuffled")
    finish(fork_training(tmp_path / "one", npz, *shuffled))
    finish(start(tmp_path / "two", npz, *shuffled, processes=2))
    for folder in Family.open(tmp_path / "one").folders():
        moved, apart, _, _ = movements(tmp_path / "one", folder, tmp_path / "two" / "networks")
        assert apart < 0.01 * moved


@pytest.mark.parametrize(
    "begin", [fork_together, pytest.param(partial(start, processes=2), marks=pytest.mark.slow)]
)
def test_a_batch_that_cannot_be_cut_is_refused(npz, tmp_path, begin):
    """Like torchrun, the parent of the forks ends the others at once when one has failed."""
    options = [15 if option == 16 else option for option in OPTIONS]
    source = f"npz:{npz}" if begin is fork_together else npz
    process = begin(tmp_path / "f", source, *options)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "anew: training.batch_size 15 cannot be split into 2 equal parts" in said
    assert "set --batch-size 16" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["IdleHead", "RandomDepth"])
def test_weights_without_a_part_in_the_logits_stop_nobody(npz, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    options = ["--epochs", 1, "--batch-size", 16, "--generations", 0, "--force"]
    options += ["--model", f"written_models:{name}"]
    said = finish(start(tmp_path / "two", npz, *options, processes=2))
    assert "Warning" not in said
    assert len(weights(tmp_path / "two")) == 1


def test_alone_nothing_is_asked_of_others(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", None)
    monkeypatch.setattr(torch.distributed, "all_gather", None)
    train(arrays, tmp_path / "f", generations=0)
