"""Residual students with a DenseNet's stage outputs: Furlanello et al. 2018 (arXiv 1805.04770),
section 4.1, Table 5.

Between the teacher's first convolution and its classifier, which a student may copy, stand three
stages of residual units whose outputs have the shapes of the teacher's, so that additions take the
place of concatenations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anew.models.densenet import Transition
from anew.models.layers import conv3x3, initialise
from anew.models.pre_activation_resnet import BottleneckUnit
from anew.models.wide_resnet import WideBasicBlock


class MatchedResNet(nn.Module):
    """Three stages of `units` residual units that put out `hidden1`, `hidden2` and `hidden3`
    channels.

    Wide units have `ratio` times those channels in both 3x3 convolutions, and a 1x1 convolution
    after each stage leads to the stage's own, as the teacher's transitions do. With `bottleneck`,
    units put out the stage's channels themselves, and their 3x3 convolution has `ratio` times a
    quarter of them. The defaults are those of DenseNet-90-60. Takes pictures (B, C, H, W) of 4x4
    and more, returns logits (B, classes).
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        units: int,
        bottleneck: bool,
        ratio: float = 1.0,
        first_channels: int = 120,
        hidden1: int = 480,
        hidden2: int = 660,
        hidden3: int = 750,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = conv3x3(channels, first_channels)
        stages: list[nn.Module] = []
        width = first_channels
        for stage, hidden in enumerate((hidden1, hidden2, hidden3)):
            halves = stage < 2
            if bottleneck:
                inner = max(1, int(ratio * hidden / 4))
                parts = [
                    BottleneckUnit(width if unit == 0 else hidden, inner, hidden)
                    for unit in range(units)
                ]
                end = nn.AvgPool2d(2) if halves else nn.Identity()
            else:
                wide = max(1, int(ratio * hidden))
                parts = [
                    WideBasicBlock(width if unit == 0 else wide, wide, 1, dropout)
                    for unit in range(units)
                ]
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
