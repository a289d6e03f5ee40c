"""What would probably help, from what is known of a trained network: at most three suggestions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from anew.core import files
from anew.core.spec import Spec
from anew.evaluation import metrics
from anew.evaluation.language import is_language_model, vocabulary_of
from anew.evaluation.outputs import outputs_in
from anew.family import Family, NetworkFolder, replicas

PAGE = "docs/when-it-helps.md"
STILL_FALLING = 0.02
"""The part of the loss by which it falls clearly from one tenth of the epochs to the next; of a
text it is the part of the perplexity."""
MOST = 3
RISEN, FITS, OVERCONFIDENT = 1.1, 2.0, 5.0
"""How much the validation NLL rises from its least to its last, up to which training error and from
which ECE, in percent, something is said."""
FEW, MANY_CLASSES = 200, 50
"""Few examples are fewer than so many a class; many classes are at least so many."""
TWICE, NOISY = 2.0, 5.0
"""How much more often networks must contradict the labels than each other, and the least validation
error in percent of which that is said."""
APART = 1.2
"""By which factor a fitted text's training perplexity lies below the validation's."""
_MOST_NLL = 700.0
_UNDER_TRAINED = (
    "students of under-trained teachers were worse than their teachers in all that we measured"
)
_TRAIN_LONGER = f"Train longer before you train students: {_UNDER_TRAINED}"
_AVERAGE = (
    "If you can use several networks, average independent ones, and compare generations with them"
)
ENOUGH = 100
"""The validation examples below which nothing is said of them."""


@dataclass(frozen=True)
class Advice:
    """A suggestion: what was measured, and what would probably help."""

    reason: str
    """What was measured of this run."""
    text: str
    """What the page's evidence says of such a case."""
    section: str
    """The section of the page with the evidence."""
    also: str = ""
    """Another section, with evidence of a like case that ended otherwise."""

    def in_words(self) -> str:
        """Return the suggestion in a line, with the place of its evidence."""
        places = f"#{self.section}" + (f" and #{self.also}" if self.also else "")
        return f"{self.reason}. {self.text} ({PAGE}{places})."


@dataclass(frozen=True)
class Rising:
    """A validation NLL that was clearly lower before the end of training."""

    epoch: int
    """The epoch of its least."""
    epochs: int
    least: float
    last: float


@dataclass(frozen=True)
class Agreement:
    """How independent networks from labels agree with each other and with validation labels."""

    networks: int
    error: float
    """Their mean validation error, in percent."""
    disagreement: float
    """The share of examples of which two of them say different classes, in percent."""

    @property
    def shows_noise(self) -> bool:
        """Whether they agree with each other far more than with the labels."""
        return self.error >= NOISY and self.error >= TWICE * self.disagreement


@dataclass(frozen=True)
class Facts:
    """What is known of a network from labels and of its data; None for what is not."""

    classes: int
    examples: int
    """Labelled training examples."""
    falling: tuple[float, float] | None = None
    """The validation NLL of the last tenth of the epochs and of the tenth before, if it fell."""
    train_error: float | None = None
    """The training error of the last epoch, in percent."""
    rising: Rising | None = None
    """How the validation NLL rose after its least, if it did."""
    ece: float | None = None
    """The expected calibration error on validation examples, in percent."""
    agreement: Agreement | None = None
    """Of networks that differ in their seeds alone, if all fit their training labels."""
    perplexities: tuple[float, float] | None = None
    """Of a language model those of training, with dropout, and of validation, at the end."""


def advise(facts: Facts) -> list[Advice]:
    """Return what is said of a run, the most important first, at most three suggestions."""
    if facts.perplexities is not None:
        return _of_text(facts, *facts.perplexities)[:MOST]
    found: list[Advice] = []
    if facts.falling is not None:
        last, before = facts.falling
        found.append(
            Advice(
                f"The validation NLL was still falling at the end of training ({before:.3f} to "
                f"{last:.3f})",
                _TRAIN_LONGER,
                "under-trained-teachers",
            )
        )
    if facts.rising is not None:
        rising = facts.rising
        found.append(
            Advice(
                f"The validation NLL was lowest after epoch {rising.epoch} of {rising.epochs} "
                f"({rising.least:.2f}, and {rising.last:.2f} at the end): the network overfits",
                "Check the labels with `anew suspects`: with 9 to 40 % wrong labels, longer "
                "training cost 3 to 6 points and no student was better. With right labels and 20 "
                "classes, the students of such a teacher had a lower error: compare generations "
                "with independent networks",
                "wrong-labels",
                "many-classes",
            )
        )

    if facts.agreement is not None and facts.agreement.shows_noise:
        found.append(_of_noise(facts.agreement))
    if facts.train_error is not None and facts.train_error <= FITS:
        found.append(
            Advice(
                f"The training error is {facts.train_error:.1f} %: the network fits its labels",
                _AVERAGE,
                "ensembles",
            )
        )
    if facts.ece is not None and facts.ece >= OVERCONFIDENT:
        found.append(
            Advice(
                f"The probabilities are off by {facts.ece:.0f} points (ECE on the validation "
                "examples)",
                "Fit a temperature with --calibrate; it changes no prediction",
                "probabilities",
            )
        )
    return (found + _of_sizes(facts))[:MOST]


def _of_noise(agreement: Agreement) -> Advice:
    """Return what is said where networks agree on other classes than the labels."""
    apart = agreement.error - agreement.disagreement
    return Advice(
        f"{agreement.networks} networks that fit their training labels contradict "
        f"{agreement.error:.0f} % of the validation labels and differ from each other on "
        f"{agreement.disagreement:.0f} %: perhaps {apart:.0f} % of the labels or more are wrong, "
        "or the validation examples differ from the training examples",
        "Check the labels with `anew suspects`, and do not train longer: with 40 % wrong labels "
        "that cost six points",
        "wrong-labels",
    )


def _of_text(facts: Facts, training: float, validation: float) -> list[Advice]:
    """Return what is said of a language model, whose page has no gain to promise."""
    found: list[Advice] = []

    if facts.falling is not None:
        last, before = (math.exp(nll) for nll in facts.falling)
        found.append(
            Advice(
                "The validation perplexity was still falling at the end of training "
                f"({before:.1f} to {last:.1f})",
                _TRAIN_LONGER,
                "under-trained-teachers",
            )
        )
    elif training >= validation and facts.rising is None:
        found.append(
            Advice(
                f"The training perplexity (with dropout) is {training:.1f} and the validation "
                f"perplexity {validation:.1f}: the network does not fit its text",
                "Tune its dropout, size and learning rate by the validation perplexity before you "
                f"train students: {_UNDER_TRAINED}",
                "under-trained-teachers",
            )
        )

    if facts.rising is not None:
        found.append(_of_rising_text(facts.rising, training))
    if training < validation / APART and facts.falling is None:
        found.append(
            Advice(
                f"The training perplexity is {training:.1f} and the validation perplexity "
                f"{validation:.1f}: the network fits its text",
                _AVERAGE,
                "ensembles",
            )
        )
    return found


def _of_rising_text(rising: Rising, training: float) -> Advice:
    """Return what is said where a validation perplexity was clearly less before the end."""
    least, last = math.exp(rising.least), math.exp(rising.last)
    reason = (
        f"The validation perplexity was lowest after epoch {rising.epoch} of {rising.epochs} "
        f"({least:.1f}, and {last:.1f} at the end)"
    )

    if training >= least:
        return Advice(
            f"{reason}, and the training perplexity (with dropout) is {training:.1f}: this is not "
            "overfitting",
            f"Lower --learning-rate before you train students: {_UNDER_TRAINED}",
            "under-trained-teachers",
        )
    return Advice(
        reason,
        "Keep that epoch with --best-epoch, or raise the dropout. We did not measure whether a "
        "student of an overfitted language model helps: compare it with a label-only network of "
        "the same compute",
        "converged-networks",
    )


def _of_sizes(facts: Facts) -> list[Advice]:
    """Return what is said of data, whatever was trained on them but for a network that fits."""
    found: list[Advice] = []

    each = facts.examples / facts.classes
    is_at_its_end = facts.train_error is not None and facts.train_error <= FITS
    if each < FEW and not is_at_its_end:
        found.append(
            Advice(
                f"There are {each:.0f} labelled examples for each class",
                "First train a network from labels for more epochs: with 1,000 labels this "
                "lowered the error by five points on Fashion-MNIST (on CIFAR-10 no difference was "
                "shown), and students by 0.6 points at best, even with 20,000 unlabelled pictures",
                "few-labels",
            )
        )
    if facts.classes >= MANY_CLASSES:
        found.append(
            Advice(
                f"There are {facts.classes} classes",
                "The paper found its gains with many classes and converged networks. With 20 "
                "classes, our second and third students had a lower error than one network of the "
                "same compute",
                "many-classes",
            )
        )
    return found


def facts_of(family: Family, spec: Spec) -> Facts:
    """Return what a family's files tell of a trained network, without running it.

    Raises `AnewError` for a file that is not as it was written.

    Wrong labels are estimated only by networks of other seeds that fit their labels too: the rule
    of `anew suspects` counts a weak network's own mistakes as wrong labels.
    """
    folder = family.folder(spec.id)
    rows = folder.read_metrics()
    kept = folder.done.get("best_epoch") if spec.training.early_stopping else None
    if kept:
        # Its weights are those of this epoch: what came later is no part of it.
        rows = rows[: kept["epoch"]]
    examples = 0
    if rows:
        batches = rows[-1]["step"] // rows[-1]["epoch"]
        examples = batches * spec.training.batch_size

    if is_language_model(folder):
        return _facts_of_text(folder, spec, rows, examples)
    train_error = rows[-1].get("train_error") if rows else None
    classes, ece = _of_validation(folder)
    agreement = _agreement(family, spec)
    return Facts(classes, examples, still_falling(rows), train_error, rising(rows), ece, agreement)


def _agreement(family: Family, spec: Spec) -> Agreement | None:
    """Return how networks of other seeds agree on the same validation examples, if there are some
    and each fits its training labels.
    """
    alike = [one for (one,) in replicas(family, [spec])]
    if len(alike) < 2:
        return None
    rows = [family.folder(one.id).read_metrics() for one in alike]
    fits = [bool(one) and (one[-1].get("train_error") or 0.0) <= FITS for one in rows]
    tensors = [_outputs(family.folder(one.id)) for one in alike]
    if not all(fits) or any(len(one["validation.labels"]) < ENOUGH for one in tensors):
        return None

    labels = tensors[0]["validation.labels"]
    same = all(torch.equal(labels, one["validation.labels"]) for one in tensors)
    if labels.ndim > 1 or not same:
        return None
    answers = [one["validation.last"].argmax(-1) for one in tensors]
    errors = [float((one != labels).double().mean()) for one in answers]
    apart = [
        float((one != other).double().mean()) for one, other in itertools.combinations(answers, 2)
    ]
    return Agreement(len(alike), 100 * sum(errors) / len(errors), 100 * sum(apart) / len(apart))


def _outputs(folder: NetworkFolder) -> dict[str, Tensor]:
    """Return a classifier's stored outputs; of wrong shapes if the file is damaged."""
    tensors, _ = files.read_tensors(folder.checked(folder.outputs))
    if len(tensors.get("validation.labels", ())):
        outputs_in(tensors, folder, "validation")
    return {"validation.labels": torch.zeros(0), **tensors}


def _facts_of_text(
    folder: NetworkFolder, spec: Spec, rows: Sequence[Mapping[str, Any]], examples: int
) -> Facts:
    """Return what is known of a language model; `examples` are windows of its text."""
    facts = Facts(len(vocabulary_of(folder)), examples)
    losses = [rows[-1].get(name) for name in ("train_loss", "validation_nll")] if rows else []
    # Another loss than the labels' is no perplexity.
    is_nll = spec.objective.name == "label" and not dict(spec.objective.options).get("smoothing")
    if None in losses or not losses or not is_nll:
        return facts
    training, validation = (math.exp(min(float(loss or 0), _MOST_NLL)) for loss in losses)
    return replace(
        facts,
        falling=still_falling(rows, is_text=True),
        rising=rising(rows, is_text=True),
        perplexities=(training, validation),
    )


def _of_validation(folder: NetworkFolder) -> tuple[int, float | None]:
    """Return the number of classes, and the calibration error if there are enough examples."""
    tensors, _ = files.read_tensors(folder.checked(folder.outputs))
    if not len(tensors["validation.labels"]):
        return tensors["test.last"].shape[-1], None
    logits, labels = outputs_in(tensors, folder, "validation")
    if labels.ndim > 1 or len(labels) < ENOUGH:
        return logits.shape[-1], None
    return logits.shape[-1], metrics.scores(F.log_softmax(logits.double(), dim=-1), labels).ece


def rising(rows: Sequence[Mapping[str, Any]], *, is_text: bool = False) -> Rising | None:
    """Return how the validation NLL rose after its least, None if it hardly did.

    `rows` are the metrics of the epochs. Of a text it is the perplexity that rose by a tenth.
    """
    found = [(row.get("validation_nll"), row["epoch"]) for row in rows]
    losses = [(loss, epoch) for loss, epoch in found if loss is not None]
    if not losses:
        return None
    (least, epoch), (last, _) = min(losses), losses[-1]
    bound = least + math.log(RISEN) if is_text else RISEN * least
    return Rising(epoch, len(rows), least, last) if last > bound else None


def facts_of_labels(labels: Int64[Tensor, "examples"], classes: int) -> Facts:
    """Return what is known of data before anything is trained."""
    return Facts(classes, len(labels))


def still_falling(
    rows: Sequence[Mapping[str, Any]], *, is_text: bool = False
) -> tuple[float, float] | None:
    """Return the mean validation NLL of the last tenth of the epochs and of the tenth before, if it
    fell clearly between them; else None.

    `rows` are the metrics of the epochs. Of a text the perplexity must have fallen clearly: a
    fiftieth of 4 nats is much of it.
    """
    found = [row.get("validation_nll") for row in rows]
    # It is null where it was not finite.
    losses = [loss for loss in found if loss is not None]
    tenth = max(1, len(losses) // 10)
    if len(losses) < 2 * tenth:
        return None
    last, before = losses[-tenth:], losses[-2 * tenth : -tenth]
    now, then = sum(last) / tenth, sum(before) / tenth
    bound = then - STILL_FALLING if is_text else (1 - STILL_FALLING) * then
    return (now, then) if now < bound else None
