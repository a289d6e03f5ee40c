"""What a runner returns: logits, and the outputs of modules that are asked for by name."""

import copy

import pytest
import torch

from anew import AnewError
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.data import from_arrays, prepare
from anew.models import network
from anew.models.network import Runner


@pytest.fixture
def small(arrays):
    data = prepare(from_arrays(arrays), DataSpec())
    spec = Spec(
        ModelSpec("small_cnn", (("width", 8),)), data.spec, TrainingSpec(), ObjectiveSpec("label")
    )
    built = network.build(spec, data.signature).eval()
    return built, data.training.show(slice(0, 4))


def test_features_are_what_the_modules_put_out_and_gradients_reach_them(small):
    built, inputs = small
    outputs = Runner(built, "float32", False, ["features.1", "features"])(inputs)
    x = built.signature.prepare(inputs, built.mean, built.scale)
    assert torch.equal(outputs.features["features.1"], built.model.features[:2](x))
    assert torch.equal(outputs.features["features"], built.model.features(x))
    assert torch.equal(outputs.logits, built(inputs))
    outputs.features["features.1"].square().sum().backward()
    assert built.model.features[0][0].weight.grad.abs().sum() > 0
    assert built.model.classifier.weight.grad is None


def test_where_nothing_is_asked_for_nothing_is_hooked(small):
    built, inputs = small
    outputs = Runner(built, "float32", False)(inputs)
    assert outputs.features == {}
    assert not any(module._forward_hooks for module in built.modules())


def test_a_module_that_is_not_there_is_one_line(small):
    built, _ = small
    with pytest.raises(AnewError, match=r"no module 'feature' \(did you mean 'features"):
        Runner(built, "float32", False, ["feature"])


def test_features_are_taken_under_autocast_too(small):
    built, inputs = small
    outputs = Runner(built, "bfloat16", False, ["features.2"])(inputs)
    assert outputs.logits.dtype == torch.bfloat16
    assert outputs.features["features.2"].dtype == torch.bfloat16


# Torch's own compiler warns of things that nobody here can mend.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_gives_its_features_and_their_gradients(small):
    built, inputs = small
    copied = copy.deepcopy(built)
    plain = Runner(built, "float32", False, ["features.1"])(inputs)
    compiled = Runner(copied, "float32", True, ["features.1"])(inputs)
    torch.testing.assert_close(compiled.logits, plain.logits)
    torch.testing.assert_close(compiled.features["features.1"], plain.features["features.1"])
    plain.features["features.1"].square().sum().backward()
    compiled.features["features.1"].square().sum().backward()
    first, other = built.model.features[0][0].weight, copied.model.features[0][0].weight
    torch.testing.assert_close(other.grad, first.grad)
