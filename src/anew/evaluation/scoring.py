"""The scores of networks and ensembles, from their stored outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.evaluation import ensemble, metrics
from anew.evaluation.metrics import Scores
from anew.evaluation.outputs import read_outputs
from anew.family import Family


def score_logits(
    logits: Float[Tensor, "examples classes"], labels: Int64[Tensor, "examples"]
) -> Scores:
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
        """How the row is called: `generation 2`, or `ensemble 0-2`, or `ensemble 0,2` where it has
        gaps.
        """
        return row_name(self.generations) + (
            f" beside, seed {self.seed}" if self.seed is not None else ""
        )

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
    """Return what a generation or an ensemble is called: `generation 2`, `ensemble 0-2`, `ensemble
    0,2`.
    """
    if len(generations) == 1:
        return f"generation {generations[0]}"
    first, last = generations[0], generations[-1]
    whole = generations == tuple(range(first, last + 1))
    return f"ensemble {first}-{last}" if whole else "ensemble " + ",".join(map(str, generations))


def evaluate_lineage(
    family: Family, lineage: Sequence[Spec], split: str = "test", *, all_subsets: bool = False
) -> list[Row]:
    """Return the scores of every generation of a lineage, then of every ensemble of consecutive
    generations.

    With `all_subsets`, of every subset of generations. From the stored outputs: neither data nor
    networks are needed.
    """
    outputs = [read_outputs(family.folder(spec.id), split) for spec in lineage]
    labels = outputs[0][1]
    if any(not torch.equal(labels, other) for _, other in outputs):
        raise AnewError(
            f"{family.path}: the generations of this lineage were evaluated on different {split} "
            f"examples, "
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
        rows.append(
            Row(members, tuple(lineage[m].id for m in members), "", metrics.scores(mean, labels))
        )
    return rows


def evaluate_networks(family: Family, specs: Sequence[Spec], split: str = "test") -> list[Row]:
    """Return the scores of networks one by one, as of siblings beside a lineage; those not finished
    are left out.
    """
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
