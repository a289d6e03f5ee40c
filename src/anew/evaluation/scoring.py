"""The scores of networks and ensembles, from their stored outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.core.text import generations_name, in_digits
from anew.evaluation import ensemble, language, metrics
from anew.evaluation.metrics import Scores
from anew.evaluation.outputs import outputs_in, read_outputs
from anew.family import Family, NetworkFolder

BALANCED_COLUMN = "balanced error %"

SUBSETS_UP_TO = 14
"""The most generations whose subsets are all scored: there are 16,369 ensembles of 14."""


@dataclass(frozen=True)
class Row:
    """One line of an evaluation: a generation, or an ensemble of several, with its scores."""

    generations: tuple[int, ...]
    ids: tuple[str, ...]
    objective: str
    scores: Scores
    best: Scores | None = None
    """The scores at the epoch that validation picked, if a single generation kept it."""
    averaged: Scores | None = None
    """The scores of the averaged weights, if a single generation kept them."""
    weights: tuple[float, ...] = ()
    """The shares of an ensemble's members, if they were learned on validation examples."""
    seed: int | None = None
    """The seed of a network beside the lineage."""

    @property
    def name(self) -> str:
        """The row's name, such as `generation 2` or `ensemble 0-2`."""
        beside = f" beside, seed {self.seed}" if self.seed is not None else ""
        learned = ", learned weights" if self.weights else ""
        return generations_name(self.generations) + learned + beside

    @property
    def is_ensemble(self) -> bool:
        """Whether the row is of several generations."""
        return len(self.generations) > 1

    def to_json(self) -> dict[str, Any]:
        """Return the row as `anew evaluate --json` prints it."""
        return {
            "name": self.name,
            "generations": list(self.generations),
            "ids": list(self.ids),
            "objective": self.objective,
            **self.scores.to_json(),
            **({"best_epoch": self.best.to_json()} if self.best else {}),
            **({"averaged": self.averaged.to_json()} if self.averaged else {}),
            **({"weights": list(self.weights)} if self.weights else {}),
            **({"seed": self.seed} if self.seed is not None else {}),
        }


def notice_of_weights(rows: Iterable[Row]) -> str:
    """Return a sentence with the learned weights of an ensemble, "" if none were learned."""
    for row in rows:
        if row.weights:
            shares = ", ".join(f"{weight:.3f}" for weight in row.weights)
            return (
                f"Learned weights of {generations_name(row.generations)}: {shares} (fitted on the "
                "validation examples; --teacher-weights trains a student with them)."
            )
    return ""


def score_table(rows: Iterable[Row]) -> tuple[list[str], list[list[str]]]:
    """Return the table of scores as texts: its columns, and a line for each row.

    A network with its best epoch, or with averaged weights, has a further line for each. Where
    classes are uneven, the balanced error stands beside the error. Of language models the
    perplexity comes first.
    """
    shown = list(rows)
    if any(row.scores.perplexity is not None for row in shown):
        return _text_table(shown)

    balanced = any(row.scores.balanced_error is not None for row in shown)
    lines: list[list[str]] = []
    for row in shown:
        lines.append([row.name, row.objective, *_in_words(row.scores, balanced=balanced)])
        if row.best is not None:
            name = f"{row.name}, validation's epoch"
            lines.append([name, row.objective, *_in_words(row.best, balanced=balanced)])
        if row.averaged is not None:
            name = f"{row.name}, averaged weights"
            lines.append([name, row.objective, *_in_words(row.averaged, balanced=balanced)])
    beside = [BALANCED_COLUMN] if balanced else []
    return ["", "objective", "error %", *beside, "NLL", "ECE %", "Brier"], lines


def _text_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return the table of language models' scores."""
    lines: list[list[str]] = []
    for row in rows:
        epochs = [
            (row.name, row.scores),
            (f"{row.name}, validation's epoch", row.best),
            (f"{row.name}, averaged weights", row.averaged),
        ]
        lines += [
            [name, row.objective, *_text_in_words(scores)]
            for name, scores in epochs
            if scores is not None
        ]
    return ["", "objective", "perplexity", "95 %", "NLL", "error %", "ECE %"], lines


def _text_in_words(scores: Scores) -> list[str]:
    interval = "-"
    if scores.perplexity_interval is not None:
        interval = " to ".join(in_digits(end, 1) for end in scores.perplexity_interval)
    return [
        in_digits(scores.perplexity, 2),
        interval,
        in_digits(scores.nll, 4),
        in_digits(scores.error, 2),
        in_digits(scores.ece, 2),
    ]


def _in_words(scores: Scores, *, balanced: bool) -> list[str]:
    beside: list[str] = []
    if balanced:
        beside = ["" if scores.balanced_error is None else in_digits(scores.balanced_error, 2)]
    return [
        in_digits(scores.error, 2),
        *beside,
        in_digits(scores.nll, 4),
        in_digits(scores.ece, 2),
        in_digits(scores.brier, 4),
    ]


def score_logits(
    logits: Float[Tensor, "*examples classes"], labels: Int64[Tensor, "*examples"]
) -> Scores:
    """Return the scores of one network's logits (N, *positions, C) against its labels."""
    return metrics.scores(F.log_softmax(logits.double(), dim=-1), labels)


def score_network(folder: NetworkFolder, split: str, epoch: str = "last") -> Scores:
    """Return the scores of a finished network, from its stored outputs.

    Raises `AnewError` if there are none of this split and epoch.
    """
    tensors, header = files.read_tensors(folder.checked(folder.outputs))
    if language.holds_text(tensors):
        return language.said_in(tensors, header, folder, split, epoch).scores()
    return score_logits(*outputs_in(tensors, folder, split, epoch))


def evaluate_lineage(
    family: Family, lineage: Sequence[Spec], split: str = "test", *, all_subsets: bool = False
) -> list[Row]:
    """Return the scores of a lineage: every generation, then ensembles of consecutive ones.

    Of which ones, says `ensemble.listed`. With `all_subsets`, ensembles of every subset. The scores
    come from stored outputs, without data or networks. Raises `AnewError` if the generations have
    outputs of different examples, or too many subsets.
    """
    if all_subsets:
        check_subsets(family, lineage)
    # Without the networks that are missing; a chain begins with one of those if it holds any.
    present = [
        (lineage[0].generation + place, spec)
        for place, spec in enumerate(lineage)
        if not spec.is_missing
    ]
    specs = [spec for _, spec in present]
    if specs and language.is_language_model(family.folder(specs[0].id)):
        singles, together = _scores_of_text(family, specs, split, all_subsets=all_subsets)
    else:
        logits, labels = lineage_outputs(family, specs, split)
        singles = [score_logits(own, labels) for own in logits]
        together = (
            (members, metrics.scores(mean, labels))
            for members, mean in ensembles(logits, all_subsets=all_subsets)
        )

    rows: list[Row] = []
    for (number, spec), scores in zip(present, singles, strict=True):
        folder, best, averaged = family.folder(spec.id), None, None
        if spec.training.best_epoch and not spec.weights and folder.best.exists():
            best = score_network(folder, split, "best")
        if spec.training.averaging and not spec.weights and folder.averaged.exists():
            averaged = score_network(folder, split, "averaged")
        rows.append(Row((number,), (spec.id,), spec.origin, scores, best, averaged))

    for members, scores in together:
        ids = tuple(present[member][1].id for member in members)
        numbers = tuple(present[member][0] for member in members)
        rows.append(Row(numbers, ids, "", scores))
    return rows


def _scores_of_text(
    family: Family, specs: Sequence[Spec], split: str, *, all_subsets: bool
) -> tuple[list[Scores], Iterator[tuple[tuple[int, ...], Scores]]]:
    """Return the scores of language models, and those of their ensembles."""
    said = lineage_said(family, specs, split)
    log_p = [one.log_p for one in said]
    runs = ensemble.subsets(len(said)) if all_subsets else iter(ensemble.listed(len(said)))
    return [one.scores() for one in said], (
        (run, language.ensemble_scores(language.ensemble_log_p([log_p[one] for one in run])))
        for run in runs
    )


def lineage_said(family: Family, lineage: Sequence[Spec], split: str) -> list[language.Said]:
    """Return what language models say of a split, one after another.

    Raises `AnewError` if a network has no outputs, or if they are of different texts.
    """
    said = [language.read_said(family.folder(spec.id), split) for spec in lineage]
    if any(not torch.equal(one.labels, said[0].labels) for one in said):
        raise AnewError(
            f"{family.path}: the networks of this lineage were evaluated on different {split} "
            "texts, so they have no ensemble; train them on the same data"
        )
    return said


@dataclass(frozen=True)
class LabelLogP:
    """What networks say of the right answer of each held-out example, or of a text's tokens."""

    members: tuple[Float64[Tensor, "answers"], ...]
    """The natural logarithm of its probability, of each network."""
    block: int
    """How many neighbours depend on each other: 1 of examples, their positions where they have
    several answers, and of a text as many tokens as the bootstrap draws together."""
    unit: str
    """What is counted, in the plural."""

    def mean(self, members: slice, weights: Sequence[float] = ()) -> Float64[Tensor, "answers"]:
        """Return the logarithm of the mean of some networks' probabilities."""
        return language.ensemble_log_p(self.members[members], weights)


def label_log_p(family: Family, lineage: Sequence[Spec], split: str) -> LabelLogP:
    """Return what a lineage's networks say of each right answer of a split, from stored outputs.

    It is all that an NLL needs, of networks and of their means. Raises `AnewError` if a network
    has none, or if they are of different examples.
    """
    if language.is_language_model(family.folder(lineage[0].id)):
        said = lineage_said(family, lineage, split)
        return LabelLogP(tuple(one.log_p for one in said), language.BLOCK, "tokens")

    logits, labels = lineage_outputs(family, lineage, split)
    chosen = [
        one.double().log_softmax(-1).gather(-1, labels[..., None]).flatten() for one in logits
    ]
    return LabelLogP(tuple(chosen), math.prod(labels.shape[1:]), "examples")


def check_subsets(family: Family, lineage: Sequence[Spec]) -> None:
    """Raise `AnewError` if a lineage has too many subsets to score them all."""
    if len(lineage) > SUBSETS_UP_TO:
        raise AnewError(
            f"{family.path}: {len(lineage)} generations have 2^{len(lineage)} subsets, and those "
            f"of at most {SUBSETS_UP_TO} are scored; drop --all-subsets"
        )


def lineage_outputs(
    family: Family, lineage: Sequence[Spec], split: str
) -> tuple[list[Tensor], Tensor]:
    """Return the stored logits (N, *positions, C) of every generation on a split, and its labels.

    Raises `AnewError` if a generation has none, or if they are of different examples.
    """
    outputs = [read_outputs(family.folder(spec.id), split) for spec in lineage]
    labels = outputs[0][1]
    if any(not torch.equal(labels, other) for _, other in outputs):
        raise AnewError(
            f"{family.path}: the generations of this lineage were evaluated on different {split} "
            f"examples, so no ensemble of them can be scored"
        )
    return [logits for logits, _ in outputs], labels


def evaluate_networks(family: Family, specs: Sequence[Spec], split: str = "test") -> list[Row]:
    """Return the scores of networks one by one, such as siblings beside a lineage.

    Networks that are not finished are left out.
    """
    rows: list[Row] = []
    for spec in specs:
        if family.folder(spec.id).is_done:
            scores = score_network(family.folder(spec.id), split)
            rows.append(Row((spec.generation,), (spec.id,), spec.origin, scores, seed=spec.seed))
    return rows


def ensembles(
    logits: Sequence[Tensor], *, all_subsets: bool
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Yield the ensembles that are scored, with the log of their mean probabilities."""
    if not all_subsets:
        yield from ensemble.listed_means(logits)
        return
    for members in ensemble.subsets(len(logits)):
        yield members, ensemble.log_mean([logits[member] for member in members])


def accuracy(
    logits: Float[Tensor, "*examples classes"], labels: Int64[Tensor, "*examples"]
) -> float:
    """Return the share of examples whose largest logit is the label's."""
    return (logits.argmax(-1) == labels).double().mean().item()
