"""A copy of encoded pictures in the cache, for files that cannot be read in any order quickly.

A Parquet file is read a row group at a time: to show pictures in random order it would be read
hundreds of times. The copy is one file of all pictures' bytes behind one another.

    encoded.raw     the bytes of all pictures
    offsets.i64     (N + 1,) where each starts
    encoded.u32     (N,) checksums
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np

from anew.core import files
from anew.core.text import in_bytes
from anew.data.encoded import Encoded
from anew.data.storage import Storage


class Packed:
    """Encoded pictures read from their copy; what is damaged there is read from the original."""

    def __init__(self, original: Encoded, folder: Path) -> None:
        self._original, self._folder = original, folder
        self._offsets = np.fromfile(folder / "offsets.i64", np.int64)
        self._checks = np.fromfile(folder / "encoded.u32", np.uint32)
        self._opened: tuple[int, int] | None = None

    @property
    def stamp(self) -> str:
        """The original's stamp."""
        return self._original.stamp

    @property
    def in_any_order(self) -> bool:
        """Whether pictures are read quickly in any order: yes."""
        return True

    def __len__(self) -> int:
        return len(self._checks)

    def name(self, number: int) -> str:
        """Return the original's name."""
        return self._original.name(number)

    def content(self, number: int) -> bytes:
        """Return the bytes of a picture's file."""
        start, end = (int(offset) for offset in self._offsets[number : number + 2])
        content = b""
        try:
            content = os.pread(self._descriptor(), end - start, start)
        except OSError:
            self._opened = None
        if zlib.crc32(content) != self._checks[number]:
            return self._original.content(number)
        return content

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_opened": None}

    def _descriptor(self) -> int:
        """Return the file's descriptor; each process opens its own."""
        if self._opened is None or self._opened[0] != os.getpid():
            path = self._folder / "encoded.raw"
            self._opened = os.getpid(), os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        return self._opened[1]


def packed(original: Encoded, folder: Path | None, storage: Storage) -> Encoded:
    """Return a copy of encoded pictures that is read in any order, made now if it is missing.

    Returns the original, and logs why, if the copy would not fit the budget.
    """
    if original.in_any_order or folder is None:
        return original
    if not _is_whole(folder, len(original)) and not _write(original, folder, storage):
        storage.log(
            "pictures are read from Parquet in random order, which is slow: raise --cache-budget "
            "to have them copied once"
        )
        return original
    return Packed(original, folder)


def _is_whole(folder: Path, count: int) -> bool:
    try:
        offsets = np.fromfile(folder / "offsets.i64", np.int64)
        size = (folder / "encoded.raw").stat().st_size
        checks = (folder / "encoded.u32").stat().st_size
    except OSError:
        return False
    return len(offsets) == count + 1 and checks == 4 * count and size == int(offsets[-1])


def _write(original: Encoded, folder: Path, storage: Storage) -> bool:
    """Copy the pictures in order; return whether they fitted. The offsets come last."""
    tell = storage.progress("pictures copied from Parquet", len(original))
    room = min(storage.budget, files.free_bytes(folder) / 2)
    making = files.half_written(folder / "encoded.raw")
    offsets, checks = [0], list[int]()

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with making.open("wb") as file:
            for number in range(len(original)):
                content = original.content(number)
                offsets.append(offsets[-1] + len(content))
                checks.append(zlib.crc32(content))
                if offsets[-1] > room:
                    return False
                file.write(content)
                tell(number + 1)

        making.replace(folder / "encoded.raw")
        np.array(checks, np.uint32).tofile(folder / "encoded.u32")
        np.array(offsets, np.int64).tofile(folder / "offsets.i64")
    except OSError as error:
        storage.log(f"pictures are not copied to {folder}: {error.strerror}")
        return False
    finally:
        making.unlink(missing_ok=True)
    storage.log(f"pictures copied once from Parquet to the cache: {in_bytes(offsets[-1])}")
    return True
