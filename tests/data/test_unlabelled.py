"""Unlabelled examples: what is added, what is refused, and masks against NumPy."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import anew
from anew import AnewError
from anew.core.spec import DataSpec, ObjectiveSpec
from anew.data import Batches, from_arrays, prepare
from anew.data.unlabelled import labelled_part, with_unlabelled
from anew.family import Family
from anew.objectives import Context, fill_options, find
from commands import call, contents
from runs import RECIPE

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (150, 6, 6), dtype=np.uint8)
LABELS = np.arange(60) % 3


def source():
    return from_arrays((PICTURES[:60], LABELS), (PICTURES[60:80], LABELS[:20]))


def saved(folder, pictures, name="x_unlabelled"):
    path = folder / f"extra-{len(pictures)}-{pictures.shape[-1]}.npz"
    np.savez(path, **{name: pictures})
    return f"npz:{path}"


def joined(folder, pictures, **given):
    spec = DataSpec(unlabelled=saved(folder, pictures), **given)
    return with_unlabelled(prepare(source(), spec.labelled_only), spec)


def numbers(inputs):
    """Which of the pictures these are."""
    known = {picture.tobytes(): number for number, picture in enumerate(PICTURES)}
    return [known[one.numpy().tobytes()] for one in inputs[:, 0].contiguous()]


def test_new_examples_follow_the_labelled_ones_and_known_ones_are_left_out(tmp_path):
    data = joined(tmp_path, PICTURES[[100, 5, 101, 102, 30]])
    before = prepare(source(), DataSpec())
    count = len(before.training)
    assert numbers(data.training.show(slice(count, None))) == [100, 101, 102]
    assert data.training.labels[count:].tolist() == [-1, -1, -1]
    assert torch.equal(data.training.show(slice(0, count)), before.training.show(slice(None)))
    assert torch.equal(labelled_part(data.training).labels, before.training.labels)
    # What the labelled ones decide stays: statistics, the other splits, and the id of generation 0.
    assert torch.equal(data.mean, before.mean) and torch.equal(data.std, before.std)
    assert torch.equal(data.validation.labels, before.validation.labels)
    assert data.spec.labelled_only == before.spec
    assert not data.spec.is_same(before.spec)
    assert any("2 unlabelled examples that occur" in text for text in data.notices)


def test_a_limit_is_drawn_by_the_datas_seed_and_the_fingerprint_is_of_the_content(tmp_path):
    some = [joined(tmp_path, PICTURES[80:], unlabelled_limit=20, seed=seed) for seed in (0, 0, 1)]
    chosen = [numbers(one.training.show(slice(len(one.training) - 20, None))) for one in some]
    assert chosen[0] == chosen[1] == sorted(set(chosen[0])) and chosen[0] != chosen[2]
    assert all(number >= 80 for number in chosen[0])
    prints = [one.spec.unlabelled_fingerprint for one in some]
    assert prints[0] == prints[1] != prints[2]
    with pytest.raises(AnewError, match="its content differs"):
        joined(tmp_path, PICTURES[80:100], unlabelled_fingerprint=prints[0])


def test_test_examples_are_refused_or_left_out(tmp_path):
    with pytest.raises(AnewError, match=r"2 of 5 .* occur in the test set \(rows 1, 4\)"):
        joined(tmp_path, PICTURES[[100, 61, 102, 103, 79]])
    data = joined(tmp_path, PICTURES[[100, 61, 102, 103, 79]], skip_test_examples=True)
    assert numbers(data.training.show(slice(len(data.training) - 3, None))) == [100, 102, 103]


@pytest.mark.parametrize(
    ("pictures", "says"),
    [
        (PICTURES[80:, :5, :5], "has examples of 1x5x5, the labelled ones are of 1x6x6"),
        (PICTURES[80:].astype(np.float32) / 255, "holds torch.float32, the labelled ones"),
        (PICTURES[:10], "no example of .* is left"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, pictures, says):
    with pytest.raises(AnewError, match=says):
        joined(tmp_path, pictures)
    with pytest.raises(AnewError, match="need a label for each"):
        joined(tmp_path, PICTURES[80:], views="mixup")


def test_a_folder_of_pictures_needs_no_classes(tmp_path):
    (tmp_path / "some" / "deep").mkdir(parents=True)
    for number in (90, 91, 92):
        Image.fromarray(PICTURES[number]).save(tmp_path / "some" / "deep" / f"{number}.png")
    spec = DataSpec(unlabelled=f"folder:{tmp_path / 'some'}")
    data = with_unlabelled(prepare(source(), spec.labelled_only), spec)
    assert numbers(data.training.show(slice(len(data.training) - 3, None))) == [90, 91, 92]
    empty = DataSpec(unlabelled=f"folder:{tmp_path / 'none'}")
    with pytest.raises(AnewError, match="there is no folder"):
        with_unlabelled(prepare(source(), DataSpec()), empty)


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_label_terms_are_masked_and_teachers_terms_are_not(tmp_path, balance):
    data = joined(tmp_path, PICTURES[80:], balance=balance)
    batches = Batches(data, 40, torch.device("cpu"))
    shown = []
    for batch in batches.epoch(3):
        z, t = (torch.randn(40, 3, dtype=torch.float64) for _ in range(2))
        options = fill_options(ObjectiveSpec.of("ban+l", label_weight=0.3))
        weights = batch.weights.double()
        loss = find("ban+l").terms(Context(z, batch.labels, t, weights=weights), **options).total()

        # By hand, example by example, from the data's own labels.
        own = data.training.labels.numpy()
        counts = np.bincount(own[own >= 0])
        log_q = z.log_softmax(-1).numpy()
        total = 0.0
        for row, place in enumerate(batch.indices.tolist()):
            p = t[row].softmax(-1).numpy()
            total += 0.7 * -(p * log_q[row]).sum()
            if own[place] >= 0:
                weight = counts.sum() / (3 * counts[own[place]]) if balance == "weights" else 1.0
                total += 0.3 * weight * -log_q[row, own[place]]
        assert loss.item() == pytest.approx(total / 40, rel=1e-6)

        labelled = own[batch.indices] >= 0
        assert np.array_equal(batch.is_labelled.numpy(), labelled)
        wrong = (z.argmax(-1).numpy() != own[batch.indices]) & labelled
        assert int(batch.count_wrong(z)) == wrong.sum()
        shown += batch.indices.tolist()
    assert len(set(shown)) == len(shown) == 40 * batches.steps
    assert batches.count_labelled(3) == (data.training.labels[shown] >= 0).sum()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A lineage with unlabelled examples, and one without."""
    folder = tmp_path_factory.mktemp("trained")
    np.savez(
        folder / "few.npz",
        **{"x_train": PICTURES[:60], "y_train": LABELS},
        **{"x_test": PICTURES[60:80], "y_test": LABELS[:20]},
    )
    extra = saved(folder, PICTURES[80:])
    given = {"recipe": RECIPE, "generations": 1, "threads": 1, "device": "cpu", "progress": False}
    results = [
        anew.train(
            "small_cnn", f"npz:{folder / 'few.npz'}", out=folder / "family", force=True, **more
        )
        for more in ({**given}, {**given, "unlabelled": extra})
    ]
    return folder, extra, results


def test_generation_0_is_shared_and_students_see_more(trained):
    folder, extra, (plain, more) = trained
    assert plain.lineage[0].id == more.lineage[0].id != ""
    assert plain.lineage[1].id != more.lineage[1].id
    family = Family.open(folder / "family")
    pictures = [family.folder(one.lineage[1].id).done["pictures"] for one in (plain, more)]
    # 54 labelled ones after validation, in batches of 16, and 70 more.
    assert pictures == [3 * 48, 3 * 112]
    written = json.loads((family.folder(more.lineage[1].id).path / "spec.json").read_text())
    assert written["data"]["unlabelled"] == extra
    assert family.spec(more.lineage[1].id).id == more.lineage[1].id


def test_other_commands_read_such_a_family(trained):
    folder, _, (_, more) = trained
    end = more.lineage[1].id
    for command in (
        ("evaluate", folder / "family"),
        ("show", folder / "family", end),
        ("verify", folder / "family"),
        ("insight", folder / "family", "--lineage", end, "--examples", 20),
    ):
        done = call(*command)
        assert done.code == 0, (command, done.err)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--objective", "cwtm"), "objective 'cwtm' weights the labels, so it learns nothing"),
        (("--generations", 0), "there are no students; set --generations 1"),
        (("--siblings", "dkd"), "objective 'dkd' weights the labels"),
    ],
)
def test_what_cannot_learn_from_them_is_one_line(trained, tmp_path, options, says):
    folder, extra, _ = trained
    common = ("train", "--data", f"npz:{folder / 'few.npz'}", "--unlabelled", extra)
    before = contents(tmp_path)
    done = call(*common, "--out", tmp_path / "f", *options)
    assert done.code == 2 and says in done.err and done.err.splitlines()[-1].startswith("anew: ")
    assert contents(tmp_path) == before


def test_a_studys_column_learns_on_them(trained, tmp_path):
    folder, extra, _ = trained
    study = tmp_path / "few.toml"
    study.write_text(
        f"""
seeds = [0]
[data]
source = "npz:{folder / "few.npz"}"
unlabelled = "{extra}"
unlabelled_limit = 30
[training]
epochs = 2
batch_size = 16
[rows]
mlp = "mlp"
[columns.Teacher]
[columns.BAN]
teacher = "Teacher"
objective = "ban"
[columns."BAN, more"]
teacher = "Teacher"
objective = "ban"
unlabelled = true
"""
    )
    out = tmp_path / "family"
    done = call("study", "run", study, "--out", out, "--threads", 1, "--force")
    assert done.code == 0, done.err
    specs = Family.open(out).specs().values()
    pictures = {spec.data.unlabelled != "": 0 for spec in specs}
    for spec in specs:
        pictures[spec.data.unlabelled != ""] += Family.open(out).folder(spec.id).done["pictures"]
    assert pictures == {False: 2 * 2 * 48, True: 2 * 80}
    study.write_text(study.read_text().replace(f'unlabelled = "{extra}"', ""))
    done = call("study", "run", study, "--out", out)
    assert done.code == 2 and "unlabelled needs" in done.err
