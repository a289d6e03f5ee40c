"""`anew compare`: families on the same test examples, against NumPy and SciPy."""

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy
import torch

from anew.evaluation import families as comparing
from anew.evaluation.outputs import read_outputs
from anew.family import Family
from runs import train


@pytest.fixture(scope="module")
def trained(arrays, tmp_path_factory):
    """Families of two objectives over three seeds, one of a single seed, one of other data."""
    place = tmp_path_factory.mktemp("compared")
    for seed in (0, 1, 2):
        for name in ("ban", "cwtm"):
            train(arrays, place / name, objective=name, generations=1, seed=seed, epochs=1)
    train(arrays, place / "single", objective="kd", generations=1, epochs=1, learning_rate=0.02)
    pictures, labels = arrays
    train((pictures[:150], labels[:150]), place / "fewer", generations=1, epochs=1)
    return SimpleNamespace(**{path.name: str(path) for path in place.iterdir()})


def of_seed(name, seed, generations="last"):
    """The probabilities and labels that a family's files hold, in NumPy."""
    family = _open(name)
    (lineage,) = [one for one in family.lineages() if one[-1].seed == seed]
    chosen = lineage[-1:] if generations == "last" else lineage
    outputs = [read_outputs(family.folder(spec.id), "test") for spec in chosen]
    shares = [torch.softmax(logits.double(), -1).numpy() for logits, _ in outputs]
    return np.mean(shares, 0), outputs[0][1].numpy()


def _open(name):
    return Family.open(Path(name))


def scores(name, seed, generations="last"):
    shares, labels = of_seed(name, seed, generations)
    wrong = shares.argmax(1) != labels
    return wrong, -np.log(shares[np.arange(len(labels)), labels])


@pytest.mark.parametrize("generations", ["last", "all"])
def test_over_seeds_the_difference_is_paired_by_seed(trained, generations):
    compared, (contrast,) = comparing.compare([trained.ban, trained.cwtm], generations)
    seeds = compared[0].seeds
    assert sorted(seeds) == [0, 1, 2] == sorted(compared[1].seeds)
    for place, name in enumerate((trained.ban, trained.cwtm)):
        held = [scores(name, seed, generations) for seed in (0, 1, 2)]
        assert compared[place].mean("error") == pytest.approx(
            100 * np.mean([wrong.mean() for wrong, _ in held])
        )
        assert compared[place].mean("nll") == pytest.approx(
            np.mean([nll.mean() for _, nll in held])
        )

    for place, difference in enumerate((contrast.error, contrast.nll)):
        ours, theirs = (
            [scores(name, seed, generations)[place].mean() for seed in (0, 1, 2)]
            for name in (trained.cwtm, trained.ban)
        )
        unit = 100 if difference is contrast.error else 1
        apart = unit * (np.array(ours) - np.array(theirs))
        assert difference.mean == pytest.approx(apart.mean())
        test = scipy.stats.ttest_1samp(apart, 0.0)
        low, high = test.confidence_interval(0.95)
        assert (difference.low, difference.high) == (pytest.approx(low), pytest.approx(high))
        assert difference.p == pytest.approx(test.pvalue) and difference.is_over_seeds
    assert any("objective" in one for one in contrast.settings)


def test_of_one_seed_the_difference_is_paired_by_example(trained):
    compared, (contrast,) = comparing.compare([trained.ban, trained.single])
    assert compared[1].seeds == (0,)
    (our_wrong, our_nll), (their_wrong, their_nll) = (
        scores(name, 0) for name in (trained.single, trained.ban)
    )
    assert contrast.error.mean == pytest.approx(100 * (our_wrong.mean() - their_wrong.mean()))
    ours, theirs = (our_wrong & ~their_wrong).sum(), (~our_wrong & their_wrong).sum()
    exact = scipy.stats.binomtest(int(ours), int(ours + theirs)).pvalue
    assert contrast.error.p == pytest.approx(exact)
    test = scipy.stats.ttest_rel(our_nll, their_nll)
    low, high = test.confidence_interval(0.95)
    assert contrast.nll.mean == pytest.approx((our_nll - their_nll).mean())
    assert (contrast.nll.low, contrast.nll.high) == (pytest.approx(low), pytest.approx(high))
    assert contrast.nll.p == pytest.approx(test.pvalue)
    assert not contrast.nll.is_over_seeds and np.isnan(contrast.nll.p_rank)


def test_other_data_are_refused_and_named(trained, refused):
    said = refused("compare", trained.ban, trained.fewer)
    assert "different data" in said and "48 and 30 test examples; other data" in said


def test_every_format_holds_the_same_numbers(trained, command):
    names = (trained.ban, trained.cwtm, trained.single)
    told = json.loads(command("compare", *names, "--json", check=0).out)
    rows = list(csv.DictReader(io.StringIO(command("compare", *names, "--format", "csv").out)))
    table = command("compare", *names, check=0).out
    for row, one in zip(rows, told["families"], strict=True):
        assert row["family"] == one["family"] and float(row["error"]) == one["error"]
        assert f"{one['nll']:.4f}" in table
    for row, one in zip(rows[1:], told["differences"], strict=True):
        assert float(row["error_difference_mean"]) == one["error"]["mean"]
        (line,) = (
            line
            for line in table.split(f"{one['family']} minus {trained.ban}\n")[1].splitlines()[:3]
            if line.startswith("error, points")
        )
        assert line.split()[2] == f"{one['error']['mean']:+.2f}"
    assert "Paired by seed, 3 common seeds." in table
    assert "another seed may differ by more" in table


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["{ban}"], "needs two families or more, got 1"),
        ([], "needs two families or more, got 0"),
        (["{ban}", "{ban}"], "given twice"),
        (["{ban}", "nowhere"], "'nowhere' is no family"),
        (["{ban}", "{cwtm}", "--generations", "7"], "generations must be"),
        (["{ban}", "{cwtm}", "--json", "--format", "csv"], "contradict each other; drop one"),
        (["{ban}:zz", "{cwtm}"], "no network with an id that starts with 'zz'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(names, part, trained, refused):
    assert part in refused("compare", *(name.format(**vars(trained)) for name in names))


def test_a_lineage_can_be_named_by_its_last_network(trained):
    family = _open(trained.ban)
    end = next(one[-1] for one in family.lineages() if one[-1].seed == 2)
    (first, _), _ = comparing.compare([f"{trained.ban}:{end.id[:8]}", trained.cwtm])
    assert first.spec.id == end.id and sorted(first.seeds) == [0, 1, 2]
