"""The trial of a model before training: what would fail later, or give other results in silence, is
told in one line, and nothing is written.
"""

import random

import numpy as np
import pytest
import torch

import anew
import written_models
from anew import AnewError
from anew.core import randomness
from anew.core.spec import DataSpec, ModelSpec, TrainingSpec
from anew.data import sources
from anew.data.signature import Signature
from anew.data.split import prepare
from anew.models import build, coverage
from anew.training.trial import try_model
from conftest import quick


@pytest.fixture(scope="module")
def data(arrays):
    source = sources.from_arrays(arrays)
    return prepare(source, DataSpec(source="arrays"))


def tried(name, data, **training):
    return try_model(ModelSpec(f"written_models:{name}"), data, TrainingSpec(**training))


@pytest.mark.parametrize(
    "name, told",
    [
        ("NothingToTrain", "has nothing to train: it has no parameters"),
        ("AllFrozen", "has nothing to train: requires_grad is off"),
        ("TextInState", "its state dict holds '_extra_state', a dict"),
        ("FailsInTraining", r"fails in training mode on 2 examples \(AssertionError: only for inf"),
        ("NotFinite", "its first logits are not finite in training mode"),
        ("SteepAtZero", r"its first gradient is not finite, that of head\.bias"),
        ("NoGradient", "its logits have no gradient in training mode"),
        ("WritesOver", r"its gradient cannot be computed \(RuntimeError: .*inplace"),
        ("OfTheSystem", r"two builds of it from the same random numbers differ in 'head\.bias'"),
        ("MixedOutside", r"with the same weights give different outputs .* state dict \(mixing\)"),
        ("ChangesItsState", r"cannot be loaded after a step \(RuntimeError: .*calls"),
    ],
)
def test_what_cannot_be_trained_is_told(data, name, told):
    with pytest.raises(AnewError, match=told) as refused:
        tried(name, data)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"model 'written_models:{name}': ")


def test_a_norm_of_single_numbers_is_told_with_the_size_of_the_batch(data):
    with pytest.raises(AnewError, match=r"^training\.batch_size: .* set --batch-size 2 or more"):
        tried("NormOfOnePixel", data, batch_size=1)
    assert tried("NormOfOnePixel", data, batch_size=2) == []


@pytest.mark.parametrize(
    "name, said",
    [
        ("Plain", []),
        ("CausalMask", []),
        ("OfNumPy", []),
        ("Pooled", []),
        ("InDict", ["its logits are 'logits' of dict(features (2, 8), logits (2, 3))"]),
        ("TwoInTraining", ["in training mode its logits are '0' of tuple(0 (2, 3), 1 (2, 3))"]),
        (
            "FiveDimensions",
            ["five-dimensional weights keep the contiguous layout: conv.weight"],
        ),
        (
            "IdleHead",
            [
                "2 of its 6 weight tensors do not affect its logits and are not trained: "
                "other.weight and other.bias"
            ],
        ),
        (
            "OfACorner",
            [
                "sees 6 % of the pixels of pictures of 8x8: its outputs do not depend on the other "
                "pixels"
            ],
        ),
    ],
)
def test_what_is_taken_and_left_out_is_said(data, name, said):
    assert tried(name, data) == [f"model 'written_models:{name}': {one}" for one in said]


def test_the_trial_moves_no_random_numbers(data):
    # Python's own are drawn by the check of types in tests; the test below looks at them.
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(3).tolist(), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    tried("RandomDepth", data)
    assert (torch.rand(3).tolist(), np.random.rand()) == expected


def test_generators_of_all_three_are_seeded_in_a_scope_and_restored_after_it():
    def drawn():
        return torch.rand(3).tolist(), random.random(), np.random.rand()

    scope = randomness.torch_generator
    random.seed(0)
    expected = random.random()
    random.seed(0)
    with scope(2**63 + 5):
        one = drawn()
    with scope(2**63 + 5):
        two = drawn()
    with scope(6):
        other = drawn()
    assert random.random() == expected
    assert one == two
    assert not any(a == b for a, b in zip(one, other, strict=True))


def test_weights_and_layers_of_numpy_and_python_are_the_same_in_every_run(arrays, tmp_path):
    def weights(name, folder):
        options = {"epochs": 1, "batch_size": 16, "generations": 0, "progress": False}
        model = getattr(written_models, name)
        result = anew.train(model, arrays, out=tmp_path / folder, **options)
        return result.network().state_dict()

    for name in ("OfNumPy", "RandomDepth"):
        random.seed(1)
        np.random.seed(1)
        one = weights(name, f"{name}1")
        two = weights(name, f"{name}2")
        assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", ["InDict", "TwoInTraining", "FiveDimensions", "CausalMask"])
def test_a_model_as_people_write_it_trains_teaches_and_is_evaluated(command, npz, name):
    model = ("--model", f"written_models:{name}", "--data", f"npz:{npz}")
    trained = command("train", *model, *quick(1, 1)[:-2], "--force", check=0)
    assert trained.out.count("\ngeneration ") == 2
    assert "ensemble 0-1" in command("evaluate", "family", check=0).out


def test_nothing_is_written_for_a_model_that_is_refused(refused, tmp_path, npz):
    line = refused("train", "--model", "written_models:MixedOutside", "--data", f"npz:{npz}")
    assert "is not in its state dict (mixing)" in line
    assert not (tmp_path / "family").exists()


def test_a_transformer_whose_patches_leave_pixels_out_is_told():
    pytest.importorskip("timm")
    name = "timm:vit_tiny_patch16_224"
    signature = Signature.of_shape((1, 28, 28), 10)

    # 16 x 16 of 28 x 28 pixels.
    model = build(name, (1, 28, 28), 10, {"depth": 1})
    assert coverage.seen_share(model, signature) == 16**2 / 28**2
    (said,) = coverage.say(name, model, signature)
    assert said.endswith(
        "sees 33 % of the pixels of pictures of 28x28: its patches of 16x16 do not cover them; set "
        "--data.size 32"
    )
    whole = build(name, (1, 32, 32), 10, {"depth": 1})
    assert coverage.say(name, whole, Signature.of_shape((1, 32, 32), 10)) == []


def test_a_model_of_the_running_script_is_refused_unless_forced(data):
    model = ModelSpec("__main__:Net")
    with pytest.raises(AnewError, match=r"no other process finds it.*give networks:Net"):
        try_model(model, data, TrainingSpec())
