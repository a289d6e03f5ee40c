"""Checks before a student learns: that its teacher and the teacher's term are worth something."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anew import objectives
from anew.core.errors import AnewError
from anew.data.batches import Batches
from anew.data.classes import class_sizes
from anew.data.examples import Examples
from anew.data.split import Data
from anew.data.unlabelled import labelled_part
from anew.data.windows import Windows
from anew.evaluation import evidence, language, predict
from anew.models import matching
from anew.models.network import Network, Runner
from anew.teachers import RowTeacher, Teacher
from anew.training.objective import StudentObjective, detached

LEAST_SIGNAL = 1e-3
WEAK_SIGNAL, STRONG_SIGNAL = 0.05, 0.5
"""Ratios from which the teacher's gradient counts beside the labels', and as much as theirs."""
SIGNAL_BATCHES = 8
CHECKED_EXAMPLES = 10_000
ADVICE_EXAMPLES = 2_000
# What a Bayes factor is called substantial from, and a one-sided test at 1 %.
EVIDENCE = 3.0
ASSOCIATED = 2.33
SURE = 1e-3
# How pictures in 0..1 are usually normalised: not at all, to -1..1, as those of ImageNet, as bytes.
USUAL_STATISTICS = (
    ((0.0,), (1.0,)),
    ((0.5,), (0.5,)),
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ((0.0,), (1 / 255,)),
)


class CheckError(AnewError):
    """What a student is to learn from is worth nothing; `--force` goes on."""


@dataclass(frozen=True)
class Knowledge:
    """A teacher's accuracy beside chance, measured once for all siblings that learn from it."""

    accuracy: float
    """Share of the held-out examples that the teacher gets right."""
    chance: float
    """The share that naming the commonest class would get right."""
    chance_limit: float
    """Chance and two standard errors: what is seldom exceeded by chance."""
    measured_on: str
    """`validation`, or `training` if no examples, or those of one class alone, are held out."""
    balanced: float | None = None
    """The mean of the accuracies of the classes, if these are uneven."""
    factor: float = 0.0
    """How much likelier the answers are at chance than from knowledge: `factor_for_chance`."""
    association: float = 0.0
    """How the answers go with the labels, in standard deviations: `evidence.association`."""
    advice: str = ""
    """The likely cause of a teacher at chance, or of one that is often wrong, and what mends it."""

    @property
    def is_at_chance(self) -> bool:
        """Whether there is evidence that the teacher knows nothing."""
        return self.factor >= EVIDENCE and self.association < ASSOCIATED

    @property
    def is_open(self) -> bool:
        """Whether the examples are too few to tell."""
        is_known = self.factor <= 1 / EVIDENCE or self.association >= ASSOCIATED
        return not self.is_at_chance and not is_known

    def to_json(self) -> dict[str, float | str]:
        """Return the measurements by name."""
        measured: dict[str, float | str] = {
            "teacher_accuracy": self.accuracy,
            "chance": self.chance,
            "chance_limit": self.chance_limit,
            "measured_on": self.measured_on,
        }
        if self.balanced is not None:
            measured["teacher_balanced_accuracy"] = self.balanced
        return measured

    def in_words(self) -> str:
        """Return the measurements in words."""
        words = (
            f"accuracy {100 * self.accuracy:.1f} % on the {self.measured_on} examples (chance "
            f"{100 * self.chance:.1f} %"
        )
        if self.balanced is not None:
            words += f"; mean over classes {100 * self.balanced:.1f} %"
        return words + (
            "; too few examples to tell whether it knows anything)" if self.is_open else ")"
        )

    def check(self) -> None:
        """Raise `CheckError` if there is evidence that the teacher is at chance."""
        if self.is_at_chance:
            advice = self.advice or "train it longer, give another --teacher"
            raise CheckError(
                f"teacher: its accuracy on the {self.measured_on} examples is "
                f"{100 * self.accuracy:.1f} %, and always predicting the commonest class has "
                f"{100 * self.chance:.1f} %: it has nothing to teach; {advice}, or continue with "
                "--force"
            )


@dataclass(frozen=True)
class TextKnowledge:
    """A language model's perplexity beside that of the words' frequencies.

    A share of right words would say little: one word of twenty is the commonest.
    """

    perplexity: float
    unigram: float
    """The perplexity of naming each word as often as it is in the training text."""
    measured_on: str
    """`validation`, or `training` if no text is held out."""
    advice: str = ""

    @property
    def is_at_chance(self) -> bool:
        """Whether the teacher knows no more than the words' frequencies."""
        return not self.perplexity < self.unigram

    def to_json(self) -> dict[str, float | str]:
        """Return the measurements by name."""
        return {
            "teacher_perplexity": self.perplexity,
            "unigram_perplexity": self.unigram,
            "measured_on": self.measured_on,
        }

    def in_words(self) -> str:
        """Return the measurements in words."""
        return (
            f"perplexity {self.perplexity:.2f} on the {self.measured_on} text (the words' "
            f"frequencies alone: {self.unigram:.2f})"
        )

    def check(self) -> None:
        """Raise `CheckError` if the teacher knows no more than the words' frequencies."""
        if self.is_at_chance:
            raise CheckError(
                f"teacher: its perplexity on the {self.measured_on} text is {self.perplexity:.2f}, "
                f"and that of the words' frequencies alone is {self.unigram:.2f}: it has nothing "
                "to teach; train it longer, give another --teacher, or continue with --force"
            )


def _of_text(teacher: Teacher, data: Data, device: torch.device) -> TextKnowledge:
    """Return what a teacher knows of a text."""
    assert isinstance(data.training, Windows), "the data are texts"
    held_out = isinstance(data.validation, Windows) and len(data.validation) > 0
    text = data.validation if held_out else data.training
    assert isinstance(text, Windows), "the data are texts"
    if not held_out:
        text = Windows.of(text.text[:CHECKED_EXAMPLES], text.steps)

    members = [language.read_through(one, text, device).log_p for one in teacher.live.networks]
    log_p = language.ensemble_log_p(members, teacher.live.weights)
    frequencies = language.word_frequencies(data.training.text, len(data.classes))
    unigram = frequencies.log()[text.text[1:]]
    return TextKnowledge(
        language.perplexity(log_p),
        language.perplexity(unigram),
        "validation" if held_out else "training",
    )


def knowledge(
    teacher: Teacher | RowTeacher, data: Data, device: torch.device, *, given: bool = False
) -> Knowledge | TextKnowledge:
    """Return a teacher's accuracy beside chance, on held-out examples; positions are counted.

    Of a language model it is the perplexity beside that of the words' frequencies.
    Soft labels are those of training examples. Of a teacher that was `given` it is also looked at
    whether another order of its classes, or other units, would fit; one that learned from these
    very data has them.
    """
    if isinstance(teacher, RowTeacher):
        return _of_rows(teacher.predicted().cpu(), data)

    if data.is_text:
        return _of_text(teacher, data, device)
    is_uniform = len(data.validation.labels.unique()) < 2
    on = "training" if is_uniform else "validation"
    held_out = labelled_part(data.training) if is_uniform else data.validation
    examples = _spread(held_out, CHECKED_EXAMPLES)
    predicted = _answers(teacher.live.networks, examples, device, teacher.live.weights)

    found = _beside_chance(predicted, examples.labels, data.classes, on)
    if not given or examples.labels.ndim > 1:
        return found
    return replace(found, advice=_advice(teacher, data, device, found))


def _beside_chance(
    predicted: Tensor, labels_of: Tensor, classes: tuple[str, ...], on: str
) -> Knowledge:
    """Return how often predicted classes (N x positions) are right, and how often by chance."""
    labels = labels_of.flatten()
    counts = torch.bincount(labels, minlength=len(classes)).double()
    chance = (counts.max() / counts.sum()).item()
    right = int((predicted == labels).sum())

    uneven = labels_of.ndim == 1 and class_sizes(labels, classes).are_uneven
    return Knowledge(
        accuracy=right / len(labels),
        chance=chance,
        chance_limit=chance + 2 * (chance * (1 - chance) / len(labels)) ** 0.5,
        measured_on=on,
        balanced=evidence.balanced_accuracy(predicted, labels) if uneven else None,
        factor=evidence.factor_for_chance(right, len(labels), chance),
        association=evidence.association(predicted, labels),
    )


def _of_rows(predicted: Tensor, data: Data) -> Knowledge:
    """Return how often soft labels agree with the labels of their training examples."""
    labels = data.training.labels
    found = _beside_chance(predicted, labels, data.classes, "training")
    advice = _advice_of_order(predicted, labels, data.classes)
    if found.is_at_chance and not advice:
        advice = "their rows seem to be in another order than the data's examples: use the "
        "data's order"
    return replace(found, advice=advice)


def _advice_of_order(predicted: Tensor, labels: Tensor, classes: tuple[str, ...]) -> str:
    """Return the advice if another order of the classes would fit, "" if it would not."""
    order = evidence.better_order(predicted, labels, len(classes))
    if order is None:
        return ""
    moved = ", ".join(f"'{classes[one]}' is '{classes[other]}'" for one, other in order.moved[:3])
    more = f" and {len(order.moved) - 3} more" if len(order.moved) > 3 else ""
    return (
        f"its classes seem to be in another order than the data's: with {moved}{more} it gets "
        f"{100 * order.accuracy:.1f} % of training examples right, not {100 * order.now:.1f} %; "
        "give a file with the data's class names, or put the data's classes in its order"
    )


def _spread(examples: Examples, most: int) -> Examples:
    """Return at most so many examples, evenly spread: data are often sorted by class."""
    if len(examples) <= most:
        return examples
    return examples.take(torch.arange(most) * len(examples) // most)


def _answers(
    networks: Sequence[Network],
    examples: Examples,
    device: torch.device,
    weights: Sequence[float] = (),
) -> Tensor:
    """Return the classes that networks name together (N x positions), on the CPU."""
    answers = torch.stack([predict(network, examples, device) for network in networks])
    return objectives.mean_of_teachers(answers, weights).argmax(-1).flatten()


def _advice(teacher: Teacher, data: Data, device: torch.device, found: Knowledge) -> str:
    """Return the likely cause of wrong answers and what mends it; "" if none is found.

    Causes are tried on training examples: the classes in another order, and inputs in other units.
    """
    examples = _spread(labelled_part(data.training), ADVICE_EXAMPLES)
    networks, labels, weights = teacher.live.networks, examples.labels, teacher.live.weights
    predicted = _answers(networks, examples, device, weights)
    advice = _advice_of_order(predicted, labels, data.classes)
    if advice:
        return advice

    if not data.signature.is_picture or data.units == "own" or not found.is_at_chance:
        return ""
    for mean, std in USUAL_STATISTICS:
        if len(mean) in (1, data.input_shape[0]):
            asked = [matching.normalising(one, mean, std).to(device) for one in networks]
            then = _answers(asked, examples, device, weights) == labels
            right = int(then.sum())
            knows = evidence.factor_for_chance(right, len(labels), found.chance) < SURE
            if knows and evidence.is_better(then, predicted == labels):
                given = (",".join(f"{value:g}" for value in values) for values in (mean, std))
                return (
                    f"it gets {100 * right / len(labels):.1f} % of training examples right with "
                    "--data.mean {} --data.std {}: set these".format(*given)
                )
    return ""


def check_signal(name: str, ratio: float) -> None:
    """Raise `CheckError` if the teacher's term does nothing beside the labels' term."""
    if not ratio >= LEAST_SIGNAL:
        raise CheckError(
            f"objective '{name}': the gradient of the teacher's term is {ratio:.1e} of the label "
            "term's, so the student would learn from the labels alone; raise the teacher's "
            "weight, or continue with --force"
        )


def signal_in_words(name: str, ratio: float) -> str:
    """Return what the ratio of the teacher's and the labels' gradients means for an objective."""
    if ratio < WEAK_SIGNAL:
        says = "far weaker than the labels', so the student learns almost only from the labels"
    elif ratio < STRONG_SIGNAL:
        says = "weaker than the labels'"
    elif ratio <= 1 / STRONG_SIGNAL:
        says = "about as strong as the labels'"
    else:
        says = "stronger than the labels'"
    return f"{name}: the teacher's gradient is {says} ({ratio:.2g} times their size)"


def signal(
    student: Network, teacher: Teacher | RowTeacher, objective: StudentObjective, batches: Batches
) -> float:
    """Return |gradient of the teacher's term| / |gradient of the label term|.

    The gradients are with respect to what the objective sees of the student: its logits, and its
    features if the objective needs them. They are taken over the first batches, on an unused copy
    of the student. The label term is the objective's own, with its weight; if it has none, the
    plain cross-entropy to the labels.
    """
    # Batch norm counts every forward in training mode: the student itself must start untouched.
    trial = Runner(copy.deepcopy(student).train(), "float32", False, objective.features)
    from_teacher, from_labels = 0.0, 0.0

    for batch in itertools.islice(batches.whole().epoch(0), SIGNAL_BATCHES):
        outputs = detached(trial(batch.inputs))
        terms = objective.terms(batch, outputs, teacher.ask_about(batch))
        assert terms.teacher is not None, "only objectives with a teacher are checked"
        label = terms.label
        if label is None:
            label = objectives.label(outputs.logits, batch.heavier)

        seen = [outputs.logits, *outputs.features.values()]
        from_teacher += _squared_gradient(terms.teacher, seen)
        from_labels += _squared_gradient(label, seen)
    return (from_teacher / from_labels) ** 0.5


def _squared_gradient(term: Tensor, seen: Sequence[Tensor]) -> float:
    gradients = torch.autograd.grad(term, seen, retain_graph=True, allow_unused=True)
    # A term that does not use a tensor has None for its gradient, which the annotation hides.
    used = [gradient for gradient in gradients if isinstance(gradient, Tensor)]  # pyright: ignore[reportUnnecessaryIsInstance]
    return sum(gradient.double().square().sum().item() for gradient in used)
