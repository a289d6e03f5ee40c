"""What a generation, or the mean of several, sees in picture files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anew import evaluation
from anew.core.errors import AnewError
from anew.data.examples import Resident
from anew.data.sources import read_picture
from anew.evaluation import ensemble
from anew.family import Family, choose_generations, choose_lineage
from anew.models import network


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
    family: Family,
    paths: Sequence[Path],
    end: str,
    generations: str,
    device: torch.device,
    trusted: Collection[str] = (),
) -> list[Prediction]:
    """Predict the classes of picture files with the chosen generations of the lineage that ends at
    network `end`.
    """
    lineage = choose_lineage(family, end)
    specs = [lineage[number] for number in choose_generations(generations, len(lineage))]
    networks = [network.load(family.folder(spec.id).weights, trusted).to(device) for spec in specs]
    shape = networks[0].signature.input_shape
    if not networks[0].signature.is_picture:
        raise AnewError(
            f"{family.path}: its networks take vectors of {shape[0]} features, not pictures; "
            f"predict in Python"
        )
    pictures = []
    for path in paths:
        picture = read_picture(path, shape[0])
        if tuple(picture.shape) != shape:
            raise AnewError(
                f"{path}: is {picture.shape[2]}x{picture.shape[1]} pixels, but the networks take "
                f"{shape[2]}x{shape[1]}"
                "; resize it first"
            )
        pictures.append(picture)
    examples = Resident(torch.stack(pictures), torch.zeros(len(pictures), dtype=torch.int64))
    logits = [evaluation.predict(one, examples, device) for one in networks]
    probabilities = ensemble.log_mean(logits).exp()
    classes = networks[0].signature.classes
    found: list[Prediction] = []
    for path, row in zip(paths, probabilities, strict=True):
        order = torch.argsort(row, descending=True, stable=True).tolist()
        found.append(Prediction(path, [(classes[number], row[number].item()) for number in order]))
    return found
