"""What is said of data that are sound and perhaps not meant so, and files of other kinds."""

import io
import struct
import tarfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from anew.core.errors import AnewError
from anew.data import from_arrays, load
from anew.data.remarks import remarks

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


@pytest.mark.parametrize(
    "classes, groups",
    [
        (("cat", "Cat", "dog"), ["'cat' and 'Cat'"]),
        (("cat", "dog ", "dog"), ["'dog ' and 'dog'"]),
        (("T-shirt", "t shirt", "dog"), ["'T-shirt' and 't shirt'"]),
        (("cat", "cats", "dog"), []),
        (("1", "10", "100"), []),
    ],
)
def test_classes_whose_names_are_nearly_one_are_said(classes, groups):
    said = remarks(from_arrays((PICTURES, LABELS), classes=classes))
    assert len(said) == len(groups)
    for note, group in zip(said, groups, strict=True):
        assert f"differ in case or spaces alone ({group})" in note


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled", "unsup"])
def test_a_class_of_what_has_no_label_is_said(name):
    (note,) = remarks(from_arrays((PICTURES, LABELS), classes=("cat", "dog", name)))
    assert note.startswith(f"'{name}' is a class like the others") and "--unlabelled" in note


@pytest.mark.parametrize("channels, side", [(1, 28), (3, 32), (1, 8)])
def test_vectors_that_may_be_pictures_are_said(channels, side):
    vectors = RNG.integers(0, 256, (30, channels * side * side), dtype=np.uint8)
    (note,) = remarks(from_arrays((vectors, LABELS)))
    assert f"perhaps pictures of {side}x{side} pixels" in note
    assert f"x.reshape(-1, {channels}, {side}, {side})" in note
    assert remarks(from_arrays((vectors[:, 1:], LABELS))) == []
    assert remarks(from_arrays((vectors / 7, LABELS))) == []


FLOATS = (PICTURES / 255).astype(np.float32)


@pytest.mark.parametrize(
    "train, test",
    [
        (PICTURES, FLOATS),
        (FLOATS, PICTURES),
        (FLOATS, PICTURES.astype(np.float32)),
        (PICTURES.astype(np.float32), FLOATS),
        (PICTURES, PICTURES.astype(np.float32)),
        (FLOATS * 2 - 1, FLOATS),
    ],
)
def test_sets_in_other_units_are_refused(train, test):
    with pytest.raises(AnewError, match="the test set has pictures in other units"):
        from_arrays((train, LABELS), (test[:6], LABELS[:6]))
    with pytest.raises(AnewError, match="the validation set has pictures in other units"):
        from_arrays((train, LABELS), validation=(test[:6], LABELS[:6]))


def test_a_dark_test_set_is_in_the_same_units():
    dark = (PICTURES // 8).astype(np.float32)
    assert from_arrays((PICTURES.astype(np.float32), LABELS), (dark, LABELS)).test is not None


def write_npz(place):
    path = place / "a.npz"
    np.savez(path, x=np.moveaxis(PICTURES, 0, -1), y=LABELS)
    return f"npz:{path}"


def write_other(suffix):
    def write(place):
        (place / f"a{suffix}").write_bytes(b"PK\3\4")
        return f"npz:{place / f'a{suffix}'}"

    return write


def write_half_mnist(place):
    header = struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 4)
    (place / "train-images-idx3-ubyte").write_bytes(header + bytes(32))
    (place / "train-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 2) + b"\0\1")
    return f"mnist:{place}"


def write_binary_cifar(place):
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (place / name).write_bytes(bytes(3073))
    return f"cifar10:{place}"


def write_parquet(column):
    def write(place):
        table = pyarrow.table({"image": column, "label": [0, 1]})
        pyarrow.parquet.write_table(table, place / "train.parquet")
        return f"parquet:{place}"

    return write


def write_tar(suffix):
    def write(place):
        with tarfile.open(place / "train.tar", "w") as packed:
            for number in range(30):
                member = tarfile.TarInfo(f"{number:04}.{suffix}")
                packed.addfile(member, io.BytesIO())
        return f"tar:{place}"

    return write


@pytest.mark.parametrize(
    "write, words",
    [
        (write_npz, r"examples on the last axis, as MATLAB has them; give numpy\.moveaxis"),
        (write_other(".npy"), "save the inputs and the labels together"),
        (write_other(".mat"), r"scipy\.io\.loadmat"),
        (write_other(".h5"), "h5py"),
        (write_other(".pt"), r"torch\.load"),
        (write_other(".csv"), "pandas"),
        (lambda place: f"npz:{place}", "is a folder; give the .npz file"),
        (write_half_mnist, "lacks the files t10k-images and t10k-labels"),
        (write_binary_cifar, "binary files for C; give the ones for Python"),
        (write_parquet(["a.png", "b.png"]), "holds a text and no bytes.*give folder:PATH"),
        (write_parquet([[1, 2], [3, 4]]), "holds numbers and no bytes.*give npz:FILE"),
        (write_tar("npy"), r"30 keys without a picture: 0000; 0001; 0002; and 27 more"),
        (write_tar("jpg"), r"30 pictures have no readable label .*0009; and 20 more"),
        (lambda place: f"text:{place}", "classes of texts are not read"),
    ],
)
def test_files_of_other_kinds_are_refused_with_what_to_do(tmp_path, write, words):
    with pytest.raises(AnewError, match=words):
        load(write(tmp_path))


def test_several_texts_without_a_split_are_to_be_made_one(tmp_path):
    for number in range(3):
        (tmp_path / f"book{number}.txt").write_text("a b c")
    with pytest.raises(AnewError, match=r"of 3 files make one \(cat \*\.txt\)"):
        load(f"text:{tmp_path}")
