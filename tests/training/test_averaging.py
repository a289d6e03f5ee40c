"""Averaged weights and batches in parts: against loops in NumPy, the same bits after stops."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import anew
from anew import AnewError
from anew.core.spec import DataSpec
from anew.data import Batches, from_arrays, prepare
from anew.evaluation import evaluate_lineage, read_outputs
from anew.family import Family
from anew.models import saving
from anew.training.averaging import Averaging
from runs import RECIPE, interrupted_often, metrics, train, weights

EVERYTHING = {
    "generations": 0,
    "recipe": {
        **RECIPE,
        "training": {
            **RECIPE["training"],
            "optimizer": "lion",
            "learning_rate": 0.001,
            "averaging": 0.9,
            "accumulate": 3,
            "best_epoch": True,
        },
    },
}


def test_an_average_is_that_of_the_formula():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    averaging, expected = Averaging(model, 0.7), None
    expected = {name: value.double().numpy() for name, value in averaging.state.items()}
    for step in range(1, 9):
        for value in model.state_dict().values():
            value.add_(1 if value.dtype == torch.int64 else torch.randn_like(value))
        averaging.update(step)

        decay = min(0.7, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            now = value.double().numpy()
            whole = value.dtype == torch.int64
            expected[name] = now if whole else decay * expected[name] + (1 - decay) * now
    for name, value in averaging.state.items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-6)
    assert Averaging(model, 0.0).state == {}


def test_averaged_weights_are_kept_evaluated_and_shown(arrays, tmp_path):
    plain = train(arrays, tmp_path / "plain", generations=0)
    recipe = {**RECIPE, "training": {**RECIPE["training"], "averaging": 0.9}}
    result = train(arrays, tmp_path / "averaged", generations=0, recipe=recipe)
    assert result.lineage[0].id != plain.lineage[0].id

    folder = Family.open(tmp_path / "averaged").folder(result.lineage[0].id)
    before = Family.open(tmp_path / "plain").folder(plain.lineage[0].id)
    # Averaging flows back into nothing.
    ours, theirs = (safetensors.torch.load_file(one.weights) for one in (folder, before))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())

    averaged = saving.load(folder.averaged)
    logits, _ = read_outputs(folder, "test", "averaged")
    held_out = prepare(from_arrays(arrays), DataSpec()).test
    with torch.inference_mode():
        answers = averaged.eval()(held_out.show(slice(None)))
    torch.testing.assert_close(answers, logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits, read_outputs(folder, "test")[0])
    (row,) = evaluate_lineage(Family.open(tmp_path / "averaged"), result.lineage)
    assert row.to_json()["averaged"]["examples"] == len(logits)
    with pytest.raises(AnewError, match="train with --averaging"):
        read_outputs(before, "test", "averaged")


@pytest.mark.parametrize("objective", ["ban+l", "dkd"])
def test_a_batch_in_parts_is_the_batch_up_to_summation(arrays, tmp_path, objective):
    def final(parts):
        training = {"epochs": 2, "batch_size": 16, "accumulate": parts, "learning_rate": 0.05}
        result = anew.train(
            "mlp",
            arrays,
            objective=objective,
            generations=1,
            recipe={"training": training},
            out=tmp_path / str(parts),
            **{"threads": 1, "device": "cpu", "progress": False},
        )
        folder = Family.open(tmp_path / str(parts)).folder(result.lineage[-1].id)
        return safetensors.torch.load_file(folder.weights)

    whole, parted = final(1), final(3)
    for name, value in whole.items():
        torch.testing.assert_close(parted[name], value, rtol=1e-3, atol=1e-4)


def test_parts_of_a_batch_are_the_batch(arrays):
    source = from_arrays((np.random.rand(40, 6, 6).astype(np.float32), np.arange(40) % 4))
    data = prepare(source, DataSpec(views="mixup", balance="weights", validation=0.0))
    batch = next(Batches(data, 10, torch.device("cpu")).epoch(0))
    parts = batch.cut(4)
    assert [place.stop - place.start for place, _ in parts] == [3, 3, 2, 2]
    for name in ("inputs", "labels", "indices", "views", "weights", "share", "heavier"):
        joined = torch.cat([getattr(part, name) for _, part in parts])
        assert torch.equal(joined, getattr(batch, name)), name
    assert torch.equal(torch.cat([part.second.labels for _, part in parts]), batch.second.labels)


def test_stopped_runs_with_all_of_it_end_with_the_same_bits(arrays, tmp_path):
    train(arrays, tmp_path / "whole", **EVERYTHING)
    interrupted_often(arrays, tmp_path / "stopped", **EVERYTHING)
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")
    for name in ("averaged", "best"):
        hashes = [
            {path.parent.name: path.read_bytes() for path in tmp_path.glob(f"{of}/*/*/{name}.*")}
            for of in ("whole", "stopped")
        ]
        assert len(hashes[0]) == 1 and hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("objective", "parts", "says"),
    [
        ("cwtm", 2, "objective 'cwtm' compares the examples"),
        ("ban", 17, r"must be <= training\.batch_size, 16, got 17"),
    ],
)
def test_parts_that_are_no_whole_are_refused_before_anything_is_written(
    arrays, tmp_path, objective, parts, says
):
    recipe = {**RECIPE, "training": {**RECIPE["training"], "accumulate": parts}}
    with pytest.raises(AnewError, match=says):
        train(arrays, tmp_path / "f", objective=objective, recipe=recipe)
    assert not (tmp_path / "f").exists()
