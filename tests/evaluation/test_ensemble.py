"""An ensemble is one module: the mean of its members' probabilities, and a graph to export."""

import pytest
import torch

from anew import evaluation
from anew.core.spec import ModelSpec
from anew.data import Resident
from anew.data.signature import Signature
from anew.evaluation.ensemble import Ensemble, log_mean
from anew.models import network

SIGNATURE = Signature((1, 8, 8), ("a", "b", "c"), (3.0,), (2.0,))


@pytest.fixture
def members():
    made = []
    for number, name in enumerate(["small_cnn", "mlp"]):
        torch.manual_seed(number)
        made.append(network.build_empty(ModelSpec(name), SIGNATURE).eval())
        for parameter in made[-1].parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture
def inputs():
    return torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 9


def mean(members, inputs):
    """The members' mean probabilities, computed the plain way."""
    return sum(torch.softmax(one(inputs).double(), -1) for one in members) / len(members)


def test_an_ensemble_says_the_mean_of_its_members(members, inputs):
    with torch.no_grad():
        says = Ensemble(members)(inputs)
        assert says.dtype == torch.float64 and says.shape == (7, 3)
        torch.testing.assert_close(says.exp(), mean(members, inputs), rtol=1e-12, atol=0)
        # One member is an ensemble of one.
        torch.testing.assert_close(
            Ensemble(members[:1])(inputs).exp(), mean(members[:1], inputs), rtol=1e-12, atol=0
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_exported_ensemble_says_the_same(members, inputs, dtype):
    together = Ensemble(members, dtype).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(together, (inputs,), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad():
        for given in (inputs, inputs[:2]):
            expected = mean(members, given)
            assert (exported(given).exp() - expected).abs().max() < 1e-6


def test_predicting_in_batches_is_the_mean_of_stored_logits_to_the_bit(
    members, inputs, monkeypatch
):
    monkeypatch.setattr("anew.evaluation.outputs.EVALUATION_BATCH", 3)
    examples = Resident(inputs, torch.zeros(len(inputs), dtype=torch.int64))
    device = torch.device("cpu")
    each = [evaluation.predict(one, examples, device) for one in members]
    together = evaluation.predict(Ensemble(members), examples, device)
    assert each[0].dtype == torch.float32 and together.dtype == torch.float64
    assert torch.equal(together, log_mean(each))
    assert not any(one.training for one in members)
