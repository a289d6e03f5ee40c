"""What models answer, tried on real examples before anything is written.

That a model answers twice alike, and with logits rather than probabilities.
"""

from __future__ import annotations

import torch
from jaxtyping import Num
from torch import Tensor

from anew.core.errors import AnewError, in_one_line
from anew.data import Data
from anew.models import answers, matching
from anew.models.network import Network

TRIED_EXAMPLES = 16


def check_new(network: Network, data: Data, *, force: bool) -> list[str]:
    """Check the model of a network that is to be trained, its first weights in place.

    Returns what is to be said of it. Raises `AnewError` if it answers otherwise when
    it is asked twice, or, without `force`, with probabilities: the objective takes their softmax.
    """
    name = f"model '{network.spec.name}'"
    inputs = _some(data)
    _check_alike(network, inputs, name)

    kind = answers.kind_of_model(network, inputs)
    if kind in ("logits", "log-probabilities"):
        return []
    ends = "a softmax" if kind == "probabilities" else "a sigmoid"
    says = (
        f"{name}: ends in {ends}, but its outputs are used as logits and get another softmax: no "
        "probability can come near 1"
    )
    if not force:
        raise AnewError(f"{says}; return the inputs of {ends} instead, or continue with --force")
    return [says]


def as_logits(teacher: Network, data: Data, name: str, *, force: bool) -> tuple[Network, str]:
    """Return a given teacher as one that answers with logits, and what is to be said of it.

    Of probabilities the logarithms are taken, which is exact. Raises `AnewError` if it answers
    otherwise when it is asked twice, or, without `force`, if its answers are neither logits nor
    probabilities.
    """
    inputs = _some(data)
    _check_alike(teacher, inputs, name)

    kind = answers.kind_of(answers.ask(teacher, inputs))
    if kind == "probabilities":
        return matching.of_probabilities(teacher), (
            f"{name}: returns probabilities (with sum 1), as after a softmax; their logarithms "
            "are used as logits"
        )
    if kind != "shares":
        return teacher, ""

    says = f"{name}: returns numbers in 0..1 whose sum is not 1, as after sigmoids"
    if not force:
        raise AnewError(
            f"{says}: these are no logits of exclusive classes; return the inputs of the "
            "sigmoids instead, or use the numbers as logits with --force"
        )
    return teacher, f"{says}; --force uses them as logits"


def _some(data: Data) -> Num[Tensor, "some ..."]:
    """Return some training examples, evenly spread, as they are stored."""
    count = len(data.training)
    some = min(count, TRIED_EXAMPLES)
    return data.training.show(torch.arange(some) * count // some)


def _check_alike(network: Network, inputs: Tensor, name: str) -> None:
    """Raise `AnewError` if a network answers otherwise when it is asked again, or not at all."""
    try:
        apart = answers.differs_from_itself(network, inputs)
        beside = answers.differs_by_company(network, inputs) if apart <= answers.SAME else 0.0
    except (RuntimeError, ValueError, TypeError) as error:
        raise AnewError(
            f"{name}: fails on examples of the data ({in_one_line(error)}); correct the model, "
            "or give another"
        ) from error

    if apart > answers.SAME:
        raise AnewError(
            f"{name}: gives different outputs for the same examples (by {100 * apart:.0f} % of its "
            "logits' size): it draws random numbers in evaluation mode, as F.dropout without "
            "training=self.training does; use random numbers in training mode only"
        )
    if beside > answers.SAME:
        raise AnewError(
            f"{name}: its answer to an example depends on the others in the batch (by "
            f"{100 * beside:.0f} % of its logits' size), as after batch norm without running "
            "statistics; normalise each example alone, or keep running statistics "
            "(track_running_stats=True)"
        )
