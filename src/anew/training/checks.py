"""Checks before a student learns: that its teacher and the teacher's term are worth something."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from anew import objectives
from anew.core.errors import AnewError
from anew.data.batches import Batches
from anew.data.split import Data
from anew.evaluation import accuracy, predict
from anew.models.network import Network, Runner
from anew.teachers import Teacher
from anew.training.objective import StudentObjective, detached

LEAST_SIGNAL = 1e-3
SIGNAL_BATCHES = 8
CHECKED_EXAMPLES = 10_000


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
    """What an accuracy must exceed: chance and two standard errors."""
    measured_on: str
    """`validation`, or `training` if no examples are held out."""

    def to_json(self) -> dict[str, float | str]:
        """Return the measurements by name."""
        return {
            f"teacher_{name}" if name == "accuracy" else name: value
            for name, value in asdict(self).items()
        }

    def check(self) -> None:
        """Raise `CheckError` if the teacher is at chance."""
        if self.accuracy <= self.chance_limit:
            raise CheckError(
                f"teacher: gets {self.accuracy:.1%} of the {self.measured_on} examples right, and "
                f"naming the "
                f"commonest class gets {self.chance:.1%}: it has nothing to teach; train it "
                f"longer, give another "
                "--teacher, or go on with --force"
            )


def knowledge(teacher: Teacher, data: Data, device: torch.device) -> Knowledge:
    """Return a teacher's accuracy beside chance, on held-out examples; positions are counted."""
    on, examples = (
        ("validation", data.validation) if len(data.validation) else ("training", data.training)
    )
    if len(examples) > CHECKED_EXAMPLES:
        examples = examples.take(torch.arange(CHECKED_EXAMPLES))
    answers = torch.stack([predict(network, examples, device) for network in teacher.live.networks])
    counts = torch.bincount(examples.labels.flatten(), minlength=len(data.classes)).double()
    chance = (counts.max() / counts.sum()).item()
    return Knowledge(
        accuracy=accuracy(objectives.mean_of_teachers(answers), examples.labels),
        chance=chance,
        chance_limit=chance + 2 * (chance * (1 - chance) / examples.labels.numel()) ** 0.5,
        measured_on=on,
    )


def check_signal(name: str, ratio: float) -> None:
    """Raise `CheckError` if the teacher's term does nothing beside the labels' term."""
    if not ratio >= LEAST_SIGNAL:
        raise CheckError(
            f"objective '{name}': the gradient of the teacher's term is {ratio:.1e} of the label "
            f"term's, so the "
            "student would learn from the labels alone; raise the teacher's weight, or go on with "
            "--force"
        )


def signal(
    student: Network, teacher: Teacher, objective: StudentObjective, batches: Batches
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
            label = objectives.label(outputs.logits, batch.labels)

        seen = [outputs.logits, *outputs.features.values()]
        from_teacher += _squared_gradient(terms.teacher, seen)
        from_labels += _squared_gradient(label, seen)
    return (from_teacher / from_labels) ** 0.5


def _squared_gradient(term: Tensor, seen: Sequence[Tensor]) -> float:
    gradients = torch.autograd.grad(term, seen, retain_graph=True, allow_unused=True)
    # A term that does not use a tensor has None for its gradient, which the annotation hides.
    used = [gradient for gradient in gradients if isinstance(gradient, Tensor)]  # pyright: ignore[reportUnnecessaryIsInstance]
    return sum(gradient.double().square().sum().item() for gradient in used)
