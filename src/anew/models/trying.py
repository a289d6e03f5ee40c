"""A model that was just built, tried on blank inputs: whether it takes them, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from anew.core.errors import AnewError, in_one_line
from anew.data.signature import Signature
from anew.models.returns import NoLogitsError, find_logits, in_words

COUNT = 2
"""How many blank inputs a model is tried on."""
# Sizes that pictures usually have, tried where a model fails on those of the data.
_SIZES = (32, 64, 96, 128, 160, 192, 224, 240, 256, 299, 384)


def try_blank(signature: Signature, name: str, model: nn.Module) -> Any:
    """Run a model once, in evaluation mode, on two blank inputs, and return its answer.

    Raises `AnewError` unless it gives one logit for each class.
    """
    training = model.training
    # What they return is not used: in somebody else's model it may be nothing.
    model.eval()
    try:
        answer = _answer(model, signature.blank(COUNT))
    except Exception as error:  # somebody else's forward, or a picture too small for a known one
        raise AnewError(
            f"model '{name}': fails on inputs {signature.in_words()} ({in_one_line(error)})"
            f"{made_for(name)}; {_remedy(signature, name, model)}"
        ) from error
    model.train(training)

    check_answer(answer, COUNT, signature, name)
    return answer


def check_answer(answer: Any, count: int, signature: Signature, name: str) -> Tensor:
    """Return the logits in a model's answer to `count` inputs.

    Raises `AnewError` unless there is one logit for each class.
    """
    wanted = (count, *signature.output_shape)
    try:
        logits = find_logits(answer, signature.output_shape)
    except NoLogitsError as error:
        raise _no_logits(name, wanted, str(error), "return one logit for each class") from error

    if tuple(logits.shape) != wanted:
        remedy = _remedy_of_shape(tuple(logits.shape), wanted, name)
        raise _no_logits(name, wanted, f"shape {tuple(logits.shape)}", remedy)
    if not logits.is_floating_point():
        what = f"{in_words(logits)} of {_plain(logits.dtype)}"
        raise _no_logits(name, wanted, what, "return the logits, not the classes they name")
    return logits


def _no_logits(name: str, wanted: tuple[int, ...], gave: str, remedy: str) -> AnewError:
    return AnewError(
        f"model '{name}': must return logits of shape {wanted} for {wanted[0]} inputs, gave "
        f"{gave}; {remedy}"
    )


def _remedy_of_shape(shape: tuple[int, ...], wanted: tuple[int, ...], name: str) -> str:
    """Return what to do about logits of another shape, in words."""
    classes = wanted[-1]
    if classes == 2 and shape in ((wanted[0],), (wanted[0], 1)):
        return "two classes need two logits: return (0, z) for a single z before its sigmoid"
    if shape == (*wanted, 1, 1):
        return "it keeps two empty dimensions: end its forward with .flatten(1)"
    if len(shape) == len(wanted) and shape[:-1] == wanted[:-1]:
        own = ":" in name and not name.startswith(("timm:", "torchvision:"))
        how = "build its last layer with `classes` outputs (the argument)"
        if not own:
            how = "drop the number of classes from --model.options"
        return f"it has {shape[-1]} outputs and the data has {classes} classes: {how}"
    return "return one logit for each class"


def _remedy(signature: Signature, name: str, model: nn.Module) -> str:
    """Return why a model may have failed on its inputs, and what to do, in words."""
    dtypes = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
    other = sorted(_plain(dtype) for dtype in dtypes if dtype != torch.float32)
    if other:
        return (
            f"its weights are {', '.join(other)} and its inputs float32: build it in float32, and "
            "train with --precision bfloat16 if half precision is meant"
        )

    for inputs, remedy in _others(signature):
        try:
            answer = _answer(model, inputs)
            check_answer(answer, COUNT, signature, name)
        except Exception:  # it does not take these either
            continue
        return remedy
    if not signature.is_picture:
        return "choose another --model"
    if name.startswith(("timm:", "torchvision:")):
        return "choose another --data.size, or another --model"
    return (
        "its inputs are float32 pictures (N, C, H, W): change the model, choose another "
        "--data.size, or choose another --model"
    )


def _others(signature: Signature) -> Iterator[tuple[Tensor, str]]:
    """Yield blank inputs of other kinds, and what to do if a model takes them."""
    if not signature.is_picture:
        return

    channels, height, width = signature.input_shape
    yield (
        torch.zeros(COUNT, height, width, channels),
        "it takes pictures (N, H, W, C) and is given (N, C, H, W): begin its forward with "
        "x = x.permute(0, 2, 3, 1)",
    )
    yield (
        torch.zeros(COUNT, channels * height * width),
        "it takes vectors and is given pictures (N, C, H, W): begin its forward with "
        "x = x.flatten(1)",
    )
    yield (
        torch.zeros(COUNT, channels, height, width, dtype=torch.uint8),
        "it takes whole numbers and is given normalised float32: leave the first conversion out",
    )
    for other in {1, 3} - {channels}:
        yield (
            torch.zeros(COUNT, other, height, width),
            f"it takes pictures of {other} channels and those of the data have {channels}: build "
            "its first layer with `input_shape[0]` channels (the argument)",
        )
    for size in _SIZES:
        yield (
            torch.zeros(COUNT, channels, size, size),
            f"it takes pictures of {size}x{size}: set --data.size {size}, or choose another "
            "--model",
        )


def made_for(name: str) -> str:
    """Return for which pictures a model of timm's was made, in words; "" if it is not known."""
    if not name.startswith("timm:"):
        return ""
    import timm

    known = timm.models.get_pretrained_cfg(name.removeprefix("timm:"))
    if known is None:
        return ""
    return f"; it was made for pictures of {'x'.join(map(str, known.input_size))}"


@torch.no_grad()
def _answer(model: nn.Module, inputs: Tensor) -> Any:
    return model(inputs)


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
