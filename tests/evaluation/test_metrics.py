"""Scores against scikit-learn and torchmetrics, ensembles against NumPy."""

import itertools

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from anew.evaluation import ensemble, metrics, score_logits


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 300))
@example(255, 2, 290)
@settings(deadline=None, max_examples=50)
def test_scores_equal_other_peoples(seed, classes, count):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(count, classes)) * 3, rng.integers(0, classes, count)
    probabilities = softmax(logits)
    found = score_logits(torch.from_numpy(logits), torch.from_numpy(labels))
    assert found.error == pytest.approx(
        100 * (1 - accuracy_score(labels, probabilities.argmax(-1)))
    )
    assert found.nll == pytest.approx(log_loss(labels, probabilities, labels=range(classes)))
    assert found.brier == pytest.approx(
        ((probabilities - np.eye(classes)[labels]) ** 2).sum(-1).mean()
    )
    confidence = probabilities.max(-1)
    # torchmetrics has its bins' edges in float32, which puts what lies that near to one on either
    # side.
    if np.abs(confidence * 15 - np.round(confidence * 15)).min() > 1e-5:
        ece = tm.multiclass_calibration_error(
            torch.from_numpy(probabilities),
            torch.from_numpy(labels),
            num_classes=classes,
            n_bins=15,
            norm="l1",
        )
        assert found.ece == pytest.approx(100 * ece.item(), abs=1e-3)
    # By hand, in float64 as ours, wherever it lies.
    gap = confidence - (probabilities.argmax(-1) == labels)
    of_bin = np.ceil(confidence * 15)
    assert found.ece == pytest.approx(
        100 * sum(abs(gap[of_bin == one].sum()) for one in range(1, 16)) / count
    )
    assert found.examples == count


def test_calibration_by_hand():
    confidence, correct = (
        torch.tensor([0.95, 0.95, 0.55, 0.55]),
        torch.tensor([True, False, True, True]),
    )
    expected = 0.5 * abs(0.5 - 0.95) + 0.5 * abs(1.0 - 0.55)
    assert metrics.calibration_error(confidence, correct, bins=10) == pytest.approx(expected)


def test_certain_and_wrong_is_a_finite_brier_and_an_honest_nll():
    found = score_logits(torch.tensor([[1e4, 0.0]]), torch.tensor([1]))
    assert found.error == 100
    assert found.brier == pytest.approx(2)
    assert found.nll == pytest.approx(1e4)


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(deadline=None)
def test_an_ensemble_is_the_mean_of_probabilities(seed, networks):
    logits = np.random.default_rng(seed).normal(size=(networks, 20, 7)) * 5
    mean = ensemble.log_mean([torch.from_numpy(one) for one in logits]).exp()
    np.testing.assert_allclose(mean.numpy(), softmax(logits).mean(0), rtol=1e-12)


def test_which_ensembles():
    assert list(ensemble.consecutive(4)) == [
        (0, 1),
        (1, 2),
        (2, 3),
        (0, 1, 2),
        (1, 2, 3),
        (0, 1, 2, 3),
    ]
    expected = {s for n in range(2, 5) for s in itertools.combinations(range(4), n)}
    assert set(ensemble.subsets(4)) == expected
    assert list(ensemble.consecutive(1)) == []


def test_a_short_lineage_lists_every_run_and_a_long_one_so_many_as_it_has_generations():
    assert ensemble.listed(9) == list(ensemble.consecutive(9)) and ensemble.listed(0) == []
    assert ensemble.notice_of_listed(9) == ""
    ten = ensemble.listed(10)
    assert ten[:4] == [(0, 1), (8, 9), (0, 1, 2), (7, 8, 9)]
    assert ten[-3:] == [tuple(range(2, 10)), tuple(range(9)), tuple(range(10))]
    assert len(ten) == 9 + 7 and len(ensemble.listed(60)) == 59 + 7
    assert "Of 10 generations only" in ensemble.notice_of_listed(10)


@pytest.mark.parametrize("networks", [3, 9, 10, 14])
def test_listed_means_are_means_of_probabilities(networks):
    logits = np.random.default_rng(networks).normal(size=(networks, 20, 7)) * 5
    means = list(ensemble.listed_means([torch.from_numpy(one) for one in logits]))
    assert [run for run, _ in means] == ensemble.listed(networks)
    for run, mean in means:
        expected = softmax(logits[list(run)]).mean(0)
        np.testing.assert_allclose(mean.exp().numpy(), expected, rtol=1e-11)


def test_twice_as_many_generations_take_twice_as_many_softmaxes(monkeypatch):
    counted = []
    genuine = torch.nn.functional.log_softmax
    monkeypatch.setattr(
        ensemble.F, "log_softmax", lambda one, dim: counted.append(len(one)) or genuine(one, dim)
    )
    for networks in (30, 60):
        list(ensemble.listed_means([torch.randn(5, 3)] * networks))
    # First ones and last ones, each network once for either.
    assert len(counted) == 30 + 8 + 60 + 8


def test_a_balanced_error_is_the_mean_of_the_classes_errors_where_they_are_uneven():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [60, 30, 10]))
    logits = rng.normal(size=(100, 3)) + 1.5 * np.eye(3)[labels]
    expected = 100 - 100 * balanced_accuracy_score(labels, logits.argmax(1))
    exact = torch.log_softmax(torch.from_numpy(logits), -1)
    found = metrics.scores(exact, torch.from_numpy(labels))
    assert found.balanced_error == pytest.approx(expected)
    assert found.to_json()["balanced_error"] == found.balanced_error

    # 15 to 10 is not uneven yet; and examples with answers at several positions have no one class.
    even = np.repeat([0, 1, 2], [15, 12, 10])
    for these in (torch.from_numpy(even), torch.from_numpy(labels[:90]).view(9, 10)):
        rows = exact[: these.numel()].view(*these.shape, 3)
        scores = metrics.scores(rows, these)
        assert scores.balanced_error is None and "balanced_error" not in scores.to_json()
    # A class that no test example has is left out of the mean.
    two = torch.from_numpy(labels[labels < 2])
    lacking = metrics.scores(exact[torch.from_numpy(labels < 2)], two)
    said = exact[torch.from_numpy(labels < 2)].argmax(-1)
    by_class = [(said[two == number] != number).double().mean().item() for number in range(2)]
    assert lacking.balanced_error == pytest.approx(50 * sum(by_class))
