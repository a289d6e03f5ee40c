"""Checks before a student learns: whether its teacher knows anything, and whether the teacher's term does anything."""

from __future__ import annotations

import copy
import itertools
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from anew import objectives
from anew.data.batches import Batches
from anew.data.split import Data
from anew.errors import AnewError
from anew.evaluation import accuracy, predict
from anew.network import Network
from anew.objectives import Objective
from anew.teachers import LiveTeacher

LEAST_SIGNAL = 1e-3
SIGNAL_BATCHES = 8
CHECKED_EXAMPLES = 10_000


@dataclass(frozen=True)
class Checks:
    """What was measured before a student's first step."""

    teacher_accuracy: float
    """Share of the held-out examples that the teacher gets right."""
    chance: float
    """The share that naming the commonest class would get right."""
    chance_limit: float
    """What an accuracy must exceed: chance and two standard errors."""
    measured_on: str
    """`validation`, or `training` where nothing is held out."""
    signal: float
    """|gradient of the teacher's term| / |gradient of the label term|, with respect to the logits."""

    def to_json(self) -> dict[str, float | str]:
        """Return the measurements by name."""
        return asdict(self)

    def demand(self) -> None:
        """Raise `AnewError` where the teacher is at chance or its term does nothing."""
        if self.teacher_accuracy <= self.chance_limit:
            raise AnewError(
                f"teacher: gets {self.teacher_accuracy:.1%} of the {self.measured_on} examples right, and naming the "
                f"commonest class gets {self.chance:.1%}: it has nothing to teach; train it longer, give another "
                "--teacher, or go on with --force"
            )
        if not self.signal >= LEAST_SIGNAL:
            raise AnewError(
                f"objective: the gradient of the teacher's term is {self.signal:.1e} of the label term's, so the "
                "student would learn from the labels alone; raise the teacher's weight, or go on with --force"
            )


def measure(
    student: Network,
    teacher: LiveTeacher,
    objective: Objective,
    options: dict[str, float],
    batches: Batches,
    data: Data,
) -> Checks:
    """Measure the teacher on held-out examples, and its term on the first batches of an unused copy of the student."""
    on, examples = ("validation", data.validation) if len(data.validation) else ("training", data.training)
    if len(examples) > CHECKED_EXAMPLES:
        examples = examples.take(torch.arange(CHECKED_EXAMPLES))
    answers = torch.stack([predict(network, examples, batches.device) for network in teacher.networks])
    counts = torch.bincount(examples.labels, minlength=len(data.classes)).double()
    chance = (counts.max() / counts.sum()).item()
    return Checks(
        teacher_accuracy=accuracy(objectives.mean_of_teachers(answers), examples.labels),
        chance=chance,
        chance_limit=chance + 2 * (chance * (1 - chance) / len(examples)) ** 0.5,
        measured_on=on,
        signal=_signal(student, teacher, objective, options, batches, data),
    )


def _signal(
    student: Network,
    teacher: LiveTeacher,
    objective: Objective,
    options: dict[str, float],
    batches: Batches,
    data: Data,
) -> float:
    """Return the ratio of the two gradients' norms over the first batches.

    The label term is the objective's own, with its weight; where it has none, the plain cross-entropy to the labels.
    """
    # Batch norm counts every forward in training mode: the student itself must start untouched.
    trial = copy.deepcopy(student).train()
    from_teacher, from_labels = 0.0, 0.0
    for batch in itertools.islice(batches.epoch(0), SIGNAL_BATCHES):
        logits = trial(batch.inputs).detach().float().requires_grad_()
        permutation = batch.permutation(data.spec.seed, len(data.classes)) if objective.uses_permutation else None
        terms = objective.terms(logits, teacher.logits(batch), batch.labels, permutation, **options)
        label = terms.label if terms.label is not None else objectives.label(logits, batch.labels)
        assert terms.teacher is not None, "only objectives with a teacher are checked"
        from_teacher += _squared_gradient(terms.teacher, logits)
        from_labels += _squared_gradient(label, logits)
    return (from_teacher / from_labels) ** 0.5


def _squared_gradient(term: Tensor, logits: Tensor) -> float:
    (gradient,) = torch.autograd.grad(term, logits, retain_graph=True)
    return gradient.double().square().sum().item()
