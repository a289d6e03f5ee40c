"""Residual students whose stages put out the shapes of a DenseNet's.

Source: Furlanello et al. 2018 (arXiv 1805.04770), section 4.1, Table 5.

Between the teacher's first convolution and its classifier, which a student may copy, stand three
stages of residual units whose outputs have the shapes of the teacher's, so that additions take the
place of concatenations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anew.models.densenet import Transition
from anew.models.layers import conv3x3, initialise
from anew.models.pre_activation_resnet import BottleneckUnit
from anew.models.wide_resnet import WideBasicBlock


@dataclass(frozen=True)
class MatchedSizes:
    """The sizes of a matched student; the defaults are those of DenseNet-90-60."""

    ratio: float = 1.0
    """The channels inside a unit, as a multiple of what the teacher's stage puts out."""
    first_channels: int = 120
    """Channels of the first convolution."""
    hidden1: int = 480
    """Channels that the first stage puts out."""
    hidden2: int = 660
    """Channels that the second stage puts out."""
    hidden3: int = 750
    """Channels that the third stage puts out."""
    dropout: float = 0.0
    """The probability that dropout zeroes a value inside a wide unit."""


class MatchedResNet(nn.Module):
    """Three stages of `units` residual units with the output channels of a DenseNet's stages.

    Wide units have `ratio` times those channels in both 3x3 convolutions, and a 1x1 convolution
    after each stage leads to the stage's own, as the teacher's transitions do. With `bottleneck`,
    units put out the stage's channels themselves, and their 3x3 convolution has `ratio` times a
    quarter of them. Takes pictures (B, C, H, W) of 4x4 and more, returns logits (B, classes).
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        units: int,
        bottleneck: bool,
        sizes: MatchedSizes | None = None,
    ) -> None:
        super().__init__()
        sizes = sizes or MatchedSizes()
        self.first = conv3x3(channels, sizes.first_channels)

        stages: list[nn.Module] = []
        width = sizes.first_channels
        for stage, hidden in enumerate((sizes.hidden1, sizes.hidden2, sizes.hidden3)):
            halves = stage < 2
            if bottleneck:
                parts = _bottleneck_stage(units, width, hidden, sizes.ratio)
                end = nn.AvgPool2d(2) if halves else nn.Identity()
            else:
                wide = max(1, int(sizes.ratio * hidden))
                parts = _wide_stage(units, width, wide, sizes.dropout)
                end = Transition(wide, hidden, halves)
            stages.append(nn.Sequential(*parts, end))
            width = hidden

        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        initialise(self)

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        x = F.relu(self.norm(self.stages(self.first(pictures))), inplace=True)
        return self.classifier(torch.mean(x, dim=(2, 3)))


def _bottleneck_stage(units: int, width: int, hidden: int, ratio: float) -> list[nn.Module]:
    """Return a stage's units from `width` channels on; each puts out `hidden` channels."""
    inner = max(1, int(ratio * hidden / 4))
    parts: list[nn.Module] = []
    for _ in range(units):
        parts.append(BottleneckUnit(width, inner, hidden))
        width = hidden
    return parts


def _wide_stage(units: int, width: int, wide: int, dropout: float) -> list[nn.Module]:
    """Return a stage's units from `width` channels on; each puts out `wide` channels."""
    parts: list[nn.Module] = []
    for _ in range(units):
        parts.append(WideBasicBlock(width, wide, 1, dropout))
        width = wide
    return parts
