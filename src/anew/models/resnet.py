"""Residual networks for small pictures, which start with a 3x3 convolution and no max-pooling.

Source: He et al. 2016 (arXiv 1512.03385).
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anew.models.layers import conv3x3, initialise, residual_stages

# Blocks in each of the four stages, and whether they have bottlenecks.
DEPTHS: dict[int, tuple[tuple[int, int, int, int], bool]] = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, added to the input.

    With a bottleneck, a 1x1, a 3x3 and a 1x1 convolution with a quarter of the channels inside.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        channels = out_channels // 4 if bottleneck else out_channels
        if bottleneck:
            convolutions = [
                nn.Conv2d(in_channels, channels, 1, bias=False),
                conv3x3(channels, channels, stride),
                nn.Conv2d(channels, out_channels, 1, bias=False),
            ]
        else:
            convolutions = [conv3x3(in_channels, channels, stride), conv3x3(channels, channels)]
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.BatchNorm2d(conv.out_channels) for conv in convolutions)

        same = stride == 1 and in_channels == out_channels
        if same:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels h w"]:
        """Return the block's output."""
        hidden = x
        last = len(self.convolutions) - 1
        for number, (conv, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            hidden = norm(conv(hidden))
            if number < last:
                hidden = F.relu(hidden, inplace=True)
        return F.relu(hidden + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """ResNet-18, 34, 50, 101 or 152 for small pictures.

    Takes pictures (B, C, H, W) of 8x8 and more, returns logits (B, classes).
    """

    def __init__(self, channels: int, classes: int, depth: int) -> None:
        super().__init__()
        counts, bottleneck = DEPTHS[depth]
        self.first = conv3x3(channels, 64)
        self.norm = nn.BatchNorm2d(64)
        widths = [64 * 2**stage * (4 if bottleneck else 1) for stage in range(len(counts))]
        stages = zip(counts, widths, strict=True)
        self.blocks = residual_stages(64, stages, partial(ResidualBlock, bottleneck=bottleneck))
        self.classifier = nn.Linear(widths[-1], classes)
        initialise(self)

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        x = self.blocks(F.relu(self.norm(self.first(pictures)), inplace=True))
        return self.classifier(torch.mean(x, dim=(2, 3)))
