"""A teacher that is given, not trained here: every way to name one, and one line for whatever is no
such teacher.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import anew
from anew import AnewError, models
from anew.core import files
from anew.family import Family

RECIPE = {
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.1},
    "model": {"options": {"width": 16}},
}


def train(arrays, out, **given):
    settings = {
        "generations": 1,
        "recipe": RECIPE,
        "progress": False,
        "threads": 1,
        "device": "cpu",
        **given,
    }
    return anew.train("small_cnn", arrays, out=out, **settings)


@pytest.fixture(scope="module")
def teachers(arrays, tmp_path_factory):
    """A family of generations 0 and 1."""
    return train(arrays, tmp_path_factory.mktemp("given") / "teachers")


@pytest.fixture
def weights(teachers):
    """Generation 0's weights, as a state dict."""
    return files.read_tensors(teachers.family.folder(teachers.lineage[0].id).weights)[0]


def save(tensors, path):
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, path
    )
    return path


def student(result):
    """The weights of a lineage's last network."""
    return files.read_tensors(result.family.folder(result.lineage[-1].id).weights)[0]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Every way to name a teacher

NAMED = {
    "FAMILY:ID": lambda folder: f"{folder.path.parent.parent}:{folder.id}",
    "FAMILY:start of the id": lambda folder: f"{folder.path.parent.parent}:{folder.id[:6]}",
    "its folder": lambda folder: folder.path,
    "its weights": lambda folder: folder.weights,
    "a path": lambda folder: str(folder.weights),
}


@pytest.mark.parametrize("named", NAMED)
def test_a_familys_network_teaches_the_same_however_it_is_named(teachers, arrays, tmp_path, named):
    teacher = NAMED[named](teachers.family.folder(teachers.lineage[0].id))
    result = train(arrays, tmp_path / "new", teacher=teacher)
    assert equal(student(result), student(teachers))
    assert result.scores[0].scores == teachers.scores[0].scores
    assert result.family.verify() == (2, [])
    if not Path(teacher).is_file():
        assert result.lineage == teachers.lineage
    else:
        assert result.lineage[0].weights == files.sha256(Path(teacher))


def test_a_teachers_ancestors_come_with_it(teachers, arrays, tmp_path):
    result = train(
        arrays, tmp_path / "new", teacher=f"{teachers.family.path}:{teachers.lineage[1].id}"
    )
    assert [spec.generation for spec in result.lineage] == [0, 1, 2]
    assert result.lineage[:2] == teachers.lineage
    # The family stands on its own: the teacher's may go.
    shutil.move(result.family.path, tmp_path / "moved")
    assert Family.open(tmp_path / "moved").verify() == (3, [])


def test_a_teacher_in_the_same_family_is_not_copied(teachers, arrays, tmp_path):
    out = Path(shutil.copytree(teachers.family.path, tmp_path / "same"))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    result = train(arrays, out, teacher=f"{out}:{teachers.lineage[1].id}")
    assert result.lineage[:2] == teachers.lineage
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_familys_network_teaches_on_other_data(teachers, arrays, tmp_path):
    other = arrays[0][:200], arrays[1][:200]
    result = train(
        other, tmp_path / "new", teacher=f"{teachers.family.path}:{teachers.lineage[0].id}"
    )
    assert result.lineage[0].weights and result.lineage[0].data == result.lineage[1].data
    assert result.scores[0].objective == "given" and result.family.verify() == (2, [])


def test_a_plain_state_dict_teaches(teachers, weights, arrays, tmp_path):
    result = train(arrays, tmp_path / "new", teacher=save(weights, tmp_path / "plain.safetensors"))
    assert equal(student(result), student(teachers))
    assert result.scores[0].scores == teachers.scores[0].scores


def test_a_state_dict_of_another_architecture_teaches(arrays, tmp_path):
    taught = train(arrays, tmp_path / "mlp", teacher_model="mlp", generations=0)
    path = save(student(taught), tmp_path / "mlp.safetensors")
    result = train(arrays, tmp_path / "new", teacher=path, teacher_model="mlp")
    assert [spec.model.name for spec in result.lineage] == ["mlp", "small_cnn"]
    assert result.scores[0].scores == taught.scores[0].scores


def test_the_same_checkpoint_again_is_found_and_another_is_another(weights, arrays, tmp_path):
    path = save(weights, tmp_path / "plain.safetensors")
    first, again = (train(arrays, tmp_path / "new", teacher=path) for _ in range(2))
    assert first.lineage == again.lineage and len(list(first.family.folders())) == 2
    weights["classifier.bias"] += 1e-3
    assert (
        train(arrays, tmp_path / "new", teacher=save(weights, path)).lineage[0].id
        != first.lineage[0].id
    )


@pytest.mark.parametrize("named", ["its weights", "a plain state dict"])
def test_a_checkpoint_is_read_once(teachers, weights, arrays, tmp_path, monkeypatch, named):
    teacher = teachers.family.folder(teachers.lineage[0].id).weights
    if named == "a plain state dict":
        teacher = save(weights, tmp_path / "plain.safetensors")
    opened, safe_open = [], safetensors.safe_open

    def recorded(path, **options):
        opened.append(Path(path))
        return safe_open(path, **options)

    monkeypatch.setattr(safetensors, "safe_open", recorded)
    train(arrays, tmp_path / "new", teacher=teacher)
    assert opened.count(teacher) == 1


# What is no teacher


def check_refused(arrays, tmp_path, says, **given):
    """Training must be refused with one line, and no network be begun."""
    with pytest.raises(AnewError, match=says) as caught:
        train(arrays, tmp_path / "new", **given)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "new").rglob("networks/*"))


def without(tensors, name):
    return {key: tensor for key, tensor in tensors.items() if key != name}


DAMAGES = {
    "a missing tensor": (
        lambda w: without(w, "classifier.bias"),
        "lacks 'classifier.bias'; name its model",
    ),
    "an extra tensor": (lambda w: {**w, "more": torch.zeros(2)}, "has the extra 'more'"),
    "another architecture": (
        lambda w: models.build("mlp", (1, 8, 8), 3).state_dict(),
        "is no state dict of small_cnn",
    ),
    "a wrong shape": (
        lambda w: {**w, "classifier.bias": torch.zeros(4)},
        r"has shape \(4,\).* needs \(3,\)",
    ),
    "more classes": (
        lambda w: models.build("small_cnn", (1, 8, 8), 5, {"width": 16}).state_dict(),
        "tensor 'classifier.*' has shape .*5.* with 3 classes .* needs .*3",
    ),
    "more channels": (
        lambda w: models.build("small_cnn", (3, 8, 8), 3, {"width": 16}).state_dict(),
        r"has shape \(16, 3, 3, 3\).* needs \(16, 1, 3, 3\)",
    ),
    "NaN": (
        lambda w: {**w, "classifier.bias": torch.tensor([0.0, torch.nan, 0.0])},
        "holds NaN or infinity",
    ),
    "infinity": (
        lambda w: {**w, "classifier.bias": torch.tensor([0.0, -torch.inf, 0.0])},
        "holds NaN or infinity",
    ),
    "nothing": (lambda w: {}, "is no state dict of small_cnn: it lacks"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_dict_that_does_not_fit_is_refused(weights, arrays, tmp_path, damage):
    spoil, says = DAMAGES[damage]
    check_refused(
        arrays, tmp_path, says, teacher=save(spoil(weights), tmp_path / "teacher.safetensors")
    )


def write_pickle(path):
    """A pickle that makes a file when it is loaded."""

    class Trap:
        def __reduce__(self):
            return Path.touch, (path.with_name("sprung"),)

    torch.save({"classifier.bias": Trap()}, path)


@pytest.mark.parametrize("name", ["teacher.safetensors", "teacher.pt", "teacher.pth"])
def test_a_pickle_is_never_loaded(arrays, tmp_path, name):
    write_pickle(tmp_path / name)
    check_refused(
        arrays, tmp_path, "is a pickle .*never loaded; convert it", teacher=tmp_path / name
    )
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kept", [0, 7, 200, -50])
def test_a_truncated_file_is_refused(teachers, weights, arrays, tmp_path, kept):
    path = save(weights, tmp_path / "teacher.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    check_refused(arrays, tmp_path, "is truncated or no safetensors file", teacher=path)
    path.write_bytes(teachers.family.folder(teachers.lineage[0].id).weights.read_bytes()[:kept])
    check_refused(arrays, tmp_path, "is truncated or no safetensors file", teacher=path)


def test_a_familys_network_with_other_classes_or_inputs_is_refused(teachers, arrays, tmp_path):
    pictures, labels = arrays
    network = teachers.family.folder(teachers.lineage[0].id)
    for given in (network.weights, network.path):
        two = pictures[labels < 2], labels[labels < 2]
        check_refused(two, tmp_path, "knows 3 classes, the data has 2", teacher=given)
        larger = np.pad(pictures, ((0, 0), (1, 1), (1, 1))), labels
        says = r"takes inputs \(1, 8, 8\), the data has \(1, 10, 10\)"
        check_refused(larger, tmp_path, says, teacher=given)


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        ("FAMILY:zzz", "no network with an id that starts with 'zzz'; ids there: "),
        ("FAMILY:", "with an id that starts with ''"),
        ("FAMILY", "is no file and no network of a family"),
        ("nowhere.safetensors", "is no file and no network of a family"),
        ("nowhere:abc", "is no file and no network of a family"),
        ("empty:abc", "is no family"),
        ("empty", "is no file and no network of a family"),
    ],
)
def test_a_teacher_that_is_not_there_is_refused(
    teachers, arrays, tmp_path, monkeypatch, teacher, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    check_refused(
        arrays, tmp_path, says, teacher=teacher.replace("FAMILY", str(teachers.family.path))
    )


def copy_of(teachers, tmp_path):
    path = Path(shutil.copytree(teachers.family.path, tmp_path / "copy"))
    return Family.open(path).folder(teachers.lineage[0].id)


def test_a_network_that_is_not_finished_does_not_teach(teachers, arrays, tmp_path):
    folder = copy_of(teachers, tmp_path)
    folder.done_file.unlink()
    check_refused(arrays, tmp_path, "is not trained to its end; finish it", teacher=folder.path)


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "outputs.safetensors", "metrics.jsonl", "spec.json"]
)
def test_a_network_that_has_changed_does_not_teach(teachers, arrays, tmp_path, name):
    folder = copy_of(teachers, tmp_path)
    content = (folder.path / name).read_bytes()
    (folder.path / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    check_refused(
        arrays,
        tmp_path,
        f"{name}: has changed since it was written.*restore it",
        teacher=folder.path,
    )


def test_a_family_of_a_newer_anew_does_not_teach(teachers, arrays, tmp_path):
    folder = copy_of(teachers, tmp_path)
    (tmp_path / "copy" / "family.json").write_text(json.dumps({"format": 99}))
    check_refused(arrays, tmp_path, "was written by a newer anew", teacher=folder.path)


@pytest.mark.parametrize("named", ["its folder", "its weights"])
def test_a_network_of_a_family_brings_its_own_architecture(teachers, arrays, tmp_path, named):
    given = NAMED[named](teachers.family.folder(teachers.lineage[0].id))
    says = "brings its own architecture; drop --teacher-model"
    check_refused(arrays, tmp_path, says, teacher=given, teacher_model="mlp")


@pytest.mark.parametrize("teacher", ["nowhere:abc", ""])
def test_a_refused_teacher_leaves_no_folder(arrays, tmp_path, teacher):
    check_refused(arrays, tmp_path, "is no file and no network of a family", teacher=teacher)
    assert not (tmp_path / "new").exists()
