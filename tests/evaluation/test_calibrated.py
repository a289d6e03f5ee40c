"""Predictions calibrated on request: a temperature, and sets of classes that keep a promise."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import brentq

import anew
from anew import AnewError
from anew.core import randomness
from anew.evaluation import read_outputs
from anew.evaluation.calibrated import Asked, calibrate
from anew.evaluation.conformal import fit_conformal, score_sets
from anew.evaluation.temperature import TemperatureError, fit_sound_temperature, fit_temperature
from commands import good
from runs import train


def draw(count, classes=5, seed=0, scale=1.5):
    """Probabilities that are right, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)) * scale
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(1)


def tensors(logits, labels):
    return torch.from_numpy(logits), torch.from_numpy(labels)


@pytest.mark.parametrize("factor", [0.25, 1.0, 6.0])
def test_the_temperature_is_where_the_derivative_of_the_nll_is_zero(factor):
    logits, labels = draw(500)
    logits = logits * factor

    def slope(beta):
        """The derivative of the mean NLL in beta = 1/T."""
        p = np.exp(beta * logits - (beta * logits).max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        return ((p * logits).sum(1) - logits[np.arange(len(labels)), labels]).mean()

    expected = 1 / brentq(slope, 1e-3, 1e3, xtol=1e-14)
    assert fit_temperature(*tensors(logits, labels)) == pytest.approx(expected, rel=1e-4)
    # Answers at several positions are examples each.
    shaped = torch.from_numpy(logits).view(100, 5, -1), torch.from_numpy(labels).view(100, 5)
    assert fit_temperature(*shaped) == pytest.approx(expected, rel=1e-4)


def test_where_no_temperature_is_best_it_is_said():
    logits, labels = map(torch.from_numpy, draw(40))
    assert fit_sound_temperature(logits, labels) == fit_temperature(logits, labels)
    for wrong, right, said in (
        (logits, logits.argmax(-1), "40 of 40 held-out examples are right"),
        (-logits, labels, "are unrelated to the labels of the 40 held-out"),
        (logits * math.nan, labels, "are not finite"),
        (logits[:0], labels[:0], "there are no held-out examples"),
    ):
        with pytest.raises(TemperatureError, match=said):
            fit_sound_temperature(wrong, right)


def sets_by_hand(p, labels, others, coverage):
    """Split conformal sets in NumPy: the smallest threshold that enough scores do not exceed."""
    scores = np.sort(1 - p[np.arange(len(labels)), labels])
    needed = math.ceil(round((len(labels) + 1) * coverage, 9))
    return 1 - others <= scores[needed - 1]


@pytest.mark.parametrize(("count", "coverage"), [(137, 0.9), (99, 0.9), (99, 0.55), (999, 0.95)])
def test_sets_are_those_of_the_closed_form(count, coverage):
    """And those of MAPIE 1.6's SplitConformalClassifier with the score "lac", which was run by
    hand.
    """
    (p, labels), (others, _) = draw(count), draw(300, seed=1)
    p, others = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (p, others))
    found = fit_conformal(*tensors(np.log(p), labels), coverage)
    sets = found.sets(torch.from_numpy(np.log(others))).numpy()
    assert (sets == sets_by_hand(np.exp(np.log(p)), labels, others, coverage)).mean() > 0.999
    assert found.examples == count


def test_sets_hold_the_true_class_as_often_as_promised():
    """On average over held-out sets the coverage is ceil((n + 1) c) / (n + 1), exactly."""
    count, coverage = 29, 0.8
    logits, labels = draw(400 * (count + 200), seed=2)
    z, y = tensors(logits.reshape(400, count + 200, 5), labels.reshape(400, -1))
    covered = []
    for outputs, own in zip(torch.log_softmax(z, -1), y, strict=True):
        found = fit_conformal(outputs[:count], own[:count], coverage)
        covered.append(score_sets(found, outputs[count:], own[count:]).coverage / 100)
    assert np.mean(covered) == pytest.approx(24 / 30, abs=4 * np.std(covered) / 20)


def test_too_few_examples_and_coverages_that_are_none_are_refused():
    outputs, labels = map(torch.from_numpy, draw(8))
    with pytest.raises(
        AnewError, match=r"for 0\.9 need at least 9 held-out examples, and there are"
    ):
        fit_conformal(outputs, labels, 0.9)
    nine = torch.cat([outputs, outputs[:1]]), torch.cat([labels, labels[:1]])
    fit_conformal(*nine, 0.9)
    for wrong in (0.0, 1.0, 90.0, -0.5, math.nan):
        with pytest.raises(AnewError, match="conformal must be above 0 and below 1"):
            Asked(coverage=wrong)


def test_a_temperature_and_sets_are_fitted_on_different_examples():
    outputs, labels = tensors(*draw(101))
    both = calibrate(outputs, labels, Asked(temperature=True, coverage=0.8))
    assert both.conformal is not None
    assert (both.examples, both.conformal.examples) == (50, 51)
    half = randomness.order(randomness.key("calibrated"), 101)[:50]
    assert both.temperature == fit_temperature(outputs[half], labels[half])
    assert calibrate(outputs, labels, Asked(temperature=True)).examples == 101
    assert calibrate(outputs, labels, Asked(coverage=0.8)).conformal.examples == 101


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A family that errs, in colour pictures with named classes, and picture files."""
    place = tmp_path_factory.mktemp("noisy")
    rng = np.random.default_rng(5)
    labels = np.arange(600) % 3
    pictures = rng.normal(100, 60, (600, 3, 8, 8))
    for picture, label in zip(pictures, labels, strict=True):
        picture[label] += 14
    pictures = pictures.clip(0, 255).astype(np.uint8)
    for number in range(3):
        Image.fromarray(pictures[number].transpose(1, 2, 0)).save(place / f"{number}.png")
    recipe = {"data": {"validation": 0.25}, "training": {"epochs": 4, "learning_rate": 0.05}}
    result = train((pictures, labels), place / "family", generations=1, recipe=recipe, force=True)
    return place, result, pictures


def softmax(z):
    return np.exp(z - z.max(-1, keepdims=True)) / np.exp(z - z.max(-1, keepdims=True)).sum(
        -1, keepdims=True
    )


def stored(result, split):
    """The mean of the generations' probabilities on a split, in NumPy, and its labels."""
    each = [read_outputs(result.family.folder(spec.id), split) for spec in result.lineage]
    return np.mean([softmax(z.double().numpy()) for z, _ in each], 0), each[0][1].numpy()


def test_evaluate_calibrates_every_row_on_validation_and_scores_it_on_test(noisy):
    place, result, _ = noisy
    (lineage,) = json.loads(
        good("evaluate", place / "family", "--calibrate", "--conformal", "0.8", "--json")
    )
    rows = {row["name"]: row for row in lineage["rows"]}
    assert list(rows) == ["generation 0", "generation 1", "ensemble 0-1"]
    row = rows["ensemble 0-1"]
    (held_out, labels), (p, y) = stored(result, "validation"), stored(result, "test")

    half = randomness.order(randomness.key("calibrated"), len(labels)).numpy()
    first, second = half[: len(half) // 2], half[len(half) // 2 :]
    t = fit_temperature(torch.from_numpy(np.log(held_out[first])), torch.from_numpy(labels[first]))
    assert row["temperature"] == {"value": pytest.approx(t, rel=1e-6), "examples": len(first)}
    q = softmax(np.log(p) / t)
    assert row["nll"] == pytest.approx(-np.log(q[np.arange(len(y)), y]).mean(), rel=1e-9)
    sets = sets_by_hand(softmax(np.log(held_out[second]) / t), labels[second], q, 0.8)
    assert row["conformal"]["covered"] == pytest.approx(100 * sets[np.arange(len(y)), y].mean())
    assert row["conformal"]["mean_size"] == pytest.approx(sets.sum(1).mean())

    table = good("evaluate", place / "family", "--calibrate", "--conformal", "0.8")
    for text in ("coverage", "set size", f"{t:.3f}", "Each is fitted on its own half"):
        assert text in table
    assert "coverage %" not in good("evaluate", place / "family", "--calibrate")
    # The network itself is as it was.
    assert (
        "temperature" not in json.loads(good("evaluate", place / "family", "--json"))[0]["rows"][0]
    )


def test_predict_applies_the_temperature_and_prints_sets(noisy):
    place, result, pictures = noisy
    files = [place / f"{number}.png" for number in range(3)]
    options = ["--generations", "all", "--calibrate", "--conformal", "0.8"]
    found = json.loads(good("predict", place / "family", *files, *options, "--format", "json"))
    t = found[0]["temperature"]["value"]
    p = softmax(np.log(result.predict(pictures[:3], (0, 1)).numpy()) / t)
    names = ("0", "1", "2")
    for row, one in zip(p, found, strict=True):
        given = [one["probabilities"][name] for name in names]
        np.testing.assert_allclose(given, row, atol=5e-6)
        least = 1 - one["conformal"]["threshold"]
        inside = {name for name, q in zip(names, given, strict=True) if q >= least}
        assert set(one["conformal_set"]) == inside

    text = good("predict", place / "family", *files, *options, "--top", "1")
    assert "in set" in text and f"Temperature {t:.4g}, fitted on 60 validation examples" in text
    assert text.count(" yes") == sum(len(one["conformal_set"]) for one in found)


def test_the_temperature_is_inside_what_is_loaded_and_exported(noisy, tmp_path):
    place, result, pictures = noisy
    held_out, labels = stored(result, "validation")
    t = fit_temperature(*tensors(np.log(held_out), labels))
    loaded = anew.load(place / "family", "all", calibrate=True)
    assert loaded.temperature == pytest.approx(t, rel=1e-6)
    expected = softmax(np.log(result.predict(pictures[:5], (0, 1)).numpy()) / t)
    inputs = torch.from_numpy(pictures[:5])
    np.testing.assert_allclose(loaded(inputs).detach().numpy(), expected, atol=5e-6)

    path = tmp_path / "x.pt2"
    said = good("export", place / "family", "--generations", "all", "--calibrate", "-o", path)
    assert f"temperature {t:.4g}, fitted on 120 validation examples, is part of the file" in said
    about = {"anew.json": ""}
    module = torch.export.load(path, extra_files=about).module()
    np.testing.assert_allclose(module(inputs).detach().numpy(), expected, atol=5e-6)
    assert json.loads(about["anew.json"])["temperature"]["examples"] == 120


def test_csv_stays_csv_and_says_the_temperature_beside_it(noisy, command):
    place, _, _ = noisy
    done = command(
        *("predict", place / "family", place / "0.png", "--calibrate", "--format", "csv"), check=0
    )
    assert done.err.startswith("Temperature ") and done.err.count("\n") == 1
    assert len(list(csv.DictReader(done.out.splitlines()))) == 3


def test_without_a_validation_split_or_on_it_nothing_is_calibrated(
    noisy, arrays, tmp_path, refused
):
    place, _, _ = noisy
    said = refused("evaluate", place / "family", "--calibrate", "--split", "validation")
    assert "cannot be scored on them; drop --split validation" in said
    assert "conformal must be above 0" in refused(
        "predict", place / "family", place / "0.png", "--conformal", "90"
    )
    recipe = {"data": {"validation": 0.0}, "training": {"epochs": 1, "learning_rate": 0.1}}
    train(arrays, tmp_path / "whole", generations=0, recipe=recipe)
    for command, *more in (["evaluate"], ["predict", place / "0.png"], ["export", "-o", "x.pt2"]):
        said = refused(command, tmp_path / "whole", *more, "--calibrate")
        assert "no validation split was held out; train with --data.validation 0.1" in said


def test_what_is_all_right_on_validation_stays_as_it_is_and_says_so(arrays, tmp_path, refused):
    train(arrays, tmp_path / "family", generations=0)
    text = " ".join(good("evaluate", tmp_path / "family", "--calibrate").split())
    assert (
        "generation 0 is not calibrated: temperature: 19 of 19 held-out examples are right" in text
    )
    assert "the best temperature would be 0" in refused(
        "export", tmp_path / "family", "--calibrate", "-o", "x.pt2"
    )
