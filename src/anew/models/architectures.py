"""The table of built-in architectures: a name, its options and ranges, and how it is built.

A new architecture is one entry in `ARCHITECTURES`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from anew.core.errors import AnewError
from anew.core.ranges import Range
from anew.data.signature import Signature
from anew.models.densenet import PAPER, USUAL, DenseNet, DenseSizes, block_growths, usual
from anew.models.language import (
    CharacterLSTM,
    CharacterSizes,
    Transformer,
    TransformerSizes,
    WordLSTM,
)
from anew.models.matched_resnet import MatchedResNet, MatchedSizes
from anew.models.pre_activation_resnet import PreActivationResNet
from anew.models.resnet import DEPTHS, ResNet
from anew.models.small import MLP, LeNet, SmallCNN
from anew.models.wide_resnet import WideResNet

Shape = tuple[int, ...]
Options = Mapping[str, int | float]


def _reads_no_text(
    shape: Shape, classes: int, numbers: tuple[int, ...], options: Options
) -> nn.Module:
    raise AssertionError("a language model is built for a vocabulary")


@dataclass(frozen=True)
class Architecture:
    """An architecture, or a family of them with numbers in the name: wide_resnet-DEPTH-WIDTH."""

    name: str
    summary: str
    build: Callable[[Shape, int, tuple[int, ...], Options], nn.Module] = _reads_no_text
    """Returns the model for an input shape, a number of classes, the numbers and the options."""
    options: Mapping[str, Range] = field(default_factory=dict[str, Range])
    numbers: Mapping[str, Range] = field(default_factory=dict[str, Range])
    """The numbers in the name, in their order."""
    check: Callable[[str, tuple[int, ...], Options], None] = lambda name, numbers, options: None
    """Raises `AnewError` if numbers and options do not fit together."""
    spelled: Callable[[tuple[int, ...]], Options] = lambda numbers: {}
    """Returns the options that the name alone stands for, by its numbers."""
    smallest: int = 1
    """The least height and width of a picture."""
    takes_vectors: bool = False
    examples: tuple[str, ...] = ()
    build_for_words: Callable[[tuple[str, ...], tuple[int, ...], Options], nn.Module] | None = None
    """Of a language model, in place of `build`: returns the model for a vocabulary."""

    @property
    def reads_text(self) -> bool:
        """Whether this is a language model."""
        return self.build_for_words is not None

    def build_for(
        self, signature: Signature, numbers: tuple[int, ...], options: Options
    ) -> nn.Module:
        """Return the model for examples of a signature."""
        if self.build_for_words is not None:
            return self.build_for_words(signature.classes, numbers, options)
        return self.build(signature.input_shape, len(signature.classes), numbers, options)

    @property
    def pattern(self) -> str:
        """The name with its numbers' names, such as wide_resnet-DEPTH-WIDTH."""
        return "-".join([self.name, *(number.upper() for number in self.numbers)])

    def read_numbers(self, name: str) -> tuple[int, ...] | None:
        """Return the numbers in a name of this family, or None if it is of another.

        Raises `AnewError` if the name is of this family and not written as its pattern.
        """
        if name != self.name and not (self.numbers and name.startswith(f"{self.name}-")):
            return None

        pattern = re.escape(self.name) + r"-(\d{1,6})" * len(self.numbers)
        written = re.fullmatch(pattern, name)
        if written is None:
            raise AnewError(
                f"model '{name}': must have the form {self.pattern}; write for example "
                f"{self.examples[0]}"
            )

        numbers = tuple(map(int, written.groups()))
        for (what, allowed), number in zip(self.numbers.items(), numbers, strict=True):
            if not allowed.holds(number):
                raise AnewError(
                    f"model '{name}': {what} must be {allowed}, got {number}; write {self.pattern}"
                )
        return numbers


def _check_wide_resnet(name: str, numbers: tuple[int, ...], options: Options) -> None:
    depth, width = numbers
    if (depth - 4) % 6:
        lower = max(10, depth - (depth - 4) % 6)
        raise AnewError(
            f"model '{name}': depth must be 6 n + 4, got {depth}; the nearest are "
            f"wide_resnet-{lower}-{width} and "
            f"wide_resnet-{lower + 6}-{width}"
        )


def _check_densenet(name: str, numbers: tuple[int, ...], options: Options) -> None:
    depth, growth = numbers
    if (depth, growth) not in USUAL and "layers" not in options and (depth - 4) % 6:
        lower = max(10, depth - (depth - 4) % 6)
        raise AnewError(
            f"model '{name}': depth must be 6 n + 4 (but for the paper's own networks), got "
            f"{depth}; the nearest are "
            f"densenet-{lower}-{growth} and densenet-{lower + 6}-{growth}, or set the option layers"
        )

    sizes = DenseSizes(**options)  # type: ignore[arg-type]
    if sizes.hidden3 and sizes.transitions < 3:
        raise AnewError(
            f"model '{name}': hidden3 is the size after a third transition; set the option "
            f"transitions=3"
        )

    usual_layers, usual_channels = usual(depth, growth)
    layers, first = sizes.layers or usual_layers, sizes.first_channels or usual_channels
    growths = block_growths(growth, layers, first, sizes.compression, sizes.hidden)
    for block, block_growth in enumerate(growths, 1):
        if block_growth < 1:
            raise AnewError(
                f"model '{name}': no growth leads its block {block} to "
                f"hidden{block}={sizes.hidden[block - 1]} with compression "
                f"{sizes.compression:g}; raise hidden{block} or lower compression"
            )


def _check_pre_activation_resnet(name: str, numbers: tuple[int, ...], options: Options) -> None:
    (depth,) = numbers
    if (depth - 2) % 9:
        lower = max(11, depth - (depth - 2) % 9)
        raise AnewError(
            f"model '{name}': depth must be 9 n + 2, got {depth}; the nearest are "
            f"pre_activation_resnet-{lower} and "
            f"pre_activation_resnet-{lower + 9}"
        )


def _build_densenet(
    shape: Shape, classes: int, numbers: tuple[int, ...], options: Options
) -> nn.Module:
    depth, growth = numbers
    return DenseNet(shape[0], classes, depth, growth, DenseSizes(**options))  # type: ignore[arg-type]


def _build_matched_wide(
    shape: Shape, classes: int, numbers: tuple[int, ...], options: Options
) -> nn.Module:
    sizes = MatchedSizes(**options)  # type: ignore[arg-type]
    return MatchedResNet(shape[0], classes, *numbers, bottleneck=False, sizes=sizes)


def _build_matched_pre(
    shape: Shape, classes: int, numbers: tuple[int, ...], options: Options
) -> nn.Module:
    sizes = MatchedSizes(**options)  # type: ignore[arg-type]
    return MatchedResNet(shape[0], classes, *numbers, bottleneck=True, sizes=sizes)


def _check_transformer(name: str, numbers: tuple[int, ...], options: Options) -> None:
    width = numbers[1]
    heads = TransformerSizes(**options).heads_of(width)  # type: ignore[arg-type]
    if width % (2 * heads):
        raise AnewError(
            f"model '{name}': width must be a multiple of twice the heads, got {width} and {heads} "
            "heads; choose another width, or set the option heads"
        )


_LAYERS_AND_UNITS = {
    "layers": Range(1, 100, whole=True),
    "units": Range(1, 100_000, whole=True),
}
_DROPOUT = {"dropout": Range(0, 1, below=True)}
_DEPTH = Range(10, 2000, whole=True)
_HIDDEN = {f"hidden{stage}": Range(1, 100_000, whole=True) for stage in (1, 2, 3)}
_MATCHED = {
    "ratio": Range(0.01, 10, below=True),
    "first_channels": Range(1, 10_000, whole=True),
    **_HIDDEN,
}

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        "wide_resnet",
        "wide residual network (Zagoruyko and Komodakis 2016)",
        lambda shape, classes, numbers, options: WideResNet(shape[0], classes, *numbers, **options),
        options=_DROPOUT,
        numbers={"depth": _DEPTH, "width": Range(1, 64, whole=True)},
        check=_check_wide_resnet,
        smallest=4,
        examples=(
            "wide_resnet-10-1",
            "wide_resnet-16-1",
            "wide_resnet-16-4",
            "wide_resnet-28-1",
            "wide_resnet-28-2",
            "wide_resnet-28-5",
            "wide_resnet-28-10",
            "wide_resnet-40-4",
        ),
    ),
    Architecture(
        "densenet",
        "densely connected network with bottlenecks (Huang et al. 2017)",
        _build_densenet,
        options={
            "compression": Range(0.01, 10, below=True),
            "layers": Range(1, 500, whole=True),
            "first_channels": Range(1, 10_000, whole=True),
            "bottleneck": Range(1, 64, whole=True),
            "transitions": Range(2, 3, whole=True),
            **_HIDDEN,
            **_DROPOUT,
        },
        numbers={"depth": _DEPTH, "growth": Range(1, 1000, whole=True)},
        check=_check_densenet,
        spelled=lambda numbers: PAPER.get((numbers[0], numbers[1]), {}),
        smallest=4,
        examples=(
            "densenet-40-12",
            "densenet-100-12",
            "densenet-112-33",
            "densenet-90-60",
            "densenet-80-80",
            "densenet-80-120",
        ),
    ),
    Architecture(
        "pre_activation_resnet",
        "pre-activation residual network with bottlenecks (He et al. 2016)",
        lambda shape, classes, numbers, options: PreActivationResNet(shape[0], classes, *numbers),
        numbers={"depth": _DEPTH},
        check=_check_pre_activation_resnet,
        smallest=4,
        examples=("pre_activation_resnet-164", "pre_activation_resnet-1001"),
    ),
    Architecture(
        "matched_wide_resnet",
        "wide residual network with a DenseNet's stage outputs (the paper's BAN-Wide-ResNet)",
        _build_matched_wide,
        options={**_MATCHED, **_DROPOUT},
        numbers={"units": Range(1, 1000, whole=True)},
        smallest=4,
        examples=("matched_wide_resnet-4",),
    ),
    Architecture(
        "matched_pre_resnet",
        "pre-activation bottlenecks with a DenseNet's stage outputs (the paper's BAN-Pre-ResNet)",
        _build_matched_pre,
        options=_MATCHED,
        numbers={"units": Range(1, 1000, whole=True)},
        smallest=4,
        examples=("matched_pre_resnet-14",),
    ),
    *(
        Architecture(
            f"resnet{depth}",
            "residual network with a stem for small pictures (He et al. 2016)",
            lambda shape, classes, numbers, options, depth=depth: ResNet(shape[0], classes, depth),
            smallest=8,
            examples=(f"resnet{depth}",),
        )
        for depth in DEPTHS
    ),
    Architecture(
        "lenet",
        "LeNet-5 with ReLU (LeCun et al. 1998)",
        lambda shape, classes, numbers, options: LeNet(shape[0], classes, *shape[1:]),
        smallest=12,
        examples=("lenet",),
    ),
    Architecture(
        "mlp",
        "multilayer perceptron, for vectors too",
        lambda shape, classes, numbers, options: MLP(math.prod(shape), classes, **options),  # type: ignore[arg-type]
        options={
            "hidden": Range(1, 1_000_000, whole=True),
            "layers": Range(0, 1000, whole=True),
            **_DROPOUT,
        },
        takes_vectors=True,
        examples=("mlp",),
    ),
    Architecture(
        "small_cnn",
        "four convolutions, for 8x8 and 28x28 pictures",
        lambda shape, classes, numbers, options: SmallCNN(shape[0], classes, **options),  # type: ignore[arg-type]
        options={"width": Range(1, 10_000, whole=True), **_DROPOUT},
        smallest=4,
        examples=("small_cnn",),
    ),
    Architecture(
        "lstm",
        "LSTM over words, tied softmax (Zaremba et al. 2014)",
        numbers=_LAYERS_AND_UNITS,
        options={**_DROPOUT, "tied": Range(0, 1, whole=True)},
        examples=("lstm-1-64", "lstm-1-200", "lstm-2-200", "lstm-2-1500"),
        build_for_words=lambda words, numbers, options: WordLSTM(len(words), *numbers, **options),  # type: ignore[arg-type]
    ),
    Architecture(
        "char_lstm",
        "LSTM over words' characters, softmax over words (Kim et al. 2016)",
        numbers=_LAYERS_AND_UNITS,
        options={
            "characters": Range(1, 10_000, whole=True),
            "widths": Range(1, 50, whole=True),
            "filters": Range(1, 10_000, whole=True),
            "most_filters": Range(1, 10_000, whole=True),
            "highway": Range(0, 50, whole=True),
            **_DROPOUT,
        },
        examples=("char_lstm-1-64", "char_lstm-2-300", "char_lstm-2-650"),
        build_for_words=lambda words, numbers, options: CharacterLSTM(
            words,
            *numbers,
            CharacterSizes(**options),  # type: ignore[arg-type]
        ),
    ),
    Architecture(
        "transformer",
        "decoder with causal attention and rotary positions, tied softmax",
        numbers={"layers": Range(1, 200, whole=True), "width": Range(2, 16_384, whole=True)},
        options={
            "heads": Range(1, 256, whole=True),
            "context": Range(2, 65_536, whole=True),
            **_DROPOUT,
        },
        check=_check_transformer,
        examples=("transformer-2-64", "transformer-4-128", "transformer-6-384"),
        build_for_words=lambda words, numbers, options: Transformer(
            len(words),
            *numbers,
            TransformerSizes(**options),  # type: ignore[arg-type]
        ),
    ),
)
