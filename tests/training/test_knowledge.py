"""What stops a student before it learns: evidence that its teacher is at chance, and the cause."""

from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from anew import AnewError
from anew.core import files
from anew.core.callbacks import Callback
from anew.core.spec import DataSpec
from anew.data import from_arrays, prepare
from anew.teachers.teacher import Teacher
from anew.training import checks
from runs import RECIPE, train

LONG = {**RECIPE, "training": {"epochs": 12, "batch_size": 16, "learning_rate": 0.1}}


class Notices(Callback):
    def __init__(self):
        self.said = []

    def log(self, text):
        self.said.append(text)


def uneven(common, rare, seed=0):
    """Grey 8x8 pictures of two classes, dark and bright."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], (common, rare))
    return (
        rng.integers(0, 100, (len(labels), 8, 8), dtype=np.uint8)
        + (labels * 120).astype(np.uint8)[:, None, None],
        labels,
    )


def cells(classes, each):
    """Grey 8x8 pictures, a bright cell at a place of its own for each class."""
    rng = np.random.default_rng(2)
    labels = np.tile(np.arange(classes), each)
    pictures = rng.integers(0, 100, (len(labels), 8, 8), dtype=np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        row, column = divmod(int(label), 3)
        picture[row * 4 : row * 4 + 3, column * 3 : column * 3 + 2] += 150
    return pictures, labels


def knowing(arrays, place):
    """The weights of a network that knows these pictures."""
    result = train(arrays, place, recipe=LONG, generations=0)
    return result, result.family.folder(result.lineage[0].id).weights


def test_a_perfect_teacher_is_never_stopped_by_a_validation_split_of_one_class(tmp_path):
    """150 to 3, as a folder may be: the validation split has the common class alone."""
    teacher, weights = knowing(uneven(60, 60), tmp_path / "teacher")
    assert teacher.scores[0].scores.error == 0
    notices = Notices()
    result = train(
        uneven(150, 3, seed=1), tmp_path / "f", teacher=weights, generations=1, progress=notices
    )
    record = result.family.folder(result.lineage[1].id).done["checks"]
    assert record["measured_on"] == "training" and record["teacher_accuracy"] == 1
    assert record["teacher_balanced_accuracy"] == 1
    assert any("on the training examples (chance 98" in line for line in notices.said)


@pytest.mark.parametrize("count", [12, 20, 40])
def test_a_perfect_teacher_is_never_stopped_by_few_examples(tmp_path, count):
    _, weights = knowing(uneven(60, 60), tmp_path / "teacher")
    for rare in (2, 3, count // 2):
        data = uneven(count - rare, rare, seed=1)
        out = tmp_path / f"{count}-{rare}"
        result = train(data, out, teacher=weights, generations=1)
        assert result.family.folder(result.lineage[1].id).done["checks"]["forced"] is False


def test_few_examples_that_tell_nothing_stop_nothing_and_it_is_said(arrays, tmp_path):
    """One epoch of a rate that moves nothing, and 3 validation examples."""
    recipe = {**RECIPE, "training": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-9}}
    notices = Notices()
    few = arrays[0][:40], arrays[1][:40]
    train(few, tmp_path / "f", recipe=recipe, generations=1, progress=notices)
    assert any(
        "too few examples to tell whether it knows anything" in line for line in notices.said
    )


def test_a_network_that_learned_these_data_has_their_order(tmp_path):
    """Trained on labels that say the opposite, which another order of classes would explain."""
    pictures, labels = cells(2, 60)
    swapped = prepare(from_arrays((pictures, 1 - labels)), DataSpec())
    result, _ = knowing((pictures, labels), tmp_path / "teacher")
    teacher = Teacher.__new__(Teacher)
    teacher.live = SimpleNamespace(networks=[result.network()], weights=())
    device = torch.device("cpu")
    given = checks.knowledge(teacher, swapped, device, given=True)
    own = checks.knowledge(teacher, swapped, device)
    assert given.is_at_chance and "in another order" in given.advice
    assert own.is_at_chance and own.advice == ""


def test_a_teacher_of_another_order_is_stopped_with_the_cause(arrays, tmp_path):
    pictures, labels = arrays
    _, weights = knowing((pictures, (labels + 1) % 3), tmp_path / "teacher")
    with pytest.raises(AnewError, match="it has nothing to teach") as caught:
        train(arrays, tmp_path / "f", teacher=weights, generations=1)
    said = str(caught.value)
    assert "\n" not in said and "--force" in said
    assert "seem to be in another order than the data's: with '0' is '2', '1' is '0'" in said


def test_a_teacher_with_two_classes_exchanged_is_noticed(tmp_path):
    """A third of its answers are wrong, which is not chance: training goes on, and it is said."""
    pictures, labels = cells(6, 40)
    exchanged = np.array([0, 1, 3, 2, 4, 5])[labels]
    taught, weights = knowing((pictures, exchanged), tmp_path / "teacher")
    assert taught.scores[0].scores.error < 10
    notices = Notices()
    train((pictures, labels), tmp_path / "f", teacher=weights, generations=1, progress=notices)
    (line,) = [line for line in notices.said if "another order" in line]
    assert "with '2' is '3', '3' is '2' it gets" in line

    # Of a teacher that was trained here nothing is asked.
    notices = Notices()
    train((pictures, labels), tmp_path / "own", generations=1, progress=notices)
    assert not [line for line in notices.said if "another order" in line]


def test_a_teacher_of_another_normalisation_is_stopped_with_the_cause(tmp_path):
    """A state dict from elsewhere that learned from x / 255 what is bright and what is dark."""
    source = from_arrays(uneven(250, 250))
    given = train(
        source,
        tmp_path / "t",
        recipe={**LONG, "data": {"mean": (0.0,), "std": (1.0,)}},
        generations=0,
    )
    tensors, _ = files.read_tensors(given.family.folder(given.lineage[0].id).weights)
    safetensors.torch.save_file(tensors, tmp_path / "plain.safetensors")
    dark = {**RECIPE, "data": {"mean": (230.0,), "std": (20.0,)}}
    with pytest.raises(AnewError, match="it has nothing to teach") as caught:
        train(
            source,
            tmp_path / "f",
            recipe=dark,
            teacher=tmp_path / "plain.safetensors",
            generations=1,
        )
    assert "with --data.mean 0 --data.std 1: set these" in str(caught.value)


def test_large_sets_are_asked_over_all_their_classes():
    from anew.training import checks

    examples = from_arrays(
        (np.zeros((100, 4, 4), dtype=np.uint8), np.repeat(np.arange(10), 10))
    ).train
    spread = checks._spread(examples, 20)
    assert torch.bincount(spread.labels).tolist() == [2] * 10
    assert checks._spread(examples, 100) is examples
