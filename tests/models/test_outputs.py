"""What a runner returns: logits, and the outputs of modules that are asked for by name."""

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
