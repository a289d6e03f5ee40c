"""Networks that start from given weights or their teacher's, and checkpoints that are adopted: the
same weights are the same network in any file.
"""

import numpy as np
import pytest
import safetensors.torch
import torch

import anew
from anew import AnewError, models
from anew.core import files
from anew.core.spec import FROM_TEACHER, Spec
from anew.family import Family
from anew.training.start import first_weights
from commands import call

# Too small a rate for any weight to move: batch norm's statistics do.
STILL = {"epochs": 1, "batch_size": 64, "learning_rate": 1e-30}
WIDTH = {"model": {"options": {"width": 8}}}


def train(arrays, out, training=STILL, **given):
    settings = {"generations": 1, "progress": False, "threads": 1, "device": "cpu", "force": True}
    recipe = {"training": training, **WIDTH}
    return anew.train("small_cnn", arrays, out=out, recipe=recipe, **(settings | given))


def state_dict(classes=3, seed=5):
    torch.manual_seed(seed)
    return models.build("small_cnn", (1, 8, 8), classes, {"width": 8}).state_dict()


def learned(result, generation):
    """The parameters of a generation; its statistics of batch norm are those of its training."""
    tensors = result.network(generation).model.state_dict()
    return {
        name: tensor for name, tensor in tensors.items() if "running" not in name and tensor.ndim
    }


def same(one, other):
    return all(torch.allclose(one[name], other[name], rtol=0, atol=1e-20) for name in one)


@pytest.fixture
def given(tmp_path):
    state = state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "given.pth")
    return state, tmp_path / "given.pth"


def test_every_generation_starts_from_given_weights(arrays, tmp_path, given, capsys):
    state, path = given
    result = train(arrays, tmp_path / "family", start_from=path, progress=True)
    said = capsys.readouterr().err
    assert "'module.' was removed from the names" in said
    assert "every network starts from these weights" in said
    assert same(learned(result, 0), state) and same(learned(result, 1), state)
    assert [row.objective for row in result.scores[:2]] == [
        "label, from given weights",
        "ban, from given weights",
    ]

    # The hash of the weights is part of the id, whatever file they came in.
    plain = tmp_path / "plain.safetensors"
    safetensors.torch.save_file(state, plain)
    assert {spec.start for spec in result.lineage} == {files.sha256(plain)}
    again = train(arrays, tmp_path / "family", start_from=plain)
    assert again.lineage == result.lineage
    assert "start" not in train(arrays, tmp_path / "fresh", generations=0).lineage[0].identity

    # They lie in the family, and are looked at.
    family = result.family
    assert family.verify() == (2, [])
    start = family.start_file(result.lineage[0].start)
    start.write_bytes(start.read_bytes()[:-1] + b"x")
    assert "its hash differs" in family.verify()[1][0]
    with pytest.raises(AnewError, match="missing or have changed; run its command with --from"):
        first_weights(result.lineage[0], family.folder(result.lineage[0].id), None)


def test_a_classifier_of_other_classes_starts_fresh(arrays, tmp_path):
    state = state_dict(classes=7)
    torch.save(state, tmp_path / "seven.pth")
    result = train(arrays, tmp_path / "f", generations=0, start_from=tmp_path / "seven.pth")
    fresh = learned(train(arrays, tmp_path / "fresh", generations=0), 0)
    trained = learned(result, 0)
    for name, tensor in trained.items():
        expected = (fresh if "classifier" in name else state)[name]
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-20)


def test_students_start_from_their_teachers_weights(arrays, tmp_path):
    rate = {"epochs": 2, "batch_size": 64, "learning_rate": 0.05}
    teacher = train(arrays, tmp_path / "family", rate, generations=0)
    last = f"{teacher.family.path}:{teacher.lineage[0].id}"
    result = train(arrays, tmp_path / "family", teacher=last, start_from="teacher")
    assert same(learned(result, 1), learned(teacher, 0))
    assert result.lineage[0] == teacher.lineage[0] and result.lineage[1].start == FROM_TEACHER
    assert result.scores[1].objective == "ban, from its teacher's weights"
    # Kept when it is read again.
    assert Family.open(tmp_path / "family").spec(result.lineage[1].id) == result.lineage[1]

    # A network of a family is a start as well as a file.
    other = train(arrays, tmp_path / "other", generations=0, start_from=last)
    assert same(learned(other, 0), learned(teacher, 0))


def test_a_start_that_cannot_be_is_refused(arrays, tmp_path):
    torch.save(models.build("mlp", (1, 8, 8), 3).state_dict(), tmp_path / "mlp.pth")
    for given, says in (
        ({"start_from": "nowhere"}, "is no file and no network of a family"),
        ({"start_from": "pretrained"}, "is for models of timm and torchvision"),
        ({"start_from": tmp_path / "mlp.pth"}, "is no state dict of small_cnn.*--model"),
        ({"start_from": "teacher", "generations": 0}, "is for students, and there are none"),
        ({"start_from": "teacher", "teacher_model": "mlp"}, "cannot start from the weights of"),
    ):
        with pytest.raises(AnewError, match=says) as caught:
            train(arrays, tmp_path / "family", **given)
        assert "\n" not in str(caught.value) and not (tmp_path / "family").exists()
    with pytest.raises(AnewError, match="without a teacher cannot start from its teacher"):
        label = train(arrays, tmp_path / "f", generations=0).lineage[0]
        Spec(label.model, label.data, label.training, label.objective, start=FROM_TEACHER)


@pytest.mark.parametrize("option", ["pretrained=true", "checkpoint_path=x.pth"])
def test_an_option_that_loads_weights_names_the_way(option):
    pytest.importorskip("timm")
    key, _, value = option.partition("=")
    with pytest.raises(AnewError, match=r"--from pretrained .* or --from FILE"):
        models.build("timm:resnet10t", (3, 32, 32), 3, {key: value})


def test_an_adopted_checkpoint_is_the_teacher_that_it_would_be(arrays, tmp_path, given):
    state, path = given
    np.savez(tmp_path / "data.npz", x=arrays[0], y=arrays[1])
    data = ("--data", f"npz:{tmp_path / 'data.npz'}", "--threads", "1", "--device", "cpu")
    model = ("--model", "small_cnn", "--model.options", "width=8")
    out = tmp_path / "family"
    done = call("adopt", str(path), *data, *model, "--out", str(out))
    assert done.code == 0, done.err
    (spec,) = Family.open(out).finished()
    assert f"network: {out}:{spec.id}" in done.out and spec.origin == "given"
    assert call("evaluate", str(out)).code == call("verify", str(out)).code == 0

    # The same weights in safetensors are the same network, as they were before there was adopt.
    plain = tmp_path / "plain.safetensors"
    safetensors.torch.save_file(state, plain)
    words = ("train", *data, *model, "--teacher", str(plain), "--generations", "0")
    assert call(*words, "--out", str(tmp_path / "other")).code == 0
    assert Family.open(tmp_path / "other").finished() == [spec]
    assert spec.weights == files.sha256(plain)

    # What anew wrote brings its model; of anything else it is named.
    own = call("adopt", str(Family.open(out).folder(spec.id).weights), *data, "--out", str(out))
    assert own.code == 0, own.err
    refused = call("adopt", str(path), *data, "--out", str(tmp_path / "none"))
    assert refused.code == 2 and "set --model" in refused.err
    weights = str(Family.open(out).folder(spec.id).weights)
    other = call("adopt", weights, *data, "--model", "mlp", "--out", str(tmp_path / "none"))
    assert other.code == 2 and "weights are of small_cnn, and --model is mlp" in other.err
    assert not (tmp_path / "none").exists()
