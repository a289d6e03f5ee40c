"""Pictures in files: the form in which they are kept, the cache, and reading from the disk."""

import io
from dataclasses import replace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from torchvision import transforms

from anew import AnewError
from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.recipe import Recipe
from anew.core.spec import DataSpec, ModelSpec, TrainingSpec
from anew.data import Batches, from_arrays, load, open_source, prepare
from anew.data.cache import Facts, Layout, PictureCache, cache_folder
from anew.data.pictures import Form, decode, fit, read_header
from anew.data.storage import Storage
from anew.data.streamed import Streamed
from anew.training.lineage import train_lineage
from runs import weights

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
SIZES = [(40, 60), (61, 37), (33, 33), (90, 31), (32, 48)]


def smooth(height, width, channels=3):
    """A picture with structure, so that a wrong offset or filter shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (3 + c)) + np.cos(columns / (2 + c)) for c in range(channels)]
    noise = RNG.normal(0, 0.2, (height, width, channels))
    return np.clip((np.stack(waves, -1) + noise) * 50 + 128, 0, 255).astype(np.uint8)


def encoded(picture, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, form, **options)
    return file.getvalue()


@pytest.fixture
def photographs(tmp_path):
    """A folder of 30 photographs of several sizes, in three classes, as PNG and JPEG files."""
    for number in range(30):
        place = tmp_path / "photographs" / "train" / ("ant", "bee", "cat")[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        suffix = ".png" if number % 2 else ".jpg"
        Image.fromarray(smooth(*SIZES[number % 5])).save(place / f"{number:03}{suffix}")
    for number in range(6):
        place = tmp_path / "photographs" / "test" / ("ant", "bee", "cat")[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(*SIZES[number % 5])).save(place / f"{number:03}.png")
    return tmp_path / "photographs"


@pytest.fixture
def spec(photographs):
    return DataSpec(source=f"folder:{photographs}", size=(24,), resize=28, views="flip")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "wanted, side", [((24, 24), 24), ((224, 224), 256), ((20, 20), 30), ((21, 21), 30)]
)
def test_pictures_are_resized_and_cut_as_torchvision_does(size, wanted, side):
    picture = smooth(*size)
    theirs = transforms.Compose([transforms.Resize(side), transforms.CenterCrop(wanted)])
    kept = decode(
        "x", encoded(picture), Form(DataSpec(size=wanted, resize=side).kept_size, shown=wanted)
    )
    top, left = (round((have - want) / 2) for have, want in zip(kept.shape, wanted, strict=False))
    ours = kept[top : top + wanted[0], left : left + wanted[1]]
    assert np.array_equal(ours, np.asarray(theirs(Image.fromarray(picture))))


def test_arrays_are_resized_as_files_are():
    picture = smooth(40, 60)
    assert np.array_equal(fit(picture, (24, 24)), decode("x", encoded(picture), Form((24, 24))))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation):
    upright = smooth(20, 30)
    # What a camera that was held so stores: the inverse of the turn that shows it upright.
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 1)[:, ::-1],
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(turns[orientation](upright))
    content = encoded(stored, exif=exif.tobytes())
    if orientation == 7:
        stored = np.ascontiguousarray(upright[::-1, ::-1].swapaxes(0, 1))
        content = encoded(stored, exif=exif.tobytes())
    assert np.array_equal(decode("x", content, Form()), upright)
    assert read_header("x", content).height == 20


def test_transparent_parts_are_white_whatever_lies_beneath():
    picture = RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    picture[:4, :, 3], picture[4:, :, 3] = 0, 255
    found = decode("x", encoded(picture), Form())
    assert (found[:4] == 255).all()
    assert np.array_equal(found[4:], picture[4:, :, :3])
    half = np.full((2, 2, 4), (10, 20, 30, 128), np.uint8)
    expected = np.array([10, 20, 30]) * (128 / 255) + 255 * (127 / 255)
    assert np.abs(decode("x", encoded(half), Form()) - expected).max() <= 1


def test_sixteen_bits_in_several_channels_are_refused():
    import struct
    import zlib

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + bytes(range(4 * 6)) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    png += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with pytest.raises(AnewError, match="x: has 16 bits for each of several channels"):
        decode("x", png, Form())


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
@pytest.mark.parametrize("size", [*SIZES, (24, 31), (7, 9)])
def test_a_part_has_the_bits_of_the_whole(size, mode):
    picture = smooth(*size, 1 if mode != "RGB" else 3)
    if mode == "I;16":
        picture = picture.astype(np.uint16) * 251
    content = encoded(picture if mode == "RGB" else picture[..., 0])
    random = np.random.default_rng(size[0])
    for form in (Form((24, 24)), Form((28, 24), shown=(20, 18)), Form((64, 31))):
        whole = decode("x", content, form)
        for _ in range(10):
            top, left = random.integers(0, form.size)
            height = random.integers(1, form.size[0] - top + 1)
            width = random.integers(1, form.size[1] - left + 1)
            part = decode("x", content, form, (int(top), int(left), int(height), int(width)))
            assert np.array_equal(part, whole[top : top + height, left : left + width])


@pytest.mark.parametrize("views", ["none", "flip", "crop+flip", "resized-crop+flip+erase"])
@pytest.mark.parametrize("workers, budget", [(0, 0.0), (2, 0.0), (2, 1e9)])
def test_pictures_on_the_disk_have_the_bits_of_those_in_memory(
    spec, views, workers, budget, monkeypatch, tmp_path
):
    spec = replace(spec, views=views)
    monkeypatch.setenv("ANEW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("anew.data.kept.FEW", 0)
    held = prepare(open_source(spec, Storage("memory", 0, 0.0)), spec)
    disk = prepare(open_source(spec, Storage("disk", workers, budget)), spec)
    assert isinstance(disk.training, Streamed) and not isinstance(held.training, Streamed)
    assert disk.spec == held.spec and disk.spec.fingerprint
    assert torch.equal(disk.mean, held.mean) and torch.equal(disk.std, held.std)
    assert disk.signature == held.signature and disk.signature.kept_size == (28, 28)
    for epoch in (0, 3):
        for one, other in zip(
            Batches(disk, 8, CPU).epoch(epoch), Batches(held, 8, CPU).epoch(epoch), strict=True
        ):
            assert one.inputs.shape[1:] == (3, 24, 24)
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.labels, other.labels)
    for name in ("validation", "test"):
        pairs = (getattr(disk, name), getattr(held, name))
        assert torch.equal(*(one.show(slice(0, 6)) for one in pairs))


def test_a_lineage_from_the_disk_has_the_bits_of_one_from_memory(spec, tmp_path, monkeypatch):
    monkeypatch.setattr("anew.data.kept.FEW", 0)
    found = []
    for way in ("memory", "disk"):
        data = prepare(open_source(spec, Storage(way, 2)), spec)
        recipe = Recipe(
            model=ModelSpec("small_cnn"),
            data=spec,
            training=TrainingSpec(epochs=2, batch_size=8),
            generations=1,
        )
        out = tmp_path / way
        train_lineage(recipe, data, out, Execution(device="cpu", threads=1, force=True), Callback())
        found.append(weights(out))
    assert found[0] == found[1] and len(found[0]) == 2


def test_normalisation_of_what_is_shown_is_exact(spec):
    data = prepare(open_source(spec, Storage("disk", 0)), spec)
    pixels = data.training.show(slice(0, len(data.training))).double().permute(1, 0, 2, 3)
    np.testing.assert_allclose(data.mean, pixels.flatten(1).mean(1), rtol=1e-6)
    np.testing.assert_allclose(data.std, pixels.flatten(1).std(1, correction=0), rtol=1e-6)


def test_a_second_start_decodes_nothing(spec, monkeypatch, tmp_path):
    monkeypatch.setenv("ANEW_CACHE", str(tmp_path / "cache"))
    first = prepare(open_source(spec, Storage(workers=0)), spec)

    def refuse(*arguments):
        raise AssertionError("a picture was read again")

    monkeypatch.setattr("anew.data.kept.decode", refuse)
    monkeypatch.setattr("anew.data.kept.read_header", refuse)
    monkeypatch.setattr("anew.data.encoded.PictureFiles.content", refuse)
    second = prepare(open_source(spec, Storage(workers=0)), spec)
    assert torch.equal(first.training.inputs, second.training.inputs)
    assert first.spec == second.spec


def test_a_limit_decodes_what_it_needs(spec, monkeypatch, tmp_path):
    monkeypatch.setenv("ANEW_CACHE", str(tmp_path / "cache"))
    decoded = []
    real = decode
    monkeypatch.setattr(
        "anew.data.kept.decode", lambda *given: decoded.append(given[0]) or real(*given)
    )
    few = replace(spec, limit=9)
    data = prepare(open_source(few, Storage(workers=0)), few)
    assert len(decoded) == len(set(decoded)) == 9 + len(data.test)


@pytest.mark.parametrize("damage", ["flipped", "cut", "deleted", "manifest"])
def test_a_damaged_cache_costs_time_and_nothing_else(spec, damage, monkeypatch, tmp_path):
    monkeypatch.setenv("ANEW_CACHE", str(tmp_path / "cache"))
    first = prepare(open_source(spec, Storage(workers=0)), spec)
    (raw,) = cache_folder().glob("*/*/pictures.raw")
    content = bytearray(raw.read_bytes())
    if damage == "flipped":
        content[5000] ^= 1
        raw.write_bytes(content)
    elif damage == "cut":
        raw.write_bytes(content[:-1])
    elif damage == "deleted":
        raw.unlink()
    else:
        (raw.parent / "manifest.json").write_text("{")
    second = prepare(open_source(spec, Storage(workers=0)), spec)
    assert torch.equal(first.training.inputs, second.training.inputs)
    assert first.spec == second.spec


def test_a_changed_file_is_read_again(spec, photographs, monkeypatch, tmp_path):
    monkeypatch.setenv("ANEW_CACHE", str(tmp_path / "cache"))
    before = open_source(spec).fingerprint
    Image.fromarray(smooth(50, 50)).save(photographs / "train" / "ant" / "000.jpg")
    assert open_source(spec).fingerprint != before


def test_the_fingerprint_is_that_of_the_files_at_any_size(spec):
    prints = {
        open_source(replace(spec, size=size, resize=None)).fingerprint for size in ((24,), (16, 8))
    }
    assert len(prints) == 1


def test_all_damaged_pictures_are_named_or_left_out(spec, photographs):
    whole = (photographs / "train" / "bee" / "004.jpg").read_bytes()
    (photographs / "train" / "bee" / "004.jpg").write_bytes(whole[: len(whole) // 2])
    (photographs / "train" / "cat" / "002.jpg").write_text("<html>")
    with pytest.raises(AnewError) as refused:
        prepare(open_source(spec), spec)
    for words in ("2 of 36 pictures", "bee/004.jpg", "cat/002.jpg", "--data.skip-damaged"):
        assert words in str(refused.value)

    lenient = replace(spec, skip_damaged=True)
    source = open_source(lenient)
    assert len(source.train) == 28
    assert "2 damaged pictures skipped" in source.notes[0] and "004.jpg" in source.notes[0]
    assert len(prepare(source, lenient).training) == 25


def test_what_the_headers_say_is_told_the_second_time_as_well(spec, photographs):
    (photographs / "train" / "cat" / "002.jpg").write_text("<html>")
    heights, widths = zip(*SIZES, strict=True)
    for _ in range(2):
        sizes, unread = open_source(spec).files
        extremes = f"{min(widths)}x{min(heights)} to {max(widths)}x{max(heights)}"
        assert sizes == f"picture files: 36, of {extremes} pixels (width x height)"
        assert "cat/002.jpg" in unread and "--data.skip-damaged" in unread


def test_a_cache_beyond_its_budget_takes_the_least_recently_used_away(tmp_path):
    layout = Layout(10, 10, 1)
    said = []
    stranger = tmp_path / "mine"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("keep me")
    for name in ("old", "new"):
        cache = PictureCache.open(tmp_path / name, 100, layout, 15_000, said.append)
        Facts(tmp_path / name).set("layout", {})
        for number in range(100):
            cache.write(number, np.full(layout.shape, number, np.uint8))
        assert cache.read([3, 7], np.zeros((2, *layout.shape), np.uint8)) == []
    assert not (tmp_path / "old").exists() and (tmp_path / "new").exists()
    assert (stranger / "thesis.txt").read_text() == "keep me"
    assert PictureCache.open(tmp_path / "huge", 10_000, layout, 15_000, said.append) is None
    assert "--cache-budget" in said[-1]


def test_sizes_that_cannot_be(spec):
    for wrong, words in (
        ({"size": (1, 2, 3)}, "height and width"),
        ({"size": (24,), "resize": 20}, "data.resize must be >= 24"),
        ({"size": None, "resize": 20}, "--data.size"),
    ):
        with pytest.raises(AnewError, match=words):
            open_source(replace(spec, **wrong))
    vectors = from_arrays((RNG.normal(size=(20, 5)), np.arange(20) % 2))
    with pytest.raises(AnewError, match="are no pictures"):
        prepare(vectors, DataSpec(size=(4,)))


def test_pictures_in_memory_are_resized_too():
    digits = load("digits", size=16)
    plain = load("digits")
    assert digits.train.input_shape == (1, 16, 16)
    assert digits.fingerprint == plain.fingerprint
    picture = Image.fromarray(plain.train.inputs[5, 0].numpy())
    theirs = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(digits.train.inputs[5, 0].numpy(), theirs)


def test_parquet_beyond_the_cache_is_copied_once_and_read_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setenv("ANEW_CACHE", str(tmp_path / "cache"))
    rows = [encoded(smooth(*SIZES[number % 5])) for number in range(40)]
    table = pyarrow.table({"image": rows, "label": [number % 2 for number in range(40)]})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet", row_group_size=7)
    spec = DataSpec(source=f"parquet:{tmp_path}", size=(64,), views="flip")

    budget = sum(map(len, rows)) + 1
    assert budget < 40 * 64 * 64 * 3
    held = prepare(open_source(spec, Storage("memory", 0, 0.0)), spec)
    said = []
    for _ in range(2):
        disk = prepare(open_source(spec, Storage("disk", 0, budget, said.append)), spec)
        for number in (5, 30, 6):
            one = disk.training.show(slice(number % 25, number % 25 + 1))
            assert torch.equal(one, held.training.show(slice(number % 25, number % 25 + 1)))
    assert sum("copied once" in line for line in said) == 1

    (raw,) = cache_folder().glob("*/*/encoded.raw")
    content = bytearray(raw.read_bytes())
    content[:] = bytes(len(content))
    raw.write_bytes(content)
    disk = prepare(open_source(spec, Storage("disk", 0, budget)), spec)
    assert torch.equal(disk.training.show(slice(0, 9)), held.training.show(slice(0, 9)))
    monkeypatch.setenv("ANEW_CACHE", str(tmp_path / "another"))
    slow = prepare(open_source(spec, Storage("disk", 0, 100.0, said.append)), spec)
    assert torch.equal(slow.training.show(slice(0, 9)), held.training.show(slice(0, 9)))
    assert "raise --cache-budget" in said[-1]


def test_pictures_too_many_to_decode_count_as_their_files(photographs, spec, monkeypatch):
    plain = replace(spec, size=None, resize=None)
    for place in (photographs / "train", photographs / "test"):
        for file in place.rglob("*.*"):
            Image.fromarray(smooth(8, 8)).save(file)
    pixels = open_source(plain).fingerprint
    monkeypatch.setattr("anew.data.kept.MUCH", 1000)
    monkeypatch.setattr("anew.data.kept.decode", None)
    monkeypatch.setenv("ANEW_CACHE", str(photographs.parent / "another"))
    for budget in (20e9, 100.0):
        opened = open_source(plain, Storage("disk", 0, budget))
        assert opened.fingerprint == open_source(spec).fingerprint != pixels


def test_headers_are_read_without_decoding(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    for form in ("PNG", "JPEG", "BMP", "WEBP"):
        header = read_header("x", encoded(smooth(20, 30), form))
        assert (header.height, header.width, header.channels) == (20, 30, 3)


@pytest.mark.parametrize("way", ["memory", "disk"])
def test_no_validation_split_is_no_picture(spec, way):
    none = replace(spec, validation=0.0)
    data = prepare(open_source(none, Storage(way, 0)), none)
    assert len(data.validation) == 0 and len(data.training) == 30
