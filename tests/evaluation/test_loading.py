"""A network that has other outputs than when it was trained is refused wherever it is used."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

import anew
from anew import AnewError
from anew.core import files
from anew.core.spec import ModelSpec
from anew.data.signature import Signature
from anew.evaluation import loading
from anew.evaluation.insight import Options, collect
from anew.evaluation.predictor import choose
from anew.family import Family
from anew.models import answers, network

CODE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.first = nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], 16)
        self.last = nn.Linear(16, classes)

    def forward(self, x):
        return self.last(torch.{function}(self.first(x.flatten(1))))
"""
SIGNED = """
import os

from torch import nn


class Signed(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.last = nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], classes)
        # No part of the state dict.
        self.sign = float(os.environ["SIGN"])

    def forward(self, x):
        return self.sign * self.last(x.flatten(1))
"""
RECIPE = {"training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.05}}


def train(model, arrays, out, **given):
    settings = {"generations": 1, "threads": 1, "device": "cpu", "progress": False, **given}
    return anew.train(model, arrays, out=out, recipe=RECIPE, **settings)


class Edited:
    """A module of the user's own whose code is edited."""

    def __init__(self, folder):
        self.path = Path(folder) / "edited_model.py"
        self.write("relu")

    def write(self, function):
        self.path.write_text(CODE.replace("{function}", function))
        sys.modules.pop("edited_model", None)
        # Python looks at the time of a file in whole seconds.
        shutil.rmtree(self.path.parent / "__pycache__", ignore_errors=True)


@pytest.fixture(scope="module")
def made(arrays, tmp_path_factory):
    """A family of a user's own model, whose code was edited since it was trained."""
    folder = tmp_path_factory.mktemp("edited")
    sys.path.insert(0, str(folder))
    code = Edited(folder)
    result = train("edited_model:Net", arrays, folder / "family")
    code.write("tanh")
    yield result
    sys.path.remove(str(folder))
    sys.modules.pop("edited_model", None)


def test_edited_code_is_refused_wherever_its_network_is_used(made, arrays, tmp_path):
    says = r"networks/[0-9a-f]{16}.*: network 'edited_model:Net' has other outputs than when it was"
    with pytest.raises(AnewError, match=says):
        made.network(0)
    with pytest.raises(AnewError, match=says):
        made.predict(arrays[0][:2])
    with pytest.raises(AnewError, match=says):
        choose(made.family, "", "last").networks(["edited_model:Net"])
    with pytest.raises(AnewError, match=says):
        collect(
            made.family,
            made.lineage,
            Options("train", trusted=["edited_model:Net"]),
            made.data,
        )

    first = made.family.folder(made.lineage[0].id)
    for named in (f"{made.family.path}:{first.id}", first.weights):
        with pytest.raises(AnewError, match=says):
            train("edited_model:Net", arrays, tmp_path / "new", teacher=named)
    # The next generation asks the last one, on the data that it learned from.
    with pytest.raises(AnewError, match="code") as raised:
        train(
            "edited_model:Net",
            arrays,
            shutil.copytree(made.family.path, tmp_path / "same"),
            generations=2,
        )
    assert "changed since" in str(raised.value)
    assert not (tmp_path / "new").exists()
    # What is stored needs no code.
    assert Family.open(made.family.path).verify() == (2, [])


def test_what_is_outside_the_state_dict_is_found_out(arrays, tmp_path, monkeypatch):
    (tmp_path / "signed_model.py").write_text(SIGNED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SIGN", "1")
    result = train("signed_model:Signed", arrays, tmp_path / "family", generations=0)
    assert result.network().training is False
    monkeypatch.setenv("SIGN", "-1")
    with pytest.raises(AnewError, match=r"by 200 % of .* outside its weights"):
        result.network()


@pytest.fixture(scope="module")
def sound(arrays, tmp_path_factory):
    return train("mlp", arrays, tmp_path_factory.mktemp("sound") / "family", generations=0)


def without_probe(result, out):
    """A copy of a family whose record has no probe, as those of version 0.1."""
    copied = Family.open(shutil.copytree(result.family.path, out))
    folder = copied.folder(result.lineage[0].id)
    record = {name: value for name, value in folder.done.items() if name not in ("probe", "sha256")}
    folder.done_file.write_text(json.dumps({**record, "sha256": files.sha256_of_json(record)}))
    return Family.open(copied.path)


def test_families_without_a_probe_still_open(sound, arrays, tmp_path):
    old = without_probe(sound, tmp_path / "old")
    (loaded,) = choose(old, "", "last").networks()
    (now,) = choose(sound.family, "", "last").networks()
    inputs = torch.from_numpy(arrays[0][:5])[:, None]
    assert torch.equal(loaded.eval()(inputs), now.eval()(inputs))
    result = train("mlp", arrays, tmp_path / "new", teacher=f"{old.path}:{sound.lineage[0].id}")
    assert result.lineage[0] == sound.lineage[0]


def test_a_damaged_probe_is_one_line(sound):
    record = sound.family.folder(sound.lineage[0].id).done
    made = sound.network()
    loading.compare_probe(made, record, "it")
    for damaged in ("1 2 3", "one two", [1.0], 3, record["probe"] + " 4"):
        with pytest.raises(AnewError, match="answers in its record are damaged"):
            loading.compare_probe(made, {**record, "probe": damaged}, "it")


def test_another_version_is_named(sound):
    record = sound.family.folder(sound.lineage[0].id).done
    record["environments"][-1]["torch"] = "2.0.0"
    record["probe"] = " ".join(reversed(record["probe"].split()))
    with pytest.raises(AnewError, match=r"has changed \(torch 2\.0\.0 -> "):
        loading.compare_probe(sound.network(), record, "it")


@pytest.mark.parametrize(
    "signature",
    [
        Signature.of_shape((3, 5, 7), 4),
        Signature((6,), ("a", "b"), tuple(range(6)), (2.0,) * 6),
        Signature((5,), ("a", "b", "c"), kind="tokens", positions=(5,)),
    ],
)
def test_probe_inputs_are_a_function_of_the_signature(signature):
    inputs = answers.probe_inputs(signature)
    assert inputs.shape == (answers.PROBES, *signature.input_shape)
    assert torch.equal(inputs, answers.probe_inputs(signature))
    if signature.kind == "tokens":
        assert inputs.dtype == torch.int64 and inputs.min() >= 0 and inputs.max() < 3


def test_probe_inputs_have_the_datas_mean_and_deviation():
    inputs = answers.probe_inputs(Signature((1, 100, 100), ("a", "b"), (7.0,), (3.0,)))
    assert inputs.mean().item() == pytest.approx(7, abs=0.1)
    assert inputs.std().item() == pytest.approx(3, abs=0.1)


def test_answers_of_very_many_numbers_make_no_probe():
    made = network.build_empty(ModelSpec("mlp"), Signature.of_shape((1, 2, 2), 20_000))
    assert loading.probe_record(made) == {}


def test_a_file_whose_record_is_another_ones_is_taken_as_it_is(sound, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    weights = sound.family.folder(sound.lineage[0].id).weights
    shutil.copy(weights, folder / "weights.safetensors")
    (folder / "done.json").write_text("{}")
    loading.compare_with_record(sound.network(), folder / "weights.safetensors")
