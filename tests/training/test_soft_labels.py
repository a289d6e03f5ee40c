"""Soft labels that were given, a row for each training example, in place of a teacher."""

import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch

import anew
from anew import AnewError, evaluation, report
from anew.cli import main
from anew.core import files
from anew.evaluation import insight
from anew.family import Family, choose_lineage
from anew.family.progress import Progress
from anew.models import network, saving
from anew.report import networks, page

SETTINGS = {"epochs": 2, "batch_size": 16, "learning_rate": 0.1}
RECIPE = {"training": SETTINGS, "model": {"options": {"width": 16}}}


def train(arrays, out, **given):
    settings = {
        "generations": 1,
        "recipe": RECIPE,
        "progress": False,
        "threads": 1,
        "device": "cpu",
        "force": True,
        "views": "none",
        **given,
    }
    return anew.train("small_cnn", arrays, out=out, **settings)


class Heard(anew.Callback):
    def __init__(self):
        self.said = []

    def log(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def taught(arrays, tmp_path_factory):
    """A teacher and its student."""
    return train(arrays, tmp_path_factory.mktemp("soft") / "taught")


@pytest.fixture(scope="module")
def logits(taught):
    """What that teacher says of each training example, in their order."""
    teacher = taught.family.folder(taught.lineage[0].id).weights
    placed = network.place(saving.load(teacher), torch.device("cpu"), "channels_last")
    return evaluation.predict(placed, taught.data.training, torch.device("cpu")).numpy()


def probabilities(logits):
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return (exponents / exponents.sum(-1, keepdims=True)).astype(np.float64)


def weights(result):
    return files.read_tensors(result.family.folder(result.lineage[-1].id).weights)[0]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def save(path, array):
    np.save(path, array)
    return path


# They teach as the network whose answers they are


@pytest.mark.parametrize("objective", ["ban", "ban+l", "cwtm", "dkpp", "kd", "teacher-smoothing"])
def test_a_teachers_own_answers_make_the_same_student(taught, logits, arrays, tmp_path, objective):
    path = save(tmp_path / "soft.npy", logits)
    mine = train(arrays, tmp_path / "f", soft_labels=path, objective=objective)
    given = f"{taught.family.path}:{taught.lineage[0].id}"
    theirs = train(arrays, tmp_path / "g", teacher=given, objective=objective)
    assert equal(weights(mine), weights(theirs))


def write_npz(path, rows):
    np.savez(path, soft_labels=rows, ids=np.arange(len(rows)))


def write_parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    table = {"soft": list(rows), "name": [str(number) for number in range(len(rows))]}
    pyarrow.parquet.write_table(pyarrow.table(table), path)


WRITERS = {
    "soft.npy": np.save,
    "soft.npz": write_npz,
    "soft.safetensors": lambda path, rows: safetensors.torch.save_file(
        {"soft": torch.from_numpy(rows)}, path
    ),
    "soft.parquet": write_parquet,
    "soft.pt": lambda path, rows: torch.save(torch.from_numpy(rows), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_is_read(arrays, logits, tmp_path, name, monkeypatch):
    heard = Heard()
    WRITERS[name](tmp_path / name, logits)
    result = train(arrays, tmp_path / "f", soft_labels=tmp_path / name, epochs=1, progress=heard)
    rows = files.read_tensors(soft_folder(result).weights)[0]["words"].view(torch.float16)
    expected = logits - logits.max(-1, keepdims=True)
    assert np.array_equal(rows.numpy(), expected.astype(np.float16))
    assert any("logits (found) of 3 classes, a row for each of" in text for text in heard.said)


def soft_folder(result):
    (student, *_) = result.lineage
    (soft,) = student.teachers
    return result.family.folder(soft.id)


def targets(result):
    tensors, header = files.read_tensors(soft_folder(result).weights)
    from anew.teachers import Encoding

    encoding = Encoding(header["encoding"]["classes"], header["encoding"]["top_k"])
    return encoding.decode(tensors["words"]).double().softmax(-1).numpy()


def test_probabilities_and_counts_are_recognised(arrays, tmp_path, taught):
    count = len(taught.data.training)
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), count)
    people = rng.multinomial(50, [0.5, 0.3, 0.2], count)
    kinds = {"probabilities": shares, "counts": people, "logits": rng.normal(0, 3, (count, 3))}
    expected = {
        "probabilities": shares,
        "counts": people / people.sum(-1, keepdims=True),
        "logits": probabilities(kinds["logits"]),
    }
    for kind, rows in kinds.items():
        heard, path = Heard(), save(tmp_path / f"{kind}.npy", rows)
        result = train(arrays, tmp_path / kind, soft_labels=path, epochs=1, progress=heard)
        assert any(f"{kind} (found)" in text for text in heard.said)
        assert np.abs(targets(result) - expected[kind]).max() < 5e-4
        told = train(arrays, tmp_path / kind, soft_labels=path, soft_labels_are=kind, epochs=1)
        assert told.lineage == result.lineage


def test_rows_of_all_examples_before_the_split_are_taken_by_their_places(arrays, tmp_path, taught):
    # arrays have no test set of their own: the source's training examples are all 240.
    rows = np.random.default_rng(1).dirichlet(np.ones(3), 240)
    result = train(arrays, tmp_path / "f", soft_labels=save(tmp_path / "s.npy", rows), epochs=1)
    places = [
        next(place for place, one in enumerate(arrays[0]) if np.array_equal(one, picture[0]))
        for picture in result.data.training.show(slice(None)).numpy()
    ]
    assert np.abs(targets(result) - rows[places]).max() < 5e-4


def test_the_k_largest_share_what_is_left_among_the_others(tmp_path, taught, arrays):
    count = len(taught.data.training)
    numbers = np.tile([2, 0], (count, 1))
    np.savez(tmp_path / "k.npz", indices=numbers, values=np.tile([0.5, 0.3], (count, 1)))
    result = train(arrays, tmp_path / "f", soft_labels=tmp_path / "k.npz", epochs=1)
    assert np.abs(targets(result) - [0.3, 0.2, 0.5]).max() < 5e-4


@pytest.mark.parametrize("given", [{"views": "flip"}, {"views": "mixup"}])
def test_with_augmentation_every_view_has_the_one_row(arrays, logits, tmp_path, given):
    heard = Heard()
    path = save(tmp_path / "s.npy", logits)
    train(arrays, tmp_path / "f", soft_labels=path, epochs=1, progress=heard, **given)
    assert any("of an example has the same target" in text for text in heard.said)


def test_mixed_pictures_have_the_mean_of_both_rows(arrays, logits, taught):
    from anew.core.spec import DataSpec
    from anew.data import Batches, prepare
    from anew.data.sources.memory import from_arrays
    from anew.teachers import Encoding, Rows, RowTeacher

    data = prepare(from_arrays(arrays), DataSpec(views="mixup"))
    batches = Batches(data, 16, torch.device("cpu"))
    rows = np.random.default_rng(2).dirichlet(np.ones(3), len(data.training))
    encoding = Encoding(3)
    words = encoding.encode(torch.from_numpy(np.log(rows)).float())
    teacher = RowTeacher(Rows(words, encoding), taught.lineage[-1], batches)
    for batch, outputs in teacher.teach(batches.epoch(0)):
        share = batch.share.double().numpy()[:, None]
        expected = share * rows[batch.indices] + (1 - share) * rows[batch.second.indices]
        assert np.abs(outputs.logits.double().softmax(-1).numpy() - expected).max() < 1e-3


# In a family


@pytest.fixture(scope="module")
def family(arrays, logits, tmp_path_factory):
    place = tmp_path_factory.mktemp("soft")
    path = save(place / "humans.npy", probabilities(logits))
    return train(
        arrays, place / "f", soft_labels=path, generations=2, siblings=["cwtm"], sibling_seeds=[1]
    )


def test_who_learns_from_them_is_generation_0(family):
    assert [spec.generation for spec in family.lineage] == [0, 1]
    assert [row.name for row in family.scores[:3]] == [
        "generation 0",
        "generation 1",
        "ensemble 0-1",
    ]
    assert family.lineage[0].origin == "ban of soft labels"
    assert len(list(family.family.folders())) == 1 + 2 * 4
    assert family.family.verify() == (9, [])


def test_a_family_with_soft_labels_is_looked_at_as_any_other(family, command):
    opened = Family.open(family.family.path)
    assert sorted(lineage[-1].generation for lineage in opened.lineages()) == [0] * 3 + [1] * 4
    found = insight.collect(opened, choose_lineage(opened, family.lineage[-1].id))
    assert any("learned from soft labels" in notice for notice in found.notices)
    shown = re.sub(r"\s+", " ", command("show", opened.path, check=0).out)
    assert "soft labels humans.npy: probabilities of" in shown
    verified = command("verify", opened.path, check=0).out
    kinds = [spec.is_soft_labels for spec in opened.finished()]
    assert kinds.count(True) == 1
    assert (
        f"OK: {kinds.count(False)} networks, 1 set of soft labels and 1 target cache, all"
        in verified
    )
    entries = json.loads(command("evaluate", opened.path, "--json", check=0).out)
    assert all(entry["rows"][0]["name"] == "generation 0" for entry in entries)
    page = family.report(opened.path / "page.html").read_text()
    assert "learned from soft labels" in page
    assert (
        "Generation 0"
        in command("insight", opened.path, "--lineage", family.lineage[-1].id, check=0).out
    )


def test_the_same_command_finds_them_and_another_file_is_another_teacher(
    family, arrays, logits, tmp_path
):
    before = {folder.id for folder in family.family.folders()}
    path = save(tmp_path / "moved.npy", probabilities(logits))
    train(arrays, family.family.path, soft_labels=path, generations=1)
    assert {folder.id for folder in family.family.folders()} == before
    save(path, probabilities(2 * logits))
    other = train(arrays, tmp_path / "other", soft_labels=path)
    assert other.lineage[0].id not in before


def test_a_table_that_is_given_as_a_teacher_is_soft_labels(family, arrays, logits, tmp_path):
    path = save(tmp_path / "soft.npy", probabilities(logits))
    assert train(arrays, tmp_path / "f", teacher=path).lineage[0] == family.lineage[0]


def test_they_teach_in_several_processes(arrays, logits, npz, tmp_path, command):
    path = save(tmp_path / "soft.npy", probabilities(logits))
    common = ["train", "--data", f"npz:{npz}", "--views", "none", "--model", "small_cnn"]
    common += ["--model.options", "width=16", "--epochs", "1", "--batch-size", "16"]
    common += ["--generations", "1", "--device", "cpu", "--threads", "1", "--force"]
    common += ["--soft-labels", path, "--siblings", "cwtm"]
    ids = []
    for jobs in (1, 2):
        out = tmp_path / f"f{jobs}"
        command(*common, "--out", out, "--jobs", str(jobs), check=0)
        folders = Family.open(out).folders()
        ids.append({folder.id: files.sha256(folder.weights) for folder in folders})
    assert ids[0] == ids[1] and len(ids[0]) == 3


# What are no soft labels


def spoiled(rows, spoil):
    rows = rows.copy()
    spoil(rows)
    return rows


BAD = {
    "too few": (lambda p: p[:-1], r"have 172 rows, and there are 173 training examples .or 240"),
    "a class too many": (lambda p: np.hstack([p, p[:, :1]]), "have 4 columns, and the data have 3"),
    "a vector": (lambda p: p[:, 0], r"must have the shape \(N, C\)"),
    "NaN": (lambda p: spoiled(p, lambda q: q.__setitem__((3, 0), np.nan)), "row 3 holds NaN"),
    "nobody": (
        lambda p: spoiled(np.ones_like(p, int) * 7, lambda q: q.__setitem__(5, 0)),
        "row 5 has the sum 0",
    ),
    "no sum": (lambda p: p * 0.9, "has the sum 0.9, and they are not whole numbers"),
    "a row below 0": (
        lambda p: np.where(np.arange(len(p))[:, None] == 5, -0.1, p),
        "row 5 holds a number below 0, and most rows are probabilities",
    ),
    "objects": (lambda p: p.astype(object), "hold Python objects|never loaded"),
    "text": (lambda p: p.astype(str), "not real numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_are_no_soft_labels_is_refused(arrays, logits, tmp_path, name):
    spoil, says = BAD[name]
    path = save(tmp_path / "bad.npy", spoil(probabilities(logits)))
    with pytest.raises(AnewError, match=says) as refused:
        train(arrays, tmp_path / "f", soft_labels=path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "f").exists()


TOLD = {
    ("probabilities", "negative"): (lambda p: p - 0.5, "holds a number below 0"),
    ("probabilities", "sum"): (lambda p: 2 * p, "whose sum is not 1"),
    ("counts", "negative"): (lambda p: p - 0.5, "holds a number below 0 among counts"),
}


@pytest.mark.parametrize("told", TOLD)
def test_what_is_not_what_it_is_said_to_be_is_refused(arrays, logits, tmp_path, told):
    spoil, says = TOLD[told]
    path = save(tmp_path / "bad.npy", spoil(probabilities(logits)))
    with pytest.raises(AnewError, match=says):
        train(arrays, tmp_path / "f", soft_labels=path, soft_labels_are=told[0])


def test_rows_of_other_examples_are_found_out(arrays, logits, taught, tmp_path):
    labels = taught.data.training.labels.numpy()
    shares = probabilities(logits)
    order = np.random.default_rng(0).permutation(len(shares))
    np.savez(tmp_path / "s.npz", soft=shares[order], labels=labels[order])
    with pytest.raises(AnewError, match="their labels differ from the data's for"):
        train(arrays, tmp_path / "f", soft_labels=tmp_path / "s.npz", force=False)
    # Without labels in the file only what the rows say can tell.
    sure = np.full_like(shares, 0.05) + 0.85 * np.eye(3)[labels]
    path = save(tmp_path / "s.npy", sure[order])
    with pytest.raises(AnewError, match="seem to be in another order than the data's examples"):
        train(arrays, tmp_path / "f", soft_labels=path, force=False)
    turned = save(tmp_path / "t.npy", sure[:, [1, 2, 0]])
    with pytest.raises(AnewError, match="its classes seem to be in another order"):
        train(arrays, tmp_path / "f", soft_labels=turned, force=False)


def test_classes_in_another_order_are_put_in_order(arrays, logits, tmp_path, taught):
    shares, heard = probabilities(logits), Heard()
    np.savez(tmp_path / "s.npz", soft=shares[:, [2, 0, 1]], classes=["2", "0", "1"])
    result = train(arrays, tmp_path / "f", soft_labels=tmp_path / "s.npz", epochs=1, progress=heard)
    assert any("classes in another order" in text for text in heard.said)
    assert np.abs(targets(result) - shares).max() < 5e-4
    np.savez(tmp_path / "o.npz", soft=shares, classes=["cat", "dog", "cow"])
    with pytest.raises(AnewError, match="knows 'cat', 'dog'"):
        train(arrays, tmp_path / "g", soft_labels=tmp_path / "o.npz", force=False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"generations": 0}, "soft_labels: are for students, and there are none"),
        ({"generations": 2, "taught_by": "all"}, "would combine soft labels with networks"),
        ({"frozen": ["classifier"]}, "not soft labels"),
        ({"teacher_model": "mlp"}, "soft labels need no model"),
        ({"teacher": "TAUGHT"}, "cannot be combined with another teacher"),
    ],
)
def test_what_only_a_network_can_do_is_refused(arrays, logits, taught, tmp_path, given, says):
    path = save(tmp_path / "s.npy", logits)
    given = {
        key: taught.family.path if value == "TAUGHT" else value for key, value in given.items()
    }
    with pytest.raises(AnewError, match=says):
        train(arrays, tmp_path / "f", soft_labels=path, **given)
    assert not (tmp_path / "f").exists()


def test_of_several_tables_one_is_named(arrays, logits, tmp_path):
    np.savez(tmp_path / "s.npz", one=logits, two=2 * logits)
    with pytest.raises(AnewError, match=r"hold several tables .one .*name one as"):
        train(arrays, tmp_path / "f", soft_labels=tmp_path / "s.npz")
    with pytest.raises(AnewError, match="hold no 'three'"):
        train(arrays, tmp_path / "f", soft_labels=f"{tmp_path / 's.npz'}:three")
    result = train(arrays, tmp_path / "f", soft_labels=f"{tmp_path / 's.npz'}:two", epochs=1)
    assert np.abs(targets(result) - probabilities(2 * logits)).max() < 1e-3


def test_a_pickle_is_not_run(arrays, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save(Bomb(), tmp_path / "bad.pt")
    with pytest.raises(AnewError, match="cannot be loaded without running code"):
        train(arrays, tmp_path / "f", soft_labels=tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


def test_soft_labels_are_called_by_their_file_and_have_no_generation(
    arrays, logits, tmp_path, capsys
):
    path = save(tmp_path / "mine.npy", logits)
    result = train(arrays, tmp_path / "f", soft_labels=path, epochs=1)
    gathered = report.gather(result.family, result.lineage)
    (soft,) = (one for one in gathered.networks if one.is_soft_labels)
    assert networks.title(soft) == "soft labels (mine.npy)"
    assert networks.lines([soft], gathered)[0][1] == "-"
    first = gathered.shown[0]
    assert networks.learned(first, gathered) == "ban, taught by soft labels (mine.npy)"
    assert networks.lines([first], gathered)[0][5] == "soft labels (mine.npy)"
    written = page.render(gathered)
    assert "Generation -1" not in written and "taught by soft labels (mine.npy)" in written

    assert {one.generation for one in Progress(result.family).look()} == {
        spec.generation for spec in result.lineage
    }
    main.main(["show", str(result.family.path), first.id])
    assert "learned from soft labels (mine.npy); trained in" in capsys.readouterr().out
    main.main(["show", str(result.family.path), soft.id])
    said = capsys.readouterr().out
    assert "soft labels mine.npy" in said and "generation -1" not in said
