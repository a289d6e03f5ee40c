"""Logits are found in what models return, and whatever does not fit is told with its cause."""

import pytest
import torch

import written_models
from anew import AnewError
from anew.core.spec import ModelSpec
from anew.data.signature import Signature
from anew.models import build, network, returns, saving

SHAPE, CLASSES = (1, 8, 8), 3
SIGNATURE = Signature.of_shape(SHAPE, CLASSES)


def of(name, **options):
    return network.build_empty(ModelSpec(f"written_models:{name}"), SIGNATURE)


@pytest.mark.parametrize(
    "name", ["InDict", "InObject", "InNamedTuple", "InList", "TwoInTraining", "TrainReturnsNothing"]
)
@pytest.mark.parametrize("training", [True, False])
def test_a_network_answers_with_the_logits_that_its_model_returns(name, training):
    built = of(name).train(training)
    x = torch.randn(4, *SHAPE)
    plain = written_models.Plain(SHAPE, CLASSES)
    plain.load_state_dict(built.model.state_dict())

    assert torch.equal(built(x), plain(x))


def test_usual_names_come_before_the_order_and_the_order_before_nothing():
    first, second = torch.zeros(2, 3), torch.ones(2, 3)

    assert returns.find_logits({"features": first, "logits": second}, (3,)) is second
    assert returns.find_logits({"prediction": second, "output": first}, (3,)) is first
    assert returns.find_logits({"b": first, "a": second}, (3,)) is first
    assert returns.find_logits((torch.zeros(()), first, second), (3,)) is first
    assert returns.find_logits({"logits": torch.zeros(2, 5), "z": second}, (3,)) is second
    assert returns.describe([torch.zeros(()), first], (3,)) == "'1' of list(0 (), 1 (2, 3))"


@pytest.mark.parametrize(
    "answer, told",
    [
        (None, "None"),
        ({}, "{}"),
        ((torch.zeros(2, 5),), "tuple(0 (2, 5))"),
        ({"loss": 1.0}, "dict(loss float)"),
        ("logits", "'logits'"),
    ],
)
def test_an_answer_without_logits_is_described(answer, told):
    with pytest.raises(returns.NoLogitsError) as refused:
        returns.find_logits(answer, (3,))
    assert str(refused.value) == told


def test_logits_in_a_dict_are_exported_with_any_batch():
    exported = torch.export.export(
        of("InDict").eval(),
        (torch.randn(4, *SHAPE),),
        dynamic_shapes={"inputs": {0: torch.export.Dim("batch", min=2)}},
    )
    x = torch.randn(7, *SHAPE)

    assert torch.equal(exported.module()(x), of("InDict").eval()(x))


@pytest.mark.parametrize(
    "name, told",
    [
        ("InHalf", r"weights are bfloat16 and its inputs float32: build it in float32"),
        ("ChannelsLast", r"takes pictures \(N, H, W, C\) and is given \(N, C, H, W\)"),
        ("OfVectors", r"takes vectors .*x\.flatten\(1\)"),
        ("OfColours", r"takes pictures of 3 channels and those of the data have 1"),
        ("OfLarge", r"takes pictures of 64x64: set --data\.size 64"),
        ("ThousandOutputs", r"has 1000 outputs and the data has 3 classes"),
        ("KeepsDimensions", r"gave shape \(2, 3, 1, 1\).*\.flatten\(1\)"),
        ("NamesClasses", r"gave tensor \(2, 3\) of int64; return the logits"),
    ],
)
def test_what_does_not_fit_is_told_with_its_cause(name, told):
    with pytest.raises(AnewError, match=told) as refused:
        build(f"written_models:{name}", SHAPE, CLASSES)
    assert "\n" not in str(refused.value)


def test_one_output_for_two_classes_is_told():
    with pytest.raises(AnewError, match=r"two classes need two logits: return \(0, z\)"):
        build("written_models:OneOutput", SHAPE, 2)


@pytest.mark.parametrize("name", ["CausalMask", "MaskParameter"])
def test_a_mask_of_infinity_is_sound_and_a_weight_of_infinity_is_not(tmp_path, name):
    built = of(name)
    state = built.model.state_dict()
    saving.fill(built, state, tmp_path / "mask")

    wrong = {**state, "mask": state["mask"].clone()}
    wrong["mask"][0, 0] = torch.nan
    with pytest.raises(AnewError, match="'mask' holds NaN or infinity"):
        saving.fill(built, wrong, tmp_path / "mask")

    wrong = {**state, "head.bias": torch.full((CLASSES,), torch.inf)}
    with pytest.raises(AnewError, match=r"'head\.bias' holds NaN or infinity"):
        saving.fill(built, wrong, tmp_path / "mask")


def test_tensors_of_five_dimensions_stay_as_they_are():
    placed = network.place(of("FiveDimensions"), torch.device("cpu"), "channels_last")
    assert placed.model.conv.weight.is_contiguous()

    placed = network.place(of("Plain"), torch.device("cpu"), "channels_last")
    assert placed.model.conv.weight.is_contiguous(memory_format=torch.channels_last)
