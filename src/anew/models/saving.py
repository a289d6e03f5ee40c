"""From a file to a network: which code a file may name, and whether its tensors fit."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anew import models
from anew.core import fields, files
from anew.core.errors import AnewError
from anew.core.spec import ModelSpec
from anew.data.signature import Signature, whole_numbers
from anew.models.network import Network, build_empty

IN_MEMORY = " (in memory)"
"""How the name of a model ends that was given as an object, and that no file can build again."""
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def load(path: Path, trusted: Collection[str] = ()) -> Network:
    """Load a network that anew saved, from its file alone.

    A file that names a model of somebody's own code, `package.module:callable`, is loaded only if
    that name is `trusted`: a file must not choose what is imported and called. Raises `AnewError`
    if the name is not trusted, or if the file is damaged or foreign.
    """
    return restore(*files.read_tensors(path), path, trusted)


def restore(
    tensors: dict[str, Tensor], header: Mapping[str, Any], path: Path, trusted: Collection[str]
) -> Network:
    """Return a network from the tensors and the header of its file, as `load` does."""
    spec = model_of(header, path)
    with _reading(path):
        signature = Signature.from_header(header)
        check_trusted(spec.name, trusted, path)
        columns = whole_numbers({"columns": (), **header}, "columns")
        probabilities = _answers_with_probabilities(header)

    network = build_empty(spec, signature)
    fill(network, tensors, path)
    if not (columns or probabilities):
        return network
    with _reading(path):
        return Network(network.model, spec, signature, (), columns, probabilities)


def _answers_with_probabilities(header: Mapping[str, Any]) -> bool:
    """Return whether a file's model answers with probabilities; ValueError if it says neither."""
    answers = header.get("answers", "logits")
    if answers not in ("logits", "probabilities"):
        raise ValueError(f"unknown answers {answers!r}")
    return answers == "probabilities"


def model_of(header: Mapping[str, Any], path: Path) -> ModelSpec:
    """Return the model that the header of a network's file names, as `restore` reads it."""
    with _reading(path):
        return fields.read(ModelSpec, header["model"], str(path), prefix=("model",))


def read_signature(path: Path) -> Signature:
    """Return what goes into a network that anew saved, and what comes out of it, from its file.

    Raises `AnewError` if the file is damaged or foreign.
    """
    _, header = files.read_tensors(path)
    with _reading(path):
        return Signature.from_header(header)


@contextmanager
def _reading(path: Path) -> Generator[None]:
    """Turn what is wrong with a file's header into one line."""
    try:
        yield
    except KeyError as error:
        raise AnewError(
            f"{path}: has no {error} in its header, so anew did not write it; give a family's file"
        ) from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AnewError(
            f"{path}: its header is damaged ({error}); restore it from a copy"
        ) from error


def check_trusted(name: str, trusted: Collection[str], path: Path) -> None:
    """Raise `AnewError` if a file names a model of own code that the user did not name.

    Also if it names one that was given as an object in Python.
    """
    if name.endswith(IN_MEMORY):
        raise AnewError(
            f"{path}: is of '{name.removesuffix(IN_MEMORY)}', a module or callable from Python, "
            "which cannot be built again; give it again as teacher=, or use its students"
        )
    if models.is_own_code(name) and name not in trusted:
        raise AnewError(
            f"{path}: names the code '{name}', which is not run unless you trust it; to allow "
            f"it, set --trust {name}"
        )


def fill(network: Network, tensors: dict[str, Tensor], path: Path) -> None:
    """Put a state dict into a network's model.

    Raises `AnewError` if a tensor is missing, extra, of another shape or type, or not finite.
    What holds infinity when the model is built, such as a mask of -inf, may hold it.
    """
    wanted = network.model.state_dict()
    infinite = infinite_tensors(network.model)
    _check_names(network.spec.name, wanted.keys(), tensors.keys(), path)

    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            raise AnewError(
                f"{path}: tensor '{key}' has shape {tuple(tensor.shape)}, but "
                f"{network.spec.name} with {len(network.signature.classes)} classes and inputs "
                f"{network.signature.input_shape} needs {tuple(wanted[key].shape)}; give a "
                "checkpoint of the same model, classes and inputs"
            )
        if not _can_hold(wanted[key].dtype, tensor.dtype):
            raise AnewError(
                f"{path}: tensor '{key}' holds numbers of type {_of_type(tensor)}, but "
                f"{network.spec.name} needs {_of_type(wanted[key])}; give the trained "
                "checkpoint, not a quantised one"
            )
        # As the model will hold it: large float64 numbers are infinite in float32.
        if not _is_sound(tensor.to(wanted[key].dtype), key in infinite):
            raise AnewError(
                f"{path}: tensor '{key}' holds NaN or infinity; give a checkpoint with finite "
                "weights"
            )
    network.model.load_state_dict(tensors)


def infinite_tensors(model: nn.Module) -> set[str]:
    """Return the names of what a model holds and does not learn, and that is infinite.

    Masks of -inf are, as buffers or as parameters without a gradient.
    """
    learned = {name for name, tensor in model.named_parameters() if tensor.requires_grad}
    state = model.state_dict()
    return {name for name, value in state.items() if name not in learned and _is_infinite(value)}


def _is_infinite(tensor: Tensor) -> bool:
    return bool(tensor.isinf().any())


def _is_sound(tensor: Tensor, may_be_infinite: bool) -> bool:
    sound = ~tensor.isnan() if may_be_infinite else tensor.isfinite()
    return bool(sound.all())


def _can_hold(wanted: torch.dtype, given: torch.dtype) -> bool:
    """Whether numbers of a type can stand for those of another, of more or fewer digits."""
    if wanted.is_complex:
        return given.is_complex
    # Floats for whole numbers too: a checkpoint in half precision may hold its counters so.
    return given in _FLOATS or not (wanted.is_floating_point or given.is_complex)


def _of_type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_names(model: str, wanted: Set[str], given: Set[str], path: Path) -> None:
    missing, extra = sorted(wanted - given), sorted(given - wanted)
    parts: list[str] = []
    if missing:
        parts.append(f"lacks {_some(missing)}")
    if extra:
        parts.append(f"has the extra {_some(extra)}")
    if parts:
        raise AnewError(
            f"{path}: is no state dict of {model}: it {' and '.join(parts)}; name its model with "
            "--teacher-model"
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
