"""What a generation, or the mean of several, sees in picture files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anew import evaluation
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.data.examples import Examples
from anew.data.sources import read_picture
from anew.evaluation import ensemble
from anew.family import Family
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
    if len(shape) != 3:
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
    examples = Examples(torch.stack(pictures), torch.zeros(len(pictures), dtype=torch.int64))
    logits = [evaluation.predict(one, examples, device) for one in networks]
    probabilities = ensemble.log_mean(logits).exp()
    classes = networks[0].signature.classes
    found: list[Prediction] = []
    for path, row in zip(paths, probabilities, strict=True):
        order = torch.argsort(row, descending=True, stable=True).tolist()
        found.append(Prediction(path, [(classes[number], row[number].item()) for number in order]))
    return found


def choose_generations(text: str, count: int) -> tuple[int, ...]:
    """Read which generations of 0..count-1 are meant: `last`, `all`, `2`, `0-2` or `0,2`."""
    if text == "last":
        return (count - 1,)
    if text == "all":
        return tuple(range(count))
    try:
        if "-" in text:
            first, last = map(int, text.split("-"))
            chosen = tuple(range(first, last + 1)) if last < count else ()
        else:
            chosen = tuple(map(int, text.split(",")))
    except ValueError:
        chosen = ()
    if not chosen or min(chosen) < 0 or max(chosen) >= count or len(set(chosen)) < len(chosen):
        raise AnewError(
            f"generations must be last, all, one of 0 to {count - 1}, a range such as "
            f"0-{count - 1} or a list such as "
            f"0,{count - 1}, got '{text}'; set --generations"
        )
    return chosen


def choose_lineage(family: Family, end: str = "", flag: str = "--network") -> tuple[Spec, ...]:
    """Return the lineage that ends at the network whose id starts with `end`, or the only one that
    there is.

    `AnewError` where it is not finished, or there is none or more than one to choose by `flag`.
    """
    if end:
        return family.lineage_to(end)
    lineages = family.lineages()
    if not lineages:
        raise AnewError(
            f"{family.path}: holds no finished network; `anew train --out {family.path}` trains or "
            f"goes on"
        )
    if len(lineages) > 1:
        ends = ", ".join(f"{lineage[-1].id} ({lineage[-1].objective.name})" for lineage in lineages)
        raise AnewError(
            f"{family.path}: holds {len(lineages)} lineages; choose one with {flag}: {ends}"
        )
    return lineages[0]
