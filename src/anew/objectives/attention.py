"""Attention transfer: a student looks where its teacher looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anew.core.errors import AnewError
from anew.core.spec import ModelSpec
from anew.objectives.losses import Loss, at_least_float32

LAYERS: Mapping[str, tuple[str, ...]] = {
    "small_cnn": ("features.1", "features"),
    "wide_resnet": ("blocks",),
    "resnet": ("blocks",),
    "pre_activation_resnet": ("blocks",),
    "densenet": ("blocks",),
    "timm:resnet": ("layer1", "layer2", "layer3", "layer4"),
    "torchvision:resnet": ("layer1", "layer2", "layer3", "layer4"),
}
"""The modules whose outputs are compared, by the start of a model's name."""


def attention_transfer(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Loss:
    """Attention transfer: the sum over layers of mean((A(s) - A(t))^2).

    A(x) is the attention map of features (B, C, H, W): the mean over channels of their squares, as
    a vector of H W entries of length 1 (Zagoruyko and Komodakis 2017, equation 2 with F = mean of
    squares). The mean is over examples and entries, as in the authors' code, whose weight is 1000.
    Student and teacher may have different numbers of channels; height and width must agree.
    """
    losses = [
        (_attention(ours) - _attention(theirs.detach())).square().mean()
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    return sum(losses[1:], losses[0])


def layers_of(model: ModelSpec) -> tuple[str, ...]:
    """Return the modules of a model whose maps are compared.

    Raises `AnewError` for a model of which none are known.
    """
    for start, layers in LAYERS.items():
        if model.name.startswith(start):
            return layers
    raise AnewError(
        f"objective 'at': does not know the feature maps of model '{model.name}'; choose one of "
        f"{', '.join(LAYERS)}, or another --objective"
    )


def check_maps(
    student: Mapping[str, tuple[int, ...]], teacher: Mapping[str, tuple[int, ...]]
) -> nn.Module:
    """Raise `AnewError` if maps of student and teacher cannot be compared; return an empty module.

    Shapes are those of one example's features, (C, H, W), by the module's name.
    """
    for (name, ours), (other, theirs) in zip(student.items(), teacher.items(), strict=False):
        if len(ours) != 3 or ours[1:] != theirs[1:] or len(student) != len(teacher):
            raise AnewError(
                f"objective 'at': the student's '{name}' gives {ours} and the teacher's '{other}' "
                f"{theirs}; height and width must agree: choose the teacher's architecture"
            )
    return nn.Identity()


def _attention(
    maps: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch entries"]:
    return F.normalize(at_least_float32(maps).square().mean(1).flatten(1), dim=1)
