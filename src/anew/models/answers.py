"""What a network's answers are: logits or probabilities, and whether it answers twice alike."""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
from jaxtyping import Float, Num
from torch import Tensor

from anew.core import randomness
from anew.data.signature import Signature
from anew.models.network import Network

Kind = Literal["logits", "probabilities", "log-probabilities", "shares"]
"""What a model answers with: the logits of a softmax, its probabilities or their logarithms, or
numbers in 0..1 that do not add up to 1, as sigmoids give them."""

# What rounding leaves of a sum of probabilities, also in half precision.
_SUM_IS_ONE = 1e-2
# A model that draws random numbers moves its answers by far more than a processor rounds them.
SAME = 1e-4
_LARGE = 1e4
PROBES = 2
# What is left out or not by one number, as layers are, answers alike every other time.
_AGAIN = 6
_FEW = 2


def kind_of(answers: Float[Tensor, "examples *positions classes"]) -> Kind:
    """Return what a model's answers (N, *positions, C) to several examples are.

    Log-probabilities are logits too; nothing has to be done about them.
    """
    answers = answers.double()
    within = bool((answers >= 0).all()) and bool((answers <= 1 + _SUM_IS_ONE).all())
    if within and bool(((answers.sum(-1) - 1).abs() <= _SUM_IS_ONE).all()):
        return "probabilities"
    if within and bool((answers > 0).all()):
        return "shares"
    is_one = torch.logsumexp(answers, -1).abs() <= _SUM_IS_ONE
    return "log-probabilities" if bool(is_one.all()) else "logits"


@torch.no_grad()
def kind_of_model(network: Network, inputs: Num[Tensor, "batch ..."]) -> Kind:
    """Return what the model of a network answers with, whatever its weights are.

    The first logits of a network may lie in 0..1 by chance. Then its weights are changed, on a
    copy: only what is bound to 0..1 stays there.
    """
    kind = kind_of(ask(network, inputs))
    if kind != "shares":
        return kind
    for factor in (-1.0, 30.0):
        changed = copy.deepcopy(network)
        for parameter in changed.parameters():
            parameter.mul_(factor)
        if not bool(((answers := ask(changed, inputs)) >= 0).all() and (answers <= 1).all()):
            return "logits"
    return kind


@torch.no_grad()
def ask(network: Network, inputs: Num[Tensor, "batch ..."]) -> Float[Tensor, "batch ... classes"]:
    """Return the answers of a network in evaluation mode, float32, on the CPU; its mode stays."""
    was_training = network.training
    try:
        answers: Tensor = network.eval()(inputs.to(network.mean.device))
    finally:
        network.train(was_training)
    return answers.float().cpu()


def differs_from_itself(network: Network, inputs: Num[Tensor, "batch ..."]) -> float:
    """Return by how much a network's answers differ when it is asked again: see `difference`.

    About few of the inputs it is asked several times. The generators of torch, NumPy and Python are
    at other places each time, and as they were afterwards.
    """
    device = network.mean.device
    with randomness.torch_generator(randomness.key("asked once"), device):
        once = ask(network, inputs)
    with randomness.torch_generator(randomness.key("asked twice"), device):
        apart = difference(once, ask(network, inputs))

    few = inputs[:_FEW]
    with randomness.torch_generator(randomness.key("asked about few"), device):
        first = ask(network, few)
    for number in range(_AGAIN):
        with randomness.torch_generator(randomness.key("asked again", number), device):
            apart = max(apart, difference(first, ask(network, few)))
    return apart


def differs_by_company(network: Network, inputs: Num[Tensor, "batch ..."]) -> float:
    """Return by how much the answers to examples differ beside others in a batch of one size."""
    count = min(_FEW, len(inputs) // 2)
    if not count:
        return 0.0
    first, others = inputs[:count], inputs[count : 2 * count]
    alone = ask(network, torch.cat([first, first]))[:count]
    return difference(alone, ask(network, torch.cat([first, others]))[:count])


def difference(
    one: Float[Tensor, "*examples classes"], other: Float[Tensor, "*examples classes"]
) -> float:
    """Return how far logits are from others, as a share of their own size; 0 if they are equal.

    The root of the mean square of what differs, beside that of `one`, both without the mean over
    the classes, which means nothing. It is the same for few classes and for many, where
    probabilities are all small; rounding makes less than a hundredth of it.
    """
    if torch.equal(one, other):
        return 0.0
    one, other = _centred(one), _centred(other)
    size, apart = one.square().mean().sqrt(), (one - other).square().mean().sqrt()
    share = (apart / size.clamp_min(1e-6)).item()
    return math.inf if math.isnan(share) else share


def _centred(logits: Tensor) -> Tensor:
    # A class that a mask excludes has minus infinity.
    bounded = logits.double().clamp(-_LARGE, _LARGE)
    return bounded - bounded.mean(-1, keepdim=True)


def probe_inputs(signature: Signature) -> Num[Tensor, "probes ..."]:
    """Return a few inputs that are a function of the signature alone.

    Random numbers of the data's mean and deviation, or random tokens. What a network answers to
    them tells it from others, where no data are at hand.
    """
    stream = randomness.key("probe inputs")
    counters = torch.arange(PROBES * math.prod(signature.input_shape))
    shape = (PROBES, *signature.input_shape)
    if signature.kind == "tokens":
        return randomness.below(stream, counters, len(signature.classes)).view(shape)

    mean, scale = signature.statistics()
    # Uniform numbers of mean 0 and deviation 1.
    standard = (randomness.uniform(stream, counters).view(shape) - 0.5) * math.sqrt(12)
    return standard / scale + mean
