"""Networks that each did not see a part of the examples, and what they say of that part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from anew import data as data_sources
from anew import evaluation
from anew.core.callbacks import Callback
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.spec import Spec
from anew.data import Data
from anew.data.storage import Storage
from anew.evaluation import ensemble
from anew.training.launch import local
from anew.training.launch.scheduler import train_groups
from anew.training.session import open_session


@dataclass(frozen=True)
class OutOfFold:
    """What networks say of all examples for training and validation, each while it was held out."""

    probabilities: Float[Tensor, "examples classes"]
    """Float64; of several networks the mean."""
    labels: Int64[Tensor, "examples"]
    rows: Int64[Tensor, "examples"]
    """The place of each example among all that the source has for training, from 0; sorted."""
    classes: tuple[str, ...]
    show: Callable[[int], Tensor]
    """Returns the input of one example, by its place here."""


def out_of_fold(
    spec: Spec, folds: int, seeds: int, out: Path, execution: Execution, progress: Callback
) -> OutOfFold:
    """Train networks like `spec`, each without one of the folds, and ask each about its fold.

    `seeds` networks for each fold, whose probabilities are averaged; the family at `out` holds
    them, and what it holds is not trained again. The fold stands in the place of the validation
    split, so what they say of it is among their stored outputs. Raises `AnewError` if a network
    cannot be trained, and `Interrupted` after saving.
    """
    if spec.teachers or spec.weights:
        raise AnewError(
            f"suspects: network {spec.id} did not learn from labels alone; name another with "
            "--network"
        )
    source = data_sources.open_source(spec.data, Storage.of(execution, progress.log))
    if source.train.labels.ndim > 1:
        raise AnewError(
            "suspects: needs one label for each example, and these have one at each position; "
            "give other data"
        )
    parts = [
        data_sources.prepare(source, replace(spec.data, folds=folds, fold=fold, validation=0.0))
        for fold in range(folds)
    ]

    groups = [
        [replace(spec, data=part.spec, seed=spec.seed + number) for number in range(seeds)]
        for part in parts
    ]
    of_spec = {one.id: part for group, part in zip(groups, parts, strict=True) for one in group}
    with (
        open_session(out, execution, progress) as session,
        local.executor(session) as executor,
    ):
        family = session.family
        for finished in train_groups(groups, lambda one: of_spec[one.id], family, executor):
            if finished.failed:
                raise next(iter(finished.failed.values()))

    outputs = [
        [evaluation.read_outputs(family.folder(one.id), "validation")[0] for one in group]
        for group in groups
    ]
    means = [ensemble.log_mean(logits).exp() for logits in outputs]
    return _joined(parts, torch.cat(means))


def _joined(parts: list[Data], probabilities: Tensor) -> OutOfFold:
    """Return the folds' examples in the order of the source, each once."""
    rows = torch.cat([_held_out(part) for part in parts])
    labels = torch.cat([part.validation.labels.cpu() for part in parts])
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + len(part.validation))

    # A class of one example is kept in training by every fold but its own, and may be there twice.
    order = torch.argsort(rows, stable=True)
    first = torch.ones(len(rows), dtype=torch.bool)
    first[1:] = rows[order][1:] != rows[order][:-1]
    chosen = order[first]

    def show(place: int) -> Tensor:
        position = int(chosen[place])
        number = next(fold for fold in range(len(parts)) if position < starts[fold + 1])
        here = torch.tensor([position - starts[number]])
        return parts[number].validation.show(here)[0].cpu()

    return OutOfFold(probabilities[chosen], labels[chosen], rows[chosen], parts[0].classes, show)


def _held_out(part: Data) -> Tensor:
    assert part.places is not None, "a split of a source knows its places"
    return part.places.held_out
