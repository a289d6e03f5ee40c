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
from anew.core.spec import DataSpec
from anew.data import from_arrays, prepare
from anew.evaluation import predict
from anew.evaluation.ensemble import Ensemble
from anew.family import Family
from anew.models import matching

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


def test_a_folder_that_says_how_its_pictures_are_normalised_is_asked_so(
    weights, arrays, tmp_path, capsys
):
    folder = tmp_path / "hf"
    folder.mkdir()
    plain = train(arrays, tmp_path / "plain", teacher=save(weights, folder / "model.safetensors"))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5], "image_std": [0.25], "rescale_factor": 1 / 255})
    )
    result = train(arrays, tmp_path / "new", teacher=folder, progress=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "mean 0.5 and deviation 0.25 for pictures in 0..1" in said
    assert result.lineage[0].id != plain.lineage[0].id

    data = prepare(from_arrays(arrays), DataSpec())
    model = models.build("small_cnn", (1, 8, 8), 3, {"width": 16})
    model.load_state_dict(weights)
    with torch.no_grad():
        expected = model.eval()(
            (data.validation.show(slice(0, None)).double() / 255 - 0.5).div(0.25).float()
        )
    stored = files.read_tensors(result.family.folder(result.lineage[0].id).outputs)[0]
    torch.testing.assert_close(stored["validation.last"], expected, rtol=1e-4, atol=1e-4)

    # What the data are normalised by anyway changes nothing, its id included.
    mean, std = (one[0] / 255 for one in (data.signature.mean, data.signature.std))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [mean], "image_std": [std]})
    )
    assert train(arrays, tmp_path / "same", teacher=folder).lineage == plain.lineage


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


# Classes in another order, and of other names

NAMES = ("ant", "b2", "b10")


def of_names(arrays, names):
    """The same pictures, with classes in the order of `names`: ant is always the first digit."""
    pictures, labels = arrays
    return anew.data.from_arrays(
        (pictures, np.array([names.index(NAMES[label]) for label in labels])), classes=names
    )


@pytest.fixture(scope="module")
def named_teacher(arrays, tmp_path_factory):
    result = train(of_names(arrays, NAMES), tmp_path_factory.mktemp("named") / "t", generations=0)
    return result, result.family.folder(result.lineage[0].id).weights


def test_a_teachers_classes_are_put_in_the_datas_order(named_teacher, arrays, tmp_path, capsys):
    taught, weights = named_teacher
    order = ("ant", "b10", "b2")
    data = of_names(arrays, order)
    result = train(data, tmp_path / "new", teacher=weights, progress=True)
    said = capsys.readouterr().err
    assert "has the data's classes in another order" in said and "(2 of 3 classes moved)" in said

    # The brought network is the same one with its columns exchanged, also once it is read again.
    brought, own = result.network(0), taught.network(0)
    assert brought.columns == (0, 2, 1) and brought.signature.classes == order
    inputs = data.train.show(slice(0, 20))
    assert torch.equal(brought(inputs), own(inputs)[:, [0, 2, 1]])
    assert result.scores[0].scores.error <= taught.scores[0].scores.error + 10
    assert result.lineage[0].weights != files.sha256(weights)

    # And it teaches others from there.
    place = f"{result.family.path}:{result.lineage[0].id}"
    again = train(data, tmp_path / "again", teacher=place)
    assert equal(student(again), student(result))
    back = train(
        of_names(arrays, NAMES),
        tmp_path / "back",
        generations=1,
        teacher=result.family.folder(result.lineage[0].id).weights,
    )
    assert back.network(0).columns == ()
    assert torch.equal(back.network(0)(inputs), own(inputs))


def test_an_ensemble_puts_its_members_in_one_order(named_teacher, arrays):
    taught, _ = named_teacher
    one = taught.network(0)
    other = matching.in_order(one, ("b10", "ant", "b2"), "a network")
    assert other.columns == (2, 0, 1)
    inputs = torch.from_numpy(arrays[0][:5, None])
    torch.testing.assert_close(Ensemble([one, other])(inputs), one(inputs).double().log_softmax(-1))
    assert matching.in_order(other, NAMES, "a network").columns == ()


def test_a_network_that_is_brought_keeps_its_mode(named_teacher, arrays):
    """Else a teacher that was only asked in other units would be in training mode afterwards."""
    network = named_teacher[0].network(0)
    given = matching.normalising(network, (0.0,), (1.0,)), matching.in_units(network, "unit", "")
    examples = anew.data.from_arrays(arrays).train
    for other in (*given, matching.in_order(network, ("b10", "ant", "b2"), "")):
        assert not other.training
        predict(other, examples, torch.device("cpu"))
        assert not any(module.training for module in network.modules())
    assert matching.named(network.train(), ("x", "y", "z")).training


def test_classes_that_only_have_numbers_are_taken_in_order(named_teacher, arrays, tmp_path, capsys):
    taught, weights = named_teacher
    result = train(arrays, tmp_path / "new", teacher=weights, progress=True)
    said = capsys.readouterr().err
    assert "the data's classes have only numbers as names, so they are matched by position" in said
    assert result.network(0).signature.classes == ("0", "1", "2")
    assert result.lineage[0].weights == files.sha256(weights)
    assert result.scores[0].scores == taught.scores[0].scores


def test_classes_of_other_names_are_refused_and_force_takes_them_in_order(
    named_teacher, arrays, tmp_path
):
    _, weights = named_teacher
    pictures, labels = arrays
    other = anew.data.from_arrays((pictures, labels), classes=("ant", "bee", "cat"))
    says = "knows 'b2' and 'b10' and does not know 'bee' and 'cat'; rename .*--force"
    check_refused(other, tmp_path, says, teacher=weights)
    forced = train(other, tmp_path / "new", teacher=weights, force=True)
    assert forced.network(0).signature.classes == ("ant", "bee", "cat")


def test_parts_of_a_teacher_of_another_order_are_not_copied(named_teacher, arrays, tmp_path):
    _, weights = named_teacher
    with pytest.raises(AnewError, match=r"in another order.*cannot be copied; drop --frozen"):
        train(
            of_names(arrays, ("ant", "b10", "b2")),
            tmp_path / "new",
            teacher=weights,
            frozen=["classifier"],
        )


@pytest.mark.parametrize("columns", [[0, 0, 1], [0, 1], [0, 1, 3], "abc", [None]])
def test_a_file_with_columns_that_are_no_order_is_refused(named_teacher, arrays, tmp_path, columns):
    tensors, header = files.read_tensors(named_teacher[1])
    path = tmp_path / "wrong.safetensors"
    files.write_tensors(path, tensors, {**header, "columns": columns})
    check_refused(arrays, tmp_path, "its header is damaged", teacher=path)


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
        "lacks 'classifier.bias'; it has no classifier of small_cnn",
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
    "infinity in another precision": (
        lambda w: {**w, "classifier.bias": torch.full((3,), 1e300, dtype=torch.float64)},
        "holds NaN or infinity",
    ),
    "whole numbers": (
        lambda w: {**w, "classifier.bias": torch.zeros(3, dtype=torch.int64)},
        "tensor 'classifier.bias' holds numbers of type int64, but .* needs float32",
    ),
    "complex numbers": (
        lambda w: {**w, "classifier.bias": torch.zeros(3, dtype=torch.complex64)},
        "tensor 'classifier.bias' holds numbers of type complex64, but .* needs float32",
    ),
    "numbers of eight bits": (
        lambda w: {**w, "classifier.bias": torch.zeros(3).to(torch.float8_e4m3fn)},
        "tensor 'classifier.bias' holds numbers of type float8_e4m3fn",
    ),
    "nothing": (lambda w: {}, "holds no weights"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_dict_that_does_not_fit_is_refused(weights, arrays, tmp_path, damage):
    spoil, says = DAMAGES[damage]
    check_refused(
        arrays, tmp_path, says, teacher=save(spoil(weights), tmp_path / "teacher.safetensors")
    )


def test_a_state_dict_of_half_precision_teaches(weights, arrays, tmp_path):
    halved = {name: tensor.half() for name, tensor in weights.items()}
    path = save(halved, tmp_path / "half.safetensors")
    brought = train(arrays, tmp_path / "new", teacher=path).network(0).model.state_dict()
    for name, tensor in weights.items():
        assert brought[name].dtype == tensor.dtype
        torch.testing.assert_close(brought[name], halved[name].to(tensor.dtype), rtol=0, atol=0)


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
        arrays, tmp_path, "holds the Python name 'getattr'.*whoever made", teacher=tmp_path / name
    )
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kept", [0, 7, 200, -50])
def test_a_truncated_file_is_refused(teachers, weights, arrays, tmp_path, kept):
    path = save(weights, tmp_path / "teacher.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    check_refused(arrays, tmp_path, "is truncated or no safetensors file|is empty", teacher=path)
    path.write_bytes(teachers.family.folder(teachers.lineage[0].id).weights.read_bytes()[:kept])
    check_refused(arrays, tmp_path, "is truncated or no safetensors file|is empty", teacher=path)


def test_a_familys_network_with_other_classes_or_inputs_is_refused(teachers, arrays, tmp_path):
    pictures, labels = arrays
    network = teachers.family.folder(teachers.lineage[0].id)
    for given in (network.weights, network.path):
        two = pictures[labels < 2], labels[labels < 2]
        check_refused(two, tmp_path, "has 3 classes, the data have 2", teacher=given)
        larger = np.pad(pictures, ((0, 0), (1, 1), (1, 1))), labels
        says = r"takes inputs \(1, 8, 8\), the data have \(1, 10, 10\)"
        check_refused(larger, tmp_path, says, teacher=given)


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        ("FAMILY:zzz", "no network with an id that starts with 'zzz'; ids there: "),
        ("FAMILY:", "with an id that starts with ''"),
        ("nowhere.safetensors", "is no file and no network of a family"),
        ("nowhere:abc", "is no file and no network of a family"),
        ("empty:abc", "is no family"),
        ("empty", "is no file and no network of a family"),
        ("plain.safetensors:", "is no file and no network of a family"),
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
    check_refused(arrays, tmp_path, "is not finished; finish it", teacher=folder.path)


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
