"""The estimator in scikit-learn's hands: its own checks, its tools, and what users give it."""

import os
import pickle
import signal
import tempfile
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import anew
from anew import AnewError, BornAgainClassifier
from anew.core.interruption import Interrupted
from anew.estimator import ASKED_AT_ONCE
from runs import weights

TINY = {"generations": 1, "batch_size": 16, "learning_rate": 0.1, "device": "cpu"}


def tabular(**given):
    settings = {"epochs": 4, "model_options": {"hidden": 16}, **TINY, **given}
    return BornAgainClassifier(**settings)


def pictorial(**given):
    settings = {"epochs": 3, "model_options": {"width": 8}, **TINY, **given}
    return BornAgainClassifier(**settings)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def fitted(iris):
    return tabular(generations=2).fit(*iris)


@pytest.fixture(scope="module")
def of_pictures(arrays):
    return pictorial().fit(*arrays)


# Some checks fit labels without any signal, of which a warning tells.
@pytest.mark.filterwarnings("ignore:teacher.*:sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([tabular(epochs=6, batch_size=32)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_the_networks_are_those_of_anew_train(iris, fitted, tmp_path):
    source = anew.data.from_arrays(iris)
    nothing = source.train.take(torch.zeros(0, dtype=torch.int64))
    result = anew.train(
        "mlp",
        replace(source, test=nothing),
        recipe={"model": {"options": {"hidden": 16}}},
        generations=2,
        epochs=4,
        batch_size=16,
        learning_rate=0.1,
        device="cpu",
        out=tmp_path / "family",
        progress=False,
    )
    for number, ours in enumerate(fitted.networks_):
        theirs = result.network(number).state_dict()
        assert all(theirs[name].equal(value) for name, value in ours.state_dict().items())
    assert len(fitted.networks_) == 3


def logits_by_hand(network, inputs):
    """An MLP in NumPy's float64, with the standardisation that its signature states."""
    given = {name: value.double().numpy() for name, value in network.model.state_dict().items()}
    values = (inputs - np.array(network.signature.mean)) / np.array(network.signature.std)
    for layer in ("hidden.0.0", "hidden.1.0"):
        values = np.maximum(values @ given[f"{layer}.weight"].T + given[f"{layer}.bias"], 0)
    return values @ given["classifier.weight"].T + given["classifier.bias"]


@pytest.mark.parametrize(
    ("predict_with", "members"),
    [("all", [0, 1, 2]), ("last", [2]), (1, [1]), ((0, 2), [0, 2]), ("1-2", [1, 2])],
)
def test_answers_are_the_mean_of_the_chosen_probabilities(iris, fitted, predict_with, members):
    inputs, _ = iris
    chosen = clone(fitted)
    chosen.__dict__ |= fitted.__dict__ | {"predict_with": predict_with}
    parts = [logits_by_hand(fitted.networks_[number], inputs) for number in members]
    by_hand = np.mean([np.exp(one - logsumexp(one, 1, keepdims=True)) for one in parts], 0)

    probabilities = chosen.predict_proba(inputs)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, by_hand, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(chosen.predict_log_proba(inputs), np.log(probabilities), atol=1e-9)


@pytest.mark.parametrize("kind", ["table", "pictures"])
def test_a_rows_answer_does_not_depend_on_the_others(kind, iris, arrays, request):
    one = request.getfixturevalue("fitted" if kind == "table" else "of_pictures")
    inputs = (iris if kind == "table" else arrays)[0][: ASKED_AT_ONCE + 7]
    whole = one.predict_proba(inputs)
    for row in (0, 1, ASKED_AT_ONCE - 1, ASKED_AT_ONCE + 6):
        assert np.array_equal(one.predict_proba(inputs[row : row + 1])[0], whole[row])
    assert np.array_equal(one.predict_proba(inputs[::-1])[::-1], whole)


def test_it_works_in_scikit_learns_tools(iris):
    inputs, numbers = iris
    names = np.array(["setosa", "versicolor", "virginica"])[numbers]
    one = make_pipeline(StandardScaler(), tabular(generations=0, epochs=8))

    predicted = cross_val_predict(one, inputs, names, cv=2)
    assert set(predicted) <= set(names)
    assert (predicted == names).mean() > 0.6
    assert min(cross_val_score(one, inputs, names, cv=2)) > 0.6

    calibrated = CalibratedClassifierCV(tabular(epochs=1), cv=2).fit(inputs, names)
    np.testing.assert_allclose(calibrated.predict_proba(inputs).sum(1), 1, atol=1e-12)
    assert list(calibrated.classes_) == sorted(set(names))

    grid = {"objective": ["ban", {"name": "kd", "temperature": 2.0}], "predict_with": ["last"]}
    search = GridSearchCV(tabular(epochs=6), grid, cv=2, error_score="raise").fit(inputs, names)
    assert search.best_estimator_.score(inputs, names) > 0.6


def test_labels_without_signal_are_fitted_with_a_warning():
    dice = np.random.default_rng(0)
    with pytest.warns(ConvergenceWarning, match="nothing to teach; training continues"):
        tabular(epochs=1).fit(dice.normal(size=(200, 3)), dice.integers(0, 2, 200))


def test_a_fitted_estimator_needs_no_folder_and_leaves_none(iris, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one = tabular().fit(*iris)
    with pytest.raises(AnewError, match="units"):
        tabular(options={"units": 1}).fit(*iris)
    assert list(tmp_path.iterdir()) == []
    copied = pickle.loads(pickle.dumps(one))
    assert np.array_equal(copied.predict_proba(iris[0]), one.predict_proba(iris[0]))


def test_a_folder_keeps_the_networks(iris, tmp_path, command, refused):
    folder = tmp_path / "family"
    first = tabular(folder=folder, epochs=8).fit(*iris)
    kept, times = weights(folder), {path: path.stat().st_mtime_ns for path in folder.rglob("w*")}
    again = clone(first).fit(*iris)
    assert np.array_equal(again.predict_proba(iris[0]), first.predict_proba(iris[0]))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("w*")} == times
    clone(first).set_params(random_state=1).fit(*iris)
    assert len(kept) == 2
    assert len(weights(folder)) == 4

    # The family is one like others, without test examples.
    assert "all hashes match" in command("verify", folder).out
    assert "seed 0: trained without test examples" in command("show", folder).out
    assert "was trained without test examples" in refused("evaluate", folder)
    assert "validation, 15 examples" in command("evaluate", folder, "--split", "validation").out


def test_random_states(iris):
    def probabilities(random_state):
        one = tabular(random_state=random_state, generations=0, epochs=1)
        return one.fit(*iris).predict_proba(iris[0])

    assert np.array_equal(probabilities(3), probabilities(np.int64(3)))
    assert not np.array_equal(probabilities(3), probabilities(4))
    drawn = [probabilities(np.random.RandomState(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_threads_of_one_process_fit_one_after_another(iris):
    one = tabular(model_options={"hidden": 16, "dropout": 0.5})
    alone = clone(one).fit(*iris).predict_proba(iris[0])
    together = [clone(one) for _ in range(2)]
    threads = [threading.Thread(target=each.fit, args=iris) for each in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(each.predict_proba(iris[0]), alone) for each in together)


def test_ctrl_c_ends_a_search(iris, tmp_path):
    """Not as an error of the parameters, after which a search would go on with others."""

    def press():
        # Once an epoch is saved, the training listens.
        while not list(tmp_path.glob("networks/*/state/*")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    split = [(np.arange(0, 150, 2), np.arange(1, 150, 2))]
    search = GridSearchCV(tabular(folder=tmp_path), {"epochs": [100_000, 1]}, cv=split)
    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        search.fit(*iris)
    assert isinstance(caught.value.__cause__, Interrupted)
    assert len(list(tmp_path.glob("networks/*/state"))) == 1


def test_pictures_of_every_layout_are_the_same(arrays, of_pictures):
    pictures, labels = arrays
    expected = of_pictures.predict_proba(pictures)
    assert of_pictures.score(pictures, labels) > 0.8
    for axis in (1, 3):
        shown = np.expand_dims(pictures, axis)
        other = clone(of_pictures).fit(shown, labels)
        assert other.input_shape_ == shown.shape[1:]
        np.testing.assert_allclose(other.predict_proba(shown), expected, atol=1e-6)

    coloured = np.repeat(pictures[..., None], 3, axis=3) / 255
    in_colour = pictorial(options={"views": "flip"}, generations=0).fit(coloured, labels)
    assert in_colour.networks_[0].signature.input_shape == (3, 8, 8)
    assert in_colour.networks_[0].signature.units == "unit"


def test_few_examples_are_all_trained_on():
    inputs = np.array([[0.0], [1.0], [2.0], [3.0]])
    one = tabular(epochs=30).fit(inputs, ["low", "low", "high", "high"])
    assert list(one.classes_) == ["high", "low"]
    # Mean and deviation are those of all of them: none was held out.
    assert one.networks_[0].signature.mean == (1.5,)
    more = np.arange(12.0)[:, None]
    alone = tabular(epochs=1, generations=0)
    assert alone.fit(more, np.arange(12) % 4).networks_[0].signature.mean == (5.5,)
    assert tabular(epochs=1).fit(inputs[:2], [0, 1]).predict_proba(inputs).shape == (4, 2)


def test_differences_that_float32_loses_are_told(iris):
    inputs = iris[0].copy()
    inputs[:, 1] += 1e9
    with pytest.warns(UserWarning, match=r"feature 1 \(1 such features\) varies little"):
        tabular(epochs=1).fit(inputs, iris[1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"options": {"epochs": 3}}, "own parameter epochs"),
        ({"options": {"seed": 3}}, "own parameter random_state"),
        ({"options": {"out": "family"}}, "'out' is given by the estimator"),
        ({"options": {"recipe": "recipe.toml"}}, "'recipe' must be a mapping, got str"),
        ({"options": {"learning_rat": 1}}, "did you mean 'learning_rate'"),
        ({"objective": "bann"}, "did you mean 'ban'"),
        ({"generations": -1}, "generations must be"),
        ({"model_options": {"depths": 3}}, "depths"),
        ({"validation_fraction": 2.0}, "validation"),
    ],
)
def test_wrong_parameters_are_refused(iris, given, words):
    with pytest.raises((AnewError, ValueError), match=words) as caught:
        tabular(**given).fit(*iris)
    assert "\n" not in str(caught.value)


def test_wrong_arrays_are_value_errors(iris, fitted, arrays, of_pictures):
    inputs, labels = iris
    with pytest.raises(ValueError, match="holds 1 class, '3'"):
        tabular().fit(inputs, np.full(150, 3))
    with pytest.raises(ValueError, match="too large for dtype"):
        tabular().fit(inputs * 1e300, labels)
    with pytest.raises(TypeError, match="Sparse"):
        fitted.predict(csr_matrix(inputs))
    with pytest.raises(ValueError, match="5 features"):
        fitted.predict(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="got '3'; set the parameter predict_with"):
        replaced = pickle.loads(pickle.dumps(fitted)).set_params(predict_with=3)
        replaced.predict(inputs)

    with pytest.raises(ValueError, match=r"\(8, 9\), and the estimator was fitted to \(8, 8\)"):
        of_pictures.predict(np.zeros((3, 8, 9)))
    with pytest.raises(ValueError, match=r"unit \(0..1\), and those of fit were in bytes"):
        of_pictures.predict(arrays[0] / 255)
    with pytest.raises(ValueError, match=r"0\.\.255"):
        pictorial().fit(arrays[0].astype(int) * 2, arrays[1])
