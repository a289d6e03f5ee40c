"""What a generation, or the mean of several, sees in picture files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anew.core.errors import AnewError
from anew.data.examples import Resident
from anew.data.pictures import Form, read_picture
from anew.data.signature import Signature
from anew.data.views import Views
from anew.evaluation.ensemble import Ensemble
from anew.evaluation.outputs import predict
from anew.family import Family, choose_generations, choose_lineage
from anew.models import saving
from anew.models.matching import in_units
from anew.models.network import Network


@dataclass(frozen=True)
class Prediction:
    """A picture's classes with their probabilities, likeliest first."""

    path: Path
    ranked: list[tuple[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as `anew predict --format json` prints it."""
        return {
            "picture": str(self.path),
            "class": self.ranked[0][0],
            "probabilities": dict(self.ranked),
        }


def predict_files(
    networks: Sequence[Network], paths: Sequence[Path], device: torch.device
) -> list[Prediction]:
    """Predict the classes of picture files with the mean of networks' probabilities.

    Networks of pictures in 0..1 are asked in bytes, as the files have them. Raises `AnewError` if
    the networks take no pictures, pictures of another size, or in units that are not known.
    """
    signature = networks[0].signature
    if not signature.is_picture:
        raise AnewError(
            f"the networks take {signature.in_words()}, not pictures; predict in Python"
        )
    networks = [in_units(network, "bytes", "predict: a network") for network in networks]
    read = [_read(path, signature) for path in paths]
    # Pictures of 16 bits come with fractions; beside them all others do.
    exact = torch.uint8 if all(one.dtype == torch.uint8 for one in read) else torch.float32
    pictures = torch.stack([one.to(exact) for one in read])
    examples = Resident(pictures, torch.zeros(len(pictures), dtype=torch.int64))

    # Half the digits where the device has no more.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    together = Ensemble(networks, dtype).to(device)
    probabilities = predict(together, examples, device).exp()

    predictions: list[Prediction] = []
    for path, row in zip(paths, probabilities, strict=True):
        order = torch.argsort(row, descending=True, stable=True).tolist()
        ranked = [(signature.classes[number], row[number].item()) for number in order]
        predictions.append(Prediction(path, ranked))
    return predictions


def load_generations(
    family: Family, end: str, generations: str, trusted: Collection[str] = ()
) -> list[Network]:
    """Load chosen generations of the lineage that ends at network `end`, the only one if "".

    Raises `AnewError` if the family has no such lineage or generations.
    """
    lineage = choose_lineage(family, end)
    specs = [lineage[number] for number in choose_generations(generations, len(lineage))]
    return [saving.load(family.folder(spec.id).sound_weights, trusted) for spec in specs]


def _read(path: Path, signature: Signature) -> Tensor:
    """Read a picture as the networks' training pictures were read.

    Raises `AnewError` if they came in one size and this one has another.
    """
    channels, height, width = signature.input_shape
    picture = read_picture(path, Form(signature.kept_size, channels, (height, width)))
    if signature.kept_size is not None:
        return Views(size=(height, width)).still(picture)
    if picture.shape[1:] != (height, width):
        raise AnewError(
            f"{path}: is {picture.shape[2]}x{picture.shape[1]} pixels, but the networks take "
            f"{width}x{height} and learned from pictures that came so; resize it first, or train "
            "with --data.size"
        )
    return picture
