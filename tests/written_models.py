"""Models as people write them, each with one property; `written_models:NAME` names one."""

import collections
import math
import random
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Plain(nn.Module):
    """What the others change one thing of."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.conv = nn.Conv2d(input_shape[0], 8, 3, padding=1)
        self.head = nn.Linear(8, classes)

    def features(self, x):
        return self.conv(x).relu().mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


@dataclass
class Answer:
    loss: object
    logits: torch.Tensor


Named = collections.namedtuple("Named", "aux logits")


class InDict(Plain):
    def forward(self, x):
        features = self.features(x)
        return {"features": features, "logits": self.head(features)}


class InObject(Plain):
    def forward(self, x):
        return Answer(None, super().forward(x))


class InNamedTuple(Plain):
    def forward(self, x):
        logits = super().forward(x)
        return Named(0 * logits, logits)


class InList(Plain):
    def forward(self, x):
        features = self.features(x)
        return [features, self.head(features)]


class TwoInTraining(Plain):
    def forward(self, x):
        logits = super().forward(x)
        return (logits, 0 * logits) if self.training else logits


class TrainReturnsNothing(Plain):
    def train(self, mode=True):
        super().train(mode)


class FiveDimensions(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.conv = nn.Conv3d(1, 8, 3, padding=1)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.conv(x.unsqueeze(1)).relu().mean((2, 3, 4)))


class CausalMask(nn.Module):
    """Attention of each row of pixels to those above it."""

    def __init__(self, input_shape, classes):
        super().__init__()
        channels, height, width = input_shape
        self.embed = nn.Linear(channels * width, 8)
        self.head = nn.Linear(8, classes)
        self.register_buffer("mask", torch.full((height, height), -math.inf).triu(1))

    def forward(self, x):
        rows = self.embed(x.transpose(1, 2).flatten(2))
        attention = (rows @ rows.transpose(1, 2) + self.mask).softmax(-1)
        return self.head((attention @ rows).mean(1))


class MaskParameter(CausalMask):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        mask = self.mask
        del self.mask
        self.mask = nn.Parameter(mask, requires_grad=False)


class InHalf(Plain):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.bfloat16()


class ChannelsLast(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.mix, self.head = nn.Linear(input_shape[0], 8), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.mix(x).relu().mean((1, 2)))


class OfVectors(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.head = nn.Linear(math.prod(input_shape), classes)

    def forward(self, x):
        assert x.ndim == 2, "a vector for each example"
        return self.head(x)


class OfColours(Plain):
    def __init__(self, input_shape, classes):
        super().__init__((3,), classes)


class OfLarge(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.conv = nn.Conv2d(input_shape[0], 4, 16, 16)
        self.head = nn.Linear(4 * 4 * 4, classes)

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))


class ThousandOutputs(Plain):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, 1000)


class OneOutput(Plain):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, 1)


class KeepsDimensions(Plain):
    def forward(self, x):
        return super().forward(x)[..., None, None]


class NamesClasses(Plain):
    def forward(self, x):
        logits = super().forward(x)
        return F.one_hot(logits.argmax(1), logits.shape[1])


class NothingToTrain(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        return x.flatten(1)[:, : self.classes]


class AllFrozen(Plain):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.requires_grad_(False)


class TextInState(Plain):
    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        pass


class NormOfOnePixel(Plain):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.norm = nn.BatchNorm1d(8)

    def features(self, x):
        return self.norm(super().features(x))


class FailsInTraining(Plain):
    def forward(self, x):
        assert not self.training, "only for inference"
        return super().forward(x)


class NotFinite(Plain):
    def forward(self, x):
        return super().forward(x).log()


class SteepAtZero(Plain):
    """Its answers are finite, and the gradient of a root at 0 is not."""

    def forward(self, x):
        return super().forward(x) + (0 * self.head.bias).sqrt()


class NoGradient(Plain):
    def forward(self, x):
        return super().forward(x).detach()


class WritesOver(Plain):
    def forward(self, x):
        positive = super().forward(x).exp()
        positive += 1
        return positive


class IdleHead(Plain):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.other = nn.Linear(8, classes)


class OfNumPy(Plain):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.head.bias.data.copy_(torch.from_numpy(np.random.randn(classes)))
        self.head.weight.data[0, 0] = random.random()


class OfTheSystem(Plain):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.head.bias.data.copy_(torch.from_numpy(np.random.default_rng().normal(size=classes)))


class MixedOutside(Plain):
    """A random projection that is neither a parameter nor in the state dict."""

    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.mixing = torch.randn(8, 8)

    def features(self, x):
        return super().features(x) @ self.mixing


class ChangesItsState(Plain):
    def forward(self, x):
        if self.training and not hasattr(self, "calls"):
            self.register_buffer("calls", torch.zeros(()))
        return super().forward(x)


class RandomDepth(Plain):
    """Skips its layer by Python's random numbers, and scales it by NumPy's."""

    def features(self, x):
        scale = np.random.rand() if self.training and random.random() < 0.5 else 1.0
        return scale * super().features(x)


class OfACorner(Plain):
    """One pixel of each 4x4."""

    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.conv = nn.Conv2d(input_shape[0], 8, 1, 4)


class Pooled(Plain):
    """Sees all pixels, though the gradient of one picture only reaches the largest."""

    def features(self, x):
        return super().features(F.max_pool2d(x, 2))
