"""The networks of the paper's tables: rows, and students that keep a DenseNet's hidden sizes.

Furlanello et al. 2018 (arXiv 1805.04770); how they were found from the published counts is in
docs/reproduction.md.
"""

from __future__ import annotations

from anew.core.spec import ModelSpec
from anew.studies.study import REFERENCE

LAYERS, GROWTH = 14, 60
DROPOUT = 0.3
"""Wide-ResNet's, in the CIFAR-100 example of the code whose setting the paper takes."""


def _dense_net(name: str, layers: int, first_channels: int, **options: float) -> ModelSpec:
    """Return a DenseNet with a 1x1 convolution after the last block too."""
    given = {"first_channels": first_channels, "layers": layers, "transitions": 3, **options}
    return ModelSpec(name, tuple(sorted(given.items())))


def dense_nets(layers: int, growth: int) -> dict[str, ModelSpec]:
    """Return Table 4's networks by column: a DenseNet, and students with its hidden sizes.

    The published counts of Tables 4 and 5 come out where a 1x1 convolution follows the last block
    too, so that the hidden sizes of DenseNet-90-60 are 480, 660 and 750. A student `times` as deep
    has that many times the layers and grows by that much less. The teacher's compression takes away
    half of a block's channels: a student with `times` the compression takes away `times` that half,
    and grows so that what is left is the teacher's.
    """
    first = 2 * growth
    hidden, width = list[int](), first
    for _ in range(3):
        width = (width + layers * growth) // 2
        hidden.append(width)

    def network(layers: int, growth: int, **options: float) -> ModelSpec:
        # The depth that usually means so many layers, but for the teacher, which is called
        # DenseNet-90-60.
        name = (
            "densenet-90-60"
            if (layers, growth) == (LAYERS, GROWTH)
            else f"densenet-{6 * layers + 4}-{growth}"
        )
        return _dense_net(name, layers, first, **options)

    kept = {f"hidden{stage}": channels for stage, channels in enumerate(hidden, 1)}
    return {
        REFERENCE: network(layers, growth),
        **{
            f"{times:g}x depth": network(round(layers * times), round(growth / times))
            for times in (0.5, 2, 3, 4)
        },
        **{
            f"{times:g}x compr.": network(layers, growth, compression=1 - times / 2, **kept)
            for times in (0.5, 0.75, 1.5)
        },
    }


def _hidden_sizes(layers: int, growth: int) -> dict[str, int]:
    """Return the first channels and hidden sizes of `dense_nets`' teacher, as students' options."""
    options = dict(dense_nets(layers, growth)["0.5x compr."].options)
    return {
        name: int(options[name]) for name in ("first_channels", "hidden1", "hidden2", "hidden3")
    }


def residual_nets(
    layers: int, growth: int, depth: int, pre_units: int, dropout: float = 0.0
) -> dict[str, ModelSpec]:
    """Return Table 5's networks by row: a plain one, and students of the teacher's hidden sizes.

    `dropout` is the Wide-ResNets'.
    """

    def student(name: str, ratio: float) -> ModelSpec:
        options = {**_hidden_sizes(layers, growth), "ratio": ratio}
        if dropout and name.startswith("matched_wide_resnet"):
            options["dropout"] = dropout
        return ModelSpec(name, tuple(sorted(options.items())))

    return {
        "Pre-activation ResNet-1001": ModelSpec(f"pre_activation_resnet-{depth}"),
        "BAN-Pre-ResNet-14-0.5": student(f"matched_pre_resnet-{pre_units}", 0.5),
        "BAN-Pre-ResNet-14-1": student(f"matched_pre_resnet-{pre_units}", 1.0),
        "BAN-Wide-ResNet-1-1": student("matched_wide_resnet-1", 1.0),
        "BAN-Match-Wide-ResNet-2-1": student("matched_wide_resnet-2", 1.0),
        "BAN-Wide-ResNet-4-0.5": student("matched_wide_resnet-4", 0.5),
        "BAN-Wide-ResNet-4-1": student("matched_wide_resnet-4", 1.0),
    }


DENSE_NETS = dense_nets(LAYERS, GROWTH)
RESIDUAL_NETS = residual_nets(LAYERS, GROWTH, depth=1001, pre_units=14, dropout=DROPOUT)

WIDE_ROWS = {
    f"Wide-ResNet-{name}": ModelSpec(f"wide_resnet-{name}", (("dropout", DROPOUT),))
    for name in ("28-1", "28-2", "28-5", "28-10")
}
DENSE_ROWS = {
    "DenseNet-112-33": ModelSpec("densenet-112-33"),
    # One network in all tables, so that Table 2's teacher serves Tables 4 and 5 too; the two after
    # it are like it.
    "DenseNet-90-60": DENSE_NETS[REFERENCE],
    "DenseNet-80-80": _dense_net("densenet-80-80", layers=12, first_channels=160),
    "DenseNet-80-120": _dense_net("densenet-80-120", layers=12, first_channels=240),
}
SLIDES_NET = ModelSpec("resnet50")


def said(model: ModelSpec) -> str:
    """Return a model's name with its options."""
    options = " ".join(
        f"{name}={value:g}" for name, value in model.options if not isinstance(value, str)
    )
    return f"{model.name} ({options})" if options else model.name
