"""Small networks: four convolutions for small pictures, LeNet, and a multilayer perceptron."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anew.models.layers import conv3x3, initialise


class SmallCNN(nn.Module):
    """Four 3x3 convolutions with batch norm and ReLU.

    The third halves the size and doubles the channels.

    Takes pictures (B, C, H, W) of 4x4 and more, returns logits (B, classes).
    """

    def __init__(self, channels: int, classes: int, width: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(channels, width),
            _convolution(width, width),
            _convolution(width, 2 * width, stride=2),
            _convolution(2 * width, 2 * width),
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * width, classes)
        initialise(self)

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        return self.classifier(self.dropout(torch.mean(self.features(pictures), dim=(2, 3))))


def _convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        conv3x3(before, after, stride), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max-pooling.

    Pictures of 28x28 are padded to 32x32, as in the original.

    Takes pictures (B, C, H, W) of 12x12 and more, returns logits (B, classes).
    """

    def __init__(self, channels: int, classes: int, height: int, width: int) -> None:
        super().__init__()
        padding = 2 if min(height, width) <= 28 else 0
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=padding)
        self.conv2 = nn.Conv2d(6, 16, 5)
        rows, columns = (((size + 2 * padding - 4) // 2 - 4) // 2 for size in (height, width))
        self.layer1 = nn.Linear(16 * rows * columns, 120)
        self.layer2 = nn.Linear(120, 84)
        self.classifier = nn.Linear(84, classes)

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        x = F.max_pool2d(F.relu(self.conv1(pictures)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.layer1(x.flatten(1)))
        return self.classifier(F.relu(self.layer2(x)))


class MLP(nn.Module):
    """A multilayer perceptron with `layers` hidden layers of `hidden` units.

    Pictures are flattened.

    Takes (B, F) or (B, C, H, W), returns logits (B, classes).
    """

    def __init__(
        self, features: int, classes: int, hidden: int = 256, layers: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = [features, *[hidden] * layers]
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout))
                for before, after in itertools.pairwise(widths)
            )
        )
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, inputs: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        return self.classifier(self.hidden(inputs.flatten(1)))
