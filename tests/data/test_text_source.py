"""Texts: tokens, vocabulary, streams and windows."""

import gzip
import itertools
import zipfile
from collections import Counter

import pytest
import torch

from anew import AnewError
from anew.core.spec import DataSpec
from anew.data import Batches
from anew.data.loading import load_data
from anew.data.sources import load
from anew.data.windows import Windows
from texts import ptb, write


def load_text(source, **options):
    return load_data(DataSpec(source=str(source), **options))


def words_of(data, windows):
    return [data.classes[number] for number in windows.text.tolist()]


def test_the_numbers_of_the_penn_treebank():
    data = load_text(ptb())
    assert len(data.training.text) == 929_589
    assert data.validation.predictions == 73_760
    assert data.test.predictions == 82_430
    assert len(data.classes) == 10_000
    assert data.classes[:4] == ("the", "<unk>", "<eos>", "N")
    for streams, windows, left in ((32, 829, 21), (20, 1327, 9)):
        cut = data.training.in_streams(streams)
        assert len(cut) == streams * windows
        assert len(data.training.text) % streams == left


def test_a_folder_is_words_and_line_ends_by_falling_count(tmp_path):
    (tmp_path / "train.txt").write_text(" b a b \n\na  b\tc\r\n")
    (tmp_path / "valid.txt").write_text("c b")
    (tmp_path / "test.txt").write_text("a\nb\n")
    data = load_text(f"text:{tmp_path}", steps=1)
    # b and <eos> three times each, a twice, c once; ties by their text.
    assert data.classes == ("<eos>", "b", "a", "c")
    assert words_of(data, data.training) == [
        "b",
        "a",
        "b",
        "<eos>",
        "<eos>",
        "a",
        "b",
        "c",
        "<eos>",
    ]
    assert words_of(data, data.validation) == ["<eos>", "c", "b", "<eos>"]
    assert data.validation.predictions == 3
    assert words_of(data, data.test) == ["<eos>", "a", "<eos>", "b", "<eos>"]


def test_a_folder_a_zip_and_packed_files_are_the_same_text(tmp_path):
    source = write(tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for file in (tmp_path / "plain").iterdir():
            archive.write(file, f"inner/corpus.{file.name}")
        archive.writestr("__MACOSX/inner/._corpus.train.txt", "other")
    packed = tmp_path / "packed"
    packed.mkdir()
    for file in (tmp_path / "plain").iterdir():
        (packed / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    prints = {load(one).fingerprint for one in (source, f"text:{tmp_path}/t.zip", f"text:{packed}")}
    assert len(prints) == 1


def test_the_fingerprint_is_of_tokens_and_vocabulary_not_of_windows(tmp_path):
    source = write(tmp_path)
    first = load(source).fingerprint
    assert load(source, steps=7).fingerprint == first
    assert load(source, vocabulary=5).fingerprint != first
    assert load(source, tokens="characters").fingerprint != first
    (tmp_path / "test.txt").write_text("ant bee\n")
    assert load(source).fingerprint != first


def test_one_file_is_cut_by_tokens_and_rare_words_are_unknown(tmp_path):
    words = ["rare"] + ["a", "b"] * 40 + ["new"] + ["b", "a"] * 9 + ["a"]
    (tmp_path / "t.txt").write_text(" ".join(words))
    data = load_text(f"text:{tmp_path}/t.txt", steps=3)
    total = len(words) + 1
    test = round(0.2 * total)
    validation = round(0.1 * (total - test))
    assert len(data.training.text) == total - test - validation
    assert data.validation.predictions == validation
    assert data.test.predictions == test
    assert words_of(data, data.training)[0] == "<unk>"
    assert set(data.classes) == {"a", "b", "<unk>", "<eos>"}


def test_a_vocabulary_holds_the_commonest_words(tmp_path):
    source = write(tmp_path)
    whole, few = load_text(source), load_text(source, vocabulary=6)
    assert len(few.classes) == 6
    counts = Counter(words_of(whole, whole.training))
    common = [word for word, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    kept = [word for word in common if word != "<eos>"][:4]
    assert set(few.classes) == {*kept, "<eos>", "<unk>"}
    rest = sum(count for word, count in counts.items() if word not in few.classes)
    assert words_of(few, few.training).count("<unk>") == rest


def test_characters_are_tokens_with_their_spaces(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text("ab a\nb\n")
    data = load_text(f"text:{tmp_path}", tokens="characters", steps=2)
    assert words_of(data, data.training) == ["a", "b", " ", "a", "<eos>", "b", "<eos>"]


def test_a_limit_takes_the_first_tokens_and_leaves_the_vocabulary(tmp_path):
    source = write(tmp_path)
    whole, few = load_text(source, steps=3), load_text(source, steps=3, limit=50)
    assert torch.equal(few.training.text, whole.training.text[:50])
    assert few.classes == whole.classes
    assert few.notices == ("data: --limit leaves the first 50 training tokens",)
    assert whole.notices == ()
    assert load_text(source, steps=3, limit=len(whole.training.text)).notices == ()


def test_the_embedded_text_needs_no_file():
    data = load_text("text:")
    assert len(data.training.text) + data.validation.predictions + data.test.predictions == 73_577
    assert load_text("text").spec.fingerprint == data.spec.fingerprint


@pytest.mark.parametrize(("tokens", "streams", "steps"), [(101, 4, 5), (100, 3, 8), (24, 2, 11)])
def test_windows_are_cut_as_streams(tokens, streams, steps):
    text = torch.arange(tokens)
    windows = Windows.of(text, steps).in_streams(streams)
    length = tokens // streams
    count = (length - 1) // steps
    assert len(windows) == streams * count
    order = windows.order.view(count, streams)
    for number in range(count):
        inputs, labels = windows.show(order[number]), windows.labels[order[number]]
        for stream in range(streams):
            first = stream * length + number * steps
            assert inputs[stream].tolist() == list(range(first, first + steps))
            assert torch.equal(labels[stream], inputs[stream] + 1)


def test_a_batch_goes_on_where_the_one_before_ended_and_epochs_are_alike(tmp_path):
    data = load_text(write(tmp_path), steps=4)
    batches = Batches(data, 3, torch.device("cpu"))
    first, second = (list(batches.epoch(epoch)) for epoch in (0, 5))
    assert [batch.number for batch in first] == list(range(batches.steps))
    for before, after in itertools.pairwise(first):
        # The last label of a window is the first input of the next.
        assert torch.equal(before.labels[:, -1], after.inputs[:, 0])
    assert all(
        torch.equal(one.inputs, other.inputs) for one, other in zip(first, second, strict=True)
    )
    # Every token of a stream but the first, and what is left over, is a label once.
    length = len(data.training.text) // 3
    labels = torch.cat([batch.labels for batch in first], dim=1)
    for stream in range(3):
        begin = stream * length
        wanted = data.training.text[begin + 1 : begin + 1 + labels.shape[1]]
        assert torch.equal(labels[stream], wanted)
    assert labels.shape[1] == (length - 1) // 4 * 4
    # A later start gives the same batches.
    rest = list(batches.epoch(0, 2))
    assert torch.equal(rest[0].inputs, first[2].inputs)
    assert rest[0].number == 2


def test_a_text_too_short_for_the_streams_is_refused(tmp_path):
    data = load_text(write(tmp_path))
    with pytest.raises(AnewError, match="fewer than one window of 35"):
        Batches(data, 400, torch.device("cpu"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"one line alone\n", "too few for one window of 35"),
        (b"\xff\xfea", r"is not UTF-8 \(byte 0, line 1\)"),
        (b"good\n\xe9t\xe9", r"is not UTF-8 \(byte 5, line 2\)"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(AnewError, match=message) as refusal:
        load_text(f"text:{tmp_path}/t.txt")
    assert "\n" not in str(refusal.value)


def test_unknown_words_need_a_token_for_them(tmp_path):
    source = write(tmp_path)
    (tmp_path / "valid.txt").write_text("ant bee\ncat zebra\n")
    with pytest.raises(AnewError, match="'zebra' in line 2 of the validation text"):
        load(source)
    with (tmp_path / "train.txt").open("a") as file:
        file.write("ant <unk>\n")
    data = load(source, steps=2)
    assert [data.classes[one] for one in data.validation.text.tolist()][-2:] == ["<unk>", "<eos>"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": "flip"}, "data.views: is for pictures"),
        ({"mean": (0.5,)}, "data.mean: is for pictures"),
        ({"padding": 2}, "data.padding: is for pictures"),
        ({"balance": "sampling"}, "data.balance: is for pictures"),
    ],
)
def test_what_is_of_pictures_is_refused_for_a_text(options, message):
    with pytest.raises(AnewError, match=message):
        load_text("text:", **options)


def test_what_is_of_a_text_is_refused_for_pictures():
    with pytest.raises(AnewError, match=r"data.steps: is for texts.*drop --data.steps"):
        load_text("digits", steps=7)


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_places_without_a_text_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnewError, match=r"there is nothing at|holds no training text"):
        load(f"text:{tmp_path / name}")


def test_two_files_of_one_split_are_refused(tmp_path):
    source = write(tmp_path)
    (tmp_path / "validation.txt").write_text("ant\n")
    with pytest.raises(AnewError, match=r"both .* are named after the validation text"):
        load(source)
