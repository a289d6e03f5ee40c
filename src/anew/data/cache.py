"""Decoded pictures and what is known of them, kept between runs in the user's cache folder.

A data set has a folder there, named by a hash of its files' places, sizes and times and of the form
in which pictures are kept:

    manifest.json   the layout, the fingerprint, which files are damaged: facts that took a pass
    pictures.raw    (N, H, W, C) pixels, sparse: a picture is written when it is first decoded
    checks.u32      (N,) checksums of the pictures; 0 where none is written

A picture whose checksum is wrong is decoded again, so a damaged, half-written or deleted cache
costs time and nothing else. The least recently used folders go when the budget is exceeded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import platformdirs

from anew.core import files
from anew.core.errors import AnewError
from anew.core.text import in_bytes
from anew.data.pictures import Form, Pixels

FORMAT = 1
_MANIFEST = "manifest.json"
INDEX = "tar.index"
"""The index of tar files, in a folder of its own."""
_FILES = (
    _MANIFEST,
    INDEX,
    "pictures.raw",
    "checks.u32",
    "encoded.raw",
    "offsets.i64",
    "encoded.u32",
)


@dataclass(frozen=True)
class Layout:
    """The form of every kept picture of a data set."""

    height: int
    width: int
    channels: int
    is_deep: bool = False
    """Whether pixels are float32, of pictures with 16 bits, instead of uint8."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.height, self.width, self.channels

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """The type of a pixel."""
        return np.float32 if self.is_deep else np.uint8

    @property
    def bytes(self) -> int:
        """The size of one picture."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def cache_folder() -> Path:
    """Return the folder of the cache: `ANEW_CACHE`, or the system's place for caches."""
    given = os.environ.get("ANEW_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("anew", appauthor=False))


def key_of(stamp: str, form: Form) -> str:
    """Return the name of a data set's folder: other files, another form or decoder are another."""
    about = [FORMAT, stamp, asdict(form), PIL.__version__]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


class Facts:
    """What a pass over a data set found, kept in its manifest; only in memory without a folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._values: dict[str, Any] = {}
        if folder is not None and (folder / _MANIFEST).is_file():
            try:
                self._values = files.read_json(folder / _MANIFEST)
                os.utime(folder / _MANIFEST)
            except (AnewError, OSError):
                # What cannot be read is found again.
                self._values = {}

    def get(self, name: str) -> Any:
        """Return a fact, None if it is not known."""
        return self._values.get(name)

    def set(self, name: str, value: Any) -> None:
        """Keep a fact; a folder that cannot be written keeps it for this process alone."""
        self._values[name] = value
        if self.folder is not None:
            try:
                files.write_json(self.folder / _MANIFEST, self._values)
            except AnewError:
                self.folder = None


class PictureCache:
    """The decoded pictures of a data set on the disk. Processes may share it: equal bytes meet."""

    def __init__(self, folder: Path, count: int, layout: Layout) -> None:
        self.folder, self.count, self.layout = folder, count, layout
        self._opened: dict[str, int] = {}
        self._process = 0

    @classmethod
    def open(
        cls, folder: Path, count: int, layout: Layout, budget: float, log: Callable[[str], None]
    ) -> PictureCache | None:
        """Open a data set's cache, or make an empty one.

        Returns None, and logs why, if it does not fit `budget` bytes or half of the free disk, or
        if the folder cannot be written.
        """
        cache = cls(folder, count, layout)
        if cache._is_there():
            return cache

        needed = count * (layout.bytes + 4)
        room = min(budget, files.free_bytes(folder) / 2)
        if needed > room:
            if budget > 0:
                log(
                    f"decoded pictures are not cached: they need {in_bytes(needed)}, "
                    f"{in_bytes(room)} are allowed (--cache-budget, or half of the free disk)"
                )
            return None
        try:
            _evict(folder, budget - needed)
            folder.mkdir(parents=True, exist_ok=True)
            for name, size in cache._sizes().items():
                with (folder / name).open("ab") as file:
                    file.truncate(size)
        except OSError as error:
            log(f"decoded pictures are not cached: {folder}: {error.strerror}")
            return None
        return cache

    def read(self, numbers: Sequence[int], into: Pixels) -> list[int]:
        """Read pictures into rows of `into` (B, H, W, C); return the rows that are not there."""
        missing: list[int] = []
        try:
            checks = np.zeros(len(numbers), np.uint32)
            for start, end in files.stretches(numbers):
                self._read("checks.u32", numbers[start], checks[start:end])
                self._read("pictures.raw", numbers[start], into[start:end])
        except OSError:
            return list(range(len(numbers)))
        for row, check in enumerate(checks.tolist()):
            if not check or check != _check(into[row]):
                missing.append(row)
        return missing

    def write(self, number: int, picture: Pixels) -> None:
        """Keep a picture (H, W, C). A full disk ends the keeping, and nothing else."""
        try:
            self._write("pictures.raw", number, picture)
            self._write("checks.u32", number, np.array([_check(picture)], np.uint32))
        except OSError:
            return

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}, "_process": 0}

    def _is_there(self) -> bool:
        return all(
            (self.folder / name).is_file() and (self.folder / name).stat().st_size == size
            for name, size in self._sizes().items()
        )

    def _sizes(self) -> dict[str, int]:
        return {"pictures.raw": self.count * self.layout.bytes, "checks.u32": 4 * self.count}

    def _read(self, name: str, number: int, into: np.ndarray) -> None:
        size = into.nbytes // len(into)
        view = memoryview(into.data).cast("B")
        done = 0
        while done < len(view):
            read = os.preadv(self._descriptor(name), [view[done:]], number * size + done)
            if not read:
                raise OSError(f"{self.folder / name} is too short")
            done += read

    def _write(self, name: str, number: int, rows: np.ndarray) -> None:
        content = memoryview(np.ascontiguousarray(rows).data).cast("B")
        offset = number * (4 if name == "checks.u32" else self.layout.bytes)
        files.write_at(self._descriptor(name), content, offset)

    def _descriptor(self, name: str) -> int:
        """Return a file's descriptor; each process opens its own."""
        if self._process != os.getpid():
            self._opened, self._process = {}, os.getpid()
        if name not in self._opened:
            self._opened[name] = os.open(self.folder / name, os.O_RDWR | os.O_NOFOLLOW)
        return self._opened[name]


def _check(picture: np.ndarray) -> int:
    """Return a checksum that is never 0."""
    return zlib.crc32(np.ascontiguousarray(picture).data) or 1


def _evict(keep: Path, budget: float) -> None:
    """Remove the least recently used data sets until the others take at most `budget` bytes.

    Only folders that hold the files of a cache and nothing else are touched.
    """
    sizes: list[tuple[float, int, Path]] = []
    for folder in keep.parent.glob("*") if keep.parent.is_dir() else ():
        held = [path for path in folder.glob("*") if folder.is_dir() and not folder.is_symlink()]
        if folder == keep or not held or any(path.name not in _FILES for path in held):
            continue
        taken = sum(path.stat().st_blocks * 512 for path in held)
        sizes.append((max(path.stat().st_mtime for path in held), taken, folder))

    total = sum(taken for _, taken, _ in sizes)
    for _, taken, folder in sorted(sizes):
        if total <= budget:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= taken
