"""The store of targets: what is read is what was written, or it is refused, whatever disks, kills
and people do.
"""

import itertools
import json
import os
import random
import signal
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anew import AnewError
from anew.teachers import Store, StoreKey, store
from forks import fork_code

KEY = StoreKey(
    teachers=("0123456789abcdef",),
    data={"fingerprint": "f", "seed": 0, "views": "crop+flip", "padding": 2, "mean": None},
    precision="float32",
    memory_format="channels_last",
    compile=False,
    batch_size=16,
    examples=40,
    views=50,
    words=10,
    targets="logits",
)
# What processes and tests write: a row that only its place decides, never zero throughout.
ROWS = """
import numpy as np
def rows_of(examples, views, words=10):
    places = (examples * 1009 + views * 17)[:, None] + np.arange(words) * 101
    return (places % 65521 + 1).astype(np.uint16)
"""
exec(ROWS)


def places(*pairs):
    examples, views = zip(*pairs, strict=True)
    return np.array(examples, np.int64), np.array(views, np.int64)


def everywhere(key=KEY):
    return np.repeat(np.arange(key.examples), key.views), np.tile(
        np.arange(key.views), key.examples
    )


def fill(opened, examples, views):
    opened.write(examples, views, rows_of(examples, views, opened.key.words))


def is_right(opened):
    """Every answer that the store says it has is the one that belongs there; returns how many there
    are.
    """
    examples, views = opened.filled()
    np.testing.assert_array_equal(
        opened.read(examples, views), rows_of(examples, views, opened.key.words)
    )
    return len(examples)


@pytest.fixture
def stores(tmp_path):
    return tmp_path / "teachers"


@pytest.fixture
def folder(stores):
    """The folder of a store with 100 answers, closed."""
    with closing(Store.open(stores, KEY)) as opened:
        fill(opened, *(part[:100] for part in everywhere()))
        opened.flush()
    return KEY.folder(stores)


@pytest.mark.parametrize(
    ("examples", "views", "words"),
    [(40, 50, 10), (7, 1, 2), (1, 1, 1), (3, 8, 5), (5, 9, 3), (2, 162, 33_000)],
)
def test_what_was_written_is_read_here_and_after_reopening(stores, examples, views, words):
    key = replace(KEY, examples=examples, views=views, words=words)
    mixed = np.random.default_rng(0).permutation(examples * views)
    every = tuple(part[mixed] for part in everywhere(key))
    some = tuple(part[: (len(mixed) + 1) // 2] for part in every)
    with closing(Store.open(stores, key)) as opened:
        assert opened.count == 0 and not opened.has(*every).any()
        fill(opened, *some)
        assert opened.count == len(some[0]) == is_right(opened)
        assert opened.has(*every).tolist() == (np.arange(len(mixed)) < len(some[0])).tolist()
        opened.flush()
    with closing(Store.open(stores, key)) as opened:
        assert opened.has(*every).tolist() == (np.arange(len(mixed)) < len(some[0])).tolist()
        fill(opened, *every)
        opened.flush()
        assert is_right(opened) == examples * views
    assert store.verify(key.folder(stores)) == []
    # A full store takes what the choice of a way was told.
    assert (
        sum((key.folder(stores) / name).stat().st_size for name in ("rows.u16", "filled.u8"))
        == key.bytes
    )


def test_nothing_written_is_nothing_changed(stores):
    with closing(Store.open(stores, KEY)) as opened:
        opened.write(*places((0, 0)), rows_of(*places((0, 0))))
        empty = np.zeros(0, np.int64)
        opened.write(empty, empty, np.zeros((0, KEY.words), np.uint16))
        assert opened.read(empty, empty).shape == (0, KEY.words) and opened.count == 1


def test_others_see_an_answer_after_a_flush_and_not_before(stores):
    here, there = (closing(Store.open(stores, KEY)) for _ in range(2))
    with here as here, there as there:
        fill(here, *places((3, 4), (3, 5)))
        here.flush(at_least_every=60)
        assert here.count == 2 and there.count == 0
        here.flush()
        assert there.has(*places((3, 4), (3, 5), (3, 6))).tolist() == [True, True, False]
        assert is_right(there) == 2


def test_what_was_not_flushed_is_forgotten_and_can_be_written_again(stores):
    with closing(Store.open(stores, KEY)) as opened:
        fill(opened, *places((1, 1)))
    with closing(Store.open(stores, KEY)) as opened:
        assert opened.count == 0
        fill(opened, *places((1, 1)))
        assert is_right(opened) == 1


FILLER = f"""
import os, pathlib, random, sys
{ROWS}
from anew.teachers import Store, StoreKey
key = StoreKey({", ".join(f"{name}={value!r}" for name, value in vars(KEY).items())})
stores, seed, until = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
dice, opened = random.Random(seed), Store.open(stores, key)
print("begun", flush=True)
told = set()
while opened.count < until:
    chunk = [(dice.randrange(key.examples), dice.randrange(key.views)) for _ in range(7)]
    examples, views = (np.array(part) for part in zip(*chunk))
    opened.write(examples, views, rows_of(examples, views))
    opened.flush(at_least_every=random.uniform(0, 0.002))
    if dice.random() < 0.3:
        opened.flush()
        # What a line tells of is on the disk.
        filled = set(zip(*(part.tolist() for part in opened.filled())))
        print(*(f"{{e}},{{v}}" for e, v in filled - told), flush=True)
        told = filled
"""


def filler(stores, seed, until=40 * 50):
    return fork_code(FILLER, stores, seed, until)


def wait_for_lines(process, count):
    """Wait until a process has printed so many lines; return them."""
    deadline = time.monotonic() + 60
    while process.out.count("\n") < count:
        assert time.monotonic() < deadline and process.poll() is None, process.errors
        time.sleep(0.002)
    return process.out.splitlines()


def test_a_kill_loses_nothing_that_was_flushed_and_leaves_every_answer_right(stores):
    dice, told, before = random.Random(0), set(), 0
    for seed in range(4):
        process = filler(stores, seed)
        wait_for_lines(process, 1)
        time.sleep(dice.uniform(0.01, 0.15))
        process.kill()
        _, *lines = process.communicate()[0].splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n"):
                told |= {tuple(map(int, place.split(","))) for place in line.split()}
        with closing(Store.open(stores, KEY)) as opened:
            assert opened.has(*places(*told)).all()
            count = is_right(opened)
        assert count > before
        before = count
        assert store.verify(KEY.folder(stores)) == []
    last = filler(stores, 9, until=before + 100)
    last.communicate(timeout=60)
    assert last.returncode == 0


def test_two_processes_that_fill_one_store_leave_every_answer_right(stores):
    # Until each has seen 1,200 of 2,000 places filled, by itself or by the other.
    both = [filler(stores, seed, until=1200) for seed in (1, 2)]
    for process in both:
        process.communicate(timeout=120)
        assert process.returncode == 0
    with closing(Store.open(stores, KEY)) as opened:
        assert is_right(opened) > 1000
    assert store.verify(KEY.folder(stores)) == []
    assert [one.name for one in KEY.folder(stores).parent.iterdir()] == [KEY.folder(stores).name]


def test_no_mark_is_lost_where_processes_set_bits_of_the_same_bytes(stores):
    filling = f"""
import time
{FILLER.split("random.seed(")[0]}
opened = Store.open(stores, key)
print("begun", flush=True)
while not (stores.parent / "go").exists():
    time.sleep(0.001)
for view in range(seed, key.views, 2):
    for examples in np.arange(key.examples).reshape(4, -1):
        views = np.full_like(examples, view)
        opened.write(examples, views, rows_of(examples, views))
        opened.flush()
"""
    both = [fork_code(filling, stores, seed, 0) for seed in (0, 1)]
    for process in both:
        wait_for_lines(process, 1)
    (stores.parent / "go").touch()
    for process in both:
        process.communicate(timeout=120)
        assert process.returncode == 0, process.errors
    with closing(Store.open(stores, KEY)) as opened:
        assert is_right(opened) == KEY.examples * KEY.views


# A process that makes a store, and stops as it is about to do a step of that: it is killed there,
# or waits for a line.
MAKER = f"""
import os, pathlib, signal, sys, time
from anew.teachers import Store, StoreKey
key = StoreKey({", ".join(f"{name}={value!r}" for name, value in vars(KEY).items())})
stores, step, fate = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
does = getattr(pathlib.Path, step)

def stops(path, *arguments, **options):
    if ".tmp" in str(path):
        if fate == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        print("stopped", flush=True)
        while not (stores.parent / "go").exists():
            time.sleep(0.002)
    return does(path, *arguments, **options)

setattr(pathlib.Path, step, stops)
print(Store.open(stores, key).count, flush=True)
"""
STEPS = ["open", "rename"]


def maker(stores, step, fate):
    return fork_code(MAKER, stores, step, fate)


def names_beside(folder):
    return sorted(one.name for one in folder.parent.iterdir())


@pytest.mark.parametrize("step", STEPS)
def test_what_a_killed_maker_left_is_swept_when_the_store_is_opened(stores, step):
    folder = KEY.folder(stores)
    killed = [maker(stores, step, "killed") for _ in range(2)]
    for process in killed:
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    left = names_beside(folder)
    assert sorted(name.split(".")[2].split("-")[0] for name in left) == sorted(
        str(process.pid) for process in killed
    )
    # Before version 0.2 the process alone was in the name.
    (folder.parent / f".{folder.name}.{killed[0].pid}.tmp").mkdir()
    left = names_beside(folder)
    # Another store of the same teacher, and what is being made of it, is not this one's matter.
    other = replace(KEY, batch_size=17)
    Store.open(stores, other).close()
    others = f".{other.folder(stores).name}.{killed[0].pid}.tmp"
    (folder.parent / others).mkdir()
    assert names_beside(folder) == sorted([*left, others, other.folder(stores).name])
    for _ in range(2):
        with closing(Store.open(stores, KEY)) as opened:
            fill(opened, *places((3, 4)))
            opened.flush()
        assert names_beside(folder) == sorted([others, folder.name, other.folder(stores).name])
    assert store.verify(folder) == []


@pytest.mark.parametrize("step", STEPS)
def test_a_maker_whose_work_is_swept_takes_the_store_that_is_there(stores, step):
    slow = maker(stores, step, "goes on")
    assert wait_for_lines(slow, 1) == ["stopped"]
    with closing(Store.open(stores, KEY)) as opened:
        fill(opened, *places((3, 4), (5, 6)))
        opened.flush()
    assert names_beside(KEY.folder(stores)) == [KEY.folder(stores).name]
    (stores.parent / "go").touch()
    assert slow.communicate(timeout=60)[0] == "stopped\n2\n"
    assert slow.returncode == 0
    assert names_beside(KEY.folder(stores)) == [KEY.folder(stores).name]
    assert store.verify(KEY.folder(stores)) == []


def test_a_bit_is_written_only_after_the_disk_has_its_row(stores, monkeypatch):
    """A store's calls to the operating system, in their order: what a failing power supply may cut
    at any of them.
    """
    folder, dice = KEY.folder(stores), np.random.default_rng(0)
    row_bytes, width = 2 * (KEY.words + 1), -(-KEY.views // 8)
    names, calls, written, on_disk = {}, [], set(), set()
    pwrite, fsync = os.pwrite, os.fsync

    def promised():
        """The places whose bits are in the file."""
        content = np.frombuffer((folder / "filled.u8").read_bytes(), np.uint8).reshape(-1, width)
        return set(
            np.flatnonzero(
                np.unpackbits(content, axis=1, count=KEY.views, bitorder="little")
            ).tolist()
        )

    def recorded_pwrite(descriptor, content, offset):
        size = pwrite(descriptor, content, offset)
        calls.append(f"write {(name := names[os.fstat(descriptor).st_ino])}")
        if name == "rows.u16":
            assert offset % row_bytes == size % row_bytes == 0
            written.update(range(offset // row_bytes, (offset + size) // row_bytes))
        assert promised() <= on_disk
        return size

    def recorded_fsync(descriptor):
        fsync(descriptor)
        name = names.get(os.fstat(descriptor).st_ino)
        if name is None:
            # The making of the store itself.
            return
        calls.append(f"flush {name}")
        if name == "rows.u16":
            on_disk.update(written)
        assert promised() <= on_disk

    monkeypatch.setattr(os, "pwrite", recorded_pwrite)
    monkeypatch.setattr(os, "fsync", recorded_fsync)
    with closing(Store.open(stores, KEY)) as opened:
        names.update({(folder / name).stat().st_ino: name for name in ("rows.u16", "filled.u8")})
        for _ in range(20):
            for _ in range(int(dice.integers(1, 4))):
                fill(opened, dice.integers(0, KEY.examples, 9), dice.integers(0, KEY.views, 9))
            opened.flush()
            assert promised() == on_disk == written
        assert is_right(opened) == len(written) > 200
    one_flush = ["write rows.u16", "flush rows.u16", "write filled.u8", "flush filled.u8"]
    assert [call for call, _ in itertools.groupby(calls)] == 20 * one_flush


OTHERS = {
    "teacher": replace(KEY, teachers=("fedcba9876543210",)),
    "teachers": replace(KEY, teachers=("0123456789abcdef", "fedcba9876543210")),
    "fingerprint": replace(KEY, data={**KEY.data, "fingerprint": "g"}),
    "data seed": replace(KEY, data={**KEY.data, "seed": 1}),
    "views": replace(KEY, data={**KEY.data, "padding_mode": "reflect"}),
    "number of views": replace(KEY, views=49),
    "examples": replace(KEY, examples=39),
    "precision": replace(KEY, precision="bfloat16"),
    "memory format": replace(KEY, memory_format="contiguous"),
    "compile": replace(KEY, compile=True),
    "batch size": replace(KEY, batch_size=17),
    "targets": replace(KEY, targets="top 3 of 10"),
    "words": replace(KEY, words=9),
}
FILES = ("header.json", "rows.u16", "filled.u8")


@pytest.mark.parametrize("other", OTHERS)
def test_other_answers_lie_in_another_folder_and_begin_empty(folder, stores, other):
    key = OTHERS[other]
    assert key.folder(stores) != folder
    with closing(Store.open(stores, key)) as opened:
        assert opened.count == 0
    with closing(Store.open(stores, KEY)) as opened:
        assert is_right(opened) == 100


@pytest.fixture
def refused(folder, stores):
    """What lies there must be named by `verify`, and set aside in one line when it is opened; the
    store then begins anew, and nothing is lost.
    """

    def run(says):
        (verified,) = store.verify(folder)
        before = contents(folder)
        said = []
        with closing(Store.open(stores, KEY, said.append)) as opened:
            assert opened.count == 0
            fill(opened, *everywhere())
            opened.flush()
        assert store.verify(folder) == []

        (line,) = said
        assert line.endswith("; the old file is now set-aside-1 beside it") and says in line
        for text in (line, verified):
            assert text.startswith(f"stored targets {folder}: ") and "\n" not in text
        aside = contents(folder.with_name("set-aside-1"))
        aside.pop(".lock", None)
        before.pop(".lock", None)
        assert aside == before
        assert store.folders(stores) == [folder]

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("other", OTHERS)
def test_an_edited_header_is_refused(folder, refused, other):
    header = json.loads((folder / "header.json").read_text())
    (folder / "header.json").write_text(json.dumps({**header, "key": OTHERS[other].to_json()}))
    refused("belongs to other outputs (another ")


@pytest.mark.parametrize("written", [store.FORMAT + 1, None, "1", True, 1.0])
def test_another_format_is_refused(folder, refused, written):
    header = json.loads((folder / "header.json").read_text())
    (folder / "header.json").write_text(json.dumps({**header, "format": written}))
    refused(f"has format {written}, this anew reads up to {store.FORMAT}")


@pytest.mark.parametrize(
    "content",
    [b"hello", b"", b"\x80\x04\xff", b"[1, 2]", b'{"format": 1}', b'{"format": 1, "key": 3}'],
)
def test_a_header_that_is_none_is_refused(folder, refused, content):
    (folder / "header.json").write_bytes(content)
    refused("has a damaged header.json")


@pytest.mark.parametrize(
    "key",
    [{}, {"examples": "many"}, {**KEY.to_json(), "views": None}],
    ids=["empty", "text", "none"],
)
def test_a_header_that_lacks_what_a_key_has_is_refused(folder, refused, key):
    (folder / "header.json").write_text(json.dumps({"format": store.FORMAT, "key": key}))
    refused("belongs to other outputs")


@pytest.mark.parametrize("harm", ["missing", "truncated", "empty", "longer"])
@pytest.mark.parametrize("name", ["rows.u16", "filled.u8"])
def test_files_of_another_size_are_refused(folder, refused, name, harm):
    path = folder / name
    size = path.stat().st_size
    if harm == "missing":
        path.unlink()
    else:
        os.truncate(path, {"truncated": size - 1, "empty": 0, "longer": size + 1}[harm])
    refused(f"{name} has ")


@pytest.mark.parametrize("kind", ["folder", "file", "link", "link that leads nowhere"])
def test_what_is_no_store_is_set_aside_as_it_is(stores, tmp_path, kind):
    folder = KEY.folder(stores)
    path = folder / "thesis.tex" if kind == "folder" else folder
    path.parent.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    if "link" in kind:
        path.symlink_to(elsewhere)
        if kind == "link":
            elsewhere.mkdir()
            (elsewhere / "thesis.tex").write_text("x")
    else:
        path.write_text("x")

    assert len(store.verify(folder)) == 1
    said = []
    with closing(Store.open(stores, KEY, said.append)) as opened:
        fill(opened, *everywhere())
        opened.flush()
    assert len(said) == 1 and store.verify(folder) == []
    aside = folder.with_name("set-aside-1")
    if "link" in kind:
        assert aside.is_symlink() and aside.readlink() == elsewhere
    if kind != "link that leads nowhere":
        assert (aside if kind == "file" else aside / "thesis.tex").read_text() == "x"
        assert not elsewhere.exists() or names_beside(elsewhere / "x") == ["thesis.tex"]
    else:
        assert not elsewhere.exists()


@pytest.mark.parametrize("name", [*FILES, ".lock"])
def test_a_store_whose_file_is_a_link_is_set_aside_and_the_link_is_not_followed(
    folder, refused, tmp_path, name
):
    mine = tmp_path / "mine"
    path = folder / name
    (path if path.exists() else folder / "rows.u16").rename(mine)
    path.symlink_to(mine)
    before = mine.read_bytes()
    refused("is a link, which is never written through")
    assert mine.read_bytes() == before


FINDER = f"""
import pathlib, sys, time
from anew.teachers import Store, StoreKey
key = StoreKey({", ".join(f"{name}={value!r}" for name, value in vars(KEY).items())})
stores = pathlib.Path(sys.argv[1])
print("ready", flush=True)
while not (stores.parent / "go").exists():
    time.sleep(0.001)
Store.open(stores, key, print).close()
"""


def test_processes_that_find_a_damaged_store_set_one_thing_aside(folder, stores):
    (folder / "header.json").write_bytes(b"")
    processes = [fork_code(FINDER, stores) for _ in range(3)]
    for process in processes:
        assert wait_for_lines(process, 1) == ["ready"]
    (stores.parent / "go").touch()
    said = [process.communicate(timeout=60)[0].removeprefix("ready\n") for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(map(bool, said)) == 1
    assert names_beside(folder) == [folder.name, "set-aside-1"]


def test_a_new_store_is_on_the_disk_before_it_has_its_name(stores, monkeypatch):
    flushed, rename = [], Path.rename
    fsync = os.fsync

    def recorded(descriptor):
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    def renamed(self, target):
        (header,) = (path for path in flushed if path.name == "header.json")
        assert json.loads(header.read_text())["key"] == KEY.to_json()
        assert {path.name for path in flushed} == {*FILES, self.name}
        assert flushed[-1] == self
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", recorded)
    monkeypatch.setattr(Path, "rename", renamed)
    Store.open(stores, KEY).close()
    assert flushed[-1] == KEY.folder(stores).parent


def test_how_many_answers_are_held_is_said_without_changing_anything(folder, stores):
    assert store.count_held(stores, KEY) == 100
    (folder / "header.json").write_bytes(b"")
    before = contents(folder)
    assert store.count_held(stores, KEY) is None
    assert store.count_held(stores, replace(KEY, batch_size=17)) is None
    assert contents(folder) == before and names_beside(folder) == [folder.name]


@pytest.mark.parametrize("place", ["name", "teacher"])
def test_a_store_that_was_moved_is_found_by_verify(folder, stores, place):
    to = (
        folder.with_name("0" * 16) if place == "name" else stores / "fedcba9876543210" / folder.name
    )
    to.parent.mkdir(exist_ok=True)
    folder.rename(to)
    (said,) = store.verify(to)
    assert (
        "is not named by its header" if place == "name" else "lies under another teacher's name"
    ) in said


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_any_one_flipped_bit_of_an_answer_is_found_on_reading_and_by_verify(folder, stores):
    # Example 1, view 49: the last of the 100 that are there; all its 11 words of 16 bits.
    start = (1 * KEY.views + 49) * (KEY.words + 1) * 16
    for bit in range((KEY.words + 1) * 16):
        flip(folder / "rows.u16", start + bit)
        with closing(Store.open(stores, KEY)) as opened:
            with pytest.raises(
                AnewError,
                match=r"is damaged \(1 of 3 rows read, first example 1, view 49\); the next",
            ):
                opened.read(*places((0, 0), (1, 49), (1, 48)))
            assert len(opened.read(*places((0, 0), (1, 48)))) == 2
        (said,) = store.verify(folder)
        assert "is damaged (1 of 100 rows read, first example 1, view 49)" in said
        flip(folder / "rows.u16", start + bit)
    assert store.verify(folder) == []


@pytest.mark.parametrize("words", [1, 2, 1000, 33_000, 70_000])
def test_a_checksum_tells_any_one_flipped_bit_however_long_the_row(words):
    row = np.random.default_rng(words).integers(0, 1 << 16, (1, words)).astype(np.uint16)
    flipped = np.repeat(row, 64, axis=0)
    where = np.random.default_rng(1).integers(0, words, 64)
    flipped[np.arange(64), where] ^= (1 << np.arange(64) % 16).astype(np.uint16)
    assert (store.checksums(flipped) != store.checksums(row)).all()
    assert store.checksums(np.zeros((1, words), np.uint16)) != 0


def test_a_bit_that_says_an_unwritten_answer_is_there_is_found(folder, stores):
    width = -(-KEY.views // 8)
    flip(folder / "filled.u8", (5 * width) * 8 + 11)
    with closing(Store.open(stores, KEY)) as opened:
        assert opened.has(*places((5, 11))).all()
        with pytest.raises(
            AnewError, match=r"is damaged \(1 of 1 rows read, first example 5, view 11\)"
        ):
            opened.read(*places((5, 11)))
    assert "first example 5, view 11" in store.verify(folder)[0]


def test_a_lost_bit_is_an_answer_to_be_asked_for_again(folder, stores):
    flip(folder / "filled.u8", 0)
    with closing(Store.open(stores, KEY)) as opened:
        assert not opened.has(*places((0, 0))).any() and is_right(opened) == 99


FULL_DISK = f"""
import pathlib, resource, sys
{ROWS}
from anew.teachers import Store, StoreKey
key = StoreKey({", ".join(f"{name}={value!r}" for name, value in vars(KEY).items())})
stores = pathlib.Path(sys.argv[1])

def full(at):
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, resource.RLIM_INFINITY))

def fails(work, *arguments):
    try:
        work(*arguments)
    except OSError as error:
        print(error.strerror)
    else:
        sys.exit("it was written")

def rows(first, last):
    examples = np.repeat(np.arange(first, last), key.views)
    views = np.tile(np.arange(key.views), last - first)
    return examples, views, rows_of(examples, views)

full(10_000)
fails(Store.open, stores, key)
assert not key.folder(stores).exists() and not list(stores.rglob("*.tmp"))
full(resource.RLIM_INFINITY)
opened = Store.open(stores, key)
opened.write(*rows(0, 2))
opened.flush()
# Room for examples 0..8 and some views of 9.
full(9 * key.views * 22 + 100)
opened.write(*rows(4, 6))
fails(opened.write, *rows(6, 12))
opened.flush()
full(resource.RLIM_INFINITY)
opened.write(*rows(20, 22))
# Room for the bits of examples 0..13.
full(14 * 7)
fails(opened.flush)
assert opened.read(*rows(4, 6)[:2]).shape == opened.read(*rows(20, 22)[:2]).shape == (100, 10)
"""


def test_a_full_disk_is_an_error_and_leaves_right_what_was_there(stores):
    limited = fork_code(FULL_DISK, stores)
    said, errors = limited.communicate()
    assert limited.returncode == 0, errors
    assert said.splitlines() == ["File too large"] * 3
    with closing(Store.open(stores, KEY)) as opened:
        # Examples 0, 1, 4 and 5: of 6..11 the rows did not fit, and of 20 and 21 the bits.
        assert is_right(opened) == 4 * KEY.views
        fill(opened, *everywhere())
        opened.flush()
        assert is_right(opened) == KEY.examples * KEY.views


def test_a_place_where_nothing_can_be_made_is_an_error_and_is_left_clean(tmp_path):
    (tmp_path / "teachers").write_text("a file")
    with pytest.raises(OSError):
        Store.open(tmp_path / "teachers", KEY)
    assert (tmp_path / "teachers").read_text() == "a file"


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_a_store_of_a_gigabyte_is_mapped_and_not_loaded(stores):
    key = replace(KEY, examples=50_000, views=162, words=65)
    assert key.bytes > 1e9
    rng = np.random.default_rng(0)
    some = rng.integers(0, key.examples, 500), rng.integers(0, key.views, 500)
    before = resident()
    with closing(Store.open(stores, key)) as opened:
        fill(opened, *some)
        opened.flush()
        np.testing.assert_array_equal(opened.read(*some), rows_of(*some, 65))
        assert resident() - before < 150e6
    on_disk = sum(path.stat().st_blocks * 512 for path in key.folder(stores).iterdir())
    assert on_disk < 20e6
