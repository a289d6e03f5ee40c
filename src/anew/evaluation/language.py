"""What language models say of a text: the log-probability of every token, stored once.

A network reads a whole split as one stream, from the state before any text, so that each token is
predicted once and the windows in which it is read change nothing. A perplexity is exp of the mean
of -log p over all tokens of the split, summed in float64. That of an ensemble is exact as well,
from what is stored of each network: log p of the token. Its error and its calibration are not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError
from anew.data.windows import Windows
from anew.evaluation import statistics
from anew.evaluation.metrics import Scores, calibration_error
from anew.family import NetworkFolder
from anew.models.language import State
from anew.models.network import Network

KEPT_WORDS = 32
"""How many of the likeliest words are stored of each token."""
BLOCK = 35
"""How many tokens the bootstrap draws together, since neighbours are alike."""
_AT_ONCE = 1 << 20
"""How many logits are in memory at once."""
_STORED = {
    "labels": (torch.int64, False),
    "log_p": (torch.float64, False),
    "predicted": (torch.int32, False),
    "confidence": (torch.float32, False),
    "brier": (torch.float32, False),
    "words": (torch.int32, True),
    "word_log_p": (torch.float16, True),
}
"""The type of each part of `Said`, and whether it has several numbers a token."""
_PARTS = tuple(name for name in _STORED if name != "labels")
_RANGES = {
    "log_p": (-math.inf, 0),
    "confidence": (0, 1),
    "brier": (-1e-3, 2.001),
    "word_log_p": (-math.inf, 0),
}


@dataclass(frozen=True)
class Said:
    """What a network says of each token of a text, in the text's order."""

    labels: Int64[Tensor, "tokens"]
    log_p: Float64[Tensor, "tokens"]
    """The natural logarithm of the token's probability."""
    predicted: Tensor
    """The likeliest token (N,), int32."""
    confidence: Tensor
    """Its probability (N,), float32."""
    brier: Tensor
    """The squared distance of all probabilities to the token's one-hot (N,), float32."""
    words: Tensor
    """The likeliest tokens (N, K), int32, the likeliest first."""
    word_log_p: Tensor
    """Their log-probabilities (N, K), float16."""

    def scores(self) -> Scores:
        """Return all scores of the network."""
        correct = self.predicted.long() == self.labels
        return Scores(
            error=100 * (1 - correct.double().mean().item()),
            ece=100 * calibration_error(self.confidence.double(), correct),
            brier=self.brier.double().mean().item(),
            **of_log_p(self.log_p),
        )


@torch.inference_mode()
def read_through(
    network: Network,
    text: Windows,
    device: torch.device,
    *,
    window: int | None = None,
    kept: int = KEPT_WORDS,
) -> Said:
    """Return what a network in evaluation mode says of every token of a text but the first.

    `window` tokens are read at once, as many as a modest memory holds if it is not given. A model
    without a state sees no further back than its window begins: it reads windows of the training's
    length. The `kept` likeliest words of each token are returned.
    """
    was_training = network.training
    network.eval()
    classes = len(network.signature.classes)
    if window is None:
        window = max(1, _AT_ONCE // classes) if network.has_state else text.steps

    stream = text.text.to(device)
    state: State = network.start(1)
    parts: list[dict[str, Tensor]] = []
    for first in range(0, text.predictions, window):
        labels = stream[first + 1 : first + 1 + window]
        logits, state = network(stream[None, first : first + len(labels)], state)
        parts.append(_of_logits(logits[0], labels, kept))
    network.train(was_training)

    if not parts:
        nothing = torch.zeros(0, classes, device=device)
        parts = [_of_logits(nothing, stream[:0], kept)]
    whole = {name: torch.cat([part[name] for part in parts]).cpu() for name in _PARTS}
    return Said(text.text[1:].cpu(), **whole)


def _of_logits(
    logits: Float[Tensor, "tokens classes"], labels: Int64[Tensor, "tokens"], kept: int
) -> dict[str, Tensor]:
    """Return the parts of `Said`, from float32 logits with sums in float64."""
    logits = logits.float()
    top, words = logits.topk(min(kept, logits.shape[-1]), dim=-1)
    largest = top[:, :1]

    # Whole rows are in float32; each term is off by 2^-24 of itself, and so is their sum at most.
    terms = (logits - largest).exp()
    total = terms.sum(-1, dtype=torch.float64)
    exact = (logits.gather(-1, labels[:, None]).double() - largest.double())[:, 0]
    log_p = exact - total.log()
    # The sum of (p_i - y_i)^2 is that of p_i^2, less 2 p_y, plus 1.
    squares = terms.square_().sum(-1, dtype=torch.float64) / total.square()

    return {
        "log_p": log_p,
        "predicted": words[:, 0].to(torch.int32),
        "confidence": (1 / total).float(),
        "brier": (squares - 2 * log_p.exp() + 1).float(),
        "words": words.to(torch.int32),
        "word_log_p": ((top - largest).double() - total.log()[:, None]).half(),
    }


def ensemble_log_p(
    members: Sequence[Float64[Tensor, "tokens"]], weights: Sequence[float] = ()
) -> Float64[Tensor, "tokens"]:
    """Return log(1/k sum_i p_i) of each token: what the mean of networks' probabilities says.

    `weights` that add up to 1 are their shares in the mean.
    """
    shares = torch.tensor(weights or [1 / len(members)] * len(members), dtype=torch.float64)
    return (torch.stack(list(members)) + shares.log()[:, None]).logsumexp(0)


def word_frequencies(
    text: Int64[Tensor, "tokens"], vocabulary: int
) -> Float64[Tensor, "vocabulary"]:
    """Return the share of each word in a text; if one is missing, all are counted once more."""
    counts = torch.bincount(text, minlength=vocabulary).double()
    if bool((counts == 0).any()):
        counts += 1
    return counts / counts.sum()


def ensemble_scores(log_p: Float64[Tensor, "tokens"]) -> Scores:
    """Return the scores of an ensemble that are known exactly: NLL and perplexity."""
    return Scores(error=math.nan, ece=math.nan, brier=math.nan, **of_log_p(log_p))


def of_log_p(log_p: Float64[Tensor, "tokens"]) -> dict[str, Any]:
    """Return NLL, perplexity with its interval, and the number of tokens."""
    nll = -log_p.mean().item()
    interval = None
    if len(log_p) >= 2 * BLOCK:
        columns = statistics.in_blocks({"nll": -log_p.numpy()}, BLOCK)
        found = statistics.bootstrap(columns, lambda means: {"nll": means["nll"] / means["size"]})
        interval = _exp(found["nll"].low), _exp(found["nll"].high)
    return {
        "nll": nll,
        "examples": len(log_p),
        "perplexity": _exp(nll),
        "perplexity_interval": interval,
    }


def perplexity(log_p: Float64[Tensor, "tokens"]) -> float:
    """Return exp(mean of -log p) over all tokens of a text."""
    return _exp(-log_p.mean().item())


def _exp(nll: float) -> float:
    """Return a perplexity; infinity where no float holds it."""
    with np.errstate(over="ignore"):
        return float(np.exp(nll))


def to_tensors(split: str, epoch: str, said: Said) -> dict[str, Tensor]:
    """Return what is stored of a text, by its names in the file of outputs."""
    return {
        f"{split}.labels": said.labels,
        **{f"{split}.{epoch}.{name}": getattr(said, name) for name in _PARTS},
    }


def bytes_of_token(vocabulary: int) -> int:
    """Return the bytes that are stored of a token and an epoch."""
    return 8 + 3 * 4 + min(KEPT_WORDS, vocabulary) * (4 + 2)


def holds_text(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether the tensors of a file of outputs are a language model's."""
    return any(name.endswith(".log_p") for name in tensors)


def is_language_model(folder: NetworkFolder) -> bool:
    """Return whether a finished network's outputs are a language model's."""
    tensors, _ = files.read_tensors(folder.checked(folder.outputs))
    return holds_text(tensors)


def vocabulary_of(folder: NetworkFolder) -> list[str]:
    """Return the words that a finished language model knows, from its outputs' header.

    Raises `AnewError` if it names none.
    """
    _, header = files.read_tensors(folder.checked(folder.outputs))
    if not is_vocabulary(header.get("classes")):
        raise AnewError(f"{folder.outputs}: names no vocabulary; restore it from a copy")
    return header["classes"]


def is_vocabulary(words: object) -> TypeGuard[list[str]]:
    """Return whether a header's value is a list of words."""
    return isinstance(words, list) and all(isinstance(one, str) for one in words)


def read_said(folder: NetworkFolder, split: str, epoch: str = "last") -> Said:
    """Return what a finished language model says of a split, "validation" or "test".

    Raises `AnewError` if the file is not as it was written, or holds no such outputs.
    """
    tensors, header = files.read_tensors(folder.checked(folder.outputs))
    return said_in(tensors, header, folder, split, epoch)


def said_of(tensors: Mapping[str, Tensor], split: str, epoch: str = "last") -> Said:
    """Return what a language model says of a split, perhaps of no token, from its tensors."""
    parts = {name: tensors[f"{split}.{epoch}.{name}"] for name in _PARTS}
    return Said(tensors[f"{split}.labels"], **parts)


def said_in(
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any],
    folder: NetworkFolder,
    split: str,
    epoch: str = "last",
) -> Said:
    """Return what `read_said` does, from the tensors and the header of a file of outputs."""
    wanted = [f"{split}.labels", *(f"{split}.{epoch}.{name}" for name in _PARTS)]
    missing = [name for name in wanted if name not in tensors]
    if missing:
        what = f"the {epoch} epoch" if epoch != "last" else f"the {split} text"
        raise AnewError(
            f"{folder.outputs}: holds no outputs of {what} ({missing[0]} is missing); restore it "
            "from a copy, or train with --best-epoch to keep the best epoch"
        )

    parts = {name.rpartition(".")[2]: tensors[name] for name in wanted}
    damage = _damage(parts, header.get("classes"))
    if damage:
        raise AnewError(f"{folder.outputs}: its {split} outputs {damage}; restore it from a copy")

    said = said_of(tensors, split, epoch)
    if not len(said.labels):
        raise AnewError(
            f"{folder.path}: was trained without a {split} text, so it has no scores on it"
        )
    return said


def _damage(parts: Mapping[str, Tensor], vocabulary: object) -> str:
    """Return what is wrong with the parts of `Said` that were stored, if `read_through` cannot have
    given them; else "". Whoever may write into a family can compute its hashes too.
    """
    if not is_vocabulary(vocabulary):
        return "name no vocabulary"
    tokens, words = parts["labels"].shape, parts["words"].shape
    if len(tokens) != 1 or len(words) != 2 or not words[1]:
        return f"are no tokens with their likeliest words, {tuple(tokens)} and {tuple(words)}"

    for name, (dtype, several) in _STORED.items():
        tensor, shape = parts[name], (*tokens, *words[1:]) if several else tuple(tokens)
        if tensor.dtype != dtype:
            return f"have {name} of {tensor.dtype} where {dtype} is written"
        if tensor.shape != shape:
            return f"differ in length ({name} is {tuple(tensor.shape)}, not {shape})"

    for name in ("labels", "predicted", "words"):
        numbers = parts[name]
        if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(vocabulary):
            return f"have {name} that are none of the {len(vocabulary):,} words of the vocabulary"
    for name, (low, high) in _RANGES.items():
        # A NaN is in no range.
        if not bool(((parts[name] >= low) & (parts[name] <= high)).all()):
            return f"have {name} that are not within {low:g} and {high:g}"
    return ""
