"""Splits as people keep them, and tables of labels beside pictures."""

import gzip
import io
import json
import struct

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset

from anew.core.errors import AnewError
from anew.core.spec import DataSpec
from anew.data import Reading, from_dataset, from_datasets, from_hugging_face, load, prepare
from anew.data.sources.encoded_source import NO_TEST
from anew.data.sources.layout_names import split_called, split_of_shard

CLASSES = ("ant", "bee", "cat")


def draw(path, label, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((6, 5, 3), 80 * label, np.uint8)
    pixels[0, 0] = number
    Image.fromarray(pixels).save(path)


def folder(place, each=4, start=0, classes=CLASSES, sub="", suffix=".png"):
    for label, name in enumerate(classes):
        for number in range(start, start + each):
            draw(place / name / sub / f"{number}{suffix}", label, number)
    return place


def numbers(examples):
    """The number that `draw` wrote into each picture."""
    return sorted(examples.show(slice(None))[:, 0, 0, 0].tolist())


@pytest.mark.parametrize(
    "train, validation, test",
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("training_set", "validation_set", "test_set"),
        ("TrainSet", "valid", "eval"),
        ("train-images", "dev", "Test Data"),
    ],
)
def test_splits_have_their_usual_names(tmp_path, train, validation, test):
    folder(tmp_path / train)
    folder(tmp_path / validation, 2, 10)
    folder(tmp_path / test, 3, 20)
    source = load(f"folder:{tmp_path}")
    data = prepare(source, DataSpec(source=source.name))
    assert numbers(data.training) == sorted([0, 1, 2, 3] * 3)
    assert numbers(data.validation) == sorted([10, 11] * 3)
    assert numbers(data.test) == sorted([20, 21, 22] * 3)
    assert data.validation.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert not source.notes


def test_without_a_test_set_one_is_cut_off_from_training_and_validation_stays(tmp_path):
    folder(tmp_path / "train", 10)
    folder(tmp_path / "val", 2, 10)
    source = load(f"folder:{tmp_path}")
    data = prepare(source, DataSpec(source=source.name))
    assert (len(data.training), len(data.validation), len(data.test)) == (24, 6, 6)
    assert numbers(data.validation) == sorted([10, 11] * 3)
    assert source.notes == (NO_TEST,)


def test_the_validation_set_is_part_of_the_fingerprint(tmp_path):
    folder(tmp_path / "train")
    without = load(f"folder:{tmp_path}").fingerprint
    folder(tmp_path / "val", 1, 9)
    with_validation = load(f"folder:{tmp_path}").fingerprint
    (tmp_path / "val").rename(tmp_path / "test")
    assert len({without, with_validation, load(f"folder:{tmp_path}").fingerprint}) == 3


def test_a_test_set_without_classes_is_not_used_and_said(tmp_path):
    folder(tmp_path / "train")
    draw(tmp_path / "test" / "1.png", 0, 1)
    source = load(f"folder:{tmp_path}")
    assert source.test is None
    assert "test/ is not used: it holds 1 picture without class folders" in source.notes


def test_a_class_may_be_called_train(tmp_path):
    assert load(f"folder:{folder(tmp_path, classes=('plane', 'ship', 'train'))}").classes == (
        "plane",
        "ship",
        "train",
    )


def test_all_pictures_below_a_class_folder_are_of_that_class(tmp_path):
    folder(tmp_path)
    folder(tmp_path, 2, 10, sub="more/images")
    source = load(f"folder:{tmp_path}")
    assert numbers(source.train) == sorted([0, 1, 2, 3, 10, 11] * 3)
    assert any(note.startswith("6 of 18 pictures") for note in source.notes)


def test_links_to_folders_above_end(tmp_path):
    folder(tmp_path)
    (tmp_path / "ant" / "again").symlink_to(tmp_path / "ant")
    assert len(load(f"folder:{tmp_path}").train) == 12


def test_one_level_too_high_the_message_says_where(tmp_path):
    folder(tmp_path / "archive" / "data" / "train")
    with pytest.raises(AnewError, match=f"give folder:{tmp_path}/archive/data$"):
        load(f"folder:{tmp_path}")
    folder(tmp_path / "other" / "pictures")
    with pytest.raises(AnewError, match=f"give folder:{tmp_path}/other/pictures$"):
        load(f"folder:{tmp_path / 'other'}")


def test_what_is_passed_over_is_said_and_files_of_systems_are_not(tmp_path):
    folder(tmp_path / "train")
    folder(tmp_path / "test", 1, 9)
    (tmp_path / "test" / "cat" / "9.png").unlink()
    (tmp_path / "train" / "ant" / "._1.png").write_bytes(b"\0")
    (tmp_path / "train" / "ant" / "Thumbs.db").write_bytes(b"\0")
    folder(tmp_path / "__MACOSX" / "train")
    (tmp_path / "train" / "ant" / "notes.txt").write_text("x")
    (tmp_path / "train" / "runs").mkdir()

    draw(tmp_path / "extra" / "1.png", 0, 0)
    source = load(f"folder:{tmp_path}")
    assert len(source.train) == 12
    assert source.test.labels.tolist() == [0, 1]
    assert source.notes == (
        f"{tmp_path}/extra/ is ignored: 1 picture",
        f"{tmp_path}/train/runs/ holds no picture and is no class",
        "files that are no pictures are ignored: 1 .txt",
    )


@pytest.mark.parametrize("suffix", [".gif", ".jfif", ".jpe", ".avif"])
def test_pictures_have_all_suffixes_that_are_read(tmp_path, suffix):
    folder(tmp_path, 1)
    draw(tmp_path / "ant" / "9.jpg", 0, 9)
    form = {".gif": "GIF", ".avif": "AVIF"}.get(suffix, "JPEG")
    Image.open(tmp_path / "ant" / "9.jpg").save(tmp_path / "ant" / f"8{suffix}", form)
    assert len(load(f"folder:{tmp_path}").train) == 5


def test_a_folder_may_be_called_like_a_picture(tmp_path):
    folder(tmp_path)
    draw(tmp_path / "ant" / "holiday.jpg" / "7.png", 0, 7)
    assert len(load(f"folder:{tmp_path}").train) == 13


@pytest.mark.parametrize(
    "name, split",
    [
        ("train-00000-of-00002", "train"),
        ("validation-00000-of-00001-0f3a", "validation"),
        ("val", "validation"),
        ("test0", "test"),
        ("train_metadata", None),
        ("0000", None),
    ],
)
def test_shards_are_of_a_split(name, split):
    assert split_of_shard(name) == split


def test_other_names_are_no_splits():
    assert [split_called(name) for name in ("trains", "vale", "contest", "set", "")] == [None] * 5


def table(tmp_path, name, rows, header="file,label"):
    (tmp_path / name).write_text("\n".join([header, *rows] if header else rows) + "\n")


ROWS = [f"{label}_{number}" for label in range(3) for number in range(4)]


def loose(place):
    for row in ROWS:
        draw(place / f"{row}.png", int(row[0]), int(row[2]))


@pytest.mark.parametrize("header", ["file,label", "id,breed", "Image Name;Class", "a\tb", ""])
@pytest.mark.parametrize("written", ["{}.png", "{}", "images/{}.png"])
def test_a_table_names_each_pictures_class(tmp_path, header, written):
    loose(tmp_path / "images")
    between = next((one for one in ";\t" if one in header), ",")
    rows = [f"{written.format(row)}{between}{CLASSES[int(row[0])]}" for row in ROWS]
    table(tmp_path, "labels.csv", rows, header)
    if header == "a\tb":
        with pytest.raises(AnewError, match=r"--data\.image-column"):
            load(f"folder:{tmp_path}")
        source = load(f"folder:{tmp_path}", image_column="a", label_column="b")
    else:
        source = load(f"folder:{tmp_path}")
    assert source.classes == CLASSES
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert source.train.show(slice(None))[:, 0, 1, 1].tolist() == [0] * 4 + [80] * 4 + [160] * 4


def test_a_table_may_have_a_column_of_splits(tmp_path):
    loose(tmp_path)
    splits = ("train", "train", "valid", "test")
    rows = [f"{row}.png,{row[0]},{splits[int(row[2])]}" for row in ROWS]
    table(tmp_path, "metadata.csv", rows, "file_name,label,split")
    source = load(f"folder:{tmp_path}")
    assert [numbers(one) for one in (source.train, source.validation, source.test)] == [
        [0, 0, 0, 1, 1, 1],
        [2, 2, 2],
        [3, 3, 3],
    ]


def test_tables_lie_in_the_folders_of_splits_and_a_test_table_may_have_no_labels(tmp_path):
    for name in ("train", "test"):
        loose(tmp_path / name)
    records = [json.dumps({"file_name": f"{row}.png", "label": int(row[0])}) for row in ROWS]
    (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(records))
    table(tmp_path, "test.csv", ROWS, "id")
    source = load(f"folder:{tmp_path}")
    assert (len(source.train), source.test, source.classes) == (12, None, ("0", "1", "2"))
    assert "the table test.csv is not used: it has no column of labels" in source.notes
    assert "ignored: 12 pictures not in any table" in source.notes


@pytest.mark.parametrize(
    "row, words",
    [
        ("9_9.png,ant", "1 of 13 pictures are not there: 9_9.png"),
        ("0_0.png,", "'0_0.png' has no label"),
        ("0_0.png", "line 14 does not have the header's 2 cells"),
    ],
)
def test_unsound_tables_are_refused(tmp_path, row, words):
    loose(tmp_path)
    table(tmp_path, "labels.csv", [*(f"{one}.png,{one[0]}" for one in ROWS), row])
    with pytest.raises(AnewError, match=words):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "between, encoding", [("|", "utf-8"), ("\t", "utf-16"), (" ", "utf-8"), (",", "utf-8-sig")]
)
def test_tables_come_with_other_marks_between_and_in_other_encodings(tmp_path, between, encoding):
    loose(tmp_path / "my images")
    rows = [f"my images/{row}.png{between}{row[0]}" for row in ROWS]
    (tmp_path / "train.txt").write_bytes("\n".join(rows).encode(encoding))
    (tmp_path / "readme.txt").write_text("Pictures of three animals.\n")
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\n")
    source = load(f"folder:{tmp_path}")
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert source.train.show(slice(None))[:, 0, 1, 1].tolist() == [0] * 4 + [80] * 4 + [160] * 4


def test_a_table_may_hold_paths_of_another_computer(tmp_path):
    loose(tmp_path / "images")
    rows = [f"C:\\Users\\me\\images\\{row}.png,{row[0]}" for row in ROWS]
    table(tmp_path, "train.csv", rows)
    assert len(load(f"folder:{tmp_path}").train) == 12


def test_a_table_may_have_a_column_of_0_and_1_for_each_class(tmp_path):
    loose(tmp_path)
    rows = [
        f"{row},{float(row[0] == '2')},{int(row[0] == '0')},{int(row[0] == '1')}" for row in ROWS
    ]
    table(tmp_path, "truth.csv", rows, "image,zebra,ant,bee")
    source = load(f"folder:{tmp_path}")
    assert source.classes == ("ant", "bee", "zebra")
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize(
    "header, cells, sizes",
    [
        ("is_train", "1110", (9, 0, 3)),
        ("is_valid", ("False", "False", "True", "False"), (9, 3, 0)),
        ("is_test", ("0", "0", "1", "0"), (9, 0, 3)),
        ("fold", "0123", (12, 0, 0)),
    ],
)
def test_a_table_may_say_of_one_split_what_is_in_it(tmp_path, header, cells, sizes):
    loose(tmp_path)
    rows = [f"{row}.png,{row[0]},{cells[int(row[2])]}" for row in ROWS]
    table(tmp_path, "labels.csv", rows, f"image,label,{header}")
    source = load(f"folder:{tmp_path}")
    found = (source.train, source.validation, source.test)
    assert tuple(0 if one is None else len(one) for one in found) == sizes


def test_rows_that_repeat_a_picture_are_left_out_and_two_classes_are_refused(tmp_path):
    loose(tmp_path)
    rows = [f"{row}.png,{row[0]}" for row in (*ROWS, *ROWS[:2])]
    table(tmp_path, "labels.csv", rows)
    source = load(f"folder:{tmp_path}")
    assert len(source.train) == 12
    assert "2 rows that repeat another are skipped" in source.notes

    table(tmp_path, "labels.csv", [*rows, "0_0.png,2"])
    with pytest.raises(AnewError, match=r"0_0\.png has the classes '0' and '2'; leave one"):
        load(f"folder:{tmp_path}")


def test_pictures_that_tables_put_into_several_splits_are_said(tmp_path):
    loose(tmp_path)
    table(tmp_path, "train.csv", [f"{row}.png,{row[0]}" for row in ROWS])
    table(tmp_path, "val.csv", [f"{row}.png,{row[0]}" for row in ROWS[:3]])
    notes = load(f"folder:{tmp_path}").notes
    assert any(note.startswith("3 pictures are in several splits") for note in notes)


@pytest.mark.parametrize(
    "written, classes",
    [("{}.0", ("0", "1", "2", "10")), ("x{}", ("x0", "x1", "x10", "x2"))],
)
def test_whole_numbers_with_a_point_are_numbers(tmp_path, written, classes):
    loose(tmp_path)
    draw(tmp_path / "9_9.png", 1, 9)
    labels = [*(row[0] for row in ROWS), "10"]
    rows = [
        f"{row}.png,{written.format(label)}"
        for row, label in zip([*ROWS, "9_9"], labels, strict=True)
    ]
    table(tmp_path, "labels.csv", rows)
    assert load(f"folder:{tmp_path}").classes == classes


@pytest.mark.parametrize(
    "value, words",
    [("nan", "'0_0.png' has no label"), ("0|1", r"'0\|1' have several classes for an example")],
)
def test_labels_that_are_none_or_several_are_refused(tmp_path, value, words):
    loose(tmp_path)
    labels = {"0_0": value}
    table(tmp_path, "labels.csv", [f"{row}.png,{labels.get(row, row[0])}" for row in ROWS])
    with pytest.raises(AnewError, match=words):
        load(f"folder:{tmp_path}")


def test_rows_whose_pictures_are_missing_can_be_left_out(tmp_path):
    loose(tmp_path)
    table(tmp_path, "labels.csv", [*(f"{row}.png,{row[0]}" for row in ROWS), "9_9.png,0"])
    source = load(f"folder:{tmp_path}", skip_damaged=True)
    assert len(source.train) == 12
    assert any("1 of 13 pictures are not there: 9_9.png" in note for note in source.notes)


@pytest.mark.parametrize(
    "train, test",
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train2017", "val2017"),
        ("animals_train", "animals_test"),
        ("train/train", "test/test"),
    ],
)
def test_splits_are_found_by_a_word_of_their_names_and_one_folder_deeper(tmp_path, train, test):
    folder(tmp_path / train)
    folder(tmp_path / test, 2, 20)
    draw(tmp_path / "seg_pred" / "1.png", 0, 1)
    source = load(f"folder:{tmp_path}")
    held_out = source.test or source.validation
    assert (numbers(source.train), numbers(held_out)) == (
        sorted([0, 1, 2, 3] * 3),
        [20, 20, 20, 21, 21, 21],
    )
    assert source.classes == CLASSES
    assert [note for note in source.notes if "is ignored" in note] == [
        f"{tmp_path / 'seg_pred'}/ is ignored: 1 picture"
    ]


def test_classes_with_a_word_of_a_split_in_their_names_stay_classes(tmp_path):
    folder(tmp_path, classes=("bullet_train", "test_tube", "cat"))
    assert load(f"folder:{tmp_path}").classes == ("bullet_train", "cat", "test_tube")


@pytest.mark.parametrize(
    "places, words",
    [
        (("ant/train", "ant/test", "bee/train", "bee/test"), "put the splits above the classes"),
        (("test/ant", "test/bee", "val/ant", "val/bee"), "are no training set"),
        (("ant",), "lie in one folder, ant/, and a classifier needs at least 2 classes"),
    ],
)
def test_folders_that_hold_no_classes_are_refused(tmp_path, places, words):
    for place in places:
        draw(tmp_path / place / "1.png", 0, 1)
    with pytest.raises(AnewError, match=words):
        load(f"folder:{tmp_path}")


def test_classes_that_hold_the_same_folders_are_said(tmp_path):
    for fold in range(3):
        folder(tmp_path / f"fold{fold}")
    assert any("hold the same folders" in note for note in load(f"folder:{tmp_path}").notes)


def tiny_imagenet(place):
    codes = ("n01443537", "n01629819", "n01641577")
    folder(place / "train", classes=codes, sub="images", suffix=".JPEG")
    for number in range(6):
        draw(place / "val" / "images" / f"val_{number}.JPEG", number % 3, 100 + number)
        draw(place / "test" / "images" / f"test_{number}.JPEG", 0, 200)
    rows = [f"val_{number}.JPEG\t{codes[number % 3]}\t0\t0\t4\t4" for number in range(6)]
    table(place / "val", "val_annotations.txt", rows, "")
    (place / "wnids.txt").write_text("\n".join(reversed(codes)))
    (place / "words.txt").write_text(
        "n00001740\tentity\nn01629819\tfire salamander\nn01443537\tgoldfish, Carassius auratus\n"
        "n01641577\tbullfrog\n"
    )


def test_tiny_imagenet_is_read_as_it_is(tmp_path):
    tiny_imagenet(tmp_path)
    source = load(f"folder:{tmp_path}")
    assert source.classes == ("goldfish, Carassius auratus", "fire salamander", "bullfrog")
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    # Its validation pictures are the test set, each of the class that its row names.
    assert source.validation is None and source.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    shown = source.test.show(slice(None))[:, 0, 3, 2].float()
    assert ((shown - 80 * source.test.labels).abs() < 12).all()
    assert any(note.startswith("val/ is used as the test set") for note in source.notes)


@pytest.mark.parametrize(
    "file, header, row",
    [
        ("test.csv", "Width,ClassId,Path", "0,{label},Test/{name}"),
        ("Test/labels.csv", "id,class", "{name},{label:03}"),
        ("Test/list.txt", "", "{name} {label}"),
        ("test_labels.txt", "", "Test/{name} {label}"),
    ],
)
def test_a_test_set_without_class_folders_takes_its_labels_from_a_table(
    tmp_path, file, header, row
):
    classes = [str(number) for number in (0, 1, 10)]
    folder(tmp_path / "Train", classes=classes)
    rows = []
    for number in range(6):
        draw(tmp_path / "Test" / f"{number}.png", number % 3, 100)
        rows.append(row.format(label=int(classes[number % 3]), name=f"{number}.png"))
    table(tmp_path, file, rows, header)
    source = load(f"folder:{tmp_path}")
    assert source.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.test.show(slice(None))[:, 0, 3, 3].tolist() == [0, 0, 80, 80, 160, 160]
    name = file.rpartition("/")[2]
    assert f"labels of Test/ come from {name}" in source.notes


@pytest.mark.parametrize(
    "file, labels",
    [("sample_submission.csv", "012012"), ("test.csv", "000000"), ("test.csv", "345345")],
)
def test_what_holds_no_labels_of_the_test_set_is_not_taken_for_them(tmp_path, file, labels):
    folder(tmp_path / "train", classes=("0", "1", "2"))
    for number in range(6):
        draw(tmp_path / "test" / f"{number}.png", 0, 100)
    table(tmp_path, file, [f"{number},{label}" for number, label in enumerate(labels)], "id,label")
    source = load(f"folder:{tmp_path}")
    assert source.test is None
    assert "test/ is not used: it holds 6 pictures without class folders" in source.notes


@pytest.mark.parametrize(
    "file, note",
    [
        ("test/README.txt", None),
        ("test/notes.json", None),
        ("test.csv", "not used: {place}/test.csv: line 3 does not have the header's 2 cells"),
    ],
)
def test_texts_beside_a_test_set_that_are_no_tables_are_passed_over(tmp_path, file, note):
    folder(tmp_path / "train")
    draw(tmp_path / "test" / "0.png", 0, 100)
    (tmp_path / file).write_text("a, b\nc, d\ne\n{, , ")
    source = load(f"folder:{tmp_path}")
    assert source.test is None
    said = [text for text in source.notes if text.startswith("not used")]
    assert len(said) == (note is not None)
    assert note is None or said[0].startswith(note.format(place=tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        {"trainA": "A", "trainB": "B", "testA": "A", "testB": "B"},
        {"train_cat": "cat", "train_dog": "dog", "val_cat": "cat", "val_dog": "dog"},
        {"cat-train": "cat", "dog-train": "dog", "cat-test": "cat", "dog-test": "dog"},
    ],
)
def test_a_folders_name_may_say_a_split_and_a_class(tmp_path, names):
    for number, name in enumerate(names):
        for one in range(4):
            draw(tmp_path / name / f"{one}.png", number % 2, number)
    source = load(f"folder:{tmp_path}")
    assert source.classes == tuple(sorted(set(names.values())))
    held_out = source.test or source.validation
    for examples in (source.train, held_out):
        assert examples.labels.tolist() == [0] * 4 + [1] * 4
        assert examples.show(slice(None))[:, 0, 3, 3].tolist() == [0] * 4 + [80] * 4
    assert any("are read as class folders of splits" in note for note in source.notes)


def test_folders_of_folds_are_no_classes_of_splits(tmp_path):
    for name in ("train_1", "train_2", "test_1", "test_2"):
        folder(tmp_path / name)
    with pytest.raises(AnewError, match="train_1/ and train_2/ hold class folders each"):
        load(f"folder:{tmp_path}")


def test_the_same_letters_may_be_written_in_two_ways(tmp_path):
    folder(tmp_path / "train", classes=("k\u00e4fer", "bee"))
    folder(tmp_path / "test", classes=("ka\u0308fer", "bee"))
    source = load(f"folder:{tmp_path}")
    assert source.classes == ("bee", "k\u00e4fer")
    assert source.test.labels.tolist() == [0] * 4 + [1] * 4


def test_a_class_that_differs_in_its_case_alone_is_the_one_that_is_meant(tmp_path):
    folder(tmp_path / "train", classes=("Ant", "bee", "cat"))
    folder(tmp_path / "test", classes=("ant", "bee"))
    with pytest.raises(AnewError, match="did you mean 'Ant'"):
        load(f"folder:{tmp_path}")


def test_links_that_lead_nowhere_are_named_and_can_be_left_out(tmp_path):
    folder(tmp_path)
    for name in ("7.png", "8.png"):
        (tmp_path / "ant" / name).symlink_to(tmp_path / "gone.png")
    with pytest.raises(AnewError, match=r"2 pictures are links to missing files.*skip-damaged"):
        load(f"folder:{tmp_path}")
    source = load(f"folder:{tmp_path}", skip_damaged=True)
    assert numbers(source.train) == sorted([0, 1, 2, 3] * 3)


def test_files_without_a_suffix_of_pictures_are_counted_where_there_are_no_pictures(tmp_path):
    for path in folder(tmp_path).rglob("*.png"):
        path.rename(path.with_suffix(""))
    with pytest.raises(AnewError, match="no file with a suffix of pictures: 12 without suffix"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "name, words", [("photos.zip", "is an archive; unpack it"), ("train.csv", "is a table; give")]
)
def test_a_file_in_place_of_a_folder_is_told_what_it_is(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(AnewError, match=words):
        load(f"folder:{tmp_path / name}")


def test_texts_that_are_no_lists_of_pictures_are_passed_over(tmp_path):
    folder(tmp_path / "images", classes=("001.ant", "002.bee"))
    (tmp_path / "images.txt").write_text("1 001.ant/0.png\n2 001.ant/1.png\n")
    (tmp_path / "train.txt").write_text("001.ant/0\n002.bee/1\n")
    with pytest.raises(AnewError, match=r"has one folder of pictures, .*images; give folder:"):
        load(f"folder:{tmp_path}")


def test_lists_may_give_pictures_numbers_as_cub_does(tmp_path):
    # CUB-200-2011: images/CLASS/*, and beside it the pictures' numbers and which are for training.
    folder(tmp_path / "images", classes=("001.ant", "002.bee"))
    paths = ["001.ant/0.png", "001.ant/1.png", "002.bee/0.png", "002.bee/1.png"]
    flags = [1, 0, 1, 1]
    lines = [f"{number} {path}" for number, path in enumerate(paths, 1)]
    (tmp_path / "images.txt").write_text("\n".join(lines))
    # In another order: the numbers count.
    lines = [f"{number} {flags[number - 1]}" for number in (4, 2, 3, 1)]
    (tmp_path / "train_test_split.txt").write_text("\n".join(lines))
    (tmp_path / "classes.txt").write_text("1 001.ant\n2 002.bee\n")
    source = load(f"folder:{tmp_path}")
    assert (source.train.labels.tolist(), source.test.labels.tolist()) == ([0, 1, 1], [0])
    assert source.classes == ("001.ant", "002.bee")
    (said, *_) = source.notes
    assert said == "the sets come from images.txt; train_test_split.txt: 3 train, 1 test"

    lines[0] = "9 1"
    (tmp_path / "train_test_split.txt").write_text("\n".join(lines))
    with pytest.raises(AnewError, match=r"has one folder of pictures, .*images; give folder:"):
        load(f"folder:{tmp_path}")


def test_of_numbered_lists_the_first_are_used_and_that_is_said(tmp_path):
    # DTD: labels/train1.txt to train10.txt, val1.txt to val10.txt, test1.txt to test10.txt.
    folder(tmp_path / "images", classes=("banded", "dotted"))
    (tmp_path / "labels").mkdir()
    of_first = {"train": [0, 1], "val": [2], "test": [3]}
    paths = ["banded/0.png", "dotted/0.png", "banded/1.png", "dotted/1.png"]
    for number in (10, 2, 1):
        for split, places in of_first.items():
            turned = [paths[(place + number - 1) % 4] for place in places]
            (tmp_path / "labels" / f"{split}{number}.txt").write_text("\n".join(turned))
    source = load(f"folder:{tmp_path}")
    assert source.train.labels.tolist() == [0, 1]
    assert (source.validation.labels.tolist(), source.test.labels.tolist()) == ([0], [1])
    assert source.notes[:2] == (
        "the sets come from test1.txt; train1.txt; val1.txt: 2 train, 1 test, 1 validation",
        "of the numbered lists those of number 1 are used",
    )


@pytest.mark.parametrize("kind, name", [("folder", ""), ("npz", "a.npz"), ("parquet", "a.parquet")])
def test_a_path_without_its_kind_is_told_how_it_is_written(tmp_path, kind, name):
    if name:
        (tmp_path / name).write_bytes(b"x")
    place = tmp_path / name if name else tmp_path
    with pytest.raises(AnewError, match=f"is not known; write {kind}:{place}$"):
        load(str(place))


def test_a_flat_training_folder_without_a_table_is_refused(tmp_path):
    loose(tmp_path / "train")
    loose(tmp_path / "test")
    with pytest.raises(AnewError, match="test/ and train/ hold pictures outside class"):
        load(f"folder:{tmp_path}")


def write_parquet(file, labels=(0, 1, 2, 0, 1, 2), names=CLASSES, image="image", label="label"):
    file.parent.mkdir(parents=True, exist_ok=True)
    cells = list[bytes]()
    for number in range(len(labels)):
        stream = io.BytesIO()
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(stream, "PNG")
        cells.append(stream.getvalue())
    written = pyarrow.table({image: cells, label: list(labels)})
    if names:
        features = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
        written = written.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    pyarrow.parquet.write_table(written, file)
    return file


@pytest.mark.parametrize("name", ["{}-00000-of-00001", "{}", "data/{}-00000-of-00001", "x/{}/0000"])
@pytest.mark.parametrize("validation", ["validation", "val"])
def test_parquet_files_are_found_by_split(tmp_path, name, validation):
    for number, split in enumerate(("train", validation, "test"), 1):
        write_parquet(tmp_path / f"{name.format(split)}.parquet", (0, 1, 2) * number)
    source = load(f"parquet:{tmp_path}")
    assert [len(one) for one in (source.train, source.validation, source.test)] == [3, 6, 9]
    assert source.validation.show(slice(None))[:, 0, 0, 0].tolist() == list(range(6))


def test_a_parquet_file_that_is_of_no_split_is_passed_over_and_said(tmp_path):
    write_parquet(tmp_path / "train-00000-of-00001.parquet")
    write_parquet(tmp_path / "train_metadata.parquet")
    source = load(f"parquet:{tmp_path}")
    assert len(source.train) == 6
    assert source.notes == ("files outside the splits are ignored: train_metadata.parquet",)


def test_one_parquet_file_is_a_training_set(tmp_path):
    file = write_parquet(tmp_path / "animals.parquet")
    assert len(load(f"parquet:{file}").train) == 6
    assert load(f"parquet:{tmp_path}").notes == ("animals.parquet is used as the training set",)
    write_parquet(tmp_path / "plants.parquet")
    with pytest.raises(AnewError, match=r"animals\.parquet; plants\.parquet"):
        load(f"parquet:{tmp_path}")


def test_arrow_files_are_told_from_parquet(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "data-00000-of-00001.arrow").write_bytes(b"x")
    with pytest.raises(AnewError, match=r"is an Arrow file of save_to_disk.*to_parquet"):
        load(f"parquet:{tmp_path}")


@pytest.mark.parametrize(
    "image, label", [("pixel_values", "labels"), ("Picture", "Class"), ("odd", "odder")]
)
def test_parquet_columns_have_usual_names_or_the_features_types(tmp_path, image, label):
    file = write_parquet(tmp_path / "train.parquet", image=image, label=label)
    assert load(f"parquet:{file}").classes == CLASSES


def test_parquet_columns_can_be_named(tmp_path):
    file = write_parquet(tmp_path / "train.parquet", names=None, image="odd", label="odder")
    with pytest.raises(AnewError, match=r"its columns: odd, odder.*--data\.image-column"):
        load(f"parquet:{file}")
    assert len(load(f"parquet:{file}", image_column="odd", label_column="odder").train) == 6


def test_rows_without_a_picture_are_damaged_pictures(tmp_path):
    file = write_parquet(tmp_path / "train.parquet")
    rows = pyarrow.parquet.read_table(file).to_pydict()
    rows["image"][2] = None
    pyarrow.parquet.write_table(pyarrow.table(rows), file)
    with pytest.raises(
        AnewError, match=r"row 2: column 'image' holds no picture; replace the damaged"
    ):
        _ = load(f"parquet:{file}").fingerprint
    source = load(f"parquet:{file}", skip_damaged=True)
    assert source.train.labels.tolist() == [0, 1, 0, 1, 2]
    assert source.train.show(slice(None))[:, 0, 0, 0].tolist() == [0, 1, 3, 4, 5]


def test_labels_may_be_lists_of_one(tmp_path):
    labels = [[2], [0], [1]]
    source = load(f"parquet:{write_parquet(tmp_path / 'train.parquet', labels, None)}")
    assert source.train.labels.tolist() == [2, 0, 1]


def test_labels_may_be_names(tmp_path):
    file = write_parquet(tmp_path / "train.parquet", ("cat", "ant", "bee"), None)
    source = load(f"parquet:{file}")
    assert (source.classes, source.train.labels.tolist()) == (CLASSES, [2, 0, 1])
    write_parquet(tmp_path / "test.parquet", ("cats",), None)
    with pytest.raises(AnewError, match=r"the test set has class 'cats'.*did you mean 'cat'"):
        load(f"parquet:{tmp_path}")


def test_a_parquet_test_set_without_labels_is_not_used(tmp_path):
    write_parquet(tmp_path / "train.parquet")
    file = write_parquet(tmp_path / "test.parquet", [-1] * 6)
    source = load(f"parquet:{tmp_path}")
    assert (source.test, source.notes) == (None, (f"{file} is not used: it has no labels",))


def test_classes_that_no_example_has_are_dropped(tmp_path):
    file = write_parquet(tmp_path / "train.parquet", (0, 2, 4), ("ant", "bee", "cat", "dog", "elk"))
    source = load(f"parquet:{file}")
    assert (source.classes, source.train.labels.tolist()) == (("ant", "cat", "elk"), [0, 1, 2])
    assert source.notes == ("classes without examples are dropped: bee; dog",)


def test_numbers_from_1_keep_their_names(tmp_path):
    file = write_parquet(tmp_path / "train.parquet", (1, 2, 3), None)
    source = load(f"parquet:{file}")
    assert (source.classes, source.train.labels.tolist()) == (("1", "2", "3"), [0, 1, 2])
    assert len(source.notes) == 1


PICTURES = np.arange(12 * 30, dtype=np.uint8).reshape(12, 6, 5)
LABELS = np.arange(12) % 3


@pytest.mark.parametrize(
    "train, labels, other",
    [
        ("train_images", "train_labels", "val_images val_labels test_images test_labels"),
        ("x_train", "y_train", "x_val y_val x_test y_test"),
        ("X_train", "Y_train", "X_valid Y_valid X_test Y_test"),
        ("train_x", "train_y", "dev_x dev_y test_x test_y"),
    ],
)
def test_npz_arrays_have_their_usual_names(tmp_path, train, labels, other):
    names = other.split()
    others = {names[0]: PICTURES[:3], names[1]: LABELS[:3, None], names[2]: PICTURES[:6]}
    arrays = {train: PICTURES, labels: LABELS[:, None], **others, names[3]: LABELS[:6, None]}
    np.savez(tmp_path / "a.npz", **arrays, extra=LABELS)
    source = load(f"npz:{tmp_path / 'a.npz'}")
    assert [len(one) for one in (source.train, source.validation, source.test)] == [12, 3, 6]
    assert source.notes == ("arrays that are ignored: extra",)


def test_npz_labels_may_be_names_or_numbers_from_1(tmp_path):
    np.savez(tmp_path / "a.npz", x=PICTURES, y=np.array(CLASSES)[LABELS])
    np.savez(tmp_path / "b.npz", x=PICTURES, y=LABELS + 1)
    named, shifted = (load(f"npz:{tmp_path / name}.npz") for name in "ab")
    assert (named.classes, shifted.classes) == (CLASSES, ("1", "2", "3"))
    assert named.train.labels.tolist() == shifted.train.labels.tolist() == LABELS.tolist()


def test_an_npz_archive_without_a_validation_set_keeps_its_fingerprint(tmp_path):
    np.savez(tmp_path / "a.npz", x=PICTURES, y=LABELS)
    assert load(f"npz:{tmp_path / 'a.npz'}").fingerprint == "476f3e3049671b96"


def write_idx(file, array):
    content = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content += array.astype(np.uint8).tobytes()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def write_mnist(place, name="{}-{}-idx{}-ubyte", labels=LABELS, test="t10k"):
    place.mkdir(exist_ok=True)
    for split in ("train", test):
        write_idx(place / name.format(split, "images", 3), PICTURES)
        write_idx(place / name.format(split, "labels", 1), labels)


@pytest.mark.parametrize("name", ["{}-{}.idx{}-ubyte", "{}-{}-idx{}-ubyte.gz"])
def test_idx_files_may_have_a_dot_in_their_names(tmp_path, name):
    write_mnist(tmp_path, name, np.arange(12) % 10)
    assert len(load(f"mnist:{tmp_path}").train) == 12


def test_emnist_is_read_by_its_names(tmp_path):
    letters = np.concatenate([np.arange(1, 27)] * 2)
    pictures = np.zeros((52, 28, 28))
    for split in ("train", "test"):
        write_idx(tmp_path / f"emnist-letters-{split}-images-idx3-ubyte.gz", pictures)
        write_idx(tmp_path / f"emnist-letters-{split}-labels-idx1-ubyte.gz", letters)
    source = load(f"mnist:{tmp_path}")
    assert "".join(source.classes) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert source.train.labels.tolist() == (letters - 1).tolist()
    assert any("transposed" in note for note in source.notes)

    write_mnist(tmp_path, "other-{}-{}-idx{}-ubyte")
    with pytest.raises(AnewError, match="several data sets"):
        load(f"mnist:{tmp_path}")
    assert load(f"mnist:{tmp_path}/other").classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "kind, file", [("cifar100", "cifar-100-python.tar.gz"), ("mnist", "MNIST.zip")]
)
def test_an_archive_that_is_not_unpacked_is_named(tmp_path, kind, file):
    (tmp_path / file).write_bytes(b"x")
    with pytest.raises(AnewError, match=f"but {tmp_path / file} is: unpack it"):
        load(kind, tmp_path)


class Items(Dataset):
    """A data set of PIL pictures of several modes and sizes."""

    classes = CLASSES

    def __init__(self, modes=("RGB",), sizes=((6, 5),), random=False):
        self.modes, self.sizes, self.random = modes, sizes, random

    def __len__(self):
        return 12

    def __getitem__(self, index):
        size = self.sizes[index % len(self.sizes)]
        value = int(torch.randint(256, ())) if self.random else 20 * index
        picture = Image.fromarray(np.full((*size, 3), value, np.uint8))
        return picture.convert(self.modes[index % len(self.modes)]), index % 3


@pytest.mark.parametrize("modes", [("L", "RGB"), ("RGBA", "RGB"), ("CMYK",), ("LA", "RGB")])
def test_pil_pictures_of_several_modes_are_in_colour(modes):
    source = from_dataset(Items(modes))
    assert source.train.inputs.shape == (12, 3, 6, 5)
    assert source.train.inputs[:, 1, 0, 0].tolist() == [20 * index for index in range(12)]


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_pil_pictures_stay_grey(mode):
    assert from_dataset(Items((mode,))).train.inputs.shape == (12, 1, 6, 5)


def test_pil_pictures_of_several_sizes_need_a_size():
    items = Items(sizes=((20, 30), (40, 25)))
    with pytest.raises(AnewError, match="have 2 sizes, such as 30x20 and 25x40; set a size"):
        from_dataset(items)
    assert from_dataset(items, size=16).train.inputs.shape == (12, 3, 16, 16)


def test_class_names_survive_subset_and_concatenation():
    first, second = Subset(Items(), range(6)), Subset(Items(), range(6, 12))
    assert from_dataset(first, second).classes == CLASSES
    assert from_dataset(ConcatDataset([first, second])).classes == CLASSES
    assert from_dataset(Subset(Items(), [0, 2, 3, 5])).classes == ("ant", "cat")


@pytest.mark.parametrize(
    "item, classes",
    [
        (lambda x, y: {"image": x, "label": y}, CLASSES),
        (lambda x, y: {"path": "a", "labels": y, "pixel_values": x}, CLASSES),
        (lambda x, y: (x, CLASSES[y]), CLASSES),
        (lambda x, y: (x, torch.tensor([y])), CLASSES),
        (lambda x, y: (x, y, "more"), CLASSES),
    ],
)
@pytest.mark.parametrize("views", [None, "fresh"])
def test_items_are_pairs_or_have_names_and_labels_are_numbers_or_names(item, classes, views):
    class Made(Items):
        def __getitem__(self, place):
            return item(*super().__getitem__(place))

    given = {"train": Made(), "test": Made(), "validation": Made()}
    source = from_datasets(given, DataSpec(views=views))
    assert source.train.labels.tolist() == [Items()[place][1] for place in range(12)]
    assert source.classes == classes


@pytest.mark.parametrize(
    "item, words",
    [
        (lambda x, y: {"x": x, "other": y}, "none is known to hold the label"),
        (lambda x, y: (x, float(y)), r"labels are floats \(0\.0\); give whole numbers"),
    ],
)
def test_items_that_cannot_be_told_are_refused(item, words):
    class Made(Items):
        def __getitem__(self, place):
            return item(*super().__getitem__(place))

    with pytest.raises(AnewError, match=words):
        from_dataset(Made())


def test_a_data_set_that_changes_from_read_to_read_is_refused():
    with pytest.raises(AnewError, match="item 0 changes each time it is read"):
        from_dataset(Items(random=True))


def test_a_validation_set_may_be_given_from_python():
    source = from_dataset(Items(), validation=Subset(Items(), [0, 1, 2]))
    data = prepare(source, DataSpec(source=source.name))
    assert (source.test, data.validation.labels.tolist()) == (None, [0, 1, 2])


def hugging_face(names=CLASSES):
    """Splits as the library `datasets` holds them."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"picture": datasets.Image(), "labels": datasets.ClassLabel(names=list(names))}
    )
    splits = {}
    for number, split in enumerate(("train", "validation", "test"), 1):
        rows = range(6 * number)
        pictures = [Image.fromarray(np.full((6, 5, 3), 9 * row, np.uint8)) for row in rows]
        columns = {"picture": pictures, "labels": [row % 3 for row in rows]}
        splits[split] = datasets.Dataset.from_dict(columns, features)
    return datasets.DatasetDict(splits)


@pytest.mark.parametrize("view", [lambda data: data, lambda data: data.with_format("torch")])
def test_hugging_face_data_sets_are_read(tmp_path, view):
    data = view(hugging_face())
    reading = Reading(DataSpec(source="arrays"), tmp_path)
    whole = from_hugging_face(data, reading)
    assert [len(one) for one in (whole.train, whole.validation, whole.test)] == [6, 12, 18]
    assert whole.classes == CLASSES
    assert whole.validation.show(slice(None))[:, 0, 0, 0].tolist() == [9 * row for row in range(12)]
    alone = from_hugging_face(data["train"].select([1, 2, 4, 5]), reading)
    assert (alone.test, alone.classes, len(alone.notes)) == (None, ("bee", "cat"), 1)


def test_a_stream_of_hugging_face_is_refused(tmp_path):
    data = hugging_face()["train"].to_iterable_dataset()
    with pytest.raises(AnewError, match=r"is a stream .*load it without streaming=True"):
        from_hugging_face(data, Reading(DataSpec(source="arrays"), tmp_path))


def test_a_hugging_face_folder_is_read(tmp_path):
    hugging_face().save_to_disk(tmp_path / "saved")
    source = load(f"hf:{tmp_path / 'saved'}")
    assert (len(source.train), len(source.validation), source.classes) == (6, 12, CLASSES)
