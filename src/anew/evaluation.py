"""What a trained network says about held-out examples, and the scores of networks and ensembles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from anew import ensemble, metrics, storage
from anew.data.batches import in_order
from anew.data.examples import Examples
from anew.data.split import Data
from anew.errors import AnewError
from anew.family import Family, NetworkFolder
from anew.metrics import Scores
from anew.network import Network
from anew.parallel import World
from anew.spec import Spec

EVALUATION_BATCH = 1000


@torch.inference_mode()
def predict(
    network: Network, examples: Examples, device: torch.device, world: World | None = None
) -> Float[Tensor, "examples classes"]:
    """Return a network's logits (N, C) for examples as they are, unaugmented, in float32 on the CPU.

    Several processes each take every so-many-th batch, and all get all logits.
    """
    world = world or World()
    was_training = network.training
    network.eval()
    parts = [torch.zeros(len(one), len(network.interface.classes)) for one in examples.labels.split(EVALUATION_BATCH)]
    for number, inputs in enumerate(in_order(examples, EVALUATION_BATCH, device)):
        if number % world.size == world.rank:
            parts[number] = network(inputs).float().cpu()
    network.train(was_training)
    return world.sum(torch.cat(parts))


def outputs_of(
    networks: Mapping[str, Network], data: Data, device: torch.device, world: World | None = None
) -> dict[str, Tensor]:
    """Return the logits of the validation and the test examples, and their labels: what every later analysis reads.

    `networks` are the network at its "last" epoch and, where it was kept, at its "best".
    """
    tensors: dict[str, Tensor] = {}
    for split, examples in (("validation", data.validation), ("test", data.test)):
        tensors[f"{split}.labels"] = examples.labels
        for epoch, network in networks.items():
            tensors[f"{split}.{epoch}"] = predict(network, examples, device, world)
    return tensors


def write_outputs(path: Path, tensors: Mapping[str, Tensor], data: Data) -> None:
    """Write what `outputs_of` returned."""
    header = {"classes": data.classes, "fingerprint": data.spec.fingerprint}
    storage.write_tensors(path, tensors, header)


def read_outputs(
    folder: NetworkFolder, split: str, epoch: str = "last"
) -> tuple[Float[Tensor, "examples classes"], Int64[Tensor, "examples"]]:
    """Return the stored logits and labels of a split ("validation" or "test") at the "last" or the "best" epoch."""
    tensors, _ = storage.read_tensors(folder.outputs)
    if f"{split}.labels" not in tensors or f"{split}.last" not in tensors:
        raise AnewError(f"{folder.outputs}: holds no outputs of the {split} examples; restore it from a copy")
    if f"{split}.{epoch}" not in tensors:
        raise AnewError(f"{folder.outputs}: holds no outputs of the {epoch} epoch; train with --best-epoch to keep it")
    if len(tensors[f"{split}.labels"]) == 0:
        raise AnewError(f"{folder.path}: no validation split was held out; train with --data.validation 0.1")
    return tensors[f"{split}.{epoch}"], tensors[f"{split}.labels"]


def score_logits(logits: Float[Tensor, "examples classes"], labels: Int64[Tensor, "examples"]) -> Scores:
    """Return the scores of one network's logits."""
    return metrics.scores(F.log_softmax(logits.double(), dim=-1), labels)


@dataclass(frozen=True)
class Row:
    """One line of an evaluation: a generation, or an ensemble of several, with its scores."""

    generations: tuple[int, ...]
    ids: tuple[str, ...]
    objective: str
    scores: Scores
    best: Scores | None = None
    """The scores at the epoch that validation picked, of a single generation that kept it."""
    seed: int | None = None
    """The seed, of a network beside the lineage."""

    @property
    def name(self) -> str:
        """How the row is called: `generation 2`, or `ensemble 0-2`, or `ensemble 0,2` where it has gaps."""
        return row_name(self.generations) + (f" beside, seed {self.seed}" if self.seed is not None else "")

    def to_json(self) -> dict[str, Any]:
        """Return the row as `anew evaluate --json` prints it."""
        return {
            "name": self.name,
            "generations": list(self.generations),
            "ids": list(self.ids),
            "objective": self.objective,
            **self.scores.to_json(),
            **({"best_epoch": self.best.to_json()} if self.best else {}),
            **({"seed": self.seed} if self.seed is not None else {}),
        }


def row_name(generations: tuple[int, ...]) -> str:
    """Return what a generation or an ensemble is called: `generation 2`, `ensemble 0-2`, `ensemble 0,2`."""
    if len(generations) == 1:
        return f"generation {generations[0]}"
    first, last = generations[0], generations[-1]
    whole = generations == tuple(range(first, last + 1))
    return f"ensemble {first}-{last}" if whole else "ensemble " + ",".join(map(str, generations))


def evaluate_lineage(
    family: Family, lineage: Sequence[Spec], split: str = "test", *, all_subsets: bool = False
) -> list[Row]:
    """Return the scores of every generation of a lineage, then of every ensemble of consecutive generations.

    With `all_subsets`, of every subset of generations. From the stored outputs: neither data nor networks are needed.
    """
    outputs = [read_outputs(family.folder(spec.id), split) for spec in lineage]
    labels = outputs[0][1]
    if any(not torch.equal(labels, other) for _, other in outputs):
        raise AnewError(
            f"{family.path}: the generations of this lineage were evaluated on different {split} examples, "
            "so no ensemble of them can be scored"
        )
    rows: list[Row] = []
    for number, (spec, (logits, _)) in enumerate(zip(lineage, outputs, strict=True)):
        best = None
        if spec.training.best_epoch and not spec.weights and family.folder(spec.id).best.exists():
            best = score_logits(*read_outputs(family.folder(spec.id), split, "best"))
        rows.append(Row((number,), (spec.id,), spec.origin, score_logits(logits, labels), best))
    for members in _ensembles(len(lineage), all_subsets):
        mean = ensemble.log_mean([outputs[member][0] for member in members])
        rows.append(Row(members, tuple(lineage[m].id for m in members), "", metrics.scores(mean, labels)))
    return rows


def evaluate_networks(family: Family, specs: Sequence[Spec], split: str = "test") -> list[Row]:
    """Return the scores of networks one by one, as of siblings beside a lineage; those not finished are left out."""
    rows: list[Row] = []
    for spec in specs:
        if family.folder(spec.id).is_done:
            scores = score_logits(*read_outputs(family.folder(spec.id), split))
            rows.append(Row((spec.generation,), (spec.id,), spec.origin, scores, seed=spec.seed))
    return rows


def _ensembles(count: int, all_subsets: bool) -> Iterator[tuple[int, ...]]:
    yield from ensemble.subsets(count) if all_subsets else ensemble.consecutive(count)


def accuracy(logits: Float[Tensor, "examples classes"], labels: Iterable[int] | Tensor) -> float:
    """Return the share of examples whose largest logit is the label's."""
    return (logits.argmax(-1) == torch.as_tensor(labels)).double().mean().item()
