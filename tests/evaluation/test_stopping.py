"""The rule that ends a lineage, by simulation and by hand, and learned weights against SciPy."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import anew
from anew import AnewError
from anew.core.callbacks import Callback
from anew.evaluation import ensemble
from anew.evaluation.scoring import lineage_outputs
from anew.evaluation.stopping import ONE_SIDED, gain
from anew.evaluation.weighting import learn_weights
from anew.family import Family
from commands import call
from runs import RECIPE, train


def simulated(true_gain, examples, repetitions=2000, seed=0):
    """How often a gain is shown if the falls of examples have this mean and the deviation 1."""
    rng = np.random.default_rng(seed)
    labels = torch.zeros(examples, dtype=torch.int64)
    shown = 0
    for _ in range(repetitions):
        # As NLLs fall: many examples hardly change, a few do much.
        falls = rng.standard_t(6, examples) / np.sqrt(6 / 4) + true_gain
        before = torch.zeros(examples, 2, dtype=torch.float64)
        after = before.clone()
        after[:, 0] = torch.from_numpy(falls)
        shown += gain(before, after, labels).is_shown
    return shown / repetitions


@pytest.mark.parametrize("examples", [50, 400])
@pytest.mark.parametrize("size", [0.0, 1.0, 2.0, 3.0, 4.0])
def test_stops_are_false_as_often_as_the_normal_distribution_says(examples, size):
    """A gain of `size` standard errors: without any, one generation more follows in 5 % of the
    cases; a stop is false, though there is a gain, in Phi(1.645 - size) of them."""
    found = simulated(size / np.sqrt(examples), examples)
    expected = 1 - stats.norm.cdf(1.645 - size)
    noise = 3 * np.sqrt(expected * (1 - expected) / 2000)
    assert found == pytest.approx(expected, abs=noise + 0.015)
    if size == 0:
        assert found < 0.07
    if size == 4:
        assert 1 - found < 0.02


def test_a_gain_is_paired_by_example():
    rng = np.random.default_rng(0)
    z = torch.tensor(rng.normal(size=(300, 4)) * 3)
    labels = torch.tensor(rng.integers(0, 4, 300))
    before = z.log_softmax(-1)
    after = before.clone()
    after[torch.arange(300), labels] += torch.tensor(rng.normal(0.05, 0.1, 300))
    found = gain(before, after, labels)
    falls = (after - before)[torch.arange(300), labels].numpy()
    paired = stats.ttest_1samp(falls, 0, alternative="greater")
    assert found.mean == pytest.approx(falls.mean())
    assert found.mean / found.error == pytest.approx(paired.statistic)
    # Far below what two independent samples would show: their deviation is that of the examples.
    assert found.is_shown and found.mean < ONE_SIDED * float(before[:, 0].std()) / np.sqrt(300)


class Hears(Callback):
    def __init__(self):
        self.texts = []

    def log(self, text):
        self.texts.append(text)


@pytest.mark.parametrize("rule", ["network", "ensemble"])
def test_a_lineage_ends_where_validation_shows_no_gain(arrays, tmp_path, rule):
    heard = Hears()
    recipe = {**RECIPE, "data": {"validation": 0.3}}
    most = 10 if rule == "ensemble" else 2
    generations = "auto" if rule == "ensemble" else most
    given = {"generations": generations, "stop_rule": rule, "recipe": recipe, "progress": heard}
    result = train(arrays, tmp_path / "f", **given)
    family = Family.open(tmp_path / "f")
    logits, labels = lineage_outputs(family, result.lineage, "validation")

    def shown(count):
        now = [one.double().softmax(-1) for one in logits[:count]]
        if rule == "network":
            before, after = now[-2], now[-1]
        else:
            before, after = sum(now[:-1]) / (count - 1), sum(now) / count
        falls = (after.log() - before.log())[torch.arange(len(labels)), labels].numpy()
        return falls.mean() > 1.645 * falls.std(ddof=1) / np.sqrt(len(falls))

    count = len(result.lineage)
    assert 2 <= count <= most + 1
    assert all(shown(number) for number in range(2, count))
    assert count == most + 1 or not shown(count)
    said = [text for text in heard.texts if "validation NLL" in text]
    assert len(said) == count - 1
    assert shown(count) or "choice on validation" in said[-1]
    # Nothing beyond is begun, and the same command ends at the same place.
    assert len(list(family.folders())) == count
    assert train(arrays, tmp_path / "f", **given).lineage == result.lineage


def test_a_rule_without_validation_examples_is_refused(arrays, tmp_path):
    recipe = {**RECIPE, "data": {"validation": 0}}
    with pytest.raises(AnewError, match=r"none are held out; set --data\.validation"):
        train(arrays, tmp_path / "f", generations="auto", recipe=recipe)
    assert not (tmp_path / "f").exists()
    with pytest.raises(AnewError, match="stop_rule must be one of none, network, ensemble"):
        anew.train("mlp", arrays, stop_rule="best", out=tmp_path / "f", progress=False)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(3, 80))
def test_learned_weights_are_scipys(seed, networks, examples):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, examples)
    skill = rng.uniform(0, 4, networks)
    logits = rng.normal(size=(networks, examples, 4))
    for number in range(networks):
        logits[number, np.arange(examples), labels] += skill[number]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    on_label = p[:, np.arange(examples), labels]

    def loss(weights):
        return -np.log(weights @ on_label).mean()

    theirs = optimize.minimize(
        loss,
        np.full(networks, 1 / networks),
        method="SLSQP",
        bounds=[(0, 1)] * networks,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    ours = np.array(learn_weights([*torch.from_numpy(logits)], torch.from_numpy(labels)))
    assert ours.sum() == pytest.approx(1) and (ours >= 0).all()
    assert loss(ours) <= theirs.fun + 1e-6
    assert loss(ours) == pytest.approx(theirs.fun, abs=1e-5)


def test_weights_that_do_not_sum_to_one_are_refused():
    logits = [torch.randn(5, 3), torch.randn(5, 3)]
    for weights in ((0.5, 0.6), (1.5, -0.5), (1.0,)):
        with pytest.raises(AnewError, match=r"2 numbers >= 0 that add up to 1"):
            ensemble.log_mean(logits, weights=weights)
    alone = ensemble.log_mean(logits, weights=(1.0, 0.0))
    torch.testing.assert_close(alone, logits[0].double().log_softmax(-1))


def test_learned_weights_stand_beside_the_plain_mean(arrays, tmp_path):
    train(arrays, tmp_path / "f", generations=2)
    done = call("evaluate", tmp_path / "f", "--learn-weights", "--json")
    assert done.code == 0, done.err
    (entry,) = json.loads(done.out)
    plain = next(row for row in entry["rows"] if row["name"] == "ensemble 0-2")
    learned = next(row for row in entry["rows"] if row["name"] == "ensemble 0-2, learned weights")
    assert sum(learned["weights"]) == pytest.approx(1)

    family = Family.open(tmp_path / "f")
    logits, labels = lineage_outputs(family, family.lineages()[0], "test")
    weighted = sum(
        weight * one.double().softmax(-1)
        for weight, one in zip(learned["weights"], logits, strict=True)
    )
    nll = -weighted.log()[torch.arange(len(labels)), labels].mean().item()
    assert learned["nll"] == pytest.approx(nll) and plain["nll"] != learned["nll"]
    assert "Learned weights: " in call("evaluate", tmp_path / "f", "--learn-weights").out
    refused = call("evaluate", tmp_path / "f", "--learn-weights", "--split", "validation")
    assert refused.code == 2 and "say nothing new" in refused.err
