"""One number that makes probabilities honest: a temperature, fitted on held-out examples."""

from __future__ import annotations

import math

import scipy
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from anew.core.errors import AnewError

TEMPERATURES = (0.02, 50.0)
"""The range of temperatures: if a network is right on all held-out examples, none is the best."""
NEAR = 1.001
"""The factor within which a temperature counts as an end of the range."""


class TemperatureError(AnewError):
    """No temperature fits outputs best."""


def fit_temperature(
    logits: Float[Tensor, "*examples classes"], labels: Int64[Tensor, "*examples"]
) -> float:
    """Return the T > 0 of the least mean NLL of softmax(z / T) (Guo et al. 2017, section 4.2).

    `logits` z (N, *positions, C) are those of one network on examples that it did not learn from,
    or the log of an ensemble's mean probabilities. The NLL is convex in 1/T, so a search over an
    interval finds the one minimum; T lies in [0.02, 50]. No other class becomes the likeliest.
    `fit_sound_temperature` refuses an end of the interval.
    """
    exact, targets = logits.double().flatten(end_dim=-2), labels.flatten()

    def nll(inverse_logarithm: float) -> float:
        return F.cross_entropy(exact * math.exp(inverse_logarithm), targets).item()

    low, high = (-math.log(temperature) for temperature in reversed(TEMPERATURES))
    best = scipy.optimize.minimize_scalar(
        nll, bounds=(low, high), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(-float(best.x))


def at_temperature(
    logits: Float[Tensor, "*examples classes"], temperature: float
) -> Float64[Tensor, "*examples classes"]:
    """Return log softmax(z / T) in float64, of logits or log-probabilities (N, *positions, C)."""
    return F.log_softmax(logits.double() / temperature, dim=-1)


def fit_sound_temperature(
    logits: Float[Tensor, "*examples classes"], labels: Int64[Tensor, "*examples"]
) -> float:
    """Return what `fit_temperature` does, if it is more than an end of the interval.

    Raises `TemperatureError` if all held-out examples are right, or nearly: the less the better,
    down to 0; and if the logits do not go with the labels: the more the better.
    """
    rows, targets = logits.double().flatten(end_dim=-2), labels.flatten()
    count = len(targets)
    if count == 0 or not bool(rows.isfinite().all()):
        what = "there are no held-out examples" if count == 0 else "outputs are not finite"
        raise TemperatureError(f"temperature: {what}, so none can be fitted")

    found = fit_temperature(rows, targets)
    least, most = TEMPERATURES
    right = int((rows.argmax(-1) == targets).sum())
    # Below the precision of numbers the NLL of right examples is flat before the interval ends.
    if right == count or found < NEAR * least:
        raise TemperatureError(
            f"temperature: {right:,} of {count:,} held-out examples are right, so the best "
            "temperature would be 0 (certainty); hold out more examples with --data.validation"
        )
    if found * NEAR > most:
        raise TemperatureError(
            f"temperature: the outputs are unrelated to the labels of the {count:,} held-out "
            "examples, so the best temperature would be infinite; train the network further"
        )
    return found
