"""Tar files of examples as WebDataset keeps them: what is found, what is refused, what is read."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from anew import AnewError
from anew.core.spec import DataSpec
from anew.data import open_source, prepare
from anew.data.cache import cache_folder
from anew.data.storage import Storage
from anew.data.streamed import Streamed

RNG = np.random.default_rng(0)


def png(number):
    file = io.BytesIO()
    picture = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def write(path, members):
    """Write a tar file; a member is a name with bytes, or a header of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            header = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return path


def examples(first, count, label="cls"):
    """The members of examples with labels 0, 1, 2, 0, ..."""
    for number in range(first, first + count):
        yield f"{number:04}.png", png(number)
        kind = number % 3
        if label == "cls":
            yield f"{number:04}.cls", b"%d\n" % kind
        elif label == "json":
            yield f"{number:04}.json", json.dumps({"label": kind, "width": 8}).encode()
        elif label == "txt":
            yield f"{number:04}.txt", ("ant", "bee", "cat")[kind].encode()


def opened(place, **options):
    return open_source(DataSpec(source=f"tar:{place}", **options), Storage("disk", 0))


def pictures(examples):
    return examples.show(slice(0, len(examples)))


@pytest.fixture
def shards(tmp_path):
    place = tmp_path / "shards"
    for shard in range(3):
        write(place / f"train-{shard:03}.tar", examples(10 * shard, 10))
    write(place / "val-000.tar", examples(30, 6))
    write(place / "test-000.tar", examples(36, 9))
    return place


@pytest.mark.parametrize("label, first", [("cls", "0"), ("json", "0"), ("txt", "ant")])
def test_labels_as_people_keep_them(label, first, tmp_path):
    write(tmp_path / "train.tar", examples(0, 12, label))
    source = opened(tmp_path)
    assert len(source.train) == 12 and source.classes[0] == first
    assert source.train.labels.tolist() == [0, 1, 2] * 4
    expected = np.stack([np.asarray(Image.open(io.BytesIO(png(n)))) for n in range(12)])
    assert np.array_equal(pictures(source.train).permute(0, 2, 3, 1).numpy(), expected)


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/{train,val,test}-*.tar"])
def test_splits_by_the_files_names(shards, pattern):
    source = opened(f"{shards}{pattern}")
    assert [len(one) for one in source.splits] == [30, 9, 6]
    assert torch.equal(pictures(source.validation)[0], pictures(opened(shards).validation)[0])


def test_splits_by_folders_words_and_braces(shards, tmp_path):
    folders = tmp_path / "folders"
    for number, split in enumerate(("train", "valid", "testing")):
        write(folders / split / "0.tar", examples(10 * number, 10))
        write(tmp_path / "words" / f"imagenet-{split}-000.tar", examples(10 * number, 10))
    for place in (folders, tmp_path / "words"):
        assert [len(one) for one in opened(place).splits] == [10, 10, 10]
    some = opened(f"{shards}/train-{{000..001}}.tar")
    assert len(some.train) == 20 and some.test is None
    with pytest.raises(AnewError, match=r"2 of the files are missing: .*train-003.tar"):
        opened(f"{shards}/train-{{000..004}}.tar")
    with pytest.raises(AnewError, match="there is no file"):
        opened(f"{shards}/*.tgz")
    with pytest.raises(AnewError, match="more than 100,000 files"):
        opened(f"{shards}/{{0..999}}-{{0..999}}.tar")


def test_files_of_no_split_are_the_training_set(tmp_path):
    for shard in range(2):
        write(tmp_path / f"{shard:06}.tar", examples(6 * shard, 6))
    source = opened(tmp_path)
    assert len(source.train) == 12 and "used as the training set" in source.notes[0]
    write(tmp_path / "val.tar", examples(20, 6))
    assert [len(one) for one in opened(tmp_path).splits] == [12, 6]


def test_names_of_classes_beside_the_files(shards):
    (shards / "classnames.txt").write_text("ant\nbee\ncat\n")
    assert opened(shards).classes == ("ant", "bee", "cat")
    (shards / "classnames.txt").write_text("ant\nbee\n")
    assert opened(shards).classes == ("0", "1", "2")


def test_the_suffix_and_the_field_that_are_meant(tmp_path):
    members = list(examples(0, 6))
    for number in range(6):
        members.append((f"{number:04}.mask.png", png(100)))
        members.append((f"{number:04}.json", json.dumps({"kind": number % 2}).encode()))
    write(tmp_path / "train.tar", members)
    assert len(opened(tmp_path).classes) == 3
    named = opened(tmp_path, label_column="kind", image_column="mask.png")
    assert named.train.labels.tolist() == [0, 1] * 3
    assert torch.equal(pictures(named.train)[0], pictures(named.train)[5])

    members += [(f"{number:04}.jpg", png(number)) for number in range(6)]
    write(tmp_path / "train.tar", members)
    with pytest.raises(AnewError, match=r"6 keys have more than one picture.*--data.image-column"):
        opened(tmp_path)
    assert len(opened(tmp_path, image_column=".png").train) == 6


@pytest.mark.parametrize(
    "damage, words",
    [
        ("middle", "ends in the middle of"),
        ("end", "it is truncated there"),
        ("header", "is damaged at byte"),
        ("second", "holds more behind its end"),
    ],
)
def test_damaged_files_are_named_and_what_is_whole_can_be_used(shards, damage, words):
    path = shards / "train-001.tar"
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        member = tar.getmember("0015.png")
        end = tar.getmembers()[-1].offset_data + 512
    if damage == "middle":
        content = content[: member.offset_data + 50]
    elif damage == "end":
        content = content[:end]
    elif damage == "header":
        content = content[: member.offset] + b"\xff" * 512 + content[member.offset_data :]
    else:
        content += content
    path.write_bytes(content)
    with pytest.raises(AnewError, match=rf"1 of 5 tar files are damaged: .*{words}.*skip-damaged"):
        opened(shards)

    lenient = opened(shards, skip_damaged=True)
    left = 30 if damage in ("end", "second") else 25
    assert len(lenient.train) == left
    assert any("only the intact examples are used" in note for note in lenient.notes)


def test_a_picture_without_its_label_behind_a_cut_is_none(shards):
    path = shards / "train-001.tar"
    with tarfile.open(path) as tar:
        cut = tar.getmember("0015.cls").offset
    path.write_bytes(path.read_bytes()[:cut])
    lenient = opened(shards, skip_damaged=True)
    assert len(lenient.train) == 25
    assert any("1 pictures without a label" in note for note in lenient.notes)


@pytest.mark.parametrize("name", ["train.tar.gz", "train.tar"])
def test_compressed_files_are_refused_with_the_way_to_unpack_them(name, tmp_path):
    whole = write(tmp_path / "whole", examples(0, 3)).read_bytes()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(gzip.compress(whole))
    for place in (tmp_path / "data", tmp_path / "data" / name):
        with pytest.raises(AnewError, match=r"compressed.*gzip -d"):
            opened(place)


def test_what_is_no_tar_file_is_one_line(tmp_path):
    for content in (b"", b"<html>not found</html>" * 100):
        (tmp_path / "train.tar").write_bytes(content)
        with pytest.raises(AnewError, match=r"train.tar: is no tar file"):
            opened(tmp_path)


def test_missing_labels_and_pictures(tmp_path):
    members = [*examples(0, 9), ("lost.png", png(3)), ("bad.png", png(4)), ("bad.json", b"{")]
    members += [("info.json", b"{}"), ("README", b"read me"), ("._0001.png", b"of a Mac")]
    write(tmp_path / "train.tar", members)
    with pytest.raises(
        AnewError, match=r"2 pictures have no readable label .*lost; bad;.*--data.label-c"
    ):
        opened(tmp_path)
    source = opened(tmp_path, skip_damaged=True)
    said = " ".join(source.notes)
    assert len(source.train) == 9 and "train.tar, info" in said and "1 members without" in said

    write(tmp_path / "test.tar", examples(20, 4, label=""))
    assert opened(tmp_path, skip_damaged=True).test is None


def test_a_key_that_is_there_twice(tmp_path):
    write(tmp_path / "train.tar", [*examples(0, 9), *examples(4, 1)])
    with pytest.raises(AnewError, match=r"1 keys have more than one picture: .*0004"):
        opened(tmp_path)
    assert len(opened(tmp_path, skip_damaged=True).train) == 8


def test_names_are_keys_and_never_paths(tmp_path):
    outside = tmp_path / "secret.png"
    outside.write_bytes(png(99))
    link, hard, pipe = (tarfile.TarInfo(f"{name}.png") for name in ("link", "hard", "pipe"))
    link.type, link.linkname = tarfile.SYMTYPE, str(outside)
    hard.type, hard.linkname = tarfile.LNKTYPE, "../secret.png"
    pipe.type = tarfile.FIFOTYPE
    hostile = ["../../x", "/etc/passwd", "a/../b", "tab\tand\x1b[2J", "n\udce9e", "C:\\x"]
    members = [(link, b""), (hard, b""), (pipe, b""), ("link.cls", b"1"), ("hard.cls", b"1")]
    for number, name in enumerate(hostile):
        members += [(f"{name}.png", png(number)), (f"{name}.cls", b"%d" % (number % 2))]
    write(tmp_path / "tars" / "train.tar", members)

    source = opened(tmp_path / "tars")
    expected = np.stack([np.asarray(Image.open(io.BytesIO(png(n)))) for n in range(6)])
    assert np.array_equal(pictures(source.train).permute(0, 2, 3, 1).numpy(), expected)
    assert any("2 links" in note and "1 members of other" in note for note in source.notes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.png", "tars"]


def test_captions_are_no_classes(tmp_path):
    members = [(f"{number}.jpg", png(number)) for number in range(24)]
    members += [(f"{number}.txt", f"a dog number {number}".encode()) for number in range(24)]
    write(tmp_path / "train.tar", members)
    with pytest.raises(AnewError, match=r"24 different labels, like captions"):
        opened(tmp_path)


def test_a_second_start_reads_no_headers(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("ANEW_CACHE", str(tmp_path / "cache"))
    first = opened(shards)
    real = tarfile.open
    monkeypatch.setattr("tarfile.open", None)
    second = opened(shards)
    assert second.fingerprint == first.fingerprint and second.classes == first.classes
    assert torch.equal(pictures(second.train), pictures(first.train))

    monkeypatch.setattr("tarfile.open", real)
    (kept,) = cache_folder().glob("*/*/tar.index")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    assert opened(shards).fingerprint == first.fingerprint
    write(shards / "train-000.tar", examples(50, 10))
    assert opened(shards).fingerprint != first.fingerprint


def test_tar_files_have_the_bits_of_a_folder(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("anew.data.kept.FEW", 0)
    classes = ("ant", "bee", "cat")
    (shards / "classes.txt").write_text("\n".join(classes))
    for split, numbers in (("train", range(30)), ("val", range(30, 36)), ("test", range(36, 45))):
        for number in numbers:
            place = tmp_path / "folder" / split / classes[number % 3]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:04}.png").write_bytes(png(number))
    found = []
    for source in (f"tar:{shards}", f"folder:{tmp_path / 'folder'}"):
        spec = DataSpec(source=source, size=(6,), views="none")
        data = prepare(open_source(spec, Storage("disk", 2, 0.0)), spec)
        assert isinstance(data.training, Streamed)
        order = data.training.labels.argsort(stable=True)
        requests = [(order[at : at + 6], None) for at in range(0, len(order), 6)]
        found.append((torch.cat(list(data.training.stream(requests))), data.mean, data.std))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
