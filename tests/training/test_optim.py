"""Schedules against closed forms and torch's own, and what the optimizer decays."""

import dataclasses

import numpy as np
import pytest
import timm.optim
import torch
from torch import nn

import anew
from anew import AnewError
from anew.core.spec import TrainingSpec
from anew.training.lion import Lion
from anew.training.optim import (
    learning_rate,
    optimizer,
    optimizer_state,
    restore_optimizer,
    state_sizes,
)
from runs import RECIPE, StopsAfter, weights


def rates(steps, **training):
    return [learning_rate(TrainingSpec(**training), step, steps) for step in range(steps)]


def test_step_is_the_papers_schedule():
    found = rates(200)
    assert found[:60] == [0.1] * 60
    assert found[60:120] == pytest.approx([0.02] * 60)
    assert found[120:160] == pytest.approx([0.004] * 40)
    assert found[160:] == pytest.approx([0.0008] * 40)


def test_cosine_equals_torch():
    parameter = nn.Parameter(torch.zeros(1))
    sgd = torch.optim.SGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 50)
    for rate in rates(50, schedule="cosine"):
        assert rate == pytest.approx(sgd.param_groups[0]["lr"])
        sgd.step()
        schedule.step()


def test_one_cycle_equals_torch():
    parameter = nn.Parameter(torch.zeros(1))
    sgd = torch.optim.SGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.4, total_steps=80)
    for step, rate in enumerate(rates(80, schedule="one-cycle", learning_rate=0.4)):
        assert rate == pytest.approx(sgd.param_groups[0]["lr"]), step
        sgd.step()
        if step < 79:
            schedule.step()


@pytest.mark.parametrize("schedule", ["step", "cosine", "constant"])
def test_warmup_rises_to_the_rate(schedule):
    found = rates(100, schedule=schedule, warmup=0.1, milestones=(0.5,))
    assert found[:10] == sorted(found[:10])
    assert 0 < found[0] < found[9] < 0.1
    assert found[10] == pytest.approx(0.1)


@pytest.mark.parametrize("schedule", ["step", "cosine", "one-cycle", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.9])
def test_short_runs_have_sound_rates(schedule, steps, warmup):
    assert all(0 < rate <= 0.1 for rate in rates(steps, schedule=schedule, warmup=warmup))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_norms_and_biases_are_decayed_or_spared(name):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    cpu = torch.device("cpu")
    everything = optimizer(model.parameters(), TrainingSpec(optimizer=name), cpu)
    assert [(len(group["params"]), group["weight_decay"]) for group in everything.param_groups] == [
        (6, 5e-4)
    ]
    spared = optimizer(model.parameters(), TrainingSpec(optimizer=name, decay_all=False), cpu)
    assert [(len(group["params"]), group["weight_decay"]) for group in spared.param_groups] == [
        (2, 5e-4),
        (4, 0.0),
    ]


def test_fused_sgd_equals_nesterov_by_hand():
    training = TrainingSpec(learning_rate=0.1, weight_decay=0.01)
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    model = nn.Module()
    model.register_parameter("w", parameter)
    sgd = optimizer(model.parameters(), training, torch.device("cpu"))
    w, v = parameter.detach().double().clone(), torch.zeros(2, dtype=torch.float64)
    for _ in range(5):
        sgd.zero_grad()
        (parameter**2).sum().backward()
        sgd.step()
        gradient = 2 * w + 0.01 * w
        v = 0.9 * v + gradient
        w = w - 0.1 * (gradient + 0.9 * v)
    torch.testing.assert_close(parameter.detach().double(), w, rtol=1e-5, atol=1e-6)


def test_without_momentum_nesterov_is_dropped():
    training = dataclasses.replace(TrainingSpec(), momentum=0.0)
    parameters = nn.Linear(2, 2).parameters()
    assert not optimizer(parameters, training, torch.device("cpu")).param_groups[0]["nesterov"]


def steps_of(optimizer_of, gradients):
    """Where a parameter goes along given gradients, step by step."""
    parameter = nn.Parameter(torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64))
    moving = optimizer_of([parameter])
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.copy())
        moving.step()
        yield parameter.detach().numpy().copy()


def test_lion_follows_its_formula_and_timms_own():
    gradients = np.random.default_rng(0).normal(size=(20, 3))
    settings = {"lr": 0.01, "weight_decay": 0.3}
    weights, momentum = np.array([0.5, -2.0, 3.0]), np.zeros(3)
    ours = steps_of(lambda them: Lion(them, betas=(0.8, 0.99), **settings), gradients)
    theirs = steps_of(lambda them: timm.optim.Lion(them, betas=(0.8, 0.99), **settings), gradients)
    for gradient, here, there in zip(gradients, ours, theirs, strict=True):
        weights = weights - 0.01 * (np.sign(0.8 * momentum + 0.2 * gradient) + 0.3 * weights)
        momentum = 0.99 * momentum + 0.01 * gradient
        np.testing.assert_allclose(here, weights, rtol=1e-12)
        np.testing.assert_allclose(here, there, rtol=1e-12)


def test_adam_adds_the_decay_to_the_gradient_and_adamw_shrinks_the_weights():
    """The first step of Adam is the rate times the gradient's sign, whatever its size."""
    gradient, start = np.array([1.0, -3.0, 0.1]), np.array([0.5, -2.0, 3.0])

    def first(name):
        training = TrainingSpec(optimizer=name, learning_rate=0.01, weight_decay=0.2)
        device = torch.device("cpu")
        return next(steps_of(lambda them: optimizer(them, training, device), [gradient]))

    decayed = gradient + 0.2 * start
    np.testing.assert_allclose(first("adam"), start - 0.01 * np.sign(decayed), rtol=1e-6)
    shrunk = start * (1 - 0.01 * 0.2)
    np.testing.assert_allclose(first("adamw"), shrunk - 0.01 * np.sign(gradient), rtol=1e-6)


def hidden_and_others():
    """A hidden matrix, a classifier of 3 classes, a convolution and a bias."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 5), (3, 6), (2, 1, 3, 3), (6,))
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def test_muon_moves_hidden_matrices_and_adamw_all_else():
    training = TrainingSpec(optimizer="muon", learning_rate=0.01, weight_decay=0.1, momentum=0.95)
    ours, theirs = hidden_and_others(), hidden_and_others()
    moving = optimizer(ours, training, torch.device("cpu"), 3)
    rest = {"lr": 0.01, "weight_decay": 0.1}
    apart = [
        torch.optim.Muon(theirs[:1], momentum=0.95, adjust_lr_fn="match_rms_adamw", **rest),
        torch.optim.AdamW(theirs[1:], betas=(0.95, 0.999), fused=True, **rest),
    ]
    start = ours[0].detach().clone()
    generator = torch.Generator().manual_seed(1)
    for step in range(5):
        for group in (*moving.param_groups, *(one for half in apart for one in half.param_groups)):
            group["lr"] = 0.01 / (step + 1)
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for each in (moving, *apart):
            each.step()
        if step == 0:
            # All singular values of a step are about the rate times 0.2 sqrt(6), AdamW's size.
            move = (ours[0].detach() - start * (1 - 0.01 * 0.1)).numpy()
            values = np.linalg.svd(move, compute_uv=False) / (0.01 * 0.2 * np.sqrt(6))
            assert values.min() > 0.6 and values.max() < 1.3
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_muon_goes_on_from_its_saved_state_to_the_same_bits(tmp_path):
    training = TrainingSpec(optimizer="muon", learning_rate=0.01)
    generator = torch.Generator().manual_seed(1)
    gradients = [[torch.randn(one.shape, generator=generator) for one in hidden_and_others()]
                 for _ in range(6)]  # fmt: skip

    def move(parameters, moving, some):
        for each in some:
            for parameter, gradient in zip(parameters, each, strict=True):
                parameter.grad = gradient.clone()
            moving.step()

    whole = hidden_and_others()
    move(whole, optimizer(whole, training, torch.device("cpu"), 3), gradients)
    first = hidden_and_others()
    moving = optimizer(first, training, torch.device("cpu"), 3)
    move(first, moving, gradients[:3])
    saved = {name: one.clone() for name, one in optimizer_state(moving).items()}
    again = [nn.Parameter(one.detach().clone()) for one in first]
    resumed = optimizer(again, training, torch.device("cpu"), 3)
    restore_optimizer(resumed, saved, tmp_path)
    move(again, resumed, gradients[3:])
    assert all(torch.equal(one, other) for one, other in zip(again, whole, strict=True))


def test_muon_solves_a_toy_problem():
    torch.manual_seed(0)
    x = torch.randn(200, 8)
    y = torch.tanh(x @ torch.randn(8, 8)) @ torch.randn(8, 2)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 2))
    training = TrainingSpec(optimizer="muon", learning_rate=0.03, weight_decay=0.0)
    moving = optimizer(model.parameters(), training, torch.device("cpu"), 2)
    losses = []
    for _ in range(150):
        moving.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        moving.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 50


def test_muon_without_a_hidden_matrix_is_refused():
    with pytest.raises(AnewError, match="'muon' needs weight matrices of hidden layers"):
        classifier = [nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(3))]
        optimizer(classifier, TrainingSpec(optimizer="muon"), torch.device("cpu"), 3)


def test_a_training_with_muon_stops_and_goes_on_to_the_same_bits(arrays, tmp_path):
    # Linear layers between hidden units; those of 3 classes and convolutions are AdamW's.
    training = {**RECIPE["training"], "optimizer": "muon", "learning_rate": 0.01}
    given = {"generations": 1, "recipe": {"training": training}}
    whole = anew.train("mlp", arrays, out=tmp_path / "f", progress=False, threads=1, **given)
    for steps in (7, 15, 10**9):
        try:
            progress = StopsAfter(steps)
            anew.train("mlp", arrays, out=tmp_path / "g", progress=progress, threads=1, **given)
        except AnewError as error:
            assert error.exit_code == 130
    assert weights(tmp_path / "g") == weights(tmp_path / "f")
    assert len(whole.lineage) == 2


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion", "muon"])
def test_the_sizes_of_the_state_are_those_of_the_state(name):
    parameters = [nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(4, 3))]
    training = TrainingSpec(optimizer=name)
    moving = optimizer(parameters, training, torch.device("cpu"), 7)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    moving.step()
    found = {key: tuple(value.shape) for key, value in optimizer_state(moving).items()}
    assert {name: shape for name, _, shape in state_sizes([(5,), (4, 3)], training, 7)} == found
