"""A checkpoint: all that a resumed network needs, in one file that appears whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError
from anew.core.files import TensorSize
from anew.core.spec import TrainingSpec
from anew.training import optim

# The length of the text in a header, as far as it is known before training: how far the network
# got, its checks and its environments.
HEADER_BYTES = 688


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

    def write(self, path: Path) -> None:
        """Write the file, atomically. Raises `AnewError` if it cannot be written."""
        tensors = {
            **_with_prefix("model.", self.model),
            **_with_prefix("best.", self.best),
            **_with_prefix("optimizer.", self.optimizer),
            **_with_prefix("objective.", self.objective),
        }
        files.write_tensors(path, tensors, asdict(self.standing))

    @classmethod
    def read(cls, path: Path, id: str) -> Checkpoint:
        """Read the file of the network `id`; the tensors are on the CPU.

        Raises `AnewError` if the file is missing, damaged or another network's.
        """
        tensors, header = files.read_tensors(path)
        if header.get("id") != id:
            raise AnewError(
                f"{path}: is another network's state; move it away to start this network again"
            )

        # Files of the first versions have no `teaching`: they count nothing.
        header.setdefault("teaching", {})
        missing = [key.name for key in fields(Standing) if key.name not in header]
        if missing:
            raise AnewError(f"{path}: is damaged (no {missing[0]}); restore it from a copy")
        standing = Standing(**{key.name: header[key.name] for key in fields(Standing)})
        return cls(
            standing,
            model=_under("model.", tensors),
            optimizer=_under("optimizer.", tensors),
            best=_under("best.", tensors),
            objective=_under("objective.", tensors),
        )


def checkpoint_bytes(
    model: Sequence[TensorSize], learned: Sequence[tuple[int, ...]], training: TrainingSpec
) -> int:
    """Return the size of the file that `Checkpoint.write` writes, up to a header of usual length.

    `model` are the sizes of the model's state dict, `learned` the shapes of the parameters that
    have gradients.
    """
    tensors = _sizes_with_prefix("model.", model)
    if training.best_epoch:
        tensors += _sizes_with_prefix("best.", model)
    tensors += _sizes_with_prefix("optimizer.", optim.state_sizes(learned, training))
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
