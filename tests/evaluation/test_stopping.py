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
from anew.evaluation import ensemble, language
from anew.evaluation.scoring import lineage_outputs
from anew.evaluation.stopping import ONE_SIDED, gain
from anew.evaluation.weighting import learn_weights
from anew.family import Family
from commands import call
from runs import RECIPE, train
from texts import write


def simulated(true_gain, examples, repetitions=2000, seed=0):
    """How often a gain is shown if the falls of examples have this mean and the deviation 1."""
    rng = np.random.default_rng(seed)
    before = torch.zeros(examples, dtype=torch.float64)
    shown = 0
    for _ in range(repetitions):
        # As NLLs fall: many examples hardly change, a few do much.
        falls = rng.standard_t(6, examples) / np.sqrt(6 / 4) + true_gain
        shown += gain(before, torch.from_numpy(falls)).is_shown
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
    before = torch.tensor(rng.normal(size=(300, 4)) * 3).log_softmax(-1)[:, 0]
    falls = rng.normal(0.05, 0.1, 300)
    found = gain(before, before + torch.tensor(falls))
    paired = stats.ttest_1samp(falls, 0, alternative="greater")
    assert found.mean == pytest.approx(falls.mean())
    assert found.mean / found.error == pytest.approx(paired.statistic)
    # Far below what two independent samples would show: their deviation is that of the examples.
    assert found.is_shown and found.mean < ONE_SIDED * float(before.std()) / np.sqrt(300)


def test_neighbours_count_as_one():
    rng = np.random.default_rng(0)
    # Each fall stands 35 times, so there are 120 of them.
    falls = rng.normal(0.02, 0.1, 120)
    before = torch.zeros(120 * 35, dtype=torch.float64)
    after = torch.from_numpy(np.repeat(falls, 35))
    found = gain(before, after, 35)
    paired = stats.ttest_1samp(falls, 0, alternative="greater")
    assert found.mean / found.error == pytest.approx(paired.statistic)
    assert gain(before, after).error < found.error / 5

    # The last block is shorter: the error is the bootstrap's over blocks.
    after = torch.from_numpy(
        rng.normal(0.02, 0.1, 1000) + np.repeat(rng.normal(0, 0.1, 29), 35)[:1000]
    )
    starts = np.arange(0, 1000, 35)
    sums = np.add.reduceat(after.numpy(), starts)
    sizes = np.diff(np.append(starts, 1000))
    drawn = rng.integers(0, 29, (20_000, 29))
    deviation = (sums[drawn].sum(1) / sizes[drawn].sum(1)).std()
    assert gain(torch.zeros_like(after), after, 35).error == pytest.approx(deviation, rel=0.04)


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
    assert shown(count) or "decided on validation" in said[-1]
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
    ours = np.array(learn_weights([*torch.from_numpy(np.log(on_label))]))
    assert ours.sum() == pytest.approx(1) and (ours >= 0).all()
    assert loss(ours) <= theirs.fun + 1e-6
    assert loss(ours) == pytest.approx(theirs.fun, abs=1e-5)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A lineage of language models that ends by a rule, what was said, and its command."""
    folder = tmp_path_factory.mktemp("text")
    training = {"epochs": 1, "batch_size": 4, "learning_rate": 2.0}
    heard = Hears()
    given = {
        "generations": "auto",
        "stop_rule": "ensemble",
        "recipe": {"training": training, "data": {"steps": 5}},
        "out": folder / "f",
        "threads": 1,
        "force": True,
        "progress": heard,
    }
    return anew.train("lstm-1-8", write(folder, held_out=60), **given), heard.texts


def said_of_labels(result, split):
    """The probabilities of each token of a split, of each network, in NumPy."""
    family = Family.open(result.family.path)
    said = [language.read_said(family.folder(spec.id), split) for spec in result.lineage]
    return np.exp([one.log_p.numpy() for one in said])


def test_a_lineage_of_language_models_ends_by_blocks_of_tokens(text):
    result, heard = text
    p = said_of_labels(result, "validation")

    def shown(count):
        falls = np.log(p[:count].mean(0)) - np.log(p[: count - 1].mean(0))
        blocks = [falls[first : first + 35] for first in range(0, len(falls), 35)]
        apart = [one.sum() - falls.mean() * len(one) for one in blocks]
        error = np.std(apart, ddof=0) * np.sqrt(len(blocks) ** 2 / (len(blocks) - 1)) / len(falls)
        return falls.mean(), error

    count = len(result.lineage)
    verdicts = [shown(number) for number in range(2, count + 1)]
    assert all(mean > 1.645 * error for mean, error in verdicts[:-1])
    assert count == 11 or verdicts[-1][0] <= 1.645 * verdicts[-1][1]
    said = [one for one in heard if "validation NLL" in one]
    assert len(said) == count - 1
    for line, (mean, error) in zip(said, verdicts, strict=True):
        assert f"{-mean:+.4f} +- {error:.4f}" in line
        assert f"({p.shape[1]:,} tokens, paired by blocks of 35)" in line


def test_language_models_have_learned_weights(text):
    result, _ = text
    held_out, p = said_of_labels(result, "validation"), said_of_labels(result, "test")
    done = call("evaluate", result.family.path, "--learn-weights", "--json")
    assert done.code == 0, done.err
    (entry,) = json.loads(done.out)
    row = entry["rows"][-1]
    weights = np.array(row["weights"])
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    # Kuhn and Tucker: the growth of each weight is at most 1, and 1 where the weight is not 0.
    growth = (held_out / (weights @ held_out)).mean(1)
    assert growth.max() < 1 + 1e-6
    assert weights @ growth == pytest.approx(1)
    assert row["perplexity"] == pytest.approx(np.exp(-np.log(weights @ p).mean()))
    assert "error" not in row


def test_a_text_without_validation_has_no_rule(tmp_path):
    source = write(tmp_path)
    (tmp_path / "valid.txt").unlink()
    with pytest.raises(AnewError, match="stop_rule: needs validation tokens"):
        recipe = {"training": {"schedule": "constant", "batch_size": 4}, "data": {"steps": 5}}
        anew.train("lstm-1-8", source, generations="auto", recipe=recipe, out=tmp_path / "f")
    assert not (tmp_path / "f").exists()


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
    assert (
        "Learned weights of ensemble 0-" in call("evaluate", tmp_path / "f", "--learn-weights").out
    )
    refused = call("evaluate", tmp_path / "f", "--learn-weights", "--split", "validation")
    assert refused.code == 2 and "both fitted on the validation examples" in refused.err
