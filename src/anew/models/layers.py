"""Parts that the convolutional architectures share, and their first weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size, or halves it with stride 2."""
    # No bias: the norm that follows would take it away.
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def residual_stages(
    width: int, stages: Iterable[tuple[int, int]], unit: Callable[[int, int, int], nn.Module]
) -> nn.Sequential:
    """Return stages of residual units, from `width` channels on.

    A stage is (number of units, output channels). `unit` makes one unit from its input channels,
    its output channels and its stride. The stride is 2, which halves the picture, in the first
    unit of every stage but the first.
    """
    units: list[nn.Module] = []
    for stage, (count, channels) in enumerate(stages):
        for number in range(count):
            units.append(unit(width, channels, 2 if stage > 0 and number == 0 else 1))
            width = channels
    return nn.Sequential(*units)


def initialise(network: nn.Module) -> None:
    """Set first weights as He et al. 2015 do.

    Those of convolutions are normal with variance 2 / fan-out, norms start at 1 and 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
