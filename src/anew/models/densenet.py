"""DenseNet-BC, densely connected networks with bottlenecks and compression.

Source: Huang et al. 2017 (arXiv 1608.06993).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anew.models.layers import conv3x3, initialise

# Layers in a block and channels of the first convolution, where a specification names neither.
# Version 0.1 read three of the paper's networks so, by their parameter counts alone. The text gives
# DenseNet-90-60 14 layers a block, so their names are spelled out as `PAPER` says before they
# become a specification; one that lacks the options was written by version 0.1.
USUAL = {
    (112, 33): (17, 66),
    (90, 60): (15, 16),
    (80, 80): (13, 16),
    (80, 120): (13, 16),
}
# What the names of the paper's tables mean (studies/networks.py has the reasons).
PAPER = {
    (90, 60): {"first_channels": 120, "layers": 14, "transitions": 3},
    (80, 80): {"first_channels": 160, "layers": 12, "transitions": 3},
    (80, 120): {"first_channels": 240, "layers": 12, "transitions": 3},
}


class DenseLayer(nn.Module):
    """A 1x1 and a 3x3 convolution, whose `growth` channels are joined to the input.

    The 1x1 convolution has bottleneck x growth channels.
    """

    def __init__(self, in_channels: int, growth: int, bottleneck: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, bottleneck * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck * growth)
        self.conv2 = conv3x3(bottleneck * growth, growth)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch more height width"]:
        """Return the input with `growth` more channels."""
        hidden = self.conv1(F.relu(self.norm1(x), inplace=True))
        new = self.conv2(F.relu(self.norm2(hidden), inplace=True))
        return torch.cat([x, self.dropout(new)], dim=1)


class Transition(nn.Module):
    """A 1x1 convolution to fewer channels, then average pooling to half the size if `halves`."""

    def __init__(self, in_channels: int, out_channels: int, halves: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.halves = halves

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch fewer h w"]:
        """Return the compressed input."""
        compressed = self.conv(F.relu(self.norm(x), inplace=True))
        return F.avg_pool2d(compressed, 2) if self.halves else compressed


def block_growths(
    growth: int, layers: int, first_channels: int, compression: float, hidden: tuple[int, int, int]
) -> list[int]:
    """Return the growth of each block.

    If `hidden` gives the channels after a block's compression, its growth is the one that leads
    there.
    """
    growths: list[int] = []
    width = first_channels
    for kept in hidden:
        growths.append(round((kept / compression - width) / layers) if kept else growth)
        width = kept or int((width + layers * growth) * compression)
    return growths


def usual(depth: int, growth: int) -> tuple[int, int]:
    """Return the layers of a block and the channels of the first convolution for a name.

    They are (depth - 4) / 6 and 2 x growth, but for the names in `USUAL`.
    """
    return USUAL.get((depth, growth), ((depth - 4) // 6, 2 * growth))


@dataclass(frozen=True)
class DenseSizes:
    """The sizes of a DenseNet beside its depth and growth; each is an option of the model."""

    compression: float = 0.5
    """What a transition leaves of the channels."""
    layers: int = 0
    """Layers in each block; 0 for `usual` ones, (depth - 4) / 6."""
    first_channels: int = 0
    """Channels of the first convolution; 0 for `usual` ones, 2 x growth."""
    bottleneck: int = 4
    """The 1x1 convolution of a layer has bottleneck x growth channels."""
    dropout: float = 0.0
    """The probability that dropout zeroes one of a layer's new values."""
    transitions: int = 2
    """With 3, a 1x1 convolution compresses the last block's output too, without halving it."""
    hidden1: int = 0
    """If not 0, the channels after the first transition. The growth of the block before follows."""
    hidden2: int = 0
    """The same for the second transition."""
    hidden3: int = 0
    """The same for the third transition."""

    @property
    def hidden(self) -> tuple[int, int, int]:
        """The channels after each of the three transitions; 0 if the growth decides them."""
        return (self.hidden1, self.hidden2, self.hidden3)


class DenseNet(nn.Module):
    """DenseNet-BC-depth-growth: three dense blocks, with a transition after the first two.

    Takes pictures (B, C, H, W) of 4x4 and more, returns logits (B, classes).
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        depth: int,
        growth: int,
        sizes: DenseSizes | None = None,
    ) -> None:
        super().__init__()
        sizes = sizes or DenseSizes()
        usual_layers, usual_channels = usual(depth, growth)
        layers, width = sizes.layers or usual_layers, sizes.first_channels or usual_channels
        growths = block_growths(growth, layers, width, sizes.compression, sizes.hidden)

        self.first = conv3x3(channels, width)
        blocks: list[nn.Module] = []
        for block, block_growth in enumerate(growths):
            for _ in range(layers):
                blocks.append(DenseLayer(width, block_growth, sizes.bottleneck, sizes.dropout))
                width += block_growth
            if block < sizes.transitions:
                compressed = sizes.hidden[block] or max(1, int(width * sizes.compression))
                blocks.append(Transition(width, compressed, halves=block < 2))
                width = compressed

        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        initialise(self)

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        x = F.relu(self.norm(self.blocks(self.first(pictures))), inplace=True)
        return self.classifier(torch.mean(x, dim=(2, 3)))
