"""Insight: every number against NumPy, SciPy, scikit-learn or autograd; from real families; and
what is refused.
"""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LinearRegression
from sklearn.metrics import cohen_kappa_score, confusion_matrix, recall_score

import anew
from anew import AnewError, evaluation, objectives
from anew.core import files as storage
from anew.evaluation import insight, statistics
from anew.evaluation.insight import (
    Options,
    calibration,
    dark_knowledge,
    fidelity,
    gradients,
    wording,
)
from anew.evaluation.insight.calibration import Answers
from anew.evaluation.temperature import TEMPERATURES, fit_temperature
from anew.family import Family, choose_lineage
from anew.models import network, saving
from commands import call, contents, good
from conftest import QUICK, quick
from runs import RECIPE, interrupted_often, kill_at_random, train, weights

SEEDS = st.integers(0, 10_000)
TRAIN = Options("train")


def measured(generation, network_id, epoch, z, t, y, r):
    """A student's gradients, from its logits, its teacher's, labels and DKPP's integers."""
    student = gradients.Student(generation, network_id, epoch, z)
    return gradients.measure(student, gradients.Teaching(t, y, r))


def thinking(number, network_id, z, y, r, places):
    """What a generation's logits hold beside the answer."""
    return dark_knowledge.measure(dark_knowledge.Generation(number, network_id, z), y, r, places)


def problem(seed, count=60, classes=5, scale=2.0):
    """Student logits, teacher logits, labels and DKPP's integers."""
    rng = np.random.default_rng(seed)
    z, t = (torch.from_numpy(rng.normal(size=(count, classes)) * scale) for _ in range(2))
    return (
        z,
        t,
        torch.from_numpy(rng.integers(0, classes, count)),
        torch.from_numpy(rng.integers(0, 2**62, z.shape)),
    )


def soft(logits):
    return special.softmax(np.asarray(logits, np.float64), axis=-1)


@pytest.fixture(scope="module", autouse=True)
def wide_terminal():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        yield


# Gradients


@given(SEEDS, st.integers(2, 6), st.sampled_from(["ban", "dkpp"]))
@settings(deadline=None, max_examples=25)
def test_the_terms_are_what_autograd_finds_and_add_up(seed, classes, objective):
    z, t, y, r = problem(seed, 8, classes)
    targets = torch.softmax(
        t if objective == "ban" else objectives.permute_dark_knowledge(t, r), -1
    )
    found = gradients.terms(z, targets, y)
    z.requires_grad_()
    loss = objectives.ban(z, t) if objective == "ban" else objectives.dkpp(z, t, r)
    # Of one example's loss, without the mean over the batch.
    np.testing.assert_allclose(
        found.distillation, torch.autograd.grad(loss, z)[0] * len(y), atol=1e-12
    )
    np.testing.assert_allclose(
        found.label, torch.autograd.grad(objectives.label(z, y), z)[0] * len(y), atol=1e-12
    )
    hot = torch.nn.functional.one_hot(y, classes)
    np.testing.assert_allclose(
        found.dark + hot * found.correct[:, None], found.distillation, atol=1e-15
    )
    assert not (found.dark * hot).any()
    np.testing.assert_allclose(found.dark.sum(-1), -found.correct, atol=1e-12)


def plainly(q, t, y, confidence):
    """Everything of a `Pull`, example by example, in NumPy from the formulas."""
    rows = []
    for one, target, label in zip(q, t, y, strict=True):
        g, hot = one - target, np.eye(len(one))[label]
        rows.append((g, one - hot, g[label], np.delete(g, label), one[label], target[label]))
    g, l, correct, dark, right, target = (np.array(column) for column in zip(*rows, strict=True))  # noqa: E741
    total = (g**2).sum()
    explained = lambda w: np.sum(w[:, None] * g * l) ** 2 / np.sum((w[:, None] * l) ** 2) / total  # noqa: E731
    ratio = correct / (right - 1)
    line = LinearRegression()
    scores = [
        line.fit(target[:, None], ratio, sample_weight=w).score(
            target[:, None], ratio, sample_weight=w
        )
        for w in (np.ones(len(y)), (1 - right) ** 2)
    ]
    ws = (1 - right) ** 2
    slope, intercept = np.polyfit(target, ratio, 1, w=1 - right)

    def identity(w):
        """R^2 of the ratio being t*, from the sums of squares."""
        return 1 - np.sum(w * (ratio - target) ** 2) / np.sum(
            w * (ratio - np.average(ratio, weights=w)) ** 2
        )

    # What is left of each gradient when its part along the label gradient is taken away.
    left = [
        one - np.linalg.lstsq(other[:, None], one, rcond=None)[0] * other
        for one, other in zip(g, l, strict=True)
    ]
    return {
        "norm": np.mean([np.linalg.norm(one) for one in g]),
        "correct_norm": np.abs(correct).mean(),
        "dark_norm": np.linalg.norm(dark, axis=1).mean(),
        "dark_share": (dark**2).sum() / total,
        "cosine": np.mean(
            [
                one @ other / np.linalg.norm(one) / np.linalg.norm(other)
                for one, other in zip(g, l, strict=True)
            ]
        ),
        "by_labels": explained(np.ones(len(y))),
        "by_confidence": explained(confidence),
        "by_right_class": explained(target),
        "slope": slope,
        "intercept": intercept,
        "identity_r2": identity(np.ones(len(y))),
        "identity_r2_weighted": identity(ws),
        "by_any_weight": 1 - np.sum(np.square(left)) / total,
        "ratio_mean": np.average(ratio, weights=(1 - right) ** 2),
        "ratio_r2": scores[0],
        "ratio_r2_weighted": scores[1],
    }


@given(SEEDS, st.integers(3, 6))
@settings(deadline=None, max_examples=8)
def test_gradients_equal_numpy_and_scikit_learn(seed, classes):
    z, t, y, r = problem(seed, classes=classes)
    found = measured(2, "id", 5, z, t, y, r)
    assert (found.generation, found.id, found.epoch, found.examples) == (2, "id", 5, 60)
    p = soft(t)
    permuted = objectives.permute_dark_knowledge(torch.from_numpy(p), r).numpy()
    for pull, targets in ((found.ban, p), (found.dkpp, permuted)):
        for name, value in plainly(soft(z), targets, y.numpy(), p.max(-1)).items():
            assert getattr(pull, name).value == pytest.approx(value, rel=1e-7, abs=1e-10), name
            assert getattr(pull, name).low <= getattr(pull, name).high
    w = p.max(-1)
    assert found.cwtm_effective.value == pytest.approx(w.sum() ** 2 / (w**2).sum() / len(w))
    w = p[np.arange(60), y]
    assert found.right_effective.value == pytest.approx(w.sum() ** 2 / (w**2).sum() / len(w))
    assert found.label_norm.value == pytest.approx(
        np.linalg.norm(soft(z) - np.eye(classes)[y], axis=1).mean()
    )
    g, h = soft(z) - p, soft(z) - permuted
    cosines = (g * h).sum(1) / np.linalg.norm(g, axis=1) / np.linalg.norm(h, axis=1)
    assert found.ban_dkpp_cosine.value == pytest.approx(cosines.mean())


@given(SEEDS, st.integers(3, 8), st.floats(0.1, 20))
@settings(deadline=None, max_examples=20)
def test_no_weight_explains_more_than_the_best_and_the_dark_share_has_its_floor(
    seed, classes, scale
):
    z, t, y, r = problem(seed, 40, classes, scale)
    for pull in (found := measured(1, "", 1, z, t, y, r)).ban, found.dkpp:
        # A weight for each example can do what one for all, or the teacher's confidence, does.
        assert (
            max(pull.by_labels.value, pull.by_confidence.value)
            <= pull.by_any_weight.value + 1e-9
            <= 1 + 2e-9
        )
        # Gradients sum to 0, so the wrong classes hold at least 1/C of the squares.
        assert 1 / classes - 1e-9 <= pull.dark_share.value <= 1
    assert 1 / 40 <= found.cwtm_effective.value <= 1 + 1e-12


def test_a_teacher_that_only_repeats_the_labels_is_the_label_gradient():
    z, _, y, r = problem(0)
    certain = torch.nn.functional.one_hot(y, 5) * 1e4
    found = measured(1, "", 1, z, certain.double(), y, r).ban
    for one in (
        found.cosine,
        found.by_labels,
        found.by_confidence,
        found.by_right_class,
        found.by_any_weight,
        found.ratio_mean,
    ):
        assert one.value == pytest.approx(1)
    # Where the teacher is equally sure of all there is nothing to explain by its confidence.
    assert math.isnan(found.ratio_r2.value)


def test_of_two_classes_weights_explain_all_and_the_permutation_changes_nothing():
    z, t, y, r = problem(1, classes=2)
    found = measured(1, "", 1, z, t, y, r)
    assert found.ban.by_any_weight.value == pytest.approx(1)
    assert found.ban.dark_share.value == pytest.approx(0.5)
    assert found.ban == replace(found.dkpp, objective="ban")
    assert found.ban_dkpp_cosine.value == pytest.approx(1)


def test_a_teacher_that_weighs_and_does_no_more_is_explained_by_its_confidence():
    """Targets between the student and the label, by the teacher's confidence: g = w l, which CWTM
    can imitate.
    """
    z, _, y, _ = problem(2, 200)
    q = torch.softmax(z, -1)
    hot = torch.nn.functional.one_hot(y, 5).double()
    w = torch.from_numpy(np.random.default_rng(3).uniform(0.9, 1, (200, 1)))
    targets = q + w * (hot - q)
    found = measured(1, "", 1, z, targets.log(), y, torch.zeros(200, 5, dtype=torch.int64)).ban
    assert found.by_any_weight.value == pytest.approx(1)
    assert found.by_confidence.value > 0.999 and found.ratio_mean.value == pytest.approx(
        0.95, abs=0.02
    )


@pytest.mark.parametrize("right", [1e-12, 0.2, 0.9])
def test_the_ratio_lies_on_a_line_where_a_student_is_equally_sure_of_all(right):
    """(q* - p*) / (q* - 1) is (p* - c) / (1 - c) where q* = c: p* itself only where c is 0."""
    _, t, y, r = problem(8, 300)
    q = torch.full((300, 5), (1 - right) / 4).scatter(-1, y[:, None], right).double()
    found = measured(1, "", 1, q.log(), t, y, r).ban
    expected = {"slope": 1 / (1 - right), "intercept": -right / (1 - right), "ratio_r2": 1}
    for name, value in expected.items():
        one = getattr(found, name)
        assert (one.value, one.low, one.high) == pytest.approx((value,) * 3, abs=1e-6), name
    p = soft(t)[np.arange(300), y]
    ratio = (p - right) / (1 - right)
    explained = 1 - np.mean((ratio - p) ** 2) / np.var(ratio)
    assert found.identity_r2.value == pytest.approx(explained, abs=1e-6)
    assert found.identity_r2_weighted.value == pytest.approx(explained, abs=1e-6)
    assert (found.identity_r2.value > 0.999) == (right < 0.1)


def test_ratio_bins_hold_all_examples_in_the_order_of_the_target():
    z, t, y, r = problem(4, 205)
    bins = measured(1, "", 1, z, t, y, r).ban.ratio_bins
    assert sum(one.examples for one in bins) == 205 and len(bins) == 10
    assert [one.teacher for one in bins] == sorted(one.teacher for one in bins)
    assert all(one.lower <= one.median <= one.upper for one in bins)
    q, p = soft(z), soft(t)
    right = np.arange(205), y.numpy()
    ratio, target = (q[right] - p[right]) / (q[right] - 1), p[right]
    first = np.argsort(target, kind="stable")[:21]
    assert bins[0].median == pytest.approx(np.median(ratio[first]))


def test_certain_networks_give_finite_gradients():
    z = torch.tensor([[1e4, 0.0, 0.0], [40.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    y = torch.tensor([0, 0, 2])
    found = measured(1, "", 1, z, z.flip(-1), y, torch.zeros(3, 3, dtype=torch.int64))
    assert math.isfinite(found.ban.dark_share.value) and math.isfinite(
        found.ban.by_any_weight.value
    )
    # 1 - q* of the second is 8e-18, which float64 cannot say as 1 - q*; the first has none, and no
    # ratio.
    assert gradients.terms(z, torch.softmax(z, -1), y).wrong[1].item() == pytest.approx(
        2 * math.exp(-40), rel=1e-6
    )
    assert sum(one.examples for one in found.ban.ratio_bins) == 2


# Dark knowledge


@given(SEEDS, st.integers(3, 7))
@settings(deadline=None, max_examples=10)
def test_dark_knowledge_equals_scipy_and_scikit_learn(seed, classes):
    z, _, y, r = problem(seed, 80, classes)
    found = thinking(1, "id", z, y, r, torch.arange(100, 180))
    p, labels = soft(z), y.numpy()
    called = p.argmax(-1)
    assert found.confidence.value == pytest.approx(p.max(-1).mean())
    assert found.correct.value == pytest.approx(p[np.arange(80), labels].mean())
    assert found.entropy.value == pytest.approx(stats.entropy(p, axis=-1).mean())
    rest = p.copy()
    rest[np.arange(80), called] = 0
    assert found.dark_entropy.value == pytest.approx(stats.entropy(rest, axis=-1).mean())
    assert np.array_equal(found.confusion, confusion_matrix(labels, called, labels=range(classes)))
    shuffled = objectives.permute_dark_knowledge(torch.from_numpy(p), r).numpy().copy()
    shuffled[np.arange(80), called] = 0
    errors, rows = [], []
    for i in range(classes):
        of_row = called == i
        for matrix, values in ((found.similarity, rest), (found.permuted, shuffled)):
            expected = (
                values[of_row].sum(0) / values[of_row].sum() if of_row.any() else np.zeros(classes)
            )
            np.testing.assert_allclose(matrix[i], expected, rtol=1e-9)
        wrong = labels[of_row & (labels != i)]
        if len(wrong):
            errors.append(np.delete(np.bincount(wrong, minlength=classes) / len(wrong), i))
            rows.append(i)
    beside = lambda matrix: np.concatenate([np.delete(matrix[i], i) for i in rows])  # noqa: E731
    assert found.agreement == pytest.approx(
        stats.spearmanr(beside(found.similarity), np.concatenate(errors)).statistic
    )
    assert found.agreement_permuted == pytest.approx(
        stats.spearmanr(beside(found.permuted), np.concatenate(errors)).statistic
    )


def test_second_thoughts_are_the_likeliest_of_each_pair():
    z, _, y, r = problem(5, 300, 4)
    found = thinking(0, "", z, y, r, torch.arange(1000, 1300)).second_thoughts
    pairs = [(one.first, one.second) for one in found]
    assert len(set(pairs)) == len(pairs) == 12
    assert [one.second_probability for one in found] == sorted(
        (one.second_probability for one in found), reverse=True
    )
    p = soft(z)
    order = np.argsort(p, axis=-1)
    for one in found:
        same = (order[:, -1] == one.first) & (order[:, -2] == one.second)
        assert one.second_probability == pytest.approx(p[same, one.second].max())
        row = one.example - 1000
        assert (
            same[row]
            and one.label == y[row]
            and p[row, one.first] == pytest.approx(one.first_probability)
        )


def test_alike_classes_agree_with_the_errors_until_permuted():
    """Classes 0 and 1, 2 and 3, 4 and 5 are alike, and errors fall where the doubts are: calibrated
    by construction.
    """
    rng = np.random.default_rng(0)
    called = rng.integers(0, 6, 6000)
    p = np.full((6000, 6), 0.02)
    p[np.arange(6000), called ^ 1] = 0.22
    p[np.arange(6000), called] = 0.70
    labels = np.array([rng.choice(6, p=row) for row in p])
    r = torch.from_numpy(rng.integers(0, 2**62, p.shape))
    found = thinking(
        0, "", torch.from_numpy(np.log(p)), torch.from_numpy(labels), r, torch.arange(6000)
    )
    # Of 30 pairs, 6 stand out and 24 are ties in the one and nearly in the other.
    assert found.agreement > 0.6
    assert abs(found.agreement_permuted) < 0.5
    assert [int(np.argmax(row)) for row in found.similarity] == [1, 0, 3, 2, 5, 4]
    assert np.max(found.permuted) < 0.25 < 0.7 < np.max(found.similarity)


def test_a_network_without_errors_has_no_agreement():
    z, _, _, r = problem(6)
    found = thinking(0, "", z, z.argmax(-1), r, torch.arange(60))
    assert math.isnan(found.agreement) and math.isnan(found.agreement_permuted)


# Calibration and harm


def log_soft(logits):
    return torch.log_softmax(logits, -1)


@given(SEEDS)
@settings(deadline=None, max_examples=10)
def test_reliability_equals_scikit_learn(seed):
    z, _, y, _ = problem(seed, 150)
    bins = calibration.reliability(log_soft(z), y)
    confidence, called = soft(z).max(-1), soft(z).argmax(-1)
    accuracy, mean = calibration_curve(
        called == y.numpy(), confidence, n_bins=15, strategy="quantile"
    )
    assert [one.examples for one in bins] == [10] * 15
    np.testing.assert_allclose([one.confidence for one in bins], mean)
    np.testing.assert_allclose([one.accuracy for one in bins], accuracy)
    assert calibration.expected_error(bins) == pytest.approx(100 * np.abs(accuracy - mean).mean())
    # Wilson's interval, from its formula.
    z95, n, k = stats.norm.ppf(0.975), 10, accuracy[0]
    middle = (k + z95**2 / (2 * n)) / (1 + z95**2 / n)
    half = z95 / (1 + z95**2 / n) * math.sqrt(k * (1 - k) / n + z95**2 / (4 * n**2))
    assert (bins[0].low, bins[0].high) == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_fewer_examples_than_bins():
    z, _, y, _ = problem(0, 4)
    assert [one.examples for one in calibration.reliability(log_soft(z), y)] == [1, 1, 1, 1]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_outputs_is_found(temperature):
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(20_000, 4)) * 2
    labels = torch.from_numpy((honest + rng.gumbel(size=honest.shape)).argmax(-1))
    found = fit_temperature(torch.from_numpy(honest * temperature), labels)
    assert found == pytest.approx(temperature, rel=0.05)
    # No other is better: of a grid around it.
    logits = torch.from_numpy(honest * temperature)

    def nll(t):
        return torch.nn.functional.cross_entropy(logits / t, labels).item()

    assert nll(found) <= min(nll(found * factor) for factor in (0.9, 0.99, 0.999, 1.001, 1.01, 1.1))


def test_where_validation_is_all_right_the_temperature_is_the_least_and_finite():
    z, _, _, _ = problem(0)
    found = fit_temperature(z, z.argmax(-1))
    assert found == pytest.approx(TEMPERATURES[0], rel=0.01)
    found = calibration.measure((0,), log_soft(z), z.argmax(-1), (z, z.argmax(-1)))
    assert math.isfinite(found.scaled.nll) and found.name == "generation 0"


@given(SEEDS)
@settings(deadline=None, max_examples=10)
def test_harm_equals_counting(seed):
    rng = np.random.default_rng(seed)
    before, after, mean = (torch.from_numpy(rng.random(90) < share) for share in (0.7, 0.6, 0.8))
    labels = torch.from_numpy(rng.integers(0, 3, 90))
    found = calibration.compare(
        Answers((0,), before), Answers((1,), after), Answers((0, 1), mean), labels, "abc"
    )
    b, a, m, y = (one.numpy() for one in (before, after, mean, labels))
    assert found.negative_flips.value == pytest.approx(100 * np.mean(b & ~a))
    assert found.positive_flips.value == pytest.approx(100 * np.mean(~b & a))
    assert found.difference.mean == pytest.approx(
        found.negative_flips.value - found.positive_flips.value
    )
    assert found.difference.p == stats.binomtest(int((b & ~a).sum()), int((b ^ a).sum())).pvalue
    assert found.repaired.value == pytest.approx(100 * np.sum(b & ~a & m) / np.sum(b & ~a))
    for one in found.classes:
        # Error is what recall leaves.
        for right, error in ((b, one.before), (a, one.after)):
            recall = recall_score(
                y, np.where(right, y, 9), labels=[one.label], average=None, zero_division=0
            )
            assert error == pytest.approx(100 * (1 - recall[0]))
        assert one.name == "abc"[one.label] and one.examples == (y == one.label).sum()
    assert [one.change for one in found.classes] == sorted(
        (one.change for one in found.classes), reverse=True
    )


def test_without_flips_there_is_nothing_to_repair():
    right = torch.ones(9, dtype=torch.bool)
    all_right = Answers((0,), right)
    labels = torch.zeros(9, dtype=torch.int64)
    found = calibration.compare(all_right, all_right, all_right, labels, ("a", "b"))
    assert math.isnan(found.repaired.value) and found.negative_flips.value == 0
    # A class without examples comes last, without numbers.
    assert found.classes[1].name == "b" and math.isnan(found.classes[1].change)


# Fidelity


@given(SEEDS)
@settings(deadline=None, max_examples=10)
def test_fidelity_equals_numpy_and_scipy(seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(3, 70, 4)) * 2, rng.integers(0, 4, 70)
    found = fidelity.measure([torch.from_numpy(one) for one in logits], torch.from_numpy(labels))
    p = soft(logits)
    called = p.argmax(-1)
    right = called == labels
    for i in range(3):
        for j in range(3):
            assert found.agreement[i][j] == pytest.approx(100 * np.mean(called[i] == called[j]))
            assert found.kl[i][j] == pytest.approx(
                special.rel_entr(p[i], p[j]).sum(-1).mean(), abs=1e-12
            )
            assert found.disagreement[i][j] == pytest.approx(100 * np.mean(right[i] != right[j]))
            assert found.double_faults[i][j] == pytest.approx(100 * np.mean(~right[i] & ~right[j]))
    # Agreement is what Cohen's kappa corrects for chance.
    chance = sum(np.mean(called[0] == c) * np.mean(called[1] == c) for c in range(4))
    kappa = (found.agreement[0][1] / 100 - chance) / (1 - chance)
    assert kappa == pytest.approx(cohen_kappa_score(called[0], called[1]))
    assert [one.generations for one in found.ensembles] == [(0, 1), (1, 2), (0, 1, 2)]
    whole = found.ensembles[-1]
    assert whole.name == "ensemble 0-2"
    assert whole.error == pytest.approx(100 * np.mean(p.mean(0).argmax(-1) != labels))
    assert whole.mean_member_error == pytest.approx(100 * (1 - right.mean()))
    assert whole.best_member_error == pytest.approx(100 * (1 - right.mean(-1).max()))
    assert whole.gain.value == pytest.approx(whole.mean_member_error - whole.error)
    assert whole.disagreement == pytest.approx(
        np.mean([found.disagreement[i][j] for i, j in ((0, 1), (0, 2), (1, 2))])
    )


# The bootstrap


def test_the_bootstrap_equals_scipys():
    values = np.random.default_rng(0).exponential(size=(400, 2))
    columns = {"a": values[:, 0], "b": values[:, 1]}
    found = statistics.bootstrap(
        columns, lambda mean: {"a": mean["a"], "ratio": mean["a"] / mean["b"]}
    )
    mean, ratio = found["a"], found["ratio"]
    scipys = stats.bootstrap((values[:, 0],), np.mean, method="percentile", n_resamples=4000, rng=1)
    low, high = scipys.confidence_interval
    # Of a thousand samples, quantiles are off by a few hundredths of the interval.
    assert (mean.low, mean.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert ratio.value == pytest.approx(values[:, 0].mean() / values[:, 1].mean())
    assert ratio.low < ratio.value < ratio.high
    assert statistics.bootstrap(columns, lambda mean: mean)["a"] == mean
    assert statistics.bootstrap(columns, lambda mean: mean, seed=1)["a"] != mean


def test_what_is_not_defined_is_nan_and_what_is_seldom_undefined_is_not():
    columns = {"never": np.zeros(30), "once": np.eye(30)[0]}
    found = statistics.bootstrap(
        columns, lambda mean: {"a": mean["once"] / mean["never"], "b": mean["once"] / mean["once"]}
    )
    assert all(math.isnan(one) for one in (found["a"].value, found["a"].low, found["a"].high))
    assert found["b"] == statistics.Interval(1, 1, 1)


# Kept epochs


@pytest.fixture(scope="module")
def kept(arrays, tmp_path_factory):
    """A lineage of three that kept every epoch."""
    return train(arrays, tmp_path_factory.mktemp("kept") / "family", keep_epochs=1)


def kept_files(family):
    return {
        (folder.id, epoch): storage.sha256(folder.at_epoch(epoch))
        for folder in Family.open(Path(family)).folders()
        for epoch in folder.kept_epochs()
    }


def predicted(path, examples):
    placed = network.place(saving.load(path), torch.device("cpu"), "channels_last")
    return evaluation.predict(placed, examples, torch.device("cpu"))


def test_epochs_are_kept_beside_the_last_and_change_nothing(kept, arrays, tmp_path):
    files = kept_files(kept.family.path)
    assert sorted(files) == sorted((spec.id, epoch) for spec in kept.lineage for epoch in (1, 2))
    assert len(set(files.values())) == 6
    assert all(
        f"epoch-{epoch}.safetensors" in kept.family.folder(one).done["files"]
        for one, epoch in files
    )
    plain = train(arrays, tmp_path / "plain")
    assert weights(plain.family.path) == weights(kept.family.path)
    assert kept_files(plain.family.path) == {}
    second = train(arrays, tmp_path / "second", keep_epochs=2)
    assert kept_files(second.family.path) == {one: sha for one, sha in files.items() if one[1] == 2}


def test_an_epochs_weights_are_those_of_a_training_stopped_there(kept, arrays):
    """Epoch 2's network scores what the metrics say of epoch 2."""
    folder = kept.family.folder(kept.lineage[0].id)
    data = anew.data.prepare(anew.data.from_arrays(arrays), kept.lineage[0].data)
    for epoch in (1, 2):
        logits = predicted(folder.at_epoch(epoch), data.validation)
        scores = evaluation.score_logits(logits, data.validation.labels)
        row = folder.read_metrics()[epoch - 1]
        assert (scores.error, scores.nll) == (row["validation_error"], row["validation_nll"])


def test_kept_epochs_are_the_same_after_interruptions_and_kills(kept, arrays, npz, tmp_path):
    stopped = interrupted_often(arrays, tmp_path / "stopped", keep_epochs=1)
    assert kept_files(stopped) == kept_files(kept.family.path)
    killed = tmp_path / "killed"
    kill_at_random(killed, npz, kills=3, seed=0, options=[*QUICK, "--keep-epochs", "1"])
    assert kept_files(killed) == kept_files(kept.family.path)
    assert Family.open(killed).verify() == (3, [])


def test_verify_sees_a_kept_epoch_that_changed(kept, tmp_path):
    copied = Path(shutil.copytree(kept.family.path, tmp_path / "copied"))
    path = Family.open(copied).folder(kept.lineage[1].id).at_epoch(2)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "epoch-2.safetensors: has changed" in call("verify", copied).err
    assert "epoch-2.safetensors: has changed" in call("insight", copied).err


# A whole insight


@pytest.fixture(scope="module")
def place(tmp_path_factory, arrays):
    folder = tmp_path_factory.mktemp("insight")
    np.savez(folder / "small.npz", x=arrays[0], y=arrays[1])
    return folder


@pytest.fixture(scope="module")
def family(place):
    done = call(
        "train",
        "--data",
        f"npz:{place / 'small.npz'}",
        "--out",
        place / "family",
        "--threads",
        "1",
        "--keep-epochs",
        "2",
        *QUICK,
    )
    assert done.code == 0, done.err
    return place / "family"


def test_insight_from_stored_outputs_alone(family, place):
    opened = Family.open(family)
    lineage = choose_lineage(opened)
    found = insight.collect(opened, lineage)
    assert (found.format, found.split, found.examples, found.classes) == (
        1,
        "test",
        48,
        ("0", "1", "2"),
    )
    assert [one.id for one in found.lineage] == [spec.id for spec in lineage]
    assert [one.kept_epochs for one in found.lineage] == [(2, 3)] * 3
    assert [(one.generation, one.epoch) for one in found.gradients] == [(1, 3), (2, 3)]
    rows = evaluation.evaluate_lineage(opened, lineage)
    assert [(one.name, one.scores) for one in found.calibration] == [
        (row.name, row.scores) for row in rows
    ]
    assert [one.name for one in found.harm] == [
        "generation 0 to generation 1",
        "generation 1 to generation 2",
        "generation 0 to generation 2",
        "generation 0 to ensemble 0-2",
    ]
    assert math.isnan(found.harm[-1].repaired.value)
    errors = {row.name: row.scores.error for row in rows}
    assert found.harm[0].difference.mean == pytest.approx(
        errors["generation 1"] - errors["generation 0"]
    )
    assert [one.error for one in found.fidelity.ensembles] == [
        pytest.approx(errors[name]) for name in ("ensemble 0-1", "ensemble 1-2", "ensemble 0-2")
    ]
    (temperature,) = {one.temperature for one in found.calibration if one.name == "generation 1"}
    logits, labels = evaluation.read_outputs(opened.folder(lineage[1].id), "validation")
    assert temperature == fit_temperature(logits, labels)
    # What a student learns from is the generation before.
    q = [
        torch.softmax(evaluation.read_outputs(opened.folder(spec.id), "test")[0].double(), -1)
        for spec in lineage
    ]
    for one in found.gradients:
        expected = (q[one.generation] - q[one.generation - 1]).norm(dim=-1).mean().item()
        assert one.ban.norm.value == pytest.approx(expected)
    assert insight.collect(opened, lineage) == found


def test_kept_epochs_and_training_examples_are_looked_at_with_the_data(family):
    opened = Family.open(family)
    lineage = choose_lineage(opened)
    data = insight.find_data(lineage)
    on_test = insight.collect(opened, lineage, data=data)
    assert [(one.generation, one.epoch) for one in on_test.gradients] == [
        (1, 2),
        (1, 3),
        (2, 2),
        (2, 3),
    ]
    assert replace(on_test, gradients=()) == replace(insight.collect(opened, lineage), gradients=())
    on_train = insight.collect(opened, lineage, TRAIN, data)
    assert on_train.examples == len(data.training) and on_train.split == "train"
    z, t = (
        evaluation.predict(
            saving.load(opened.folder(lineage[one].id).weights), data.training, torch.device("cpu")
        )
        for one in (1, 0)
    )
    expected = (
        (torch.softmax(z.double(), -1) - torch.softmax(t.double(), -1)).norm(dim=-1).mean().item()
    )
    assert on_train.gradients[1].ban.norm.value == pytest.approx(expected)
    assert on_train.calibration[0].temperature == on_test.calibration[0].temperature
    some = insight.collect(opened, lineage, Options("train", 20), data)
    assert (
        some.examples == 20
        and some.gradients[1].ban.norm.value != on_train.gradients[1].ban.norm.value
    )
    assert {one.example for one in some.dark_knowledge[0].second_thoughts} <= set(
        range(len(data.training))
    )


def test_validation_is_not_scored_at_its_own_temperature(family):
    found = insight.collect(
        Family.open(family), choose_lineage(Family.open(family)), Options("validation")
    )
    assert all(one.temperature is None and one.scaled is None for one in found.calibration)
    assert "the validation examples that chose it" in found.notices[0]


def test_json_says_all_and_no_nan(family):
    said = json.loads(good("insight", family, "--format", "json"), parse_constant=pytest.fail)
    assert said["format"] == insight.FORMAT
    assert set(said) == {
        "format",
        "split",
        "examples",
        "classes",
        "lineage",
        "gradients",
        "dark_knowledge",
        "calibration",
        "harm",
        "fidelity",
        "notices",
    }
    evaluated = json.loads(good("evaluate", family, "--json"))[0]["rows"]
    for one, row in zip(said["calibration"], evaluated, strict=True):
        assert all(row.get(name) == value for name, value in one["scores"].items())
    assert [one["epoch"] for one in said["gradients"]] == [2, 3, 2, 3]
    assert set(said["gradients"][0]["ban"]["dark_share"]) == {"value", "low", "high"}


def test_tables_say_what_the_numbers_are(family, tmp_path):
    opened = Family.open(family)
    found = insight.collect(opened, choose_lineage(opened))
    said = good("insight", family)
    written = good("insight", family, "--format", "markdown")
    for section in wording.sections(found):
        assert section.title in said and section.title in written
        assert all(f"- {line}" in written for line in section.about)
        assert all(" ".join(line.split()) in " ".join(said.split()) for line in section.about)
        assert all(len(row) == len(section.columns) for row in section.rows)
    # One network has one ECE, here and in `anew evaluate`.
    (evaluated,) = json.loads(good("evaluate", family, "--json"))
    ece = {row["name"]: f"{row['ece']:.2f}" for row in evaluated["rows"]}
    (calibration,) = (one for one in wording.sections(found) if one.title == "Calibration")
    place = list(calibration.columns).index("ECE %")
    assert all(ece[row[0]] == row[place] for row in calibration.rows)
    share = found.gradients[-1].ban.dark_share
    assert f"{100 * share.value:.1f} ({100 * share.low:.1f} to {100 * share.high:.1f})" in written
    lines = [line for line in written.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in lines)


def test_tables_fit_the_terminal_and_lose_nothing(family, monkeypatch):
    opened = Family.open(family)
    found = insight.collect(
        opened, choose_lineage(opened), data=insight.find_data(choose_lineage(opened))
    )
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        said = good("insight", family)
        assert max(map(len, said.splitlines())) <= width
        for section in wording.sections(found):
            for row in section.rows:
                # Not one cell is cut, and no row loses its name.
                assert all(cell in said for cell in row), row


def test_python_and_the_command_agree(kept, arrays):
    assert kept.insight().gradients[-1].epoch == 3
    assert (
        len(kept.insight().gradients) == 2
        and "Kept epochs are skipped" in kept.insight().notices[0]
    )
    with_data = kept.insight("train", data=arrays, examples=30)
    assert len(with_data.gradients) == 6 and with_data.examples == 30
    assert with_data.notices == ()


def test_one_generation_has_no_students(arrays, tmp_path):
    found = train(arrays, tmp_path / "f", generations=0).insight()
    assert found.gradients == found.harm == found.fidelity.ensembles == ()
    assert len(found.dark_knowledge) == len(found.calibration) == 1
    assert "There is no student yet" in found.notices[0]
    assert wording.sections(found)


# What is refused, and what is said


def refused(*arguments):
    """One line, code 2, nothing on standard output; return the line."""
    done = call(*arguments)
    assert (done.code, done.out) == (2, ""), done
    assert done.err.startswith("anew: ") and done.err.count("\n") == 1, done.err
    return done.err


@pytest.fixture
def copied(family, tmp_path):
    return Path(shutil.copytree(family, tmp_path / "copied"))


def test_an_unfinished_lineage_is_shown_as_far_as_it_is(copied):
    before = contents(copied)
    lineage = choose_lineage(Family.open(copied))
    Family.open(copied).folder(lineage[2].id).done_file.unlink()
    said = good("insight", copied)
    assert f"generation 2 ({lineage[2].id}, ban) is not finished and is skipped." in said
    assert "generations 0 to 1" in said
    Family.open(copied).folder(lineage[1].id).done_file.unlink()
    assert "generation 1" in good("insight", copied)
    Family.open(copied).folder(lineage[0].id).done_file.unlink()
    assert "holds no finished network" in refused("insight", copied)
    assert "not finished" in refused("insight", copied, "--network", lineage[0].id)
    # Looking writes nothing.
    assert {path for path in contents(copied)} == {
        path for path in before if path.name != "done.json"
    }


@pytest.mark.parametrize("harm", ["changed", "cut", "gone", "weights", "record"])
def test_a_damaged_family_is_refused(copied, harm):
    lineage = choose_lineage(Family.open(copied))
    folder = Family.open(copied).folder(lineage[1].id)
    if harm == "gone":
        folder.outputs.unlink()
    elif harm == "record":
        folder.done_file.write_text("{")
    else:
        path = folder.weights if harm == "weights" else folder.outputs
        content = path.read_bytes()
        path.write_bytes(content[:-9] if harm == "cut" else content[:-9] + b"x" + content[-8:])
    says = {"gone": "is missing", "cut": "bytes", "record": "is damaged"}.get(harm, "has changed")
    assert says in refused("insight", copied)


def test_a_family_without_stored_outputs_can_be_looked_at_on_training_examples(copied):
    for folder in Family.open(copied).folders():
        record = {
            name: one
            for name, one in folder.done.items()
            if name not in ("files", "sha256", "format")
        }
        folder.outputs.unlink()
        folder.finish(record)
    assert "holds no stored outputs" in refused("insight", copied)
    said = good("insight", copied, "--split", "train")
    assert "No temperature is fitted: there are no stored outputs" in said


def test_data_that_are_not_at_hand(copied, place, family, tmp_path, arrays):
    moved = place / "moved.npz"
    shutil.move(place / "small.npz", moved)
    try:
        line = refused("insight", copied, "--split", "train")
        assert "not available" in line and "--data" in line
        said = good("insight", copied)
        assert "Kept epochs are skipped" in said
        by_path = good(
            "insight", copied, "--split", "train", "--data", f"npz:{moved}", "--format", "json"
        )
    finally:
        shutil.move(moved, place / "small.npz")
    assert by_path == good("insight", family, "--split", "train", "--format", "json")
    other = tmp_path / "other.npz"
    np.savez(other, x=arrays[0][:-3], y=arrays[1][:-3])
    assert "fingerprint" in refused("insight", family, "--split", "train", "--data", f"npz:{other}")
    lineage = choose_lineage(Family.open(family))
    wrong = anew.data.prepare(anew.data.from_arrays(arrays), replace(lineage[0].data, seed=1))
    with pytest.raises(AnewError, match="not the lineage's training data"):
        insight.collect(Family.open(family), lineage, TRAIN, wrong)
    with pytest.raises(AnewError, match="split train: needs the lineage's training data"):
        insight.collect(Family.open(family), lineage, TRAIN)


def test_students_of_a_shuffled_teacher_are_named(arrays, tmp_path):
    found = train(
        arrays, tmp_path / "f", generations=1, objective={"name": "ban", "shuffled": True}
    ).insight()
    assert [one.objective for one in found.lineage] == ["label", "ban, shuffled teacher"]
    assert "Generation 1 learned from a shuffled teacher" in found.notices[0]


def test_several_lineages_need_a_choice(arrays, tmp_path):
    for objective in ("ban", "dkpp"):
        train(arrays, tmp_path / "f", generations=1, objective=objective)
    lineages = Family.open(tmp_path / "f").lineages()
    line = refused("insight", tmp_path / "f")
    assert "holds 2 lineages; choose one with --network" in line and all(
        one[-1].id in line for one in lineages
    )
    for one in lineages:
        assert one[-1].objective.name in good(
            "insight", tmp_path / "f", "--network", one[-1].id[:6]
        )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--examples", "0"], "examples must be a whole number >= 1, got 0; set --examples"),
        (["--examples", "1.5"], "examples must be a whole number, got '1.5'"),
        (["--split", "tset"], "tset"),
        (["--format", "yaml"], "yaml"),
        (["--network", "zzz"], "no network with an id that starts with 'zzz'"),
        (["--device", "abacus"], "device must be one of"),
    ],
)
def test_bad_options(family, arguments, says):
    assert says in refused("insight", family, *arguments)


def test_no_family(tmp_path):
    assert "is no family" in refused("insight", tmp_path)


@pytest.mark.parametrize(
    ("value", "says"),
    [("0", ">= 1 or none, got '0'"), ("2.5", "got '2.5'"), ("-1", ">= 1 or none, got '-1'")],
)
def test_keep_epochs_must_be_whole_and_positive(tmp_path, value, says):
    assert says in refused("train", "--out", tmp_path / "f", "--keep-epochs", value, *quick(1, 0))
    assert not (tmp_path / "f").exists()


def test_more_examples_than_there_are_is_all_of_them(family):
    found = json.loads(good("insight", family, "--examples", "100000", "--format", "json"))
    assert found == json.loads(good("insight", family, "--format", "json"))


def test_no_validation_split(arrays, tmp_path):
    recipe = {**RECIPE, "data": {"validation": 0.0}}
    found = train(arrays, tmp_path / "f", generations=1, recipe=recipe).insight()
    assert all(one.temperature is None for one in found.calibration)
    assert "no validation split was held out" in found.notices[0]
    assert "no validation split was held out" in refused(
        "insight", tmp_path / "f", "--split", "validation"
    )
