"""What a generation, or the mean of several, sees in picture files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
from anew.evaluation.calibrated import UNCALIBRATED, Calibrated
from anew.evaluation.ensemble import Ensemble
from anew.evaluation.outputs import predict
from anew.models.matching import in_units
from anew.models.network import Network

AT_ONCE = 256


@dataclass(frozen=True)
class Prediction:
    """A picture's classes with their probabilities, likeliest first."""

    path: Path
    ranked: list[tuple[str, float]]
    likely: tuple[str, ...] | None = None
    """The conformal set of classes, likeliest first, if it was asked for; it may be empty."""

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as `anew predict --format json` prints it."""
        return {
            "picture": str(self.path),
            "class": self.ranked[0][0],
            "probabilities": dict(self.ranked),
            **({} if self.likely is None else {"conformal_set": list(self.likely)}),
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
    networks: Sequence[Network],
    paths: Sequence[Path],
    device: torch.device,
    calibrated: Calibrated = UNCALIBRATED,
) -> tuple[list[Prediction], list[str]]:
    """Predict the classes of picture files with the mean of networks' probabilities.

    `calibrated` is what was fitted for that mean, a temperature or sets of classes. Returns the
    predictions, and what is wrong with the files that are no pictures or damaged.
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
            outputs = predict(together, _examples(pictures.values()), device)
            if calibrated.examples:
                outputs = calibrated.apply(outputs)
            predictions += _ranked(pictures, outputs, signature, calibrated)
    return predictions, unread


def _examples(pictures: Collection[Tensor]) -> Resident:
    # Pictures of 16 bits come with fractions; beside them all others do.
    is_bytes = all(one.dtype == torch.uint8 for one in pictures)
    dtype = torch.uint8 if is_bytes else torch.float32
    inputs = torch.stack([one.to(dtype) for one in pictures])
    return Resident(inputs, torch.zeros(len(inputs), dtype=torch.int64))


def _ranked(
    paths: Iterable[Path], outputs: Tensor, signature: Signature, calibrated: Calibrated
) -> list[Prediction]:
    """Return the predictions of log-probabilities (N, C), a row for each path."""
    sets = calibrated.conformal.sets(outputs) if calibrated.conformal is not None else None
    predictions: list[Prediction] = []
    for row, path in enumerate(paths):
        probabilities = outputs[row].exp()
        order = torch.argsort(probabilities, descending=True, stable=True).tolist()
        ranked = [(signature.classes[number], probabilities[number].item()) for number in order]

        likely = None
        if sets is not None:
            likely = tuple(signature.classes[number] for number in order if bool(sets[row, number]))
        predictions.append(Prediction(path, ranked, likely))
    return predictions


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
            f"{width}x{height} and were trained on pictures of that size; resize it, or train "
            "with --data.size"
        )
    return picture
