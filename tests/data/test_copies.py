"""Pictures that occur more than once: what is said of them, against comparing all pairs."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from anew import AnewError, train
from anew.core.callbacks import Callback
from anew.core.spec import DataSpec
from anew.data import from_arrays, open_source, prepare
from anew.data.copies import copies_in_words
from anew.data.loading import prepare_and_log
from anew.data.storage import Storage
from commands import call
from runs import RECIPE

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


def counted_by_pairs(data, count):
    """How many test and validation pictures equal a training picture, and how many training
    pictures have several labels: every picture compared with every other.
    """
    sets = [
        (one.show(slice(None)).numpy(), one.labels.tolist())
        for one in (data.training, data.test, data.validation)
    ]
    (training, labels), *others = sets
    equal = [
        sum(any((one == other).all() for other in training) for one in held) for held, _ in others
    ]
    several = {
        one.tobytes()
        for one, label in zip(training, labels, strict=True)
        for other, second in zip(training, labels, strict=True)
        if (one == other).all() and label != second
    }
    return (*equal, len(several))


def test_copies_of_the_test_and_several_labels_are_said():
    # Rows 0 and 5 come again in the test set, 5 twice; 3 again in training with another label, 7
    # with the same one.
    train_rows, test_rows = [*range(30), 3, 7], [30, 0, 5, 31, 5]
    labels = LABELS[train_rows].copy()
    labels[30] = 0
    source = from_arrays(
        (PICTURES[train_rows], labels), (PICTURES[test_rows], LABELS[test_rows]), classes="abcd"
    )
    assert copies_in_words(source) == [
        "3 of 5 test examples are also in the training set (such as test row 1 = training row 0): "
        "the error rate on them says nothing about new pictures; leave one of each pair out of the "
        "data",
        "1 picture occurs in the training set with more than one label (such as training row 3 "
        "('d') = training row 30 ('a')); correct the labels, or leave the copies out of the data",
    ]

    data = prepare(source, DataSpec(validation=0.0))
    assert counted_by_pairs(data, 5) == (3, 0, 1)
    assert copies_in_words(source, data) == copies_in_words(source)


def test_what_was_read_is_said_before_a_split_is_refused():
    source = replace(from_arrays((PICTURES, LABELS)), notes=("ignored: 3 files",))
    said: list[str] = []
    with pytest.raises(AnewError, match="its content differs"):
        prepare_and_log(source, DataSpec(fingerprint="f" * 16), Storage(log=said.append))
    assert said == ["data: ignored: 3 files"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", [None, 30])
def test_after_a_split_the_sets_are_those_of_the_split(seed, limit):
    rows = RNG.integers(0, 25, 60)
    source = from_arrays((PICTURES[rows], np.arange(60) % 4))
    spec = DataSpec(validation=0.2, test=0.2, seed=seed, limit=limit)
    data = prepare(source, spec)
    test, validation, several = counted_by_pairs(data, 12)
    first, second = copies_in_words(source, data)
    assert first.startswith(
        f"{test} of {len(data.test)} test and {validation} of {len(data.validation)} validation ex"
    )
    assert second.startswith(f"{several} pictures occur in the training set")

    repeated = 60 - len(np.unique(rows))
    assert copies_in_words(source)[0].startswith(f"{repeated} training examples repeat others")


def test_nothing_is_said_of_different_pictures_of_vectors_and_of_several_labels():
    assert copies_in_words(from_arrays((PICTURES, LABELS))) == []
    rows = np.tile(PICTURES.reshape(40, -1)[:4], (10, 1))
    assert copies_in_words(from_arrays((rows, LABELS))) == []


def folder(place, numbers, suffix="png"):
    for number in numbers:
        path = place / "ab"[number % 2] / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PICTURES[number]).save(path)


@pytest.mark.parametrize("size", [None, (4, 4)])
def test_files_are_compared_by_pixels_or_where_they_are_resized_by_their_bytes(tmp_path, size):
    folder(tmp_path / "train", range(20))
    folder(tmp_path / "test", [20, 21, 4, 7])
    folder(tmp_path / "test", [6], "bmp")
    spec = DataSpec(source=f"folder:{tmp_path}", size=size)
    storage = Storage()
    (note,) = copies_in_words(open_source(spec, storage))
    count = 3 if size is None else 2
    assert note.startswith(f"{count} of 5 test examples are also in the training set (such as ")
    assert f"{tmp_path}/test/a/4.png = {tmp_path}/train/a/4.png" in note

    # The second start reads no picture: what was found is kept beside the other facts.
    again = open_source(spec, storage)
    again.train.pictures.digests = None
    again.train.pictures.kept = None
    assert copies_in_words(again) == [note]


def test_both_commands_and_python_say_it_and_training_goes_on(tmp_path):
    rows = [*range(40), 1, 2]
    labels = [*LABELS, 0, LABELS[2]]
    np.savez(tmp_path / "a.npz", x=PICTURES[rows], y=labels, x_test=PICTURES[:3], y_test=LABELS[:3])
    said = "3 of 3 test examples are also in the training set"
    assert f"note: {said}" in call("data", f"npz:{tmp_path / 'a.npz'}").out
    done = call("train", "--data", f"npz:{tmp_path / 'a.npz'}", "--epochs", 1, "--generations", 0)
    assert done.code == 0 and f"data: {said}" in " ".join(done.err.split())

    lines = []

    class Heard(Callback):
        def log(self, text):
            lines.append(text)

    given = (PICTURES[rows], np.array(labels), PICTURES[:3], LABELS[:3])
    train("small_cnn", given, recipe=RECIPE, out=tmp_path / "out", progress=Heard())
    assert any(said in line for line in lines)


def test_one_copy_repeats_and_several_repeat():
    rows = [*range(30), 3]
    source = from_arrays((PICTURES[rows], LABELS[rows]), classes="abcd")
    assert copies_in_words(source)[0].startswith("1 training example repeats others (such as")
