"""How many examples classes have, and whether they are uneven."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

UNEVEN = 1.5
"""Classes are uneven where the largest has more than so many times the examples of the smallest."""


@dataclass(frozen=True)
class ClassSizes:
    """The sizes of the smallest and the largest class."""

    least: int
    most: int
    smallest: str
    largest: str

    @property
    def are_uneven(self) -> bool:
        """Whether the mean over examples says little of the small classes."""
        return self.most > UNEVEN * self.least

    def in_words(self) -> str:
        """Return a line for people."""
        if self.least == self.most:
            return f"class counts: {self.most:,} of each"
        line = (
            f"class counts: {self.least:,} ('{self.smallest}') to {self.most:,} ('{self.largest}')"
        )
        return f"{line}; uneven: see --data.balance" if self.are_uneven else line


def are_uneven(counts: Int64[Tensor, "classes"]) -> bool:
    """Whether the largest of the classes' counts (C,) is much more than the smallest."""
    return int(counts.max()) > UNEVEN * int(counts.min())


def class_sizes(labels: Int64[Tensor, "examples"], classes: tuple[str, ...]) -> ClassSizes:
    """Return the sizes of the smallest and the largest class among labels (N,)."""
    counts = torch.bincount(labels, minlength=len(classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    return ClassSizes(int(counts[least]), int(counts[most]), classes[least], classes[most])
