"""Pictures that occur more than once in a source: in training and in the test, or with two labels.

Copies are found by hashes of their pixels; pictures whose fingerprint is that of their files are
compared by the bytes of those. Pictures that are only alike are not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.core.text import counted
from anew.data.examples import Examples, in_parts
from anew.data.fresh import Fresh
from anew.data.sources.source import Source, counts_as_files, recorded
from anew.data.split import Data
from anew.data.streamed import Streamed

_UNUSED, _TRAINING, _TEST, _VALIDATION = range(4)
Group = list[int]
"""The numbers of equal pictures, counted through the training, the test and the validation set."""


def digests(inputs: Num[Tensor, "examples ..."]) -> list[bytes]:
    """Return 16 bytes for each input, equal for inputs of equal bytes."""
    rows = inputs.cpu().flatten(1).numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def copies_in_words(source: Source, data: Data | None = None) -> list[str]:
    """Return what is to be said of pictures that occur more than once, a line each; often nothing.

    `data` are the source's examples after the split, if they were split; otherwise the sets are
    those of the source itself. Vectors may be equal by chance, and items that are read afresh have
    no pixels of their own: nothing is said of them, nor of examples with several labels.
    """
    is_picture = source.train.kind == "picture" and source.train.labels.ndim == 1
    if not is_picture or isinstance(source.train, Fresh):
        return []
    groups = _groups(source)
    if not groups:
        return []

    found = _Copies(source, groups, _roles(source, data))
    notes = found.across_sets()
    if source.test is None and data is None:
        notes += found.before_a_split()
    return notes + found.with_several_labels()


def _groups(source: Source) -> list[Group]:
    """Return the pictures that occur more than once; of files they are found once and kept."""
    facts, name = recorded(source, "copies")
    known = facts.get(name) if facts is not None else None
    if known is not None:
        return known

    places: dict[bytes, Group] = {}
    for number, digest in enumerate(one for split in source.splits for one in _contents(split)):
        places.setdefault(digest, []).append(number)
    groups = [numbers for numbers in places.values() if len(numbers) > 1]
    if facts is not None:
        facts.set(name, groups)
    return groups


def _contents(examples: Examples) -> Iterator[bytes]:
    """Yield a digest for each example, in their order."""
    if isinstance(examples, Streamed) and counts_as_files(examples):
        of_files = examples.pictures.digests()
        yield from (of_files[number] for number in examples.numbers.tolist())
        return
    for part in in_parts(examples):
        # Pictures lie pixel by pixel: in this order no copy of them is made.
        yield from digests(part.permute(0, 2, 3, 1))


def _roles(source: Source, data: Data | None) -> Int64[Tensor, "examples"]:
    """Return what each example of a source is for, counted through its sets."""
    sets = (source.train, source.test, source.validation)
    pairs = zip(sets, (_TRAINING, _TEST, _VALIDATION), strict=True)
    roles = torch.cat([torch.full((len(one),), role) for one, role in pairs if one is not None])
    if data is None or data.places is None:
        return roles

    roles[: len(source.train)] = _UNUSED
    roles[data.places.training] = _TRAINING
    roles[data.places.held_out] = _VALIDATION
    roles[data.places.test] = _TEST
    return roles


@dataclass(frozen=True)
class _Copies:
    """The copies in a source, by what its examples are for."""

    source: Source
    groups: Sequence[Group]
    roles: Int64[Tensor, "examples"]

    def across_sets(self) -> list[str]:
        """Return the note of test and validation examples that are training examples too."""
        counts = {_TEST: 0, _VALIDATION: 0}
        example = ""
        for group in self.groups:
            training = self._of(group, _TRAINING)
            for role in counts if training else ():
                members = self._of(group, role)
                counts[role] += len(members)
                if members and not example:
                    example = f"{self._name(members[0])} = {self._name(training[0])}"

        shares = [
            f"{counts[role]:,} of {int((self.roles == role).sum()):,} {what}"
            for role, what in ((_TEST, "test"), (_VALIDATION, "validation"))
            if counts[role]
        ]
        if not shares:
            return []
        return [
            f"{' and '.join(shares)} examples are also in the training set (such as {example}): "
            "the error rate on them says nothing about new pictures; leave one of each pair out of "
            "the data"
        ]

    def before_a_split(self) -> list[str]:
        """Return the note of copies among the examples from which a test set is to be cut off."""
        groups = [self._of(group, _TRAINING) for group in self.groups]
        groups = [group for group in groups if len(group) > 1]
        if not groups:
            return []
        number = sum(len(group) - 1 for group in groups)
        copies = f"{counted(number, 'training example')} {'repeats' if number == 1 else 'repeat'}"
        first, second = map(self._name, groups[0][:2])
        return [
            f"{copies} others (such as {second} = {first}): a test set split off from them "
            "may share pictures with the training set; leave the copies out of the data"
        ]

    def with_several_labels(self) -> list[str]:
        """Return the note of pictures that have more than one label in the training set."""
        labels = self.source.train.labels.tolist()
        pairs: list[tuple[int, int]] = []
        for group in self.groups:
            members = self._of(group, _TRAINING)
            others = [one for one in members if labels[one] != labels[members[0]]]
            if others:
                pairs.append((members[0], others[0]))
        if not pairs:
            return []

        occur = "picture occurs" if len(pairs) == 1 else "pictures occur"
        first, second = [
            f"{self._name(one)} ('{self.source.classes[labels[one]]}')" for one in pairs[0]
        ]
        return [
            f"{len(pairs):,} {occur} in the training set with more than one label (such as "
            f"{first} = {second}); correct the labels, or leave the copies out of the data"
        ]

    def _of(self, group: Group, role: int) -> Group:
        return [number for number in group if int(self.roles[number]) == role]

    def _name(self, number: int) -> str:
        """Return what a message calls an example: its file, or its set and its row."""
        sets = (("training", self.source.train), ("test", self.source.test))
        for what, split in (*sets, ("validation", self.source.validation)):
            if split is None:
                continue
            if number < len(split):
                if isinstance(split, Streamed):
                    return split.pictures.encoded.name(int(split.numbers[number]))
                return f"{what} row {number}"
            number -= len(split)
        raise IndexError(number)
