"""Schedules against closed forms and torch's own, and what the optimizer decays."""

import dataclasses

import numpy as np
import pytest
import timm.optim
import torch
from torch import nn

from anew.core.spec import TrainingSpec
from anew.training.lion import Lion
from anew.training.optim import learning_rate, optimizer, optimizer_state, state_sizes


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


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion"])
def test_the_sizes_of_the_state_are_those_of_the_state(name):
    parameters = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(5))]
    training = TrainingSpec(optimizer=name)
    moving = optimizer(parameters, training, torch.device("cpu"))
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    moving.step()
    found = {key: tuple(value.shape) for key, value in optimizer_state(moving).items()}
    assert {name: shape for name, _, shape in state_sizes([(4, 3), (5,)], training)} == found
