"""Which pictures lie where in tar files, with their labels: found once, then read from the cache.

WebDataset's way of keeping examples: members whose names are alike up to the first dot of their
last part belong together, as `a/0001.jpg` and `a/0001.cls`. Such a name is a key and never a path.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from anew.core import files
from anew.core.errors import AnewError, in_one_line
from anew.core.parsing import parse_json
from anew.data.cache import INDEX, key_of
from anew.data.encoded import stamp_of
from anew.data.pictures import Form
from anew.data.sources.folder import is_picture
from anew.data.sources.layout_names import LABELS, column_called, is_of_system
from anew.data.storage import Storage
from anew.data.workers import in_order

LABEL_SUFFIXES = ("cls", "class", "label", "target")
"""What a member with a label alone is called behind its key, the first that is there."""
TEXT_SUFFIX = "txt"
MOST_LABEL = 1 << 20
"""The bytes that a label's member may have."""
NO_LABEL = -1
FEW = 4
"""So few files are read here: to start processes would take longer."""
_PACKED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
_END = 512
_BEHIND = 1 << 16


@dataclass(frozen=True)
class Wanted:
    """Which members are pictures and labels, if the user says it; what is usual if empty."""

    image: str = ""
    """The suffix of the pictures."""
    label: str = ""
    """The suffix of the labels, or a field of the members that are JSON."""


@dataclass
class Piece:
    """What one tar file holds."""

    keys: list[str] = field(default_factory=list[str])
    offsets: list[int] = field(default_factory=list[int])
    sizes: list[int] = field(default_factory=list[int])
    labels: list[str | None] = field(default_factory=list["str | None"])
    without_picture: list[str] = field(default_factory=list[str])
    """Keys of which no member is a picture."""
    several: dict[str, str] = field(default_factory=dict[str, str])
    """Keys with several pictures, or with one twice, and which."""
    others: Counter[str] = field(default_factory=Counter[str])
    """How many members are no files: links and the like."""
    damage: str = ""
    """What is wrong with the file behind the last whole member."""


@dataclass(frozen=True)
class TarIndex:
    """The pictures in tar files, in the order of the files, each with its label."""

    tars: NDArray[np.int32]
    """The number of the file that each picture lies in."""
    offsets: NDArray[np.int64]
    """Where each picture starts in its file."""
    sizes: NDArray[np.int64]
    key_bytes: NDArray[np.uint8]
    """All keys, one behind the other."""
    key_ends: NDArray[np.int64]
    labels: NDArray[np.int32]
    """The number of each picture's label among the texts, or `NO_LABEL`."""
    texts: list[str]
    """The different labels, as they are written."""
    notes: list[dict[str, Any]]
    """Of each file: without_picture, several, others, damage."""

    def __len__(self) -> int:
        return len(self.tars)

    def key(self, number: int) -> str:
        """Return a picture's key."""
        start = int(self.key_ends[number - 1]) if number else 0
        text = self.key_bytes[start : self.key_ends[number]].tobytes()
        return text.decode("utf-8", "surrogateescape")


def index_of(paths: Sequence[Path], wanted: Wanted, storage: Storage) -> TarIndex:
    """Return what tar files hold: from the cache, or by a pass over their headers and labels.

    Raises `AnewError` if one is no tar file, or is compressed.
    """
    place = None
    if storage.folder is not None:
        about = f"{stamp_of(paths)} tar {wanted.image} {wanted.label}"
        place = storage.folder / key_of(about, Form()) / INDEX
        known = _read(place)
        if known is not None:
            return known

    tell = storage.progress("tar files indexed", len(paths))
    pieces: list[Piece] = []
    workers = storage.processes if len(paths) > FEW else 0
    for piece in in_order(partial(scan, wanted), paths, workers):
        pieces.append(piece)
        tell(len(pieces))
    found = _joined(pieces)
    if place is not None:
        _write(place, found, storage)
    return found


def scan(wanted: Wanted, path: Path) -> Piece:
    """Return what a tar file holds. Raises `AnewError` if it is none, or is compressed."""
    files.check_regular(path)
    try:
        with path.open("rb") as file:
            _check_plain(path, file)
            return _scan(wanted, path, file)
    except OSError as error:
        raise AnewError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _scan(wanted: Wanted, path: Path, file: BinaryIO) -> Piece:
    piece, samples = Piece(), dict[str, _Sample]()
    size = os.fstat(file.fileno()).st_size
    try:
        tar: Any = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115
    except tarfile.TarError as error:
        raise AnewError(
            f"{path}: is no tar file ({in_one_line(error)}); download it again"
        ) from error

    try:
        while (member := tar.next()) is not None:
            # A set has millions of members, and each is needed once.
            tar.members = []
            if member.offset_data + member.size > size:
                piece.damage = f"ends in the middle of {member.name}"
                break
            _add(member, samples, piece, file)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        piece.damage = f"is damaged at byte {tar.offset:,} ({in_one_line(error)})"
    piece.damage = piece.damage or _what_is_behind(file, tar.offset)

    for key, sample in samples.items():
        _choose(key, sample, wanted, piece, file)
    return piece


@dataclass
class _Sample:
    """The members of a key, by their suffix: offset and size."""

    members: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    repeated: list[str] = field(default_factory=list[str])


def _add(
    member: tarfile.TarInfo, samples: dict[str, _Sample], piece: Piece, file: BinaryIO
) -> None:
    folder, _, base = member.name.rpartition("/")
    if member.isdir() or is_of_system(base) or base.startswith("__"):
        return
    if not member.isreg() or member.issparse():
        piece.others["links" if member.issym() or member.islnk() else "members of other kinds"] += 1
        return
    stem, dot, suffix = base.partition(".")
    if not dot:
        piece.others["members without suffix"] += 1
        return

    sample = samples.setdefault(f"{folder}/{stem}" if folder else stem, _Sample())
    suffix = suffix.lower()
    if suffix in sample.members:
        sample.repeated.append(suffix)
    sample.members[suffix] = (member.offset_data, member.size)


def _choose(key: str, sample: _Sample, wanted: Wanted, piece: Piece, file: BinaryIO) -> None:
    """Add a sample's picture and label to those of its file."""
    if wanted.image:
        pictures = [suffix for suffix in sample.members if suffix == wanted.image.lower()]
    else:
        pictures = [suffix for suffix in sample.members if is_picture(f"x.{suffix}")]
        # Beside 0001.jpg a picture such as 0001.mask.png is something else.
        pictures = [suffix for suffix in pictures if "." not in suffix] or pictures
    if not pictures:
        piece.without_picture.append(key)
        return
    if len(pictures) > 1 or pictures[0] in sample.repeated:
        piece.several[key] = ", ".join(f".{suffix}" for suffix in pictures + sample.repeated)
        return

    offset, size = sample.members[pictures[0]]
    piece.keys.append(key)
    piece.offsets.append(offset)
    piece.sizes.append(size)
    piece.labels.append(_label(sample, wanted, file))


def _label(sample: _Sample, wanted: Wanted, file: BinaryIO) -> str | None:
    """Return a sample's label as it is written, None if there is none that can be read."""
    usual = (wanted.label.lower(),) if wanted.label else LABEL_SUFFIXES
    found = next((suffix for suffix in usual if suffix in sample.members), None)
    if found not in (None, "json"):
        return _text(sample.members[found], file)
    if "json" in sample.members:
        label = _field(_text(sample.members["json"], file), wanted.label)
        if label is not None:
            return label
    if not wanted.label and TEXT_SUFFIX in sample.members:
        return _text(sample.members[TEXT_SUFFIX], file)
    return None


def _text(place: tuple[int, int], file: BinaryIO) -> str | None:
    offset, size = place
    if size > MOST_LABEL:
        return None
    try:
        return os.pread(file.fileno(), size, offset).decode().strip() or None
    except UnicodeDecodeError:
        return None


def _field(text: str | None, asked: str) -> str | None:
    """Return the label in a JSON text: its field, or the value itself."""
    try:
        value = parse_json(text or "")
    except ValueError:
        return None
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        name = asked if asked in fields else None if asked else column_called([*fields], LABELS)
        value = fields[name] if name is not None else None
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _check_plain(path: Path, file: BinaryIO) -> None:
    start = file.read(2)
    file.seek(0)
    for magic, packer in _PACKED.items():
        if start == magic:
            raise AnewError(
                f"{path}: is compressed by {packer}, which allows no random access; unpack it "
                f"once to a .tar file ({packer} -d), and give that"
            )


def _what_is_behind(file: BinaryIO, end: int) -> str:
    """Return what is wrong where an archive's end should be; nothing if it is there."""
    file.seek(end)
    block = file.read(_END)
    if len(block) < _END:
        return f"has no end of an archive at byte {end:,}: it is truncated there"
    if any(block):
        return f"is damaged at byte {end:,}: there is neither a member nor the end"
    if any(file.read(_BEHIND)):
        return f"holds more behind its end at byte {end:,}, such as a second archive"
    return ""


def _joined(pieces: Sequence[Piece]) -> TarIndex:
    texts: dict[str, int] = {}
    labels = [
        NO_LABEL if label is None else texts.setdefault(label, len(texts))
        for piece in pieces
        for label in piece.labels
    ]
    keys = [key.encode("utf-8", "surrogateescape") for piece in pieces for key in piece.keys]
    counts = [len(piece.keys) for piece in pieces]
    notes = [
        {
            "without_picture": piece.without_picture,
            "several": piece.several,
            "others": dict(piece.others),
            "damage": piece.damage,
        }
        for piece in pieces
    ]

    return TarIndex(
        np.repeat(np.arange(len(pieces), dtype=np.int32), counts),
        np.array([offset for piece in pieces for offset in piece.offsets], np.int64),
        np.array([size for piece in pieces for size in piece.sizes], np.int64),
        np.frombuffer(b"".join(keys), np.uint8),
        np.array(list(accumulate(map(len, keys))), np.int64),
        np.array(labels, np.int32),
        list(texts),
        notes,
    )


_ARRAYS = ("tars", "offsets", "sizes", "key_bytes", "key_ends", "labels")


def _write(place: Path, index: TarIndex, storage: Storage) -> None:
    """Keep an index; a folder that cannot be written costs a pass at the next start."""
    about = json.dumps({"texts": index.texts, "notes": index.notes}).encode()
    content = io.BytesIO()
    arrays = {name: getattr(index, name) for name in _ARRAYS}
    np.savez(content, about=np.frombuffer(about, np.uint8), **arrays)
    digest = hashlib.sha256(content.getvalue()).digest()
    try:
        files.write_bytes(place, digest + content.getvalue())
    except AnewError as error:
        storage.log(f"the index of the tar files is not cached: {error}")


def _read(place: Path) -> TarIndex | None:
    """Return a kept index; None if there is none, or if its hash is another."""
    try:
        content = place.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        with np.load(io.BytesIO(content[32:]), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            found = {name: arrays[name] for name in _ARRAYS}
            return TarIndex(texts=about["texts"], notes=about["notes"], **found)
    except (OSError, ValueError, KeyError, EOFError):
        return None
