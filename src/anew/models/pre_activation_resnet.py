"""Pre-activation residual networks with bottlenecks.

Source: He et al. 2016, "Identity mappings" (arXiv 1603.05027).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anew.models.layers import conv3x3, initialise, residual_stages


class BottleneckUnit(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution, each after batch norm and ReLU, added to the input.

    The first two have `inner_channels` channels.
    """

    def __init__(
        self, in_channels: int, inner_channels: int, channels: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, inner_channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner_channels)
        self.conv2 = conv3x3(inner_channels, inner_channels, stride)
        self.norm3 = nn.BatchNorm2d(inner_channels)
        self.conv3 = nn.Conv2d(inner_channels, channels, 1, bias=False)
        same = stride == 1 and in_channels == channels
        self.shortcut = None if same else nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels h w"]:
        """Return the unit's output.

        If the shape changes, the shortcut starts from the activated input.
        """
        activated = F.relu(self.norm1(x), inplace=True)
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        hidden = F.relu(self.norm2(self.conv1(activated)), inplace=True)
        hidden = F.relu(self.norm3(self.conv2(hidden)), inplace=True)
        return shortcut + self.conv3(hidden)


class PreActivationResNet(nn.Module):
    """Three stages of (depth - 2) / 9 bottleneck units with 64, 128 and 256 channels.

    A unit has a quarter of them inside.

    Takes pictures (B, C, H, W) of 4x4 and more, returns logits (B, classes).
    """

    def __init__(self, channels: int, classes: int, depth: int) -> None:
        super().__init__()
        self.first = conv3x3(channels, 16)
        stages = [((depth - 2) // 9, out_channels) for out_channels in (64, 128, 256)]
        self.units = residual_stages(
            16, stages, lambda into, out, stride: BottleneckUnit(into, out // 4, out, stride)
        )
        self.norm = nn.BatchNorm2d(256)
        self.classifier = nn.Linear(256, classes)
        initialise(self)

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        x = F.relu(self.norm(self.units(self.first(pictures))), inplace=True)
        return self.classifier(torch.mean(x, dim=(2, 3)))
