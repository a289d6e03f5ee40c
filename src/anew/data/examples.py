"""Examples in memory: inputs as they are stored, and their labels."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Int64, Num
from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """Inputs (N, C, H, W), uint8 or float32, in channels_last memory, or vectors (N, F) float32;
    labels (N,) int64.
    """

    inputs: Num[Tensor, "examples ..."]
    labels: Int64[Tensor, "examples"]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Int64[Tensor, "chosen"]) -> Examples:
        """Return the examples at the given places, in that order."""
        return Examples(self.inputs[indices], self.labels[indices])
