"""From a source to what training uses: which examples train, which are held out, and how they are
normalised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anew.core import randomness
from anew.core.errors import AnewError
from anew.core.spec import DataSpec
from anew.data.examples import Examples
from anew.data.signature import Signature
from anew.data.sources import Contents, Source
from anew.data.views import Views


@dataclass(frozen=True)
class Data:
    """Examples ready for training: three disjoint sets, their classes, their views and their
    normalisation.

    `mean` and `std` have one number a channel (a feature for vectors), in the inputs' own units,
    measured on the training examples alone. `spec` is the data's description with everything filled
    in.
    """

    training: Examples
    validation: Examples
    test: Examples
    classes: tuple[str, ...]
    views: Views
    mean: Tensor
    std: Tensor
    spec: DataSpec

    @property
    def signature(self) -> Signature:
        """What goes into a network for this data and what comes out of it."""
        return Signature(
            self.input_shape, self.classes, tuple(self.mean.tolist()), tuple(self.std.tolist())
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: (C, H, W) or (F,)."""
        return self.training.input_shape


@dataclass(frozen=True)
class Sizes:
    """How many examples a split has for training, for validation and for the test."""

    training: int
    validation: int
    test: int


def sizes(contents: Contents, spec: DataSpec) -> Sizes:
    """Return the sizes of the split that `prepare` makes, without the examples; `AnewError` where
    none would train.
    """
    left = contents.training
    test = contents.test or round(spec.test * left)
    left -= 0 if contents.test else test
    if spec.limit is not None:
        left = min(left, spec.limit)
    validation = round(spec.validation * left)
    if left - validation < 1:
        raise AnewError(
            f"data '{spec.source}': no training example is left of {left} after the splits; raise "
            f"--limit, or lower "
            "--data.validation"
        )
    return Sizes(left - validation, validation, test)


def prepare(source: Source, spec: DataSpec) -> Data:
    """Cut the validation split (and the test set, where the source has none) and measure the
    normalisation.

    Splits are stratified and drawn by `spec.seed`; the validation split comes from the training
    examples, never from the test set. `AnewError` where a share leaves a class without training
    examples.
    """
    if spec.fingerprint not in ("", source.fingerprint):
        raise AnewError(
            f"data '{spec.source}': has the fingerprint {source.fingerprint}, not "
            f"{spec.fingerprint}: its content is "
            "another; restore the data, or drop --data.fingerprint"
        )
    classes = len(source.classes)
    everything, test = source.train, source.test
    indices = torch.arange(len(everything))
    if test is None:
        indices, cut = _cut(
            everything.labels, indices, spec.test, classes, randomness.key(spec.seed, "test split")
        )
        test = everything.take(cut)
        if not len(test):
            raise AnewError(
                f"data '{spec.source}': no test example is cut off from {len(everything)}; raise "
                f"--data.test"
            )
    if spec.limit is not None and spec.limit < len(indices):
        key = randomness.key(spec.seed, "limit")
        _, indices = _cut(everything.labels, indices, spec.limit / len(indices), classes, key)
    key = randomness.key(spec.seed, "validation split")
    indices, held_out = _cut(everything.labels, indices, spec.validation, classes, key)
    missing = classes - len(torch.unique(everything.labels[indices]))
    if missing:
        raise AnewError(
            f"data '{spec.source}': {missing} of {classes} classes have no training example left "
            f"after the splits; "
            "raise --limit, or lower --data.validation"
        )
    # Where nothing is cut off, the source's own tensors serve: no second copy of the data set.
    training = everything if len(indices) == len(everything) else everything.take(indices)
    kind = spec.views or source.views
    views = Views(kind, spec.padding, spec.padding_mode)
    views.check(training.input_shape)
    training = replace(training, views=views)
    mean, std = _normalisation(training.inputs, spec)
    filled = replace(spec, fingerprint=source.fingerprint, views=kind)
    return Data(training, everything.take(held_out), test, source.classes, views, mean, std, filled)


def _cut(
    labels: Tensor, indices: Tensor, share: float, classes: int, stream: int
) -> tuple[Tensor, Tensor]:
    """Split indices in two, class by class: those that stay, and `share` of them, drawn by the
    stream; both sorted.

    The sizes add up: each class gives the whole part of its share, and those with the largest rest
    one more.
    """
    drawn = randomness.bits(stream, indices)
    by_class = [indices[labels[indices] == one] for one in range(classes)]
    exact = torch.tensor([share * len(members) for members in by_class], dtype=torch.float64)
    sizes = exact.floor().long()
    rest = int((exact.sum().round() - sizes.sum()).item())
    sizes[torch.argsort(sizes - exact, stable=True)[:rest]] += 1
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    position = torch.zeros(len(labels), dtype=torch.int64)
    position[indices] = drawn
    for members, size in zip(by_class, sizes.tolist(), strict=True):
        chosen[members[torch.argsort(position[members], stable=True)[:size]]] = True
    return indices[~chosen[indices]], indices[chosen[indices]]


def _normalisation(inputs: Tensor, spec: DataSpec) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel or feature, float32, exact to that
    whatever the size.
    """
    channels = inputs.shape[1]
    count = inputs.numel() // channels
    totals, squares = (
        torch.zeros(channels, dtype=torch.float64),
        torch.zeros(channels, dtype=torch.float64),
    )
    others = [axis for axis in range(inputs.ndim) if axis != 1]
    # Measured from a value that occurs: the sums lose no digits to a large mean, and are 0 where
    # nothing varies.
    origin = inputs[0].reshape(channels, -1)[:, 0].double()
    # A part at a time: the doubles of a whole data set would take eight times its memory.
    for part in inputs.split(256):
        exact = part.double() - origin.view(-1, *[1] * (inputs.ndim - 2))
        totals += exact.sum(others)
        squares += exact.square().sum(others)
    mean = totals / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std[std == 0] = 1.0  # a constant channel or feature carries nothing; it becomes 0
    mean += origin
    return _given(spec.mean, mean, "mean").float(), _given(spec.std, std, "std").float()


def _given(given: tuple[float, ...] | None, measured: Tensor, name: str) -> Tensor:
    if given is None:
        return measured
    if len(given) not in (1, len(measured)):
        raise AnewError(
            f"data.{name} must be one number, or one for each of {len(measured)} channels, got "
            f"{len(given)}; "
            f"set --data.{name}"
        )
    return torch.tensor(given, dtype=torch.float64).expand(len(measured)).clone()
