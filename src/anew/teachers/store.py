"""A teacher's answers on disk: a row for each (example, view), filled as views are first met.

Where views cannot be counted a row is that of (example, epoch) instead, whose view is a function of
the data's seed.

A store is a folder:

    header.json   the key (teacher, data, views, precision, batch, targets) and the format's version
    rows.u16      (N, V, W + 1) 16-bit words, sparse: a row's words (see `Encoding`), its checksum
    filled.u8     (N, ceil(V / 8)) bytes: bit v of row n is set if the answer (n, v) is held

A bit is set only after the row's bytes are on the disk, so a kill or a power failure loses what was
not flushed and nothing else. Rows are written by `pwrite` and not through the map, because a full
disk is then an error and not a signal. Several processes may fill one store: equal keys give equal
bytes, and bits are set under a lock. A store is a cache: one that is damaged is set aside and begun
again with the same answers, and nothing of it is removed.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from anew.core import fields, files
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.data.views import Views
from anew.teachers.encoding import Encoding

FORMAT = 1
FLUSH_SECONDS = 30.0
_FILES = ("rows.u16", "filled.u8")
_SET_ASIDE = "set-aside-"
Words = NDArray[np.uint16]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class StoreKey:
    """Everything that decides the content of a row; stores of different keys never meet."""

    teachers: tuple[str, ...]
    """The ids of the networks that answer."""
    data: Mapping[str, Any]
    """The data's description (fingerprint, split, views), which numbers examples and views."""
    precision: str
    memory_format: str
    compile: bool
    batch_size: int
    """Examples asked at once; a network's last bits may depend on it."""
    examples: int
    views: int
    words: int
    targets: str
    """The encoding of a row's words."""
    by: str = "view"
    """What numbers the answers about an example: its `view`, or the `epoch` in which it is shown
    where views cannot be counted; `views` is the number of epochs then."""
    teacher_weights: tuple[float, ...] = ()
    """The networks' shares in the mean; () if they are equal."""

    def to_json(self) -> dict[str, Any]:
        """Return the key as the header holds it."""
        key = json.loads(json.dumps(asdict(self)))
        # The first stores did not say these.
        if self.by == "view":
            del key["by"]
        if not self.teacher_weights:
            del key["teacher_weights"]
        return key

    @property
    def bytes(self) -> int:
        """The size of a full store on the disk."""
        return sum(_sizes(self).values())

    @property
    def header(self) -> str:
        """The text of the store's header file."""
        return json.dumps({"format": FORMAT, "key": self.to_json()}, indent=1)

    def folder(self, stores: Path) -> Path:
        """Return the folder under `family/teachers`: teacher's id, then a hash of the whole key."""
        whose = self.teachers[0] if len(self.teachers) == 1 else _hash(self.teachers)
        return stores / whose / _name(self.to_json())


def store_key(
    spec: Spec,
    examples: int,
    batch_size: int,
    encoding: Encoding,
    positions: tuple[int, ...] = (),
) -> StoreKey:
    """Return the key of the store that a student's teacher fills.

    Where views cannot be counted, a store is one for students of as many epochs.

    `examples` is the number of training examples, `positions` the shape of one example's answers,
    () for one answer: a row holds the encoded answers of all positions behind one another.
    """
    training, data = spec.training, spec.data
    views = Views.of(data)
    targets = "logits"
    if encoding.top_k is not None:
        targets = f"top {encoding.top_k} of {encoding.classes}"

    return StoreKey(
        teachers=tuple(one.id for one in spec.teachers),
        data=fields.write(data, identity=True),
        precision=training.precision,
        memory_format=training.memory_format,
        compile=training.compile,
        batch_size=batch_size,
        examples=examples,
        views=views.count if views.is_countable else max(1, training.epochs),
        words=encoding.width * math.prod(positions),
        targets=targets,
        by="view" if views.is_countable else "epoch",
        teacher_weights=spec.teacher_weights,
    )


class Store:
    """An open store; a place in it is an example's number and a view's number, (B,) int64 each."""

    def __init__(self, folder: Path, key: StoreKey) -> None:
        self.folder, self.key = folder, key
        self._row_bytes = 2 * (key.words + 1)
        shape = (key.examples, key.views, key.words + 1)
        self._rows = np.memmap(self._rows_file, np.uint16, "r", shape=shape)
        self._filled = np.memmap(
            self._filled_file, np.uint8, "r", shape=(key.examples, -(-key.views // 8))
        )
        self._unflushed = np.zeros(self._filled.shape, np.uint8)
        self._opened: dict[Path, int] = {}
        self._flushed = time.monotonic()

    @classmethod
    def open(
        cls, stores: Path, key: StoreKey, log: Callable[[str], None] = lambda text: None
    ) -> Store:
        """Open the store of a key, or make an empty one.

        What lies in its place and cannot be trusted, such as a store without its header or with
        files of another size, is set aside, which is logged in one line. Raises OSError if nothing
        can be made or set aside.
        """
        folder = key.folder(stores)
        if _lies_at(folder) and _fault(folder, key) is not None:
            _begin_again(folder, key, log)
        if not folder.exists():
            _make(folder, key)
        _sweep(folder)
        return cls(folder, key)

    @property
    def _rows_file(self) -> Path:
        return self.folder / "rows.u16"

    @property
    def _filled_file(self) -> Path:
        return self.folder / "filled.u8"

    @property
    def count(self) -> int:
        """The number of answers that the store holds."""
        return len(self.filled()[0])

    def has(self, examples: Places, views: Places) -> NDArray[np.bool_]:
        """Return for each place whether its answer is there: (B,)."""
        byte = views >> 3
        bits = self._filled[examples, byte] | self._unflushed[examples, byte]
        return (bits >> (views & 7).astype(np.uint8) & 1).astype(bool)

    def read(self, examples: Places, views: Places) -> Words:
        """Return the rows (B, W) at filled places. Raises `AnewError` if a checksum is wrong."""
        rows, sound = self.look(examples, views)
        wrong = np.flatnonzero(~sound)
        if len(wrong):
            place = f"example {examples[wrong[0]]}, view {views[wrong[0]]}"
            raise _unusable(
                self.folder, f"is damaged ({len(wrong)} of {len(rows)} rows read, first {place})"
            )
        return rows

    def look(self, examples: Places, views: Places) -> tuple[Words, NDArray[np.bool_]]:
        """Return the rows (B, W) at filled places, and whether each is as it was written (B,)."""
        rows = self._rows[examples, views]
        return rows[:, :-1], checksums(rows[:, :-1]) == rows[:, -1]

    def write(self, examples: Places, views: Places, words: Words) -> None:
        """Write rows (B, W) at places: filled at once for this process, after a flush for others.

        Raises OSError if the disk is full; rows written before that stay.
        """
        order = np.argsort(examples * self.key.views + views)
        examples, views, words = examples[order], views[order], words[order]
        rows = np.concatenate([words, checksums(words)[:, None]], axis=1)
        positions = examples * self.key.views + views
        # Neighbours on the disk are written together: whole stretches where there is one view,
        # single rows otherwise.
        descriptor = self._for_writing(self._rows_file)
        for start, end in files.stretches(positions):
            files.write_at(
                descriptor, rows[start:end].tobytes(), int(positions[start]) * self._row_bytes
            )
        np.bitwise_or.at(
            self._unflushed, (examples, views >> 3), (1 << (views & 7)).astype(np.uint8)
        )

    def flush(self, *, at_least_every: float = 0.0) -> None:
        """Bring rows to the disk, then set their bits, at most once in `at_least_every` seconds.

        Raises OSError if the disk is full.
        """
        if time.monotonic() - self._flushed < at_least_every:
            return
        self._flushed = time.monotonic()
        changed = np.flatnonzero(self._unflushed.any(1))
        if not len(changed):
            return

        os.fsync(self._for_writing(self._rows_file))
        width = self._filled.shape[1]
        descriptor = self._for_writing(self._filled_file)
        # Other processes set other bits of the same bytes: reading and writing back are one piece.
        with FileLock(self.folder / ".lock"):
            bits = self._filled[changed] | self._unflushed[changed]
            for start, end in files.stretches(changed):
                files.write_at(descriptor, bits[start:end].tobytes(), int(changed[start]) * width)
            os.fsync(descriptor)
        self._unflushed[changed] = 0

    def filled(self) -> tuple[Places, Places]:
        """Return all filled places."""
        bits = np.unpackbits(
            self._filled | self._unflushed, axis=1, count=self.key.views, bitorder="little"
        )
        examples, views = np.nonzero(bits)
        return examples.astype(np.int64), views.astype(np.int64)

    def close(self) -> None:
        """Close the store's files; what was not flushed is forgotten."""
        for descriptor in self._opened.values():
            os.close(descriptor)
        self._opened.clear()

    def _for_writing(self, path: Path) -> int:
        """Return a file's descriptor, opened at the first write: a store may be read only."""
        if path not in self._opened:
            # A link would lead to somebody else's file.
            self._opened[path] = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        return self._opened[path]


def checksums(words: Words) -> Words:
    """Return a checksum (B,) for each row: a weighted sum modulo 2^16.

    The weights are odd, so that one changed bit always shows. It is not 0 for a row of zeros, the
    content of disk that was never written.
    """
    weights = np.arange(1, 2 * words.shape[1], 2, dtype=np.uint16)
    return (words * weights).sum(1, dtype=np.uint16) + np.uint16(0xA5A5)


def folders(stores: Path) -> list[Path]:
    """Return the folders of all stores under `family/teachers`.

    Not those that a killed process left half-made, and not what was set aside.
    """
    return [
        folder
        for folder in sorted(stores.glob("*/*"))
        if not folder.name.startswith((".", _SET_ASIDE))
    ]


def count_held(stores: Path, key: StoreKey) -> int | None:
    """Return how many answers the store of a key holds; None if there is none that can be used."""
    folder = key.folder(stores)
    if not _lies_at(folder) or _fault(folder, key) is not None:
        return None
    with closing(Store(folder, key)) as store:
        return store.count


def verify(folder: Path) -> list[str]:
    """Return the faults of the store in a folder, after reading and checking every filled row."""
    try:
        written = _read_key(folder)
        # A key that hashes to its folder's name was written by anew: only then are its values used.
        if folder.name != _name(written):
            raise _unusable(folder, "is not named by its header")
        written["teachers"] = tuple(written["teachers"])
        key = StoreKey(**written)
        if folder != key.folder(folder.parent.parent):
            raise _unusable(folder, "lies under another teacher's name")
        fault = _fault(folder, key)
        if fault is not None:
            raise fault

        with closing(Store(folder, key)) as store:
            examples, views = store.filled()
            for start in range(0, len(examples), 100_000):
                store.read(examples[start : start + 100_000], views[start : start + 100_000])
    except AnewError as error:
        return [str(error)]
    return []


def _lies_at(path: Path) -> bool:
    """Return whether anything lies at a path, a link that leads nowhere too."""
    return path.exists() or path.is_symlink()


def _fault(folder: Path, key: StoreKey) -> AnewError | None:
    """Return why a folder cannot be used as the store of a key, or None."""
    try:
        written = _read_key(folder)
    except AnewError as error:
        return error
    differing = [name for name, value in key.to_json().items() if written.get(name) != value]
    if differing:
        return _unusable(folder, f"belongs to other outputs (another {differing[0]})")

    for name, size in _sizes(key).items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else 0
        if found != size:
            return _unusable(folder, f"{name} has {found:,} bytes, {size:,} were written")
    return None


def _read_key(folder: Path) -> dict[str, Any]:
    """Return the key in a store's header. Raises `AnewError` if this version cannot read it."""
    path = folder / "header.json"
    for file in (folder, path, *(folder / name for name in _FILES), folder / ".lock"):
        if file.is_symlink():
            raise _unusable(folder, f"{file.name} is a link, which is never written through")

    try:
        header = files.read_json(path)
    except AnewError as error:
        raise _unusable(
            folder, "has a damaged header.json" if path.exists() else "has no header.json"
        ) from error
    if type(header.get("format")) is not int or header["format"] > FORMAT:
        raise _unusable(
            folder, f"has format {header.get('format')}, this anew reads up to {FORMAT}"
        )
    if not isinstance(header.get("key"), dict):
        raise _unusable(folder, "has a damaged header.json")
    return header["key"]


def _begin_again(folder: Path, key: StoreKey, log: Callable[[str], None]) -> None:
    """Move what cannot be used away, under a name that nobody looks for, and make a store there.

    Of several processes one does that; the others wait at the folder above and find the new store.
    """
    above = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(above, fcntl.LOCK_EX)
        fault = _fault(folder, key) if _lies_at(folder) else None
        if fault is not None:
            places = (folder.with_name(f"{_SET_ASIDE}{number}") for number in itertools.count(1))
            place = next(place for place in places if not _lies_at(place))
            folder.rename(place)
            log(f"{fault}; the old file is now {place.name} beside it")
        # Before the others look: a store that is being made must not look like a damaged one.
        if not folder.exists():
            _make(folder, key)
    finally:
        os.close(above)


def _make(folder: Path, key: StoreKey) -> None:
    """Make an empty store under another name and rename it: it appears whole or not at all.

    What it holds is on the disk before it has its name, so that a loss of power leaves no store
    with an empty header.
    """
    making = files.half_written(folder)
    try:
        making.parent.mkdir(parents=True, exist_ok=True)
        making.mkdir()

        with (making / "header.json").open("w") as file:
            file.write(key.header)
            file.flush()
            os.fsync(file.fileno())
        for name, size in _sizes(key).items():
            with (making / name).open("wb") as file:
                file.truncate(size)
                os.fsync(file.fileno())
        files.flush_folder(making)
        making.rename(folder)
        files.flush_folder(folder.parent)
    except OSError:
        shutil.rmtree(making, ignore_errors=True)
        # Unless another process made the same store in the meantime.
        if not folder.exists():
            raise


def _sweep(folder: Path) -> None:
    """Remove the half-made copies of this finished store that killed processes left.

    A process that is still making one loses nothing: it cannot rename over the store, and uses it.
    """
    half_made = re.compile(rf"\.{re.escape(folder.name)}\.{files.HALF_WRITTEN}")
    for making in folder.parent.iterdir():
        if half_made.fullmatch(making.name):
            shutil.rmtree(making, ignore_errors=True)


def _sizes(key: StoreKey) -> dict[str, int]:
    rows = key.examples * key.views * 2 * (key.words + 1)
    bits = key.examples * -(-key.views // 8)
    return dict(zip(_FILES, (rows, bits), strict=True))


def _unusable(folder: Path, what: str) -> AnewError:
    return AnewError(
        f"stored targets {folder}: {what}; the next student that needs them computes them again"
    )


def _name(key: Mapping[str, Any]) -> str:
    return _hash({"format": FORMAT, **key})


def _hash(value: object) -> str:
    return files.sha256_of_json(value)[:16]
