"""The encoding of a teacher's answers in 16-bit words, so that live and stored ones are equal bits.

Rounding is part of the definition of a target, not of the store: a student that asks live and one
that reads a table learn from the same numbers, and a store that cannot be written changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int16
from torch import Tensor

LEAST = torch.finfo(torch.float16).min
_WORD = 16


@dataclass(frozen=True)
class Encoding:
    """Encodes an answer of `classes` logits in 16-bit words, and decodes it.

    - Whole (`top_k` None): the logits less their largest, in float16. The largest is 0 and exact; a
      logit x below it is off by at most d = 2^-11 |x|, and so a probability p_i by p_i |d_i - sum_j
      p_j d_j|, which is less than 2^-11 (0.37 + ln(C) / 4): 0.0005 for 10 classes, 0.0011 for
      1,000, however the errors fall.
    - The `top_k` largest: their log-probabilities and their classes, and the logarithm of the mass
      that is left over, which is spread over the other classes, evenly or in proportion to
      `frequencies`. Nothing of it is dropped: the probabilities add up to 1.
    """

    classes: int
    top_k: int | None = None
    frequencies: Float[Tensor, "classes"] | None = None
    """What the rest is spread in proportion to, all above 0; evenly if None. No part of the words.
    """

    @property
    def width(self) -> int:
        """The number of 16-bit words, W, of one answer."""
        if self.top_k is None:
            return self.classes
        return self.top_k * (1 + self._class_words) + 1

    @property
    def _class_words(self) -> int:
        return 1 if self.classes <= 1 << _WORD else 2

    def encode(self, logits: Float[Tensor, "*answers classes"]) -> Int16[Tensor, "*answers words"]:
        """Return logits (..., C) as words (..., W)."""
        if self.top_k is None:
            return _half(logits.float() - logits.float().amax(-1, keepdim=True))
        log_probabilities = F.log_softmax(logits.float(), dim=-1)
        largest, classes = log_probabilities.topk(self.top_k, dim=-1)
        rest = log_probabilities.scatter(-1, classes, -math.inf).logsumexp(-1, keepdim=True)

        words = [_half(largest), _half(rest)]
        for part in range(self._class_words):
            words.append(((classes >> (_WORD * part)) & 0xFFFF).to(torch.int16))
        return torch.cat(words, dim=-1)

    def decode(self, words: Int16[Tensor, "*answers words"]) -> Float[Tensor, "*answers classes"]:
        """Return the logits (..., C), float32, that words (..., W) encode, up to a constant each.

        The softmax of the logits is what was encoded; a constant may have been added to them.
        """
        if self.top_k is None:
            return words.view(torch.float16).float()

        k = self.top_k
        values = words[..., : k + 1].contiguous().view(torch.float16).float()
        # A class number above 2^15 is a negative word.
        unsigned = words[..., k + 1 :].long().remainder(1 << _WORD)
        parts = unsigned.unflatten(-1, (self._class_words, k))
        classes = parts[..., 0, :]
        for part in range(1, self._class_words):
            classes = classes + (parts[..., part, :] << (_WORD * part))

        if self.frequencies is None:
            spread = values[..., k:] - math.log(self.classes - k)
            spread = spread.expand(*spread.shape[:-1], self.classes)
        else:
            shares = self.frequencies.to(values.device).double()
            others = shares.sum() - shares[classes].sum(-1, keepdim=True)
            spread = values[..., k:] + (shares.log() - others.log()).float()
        return spread.scatter(-1, classes, values[..., :k])


def _half(values: Tensor) -> Int16[Tensor, "*answers words"]:
    # A number below float16's least becomes its least: a probability of 0 all the same, and finite.
    # A NaN stays one, for the loss to stop on. Adding 0 turns -0 into 0, so that equal numbers are
    # equal words.
    return (values.clamp_min(LEAST).to(torch.float16) + 0.0).view(torch.int16)
