"""How much of a picture a model sees: the pixels that its logits depend on.

A transformer whose patches do not cover the picture, or a stride beyond its kernel, leaves the rest
out in silence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anew.core import randomness
from anew.data.signature import Signature
from anew.models.returns import NoLogitsError, find_logits

ENOUGH = 0.9
"""A model that sees less than this share of a picture is told of."""
_EXAMPLES = 2
_ROUNDS = 32
# Where only the largest of some pixels has a gradient, as under a pooling, they come one by one.
_PATIENCE = 3


def say(name: str, model: nn.Module, signature: Signature) -> list[str]:
    """Return a line about a model that does not see all of its pictures; none if it does.

    The model is for this alone from now on: it is left in evaluation mode, with other weights.
    """
    if not signature.is_picture:
        return []
    share = seen_share(model, signature)
    if share >= ENOUGH:
        return []

    height, width = signature.input_shape[1:]
    said = f"model '{name}': sees {100 * share:.0f} % of the pixels of pictures of {height}x{width}"
    patch = _uncovered_patch(model, height, width)
    if patch is None:
        return [f"{said}: its outputs do not depend on the other pixels"]
    sides = zip((height, width), patch, strict=True)
    sizes = sorted({-(-side // step) * step for side, step in sides})
    remedy = f"set --data.size {sizes[0]}" if len(sizes) == 1 else "choose another --data.size"
    return [f"{said}: its patches of {patch[0]}x{patch[1]} do not cover them; {remedy}"]


def seen_share(model: nn.Module, signature: Signature) -> float:
    """Return the share of the pixels that a model's logits depend on, by their gradient.

    The gradient is taken at random pictures until no pixel comes anew. What is zero at first, as
    the last layer of some transformers is, is filled, so that it hides nothing. A model without a
    gradient, or with none at all, is taken to see everything.
    """
    with randomness.torch_generator(randomness.key("coverage")):
        model.eval()
        for parameter in model.parameters():
            if not bool(parameter.any()):
                nn.init.normal_(parameter, std=0.02)

        idle = 0
        seen = torch.zeros(signature.input_shape[1:], dtype=torch.bool)
        for _ in range(_ROUNDS):
            try:
                found = seen | _seen(model, signature)
            except (RuntimeError, NoLogitsError):
                # It cannot be differentiated in evaluation mode.
                return 1.0
            idle = idle + 1 if torch.equal(found, seen) else 0
            seen = found
            if idle == _PATIENCE or bool(seen.all()):
                break
        return seen.double().mean().item() if bool(seen.any()) else 1.0


def _seen(model: nn.Module, signature: Signature) -> Tensor:
    """Return which pixels (H, W) have a gradient at some random pictures."""
    pictures = torch.randn(_EXAMPLES, *signature.input_shape, requires_grad=True)
    logits = find_logits(model(pictures), signature.output_shape)
    (gradient,) = torch.autograd.grad((logits * torch.randn(logits.shape)).sum(), pictures)
    return (gradient != 0).flatten(0, 1).any(0)


def _uncovered_patch(model: nn.Module, height: int, width: int) -> tuple[int, int] | None:
    """Return the size of the first patches of a model that leave a part of a picture out."""
    for module in model.modules():
        if not isinstance(module, nn.Conv2d) or module.stride != module.kernel_size:
            continue
        rows, columns = module.stride
        return (rows, columns) if height % rows or width % columns else None
    return None
