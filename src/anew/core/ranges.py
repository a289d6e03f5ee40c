"""The numbers that an option may be, for fields of specs, of objectives and of architectures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included; None is no bound.

    `above` leaves out `low` itself, `below` leaves out `high`; `whole` allows whole numbers only.
    """

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    whole: bool = False
    also: str = ""
    """A word that may be given in place of a number; whoever reads the value replaces it."""

    def holds(self, value: object) -> bool:
        """Return whether a value is a number of the range; NaN, true and false never are."""
        wanted = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            return False
        # A number that is not at least the low bound may be NaN, so comparisons are not inverted.
        if self.low is not None and not (value > self.low if self.above else value >= self.low):
            return False
        if self.high is not None and not (value < self.high if self.below else value <= self.high):
            return False
        return value == value

    @property
    def bounds(self) -> str:
        """The bounds in words, such as `> 0 and <= 1,000`; empty without any."""
        words: list[str] = []
        if self.low is not None:
            words.append(f"{'>' if self.above else '>='} {_plain(self.low)}")
        if self.high is not None:
            words.append(f"{'<' if self.below else '<='} {_plain(self.high)}")
        return " and ".join(words)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} {self.bounds}".rstrip()


@dataclass(frozen=True)
class Number:
    """A number that an option takes: its default and its range."""

    default: float
    range: Range
    words: Mapping[str, float] = field(default_factory=dict[str, float])
    """Words that may be given in place of numbers, with what they stand for."""


def _plain(bound: float) -> str:
    """Write a bound as a user would: a whole number with all its digits, another one short."""
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
