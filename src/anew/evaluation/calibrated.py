"""What validation examples add to predictions on request: a temperature, and sets of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from anew.core import randomness
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.evaluation.conformal import Conformal, check_coverage, fit_conformal
from anew.evaluation.ensemble import log_mean
from anew.evaluation.scoring import lineage_outputs
from anew.evaluation.temperature import at_temperature, fit_sound_temperature
from anew.family import Family


@dataclass(frozen=True)
class Asked:
    """What is asked for: nothing, a temperature, sets of classes, or both."""

    temperature: bool = False
    coverage: float | None = None

    def __post_init__(self) -> None:
        """Raise `AnewError` for a coverage that is none."""
        if self.coverage is not None:
            check_coverage(self.coverage)

    @property
    def is_nothing(self) -> bool:
        """Whether predictions stay as they are."""
        return not self.temperature and self.coverage is None


@dataclass(frozen=True)
class Calibrated:
    """What the validation examples gave for one network or ensemble."""

    temperature: float = 1.0
    examples: int = 0
    """The number of examples that the temperature was fitted on, 0 if it was not."""
    conformal: Conformal | None = None

    def apply(
        self, logits: Float[Tensor, "*examples classes"]
    ) -> Float64[Tensor, "*examples classes"]:
        """Return log-probabilities (N, *positions, C) of logits, or of log-probabilities."""
        return at_temperature(logits, self.temperature)

    def in_words(self) -> str:
        """Return in a sentence what was fitted on which examples; "" if nothing was."""
        parts: list[str] = []
        if self.examples:
            parts.append(
                f"temperature {self.temperature:.4g}, fitted on {self.examples:,} validation "
                "examples"
            )
        if self.conformal is not None:
            parts.append(
                f"set: classes with a probability of at least {1 - self.conformal.threshold:.3g}; "
                f"sets contain the true class with probability {self.conformal.coverage:g} (fitted "
                f"on {self.conformal.examples:,} validation examples)"
            )
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return what was fitted as commands print it in JSON; {} if nothing was."""
        written: dict[str, Any] = {}
        if self.examples:
            written["temperature"] = {"value": self.temperature, "examples": self.examples}
        if self.conformal is not None:
            written["conformal"] = asdict(self.conformal)
        return written


UNCALIBRATED = Calibrated()


def calibrate(
    logits: Float[Tensor, "*examples classes"], labels: Int64[Tensor, "*examples"], asked: Asked
) -> Calibrated:
    """Return what is asked for, from outputs of the validation examples (N, *positions, C).

    If both are asked for, each gets half of the examples, drawn at random: sets hold what they
    promise only if nothing else was fitted on their examples. Raises `AnewError` as
    `fit_sound_temperature` and `fit_conformal` do, and for sets of answers at several positions,
    which are not independent.
    """
    if asked.coverage is not None and labels.ndim > 1:
        raise AnewError(
            "conformal: examples with labels at several positions are not supported; drop "
            "--conformal"
        )

    order = torch.arange(len(labels))
    for_sets = order
    if asked.temperature and asked.coverage is not None:
        order = randomness.order(randomness.key("calibrated"), len(labels))
        order, for_sets = order[: len(order) // 2], order[len(order) // 2 :]

    temperature, examples = 1.0, 0
    if asked.temperature:
        temperature, examples = fit_sound_temperature(logits[order], labels[order]), len(order)
    conformal = None
    if asked.coverage is not None:
        calibrated = at_temperature(logits[for_sets], temperature)
        conformal = fit_conformal(calibrated, labels[for_sets], asked.coverage)
    return Calibrated(temperature, examples, conformal)


def validation_outputs(
    family: Family, specs: Sequence[Spec]
) -> tuple[Float64[Tensor, "*examples classes"], Int64[Tensor, "*examples"]]:
    """Return the log of the mean of networks' probabilities on the validation examples, and labels.

    Both are stored. Raises `AnewError` if no validation split was held out, or if the networks were
    evaluated on different ones.
    """
    logits, labels = lineage_outputs(family, specs, "validation")
    return log_mean(logits), labels
