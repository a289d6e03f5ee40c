"""What a generation, or the mean of several, sees in picture files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anew.core.errors import AnewError
from anew.data.examples import Resident
from anew.data.pictures import Form, PictureError, read_picture
from anew.data.signature import Signature
from anew.data.sources.folder import is_picture
from anew.data.views import Views
from anew.evaluation.ensemble import Ensemble
from anew.evaluation.outputs import predict
from anew.family import Family, choose_generations, choose_lineage
from anew.models import saving
from anew.models.matching import in_units
from anew.models.network import Network

AT_ONCE = 256


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


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """Return picture files, and those below folders in the order of their names.

    Raises `AnewError` for a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = sorted(one for one in path.rglob("*") if is_picture(one.name) and one.is_file())
        if not below:
            raise AnewError(f"{path}: holds no picture files; give another folder, or files")
        found += below
    return found


def predict_files(
    networks: Sequence[Network], paths: Sequence[Path], device: torch.device
) -> tuple[list[Prediction], list[str]]:
    """Predict the classes of picture files with the mean of networks' probabilities.

    Returns the predictions, and what is wrong with the files that are no pictures or damaged.
    Networks of pictures in 0..1 are asked in bytes, as the files have them. Raises `AnewError` if
    the networks take no pictures, pictures of another size, or in units that are not known.
    """
    signature = networks[0].signature
    if not signature.is_picture:
        raise AnewError(
            f"the networks take {signature.in_words()}, not pictures; predict in Python"
        )
    networks = [in_units(network, "bytes", "predict: a network") for network in networks]
    # Half the digits where the device has no more.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    together = Ensemble(networks, dtype).to(device)

    predictions: list[Prediction] = []
    unread: list[str] = []
    for start in range(0, len(paths), AT_ONCE):
        pictures: dict[Path, Tensor] = {}
        for path in paths[start : start + AT_ONCE]:
            try:
                pictures[path] = _read(path, signature)
            except PictureError as error:
                unread.append(str(error))
        if pictures:
            predictions += _predicted(together, pictures, signature, device)
    return predictions, unread


def _predicted(
    together: Ensemble, pictures: Mapping[Path, Tensor], signature: Signature, device: torch.device
) -> list[Prediction]:
    # Pictures of 16 bits come with fractions; beside them all others do.
    is_bytes = all(one.dtype == torch.uint8 for one in pictures.values())
    dtype = torch.uint8 if is_bytes else torch.float32
    inputs = torch.stack([one.to(dtype) for one in pictures.values()])
    examples = Resident(inputs, torch.zeros(len(inputs), dtype=torch.int64))

    predictions: list[Prediction] = []
    for path, row in zip(pictures, predict(together, examples, device).exp(), strict=True):
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

    Raises `PictureError` if they came in one size and this one has another.
    """
    channels, height, width = signature.input_shape
    picture = read_picture(path, Form(signature.kept_size, channels, (height, width)))
    if signature.kept_size is not None:
        return Views(size=(height, width)).still(picture)
    if picture.shape[1:] != (height, width):
        raise PictureError(
            f"{path}: is {picture.shape[2]}x{picture.shape[1]} pixels, but the networks take "
            f"{width}x{height} and learned from pictures that came so; resize it, or train with "
            "--data.size"
        )
    return picture
