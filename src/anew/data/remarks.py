"""What is to be said of examples before training: what is sound, and perhaps not meant so."""

from __future__ import annotations

import math
import re
import unicodedata

from anew.data.copies import copies_in_words
from anew.data.kept import some_of
from anew.data.sources.source import Source
from anew.data.split import Data

_NO_CLASS = re.compile(r"un[-_ ]?labell?ed|unsup(ervised)?|no[-_ ]?labels?|extra|to[-_ ]?label")
_SMALLEST_SIDE = 8


def remarks(source: Source, data: Data | None = None) -> list[str]:
    """Return a line for each thing that may not be meant so; `data` are the examples as split."""
    if source.is_text:
        return []
    return [
        *_alike(source.classes),
        *_unlabelled(source.classes),
        *_flat_pictures(source),
        *copies_in_words(source, data),
    ]


def _alike(classes: tuple[str, ...]) -> list[str]:
    """Return the note of classes whose names differ in case, spaces or hyphens alone."""
    by_letters: dict[str, list[str]] = {}
    for name in classes:
        plain = unicodedata.normalize("NFKC", name).casefold()
        by_letters.setdefault(re.sub(r"[-_\s]+", "", plain), []).append(name)

    groups = [
        " and ".join(f"'{name}'" for name in names)
        for names in by_letters.values()
        if len(names) > 1
    ]
    if not groups:
        return []
    return [
        f"the names of some classes differ in case or spaces alone ({some_of(groups, 3)}), and "
        "they are classes of their own; give them one name if they are one class"
    ]


def _unlabelled(classes: tuple[str, ...]) -> list[str]:
    """Return the note of a class that seems to hold what has no label."""
    named = [name for name in classes if _NO_CLASS.fullmatch(name.lower())]
    if not named or len(classes) < 3:
        return []
    return [
        f"'{named[0]}' is a class like the others; if its examples have no label, move them away: "
        "--unlabelled folder:PATH lets students learn from them"
    ]


def _flat_pictures(source: Source) -> list[str]:
    """Return the note of vectors that seem to be pictures: bytes, as many as a square has."""
    examples = source.train
    if examples.kind != "vector":
        return []
    (features,) = examples.input_shape
    sides = {
        channels: math.isqrt(features // channels)
        for channels in (1, 3)
        if features % channels == 0
    }
    square = [
        (channels, side)
        for channels, side in sides.items()
        if side * side * channels == features and side >= _SMALLEST_SIDE
    ]
    first = examples.show(slice(0, 64))
    is_bytes = bool(((first == first.round()) & (first >= 0) & (first <= 255)).all())
    if not square or not is_bytes or float(first.max()) < 64:
        return []

    channels, side = square[0]
    return [
        f"vectors of {features:,} numbers from 0 to 255 are perhaps pictures of {side}x{side} "
        f"pixels; reshape them for networks that see pictures: x.reshape(-1, {channels}, {side}, "
        f"{side}), or (-1, {side}, {side}, {channels}) if the channels come last"
    ]
