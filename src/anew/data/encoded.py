"""Encoded pictures, as they lie on the disk: read one by one, by their number."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from anew.core.errors import AnewError
from anew.core.files import check_regular


@runtime_checkable
class Encoded(Protocol):
    """Picture files in a fixed order. Worker processes read them: they can be pickled."""

    @property
    def stamp(self) -> str:
        """A hash that changes if a file was replaced: over the files' places, sizes and times."""
        ...

    @property
    def in_any_order(self) -> bool:
        """Whether pictures are read as quickly in random order as one after another."""
        ...

    def __len__(self) -> int:
        """Return the number of pictures."""
        ...

    def name(self, number: int) -> str:
        """Return what a message calls a picture, such as its path."""
        ...

    def content(self, number: int) -> bytes:
        """Return the bytes of a picture's file. Raises `AnewError` if it cannot be read."""
        ...


class PictureFiles:
    """Picture files of a folder."""

    def __init__(self, paths: Sequence[str | Path]) -> None:
        # Texts take a tenth of the memory of paths; there may be millions.
        self._paths = [os.fspath(path) for path in paths]

    @property
    def stamp(self) -> str:
        """A hash over the files' paths, sizes and times of change."""
        return stamp_of(self._paths)

    @property
    def in_any_order(self) -> bool:
        """Whether pictures are read quickly in any order: each is a file."""
        return True

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, number: int) -> str:
        """Return the path."""
        return self._paths[number]

    def content(self, number: int) -> bytes:
        """Return the file's bytes."""
        path = Path(self._paths[number])
        check_regular(path)
        try:
            return path.read_bytes()
        except OSError as error:
            raise AnewError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def stamp_of(paths: Sequence[str | Path]) -> str:
    """Return a hash over files' paths, sizes and times of change.

    Raises `AnewError` if one is not there.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            place = Path(path)
            found = place.stat()
        except OSError as error:
            raise AnewError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        text = f"{place.absolute()}\0{found.st_size}\0{found.st_mtime_ns}\0"
        digest.update(text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
