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
bytes, and bits are set under a lock.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
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

    def to_json(self) -> dict[str, Any]:
        """Return the key as the header holds it."""
        key = json.loads(json.dumps(asdict(self)))
        if self.by == "view":
            # The first stores did not say it.
            del key["by"]
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
    def open(cls, stores: Path, key: StoreKey) -> Store:
        """Open the store of a key, or make an empty one.

        Raises `AnewError` if its folder holds another store, a newer format, or files of another
        size, and OSError if it cannot be made.
        """
        folder = key.folder(stores)
        if not folder.exists():
            _make(folder, key)
        _sweep(folder)
        written = _read_key(folder)
        differing = [name for name, value in key.to_json().items() if written.get(name) != value]
        if differing:
            raise _unusable(folder, f"holds other answers (another {differing[0]})")
        for name, size in _sizes(key).items():
            found = (folder / name).stat().st_size if (folder / name).exists() else 0
            if found != size:
                raise _unusable(folder, f"{name} has {found:,} bytes, {size:,} were written")
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
        rows = self._rows[examples, views]
        wrong = np.flatnonzero(checksums(rows[:, :-1]) != rows[:, -1])
        if len(wrong):
            place = f"example {examples[wrong[0]]}, view {views[wrong[0]]}"
            raise _unusable(
                self.folder, f"is damaged ({len(wrong)} of {len(rows)} rows read, first {place})"
            )
        return rows[:, :-1]

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
        for start, end in _stretches(positions):
            _write_all(
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
            for start, end in _stretches(changed):
                _write_all(descriptor, bits[start:end].tobytes(), int(changed[start]) * width)
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
            self._opened[path] = os.open(path, os.O_WRONLY)
        return self._opened[path]


def checksums(words: Words) -> Words:
    """Return a checksum (B,) for each row: a weighted sum modulo 2^16.

    The weights are odd, so that one changed bit always shows. It is not 0 for a row of zeros, the
    content of disk that was never written.
    """
    weights = np.arange(1, 2 * words.shape[1], 2, dtype=np.uint16)
    return (words * weights).sum(1, dtype=np.uint16) + np.uint16(0xA5A5)


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

        with closing(Store.open(folder.parent.parent, key)) as store:
            examples, views = store.filled()
            for start in range(0, len(examples), 100_000):
                store.read(examples[start : start + 100_000], views[start : start + 100_000])
    except AnewError as error:
        return [str(error)]
    return []


def _read_key(folder: Path) -> dict[str, Any]:
    """Return the key in a store's header. Raises `AnewError` if this version cannot read it."""
    path = folder / "header.json"
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


def _make(folder: Path, key: StoreKey) -> None:
    """Make an empty store under another name and rename it: it appears whole or not at all."""
    making = folder.with_name(_making(folder.name, os.getpid()))
    try:
        making.mkdir(parents=True, exist_ok=True)
        (making / "header.json").write_text(key.header)
        for name, size in _sizes(key).items():
            with (making / name).open("wb") as file:
                file.truncate(size)
        making.rename(folder)
    except OSError:
        shutil.rmtree(making, ignore_errors=True)
        # Unless another process made the same store in the meantime.
        if not folder.exists():
            raise


def _sweep(folder: Path) -> None:
    """Remove the half-made copies of this finished store that killed processes left.

    A process that is still making one loses nothing: it cannot rename over the store, and uses it.
    """
    for making in folder.parent.glob(_making(folder.name, "*")):
        shutil.rmtree(making, ignore_errors=True)


def _making(name: str, process: int | str) -> str:
    """Return the name under which a process makes a store: with a dot, unlike a finished one's."""
    return f".{name}.{process}.tmp"


def _sizes(key: StoreKey) -> dict[str, int]:
    return {
        "rows.u16": key.examples * key.views * 2 * (key.words + 1),
        "filled.u8": key.examples * -(-key.views // 8),
    }


def _unusable(folder: Path, what: str) -> AnewError:
    return AnewError(f"stored targets {folder}: {what}; remove that folder, it is filled again")


def _stretches(numbers: Places) -> Iterable[tuple[int, int]]:
    """Return start and end of each stretch of sorted numbers without a gap."""
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    return pairwise(sorted({0, *cuts.tolist(), len(numbers)}))


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def _name(key: Mapping[str, Any]) -> str:
    return _hash({"format": FORMAT, **key})


def _hash(value: object) -> str:
    return files.sha256_of_json(value)[:16]
