"""One or several networks as one module, from inputs as they are stored to probabilities: what is
loaded, and what is exported.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32, Shaped
from torch import Tensor, nn

from anew.core import files
from anew.core.errors import AnewError, MissingNetworkError
from anew.core.spec import Spec
from anew.data.signature import Signature
from anew.evaluation.calibrated import (
    UNCALIBRATED,
    Asked,
    Calibrated,
    calibrate,
    validation_outputs,
)
from anew.evaluation.ensemble import Ensemble
from anew.evaluation.loading import compare_with_record, load_network
from anew.family import Family, choose_generations, choose_lineage
from anew.models import saving
from anew.models.network import Network

ELSEWHERE = {
    ".onnx": "a graph for ONNX Runtime; load it with onnxruntime.InferenceSession",
    ".pt2": "a graph of torch.export; load it with torch.export.load",
}
"""What `anew export` writes that is no network of anew any more."""


@dataclass(frozen=True)
class Origin:
    """Where a network comes from: its id and generation, as far as its file says them."""

    id: str = ""
    generation: int | None = None


class Predictor(nn.Module):
    """One network, or the mean of several, as one module in evaluation mode.

    Takes inputs as they are stored, (B, C, H, W), (B, F) or (B, T), in the units and the size of
    `signature`, and returns probabilities (B, *positions, C) in float32, in the order of `classes`:
    softmax(log(1/n sum_i softmax(z_i)) / T) of the members' logits z_i and the temperature T, which
    is 1 unless it was fitted. Raises `AnewError` if the members do not go together.
    """

    def __init__(
        self,
        members: Sequence[Network],
        calibrated: Calibrated = UNCALIBRATED,
        origins: Sequence[Origin] = (),
    ) -> None:
        super().__init__()
        self.together = Ensemble(members, torch.float32)
        self.calibrated = calibrated
        self.origins = tuple(origins)
        self.eval()

    @property
    def signature(self) -> Signature:
        """What goes in and what comes out."""
        return self.together.signature

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.signature.classes

    @property
    def temperature(self) -> float:
        """The temperature that was fitted, or 1."""
        return self.calibrated.temperature

    @property
    def members(self) -> list[Network]:
        """The networks, in the units and the class order of the first."""
        return [member for member in self.together.members if isinstance(member, Network)]

    def forward(self, inputs: Shaped[Tensor, "batch ..."]) -> Float32[Tensor, "batch ... classes"]:
        """Return the probabilities (B, *positions, C) of stored inputs."""
        # A graph is made without looking at numbers.
        if not torch.compiler.is_compiling():
            _check_inputs(inputs, self.signature)
        return torch.softmax(self.together(inputs) / self.temperature, dim=-1)


def _check_inputs(inputs: Tensor, signature: Signature) -> None:
    """Raise `AnewError` for inputs of another shape, and for pictures clearly in other units."""
    shape = tuple(inputs.shape[1:])
    if shape != tuple(signature.input_shape):
        raise AnewError(
            f"inputs: must be of shape (N, {', '.join(map(str, signature.input_shape))}), got "
            f"{tuple(inputs.shape)}; bring them into it, channels first"
        )
    if not signature.is_picture or not inputs.numel():
        return

    low, high = (end.item() for end in torch.aminmax(inputs))
    is_unit = inputs.is_floating_point() and low >= 0 and 0 < high <= 1
    is_bytes = not inputs.is_floating_point() and high > 1
    if (signature.units == "bytes" and is_unit) or (signature.units == "unit" and is_bytes):
        found, wanted = ("0..1", "0..255") if is_unit else ("0..255", "0..1")
        raise AnewError(
            f"inputs: are pictures in {found}, and the network learned from {wanted}; give them in "
            "these units"
        )


@dataclass(frozen=True)
class Chosen:
    """Generations of a lineage that are asked together."""

    family: Family
    specs: tuple[Spec, ...]

    def networks(self, trusted: Collection[str] = ()) -> list[Network]:
        """Load the networks; `trusted` are models of the user's own that a file may name.

        Raises `AnewError` if one answers otherwise than when it was trained.
        """
        return [load_network(self.family.folder(spec.id), trusted) for spec in self.specs]

    def calibrated(self, asked: Asked) -> Calibrated:
        """Return what is asked for of the stored outputs of the validation examples.

        Raises `AnewError` if no validation split was held out, or nothing can be fitted.
        """
        if asked.is_nothing:
            return UNCALIBRATED
        return calibrate(*validation_outputs(self.family, self.specs), asked)

    def predictor(self, trusted: Collection[str] = (), *, temperature: bool = False) -> Predictor:
        """Return the networks as one module, with a temperature if that is asked for."""
        calibrated = self.calibrated(Asked(temperature))
        origins = [Origin(spec.id, spec.generation) for spec in self.specs]
        return Predictor(self.networks(trusted), calibrated, origins)


def choose(family: Family, end: str, generations: str | int | Sequence[int]) -> Chosen:
    """Choose generations of the lineage that ends at network `end`, the only one if "".

    `generations` are a text as `choose_generations` reads it, a number, or several; -1 is the last.
    Raises `AnewError` if the family has no such lineage or generations.
    """
    lineage = choose_lineage(family, end, gaps=True)
    # A chain begins with a network that is missing if it holds any: what came before is not known.
    before = lineage[0].generation
    count = before + len(lineage)
    if not isinstance(generations, str):
        numbers = [generations] if isinstance(generations, int) else list(generations)
        forward = [number + count if -count <= number < 0 else number for number in numbers]
        generations = ",".join(map(str, forward))
    chosen = choose_generations(generations, count)
    specs = tuple(lineage[number - before] for number in chosen if number >= before)
    if len(specs) < len(chosen) or any(spec.is_missing for spec in specs):
        raise MissingNetworkError(family.missing()[0])
    return Chosen(family, specs)


def load(
    place: str | Path,
    generations: str | int | Sequence[int] = "last",
    *,
    network: str = "",
    calibrate: bool = False,
    trust: Collection[str] = (),
) -> Predictor:
    """Load a network, or the mean of several generations, as one module in evaluation mode.

    `place` is a family's folder, or a network's file: a family's `weights.safetensors`, or what
    `anew export` wrote as safetensors. The module takes inputs as they are stored, such as uint8
    pictures (B, C, H, W), and returns probabilities (B, C); it has `classes` and `signature`.

    `generations` are `"last"`, `"all"`, `"0-2"`, a number or several; `network` is the start of the
    id of a lineage's last network, needed where a family has several; `calibrate` fits a
    temperature on the stored outputs of the validation examples; `trust` are models of your own
    that a file may name. Raises `AnewError` if there is no such network, its file is damaged or
    foreign, or there is nothing to calibrate on.
    """
    path = Path(place)
    if path.is_dir() and path.parent.name == "networks" and not network:
        path, network = path.parent.parent, path.name
    if not path.is_file():
        chosen = choose(Family.open(path), network, generations)
        return chosen.predictor(trust, temperature=calibrate)
    if calibrate:
        raise AnewError(f"{path}: holds no outputs to calibrate on; give the family")
    return load_file(path, trust)


def load_file(path: Path, trusted: Collection[str] = ()) -> Predictor:
    """Load the network of one file, as `load` does."""
    if path.suffix in ELSEWHERE:
        raise AnewError(f"{path}: is {ELSEWHERE[path.suffix]}; give a family or its safetensors")
    tensors, header = files.read_tensors(path)
    if not header:
        raise AnewError(
            f"{path}: does not name its model, so anew did not write it; give a family's file, "
            "or train from it with --teacher and --teacher-model"
        )

    network = saving.restore(tensors, header, path, trusted)
    compare_with_record(network, path)
    generation = header.get("generation")
    origin = Origin(str(header.get("id", "")), generation if type(generation) is int else None)
    return Predictor([network.eval()], origins=[origin])
