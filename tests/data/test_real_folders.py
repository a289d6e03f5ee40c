"""Folders of pictures as real data sets come: masks, parts of archives, domains, other tables."""

import json

import numpy as np
import pytest
from PIL import Image

from anew.core.errors import AnewError
from anew.data import load

CLASSES = ("ant", "bee", "cat")
RNG = np.random.default_rng(0)


def draw(path, label, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 20, (6, 6, 3), dtype=np.uint8) + np.uint8(80 * label)
    Image.fromarray(pixels).convert(mode).save(path)


def labels_shown(examples):
    """The classes that `draw` painted, found from the pixels."""
    return (examples.show(slice(None)).float().mean((1, 2, 3)) // 80).int().tolist()


def checked(place, counts, classes=CLASSES):
    """Load a folder: its splits have so many examples, each of the class that its pixels show."""
    source = load(f"folder:{place}")
    assert source.classes == classes
    assert [len(one) for one in source.splits] == counts
    for examples in source.splits:
        assert examples.labels.tolist() == labels_shown(examples)
    return source


@pytest.mark.parametrize(
    "picture, mask",
    [
        ("images/{}.png", "masks/{}.png"),
        ("{} (1).png", "{} (1)_mask.png"),
        ("{}.png", "{}_mask_1.png"),
        ("img/{}.png", "mask/{}_mask.png"),
    ],
)
def test_masks_are_no_pictures_of_their_class(tmp_path, picture, mask):
    for label, name in enumerate(CLASSES):
        for number in range(4):
            draw(tmp_path / name / picture.format(number), label)
            draw(tmp_path / name / mask.format(number), 2 - label, "L")
    source = checked(tmp_path, [12])
    assert f"12 masks of other pictures of {tmp_path} are ignored" in source.notes
    assert not any("hold the same folders" in note for note in source.notes)


def test_faces_with_and_without_masks_are_classes(tmp_path):
    for number in range(4):
        for label, name in enumerate(("mask", "no_mask")):
            draw(tmp_path / name / f"{number}.png", label)
        draw(tmp_path / "mask" / f"with_mask_{number}.png", 0)
    source = load(f"folder:{tmp_path}")
    assert source.classes == ("mask", "no_mask") and len(source.train) == 12


@pytest.mark.parametrize("names", ["HAM10000_images_part_{}", "images_00{}/images", "batch{}"])
def test_parts_of_an_archive_are_no_classes_where_a_table_has_them(tmp_path, names):
    rows = ["image_id,dx"]
    for number in range(12):
        draw(tmp_path / names.format(1 + number // 6) / f"ISIC_{number}.png", number % 3)
        rows.append(f"ISIC_{number},{CLASSES[number % 3]}")
    # Without a table the folders are the classes, and that is said.
    source = load(f"folder:{tmp_path}")
    assert any("seem to be the parts of one set" in note for note in source.notes)
    (tmp_path / "HAM10000_metadata.csv").write_text("\n".join(rows))
    checked(tmp_path, [12])


def test_splits_may_hold_their_classes_one_folder_deeper(tmp_path):
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                draw(tmp_path / split / "images" / name / f"{number}.png", label)
    checked(tmp_path, [12, 3, 6])


def test_a_test_set_of_one_class_with_folders_in_it_is_not_opened(tmp_path):
    for label, name in enumerate(CLASSES):
        draw(tmp_path / "train" / name / "0.png", label)
        draw(tmp_path / "train" / name / "1.png", label)
    for folder in ("a", "b"):
        draw(tmp_path / "test" / "bee" / folder / "0.png", 1)
    checked(tmp_path, [6, 2])


def test_domains_with_the_classes_in_them_are_said(tmp_path):
    for domain in ("amazon", "webcam"):
        for label, name in enumerate(CLASSES):
            draw(tmp_path / domain / "images" / name / "0.png", label)
    notes = load(f"folder:{tmp_path}").notes
    assert any("hold the same folders (ant; bee; cat)" in note for note in notes)


def records(between=CLASSES):
    return [(f"{number}.png", between[number % 3]) for number in range(12)]


@pytest.mark.parametrize(
    "content",
    [
        dict(records()),
        [{"label": label, "size": 6, "image": name} for name, label in records()],
        [{"id": int(name[:-4]), "class": label} for name, label in records()],
    ],
)
@pytest.mark.parametrize("padding", ["", "0000"])
def test_tables_may_be_json_and_numbers_may_lack_zeros(tmp_path, content, padding):
    if padding and not isinstance(content, list):
        content = {str(number): label for number, (_, label) in enumerate(records())}
    if padding:
        content = json.loads(json.dumps(content).replace(".png", ""))
    for number in range(12):
        name = f"{number:05}.png" if padding else f"{number}.png"
        draw(tmp_path / "images" / name, number % 3)
    (tmp_path / "labels.json").write_text(json.dumps(content))
    checked(tmp_path, [12])


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[]", '{"images": [], "annotations": []}'])
def test_json_that_lists_no_pictures_changes_nothing(tmp_path, content):
    rows = ["file,label"]
    for name, label in records():
        draw(tmp_path / "images" / name, CLASSES.index(label))
        rows.append(f"{name},{label}")
    (tmp_path / "Entries.csv").write_text("\n".join(rows))
    (tmp_path / "annotations.json").write_text(content)
    checked(tmp_path, [12])


@pytest.mark.parametrize(
    "places, words",
    [
        (
            ["train/{}.1.png", "train/{}.2.png", "test1/3.png"],
            r"outside class folders \(the files' names may say the classes: ant 2; bee 2; cat 2\)",
        ),
        (["{}_1.png", "{}_002.png"], r"names may say the classes: ant 2; bee 2; cat 2"),
        (["train2017/{}1.png", "val2017/{}2.png"], "hold pictures outside class folders"),
        (["images/{}.png", "labels.xlsx"], r"labels\.xlsx is not read: save CSV"),
        (["{}.heic"], "holds no pictures, but 3 .heic; convert them to JPEG"),
        (["x/{}.dcm"], "holds no pictures, but 3 .dcm; convert them to PNG"),
        (["{}.npy"], "holds no pictures, but 3 .npy; save the arrays with numpy.savez"),
        (["train.csv"], "holds no pictures, but 1 .csv; if the tables hold pixels"),
        (["a.mat"], r"1 .mat; read it with scipy\.io\.loadmat"),
    ],
)
def test_folders_that_cannot_be_read_say_what_to_do(tmp_path, places, words):
    for place in places:
        for label, name in enumerate(CLASSES):
            path = tmp_path / place.format(name)
            if path.suffix == ".png":
                draw(path, label)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("x")
    with pytest.raises(AnewError, match=words):
        load(f"folder:{tmp_path}")


def test_a_readme_is_no_table_to_be_corrected(tmp_path):
    for number in range(6):
        draw(tmp_path / "images" / f"{number}.png", 0)
    (tmp_path / "README.txt").write_text("hello, there\nthis, is, it\n")
    with pytest.raises(AnewError, match="lie in one folder, images/, and a classifier needs"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize("line", ["{}/{}.png", "{}/{}", "images/{}/{}.png 3", "./{}\\{}.png"])
@pytest.mark.parametrize("root, lists", [("images", "meta"), ("images", ""), ("", "")])
def test_lists_beside_class_folders_make_the_sets(tmp_path, line, root, lists):
    for label, name in enumerate(CLASSES):
        for number in range(6):
            draw(tmp_path / root / name / f"{number}.png", label)
    places = {"train": range(3), "val": range(3, 4), "test": range(4, 6)}
    (tmp_path / lists).mkdir(exist_ok=True)
    for split, numbers in places.items():
        # In any order: classes are those of the folders.
        lines = [line.format(name, number) for number in numbers for name in CLASSES[::-1]]
        (tmp_path / lists / f"{split}.txt").write_text("\n".join(lines))
    (tmp_path / lists / "classes.txt").write_text("\n".join(CLASSES))
    source = checked(tmp_path, [9, 6, 3])
    assert source.notes[0].startswith("the sets come from ")
    assert source.notes[0].endswith("9 train, 6 test, 3 validation")


def test_lists_that_do_not_fit_are_not_used_and_that_is_said(tmp_path):
    for label, name in enumerate(CLASSES):
        for number in range(4):
            draw(tmp_path / name / f"{number}.png", label)
    (tmp_path / "train.txt").write_text("ant/0.png\nbee/0.png\ncat/9.png")
    (tmp_path / "test.txt").write_text("ant/1.png\nbee/1.png\ncat/1.png")
    source = checked(tmp_path, [12])
    (said,) = [note for note in source.notes if "train.txt" in note]
    assert said == "the list train.txt is not used: 1 of its 3 lines name no picture: cat/9.png"
    (tmp_path / "train.txt").write_text("nothing\nof\npictures")
    checked(tmp_path, [12])


@pytest.mark.parametrize(
    "column, cells",
    [
        ("Usage", ("Training", "PublicTest")),
        ("dataset", ("train", "test")),
        ("SPLIT", ("TRAIN", "TEST")),
    ],
)
def test_a_column_of_any_name_may_say_the_splits(tmp_path, column, cells):
    rows = [f"url,label,{column}"]
    for number, (name, label) in enumerate(records()):
        draw(tmp_path / "images" / name, CLASSES.index(label))
        rows.append(f"https://example.org/{name},{label},{cells[number % 4 == 0]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    checked(tmp_path, [9, 3])


def test_a_column_of_one_set_alone_or_of_other_words_is_none_of_splits(tmp_path):
    rows = ["file,label,source,kind"]
    for number, (name, label) in enumerate(records()):
        draw(tmp_path / "images" / name, CLASSES.index(label))
        rows.append(f"{name},{label},train,{['train', 'street', 'test'][number // 4]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    checked(tmp_path, [12])


def test_gtsrb_is_read_as_it_is(tmp_path):
    for label in range(3):
        for number in range(4):
            draw(tmp_path / f"Final_Training/Images/{label:05}/{number:05}.ppm", label)
        (tmp_path / f"Final_Training/Images/{label:05}/GT-{label:05}.csv").write_text("Filename;a")
    rows = ["Filename;Width;ClassId"]
    for number in range(6):
        draw(tmp_path / f"Final_Test/Images/{number:05}.ppm", number % 3)
        rows.append(f"{number:05}.ppm;6;{number % 3}")
    (tmp_path / "Final_Test/Images/GT-final_test.csv").write_text("\n".join(rows))
    checked(tmp_path, [12, 6], ("00000", "00001", "00002"))


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>not found</html>", "is a web page, not the file itself"),
        (b"nothing known", "is not a readable picture|is no whole .npz|cannot be read as Parquet"),
    ],
)
@pytest.mark.parametrize("source", ["folder:", "npz:a.npz", "parquet:"])
def test_what_lies_in_place_of_a_file_is_said(tmp_path, source, content, words):
    for label, name in enumerate(CLASSES):
        draw(tmp_path / name / "0.png", label)
    for file in ("ant/1.png", "a.npz", "train.parquet"):
        (tmp_path / file).write_bytes(content)
    kind, _, file = source.partition(":")
    with pytest.raises(AnewError, match=words):
        load(f"{kind}:{tmp_path / file}")
