"""Sources: every kind reads real files to the same tensors, and refuses damaged or unsound ones in
one line.
"""

import gzip
import io
import itertools
import json
import os
import pickle
import struct
import zipfile
from typing import ClassVar

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from anew import AnewError
from anew.data import from_arrays, from_dataset, load
from anew.data.storage import Storage

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 6, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) // 4  # sorted by class, as folders are
NAMES = ("ant", "bee", "cat")


def same(inputs, expected):
    """Whether examples' inputs (N, C, H, W) are the pictures (N, H, W) or (N, H, W, C)."""
    expected = torch.from_numpy(expected if expected.ndim == 4 else expected[..., None])
    return inputs.dtype == torch.uint8 and torch.equal(inputs.permute(0, 2, 3, 1), expected)


def one_line(call, *words):
    """The one line with which a call is refused; it holds all the words."""
    with pytest.raises(AnewError) as refusal:
        call()
    line = str(refusal.value)
    assert "\n" not in line
    assert ";" in line or "(did you mean" in line, f"names no fix: {line}"
    for word in words:
        assert str(word) in line
    return line


# --- digits


def test_digits_are_scikit_learns_scaled_to_bytes():
    from sklearn.datasets import load_digits

    source = load("digits")
    pictures, labels = load_digits(return_X_y=True)
    assert source.train.inputs.shape == (1797, 1, 8, 8)
    assert torch.equal(source.train.labels, torch.from_numpy(labels))
    expected = np.rint(pictures.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    assert same(source.train.inputs, expected)
    assert source.test is None
    assert source.classes == tuple("0123456789")
    assert source.views == "none"


# --- IDX


def idx(array):
    return (
        struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


IDX_TRAIN = RNG.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.arange(20) % 10
IDX_TEST = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8), np.arange(5)


def write_idx(place, zipped=False):
    place.mkdir(parents=True, exist_ok=True)
    for prefix, (pictures, labels) in (("train", IDX_TRAIN), ("t10k", IDX_TEST)):
        for name, array in (
            (f"{prefix}-images-idx3-ubyte", pictures),
            (f"{prefix}-labels-idx1-ubyte", labels),
        ):
            content = idx(array)
            (place / f"{name}{'.gz' if zipped else ''}").write_bytes(
                gzip.compress(content) if zipped else content
            )
    return place


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "kind, folder, views",
    [("mnist", "MNIST", "none"), ("fashion-mnist", "FashionMNIST", "crop+flip")],
)
def test_idx_files_are_read_from_torchvisions_place_and_any_other(
    tmp_path, zipped, kind, folder, views
):
    write_idx(tmp_path / "root" / folder / "raw", zipped)
    write_idx(tmp_path / "elsewhere", zipped)
    for source in (load(kind, root=tmp_path / "root"), load(f"{kind}:{tmp_path / 'elsewhere'}")):
        assert same(source.train.inputs, IDX_TRAIN[0])
        assert same(source.test.inputs, IDX_TEST[0])
        assert source.train.labels.tolist() == IDX_TRAIN[1].tolist()
        assert source.test.labels.tolist() == IDX_TEST[1].tolist()
        assert len(source.classes) == 10
        assert source.views == views


def test_torchvision_reads_the_same_idx_files(tmp_path):
    from torchvision.datasets import MNIST

    write_idx(tmp_path / "MNIST" / "raw")
    theirs = MNIST(tmp_path, train=True)
    source = load("mnist", root=tmp_path)
    assert torch.equal(source.train.inputs[:, 0], theirs.data)
    assert torch.equal(source.train.labels, theirs.targets)


@pytest.mark.parametrize(
    "damage, word",
    [
        (lambda content: content[:-1], "bytes, its header promises"),
        (lambda content: content + b"x", "bytes, its header promises"),
        (lambda content: b"\x00\x00\x08\x01" + content[4:], "is no IDX file of 3 axes"),
        (lambda content: b"\x00\x00\x0d\x03" + content[4:], "is no IDX file of 3 axes"),
        (lambda content: b"", "is no IDX file of 3 axes"),
        (lambda content: content[:9], "is no IDX file of 3 axes"),
        (
            lambda content: idx(IDX_TRAIN[0][:-1]),
            "holds 19 pictures, train-labels-idx1-ubyte 20 labels",
        ),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path, damage, word):
    file = write_idx(tmp_path) / "train-images-idx3-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    one_line(lambda: load(f"mnist:{tmp_path}"), file, word, "download")


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:100], lambda content: b"text" + content, lambda content: b""],
)
def test_a_damaged_gzip_is_refused(tmp_path, damage):
    file = write_idx(tmp_path, zipped=True) / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    one_line(lambda: load(f"mnist:{tmp_path}"), file, "download it again")


def test_a_label_that_the_data_set_cannot_have_is_refused(tmp_path):
    file = write_idx(tmp_path) / "t10k-labels-idx1-ubyte"
    file.write_bytes(idx(np.array([0, 1, 2, 3, 10])))
    one_line(
        lambda: load(f"mnist:{tmp_path}"), "mnist", "label 10 is out of range", "10 classes, 0 to 9"
    )


# --- CIFAR

CIFAR = RNG.integers(0, 256, (120, 3072), dtype=np.uint8)


class Python2Pickler(pickle._Pickler):
    """Writes texts as Python 2 did, which wrote CIFAR's own files: strings of bytes."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_text(self, text):
        content = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def pickled(content, protocol):
    if protocol != "Python 2":
        return pickle.dumps(content, protocol=protocol)
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    return stream.getvalue()


def write_cifar(root, which, protocol=2):
    """CIFAR-10 with 20 training pictures in each file and 20 test pictures, or CIFAR-100 with 100
    and 20.
    """
    if which == "cifar10":
        place, names, count = (
            root / "cifar-10-batches-py",
            {"label_names": [f"name {n}" for n in range(10)]},
            10,
        )
        parts = {f"data_batch_{n + 1}": slice(20 * n, 20 * n + 20) for n in range(5)} | {
            "test_batch": slice(100, 120)
        }
        key, meta = "labels", "batches.meta"
    else:
        place, names, count = (
            root / "cifar-100-python",
            {"fine_label_names": [f"name {n}" for n in range(100)]},
            100,
        )
        parts = {"train": slice(0, 100), "test": slice(100, 120)}
        key, meta = "fine_labels", "meta"
    place.mkdir(parents=True)
    for name, part in parts.items():
        labels = [number % count for number in range(part.start, part.stop)]
        content = {
            "batch_label": name,
            "data": CIFAR[part],
            key: labels,
            "filenames": ["a.png"] * len(labels),
        }
        (place / name).write_bytes(pickled(content, protocol))
    (place / meta).write_bytes(pickled(names, protocol))
    return place


@pytest.mark.parametrize(
    "protocol", ["Python 2", 2, pickle.DEFAULT_PROTOCOL, pickle.HIGHEST_PROTOCOL]
)
@pytest.mark.parametrize("which, count", [("cifar10", 10), ("cifar100", 100)])
def test_cifar_files_of_every_protocol_give_the_same_pixels(tmp_path, which, count, protocol):
    place = write_cifar(tmp_path, which, protocol)
    sources = [load(which, root=tmp_path), load(f"{which}:{tmp_path}"), load(f"{which}:{place}")]
    for source in sources:
        assert torch.equal(
            source.train.inputs, torch.from_numpy(CIFAR[:100].reshape(-1, 3, 32, 32))
        )
        assert torch.equal(source.test.inputs, torch.from_numpy(CIFAR[100:].reshape(-1, 3, 32, 32)))
        assert source.train.labels.tolist() == [number % count for number in range(100)]
        assert source.classes == tuple(f"name {number}" for number in range(count))
        assert source.views == "crop+flip"
    assert len({source.fingerprint for source in sources}) == 1


class Malicious:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, protocol):
    mark = tmp_path / "ran"
    file = write_cifar(tmp_path, "cifar10") / "data_batch_2"
    for attack in (
        Malicious(os.system, f"touch {mark}"),
        Malicious(eval, f"open({str(mark)!r}, 'w')"),
        Malicious(getattr, np.ndarray, "tofile"),
        {"data": Malicious(np.load, str(mark))},
    ):
        file.write_bytes(pickle.dumps(attack, protocol=protocol))
        one_line(
            lambda: load("cifar10", root=tmp_path),
            file,
            "was not loaded, since that could run code",
            "download it again",
        )
    assert not mark.exists()


def test_a_pickle_may_decode_no_other_encoding(tmp_path):
    file = write_cifar(tmp_path, "cifar10") / "data_batch_2"
    file.write_bytes(b"c_codecs\nencode\n(Vx\nVrot13\ntR.")
    one_line(lambda: load("cifar10", root=tmp_path), file, "could run code")


@pytest.mark.parametrize(
    "content, word",
    [
        (pickle.dumps({"data": CIFAR[:20], "labels": list(range(20))}, 2)[:-100], "is damaged"),
        (b"", "is damaged"),
        (b"a text\n", "is damaged"),
        (pickle.dumps([1, 2], 2), "has no entry 'data'"),
        (pickle.dumps({"data": CIFAR[:20]}, 2), "has no entry 'labels'"),
        (
            pickle.dumps({"data": CIFAR[:20, :9], "labels": list(range(20))}, 2),
            "holds no rows of 3072 bytes",
        ),
        (
            pickle.dumps({"data": CIFAR[:20] / 255, "labels": list(range(20))}, 2),
            "holds no rows of 3072 bytes",
        ),
        (
            pickle.dumps({"data": CIFAR[:20], "labels": list(range(19))}, 2),
            "no whole-number label for each picture",
        ),
        (
            pickle.dumps({"data": CIFAR[:20], "labels": ["x"] * 20}, 2),
            "no whole-number label for each picture",
        ),
        (
            pickle.dumps({"data": CIFAR[:20], "labels": [0.5] * 20}, 2),
            "no whole-number label for each picture",
        ),
    ],
)
def test_a_damaged_cifar_file_is_refused(tmp_path, content, word):
    file = write_cifar(tmp_path, "cifar10") / "data_batch_3"
    file.write_bytes(content)
    one_line(lambda: load("cifar10", root=tmp_path), file, word, "download it again")


@pytest.mark.parametrize("kind", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_files_that_are_not_there_are_asked_for_by_name(tmp_path, kind):
    first = {"cifar10": "data_batch_1", "cifar100": "train"}.get(kind, "train-images-idx3-ubyte")
    one_line(
        lambda: load(kind, root=tmp_path), kind, tmp_path, first, "--data.root", "--data.download"
    )


def test_one_missing_cifar_file_is_enough(tmp_path):
    (write_cifar(tmp_path, "cifar10") / "data_batch_4").unlink()
    one_line(lambda: load("cifar10", root=tmp_path), "data_batch_4", "--data.root")


# --- folders of pictures


def write_folder(place, pictures=GREY, labels=LABELS, names=NAMES, suffix=".png"):
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        (place / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / names[label] / f"{number:03d}{suffix}")
    return place


@pytest.mark.parametrize("pictures", [GREY, COLOUR])
@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".ppm"])
def test_a_folder_of_pictures_gives_their_pixels(tmp_path, pictures, suffix):
    source = load(f"folder:{write_folder(tmp_path, pictures, suffix=suffix)}")
    assert same(source.train.inputs, pictures)
    assert source.train.labels.tolist() == LABELS.tolist()
    assert source.classes == NAMES
    assert source.test is None
    assert source.views == "crop+flip"


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_pictures_that_lose_detail_are_decoded_as_pil_does(tmp_path, suffix):
    write_folder(tmp_path, COLOUR, suffix=suffix)
    expected = np.stack(
        [np.asarray(Image.open(file)) for file in sorted(tmp_path.rglob(f"*{suffix}"))]
    )
    assert same(load(f"folder:{tmp_path}").train.inputs, expected)


def test_a_folder_with_train_and_test_has_a_test_set(tmp_path):
    write_folder(tmp_path / "train", COLOUR)
    write_folder(tmp_path / "test", COLOUR[4:9], LABELS[4:9])  # classes 1 and 2 alone
    source = load(f"folder:{tmp_path}")
    assert same(source.train.inputs, COLOUR)
    assert same(source.test.inputs, COLOUR[4:9])
    assert source.test.labels.tolist() == [1, 1, 1, 1, 2]


def test_grey_pictures_among_coloured_ones_become_coloured(tmp_path):
    write_folder(tmp_path / "train", [*GREY[:5], *COLOUR[5:]])
    write_folder(tmp_path / "test", GREY)
    source = load(f"folder:{tmp_path}")
    assert same(
        source.train.inputs,
        np.concatenate([np.repeat(GREY[:5, :, :, None], 3, axis=3), COLOUR[5:]]),
    )
    assert source.test.inputs.shape == (12, 3, 6, 5)


def test_other_files_and_hidden_folders_are_passed_over(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "ant" / "notes.txt").write_text("not a picture")
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / "README").write_text("not a class")
    assert same(load(f"folder:{tmp_path}").train.inputs, GREY)


@pytest.mark.parametrize(
    "mode, channels", [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)]
)
def test_pictures_of_every_mode_are_read_also_where_they_are_as_narrow_as_channels_are_few(
    tmp_path, mode, channels
):
    for name, value in zip("ab", (0, 255), strict=True):
        (tmp_path / name).mkdir()
        picture = Image.new("RGB", (4, 6), (value, value, value))
        picture.convert(mode, palette=Image.Palette.ADAPTIVE, colors=2).save(
            tmp_path / name / "one.png"
        )
    inputs = load(f"folder:{tmp_path}").train.inputs
    assert inputs.shape == (2, channels, 6, 4)
    assert [one.unique().tolist() for one in inputs] == [[0], [255]]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_grey_keeps_all_its_levels_in_the_range_of_eight(tmp_path, suffix):
    values = RNG.integers(0, 2**12, (2, 6, 5), dtype=np.uint16)
    source = load(f"folder:{write_folder(tmp_path, values, [0, 1], suffix=suffix)}")
    found = source.train.inputs[:, 0].numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values.astype(np.float64) * (255 / 65535), rtol=1e-6)
    assert len(np.unique(found)) == len(np.unique(values))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pictures_of_32_bits_a_pixel_are_refused_since_their_range_is_unknown(tmp_path, dtype):
    write_folder(tmp_path, GREY.astype(dtype), suffix=".tif")
    one_line(
        lambda: load(f"folder:{tmp_path}"), tmp_path / "ant" / "000.tif", "save it with 8 or 16"
    )


def truncated_jpeg(place):
    file = place / "bee" / "005.jpg"
    Image.fromarray(COLOUR[0]).save(file)
    file.write_bytes(file.read_bytes()[:-40])
    return file


def text_as_picture(place):
    (place / "bee" / "900.png").write_text("hello")
    return place / "bee" / "900.png"


def another_size(place):
    Image.fromarray(GREY[0, :3]).save(place / "bee" / "900.png")
    return place / "bee" / "900.png"


@pytest.mark.parametrize(
    "spoil, words",
    [
        (truncated_jpeg, ("damaged picture", "--data.skip-damaged")),
        (text_as_picture, ("is not a readable picture", "--data.skip-damaged")),
        (another_size, ("is 5x3 pixels", "than the first (5x6)", "--data.size")),
    ],
)
def test_an_unsound_picture_folder_is_refused_by_the_files_name(tmp_path, spoil, words):
    file = spoil(write_folder(tmp_path))
    one_line(lambda: load(f"folder:{tmp_path}"), file, *words)


def test_folders_without_classes_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "single", GREY[:3], [0, 0, 0])
    one_line(lambda: load(f"folder:{tmp_path / 'missing'}"), tmp_path / "missing", "check the path")
    one_line(lambda: load(f"folder:{tmp_path / 'file'}"), tmp_path / "file", "is no folder")
    one_line(
        lambda: load(f"folder:{tmp_path / 'empty'}"),
        tmp_path / "empty",
        "holds no class folders",
        "one folder for each class",
    )
    one_line(
        lambda: load(f"folder:{tmp_path / 'single'}"),
        tmp_path / "single",
        "lie in one folder",
        "at least 2",
    )


def test_test_classes_that_train_lacks_are_refused(tmp_path):
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "test", GREY, LABELS, ("ant", "bees", "cat"))
    one_line(
        lambda: load(f"folder:{tmp_path}"),
        "'bees'",
        "did you mean 'bee'?",
        "or give it training examples",
        tmp_path / "test" / "bees",
    )


# --- Parquet


def png(picture):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def write_parquet(
    file, pictures=COLOUR, labels=LABELS, names=NAMES, image="image", label="label", as_struct=True
):
    """A Parquet file as the `datasets` library writes it."""
    contents = [png(one) for one in pictures]
    column = [{"bytes": one, "path": None} for one in contents] if as_struct else contents
    table = pyarrow.table({image: column, label: list(map(int, labels))})
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    file.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(table, file)
    return file


@pytest.mark.parametrize("image, label", [("image", "label"), ("img", "fine_label")])
@pytest.mark.parametrize("as_struct", [True, False])
def test_parquet_files_as_hugging_face_writes_them_are_read(tmp_path, image, label, as_struct):
    options = {"image": image, "label": label, "as_struct": as_struct}
    write_parquet(tmp_path / "train-00000-of-00002.parquet", COLOUR[:7], LABELS[:7], **options)
    write_parquet(tmp_path / "train-00001-of-00002.parquet", COLOUR[7:], LABELS[7:], **options)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", COLOUR[3:6], LABELS[3:6], **options)
    source = load(f"parquet:{tmp_path}")
    assert same(source.train.inputs, COLOUR)
    assert same(source.test.inputs, COLOUR[3:6])
    assert source.train.labels.tolist() == LABELS.tolist()
    assert source.test.labels.tolist() == LABELS[3:6].tolist()
    assert source.classes == NAMES
    assert source.views == "crop+flip"


def test_parquet_without_metadata_numbers_its_classes(tmp_path):
    write_parquet(tmp_path / "train.parquet", names=None)
    source = load(f"parquet:{tmp_path}")
    assert source.classes == ("0", "1", "2")
    assert source.test is None


def write_rows(file, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), file)


@pytest.mark.parametrize(
    "write, words",
    [
        (
            lambda file: file.write_text("two\nlines"),
            ("cannot be read as Parquet", "download it again"),
        ),
        (
            lambda file: write_rows(file, label=[0, 1]),
            ("has no column 'image' (its columns: label)", "--data.image-column"),
        ),
        (
            lambda file: write_rows(file, image=[b"x"]),
            ("has no column 'label' (its columns: image)", "--data.label-column"),
        ),
        (
            lambda file: write_rows(file, image=["a.png"], label=[0]),
            ("row 0", "no bytes of a picture"),
        ),
        (
            lambda file: write_rows(file, image=[{"bytes": None, "path": "a"}], label=[0]),
            ("row 0", "holds no picture"),
        ),
        (
            lambda file: write_rows(file, image=[png(GREY[0]), b"x"], label=[0, 1]),
            ("row 1", "is not a readable picture"),
        ),
        (
            lambda file: write_rows(file, image=[png(one) for one in GREY[:2]], label=["a", None]),
            ("must hold whole numbers of classes, or their names",),
        ),
        (
            lambda file: write_rows(file, image=[png(GREY[0])], label=[0.0]),
            ("must hold whole numbers", "astype('int64')"),
        ),
        (
            lambda file: write_rows(file, image=[png(one) for one in GREY[:2]], label=[0, None]),
            ("must hold whole numbers",),
        ),
        (lambda file: write_parquet(file, [], []), ("has no rows", "download it again")),
        (lambda file: write_parquet(file, labels=LABELS - 1), ("label -1 is negative",)),
        (
            lambda file: write_parquet(file, labels=LABELS + 1),
            ("label 3 is out of range", "3 classes, 0 to 2"),
        ),
        (
            lambda file: write_parquet(file, labels=LABELS * 0),
            ("class 1 ('bee') has no training example",),
        ),
        (
            lambda file: write_parquet(file, [GREY[0], GREY[1, :3]], [0, 1]),
            ("row 1", "5x3 pixels", "resize"),
        ),
    ],
)
def test_an_unsound_parquet_file_is_refused(tmp_path, write, words):
    write(tmp_path / "train.parquet")
    one_line(lambda: load(f"parquet:{tmp_path}"), tmp_path, *words)


def test_a_folder_without_parquet_files_is_refused(tmp_path):
    one_line(lambda: load(f"parquet:{tmp_path}"), "no train*.parquet", tmp_path, "check the path")


def test_test_files_that_number_the_classes_otherwise_are_refused(tmp_path):
    write_parquet(tmp_path / "train.parquet")
    write_parquet(tmp_path / "test.parquet", names=NAMES[::-1])
    one_line(
        lambda: load(f"parquet:{tmp_path}"), tmp_path, "class names in test*.parquet", "the same"
    )


# --- npz


def test_npz_files_are_read_with_and_without_a_test_set_and_names(tmp_path):
    np.savez(tmp_path / "a.npz", x=GREY, y=LABELS)
    np.savez_compressed(
        tmp_path / "b.npz",
        x_train=COLOUR,
        y_train=LABELS,
        x_test=COLOUR[:3],
        y_test=LABELS[:3],
        classes=NAMES,
    )
    plain, whole = load(f"npz:{tmp_path / 'a.npz'}"), load(f"npz:{tmp_path / 'b.npz'}")
    assert same(plain.train.inputs, GREY)
    assert plain.test is None
    assert plain.classes == ("0", "1", "2")
    assert same(whole.train.inputs, COLOUR)
    assert same(whole.test.inputs, COLOUR[:3])
    assert whole.classes == NAMES
    assert whole.views == "none"


def write_compressed_damaged(file):
    np.savez_compressed(file, x=GREY, y=LABELS)
    content = bytearray(file.read_bytes())
    content[200:220] = bytes(20)
    file.write_bytes(content)


def write_cut(file):
    np.savez(file, x=GREY, y=LABELS)
    file.write_bytes(file.read_bytes()[:300])


@pytest.mark.parametrize(
    "write, words",
    [
        (lambda file: file.write_text("two\nlines"), ("is no whole .npz archive", "numpy.savez")),
        (lambda file: file.write_bytes(b""), ("small.npz: is an empty file; download it again",)),
        (
            lambda file: file.write_bytes(pickle.dumps(GREY)),
            ("is no whole .npz archive", "numpy.savez"),
        ),
        (write_cut, ("is no whole .npz archive", "numpy.savez")),
        (write_compressed_damaged, ("cannot be read as arrays of numbers", "numpy.savez")),
        (
            lambda file: np.savez(file, x=np.array([{}] * 3), y=LABELS[:3]),
            ("holds Python objects",),
        ),
        (lambda file: np.savez(file, x=GREY), ("holds x; it must hold x_train and y_train",)),
        (lambda file: np.savez(file), ("holds no arrays",)),
        (
            lambda file: np.savez(file, x_trian=GREY, y=LABELS),
            ("holds x_trian, y;", "did you mean 'x_train'"),
        ),
        (
            lambda file: np.savez(file, x=GREY, y=LABELS, x_test=GREY),
            ("only one of x_test and y_test; save both",),
        ),
        (
            lambda file: np.savez(file, x=GREY, y=LABELS, classes=NAMES[:2]),
            ("label 2 is out of range",),
        ),
        (
            lambda file: np.savez(file, x=GREY.astype(str), y=LABELS),
            ("holds <U", "not numbers; convert it"),
        ),
    ],
)
def test_an_unsound_npz_file_is_refused(tmp_path, write, words):
    file = tmp_path / "small.npz"
    write(file)
    one_line(lambda: load(f"npz:{file}"), file, *words)


# --- arrays


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint16, np.uint64, ">i4"])
@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,
        lambda x: x[..., None],
        lambda x: x[:, None],
        lambda x: torch.from_numpy(x.astype(np.int64)),
        lambda x: x[:, ::-1][:, ::-1],
        lambda x: np.asfortranarray(x),
    ],
)
def test_grey_arrays_of_every_layout_and_whole_number_type_become_bytes(dtype, layout):
    source = from_arrays((layout(GREY.astype(dtype)), LABELS.astype(dtype)))
    assert same(source.train.inputs, GREY)
    assert source.train.inputs.is_contiguous(memory_format=torch.channels_last)
    assert source.train.labels.dtype == torch.int64


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_may_come_first_or_last(channels):
    pictures = RNG.integers(0, 256, (12, 6, 5, channels), dtype=np.uint8)
    for inputs in (
        pictures,
        pictures.transpose(0, 3, 1, 2),
        torch.from_numpy(pictures).permute(0, 3, 1, 2),
    ):
        source = from_arrays((inputs, LABELS))
        assert same(source.train.inputs, pictures)
        assert source.train.inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "g", torch.bfloat16])
@pytest.mark.parametrize("shape", [(12, 6, 5), (12, 3, 6, 5), (12, 7)])
def test_floating_arrays_become_float32(dtype, shape):
    values = np.round(RNG.standard_normal(shape) * 8) / 4  # exact in every type
    inputs = (
        torch.from_numpy(values).to(dtype)
        if isinstance(dtype, torch.dtype)
        else values.astype(dtype)
    )
    found = from_arrays((inputs, LABELS)).train.inputs
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(values).float().reshape(found.shape))


def test_vectors_of_whole_numbers_become_float32_and_booleans_black_and_white():
    vectors = RNG.integers(-500, 500, (12, 7))
    assert torch.equal(
        from_arrays((vectors, LABELS)).train.inputs, torch.from_numpy(vectors).float()
    )
    assert same(
        from_arrays((GREY > 100, LABELS)).train.inputs, ((GREY > 100) * 255).astype(np.uint8)
    )


def test_labels_may_be_a_column():
    assert from_arrays((GREY, LABELS[:, None])).train.labels.tolist() == LABELS.tolist()


def test_read_only_arrays_are_copied_and_the_users_own_left_alone():
    kept = GREY.copy()
    kept.setflags(write=False)
    source = from_arrays((kept, LABELS))
    source.train.inputs[:] = 0
    assert (kept == GREY).all()


def with_nan(value):
    broken = np.zeros((12, 7), np.float32)
    broken[3, 2] = value
    return broken


@pytest.mark.parametrize(
    "inputs, labels, words",
    [
        (
            with_nan(np.nan),
            LABELS,
            ("input 3 holds NaN or infinity (1 such input)", "correct them, or leave"),
        ),
        (with_nan(-np.inf), LABELS, ("input 3 holds NaN or infinity",)),
        (GREY, LABELS[:-1], ("12 inputs and 11 labels", "one label for each input")),
        (GREY[:0], LABELS[:0], ("holds no examples",)),
        (np.array(3.0), LABELS, ("inputs of shape () are neither pictures", "reshape")),
        (np.zeros(12), LABELS, ("inputs of shape (12,) are neither pictures", "reshape")),
        (np.zeros((12, 1, 2, 3, 4)), LABELS, ("inputs of shape (12, 1, 2, 3, 4)", "reshape")),
        (np.zeros((12, 8, 9, 2)), LABELS, ("is unclear which axis holds the channels",)),
        (np.zeros((12, 3, 8, 3)), LABELS, ("is unclear which axis holds the channels",)),
        (GREY.astype(int) + 1, LABELS, ("must be 0..255, got 1 to 256", "float32")),
        (GREY.astype(int) - 1, LABELS, ("must be 0..255, got -1 to 25", "float32")),
        (np.array([None] * 12), LABELS, ("holds object, not numbers", "convert")),
        (np.array(["a"] * 12), LABELS, ("not numbers", "convert")),
        (torch.zeros(12, 8, 8, dtype=torch.complex64), LABELS, ("torch.complex64", "convert")),
        (GREY, LABELS - 1, ("label -1 is negative", "start at 0")),
        (GREY, LABELS / 2, ("are fractions (0.5, 0.5, ...)", "regression")),
        (GREY, LABELS.astype(float), ("must be whole numbers, got torch.float64", "cast")),
        (GREY, [[0], [0, 1]] * 6, ("have several classes for an example", "multi-label")),
        ([GREY[0], GREY[0][1:]] * 6, LABELS, ("inputs are of several shapes", "in one array")),
        (GREY, np.eye(3)[LABELS], ("labels of shape (12, 3) are one-hot rows", "argmax(1)")),
        (GREY, LABELS * 0, ("has 1 class", "at least 2")),
        (GREY, LABELS * 2, ("class 1 ('1') has no training example", "without gaps")),
        (GREY, LABELS * 2**40, ("label 2199023255552", "without gaps")),
    ],
)
def test_unsound_arrays_are_refused(inputs, labels, words):
    one_line(lambda: from_arrays((inputs, labels), name="my arrays"), "data 'my arrays", *words)


@pytest.mark.parametrize(
    "labels, classes",
    [
        (LABELS, ("0", "1", "2")),
        (LABELS.tolist(), ("0", "1", "2")),
        (LABELS[:, None], ("0", "1", "2")),
        (LABELS + 1, ("1", "2", "3")),
        (torch.from_numpy(LABELS + 1), ("1", "2", "3")),
        (np.array(["ant", "bee", "cat"])[LABELS], ("ant", "bee", "cat")),
        (np.array(["ant", "bee", "cat"], object)[LABELS], ("ant", "bee", "cat")),
        ([("ant", "bee", "cat")[label] for label in LABELS], ("ant", "bee", "cat")),
        (pandas.Categorical(np.array(["ant", "bee", "cat"])[LABELS]), ("ant", "bee", "cat")),
    ],
)
def test_labels_of_arrays_are_what_people_have(labels, classes):
    source = from_arrays((GREY, labels), (GREY[:3], labels[:3]))
    assert source.classes == classes
    assert source.train.labels.tolist() == LABELS.tolist()
    assert source.test.labels.tolist() == LABELS[:3].tolist()


def test_labels_of_yes_and_no_are_the_numbers_1_and_0():
    source = from_arrays((GREY, LABELS > 1))
    assert source.train.labels.tolist() == (LABELS > 1).astype(int).tolist()
    assert source.classes == ("0", "1")


@pytest.mark.parametrize("channels", [2, 5, 13])
def test_square_pictures_may_have_any_number_of_channels(channels):
    pictures = np.random.default_rng(0).integers(0, 256, (12, 8, 8, channels)).astype(np.uint8)
    last = from_arrays((pictures, LABELS)).train.inputs
    first = from_arrays((pictures.transpose(0, 3, 1, 2), LABELS)).train.inputs
    assert last.shape == (12, channels, 8, 8)
    assert np.array_equal(last.numpy(), pictures.transpose(0, 3, 1, 2)) and torch.equal(last, first)


@pytest.mark.parametrize("form", [list, lambda one: np.fromiter(one, object, len(one))])
def test_pictures_may_come_as_a_list(form):
    assert np.array_equal(from_arrays((form(GREY), LABELS)).train.inputs[:, 0].numpy(), GREY)


@pytest.mark.parametrize(
    "test, classes, words",
    [
        (
            (GREY[:3], LABELS[:3] + 3),
            None,
            ("the test set has label 3", "0 to 2", "drop these examples"),
        ),
        ((GREY[:3], LABELS[:3] + 3), NAMES, ("my arrays (test)", "label 3 is out of range")),
        (
            (GREY[:3, 1:], LABELS[:3]),
            None,
            ("test set has inputs (1, 5, 5), training inputs are (1, 6, 5)", "the same"),
        ),
        ((GREY[:0], LABELS[:0]), None, ("my arrays (test)", "holds no examples")),
        (None, NAMES[:2], ("label 2 is out of range", "2 classes, 0 to 1")),
        (None, ["a", "b", "a"], ("two classes have the name 'a'", "a name of its own")),
        (None, [*NAMES, "dog"], ("class 3 ('dog') has no training example",)),
    ],
)
def test_test_sets_and_names_that_do_not_fit_are_refused(test, classes, words):
    one_line(
        lambda: from_arrays((GREY, LABELS), test, classes, "my arrays"), "data 'my arrays", *words
    )


# --- torch data sets


class Pictures(Dataset):
    """Pairs of a PIL picture and a label, as torchvision's data sets give them."""

    classes = NAMES

    def __init__(self, pictures, labels=LABELS, palette=False):
        self.pictures, self.labels, self.palette = pictures, labels, palette

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        picture = Image.fromarray(self.pictures[index])
        return picture.quantize(2) if self.palette else picture, self.labels[index]


@pytest.mark.parametrize("pictures", [GREY, COLOUR])
def test_data_sets_of_pil_pictures_are_read(pictures):
    source = from_dataset(Pictures(pictures), Subset(Pictures(pictures), [3, 5]))
    assert same(source.train.inputs, pictures)
    assert same(source.test.inputs, pictures[[3, 5]])
    assert source.classes == NAMES
    assert (
        source.fingerprint
        == from_arrays((pictures, LABELS), (pictures[[3, 5]], LABELS[[3, 5]]), NAMES).fingerprint
    )


def test_palette_pictures_in_a_data_set_give_colours_not_numbers():
    colours = np.array([[200, 0, 0], [0, 0, 90]], np.uint8)[(GREY > 99).astype(int)]
    assert same(from_dataset(Pictures(colours, palette=True)).train.inputs, colours)


def test_tensor_data_sets_are_read_and_given_names_win():
    vectors = torch.randn(12, 7)
    source = from_dataset(TensorDataset(vectors, torch.from_numpy(LABELS)), classes=NAMES)
    assert torch.equal(source.train.inputs, vectors)
    assert source.classes == NAMES
    assert from_dataset(Pictures(GREY), classes=("x", "y", "z")).classes == ("x", "y", "z")


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


class Dictionaries(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"first": 0, "second": 1}


@pytest.mark.parametrize(
    "dataset",
    [
        Stream(),
        Dictionaries(),
        TensorDataset(torch.randn(12, 7)),
        TensorDataset(torch.randn(0, 7), torch.zeros(0, dtype=torch.long)),
        Pictures(GREY, [None] * 12),
        Pictures(GREY, range(20)),
    ],
)
def test_data_sets_that_give_no_pairs_of_one_size_and_a_whole_number_are_refused(dataset):
    one_line(
        lambda: from_dataset(dataset),
        "data set",
        "map-style, of pairs (picture or tensor, whole-number label)",
    )


# --- names and fingerprints


@pytest.mark.parametrize(
    "source, words",
    [
        ("digts", ("did you mean 'digits'?", "choose one of", "parquet")),
        ("cifar-10", ("did you mean 'cifar10'?",)),
        ("fashionmnist:/x", ("did you mean 'fashion-mnist'?",)),
        ("", ("is not known", "choose one of")),
        ("parquet:", ("names no place", "write parquet:PATH")),
        ("folder", ("names no place", "write folder:PATH")),
        ("npz:", ("names no place", "write npz:PATH")),
        ("npz:/no/such/file.npz", ("nothing at /no/such/file.npz", "check the path")),
        ("parquet:/no/such", ("nothing at /no/such", "check the path")),
    ],
)
def test_names_that_are_no_source_are_refused(source, words):
    one_line(lambda: load(source), f"'{source}'", *words)


@pytest.mark.parametrize("pictures", [GREY, COLOUR])
def test_the_fingerprint_is_of_the_content_whatever_the_files(tmp_path, pictures):
    np.savez(tmp_path / "a.npz", x=pictures, y=LABELS, classes=NAMES)
    write_folder(tmp_path / "folder", pictures)
    write_parquet(tmp_path / "parquet" / "train.parquet", pictures)
    channels_first = torch.from_numpy(pictures.reshape(12, 6, 5, -1).astype(np.int64)).permute(
        0, 3, 1, 2
    )
    sources = [
        load(f"npz:{tmp_path / 'a.npz'}"),
        load(f"folder:{tmp_path / 'folder'}"),
        load(f"parquet:{tmp_path / 'parquet'}"),
        from_arrays((pictures, LABELS), classes=NAMES),
        from_arrays(
            (channels_first, LABELS.astype(np.uint8)), classes=NAMES, name="other", views="flip"
        ),
        from_dataset(Pictures(pictures)),
    ]
    assert len({source.fingerprint for source in sources}) == 1


def test_the_fingerprint_changes_with_a_pixel_a_label_a_name_the_order_the_type_and_the_test_set():
    pixel, label = GREY.copy(), LABELS.copy()
    pixel[7, 2, 2] ^= 1
    label[7] = 0
    train = GREY, LABELS
    sources = [
        from_arrays(train, classes=NAMES),
        from_arrays((pixel, LABELS), classes=NAMES),
        from_arrays((GREY, label), classes=NAMES),
        from_arrays(train, classes=("ant", "bee", "dog")),
        from_arrays((GREY[::-1], LABELS[::-1]), classes=NAMES),
        from_arrays((GREY.astype(np.float32), LABELS), classes=NAMES),
        from_arrays((GREY.transpose(0, 2, 1), LABELS), classes=NAMES),
        from_arrays((GREY.reshape(12, -1), LABELS), classes=NAMES),
        from_arrays(train, (GREY[:2], LABELS[:2]), NAMES),
        from_arrays(train, (pixel[6:8], LABELS[6:8]), NAMES),
    ]
    for one, other in itertools.combinations(sources, 2):
        assert one.fingerprint != other.fingerprint
    assert all(len(one.fingerprint) == 16 and int(one.fingerprint, 16) for one in sources)


def test_a_pinned_fingerprint_keeps_families_readable():
    """Changing how it is taken makes every family of every user refuse its own data."""
    source = from_arrays((np.arange(64, dtype=np.uint8).reshape(4, 4, 4), np.array([0, 1, 0, 1])))
    assert source.fingerprint == "fc28e658042efcba"


# --- what is asked for before it is read, and what is no file


@pytest.fixture
def little_memory(monkeypatch):
    """A machine on which 100 kB of memory are free."""
    monkeypatch.setattr("anew.core.memory.free_bytes", lambda: 1e5)


def test_pictures_that_the_memory_does_not_hold_are_refused_before_they_are_decoded(
    tmp_path, little_memory
):
    place = write_folder(tmp_path / "f", np.zeros((12, 100, 100), np.uint8), [0, 1] * 6)
    held = Storage("memory", workers=0)
    one_line(
        lambda: load(f"folder:{place}", storage=held),
        "take 120 kB of 100 kB of free memory",
        "--storage disk",
    )
    # Told nothing, anew leaves them on the disk.
    assert not hasattr(load(f"folder:{place}").train, "inputs")
    file = write_parquet(
        tmp_path / "p" / "train.parquet", np.zeros((12, 100, 100), np.uint8), [0, 1, 2] * 4
    )
    one_line(lambda: load(f"parquet:{file.parent}", storage=held), "take 120 kB", "--limit")


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    place = write_folder(tmp_path, np.zeros((2, 8, 8), np.uint8), [0, 1])
    Image.new("L", (9000, 9000)).save(place / NAMES[1] / "big.png")
    decoded = []
    monkeypatch.setattr(
        "anew.data.pictures._upright", lambda picture: decoded.append(picture.size) or picture
    )
    one_line(lambda: load(f"folder:{place}"), "big.png is 9000x9000 pixels", "than the first (8x8)")
    assert not decoded


@pytest.mark.parametrize("form", ["EPS", "ICNS", "PCX", "TGA", "SGI"])
def test_pictures_of_other_formats_are_none_whatever_their_name(tmp_path, form):
    place = write_folder(tmp_path, np.zeros((2, 8, 8), np.uint8), [0, 1])
    Image.new("L", (16, 16)).convert("RGB").save(place / NAMES[0] / "000.png", form)
    one_line(lambda: load(f"folder:{place}"), "000.png: is not a readable picture")


def test_an_archive_is_refused_for_its_headers_before_it_is_unpacked(tmp_path, little_memory):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.zeros((20, 100, 100), np.uint8), y=np.arange(20) % 2)
    one_line(lambda: load(f"npz:{path}"), "takes 400 kB of memory, 100 kB are free")
    np.savez_compressed(path, x=np.zeros((20, 100, 100), np.uint8), y=np.zeros((3, 3)))
    one_line(lambda: load(f"npz:{path}"), "20 inputs and 3 labels")

    header = io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": (10**13,)}
    np.lib.format.write_array_header_1_0(header, described)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x.npy", "y.npy"):
            archive.writestr(name, header.getvalue() + bytes(1000))
    one_line(lambda: load(f"npz:{path}"), "x.npy has fewer bytes than it promises")


def test_no_more_of_an_idx_file_is_unpacked_than_its_header_promises(tmp_path, little_memory):
    place = write_idx(tmp_path)
    file = place / "train-images-idx3-ubyte"
    with gzip.open(f"{file}.gz", "wb") as packed:
        packed.write(bytes([0, 0, 8, 3]) + struct.pack(">III", 40, 8, 8) + bytes(1 << 24))
    file.unlink()
    one_line(lambda: load(f"mnist:{place}"), "has more bytes, its header promises 2,560")
    with gzip.open(f"{file}.gz", "wb") as packed:
        packed.write(bytes([0, 0, 8, 3]) + struct.pack(">III", 10**9, 28, 28))
    one_line(lambda: load(f"mnist:{place}"), "takes 1.568 TB of memory, 100 kB are free")


@pytest.mark.parametrize("kind", ["folder", "npz", "parquet", "mnist", "cifar10"])
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path, kind):
    place = tmp_path / "data"
    if kind == "folder":
        pipe = write_folder(place, np.zeros((2, 8, 8), np.uint8), [0, 1]) / NAMES[0] / "x.png"
    elif kind == "npz":
        pipe = place
    elif kind == "parquet":
        pipe = place / "train.parquet"
    elif kind == "mnist":
        pipe = write_idx(place) / "train-images-idx3-ubyte"
    else:
        pipe = place / "batches.meta"
        place.mkdir()
        for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
            (place / name).touch()
    pipe.parent.mkdir(exist_ok=True)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    one_line(lambda: load(f"{kind}:{place}"), f"{pipe}: is no file (a pipe or a device)")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            lambda table: table.append_column("label", table["label"]),
            "has the column 'label' twice",
        ),
        (
            lambda table: table.set_column(
                1, "label", pyarrow.array([2**63] * len(table), pyarrow.uint64())
            ),
            "must hold whole numbers of classes",
        ),
        (
            lambda table: table.replace_schema_metadata(
                {"huggingface": '{"info": {"features": {"label": {"names": 3}}}}'}
            ),
            "its class names are no list",
        ),
    ],
)
def test_parquet_files_whose_columns_or_names_are_none_are_refused(tmp_path, change, word):
    file = write_parquet(tmp_path / "train.parquet")
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(file)), file)
    one_line(lambda: load(f"parquet:{tmp_path}"), "train.parquet: ", word)


def test_class_names_nested_too_deeply_are_none(tmp_path):
    file = write_parquet(tmp_path / "train.parquet")
    table = pyarrow.parquet.read_table(file).replace_schema_metadata({"huggingface": "[" * 100_000})
    pyarrow.parquet.write_table(table, file)
    assert load(f"parquet:{tmp_path}").classes == tuple(map(str, range(len(NAMES))))


# Labels that are no classes

NO_CLASSES = {
    "a regression": (np.array([0.5, 1.25, 3.0]), "as in a regression.*np.digitize"),
    "several targets": (np.array([[0.5, 7.0], [1.25, 2.0], [3.0, 1.0]]), "as in a regression"),
    "several classes": (np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]]), "multi-label.*3 columns of 0"),
    "one-hot rows": (np.eye(3, dtype=int), r"one-hot rows of 3.*argmax\(1\)"),
    "probabilities": (np.full((3, 4), 0.25), "probabilities.*argmax"),
}


@pytest.mark.parametrize("kind", NO_CLASSES)
def test_labels_that_are_no_classes_are_refused_as_what_they_are(kind, tmp_path):
    labels, words = NO_CLASSES[kind]
    pictures = np.zeros((3, 4, 4), np.uint8)
    with pytest.raises(AnewError, match=words) as raised:
        from_arrays((pictures, labels))
    assert "cast them to int64" not in str(raised.value)

    np.savez(tmp_path / "all.npz", x=pictures, y=labels)
    with pytest.raises(AnewError, match=words):
        load(f"npz:{tmp_path / 'all.npz'}")

    class Items(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, number):
            return torch.zeros(1, 4, 4), labels[number]

    with pytest.raises(AnewError, match=words):
        from_dataset(Items())


def test_whole_numbers_that_are_floats_are_to_be_cast():
    with pytest.raises(AnewError, match="cast them to int64"):
        from_arrays((np.zeros((3, 4, 4), np.uint8), np.array([0.0, 1.0, 2.0])))


def test_tables_of_a_regression_or_of_several_labels_are_refused(tmp_path):
    for number in range(3):
        Image.new("L", (4, 4)).save(tmp_path / f"{number}.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n0.png,0.25\n1.png,1.5\n2.png,2\n")
    with pytest.raises(AnewError, match=r"labels\.csv: labels are fractions"):
        load(f"folder:{tmp_path}")
    table.write_text("file,cat,dog,bird\n0.png,1,1,0\n1.png,0,0,1\n2.png,0,0,0\n")
    with pytest.raises(AnewError, match=r"columns cat; dog; bird are labels.*multi-label"):
        load(f"folder:{tmp_path}")
