"""What models answer: probabilities are taken for probabilities, and nobody draws random numbers in
evaluation mode.
"""

import random

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

import anew
from anew import AnewError
from anew.core import files
from anew.core.callbacks import Callback
from anew.core.spec import ModelSpec
from anew.data.signature import Signature
from anew.models import answers, matching, network, saving

HERE = __name__


class Net(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.first = nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], 16)
        self.last = nn.Linear(16, classes)

    def forward(self, x):
        return self.last(F.relu(self.first(x.flatten(1))))


class Softmax(Net):
    def forward(self, x):
        return super().forward(x).softmax(-1)


class LogSoftmax(Net):
    def forward(self, x):
        return super().forward(x).log_softmax(-1)


class Sigmoid(Net):
    def forward(self, x):
        return super().forward(x).sigmoid()


class AlwaysDropout(Net):
    def forward(self, x):
        return self.last(F.dropout(F.relu(self.first(x.flatten(1))), 0.3))


class Noise(Net):
    """Noise of NumPy's, which no seed of torch's stops."""

    def forward(self, x):
        return super().forward(x) + torch.from_numpy(np.random.standard_normal(3)).float()


class Listens(Callback):
    def __init__(self):
        self.said = []

    def log(self, text):
        self.said.append(text)


def train(arrays, out, model=Net, **given):
    recipe = {"training": {"epochs": 3, "batch_size": 16, "learning_rate": 0.05}}
    settings = {"recipe": recipe, "threads": 1, "device": "cpu", "progress": False, **given}
    return anew.train(model, arrays, out=out, generations=1, **settings)


@pytest.fixture(scope="module")
def trained(arrays, tmp_path_factory):
    """A family of networks with logits."""
    return train(arrays, tmp_path_factory.mktemp("meaning") / "family")


@pytest.fixture(scope="module")
def checkpoint(trained, tmp_path_factory):
    """The weights of its generation 0, as a state dict."""
    tensors, _ = files.read_tensors(trained.family.folder(trained.lineage[0].id).weights)
    path = tmp_path_factory.mktemp("checkpoint") / "plain.safetensors"
    safetensors.torch.save_file(tensors, path)
    return path


def taught(arrays, checkpoint, out, model, **given):
    """A student of the checkpoint, taken for one of a model."""
    recipe = {
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.05},
        "teacher_model": {"name": f"{HERE}:{model.__name__}"},
    }
    return train(arrays, out, teacher=checkpoint, recipe=recipe, **given)


def stored(result, generation=0):
    folder = result.family.folder(result.lineage[generation].id)
    return files.read_tensors(folder.outputs)[0]["test.last"]


# What answers are

SHAPES = [(7, 2), (7, 10), (5, 1000), (4, 6, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_answers_are_told_apart(shape, size):
    logits = size * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert answers.kind_of(logits) == "logits"
    assert answers.kind_of(logits.log_softmax(-1)) == "log-probabilities"
    assert answers.kind_of(logits.softmax(-1)) == "probabilities"
    assert answers.kind_of(logits.softmax(-1).bfloat16()) == "probabilities"
    # Large ones are exactly 0; two small ones add up to nearly 1.
    if size < 30 and shape[-1] > 2:
        assert answers.kind_of(logits.sigmoid()) == "shares"


def test_first_logits_that_lie_within_0_and_1_are_no_shares():
    made = network.build_empty(ModelSpec("mlp"), Signature.of_shape((1, 4, 4), 2)).eval()
    inputs = torch.rand(8, 1, 4, 4)
    last = [module for module in made.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.copy_(torch.tensor([0.3, 0.4]))
    assert answers.kind_of(answers.ask(made, inputs)) == "shares"
    assert answers.kind_of_model(made, inputs) == "logits"
    assert last.bias.tolist() == pytest.approx([0.3, 0.4])


def test_differences_are_shares_of_the_logits_size():
    logits = torch.randn(20, 1000, generator=torch.Generator().manual_seed(0)).double()
    # A constant on all classes changes no probability.
    assert answers.difference(logits, logits + 5) == pytest.approx(0, abs=1e-6)
    assert answers.difference(logits, 1.1 * logits) == pytest.approx(0.1)
    assert answers.difference(logits, torch.full_like(logits, torch.nan)) == float("inf")
    masked = logits.clone()
    masked[:, 3] = -torch.inf
    assert answers.difference(masked, masked) == 0


# Given teachers


def test_probabilities_of_a_teacher_become_its_logits(arrays, trained, checkpoint, tmp_path):
    listener = Listens()
    result = taught(arrays, checkpoint, tmp_path / "new", Softmax, progress=listener)
    (said,) = [line for line in listener.said if "probabilities (with sum 1)" in line]
    assert "teacher" in said and "\n" not in said

    meant = stored(trained).double().numpy()
    meant = np.exp(meant - meant.max(-1, keepdims=True))
    meant /= meant.sum(-1, keepdims=True)
    assert stored(result).double().softmax(-1).numpy() == pytest.approx(meant, abs=1e-6)
    assert result.scores[0].scores.nll == pytest.approx(trained.scores[0].scores.nll, abs=1e-6)

    # Predictions and ensembles ask the same network.
    pictures = arrays[0][:9]
    shown = trained.predict(pictures, [0]).numpy()
    assert result.predict(pictures, [0]).numpy() == pytest.approx(shown, abs=1e-6)
    together = (result.predict(pictures, [0]) + result.predict(pictures, [1])) / 2
    assert result.predict(pictures, [0, 1]).numpy() == pytest.approx(together.numpy(), abs=1e-6)

    # Its student learns what the logits teach, but for rounding.
    logits = taught(arrays, checkpoint, tmp_path / "logits", Net)
    assert stored(result, 1).numpy() == pytest.approx(stored(logits, 1).numpy(), abs=0.02)
    assert result.lineage[0].id != logits.lineage[0].id

    # Its file says what it answers, and teaches on other data alike.
    folder = result.family.folder(result.lineage[0].id)
    loaded = saving.load(folder.weights, [f"{HERE}:Softmax"])
    assert loaded.probabilities and saving.load(folder.weights, [f"{HERE}:Softmax"]).columns == ()
    again = train(arrays, tmp_path / "again", teacher=folder.weights, trust=[f"{HERE}:Softmax"])
    assert torch.equal(stored(again), stored(result))


def test_a_probability_of_0_has_a_finite_logit():
    made = network.build_empty(ModelSpec(f"{HERE}:Softmax"), Signature.of_shape((1, 2, 2), 3))
    with torch.no_grad():
        made.model.last.bias.copy_(torch.tensor([0.0, 500.0, 0.0]))
    logits = matching.of_probabilities(made)(torch.zeros(1, 1, 2, 2))
    assert logits.tolist()[0] == pytest.approx([np.log(2.0**-126), 0, np.log(2.0**-126)], rel=1e-6)
    assert logits.softmax(-1).tolist()[0] == pytest.approx([0, 1, 0], abs=1e-30)


def test_log_probabilities_of_a_teacher_are_logits(arrays, checkpoint, tmp_path):
    result = taught(arrays, checkpoint, tmp_path / "new", LogSoftmax)
    assert stored(result).exp().sum(-1).numpy() == pytest.approx(1, abs=1e-5)
    assert not saving.load(
        result.family.folder(result.lineage[0].id).weights, [f"{HERE}:LogSoftmax"]
    ).probabilities


@pytest.mark.parametrize("model", [AlwaysDropout, Noise])
def test_a_random_teacher_is_refused(arrays, checkpoint, tmp_path, model):
    with pytest.raises(AnewError, match=r"teacher .*: gives different outputs"):
        taught(arrays, checkpoint, tmp_path / "new", model)
    assert not (tmp_path / "new").exists()


def test_a_teacher_of_sigmoids_is_refused(arrays, checkpoint, tmp_path):
    with pytest.raises(AnewError, match=r"whose sum is not 1, as after sigmoids.*--force"):
        taught(arrays, checkpoint, tmp_path / "new", Sigmoid)
    assert not (tmp_path / "new").exists()
    listener = Listens()
    taught(arrays, checkpoint, tmp_path / "new", Sigmoid, force=True, progress=listener)
    assert any("--force uses them as logits" in line for line in listener.said)


# Models to be trained


class SometimesLouder(Net):
    """One number decides for a whole batch, so that it often answers twice alike."""

    def forward(self, x):
        return super().forward(x) * (1.5 if random.random() < 0.5 else 1.0)


class OfTheBatch(Net):
    """Normalised by the statistics of the batch in evaluation mode too."""

    def forward(self, x):
        answer = super().forward(x)
        return answer - answer.mean(0)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SometimesLouder, "gives different outputs"),
        (OfTheBatch, "depends on the others in the batch"),
    ],
)
def test_a_model_whose_answers_are_not_the_examples_own_is_refused(
    arrays, checkpoint, tmp_path, model, words
):
    with pytest.raises(AnewError, match=words):
        train(arrays, tmp_path / "new", model)
    with pytest.raises(AnewError, match=f"teacher .*: .*{words}"):
        taught(arrays, checkpoint, tmp_path / "new", model)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("model", [AlwaysDropout, Noise])
def test_a_student_that_is_random_in_evaluation_mode_is_refused(arrays, tmp_path, model):
    before = torch.random.get_rng_state()
    with pytest.raises(AnewError, match=f"{model.__name__}': gives different outputs"):
        train(arrays, tmp_path / "new", model)
    assert not (tmp_path / "new").exists()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("model", "end"), [(Softmax, "a softmax"), (Sigmoid, "a sigmoid")])
def test_a_student_that_ends_in_a_softmax_is_refused_unless_forced(arrays, tmp_path, model, end):
    with pytest.raises(AnewError, match=f"ends in {end}, .*--force"):
        train(arrays, tmp_path / "new", model)
    assert not (tmp_path / "new").exists()
    listener = Listens()
    train(arrays, tmp_path / "new", model, force=True, progress=listener)
    assert len([line for line in listener.said if f"ends in {end}" in line]) == 1


def test_a_student_that_ends_in_a_log_softmax_is_trained(arrays, tmp_path):
    assert train(arrays, tmp_path / "new", LogSoftmax).scores[0].scores.error < 40
