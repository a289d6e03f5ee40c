"""From a file to a network: which code a file may name, and whether its tensors fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from anew import models
from anew.core import fields, files
from anew.core.errors import AnewError
from anew.core.spec import ModelSpec
from anew.data.signature import Signature
from anew.models.network import Network, build_empty


def load(path: Path, trusted: Collection[str] = ()) -> Network:
    """Load a network that anew saved, from its file alone; `AnewError` where the file is damaged or
    foreign.

    A file that names a model of somebody's own code, `package.module:callable`, is loaded only
    where that name is `trusted`: a file must not choose what is imported and called.
    """
    return restore(*files.read_tensors(path), path, trusted)


def restore(
    tensors: dict[str, Tensor], header: Mapping[str, Any], path: Path, trusted: Collection[str]
) -> Network:
    """Return the network that a file's tensors and header tell of, as `load` does for a file that
    is read already.
    """
    try:
        spec = fields.read(ModelSpec, header["model"], str(path), prefix=("model",))
        signature = Signature.from_header(header)
        check_trusted(spec.name, trusted, path)
    except KeyError as error:
        raise AnewError(
            f"{path}: has no {error} in its header, so anew did not write it; give a family's file"
        ) from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AnewError(
            f"{path}: its header is damaged ({error}); restore it from a copy"
        ) from error
    network = build_empty(spec, signature)
    fill(network, tensors, path)
    return network


def check_trusted(name: str, trusted: Collection[str], path: Path) -> None:
    """Raise `AnewError` where a file names a model of own code that the user did not name."""
    if models.is_own_code(name) and name not in trusted:
        raise AnewError(
            f"{path}: asks for the code '{name}', and a file may not choose what is run; if you "
            f"trust it, set "
            f"--trust {name}"
        )


def fill(network: Network, tensors: dict[str, Tensor], path: Path) -> None:
    """Put a state dict into a network's model; `AnewError` names what is missing, extra or of
    another shape.
    """
    wanted = network.model.state_dict()
    name = network.spec.name
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        parts = [
            f"{word} {_some(names)}"
            for word, names in (("lacks", missing), ("has the extra", extra))
            if names
        ]
        raise AnewError(
            f"{path}: is no state dict of {name}: it {' and '.join(parts)}; name its model with "
            f"--teacher-model"
        )
    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            raise AnewError(
                f"{path}: tensor '{key}' has shape {tuple(tensor.shape)}, but {name} with "
                f"{len(network.signature.classes)} classes and inputs "
                f"{network.signature.input_shape} needs "
                f"{tuple(wanted[key].shape)}; give a checkpoint of the same model, classes and "
                f"inputs"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise AnewError(
                f"{path}: tensor '{key}' holds NaN or infinity; give a checkpoint of a sound "
                f"network"
            )
    network.model.load_state_dict(tensors)


def _some(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
