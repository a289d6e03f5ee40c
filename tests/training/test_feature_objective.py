"""An objective on hidden features, with a module of its own, is one registration."""

import pytest
import torch
from torch import nn

import anew
from anew import AnewError, objectives
from anew.core import files
from anew.core.callbacks import Callback
from anew.objectives import Context, Objective, Terms, find
from anew.training.checkpoint import Checkpoint
from runs import StopsAfter, interrupted_often, metrics, train, weights

WEIGHT = 0.1
LAYER = "features.3"
HINT = {"objective": "hint", "generations": 1}


class Hears(Callback):
    """Keeps what is logged."""

    def __init__(self):
        self.texts = []

    def log(self, text):
        self.texts.append(text)


def hint_loss(student, teacher, projection):
    """FitNets' hint: 1/2 |r(student) - teacher|^2, the mean over all entries (Romero et al. 2015,
    equation 3, with a mean in place of the sum)."""
    return 0.5 * (projection(student) - teacher).square().mean()


def terms(context):
    (student,), (teacher,) = context.features.values(), context.teacher_features.values()
    hint = hint_loss(student, teacher, context.module)
    return Terms(teacher=WEIGHT * hint + objectives.ban(context.logits, context.teacher))


def projection(student, teacher):
    (from_shape,), (to_shape,) = student.values(), teacher.values()
    return nn.Conv2d(from_shape[0], to_shape[0], 1)


@pytest.fixture(autouse=True)
def hint(monkeypatch):
    objective = Objective(
        "hint",
        "ban, with a hint at one layer",
        terms,
        needs=frozenset({"teacher", "features"}),
        features=lambda model: [LAYER],
        module=projection,
    )
    monkeypatch.setitem(objectives.OBJECTIVES, "hint", objective)


def test_the_gradient_is_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    z, t = (torch.randn(4, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    student, teacher = (
        torch.randn(4, channels, 5, 5, dtype=torch.float64, generator=generator)
        for channels in (2, 6)
    )
    module = nn.Conv2d(2, 6, 1).double()
    z.requires_grad_(), student.requires_grad_()
    labels = torch.zeros(4, dtype=torch.int64)
    context = Context(
        z,
        labels,
        t,
        features={LAYER: student},
        teacher_features={LAYER: teacher},
        module=module,
    )
    find("hint").terms(context).total().backward()

    # The projection is a matrix W (6, 2) at every place: d/ds = W^T (W s + b - t) / entries.
    matrix = module.weight.detach()[:, :, 0, 0]
    moved = torch.einsum("oc,bcij->boij", matrix, student.detach())
    residual = moved + module.bias.detach()[:, None, None] - teacher
    scaled = WEIGHT * residual / teacher.numel()
    torch.testing.assert_close(student.grad, torch.einsum("oc,boij->bcij", matrix, scaled))
    expected = torch.einsum("boij,bcij->oc", scaled, student.detach())
    torch.testing.assert_close(module.weight.grad[:, :, 0, 0], expected)
    torch.testing.assert_close(module.bias.grad, scaled.sum((0, 2, 3)))
    torch.testing.assert_close(z.grad, (z.detach().softmax(-1) - t.softmax(-1)) / 4)


def test_it_trains_and_a_stopped_run_ends_with_the_same_bits(arrays, tmp_path):
    train(arrays, tmp_path / "whole", **HINT)
    interrupted_often(arrays, tmp_path / "stopped", **HINT)
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")


def test_its_module_is_in_the_state_and_learns_but_is_no_part_of_the_network(arrays, tmp_path):
    saved = []
    for steps in (3, 12):
        out = tmp_path / str(steps)
        # The teacher takes 3 epochs; then the student's state is saved after some of its steps.
        train(arrays, out, generations=0)
        with pytest.raises(AnewError, match="stopped and saved"):
            train(arrays, out, progress=StopsAfter(steps), **HINT)
        (path,) = out.glob("networks/*/state/state.safetensors")
        tensors, header = files.read_tensors(path)
        assert {name for name in tensors if name.startswith("objective.")} == {
            "objective.weight",
            "objective.bias",
        }
        saved.append(Checkpoint.read(path, header["id"]).objective["weight"])
    assert not torch.equal(*saved)

    out = tmp_path / "3"
    train(arrays, out, **HINT)
    for path in out.glob("networks/*/weights.safetensors"):
        assert not {name for name in files.read_tensors(path)[0] if "objective" in name}


def test_a_table_is_refused_for_features_and_the_line_says_why(arrays, tmp_path):
    said = Hears()
    train(arrays, tmp_path / "f", progress=said, ask="table", **HINT)
    assert any("in each epoch" in text and "features" in text for text in said.texts)
    assert not list((tmp_path / "f").glob("teachers/*"))


def test_attention_transfer_trains_on_the_maps_of_its_layers(arrays, tmp_path):
    heard = Hears()
    result = train(arrays, tmp_path / "at", objective="at", generations=1, progress=heard)
    assert result.lineage[-1].objective.name == "at"
    assert any("at: the teacher's gradient is " in text for text in heard.texts)
    with pytest.raises(AnewError, match="does not know the feature maps of model 'mlp'"):
        anew.train("mlp", arrays, objective="at", out=tmp_path / "mlp", progress=False)
    assert not (tmp_path / "mlp").exists()
