"""What networks say of held-out examples: logits, computed once, stored, and read ever after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from anew.core import files
from anew.core.distributed import World
from anew.core.errors import AnewError
from anew.data.examples import Examples
from anew.data.split import Data, Sizes
from anew.data.windows import Windows
from anew.evaluation import language
from anew.evaluation.ensemble import Ensemble
from anew.family import NetworkFolder
from anew.models.network import Network

EVALUATION_BATCH = 1000


@torch.inference_mode()
def predict(
    network: Network | Ensemble,
    examples: Examples,
    device: torch.device,
    world: World | None = None,
) -> Float[Tensor, "examples *positions classes"]:
    """Return what a network in evaluation mode says of examples (N, *positions, C), on the CPU.

    The examples are unaugmented. Logits of a network are float32, log-probabilities of an ensemble
    in its own dtype. Several processes each take every so-many-th batch, and all get all logits.
    """
    world = world or World()
    was_training = network.training
    network.eval()

    parts: list[Tensor] = []
    for number, start in enumerate(range(0, len(examples), EVALUATION_BATCH)):
        part = slice(start, min(start + EVALUATION_BATCH, len(examples)))
        if number % world.size == world.rank:
            logits = network(examples.show(part).to(device))
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).cpu()
        else:
            logits = torch.zeros(part.stop - part.start, *network.signature.output_shape)
        parts.append(logits)

    network.train(was_training)
    if not parts:
        parts = [torch.zeros(0, *network.signature.output_shape)]
    return world.sum(torch.cat(parts))


def outputs_of(
    networks: Mapping[str, Network], data: Data, device: torch.device, world: World | None = None
) -> dict[str, Tensor]:
    """Return the logits of the validation and the test examples, and their labels.

    Every later analysis reads these. `networks` are the network at its "last" epoch and, if it was
    kept, at its "best", and with its "averaged" weights. Of a text what `language.Said` holds is
    returned in place of logits.
    """
    tensors: dict[str, Tensor] = {}
    for split, examples in (("validation", data.validation), ("test", data.test)):
        if isinstance(examples, Windows):
            for epoch, network in networks.items():
                said = language.read_through(network, examples, device)
                tensors |= language.to_tensors(split, epoch, said)
            continue
        tensors[f"{split}.labels"] = examples.labels
        for epoch, network in networks.items():
            tensors[f"{split}.{epoch}"] = predict(network, examples, device, world)
    return tensors


def write_outputs(path: Path, tensors: Mapping[str, Tensor], data: Data) -> None:
    """Write what `outputs_of` returned."""
    files.write_tensors(path, tensors, _header(data.classes, data.spec.fingerprint))


def outputs_bytes(
    sizes: Sizes,
    classes: int,
    epochs: Sequence[str] = ("last",),
    positions: tuple[int, ...] = (),
) -> int:
    """Return the size of the file that `write_outputs` writes for splits of such sizes.

    `epochs` are those at which the network is evaluated: "last" and perhaps "best". `positions` is
    the shape of the windows of a text, (T,).
    """
    if positions:
        tokens = (sizes.validation + sizes.test) * math.prod(positions)
        return tokens * (8 + len(epochs) * language.bytes_of_token(classes))
    tensors: list[files.TensorSize] = []
    for split, examples in (("validation", sizes.validation), ("test", sizes.test)):
        tensors.append((f"{split}.labels", 8, (examples,)))
        tensors += [(f"{split}.{epoch}", 4, (examples, classes)) for epoch in epochs]
    return files.file_bytes(tensors, _header(list(map(str, range(classes))), "0" * 16))


def _header(classes: Sequence[str], fingerprint: str) -> dict[str, Any]:
    return {"classes": classes, "fingerprint": fingerprint}


def read_outputs(
    folder: NetworkFolder, split: str, epoch: str = "last"
) -> tuple[Float[Tensor, "*examples classes"], Int64[Tensor, "*examples"]]:
    """Return the stored logits and labels of a split, "validation" or "test".

    `epoch` is "last", "best" or "averaged". Raises `AnewError` if the file is not as it was
    written, or holds no such outputs.
    """
    tensors, _ = files.read_tensors(folder.checked(folder.outputs))
    return outputs_in(tensors, folder, split, epoch)


def read_whole(folder: NetworkFolder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a network's stored outputs and their header, which names the classes.

    The caller has checked the file's hash. Raises `AnewError` if there are none.
    """
    if not folder.outputs.exists():
        raise AnewError(
            f"{folder.path}: holds no stored outputs ({folder.outputs.name}); restore it from a "
            f"copy, or look at the training examples with --split train"
        )
    tensors, header = files.read_tensors(folder.outputs)
    if "classes" not in header:
        raise AnewError(
            f"{folder.outputs}: names no classes, so anew did not write it; restore it from a copy"
        )
    return tensors, header


def outputs_in(
    tensors: Mapping[str, Tensor], folder: NetworkFolder, split: str, epoch: str = "last"
) -> tuple[Float[Tensor, "*examples classes"], Int64[Tensor, "*examples"]]:
    """Return what `read_outputs` does, from the tensors of a network's outputs file."""
    if language.holds_text(tensors):
        raise AnewError(
            f"{folder.path}: is a language model, and this is for classifiers: only the "
            "log-probability of each token is stored, no logits; `anew evaluate` without "
            "--calibrate and --conformal and `anew report` show its scores"
        )
    if f"{split}.labels" not in tensors or f"{split}.last" not in tensors:
        raise AnewError(
            f"{folder.outputs}: holds no outputs of the {split} examples; restore it from a copy"
        )
    if f"{split}.{epoch}" not in tensors:
        missing = "of the best epoch; train with --best-epoch to keep it"
        if epoch == "averaged":
            missing = "of averaged weights; train with --averaging 0.999 to keep them"
        raise AnewError(f"{folder.outputs}: holds no outputs {missing}")
    if len(tensors[f"{split}.labels"]) == 0:
        held_out = "no validation split was held out; train with --data.validation 0.1"
        no_test = (
            "was trained without test examples; `anew evaluate` and `anew insight` take --split "
            "validation"
        )
        raise AnewError(f"{folder.path}: {held_out if split == 'validation' else no_test}")

    logits, labels = tensors[f"{split}.{epoch}"], tensors[f"{split}.labels"]
    if not _belong_together(logits, labels):
        raise AnewError(
            f"{folder.outputs}: its {split} labels, {labels.dtype} {tuple(labels.shape)}, are none "
            f"of the classes of its logits, {logits.dtype} {tuple(logits.shape)}; restore it from "
            "a copy"
        )
    return logits, labels


def _belong_together(logits: Tensor, labels: Tensor) -> bool:
    """Whether there is one of the classes for each row of logits."""
    return (
        logits.is_floating_point()
        and labels.dtype == torch.int64
        and logits.shape[:-1] == labels.shape
        and int(labels.min()) >= 0
        and int(labels.max()) < logits.shape[-1]
    )
