"""Texts: words or characters, a vocabulary, and three streams of tokens.

A line's end is the token `<eos>`; words are what white space separates. Nothing is lower-cased or
cleaned.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import io
import json
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from anew.core import files, memory
from anew.core.errors import AnewError, in_one_line
from anew.core.spec import DataSpec
from anew.data.sources.layout_names import SplitName, is_of_system, split_in
from anew.data.sources.source import MissingDataError, Reading, Source
from anew.data.windows import Windows

END = "<eos>"
"""The token of a line's end."""
UNKNOWN = "<unk>"
"""The token of every word that is not in the vocabulary."""
PTB = "ptb.zip"
SUFFIXES = (".txt", ".tokens", ".txt.gz")
_SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
_CALLED = {"train": "training", "validation": "validation", "test": "test"}
_PACKED = "shakespeare.txt.gz"
# A word that a text has once says nothing of how it is used; it teaches what unknown words do.
_OFTEN = 2


def read_ptb(reading: Reading) -> Source:
    """Read the Penn Treebank's three texts, from ptb.zip in the root if no place is named."""
    if reading.name.partition(":")[2]:
        return read_text(reading)
    place = reading.place / PTB
    if not place.exists():
        raise MissingDataError(
            f"data '{reading.name}': there is no {place}; it is not downloaded, since the LDC "
            "owns the text: put Mikolov's files there as a zip, or give ptb:PATH"
        )
    return read_text(replace(reading, place=place))


@dataclass(frozen=True)
class _Vocabulary:
    """The tokens that are told apart, by falling count in the training text, ties by their text."""

    words: tuple[str, ...]

    @property
    def numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}


def read_text(reading: Reading) -> Source:
    """Read a text file, which is cut into three by tokens, or the files of a folder or a zip.

    These are named after their splits, as `train.txt`, `valid.txt` and `test.txt` or
    `ptb.train.txt`; the training file alone must be there. Raises `AnewError` if a file is empty or
    no UTF-8, or if a held-out text has a word that training has not and there is no `<unk>`.
    """
    name, spec = reading.name, reading.spec
    texts = _read(reading)
    is_cut = None in texts
    tokens: dict[SplitName | None, list[str]] = {
        split: _tokens_of(text, spec) for split, text in texts.items()
    }
    parts: dict[SplitName, list[str]] = {}
    if is_cut:
        parts = _cut(tokens[None], spec, name)
    else:
        parts |= {split: tokens[split] for split in _SPLITS if split in tokens}

    if not len(parts.get("train", ())):
        raise AnewError(f"data '{name}': its training text is empty; give one with tokens")

    vocabulary = _vocabulary(Counter(parts["train"]), spec, is_cut=is_cut)
    numbers: dict[SplitName, NDArray[np.int64]] = {
        split: _number(words, vocabulary, name, split) for split, words in parts.items()
    }

    sets: dict[SplitName, Windows] = {}
    for split, one in numbers.items():
        stream = _stream(one, vocabulary, behind_end=split != "train")
        # Held-out text is read from end to end, so that it may be shorter than a window.
        steps = spec.steps if split == "train" else min(spec.steps, len(one))
        sets[split] = Windows.of(stream, steps)
    _check_length(sets["train"], name)

    return Source(
        sets["train"],
        sets.get("test"),
        vocabulary.words,
        "none",
        known=_fingerprint(vocabulary, numbers),
        name=name,
        notes=tuple(_notes(numbers, vocabulary, parts)),
        validation=sets.get("validation"),
    )


def _tokens_of(text: str, spec: DataSpec) -> list[str]:
    return list(_tokens(text, characters=spec.tokens == "characters"))


def _tokens(text: str, *, characters: bool) -> Iterator[str]:
    """Yield the tokens of a text, and `<eos>` for each of its line ends."""
    lines = text.replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        # The text ends with its last line's end.
        del lines[-1]
    for line in lines:
        yield from line if characters else line.split()
        yield END


def _cut(words: list[str], spec: DataSpec, name: str) -> dict[SplitName, list[str]]:
    """Return the parts of a text: first training, then validation, last the test.

    `spec.test` is a share of all tokens, `spec.validation` one of those that are left.
    """
    end = len(words) - round(spec.test * len(words))
    middle = end - round(spec.validation * end)
    parts: dict[SplitName, list[str]] = {"train": words[:middle], "test": words[end:]}
    if middle < end:
        parts["validation"] = words[middle:end]
    if not parts["test"]:
        raise AnewError(
            f"data '{name}': no test token can be split off from {len(words)}; give a longer "
            "text, or raise --data.test"
        )
    return parts


def _vocabulary(counts: Counter[str], spec: DataSpec, *, is_cut: bool) -> _Vocabulary:
    """Return the vocabulary of a training text."""
    counts.setdefault(END, 0)
    if spec.vocabulary is None and not is_cut:
        return _Vocabulary(_by_count(counts))

    # Where anew draws the line, there are unknown words.
    counts.setdefault(UNKNOWN, 0)
    common = [word for word in _by_count(counts) if word not in (END, UNKNOWN)]
    if spec.vocabulary is not None:
        kept = common[: spec.vocabulary - 2]
    else:
        kept = [word for word in common if counts[word] >= _OFTEN]
    told_apart = Counter({word: counts[word] for word in [*kept, END, UNKNOWN]})
    told_apart[UNKNOWN] += counts.total() - told_apart.total()
    return _Vocabulary(_by_count(told_apart))


def _by_count(counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(counts, key=lambda word: (-counts[word], word)))


def _number(
    words: list[str], vocabulary: _Vocabulary, name: str, split: SplitName
) -> NDArray[np.int64]:
    """Return the numbers of a text's tokens; `AnewError` for one that is in no vocabulary."""
    numbers = vocabulary.numbers
    unknown = numbers.get(UNKNOWN, -1)
    found = np.fromiter((numbers.get(word, unknown) for word in words), np.int64, len(words))
    if unknown < 0 and len(found) and found.min() < 0:
        place = int(np.flatnonzero(found < 0)[0])
        line = 1 + sum(word == END for word in words[:place])
        raise AnewError(
            f"data '{name}': '{words[place]}' in line {line} of the {_CALLED[split]} text is not "
            f"in the vocabulary of the training text, which has no {UNKNOWN}; set "
            "--data.vocabulary "
            f"{len(numbers)} or less, so that rare words become {UNKNOWN}"
        )
    return found


def _stream(
    numbers: NDArray[np.int64], vocabulary: _Vocabulary, *, behind_end: bool
) -> Int64[Tensor, "tokens"]:
    """Return a text's tokens; behind an `<eos>` each of them is predicted once, the first too."""
    before = [vocabulary.numbers[END]] if behind_end else []
    return torch.from_numpy(np.concatenate([np.array(before, np.int64), numbers]))


def _check_length(training: Windows, name: str) -> None:
    if not len(training):
        raise AnewError(
            f"data '{name}': its training text has {len(training.text)} tokens, too few for one "
            f"window of {training.steps} and its last label; give a longer text, or lower "
            "--data.steps"
        )


def _fingerprint(vocabulary: _Vocabulary, numbers: Mapping[SplitName, NDArray[np.int64]]) -> str:
    """Return 16 hexadecimal digits of SHA-256 over the vocabulary and the tokens of each split."""
    digest = hashlib.sha256(json.dumps(vocabulary.words).encode())
    for split in _SPLITS:
        if split in numbers:
            digest.update(f"{split} {len(numbers[split])}".encode())
            digest.update(numbers[split].astype("<i8").data)
    return digest.hexdigest()[:16]


def _notes(
    numbers: Mapping[SplitName, NDArray[np.int64]],
    vocabulary: _Vocabulary,
    parts: Mapping[SplitName, list[str]],
) -> Iterator[str]:
    """Yield what is to be said of a text: its sizes, and how much of it is unknown words."""
    sizes = ", ".join(f"{len(one):,} {_CALLED[split]}" for split, one in numbers.items())
    yield f"{sizes} tokens; a vocabulary of {len(vocabulary.words):,}"
    unknown = vocabulary.numbers.get(UNKNOWN)
    if unknown is not None:
        shares = ", ".join(
            f"{100 * (one == unknown).mean():.1f} % of the {_CALLED[split]} tokens"
            for split, one in numbers.items()
        )
        yield f"{UNKNOWN} stands for {shares}"
    if "test" not in parts:
        yield "there is no test text, so there will be no test scores"


def _read(reading: Reading) -> dict[SplitName | None, str]:
    """Return the texts of a source by their splits; that of one file has None for its split."""
    name = reading.name
    if not name.partition(":")[2] and name != "ptb":
        packed = importlib.resources.files("anew.data.sources").joinpath(_PACKED).read_bytes()
        return {None: gzip.decompress(packed).decode()}

    place = reading.place
    if not place.exists():
        raise MissingDataError(f"data '{name}': there is nothing at {place}; check the path")
    if place.is_dir():
        found = {file.name: file for file in sorted(place.iterdir()) if file.is_file()}
        chosen = _split_files(name, found)
        return _all_decoded({split: _bytes(found[file]) for split, file in chosen.items()}, name)

    files.check_regular(place)
    if zipfile.is_zipfile(place):
        return _read_zip(name, place)
    return {None: _decoded(_bytes(place), name, None)}


def _split_files(name: str, found: Collection[str]) -> dict[SplitName, str]:
    """Return the files of a folder or a zip by the splits that their names say.

    Raises `AnewError` if two say the same, or none says training.
    """
    by_split: dict[SplitName, str] = {}
    for file in found:
        inner = file.rpartition("/")[2]
        if is_of_system(inner) or "__MACOSX/" in file or not inner.endswith(SUFFIXES):
            continue

        split = split_in(inner.partition(".gz")[0].rpartition(".")[0])
        if split is None:
            continue
        if split in by_split:
            raise AnewError(
                f"data '{name}': both {by_split[split]} and {file} are named after the "
                f"{_CALLED[split]} text; leave one"
            )
        by_split[split] = file

    if "train" not in by_split:
        texts = [one for one in found if one.endswith(SUFFIXES) and not is_of_system(one)]
        join = f": of {len(texts):,} files make one (cat *.txt)" if len(texts) > 1 else ""
        raise AnewError(
            f"data '{name}': holds no training text; name the files train.txt, valid.txt and "
            f"test.txt, or give one file{join}. Texts are for language models; classes of texts "
            "are not read"
        )
    return by_split


def _read_zip(name: str, place: Path) -> dict[SplitName | None, str]:
    try:
        with zipfile.ZipFile(place) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            chosen = _split_files(name, sizes)
            total = sum(sizes[file] for file in chosen.values())
            memory.demand(f"data '{name}'", 20 * total, "give a shorter text")
            contents: dict[SplitName, bytes] = {
                split: archive.read(file) for split, file in chosen.items()
            }
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise AnewError(
            f"data '{name}': cannot be read as a zip ({in_one_line(error)}); pack it again"
        ) from error
    return _all_decoded(contents, name)


def _all_decoded(contents: Mapping[SplitName, bytes], name: str) -> dict[SplitName | None, str]:
    texts: dict[SplitName | None, str] = {}
    for split, content in contents.items():
        texts[split] = _decoded(content, name, split)
    return texts


def _bytes(path: Path) -> bytes:
    """Return the content of a file, unpacked if it is gzip's."""
    files.check_regular(path)
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read()
    except (OSError, EOFError) as error:
        raise AnewError(
            f"data: {path} cannot be read ({in_one_line(error)}); check the file"
        ) from error
    return content


def _decoded(content: bytes, name: str, split: SplitName | None) -> str:
    which = f"its {_CALLED[split]} text" if split is not None else "the text"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise AnewError(
            f"data '{name}': {which} is not UTF-8 (byte {error.start}, line {line}); convert it, "
            "as with iconv -t utf-8"
        ) from error
    if not text.strip():
        raise AnewError(f"data '{name}': {which} is empty; give one with tokens")
    return text


def made_up_words(count: int, characters: int, longest: int) -> tuple[str, ...]:
    """Return different words of so many characters in all, of which the longest has `longest`.

    They stand for a vocabulary that is not at hand. It has more words than characters, and a word
    of more than three.
    """
    letters = [chr(ord("0") + place) for place in range(characters)]
    words = [letters[0] * longest, *letters[1:]]
    for number in range(count - characters):
        first, rest = divmod(number, characters**2)
        words.append(letters[first] + letters[rest // characters] + letters[rest % characters])
    return tuple(words)
