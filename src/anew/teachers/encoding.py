"""What a teacher's answer is, wherever it comes from: 16-bit rows, so that asked and stored ones
are equal bits.

Rounding is part of the definition of a target and not of the store: a student that asks live and
one that reads a table learn from the same numbers, and a store that cannot be written changes
nothing.
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
    """How an answer of `classes` logits is written in 16-bit words, and read back.

    - Whole (`top_k` None): the logits less their largest, in float16. The largest is 0 and exact; a
      logit x below it is off by at most d = 2^-11 |x|, and so a probability p_i by p_i |d_i - sum_j
      p_j d_j|, which is less than 2^-11 (0.37 + ln(C) / 4): 0.0005 for 10 classes, 0.0011 for
      1,000, however the errors fall.
    - The `top_k` largest: their log-probabilities and their classes, and the logarithm of the mass
      that is left over, which is spread evenly over the other classes. Nothing of it is dropped:
      the probabilities add up to 1.
    """

    classes: int
    top_k: int | None = None

    @property
    def width(self) -> int:
        """The number of 16-bit words in a row."""
        if self.top_k is None:
            return self.classes
        return self.top_k * (1 + self._class_words) + 1

    @property
    def _class_words(self) -> int:
        return 1 if self.classes <= 1 << _WORD else 2

    def encode(self, logits: Float[Tensor, "batch classes"]) -> Int16[Tensor, "batch words"]:
        """Return logits (B, C) as rows of words (B, W)."""
        if self.top_k is None:
            return _half(logits.float() - logits.float().amax(-1, keepdim=True))
        log_probabilities = F.log_softmax(logits.float(), dim=-1)
        largest, classes = log_probabilities.topk(self.top_k, dim=-1)
        rest = log_probabilities.scatter(-1, classes, -math.inf).logsumexp(-1, keepdim=True)
        words = [_half(largest), _half(rest)]
        words += [
            ((classes >> (_WORD * part)) & 0xFFFF).to(torch.int16)
            for part in range(self._class_words)
        ]
        return torch.cat(words, dim=-1)

    def decode(self, words: Int16[Tensor, "batch words"]) -> Float[Tensor, "batch classes"]:
        """Return the logits (B, C), float32, that rows of words stand for; constants may have been
        added to them.
        """
        if self.top_k is None:
            return words.view(torch.float16).float()
        k = self.top_k
        values = words[:, : k + 1].contiguous().view(torch.float16).float()
        parts = words[:, k + 1 :].long().remainder(1 << _WORD).unflatten(-1, (self._class_words, k))
        classes = sum(parts[:, part] << (_WORD * part) for part in range(self._class_words))
        assert isinstance(classes, Tensor)
        spread = values[:, k:] - math.log(self.classes - k)
        return spread.expand(-1, self.classes).scatter(-1, classes, values[:, :k])


def _half(values: Tensor) -> Int16[Tensor, "batch words"]:
    # What is smaller than float16 can say is its least number: a probability of 0 all the same, and
    # finite. A NaN stays one, for the loss to stop on. Adding 0 turns -0 into 0, so that equal
    # numbers are equal words.
    return (values.clamp_min(LEAST).to(torch.float16) + 0.0).view(torch.int16)
