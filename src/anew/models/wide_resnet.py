"""Wide residual networks: Zagoruyko and Komodakis 2016 (arXiv 1605.07146)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anew.models.layers import conv3x3, initialise, residual_stages


class WideBasicBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, with dropout between them."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        same = stride == 1 and in_channels == channels
        self.shortcut = None if same else nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels h w"]:
        """Return the block's output.

        If the shape changes, the shortcut starts from the activated input.
        """
        activated = F.relu(self.norm1(x), inplace=True)
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        hidden = F.relu(self.norm2(self.conv1(activated)), inplace=True)
        return shortcut + self.conv2(self.dropout(hidden))


class WideResNet(nn.Module):
    """WRN-depth-width: three groups of (depth - 4) / 6 blocks.

    They have 16, 32 and 64 times `width` channels.

    Takes pictures (B, C, H, W) of 4x4 and more, returns logits (B, classes).
    """

    def __init__(
        self, channels: int, classes: int, depth: int, width: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.first = conv3x3(channels, 16)
        groups = [((depth - 4) // 6, channels * width) for channels in (16, 32, 64)]
        self.blocks = residual_stages(16, groups, partial(WideBasicBlock, dropout=dropout))
        self.norm = nn.BatchNorm2d(64 * width)
        self.classifier = nn.Linear(64 * width, classes)
        initialise(self)

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        x = F.relu(self.norm(self.blocks(self.first(pictures))), inplace=True)
        return self.classifier(torch.mean(x, dim=(2, 3)))
