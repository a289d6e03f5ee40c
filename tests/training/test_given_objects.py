"""Teachers that are objects of Python: modules and callables."""

import numpy as np
import pytest
import torch
from torch import nn

import anew
from anew import AnewError
from anew.core import files
from anew.evaluation.predictor import choose

RECIPE = {
    "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.1},
    "model": {"options": {"width": 16}},
}


class Patch(nn.Module):
    """Sees which third of a picture is bright."""

    def __init__(self, softmax=False):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.softmax = softmax

    def forward(self, x):
        rows = x.mean((1, 3))
        bright = torch.stack([rows[:, 2 * one : 2 * one + 3].mean(-1) for one in range(3)], -1)
        return (self.scale * bright).softmax(-1) if self.softmax else self.scale * bright


def api(pictures):
    """Probabilities, from bytes, by NumPy alone."""
    rows = np.asarray(pictures.contiguous()).mean((1, 3)) / 20
    bright = np.stack([rows[:, 2 * one : 2 * one + 3].mean(-1) for one in range(3)], -1)
    exponents = np.exp(bright - bright.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


class Heard(anew.Callback):
    def __init__(self):
        self.said = []

    def log(self, text):
        self.said.append(text)


def train(arrays, out, **given):
    settings = {
        "generations": 1,
        "recipe": RECIPE,
        "progress": False,
        "threads": 1,
        "device": "cpu",
        **given,
    }
    return anew.train("small_cnn", arrays, out=out, **settings)


def student(result):
    return files.read_tensors(result.family.folder(result.lineage[-1].id).weights)[0]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_module_teaches_as_it_is(arrays, tmp_path):
    module = Patch().train()
    result = train(arrays, tmp_path / "f", teacher=module)
    assert result.scores[0].scores.error < 5
    assert result.lineage[0].model.name == "Patch (in memory)"
    assert module.training and module.scale.requires_grad
    # The same module is the same teacher, and one of other weights another.
    again = train(arrays, tmp_path / "f", teacher=Patch())
    assert again.lineage == result.lineage
    with torch.no_grad():
        module.scale.mul_(2)
    assert train(arrays, tmp_path / "f", teacher=module).lineage[0] != result.lineage[0]
    assert len(result.family.lineages()) == 2 and result.family.verify() == (4, [])
    # Nothing builds it from its file.
    with pytest.raises(AnewError, match="from Python, which cannot be built again"):
        choose(result.family, result.lineage[-1].id, "all").networks()
    assert len(choose(result.family, result.lineage[-1].id, "last").networks()) == 1


def test_probabilities_are_recognised(arrays, tmp_path):
    heard = Heard()
    result = train(arrays, tmp_path / "f", teacher=Patch(softmax=True), progress=heard)
    assert any("returns probabilities" in text for text in heard.said)
    plain = train(arrays, tmp_path / "g", teacher=Patch())
    ours, theirs = student(result), student(plain)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3) for name in ours)


def test_a_callable_is_asked_about_the_inputs_as_they_are(arrays, tmp_path):
    heard = Heard()
    result = train(arrays, tmp_path / "f", teacher=api, progress=heard)
    assert result.scores[0].scores.error < 5
    assert any("returns probabilities" in text for text in heard.said)
    assert result.lineage[0].model.name == "api (in memory)"
    assert train(arrays, tmp_path / "f", teacher=api).lineage == result.lineage
    assert not equal(
        student(result), student(train(arrays, tmp_path / "g", teacher=lambda x: api(x) - 0.5))
    )


def test_a_network_of_a_result_teaches_as_its_file(arrays, tmp_path):
    first = train(arrays, tmp_path / "f", generations=0)
    result = train(arrays, tmp_path / "g", teacher=first.network(0))
    named = train(arrays, tmp_path / "h", teacher=first.family.folder(first.lineage[0].id).weights)
    assert equal(student(result), student(named))
    # It can be built again, so workers take it too.
    train(arrays, tmp_path / "i", teacher=first.network(0), jobs=2)


def test_a_module_a_callable_and_a_file_teach_together(arrays, tmp_path):
    first = train(arrays, tmp_path / "f", generations=0)
    teacher = [Patch(), api, str(first.family.folder(first.lineage[0].id).weights)]
    result = train(arrays, tmp_path / "g", teacher=teacher)
    assert [one.model.name for one in result.lineage[-1].teachers] == [
        "Patch (in memory)",
        "api (in memory)",
        "small_cnn",
    ]


@pytest.mark.parametrize(
    ("teacher", "says", "given"),
    [
        (lambda x: x.flatten(1)[:, :2], "outputs have shape .64, 2.*3 classes", {}),
        (lambda x: 1 / 0, "fails on examples of the data .*ZeroDivisionError|division by zero", {}),
        (lambda x: torch.randn(len(x), 3), "gives different outputs", {}),
        (Patch(), "set jobs=1, or give a file of its weights", {"jobs": 2}),
        (3, "teacher must be a text, got 3", {}),
    ],
)
def test_what_cannot_teach_is_one_line(arrays, tmp_path, teacher, says, given):
    with pytest.raises(AnewError, match=says) as refused:
        train(arrays, tmp_path / "f", teacher=teacher, **given)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "f").exists()
