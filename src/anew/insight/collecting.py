"""Everything that insight measures of one lineage on one set of examples, in one description."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from anew.insight.calibration import Calibration, Harm
from anew.insight.dark_knowledge import DarkKnowledge
from anew.insight.fidelity import Fidelity
from anew.insight.gradients import Gradients

FORMAT = 1


@dataclass(frozen=True)
class Member:
    """A generation of the lineage that was looked at."""

    generation: int
    id: str
    model: str
    objective: str
    """`given` for a network that was given and not trained here."""
    seed: int
    teachers: tuple[str, ...]
    kept_epochs: tuple[int, ...]
    """At which epochs its weights were kept, the last among them."""


@dataclass(frozen=True)
class Insight:
    """What a lineage learned, on the examples of one split: all that `anew insight` prints."""

    format: int
    """The version of this shape, 1; it grows when a field changes its meaning or goes."""
    split: str
    """`test`, `validation` or `train`."""
    examples: int
    classes: tuple[str, ...]
    lineage: tuple[Member, ...]
    """Oldest first."""
    gradients: tuple[Gradients, ...]
    """By generation, then epoch; none of generation 0, which has no teacher."""
    dark_knowledge: tuple[DarkKnowledge, ...]
    """Of every generation."""
    calibration: tuple[Calibration, ...]
    """Of every generation, then of every ensemble of neighbours."""
    harm: tuple[Harm, ...]
    """Teacher to student, generation by generation; then the first to the last, and the first to the whole ensemble."""
    fidelity: Fidelity
    notices: tuple[str, ...]
    """What is not there and why, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        """Return it as `anew insight --format json` prints it; docs/insight.md says what each part means."""
        return _plain(self)


def _plain(value: Any) -> Any:
    """Return dataclasses as mappings, tuples as lists, and what is not a number as None, at every depth."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
