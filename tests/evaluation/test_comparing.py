"""Siblings side by side, over seeds, against groups of classes and against people: every number
against NumPy and SciPy, and what is refused.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from scipy.optimize import minimize_scalar

from anew import AnewError, evaluation, objectives
from anew.evaluation import statistics
from anew.evaluation.insight import Options, comparing, dark_knowledge, grouping, kept, people
from anew.evaluation.insight.comparing import Against
from anew.evaluation.insight.seeds import collect_over_seeds
from anew.family import Family, choose_lineage, replicas
from anew.family.siblings import find_siblings
from commands import call, contents, good
from runs import RECIPE, train

SEEDS = st.integers(0, 10_000)


def random_outputs(seed, count=60, classes=5):
    """Log-probabilities of two networks, and labels."""
    rng = np.random.default_rng(seed)
    first, second = (special.log_softmax(rng.normal(size=(count, classes)) * 2, -1) for _ in "ab")
    return first, second, rng.integers(0, classes, count)


def tensors(*arrays):
    return tuple(map(torch.from_numpy, arrays))


def beside(rows, left_out):
    """Rows without one entry each."""
    return np.array([np.delete(row, one) for row, one in zip(rows, left_out, strict=True)])


def doubts(p):
    """Row i: where the probability beside the answer lies, of what is called i."""
    called, classes = p.argmax(-1), p.shape[-1]
    rest = p * (np.arange(classes) != called[:, None])
    sums = np.array([rest[called == one].sum(0) for one in range(classes)])
    return sums / np.maximum(sums.sum(-1, keepdims=True), 1e-300)


def off_diagonal(*matrices):
    apart = ~np.eye(len(matrices[0]), dtype=bool)
    return [matrix[apart] for matrix in matrices]


# What a student kept


@given(SEEDS, st.integers(3, 6))
@settings(deadline=None, max_examples=8)
def test_what_is_kept_equals_numpy_and_scipy(seed, classes):
    log_q, log_p, y = random_outputs(seed, classes=classes)
    found = kept.measure(*tensors(log_q, log_p, y))
    q, p, answer = np.exp(log_q), np.exp(log_p), log_p.argmax(-1)
    left, right = beside(q, answer), beside(p, answer)
    inner_q, inner_p = (one / one.sum(-1, keepdims=True) for one in (left, right))
    expected = {
        "error": 100 * np.mean(q.argmax(-1) != y),
        "confidence": 100 * q.max(-1).mean(),
        "same_class": 100 * np.mean(q.argmax(-1) == answer),
        "kl": stats.entropy(p, q, axis=-1).mean(),
        "kl_beside": stats.entropy(inner_p, inner_q, axis=-1).mean(),
        "same_second": 100 * np.mean(left.argmax(-1) == right.argmax(-1)),
        "rank": np.mean([stats.spearmanr(a, b)[0] for a, b in zip(left, right, strict=True)]),
        "sureness": np.corrcoef(q.max(-1), p.max(-1))[0, 1],
        "right_class": np.corrcoef(q[np.arange(60), y], p[np.arange(60), y])[0, 1],
        "similarity": stats.spearmanr(*off_diagonal(doubts(q), doubts(p)))[0],
    }
    upper = np.triu_indices(classes, 1)
    covariances = [np.cov(one.T, bias=True)[upper] for one in (q, p)]
    expected["covariance"] = np.corrcoef(*covariances)[0, 1]
    for name, value in expected.items():
        one = getattr(found, name)
        assert one.value == pytest.approx(value, abs=1e-9), name
        assert name in ("similarity", "covariance") or one.low <= one.high
    # The bootstrap's interval of a correlation, from the first of its samples on.
    drawn = np.random.default_rng(0).integers(0, 60, (1000, 60))
    sampled = [np.corrcoef(q.max(-1)[one], p.max(-1)[one])[0, 1] for one in drawn]
    assert found.sureness.low == pytest.approx(np.quantile(sampled, 0.025), abs=1e-6)


def test_a_copy_kept_everything_and_sureness_alone_is_no_dark_knowledge():
    log_p, _, y = random_outputs(1, 200)
    copied = kept.measure(*tensors(log_p, log_p, y))
    for name, value in {"same_class": 100, "kl": 0, "rank": 1, "similarity": 1}.items():
        assert getattr(copied, name).value == pytest.approx(value, abs=1e-12)
    # Surer of the same answer, with the same beside it.
    p, answer = np.exp(log_p), log_p.argmax(-1)
    is_answer = np.arange(5) == answer[:, None]
    surer = np.where(is_answer, 1 - (1 - p) / 10, p / 10)
    found = kept.measure(*tensors(np.log(surer), log_p, y))
    assert found.kl.value > 0.1 and found.kl_beside.value == pytest.approx(0, abs=1e-9)
    assert found.rank.value == found.similarity.value == pytest.approx(1)


def test_the_permutation_leaves_the_answers_covariance_and_no_more():
    """Where all doubt is one class beside the answer, what is left is what the argmax makes."""
    rng = np.random.default_rng(2)
    called = rng.integers(0, 6, 6000)
    p = np.full((6000, 6), 0.02)
    p[np.arange(6000), called ^ 1], p[np.arange(6000), called] = 0.42, 0.50
    integers = torch.from_numpy(rng.integers(0, 2**62, p.shape))
    shuffled = objectives.permute_dark_knowledge(torch.from_numpy(p), integers)
    before, after = (dark_knowledge.covariance(one) for one in (torch.from_numpy(p), shuffled))
    np.testing.assert_allclose(before, np.cov(p.T, bias=True), atol=1e-12)
    assert before[0, 1] > 0 > before[0, 2]
    # Every pair is equally alike then, as classes that exclude each other are.
    assert after[0, 1] == pytest.approx(after[0, 2].item(), abs=0.004) and after[0, 1] < 0
    assert dark_knowledge.covariance_correlation(before, before) == pytest.approx(1)


# Groups


@given(SEEDS, st.integers(4, 7))
@settings(deadline=None, max_examples=10)
def test_shares_inside_groups_equal_counting(seed, classes):
    log_p, _, y = random_outputs(seed, classes=classes)
    groups = np.arange(classes) // 2
    found = statistics.bootstrap(grouping.columns(*tensors(log_p, y, groups)), grouping.quantities)
    doubt = inside = chance = wrong = wrong_inside = 0.0
    for row, label in zip(np.exp(log_p), y, strict=True):
        called = row.argmax()
        for other in range(classes):
            if other != called:
                doubt += row[other]
                chance += row[other] * (np.sum(groups == groups[called]) - 1) / (classes - 1)
                inside += row[other] * (groups[other] == groups[called])
        wrong += called != label
        wrong_inside += called != label and groups[called] == groups[label]
    expected = {
        "doubt": doubt / 60,
        "share": inside / doubt,
        "chance": chance / doubt,
        "errors": wrong_inside / wrong,
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(100 * value), name


CLASSES = ("cat", "dog", "car, red", "truck")
GROUPS = ("animals", "animals", "vehicles", "vehicles")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'class,group\ncat,animals\n"car, red",vehicles\ndog,animals\ntruck,vehicles\n'),
        ("a.txt", 'animals: cat, dog\n\nvehicles: "car, red", truck\n'),
        ("a.txt", 'animals: cat\nanimals: dog\n"car, red", vehicles\ntruck, vehicles\n'),
        ("a.json", json.dumps({"animals": ["cat", "dog"], "vehicles": ["truck", "car, red"]})),
        ("a.json", json.dumps(dict(zip(CLASSES, GROUPS, strict=True)))),
        ("a.json", json.dumps(GROUPS)),
    ],
)
def test_groups_are_read_as_people_write_them(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert grouping.read_groups(path, CLASSES) == GROUPS
    assert grouping.numbers_of(GROUPS).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.json", b'["a", "b", "a"]', "a list of 3 groups, and the family has 4 classes"),
        ("a.json", b'{"cat": null}', "must be texts"),
        ("a.json", b"3", "must be an object or a list"),
        ("a.csv", b"cat,a\ndog,a\ntruck,b\n", "no group for car, red; each of the 4 classes"),
        ("a.csv", b"cta,a\n", "'cta' is no class of the family (did you mean 'cat'?)"),
        ("a.csv", b"cat,a\ncat,b\n", "'cat' is in 'a' and in 'b'"),
        ("a.csv", b"cat,a,b\n", "line 1 is neither 'class,group' nor"),
        ("a.json", b'["a", "a", "a", "a"]', "1 groups of 4 classes"),
        ("a.json", b'["a", "b", "c", "d"]', "4 groups of 4 classes"),
        ("a.csv", b"\xff\xfe\x00", "no text in UTF-8"),
    ],
)
def test_groups_that_do_not_fit_are_refused(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AnewError) as error:
        grouping.read_groups(path, CLASSES)
    assert says in str(error.value) and "\n" not in str(error.value)


# People


@given(SEEDS, st.integers(3, 6))
@settings(deadline=None, max_examples=10)
def test_nearness_to_people_equals_scipy(seed, classes):
    log_q, _, y = random_outputs(seed, classes=classes)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(8, np.full(classes, 0.2 / classes) + 0.8 * np.eye(classes)[y])
    h = counts / counts.sum(-1, keepdims=True)
    found = statistics.bootstrap(people.columns(*tensors(log_q, h)), people.quantities)
    q, first = np.exp(log_q), h.argmax(-1)
    even = np.where(
        np.arange(classes) == q.argmax(-1)[:, None],
        q.max(-1, keepdims=True),
        (1 - q.max(-1, keepdims=True)) / (classes - 1),
    )
    expected = {
        "cross_entropy": -np.sum(h * log_q, -1).mean(),
        "kl": stats.entropy(h, q, axis=-1).mean(),
        "kl_even": stats.entropy(h, even, axis=-1).mean(),
        "first": 100 * np.mean(q.argmax(-1) == first),
    }
    left, right = beside(q, first), beside(h, first)
    somebody = np.ptp(right, -1) > 0
    left, right = left[somebody], right[somebody]
    if somebody.any():
        expected["rank"] = np.mean(
            [stats.spearmanr(a, b)[0] for a, b in zip(left, right, strict=True)]
        )
        chosen = right[np.arange(len(right)), left.argmax(-1)]
        expected["second"] = 100 * np.mean(chosen == right.max(-1))
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_labels_are_smoothed_as_is_best_for_people():
    y = np.arange(40) % 4
    h = 0.7 * np.eye(4)[y] + 0.3 * np.random.default_rng(0).dirichlet(np.ones(4), 40)
    smoothed = people.smoothed_labels(*tensors(y, h)).numpy()

    def nll(share):
        target = np.where(np.eye(4)[y] > 0, share, (1 - share) / 3)
        return -np.sum(h * np.log(target), -1).mean()

    best = minimize_scalar(nll, bounds=(0.3, 0.999), method="bounded").x
    assert np.exp(smoothed.max()) == pytest.approx(best, abs=1e-4)
    np.testing.assert_allclose(special.logsumexp(smoothed, -1), 0, atol=1e-12)


def test_people_are_nearer_to_one_who_doubts_as_they_do():
    """Alike classes are 0 and 1, 2 and 3: an even spread costs who knows it alone."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 3000)
    h = np.full((3000, 4), 0.02)
    h[np.arange(3000), y ^ 1], h[np.arange(3000), y] = 0.26, 0.70
    wrong = np.full((3000, 4), 0.02)
    wrong[np.arange(3000), (y + 2) % 4], wrong[np.arange(3000), y] = 0.26, 0.70
    knows, errs = (
        statistics.bootstrap(
            people.columns(torch.from_numpy(np.log(one)), torch.from_numpy(h)), people.quantities
        )
        for one in (h, wrong)
    )
    assert knows["kl"].value == pytest.approx(0, abs=1e-12) and knows["kl_even"].value > 0.1
    assert knows["second"].value == 100 and knows["rank"].value == pytest.approx(1)
    assert errs["kl"].value > errs["kl_even"].value and errs["second"].value == 0


@pytest.fixture
def answers(tmp_path):
    """Writes people's answers to 40 examples of three classes, changed as is asked."""
    y = torch.arange(40) % 3
    counts = 8 * np.eye(3, dtype=np.int64)[y] + 1

    def write(change=lambda counts: counts, **more):
        path = tmp_path / "people.npz"
        np.savez(path, counts=change(counts.copy()), **more)
        return str(path), y, ("a", "b", "c")

    return write


def put(value, dtype=np.float64):
    """Puts a value into row 7."""

    def change(counts):
        counts = counts.astype(dtype)
        counts[7, 1] = value
        return counts

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda counts: counts[:-1], "hold 39 rows, and the family was tested on 40 examples"),
        (lambda counts: counts[:, :2], "have 2 classes, and the family has 3"),
        (put(-1), "row 7 holds a negative number (1 such rows)"),
        (put(math.nan), "row 7 holds a number that is not finite"),
        (put(math.inf), "row 7 holds a number that is not finite"),
        (lambda counts: counts * (np.arange(40) != 7)[:, None], "row 7 has the sum 0"),
        (lambda counts: put(0.5)(counts / 11), "row 7 adds up to"),
        (lambda counts: counts[:, [1, 0, 2]], "their columns are in another order"),
        (lambda counts: np.random.default_rng(3).permutation(counts), "by chance"),
        (lambda counts: counts.astype(object), "Python objects"),
    ],
)
def test_people_that_do_not_fit_are_refused(answers, change, says):
    with pytest.raises(AnewError) as error:
        people.read_people(*answers(change))
    assert says in str(error.value) and "\n" not in str(error.value)
    assert "human labels" in str(error.value)


def test_people_are_counts_or_shares_and_named_columns_are_put_in_order(answers):
    expected = people.read_people(*answers())
    assert expected.sum(-1).tolist() == pytest.approx([1] * 40)
    shares = people.read_people(*answers(lambda counts: counts / counts.sum(-1, keepdims=True)))
    assert torch.allclose(shares, expected)
    named = people.read_people(
        *answers(lambda counts: counts[:, [2, 0, 1]], classes=np.array(["c", "a", "b"]))
    )
    assert torch.equal(named, expected)
    with pytest.raises(AnewError, match="name other classes"):
        people.read_people(*answers(classes=np.array(["x", "a", "b"])))
    with pytest.raises(AnewError, match="the label of row 0 is 1, and that of the test example 0"):
        people.read_people(*answers(labels=(np.arange(40) + 1) % 3))


# Whole comparisons


@pytest.fixture(scope="module")
def family(arrays, tmp_path_factory):
    """Two seeds of a teacher, each with three students, and a second generation of one."""
    out = tmp_path_factory.mktemp("siblings") / "family"
    # Trained so briefly that all err, for differences to be seen.
    recipe = {**RECIPE, "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.02}}
    for seed in (0, 1):
        siblings = ["dkpp", "cwtm"]
        train(arrays, out, generations=1, siblings=siblings, seed=seed, recipe=recipe, force=True)
    return out


@pytest.fixture(scope="module")
def files(family, tmp_path_factory):
    """Groups and people's answers for the family's three classes and its test examples."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "groups.csv").write_text("0,low\n1,low\n2,high\n")
    spec = next(iter(Family.open(family).specs().values()))
    _, labels = evaluation.read_outputs(Family.open(family).folder(spec.id), "test")
    counts = np.random.default_rng(0).multinomial(20, 0.1 + 0.7 * np.eye(3)[labels])
    np.savez(folder / "people.npz", counts=counts)
    return folder


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def test_siblings_are_the_students_of_one_teacher_by_objective(family):
    opened = Family.open(family)
    found = find_siblings(opened)
    assert [one.teacher.seed for one in found] == [0, 1]
    for one in found:
        assert list(one.students) == ["ban", "cwtm", "dkpp"] and not one.labelled
        assert all(spec.teachers == (one.teacher,) for spec in one.students.values())
        assert {spec.objective.name for spec in one.students.values()} == set(one.students)
    student = found[1].students["dkpp"]
    for end in (student.id, found[1].teacher.id):
        (alone,) = find_siblings(opened, end, every_seed=False)
        assert alone.teacher == found[1].teacher
        assert find_siblings(opened, end) == found


def test_siblings_of_several_seeds_are_their_mean_with_students_interval(family, files):
    opened = Family.open(family)
    against = Against(files / "groups.csv", str(files / "people.npz"))
    siblings = find_siblings(opened)
    whole = comparing.compare_siblings(opened, siblings, Options(), against)
    singles = [comparing.compare_siblings(opened, [one], Options(), against) for one in siblings]
    assert [one.name for one in whole.networks] == [one.name for one in singles[0].networks]
    for number, network in enumerate(whole.networks):
        for part in ("kept", "inside", "inside_change", "people", "people_change"):
            measured = [getattr(one.networks[number], part) for one in singles]
            if measured[0] is None:
                assert getattr(network, part) is None
                continue
            for name in vars(measured[0]):
                values = [getattr(one, name).value for one in measured]
                found = getattr(getattr(network, part), name)
                assert found.values == pytest.approx(tuple(values), nan_ok=True)
                half = stats.sem(values) * stats.t.ppf(0.975, 1)
                middle = np.mean(values)
                assert (found.value, found.low, found.high) == pytest.approx(
                    (middle, middle - half, middle + half), nan_ok=True
                )

    # One student by hand, from the stored outputs.
    ban = siblings[0].students["ban"]
    q, labels = evaluation.read_outputs(opened.folder(ban.id), "test")
    p, _ = evaluation.read_outputs(opened.folder(siblings[0].teacher.id), "test")
    measured = {one.name: one for one in singles[0].networks}["ban"]
    assert measured.ids == ((ban.id,),)
    assert measured.kept.kl.value == pytest.approx(
        stats.entropy(
            special.softmax(p.double(), -1), special.softmax(q.double(), -1), axis=-1
        ).mean()
    )
    for name, one in vars(kept.measure(q, p, labels)).items():
        found = getattr(measured.kept, name)
        assert (found.value, found.low) == pytest.approx((one.value, one.low), nan_ok=True), name
    teacher = singles[0].networks[0]
    for name, change in vars(measured.people_change).items():
        own, theirs = (getattr(one.people, name).value for one in (measured, teacher))
        assert change.value == pytest.approx(own - theirs, nan_ok=True)
    permuted = {one.name: one for one in singles[0].networks}[comparing.PERMUTED]
    assert permuted.kept.same_class.value == 100 and permuted.inside is not None
    # In expectation a permutation spreads the doubt as chance does.
    assert permuted.kept.error == teacher.kept.error


def test_generations_and_ensembles_are_compared_with_their_teachers(family, files):
    opened = Family.open(family)
    lineage = choose_lineage(opened, find_siblings(opened)[0].students["ban"].id)
    against = Against(files / "groups.csv", str(files / "people.npz"))
    found = comparing.compare_generations(opened, [lineage], Options(), against)
    assert [one.name for one in found.networks] == [
        "generation 0",
        "generation 1",
        "ensemble 0-1",
        comparing.LABELS,
    ]
    oldest, student, both, labels = found.networks
    assert oldest.inside_change is None and labels.inside is None and labels.kept is None
    assert student.kept.same_class.value > 0 and both.kept is None
    for one in (student, both):
        assert one.inside_change.share.value == pytest.approx(
            one.inside.share.value - oldest.inside.share.value
        )
    assert found.people_entropy > 0
    assert student.people.cross_entropy.value - student.people.kl.value == pytest.approx(
        found.people_entropy
    )
    over = comparing.compare_generations(opened, replicas(opened, lineage), Options(), against)
    assert len(over.teachers) == 2 and len(over.networks[1].people.kl.values) == 2


def test_seeds_of_a_lineage_are_put_together(family):
    opened = Family.open(family)
    lineage = choose_lineage(opened, find_siblings(opened)[0].students["ban"].id)
    lineages = replicas(opened, lineage)
    found = collect_over_seeds(opened, lineages)
    from anew.evaluation import insight

    singles = [insight.collect(opened, one) for one in lineages]
    for name in ("by_any_weight", "slope", "identity_r2_weighted"):
        values = [getattr(one.gradients[0].ban, name).value for one in singles]
        together = getattr(found.gradients[0].ban, name)
        assert together.values == tuple(values) and together.value == pytest.approx(np.mean(values))
    errors = [one.calibration[1].scores.error for one in singles]
    before = [one.calibration[0].scores.error for one in singles]
    assert any(before) and found.scores[1].error.values == tuple(errors)
    assert found.scores[1].change.values == tuple(np.subtract(errors, before))
    assert found.pairs[0].kl.values == tuple(one.fidelity.kl[0][1] for one in singles)
    assert found.sureness[1].covariance_kept.values == tuple(
        one.dark_knowledge[1].covariance_kept for one in singles
    )


def test_the_command_says_it_in_every_form_and_width(family, files, monkeypatch):
    before = contents(family)
    student = find_siblings(Family.open(family))[0].students["ban"].id
    against = ("--groups", files / "groups.csv", "--human", files / "people.npz")
    for options in (
        ("--siblings",),
        ("--siblings", "--similarity", *against),
        ("--siblings", "--network", student),
        ("--similarity", "--network", student, *against),
        ("--similarity", "--network", student, "--seeds", *against),
        ("--seeds", "--network", student),
    ):
        said = json.loads(
            good("insight", family, *options, "--format", "json"), parse_constant=pytest.fail
        )
        assert said["format"] == 1
        markdown = good("insight", family, *options, "--format", "markdown")
        cells = [
            cell.strip()
            for line in markdown.splitlines()
            if line.startswith("| ") and "---" not in line
            for cell in line.strip("|").split(" | ")
        ]
        for width in (80, 120):
            monkeypatch.setenv("COLUMNS", str(width))
            table = good("insight", family, *options)
            assert max(map(len, table.splitlines())) <= width, options
            assert all(cell.split(" to ")[0] in table for cell in cells if "(" in cell)
    assert "over 2 seeds" in " ".join(good("insight", family, "--siblings").split())
    assert "bootstrap" in good("insight", family, "--siblings", "--network", student)
    # Looking writes nothing.
    assert contents(family) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ("--siblings", "--split", "train"),
            "split train: siblings and similarity need stored outputs",
        ),
        (("--similarity",), "holds 6 lineages; choose one with --network"),
        (("--seeds",), "holds 3 lineages; choose one with --network"),
        (("--siblings", "--network", "zzz"), "no network with an id that starts with 'zzz'"),
        (("--siblings", "--groups", "missing.csv"), "missing.csv"),
        (("--siblings", "--human", "missing.npz"), "missing.npz"),
        (("--siblings", "--human", "x.npz", "--split", "validation"), "are of the test examples"),
        (("--siblings", "--data", "digits"), "need only stored outputs; drop --data"),
        (("--siblings", "--examples", "0"), "examples must be a whole number >= 1"),
    ],
)
def test_bad_options_are_one_line(family, options, says):
    done = call("insight", family, *options)
    assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1, done
    assert says in done.err


def test_without_siblings_or_replicas_it_is_said(family, arrays, tmp_path):
    copied = Path(shutil.copytree(family, tmp_path / "copied"))
    opened = Family.open(copied)
    for one in find_siblings(opened):
        for name in ("dkpp", "cwtm"):
            opened.folder(one.students[name].id).done_file.unlink()
    done = call("insight", copied, "--siblings")
    assert done.code == 2 and "holds no siblings" in done.err
    assert "over 2 seeds" in " ".join(good("insight", copied, "--seeds").split())
    (lineage, _) = Family.open(copied).lineages()
    opened.folder(lineage[-1].id).done_file.unlink()
    opened.folder(lineage[0].id).done_file.unlink()
    done = call("insight", copied, "--seeds")
    assert done.code == 2 and "--seeds needs lineages that differ only in their seeds" in done.err
