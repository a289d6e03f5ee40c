"""Long runs, by `make test-slow`: many more kills, compilation in every combination, and real
pictures.

Real pictures are those in the folder that ANEW_TEST_DATA names: FashionMNIST/raw and cifar10/
(Parquet).
"""

import os
import random
import shutil
import signal
from pathlib import Path

import pytest
import torch

from anew.core import files
from anew.family import Family
from runs import RECIPE, interrupted_often, kill_at_random, metrics, start, train, weights

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("ANEW_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="ANEW_TEST_DATA names no folder of real pictures"
)


@pytest.fixture(scope="module")
def trained(arrays, tmp_path_factory):
    return train(arrays, tmp_path_factory.mktemp("trained") / "family")


@pytest.mark.parametrize("seed", range(100, 110))
def test_killed_many_times_it_ends_with_the_same_bits(trained, npz, tmp_path, seed):
    kill_at_random(tmp_path / "f", npz, 8, seed, begin=start)
    assert weights(tmp_path / "f") == weights(trained.family.path)
    assert metrics(tmp_path / "f") == metrics(trained.family.path)
    assert Family.open(tmp_path / "f").verify() == (3, [])


# Torch's own compiler warns of things that nobody here can mend.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("ask", ["live", "table"])
def test_compiled_networks_learn_and_resume_to_the_same_bits(arrays, tmp_path, ask, precision):
    training = {**RECIPE["training"], "compile": True, "precision": precision}
    recipe = {**RECIPE, "training": training, "data": {"views": "crop+flip", "padding": 2}}
    given = {"recipe": recipe, "generations": 1, "siblings": ["cwtm"], "ask": ask}
    whole = train(arrays, tmp_path / "whole", **given)
    assert whole.scores[1].scores.error < 50
    stopped = interrupted_often(arrays, tmp_path / "stopped", **given)
    assert weights(stopped) == weights(whole.family.path)
    # Compiled or not, it is the same computation up to rounding.
    eager = train(
        arrays,
        tmp_path / "eager",
        **{**given, "recipe": {**recipe, "training": {**training, "compile": False}}},
    )
    compiled, plain = (
        files.read_tensors(result.family.folder(result.lineage[0].id).outputs)[0]["test.last"]
        for result in (whole, eager)
    )
    agreement = (compiled.argmax(-1) == plain.argmax(-1)).double().mean()
    assert agreement > 0.8


@needs_data
@pytest.mark.parametrize(
    ("source", "model"),
    [(f"fashion-mnist:{DATA}", "small_cnn"), (f"parquet:{DATA / 'cifar10'}", "wide_resnet-10-1")],
)
def test_real_pictures_are_learned_and_killed_runs_end_with_the_same_bits(
    tmp_path, source, model, process
):
    options = [
        "--data",
        source,
        "--model",
        model,
        "--limit",
        3000,
        "--epochs",
        4,
        "--generations",
        1,
        "--threads",
        1,
    ]
    process("train", *options, "--out", tmp_path / "whole", check=0)
    records = [folder.done for folder in Family.open(tmp_path / "whole").folders()]
    assert all(record["test"]["error"] < 80 for record in records)
    whole = weights(tmp_path / "whole")

    seed, kills = random.randrange(1 << 32), 0
    instants = random.Random(seed)
    # Some lives end before a step, others after an epoch; each life that reaches a save goes on.
    while kills < 20:
        done = process(
            "train", *options, "--out", tmp_path / "killed", limit=instants.uniform(3, 14)
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        if done.returncode:
            kills += 1
        else:
            assert weights(tmp_path / "killed") == whole, f"{kills} kills, seed {seed}"
            shutil.rmtree(tmp_path / "killed")
    process("train", *options, "--out", tmp_path / "killed", check=0)
    print(f"{kills} kills at random instants of seed {seed}")
    assert weights(tmp_path / "killed") == whole, f"seed {seed}"
    assert Family.open(tmp_path / "killed").verify() == (2, [])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_gives_the_same_bits_from_run_to_run_and_after_a_stop(arrays, tmp_path, precision):
    recipe = {**RECIPE, "training": {**RECIPE["training"], "precision": precision}}
    whole = train(arrays, tmp_path / "whole", device="cuda", recipe=recipe)
    assert weights(
        interrupted_often(arrays, tmp_path / "stopped", device="cuda", recipe=recipe)
    ) == weights(whole.family.path)
