"""The pictures of a source, each kept in one form: decoded when asked for, or from the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from anew.core.errors import AnewError
from anew.data.cache import Facts, Layout, PictureCache, key_of
from anew.data.encoded import Encoded
from anew.data.moments import Moments, moments_of
from anew.data.packed import packed
from anew.data.pictures import Form, Header, Part, PictureError, Pixels, Size, decode, read_header
from anew.data.storage import Storage
from anew.data.views.moves import centre
from anew.data.workers import in_order

AT_ONCE = 64
"""Files in one piece of work of a process."""
FILES = 256
"""Files of which headers or hashes alone are read in one piece of work."""
PIECE = 16 << 20
"""Bytes of pictures in one piece of work."""
FEW = 256
"""So few pictures are decoded here: to start processes would take longer."""
NAMED = 10
MUCH = 16_000_000_000
"""Bytes of decoded pictures that no version before could hold."""


class Kept:
    """The pictures of a source in the form in which they are kept, by their number."""

    def __init__(
        self, encoded: Encoded, form: Form, layout: Layout, cache: PictureCache | None
    ) -> None:
        self.encoded, self.layout, self.cache = encoded, layout, cache
        self._form = replace(form, channels=layout.channels)

    def __len__(self) -> int:
        return len(self.encoded)

    def pixels(
        self,
        numbers: Sequence[int],
        into: Pixels | None = None,
        parts: Sequence[Part] | None = None,
    ) -> Pixels:
        """Return pictures (B, H, W, C), in new memory or in `into`.

        Where only `parts` of them are asked for, one for each, what lies beyond them has no
        meaning. Raises `PictureError` if one cannot be decoded or, where sizes must be equal, has
        another.
        """
        if into is None:
            into = np.empty((len(numbers), *self.layout.shape), self.layout.dtype)
        if self.cache is None and parts is not None and self._form.size is not None:
            for row, (top, left, height, width) in enumerate(parts):
                picture = self._decode(numbers[row], parts[row])
                into[row, top : top + height, left : left + width] = picture
            return into

        missing = range(len(numbers)) if self.cache is None else self.cache.read(numbers, into)
        for row in missing:
            into[row] = self._decode(numbers[row])
            if self.cache is not None:
                self.cache.write(numbers[row], into[row])
        return into

    def _decode(self, number: int, part: Part | None = None) -> Pixels:
        name = self.encoded.name(number)
        picture = decode(name, self.encoded.content(number), self._form, part)
        if part is None and picture.shape != self.layout.shape:
            raise PictureError(_another_size(name, picture.shape[:2], self.layout))
        return picture.astype(self.layout.dtype, copy=False)


class Pictures:
    """The pictures of a source with what is known of them: the layout, damage, digests.

    Facts that take a pass over the files are kept in the cache's manifest, so a second start reads
    them.
    """

    def __init__(self, encoded: Encoded, form: Form, storage: Storage) -> None:
        """Read the headers of all pictures, unless the manifest knows their layout.

        Raises `AnewError` if none can be read, or if sizes differ and `form` names none.
        """
        self.encoded, self.form, self.storage = encoded, form, storage
        self.folder = None
        if storage.folder is not None:
            self.folder = storage.folder / key_of(encoded.stamp, form)
        self.facts = Facts(self.folder)
        self._digests: list[bytes] = []
        self.layout = self._known_layout() or self._find_layout()
        self.kept = Kept(encoded, form, self.layout, self._open_cache())

    def __len__(self) -> int:
        return len(self.encoded)

    def prepare_for_streaming(self) -> None:
        """Copy the encoded pictures into the cache if that makes them readable in any order.

        Where all decoded pictures are cached it is not needed.
        """
        if self.kept.cache is None:
            encoded = packed(self.encoded, self.folder, self.storage)
            self.kept = Kept(encoded, self.form, self.layout, None)

    def load(self, numbers: Sequence[int]) -> Pixels:
        """Return pictures (N, H, W, C) in one block of memory.

        Raises `DamagedError` that names all that cannot be decoded.
        """
        block = np.empty((len(numbers), *self.layout.shape), self.layout.dtype)
        missing = list(range(len(numbers)))
        if self.kept.cache is not None:
            missing = self.kept.cache.read(numbers, block)

        done = 0
        for pictures in self.pieces([numbers[row] for row in missing]):
            block[missing[done : done + len(pictures)]] = pictures
            done += len(pictures)
        return block

    def pieces(self, numbers: Sequence[int]) -> Iterator[Pixels]:
        """Yield pictures (B, H, W, C) in order, a few at a time, made ahead by processes.

        Raises `DamagedError` that names all that cannot be decoded, after the last.
        """
        at_once = max(1, min(AT_ONCE, PIECE // self.layout.bytes))
        parts = [list(numbers[at : at + at_once]) for at in range(0, len(numbers), at_once)]
        tell = self.storage.progress("pictures decoded", len(numbers))
        damaged: dict[int, str] = {}
        done = 0
        for pictures, errors in in_order(
            partial(_attempt, self.kept), parts, self.workers(len(numbers))
        ):
            damaged |= errors
            done += len(pictures)
            tell(done)
            yield pictures.numpy()
        if damaged:
            raise damaged_error(damaged, len(numbers))

    def moments(self, numbers: Sequence[int], shown: tuple[int, int] | None) -> Moments:
        """Return the sums of pictures' pixels, of their centres where less is shown than is kept.

        Raises `DamagedError` if some pictures cannot be decoded.
        """
        digest = hashlib.sha256(np.asarray(numbers, np.int64).tobytes()).hexdigest()[:16]
        name = f"moments {digest} {shown}"
        known = self.facts.get(name)
        if known is not None:
            return Moments(known["pixels"], tuple(known["totals"]), tuple(known["squares"]))

        moments = moments_of(
            (_middle(pictures, shown) for pictures in self.pieces(numbers)), self.layout.channels
        )
        self.facts.set(name, asdict(moments))
        return moments

    def damaged(self) -> dict[int, str]:
        """Return what is wrong with each damaged picture, after decoding all of them once."""
        known = self.facts.get("damaged")
        if isinstance(known, dict):
            return {int(number): str(text) for number, text in known.items()}
        found: dict[int, str] = {}
        try:
            for _ in self.pieces(range(len(self))):
                pass
        except DamagedError as error:
            found = error.damaged
        self.facts.set("damaged", {str(number): text for number, text in found.items()})
        return found

    def in_words(self) -> list[str]:
        """Return what the headers of the picture files say of them, a line each."""
        least_height, least_width, height, width = self.facts.get("sizes")
        least, most = f"{least_width}x{least_height}", f"{width}x{height}"
        between = least if least == most else f"{least} to {most}"
        lines = [f"picture files: {len(self):,}, of {between} pixels (width x height)"]
        unread = self.facts.get("unread")
        if unread:
            lines.append(
                f"picture files that cannot be read: {unread}; training stops at them, or skips "
                "them with --data.skip-damaged"
            )
        return lines

    @property
    def counts_as_files(self) -> bool:
        """Whether a fingerprint takes the bytes of files for pictures, not the pixels.

        Those that are resized count so at any size, and those of which there are too many to
        decode all of them only to tell what they are.
        """
        return self.form.size is not None or len(self) * self.layout.bytes > MUCH

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each picture's file."""
        if self._digests:
            return self._digests
        parts = [range(at, min(at + FILES, len(self))) for at in range(0, len(self), FILES)]
        tell = self.storage.progress("picture files read", len(self))
        digests: list[bytes] = []
        work = partial(_digests, self.encoded)
        for part in in_order(work, parts, self.workers(len(self))):
            digests += part
            tell(len(digests))
        return digests

    def workers(self, count: int) -> int:
        """Return how many processes work on so many pictures, before anything is trained."""
        return 0 if count <= FEW else self.storage.processes

    def ahead(self, count: int) -> int:
        """Return how many processes decode what a network is shown of so many pictures."""
        return 0 if count <= FEW else self.storage.ahead

    def _known_layout(self) -> Layout | None:
        # A manifest of an earlier version lacks what the headers say beside.
        known = self.facts.get("layout") if self.facts.get("sizes") else None
        try:
            return Layout(**known) if known else None
        except TypeError:
            return None

    def _find_layout(self) -> Layout:
        headers, unread = self._headers()
        sound = {number: header for number, header in enumerate(headers) if header is not None}
        if not sound:
            raise damaged_error(unread, len(self))

        first = next(iter(sound.values()))
        channels = self.form.channels or max(header.channels for header in sound.values())
        deep = any(header.is_deep for header in sound.values())
        height, width = self.form.size or (first.height, first.width)
        layout = Layout(height, width, channels, deep)
        if self.form.size is None:
            self._check_sizes(sound, layout)
        self.facts.set("layout", asdict(layout))
        heights, widths = zip(
            *((header.height, header.width) for header in sound.values()), strict=True
        )
        self.facts.set("sizes", [min(heights), min(widths), max(heights), max(widths)])
        self.facts.set("unread", some_of(list(unread.values())))
        return layout

    def _headers(self) -> tuple[list[Header | None], dict[int, str]]:
        parts = [range(at, min(at + FILES, len(self))) for at in range(0, len(self), FILES)]
        tell = self.storage.progress("picture headers read", len(self))
        headers: list[Header | None] = []
        errors: dict[int, str] = {}
        work = partial(_headers, self.encoded)
        for found, wrong, digests in in_order(work, parts, self.workers(len(self))):
            headers += found
            errors |= wrong
            self._digests += digests
            tell(len(headers))
        return headers, errors

    def _check_sizes(self, sound: dict[int, Header], layout: Layout) -> None:
        others = [
            _another_size(self.encoded.name(number), (header.height, header.width), None)
            for number, header in sound.items()
            if (header.height, header.width) != (layout.height, layout.width)
        ]
        if others:
            raise AnewError(
                f"{len(others)} of {len(sound)} pictures have another size than the first "
                f"({layout.width}x{layout.height}): {some_of(others, 3)}; resize and crop all with "
                f"--data.size, such as --data.size {_usual(layout)}"
            )

    def _open_cache(self) -> PictureCache | None:
        if self.folder is None or self.facts.folder is None:
            return None
        return PictureCache.open(
            self.folder, len(self), self.layout, self.storage.budget, self.storage.log
        )


class DamagedError(PictureError):
    """Pictures that cannot be decoded, with what is wrong with each, by its number."""

    def __init__(self, text: str, damaged: dict[int, str]) -> None:
        super().__init__(text)
        self.damaged = damaged


def _middle(pictures: Pixels, shown: Size | None) -> Pixels:
    """Return what is shown of pictures (B, H, W, C) without augmentation: their middle."""
    if shown is None:
        return pictures
    top, left = centre((pictures.shape[1], pictures.shape[2]), shown)
    return pictures[:, top : top + shown[0], left : left + shown[1]]


def damaged_error(damaged: dict[int, str], count: int) -> DamagedError:
    """Return the error that names the pictures that cannot be decoded, all or the first ten."""
    number = f"{len(damaged)} of {count:,} pictures cannot be read: " if len(damaged) > 1 else ""
    return DamagedError(
        f"{number}{some_of(list(damaged.values()))}; replace the damaged pictures, or skip them "
        "with --data.skip-damaged",
        damaged,
    )


def some_of(texts: Sequence[str], named: int = NAMED) -> str:
    """Return texts one after another, the first of many."""
    more = f"; and {len(texts) - named:,} more" if len(texts) > named else ""
    return "; ".join(texts[:named]) + more


def _another_size(name: str, size: tuple[int, ...], layout: Layout | None) -> str:
    be = f", not {layout.width}x{layout.height}" if layout is not None else ""
    return f"{name} is {size[1]}x{size[0]} pixels{be}"


def _usual(layout: Layout) -> int:
    """Return a usual side of pictures that is not larger than these have."""
    least = min(layout.height, layout.width)
    return next((side for side in (224, 128, 64, 32) if side <= least), 32)


def _attempt(kept: Kept, numbers: list[int]) -> tuple[Tensor, dict[int, str]]:
    """Return pictures, and what is wrong with those that cannot be decoded, by their number.

    The pictures are a tensor, which another process gets without a copy.
    """
    try:
        return torch.from_numpy(kept.pixels(numbers)), {}
    except PictureError:
        errors: dict[int, str] = {}
        pictures = np.zeros((len(numbers), *kept.layout.shape), kept.layout.dtype)
        for row, number in enumerate(numbers):
            try:
                kept.pixels([number], pictures[row : row + 1])
            except PictureError as error:
                errors[number] = str(error)
        return torch.from_numpy(pictures), errors


def _digests(encoded: Encoded, numbers: Sequence[int]) -> list[bytes]:
    digests: list[bytes] = []
    for number in numbers:
        try:
            content = encoded.content(number)
        except PictureError:
            content = b""
        digests.append(hashlib.sha256(content).digest())
    return digests


def _headers(
    encoded: Encoded, numbers: Sequence[int]
) -> tuple[list[Header | None], dict[int, str], list[bytes]]:
    """Return the headers, what is wrong with files that have none, and the files' SHA-256."""
    headers: list[Header | None] = []
    errors: dict[int, str] = {}
    digests: list[bytes] = []
    for number in numbers:
        content = b""
        try:
            # A row of a table may hold no picture.
            content = encoded.content(number)
            headers.append(read_header(encoded.name(number), content))
        except PictureError as error:
            headers.append(None)
            errors[number] = str(error)
        digests.append(hashlib.sha256(content).digest())
    return headers, errors, digests
