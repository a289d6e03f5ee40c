"""Densely connected networks with bottlenecks and compression, DenseNet-BC: Huang et al. 2017
(arXiv 1608.06993).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anew.models.layers import conv3x3, initialise

# What the paper's parameter counts come out with: (layers in a block, channels of the first
# convolution). Born-again networks' own code is not public; the usual rule, (depth - 4) / 6 layers
# and 2 x growth channels, gives other counts. With a third transition it does nearly: the networks
# of the tables, whose students need it (studies/networks.py).
PAPER = {
    (112, 33): (17, 66),
    (90, 60): (15, 16),
    (80, 80): (13, 16),
    (80, 120): (13, 16),
}


class DenseLayer(nn.Module):
    """A 1x1 convolution to bottleneck x growth channels and a 3x3 one to growth, joined to the
    input.
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
    """A 1x1 convolution to fewer channels, and half the size by average pooling, but at the
    network's end.
    """

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
    """Return the growth in each block: where `hidden` gives its channels after compression, what
    leads to them.
    """
    growths: list[int] = []
    width = first_channels
    for kept in hidden:
        growths.append(round((kept / compression - width) / layers) if kept else growth)
        width = kept or int((width + layers * growth) * compression)
    return growths


def usual(depth: int, growth: int) -> tuple[int, int]:
    """Return the layers in a block and the first convolution's channels of a name: the paper's, or
    (depth - 4) / 6.
    """
    return PAPER.get((depth, growth), ((depth - 4) // 6, 2 * growth))


class DenseNet(nn.Module):
    """DenseNet-BC-depth-growth: three dense blocks of `layers` layers, a transition after the first
    two.

    `layers` and `first_channels` of 0 mean those of the paper's network of that name, or the usual
    (depth - 4) / 6 and 2 x growth. With `transitions` of 3 a 1x1 convolution compresses the last
    block's output too, without halving it. `hidden1`, `hidden2` and `hidden3`, where not 0, are the
    channels after the blocks' transitions: a block's growth is then the one that `compression`
    leads from to them. Takes pictures (B, C, H, W) of 4x4 and more, returns logits (B, classes).
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        depth: int,
        growth: int,
        compression: float = 0.5,
        layers: int = 0,
        first_channels: int = 0,
        bottleneck: int = 4,
        dropout: float = 0.0,
        transitions: int = 2,
        hidden1: int = 0,
        hidden2: int = 0,
        hidden3: int = 0,
    ) -> None:
        super().__init__()
        usual_layers, usual_channels = usual(depth, growth)
        layers, width = layers or usual_layers, first_channels or usual_channels
        hidden = (hidden1, hidden2, hidden3)
        self.first = conv3x3(channels, width)
        blocks: list[nn.Module] = []
        for block, block_growth in enumerate(
            block_growths(growth, layers, width, compression, hidden)
        ):
            for _ in range(layers):
                blocks.append(DenseLayer(width, block_growth, bottleneck, dropout))
                width += block_growth
            if block < transitions:
                compressed = hidden[block] or max(1, int(width * compression))
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
