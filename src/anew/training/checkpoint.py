"""A checkpoint: all that a resumed network needs, in one file that appears whole."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError
from anew.core.files import TensorSize
from anew.core.spec import TrainingSpec
from anew.family.folder import METRICS_LINE_BYTES
from anew.training import optim

# The length of the text in a header, as far as it is known before training: how far the network
# got, its checks and its environments.
HEADER_BYTES = 780
_AWAY = (
    "or move it away: the same command then trains this network from its start, with the same bits"
)
MEND = f"restore it from a copy, {_AWAY}"


@dataclass
class Standing:
    """How far a network got. The names of the fields are keys of the file's header."""

    id: str
    """The network's id."""
    step: int = 0
    """Steps taken."""
    epoch: int = 0
    """Epochs recorded; behind `step` between an epoch's last step and its record."""
    loss_sum: float = 0.0
    """The sum of the epoch's losses so far, in nats."""
    errors: int = 0
    """The number of wrong answers of the epoch so far."""
    seconds: float = 0.0
    """The time in training up to the save."""
    metrics_end: int = 0
    """The length in bytes of the file of metrics at the save."""
    checks: dict[str, Any] = field(default_factory=dict[str, Any])
    """The results of the checks before the first step."""
    teaching: dict[str, int] = field(default_factory=dict[str, int])
    """`asked`: its share of the teacher's forwards. `served`: the examples that got targets."""
    environments: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The environments that it was trained in, without repetitions."""
    best_row: dict[str, Any] = field(default_factory=dict[str, Any])
    """The metrics of the epoch with the least validation error; empty if it is not kept."""
    kept: dict[str, str] = field(default_factory=dict[str, str])
    """The SHA-256 of the weights of kept epochs, by the name of their file."""
    code: dict[str, str] = field(default_factory=dict[str, str])
    """The hashes of the definitions of a model of the user's own (`own_code.code_of`)."""
    perplexities: list[float] = field(default_factory=list[float])
    """The validation perplexity of each epoch, where the learning rate depends on it."""


@dataclass(frozen=True)
class Checkpoint:
    """A network's resumable state: weights, optimizer, objective, and how far it got.

    Everything random in a step is a pure function of (seed, step), so no generator's state belongs
    to it.
    """

    standing: Standing
    model: dict[str, Tensor]
    """The state dict of the network's model."""
    optimizer: dict[str, Tensor]
    """The optimizer's tensors, by the parameter's number: `0.momentum_buffer`."""
    best: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """The state dict at the best epoch; empty if it is not kept."""
    objective: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """The state dict of the objective's own module; empty if it has none."""
    state: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Within an epoch over a text, the state in which it left the network, by number."""
    teacher: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """The states of its teacher's networks there, by `NETWORK.TENSOR`."""
    averaged: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """The averaged state dict; empty if it is not kept."""
    metrics: bytes | None = b""
    """The file of metrics at the save; None in a state of version 0.1, which relied on the file."""

    def write(self, path: Path) -> None:
        """Write the file, atomically. Raises `AnewError` if it cannot be written."""
        tensors = {
            **_with_prefix("model.", self.model),
            **_with_prefix("best.", self.best),
            **_with_prefix("optimizer.", self.optimizer),
            **_with_prefix("objective.", self.objective),
            **_with_prefix("state.", self.state),
            **_with_prefix("teacher.", self.teacher),
            **_with_prefix("averaged.", self.averaged),
        }
        tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        if self.metrics:
            tensors["metrics"] = torch.frombuffer(bytearray(self.metrics), dtype=torch.uint8)

        # As it will be read: JSON knows no tuples, and no keys but texts.
        header = json.loads(json.dumps(asdict(self.standing)))
        seal = files.sha256_of_tensors(tensors, header)
        files.write_tensors(path, tensors, {**header, "sha256": seal})

    @classmethod
    def read(cls, path: Path, id: str) -> Checkpoint:
        """Read the file of the network `id`; the tensors are on the CPU.

        Raises `AnewError` if the file is missing, damaged or another network's.
        """
        try:
            tensors, header = files.read_tensors(path)
        except AnewError as error:
            raise AnewError(f"{error}, {_AWAY}") from error
        if header.get("id") != id:
            raise AnewError(
                f"{path}: is another network's state; move it away to start this network again"
            )
        # States of version 0.1 have no hash, and no metrics.
        seal = header.pop("sha256", None)
        if seal is not None and seal != files.sha256_of_tensors(tensors, header):
            raise _damaged(path, "it has changed since it was written, its hash differs")

        standing = _standing(header, path)
        metrics = b"" if standing.metrics_end == 0 or seal is not None else None
        if "metrics" in tensors:
            metrics = bytes(tensors["metrics"].reshape(-1).view(torch.uint8).numpy())
        if metrics is not None and len(metrics) != standing.metrics_end:
            raise _damaged(path, "it does not hold its metrics")
        return cls(
            standing,
            model=_under("model.", tensors),
            optimizer=_under("optimizer.", tensors),
            best=_under("best.", tensors),
            objective=_under("objective.", tensors),
            state=_under("state.", tensors),
            teacher=_under("teacher.", tensors),
            averaged=_under("averaged.", tensors),
            metrics=metrics,
        )


def _standing(header: Mapping[str, Any], path: Path) -> Standing:
    """Return how far a network got from a header. Raises `AnewError` if a value is missing or odd.

    Files of the first versions have no `teaching`, no `kept` and no `code`, later ones no
    `perplexities`.
    """
    header = {"teaching": {}, "kept": {}, "code": {}, "perplexities": [], **header}
    for key in fields(Standing):
        if key.name not in header:
            raise _damaged(path, f"it has no '{key.name}'")
        if not _IS_SOUND[key.name](header[key.name]):
            raise _damaged(path, f"its '{key.name}' is none")
    return Standing(**{key.name: header[key.name] for key in fields(Standing)})


def _damaged(path: Path, how: str) -> AnewError:
    return AnewError(f"{path}: is damaged ({how}); {MEND}")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_table(value: object, of: Callable[[object], bool] = lambda one: True) -> bool:
    return isinstance(value, dict) and all(map(of, value.values()))


def _is_table_of_texts(value: object) -> bool:
    return _is_table(value, lambda one: isinstance(one, str))


def _is_best_row(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return not value or (
        _is_count(value.get("epoch")) and _is_amount(value.get("validation_error"))
    )


def _are_amounts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_amount, value))


def _are_environments(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_table, value))


# What a value of a header must be, by its name.
_IS_SOUND: dict[str, Callable[[Any], bool]] = {
    "id": lambda value: isinstance(value, str),
    "step": _is_count,
    "epoch": _is_count,
    "loss_sum": _is_amount,
    "errors": _is_count,
    "seconds": _is_amount,
    "metrics_end": _is_count,
    "checks": _is_table,
    "teaching": lambda value: _is_table(value, _is_count),
    "environments": _are_environments,
    "best_row": _is_best_row,
    "kept": _is_table_of_texts,
    "code": _is_table_of_texts,
    "perplexities": _are_amounts,
}


def checkpoint_bytes(
    model: Sequence[TensorSize],
    learned: Sequence[tuple[int, ...]],
    training: TrainingSpec,
    classes: int,
) -> int:
    """Return the size of the file that `Checkpoint.write` writes, up to a header of usual length.

    `model` are the sizes of the model's state dict, `learned` the shapes of the parameters that
    have gradients.
    """
    tensors = _sizes_with_prefix("model.", model)
    if training.keeps_best:
        tensors += _sizes_with_prefix("best.", model)
    if training.averaging:
        tensors += _sizes_with_prefix("averaged.", model)
    tensors += _sizes_with_prefix("optimizer.", optim.state_sizes(learned, training, classes))
    tensors.append(("metrics", 1, (training.epochs * METRICS_LINE_BYTES,)))
    return files.file_bytes(tensors, {"": " " * HEADER_BYTES})


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _sizes_with_prefix(prefix: str, sizes: Sequence[TensorSize]) -> list[TensorSize]:
    return [(prefix + name, size, shape) for name, size, shape in sizes]
