"""Names of classes in a file beside the data."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from anew.data import load
from commands import call

CODES = ("n01443537", "n01629819", "n02012849", "n03126707")
NAMES = ("goldfish, Carassius auratus", "fire salamander", "crane", "crane")
DISTINCT = (*NAMES[:2], "crane (n02012849)", "crane (n03126707)")


def folders(place, classes):
    for label, name in enumerate(classes):
        for number in range(6):
            (place / name).mkdir(parents=True, exist_ok=True)
            pixels = np.full((6, 6, 3), 10 * label + number, np.uint8)
            Image.fromarray(pixels).save(place / name / f"{number}.png")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


LINES = "\n".join(f"{code} {name}" for code, name in zip(CODES, NAMES, strict=True))


@pytest.mark.parametrize(
    "file, content",
    [
        ("synset_words.txt", LINES),
        ("LOC_synset_mapping.txt", LINES + "\nn09999999 something else"),
        ("words.txt", LINES.replace(" ", "\t", 1).replace("\nn01629819 ", "\nn01629819\t")),
        ("class_names.json", dict(zip(CODES, NAMES, strict=True))),
        (
            "imagenet_class_index.json",
            {str(n): [c, m] for n, (c, m) in enumerate(zip(CODES, NAMES, strict=True))},
        ),
        (
            "classes.csv",
            "wnid,name\n" + "\n".join(f'{c},"{n}"' for c, n in zip(CODES, NAMES, strict=True)),
        ),
    ],
)
def test_codes_have_names(tmp_path, file, content):
    folders(tmp_path, CODES)
    before = load(f"folder:{tmp_path}")
    write(tmp_path / file, content)
    source = load(f"folder:{tmp_path}")
    assert source.classes == DISTINCT
    assert source.train.labels.tolist() == before.train.labels.tolist()
    assert f"class names come from {file}: {'; '.join(DISTINCT[:3])}; and 1 more" in source.notes
    assert not any("are no pictures" in note for note in source.notes)


NUMBERS = [str(number) for number in range(12)]
LETTERS = tuple("abcdefghijkl")
LIST = "\n".join(LETTERS)
PAIRS = {str(number): letter for number, letter in enumerate(LETTERS)}


@pytest.mark.parametrize(
    "file, content",
    [
        ("classes.txt", LIST),
        ("labels.txt", LIST),
        ("meta/class-names.txt", LIST),
        ("batches.meta.txt", LIST),
        ("classes.txt", "\n".join(f"{number}: {letter}" for number, letter in PAIRS.items())),
        ("classes.txt", "\n".join(f"{letter} {number}" for number, letter in PAIRS.items())),
        ("labels.csv", "ClassId,SignName\n" + "\n".join(map(",".join, PAIRS.items()))),
        ("classes.csv", "\n".join(map(",".join, PAIRS.items()))),
        ("label_num_to_disease_map.json", PAIRS),
        ("class_indices.json", {letter: int(number) for number, letter in PAIRS.items()}),
        ("categories.json", [{"id": int(n), "name": letter} for n, letter in PAIRS.items()]),
        ("meta.json", {"classes": list(LETTERS), "size": 32}),
        ("cat_to_name.json", {**PAIRS, "12": "one more"}),
    ],
)
@pytest.mark.parametrize("written", ["{}", "{:05}"])
def test_numbers_have_names_whatever_the_order_of_their_folders(tmp_path, file, content, written):
    folders(tmp_path, [written.format(int(number)) for number in NUMBERS])
    write(tmp_path / file, content)
    source = load(f"folder:{tmp_path}")
    in_order = sorted(NUMBERS) if written == "{}" else NUMBERS
    assert source.classes == tuple(LETTERS[int(number)] for number in in_order)


def test_folders_from_1_take_a_list_from_its_first_name(tmp_path):
    folders(tmp_path, ["1", "2", "3"])
    write(tmp_path / "classes.txt", "a\nb\nc\n")
    assert load(f"folder:{tmp_path}").classes == ("a", "b", "c")


@pytest.mark.parametrize(
    "classes, content, note",
    [
        ("0 1 2", "a\nb", "it has 2 names, and there are 3 classes"),
        ("0 1 2", "a\nb\nb", "some names in it are equal"),
        ("0 1 2", "", "no names can be read from it"),
        ("0 1 5", "a\nb\nc", "it is a list, and the classes are not numbered from 0 or 1"),
        ("0 1 2", "1 a\n2 b\n3 c", "it has no name for 0"),
        ("n1 n2 n3", "a\nb\nc", "it is a list, and the classes are not numbered"),
        ("0 1 2", "0\n1\n2", None),
        ("ant bee cat", "a\nb\nc", None),
    ],
)
def test_names_that_do_not_fit_are_not_used_and_that_is_said(tmp_path, classes, content, note):
    folders(tmp_path, classes.split())
    write(tmp_path / "classes.txt", content)
    source = load(f"folder:{tmp_path}")
    assert source.classes == tuple(classes.split())
    said = [text for text in source.notes if text.startswith("class names")]
    assert len(said) == (note is not None)
    assert note is None or said[0].startswith(f"class names in classes.txt are not used: {note}")


def test_files_that_disagree_are_not_used(tmp_path):
    folders(tmp_path, ["0", "1"])
    write(tmp_path / "classes.txt", "a\nb")
    write(tmp_path / "labels.txt", "a\nc")
    source = load(f"folder:{tmp_path}")
    assert source.classes == ("0", "1")
    assert any(
        "classes.txt; labels.txt are not used: the files disagree" in n for n in source.notes
    )


def test_the_numbers_of_pictures_are_not_those_of_classes(tmp_path):
    folders(tmp_path, ["0", "1", "2"])
    write(tmp_path / "labels.csv", "id,label\n" + "\n".join(f"{n},x{n}" for n in range(18)))
    assert load(f"folder:{tmp_path}").classes == ("0", "1", "2")


def test_tables_arrays_and_parquet_files_take_names_too(tmp_path):
    labels = np.arange(12) % 3
    pictures = np.arange(12 * 36, dtype=np.uint8).reshape(12, 6, 6)
    names = ("ant", "bee", "cat")

    place = tmp_path / "table"
    rows = ["id,label"]
    for number, picture in enumerate(pictures):
        (place / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / "images" / f"{number}.png")
        rows.append(f"{number},{labels[number]}")
    write(place / "labels.csv", "\n".join(rows))
    write(place / "classes.csv", "id,name\n0,ant\n1,bee\n2,cat\n")
    source = load(f"folder:{place}")
    assert source.classes == names and source.train.labels.tolist() == labels.tolist()
    assert not any("classes.csv is ignored" in note for note in source.notes)

    place = tmp_path / "arrays"
    place.mkdir()
    np.savez(place / "a.npz", x=pictures, y=labels)
    write(place / "class_names.json", list(names))
    source = load(f"npz:{place / 'a.npz'}")
    assert source.classes == names and source.train.labels.tolist() == labels.tolist()
    assert "class names come from class_names.json" in call("data", f"npz:{place / 'a.npz'}").out

    place = tmp_path / "rows"
    place.mkdir()
    files = sorted((tmp_path / "table" / "images").iterdir(), key=lambda path: int(path.stem))
    table = {"image": [file.read_bytes() for file in files], "label": labels}
    pyarrow.parquet.write_table(pyarrow.table(table), place / "train.parquet")
    write(place / "labels.txt", "\n".join(names))
    assert load(f"parquet:{place}").classes == names
