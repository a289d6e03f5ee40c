"""What a student minimises: pure functions of its logits, the teacher's logits and the labels.

Symbols, as in Furlanello et al. 2018 (arXiv 1805.04770): student logits z, q = softmax(z); teacher
logits t, p = softmax(t); label y; B examples. Shapes are (..., C), so (B, C) for pictures and (B,
T, C) for language models; the mean is over all leading dimensions. A loss is a scalar in nats,
float32 at least whatever the input.

Every function can be called from anyone's own loop. A teacher's logits are data: no gradient flows
into them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from anew.core.errors import AnewError, did_you_mean

Logits = Float[Tensor, "*batch classes"]
Labels = Int64[Tensor, "*batch"]
Loss = Float[Tensor, ""]


def label(student_logits: Logits, labels: Labels, smoothing: float = 0.0) -> Loss:
    """Cross-entropy to the labels: mean of -log q_y, what generation 0 minimises.

    With `smoothing` eps the target is (1 - eps) onehot(y) + eps / C (Szegedy et al. 2016), a
    control: what soft targets do that know nothing of the example.
    """
    logits = _at_least_float32(student_logits)
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=smoothing)


def ban(student_logits: Logits, teacher_logits: Logits) -> Loss:
    """Cross-entropy to the teacher's output alone: mean of -sum_i p_i log q_i.

    Its gradient with respect to z is (q - p) / B (Furlanello et al. 2018, equation 3). Choose it
    first: it is what the paper calls BAN, without temperature and without labels.

    Raises `AnewError` where the shapes of the two differ, as all objectives with a teacher do.
    """
    _same_shape(student_logits, teacher_logits)
    p = _probabilities(teacher_logits)
    return -(p * F.log_softmax(_at_least_float32(student_logits), dim=-1)).sum(-1).mean()


def kd(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    temperature: float = 4.0,
    alpha: float = 0.9,
) -> Loss:
    """Hinton's distillation: alpha T^2 CE(softmax(t / T), softmax(z / T)) + (1 - alpha) CE(y, q).

    T^2 keeps the size of the gradient as T changes (Hinton et al. 2015, section 2.1) and is always
    there. T = 1 and alpha = 1 is exactly `ban`. Choose it to soften the outputs of an
    over-confident teacher.
    """
    terms = _kd_terms(student_logits, teacher_logits, labels, temperature=temperature, alpha=alpha)
    return terms.total()


def ban_l(
    student_logits: Logits, teacher_logits: Logits, labels: Labels, label_weight: float = 0.5
) -> Loss:
    """Label and teacher together, the paper's BAN+L: (1 - w) CE(p, q) + w CE(y, q) with w =
    `label_weight`.

    The paper gives no weights; one half each is the default here. Choose it where the teacher is
    weak, and for language models, where the paper found that `ban` alone fails.
    """
    return _ban_l_terms(student_logits, teacher_logits, labels, label_weight=label_weight).total()


def cwtm(student_logits: Logits, teacher_logits: Logits, labels: Labels) -> Loss:
    """Confidence weighted by teacher max: sum_s (w_s / sum_u w_u) CE(y_s, q_s), w_s = max_i
    p_{s,i}.

    The label loss with each example weighted by the teacher's largest probability, right or wrong
    (Furlanello et al. 2018, equation 9). A control: it carries the teacher's confidence and none of
    its dark knowledge.
    """
    _same_shape(student_logits, teacher_logits)
    weights = _probabilities(teacher_logits).amax(-1).flatten()
    logits = _at_least_float32(student_logits)
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return (weights / weights.sum() * losses).sum()


def teacher_smoothing(student_logits: Logits, teacher_logits: Logits, labels: Labels) -> Loss:
    """Label smoothing as strong as the teacher's mean confidence: mean of -sum_i s_i log q_i.

    The target s is c on the label and (1 - c) / (C - 1) on every other class, with c = 1/B sum_s
    max_i p_{s,i} the mean over the batch's examples and views, as CWTM's weights are the batch's.
    It equals `label` with the smoothing (1 - c) C / (C - 1). A control: it keeps how confident the
    teacher is on the whole, and nothing of any example.
    """
    _same_shape(student_logits, teacher_logits)
    confidence = _probabilities(teacher_logits).amax(-1).mean()
    log_q = F.log_softmax(_at_least_float32(student_logits), dim=-1)
    on_label = log_q.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    elsewhere = (log_q.sum(-1) - on_label) / (log_q.shape[-1] - 1)
    return -(confidence * on_label + (1 - confidence) * elsewhere).mean()


def dkpp(
    student_logits: Logits, teacher_logits: Logits, permutation: Int64[Tensor, "*batch classes"]
) -> Loss:
    """Dark knowledge with permuted predictions: CE(p', q), p' = p with all but its argmax permuted
    per example.

    `permutation` holds random integers, one per class of each example; their ranks are the
    permutation, so the function stays pure and the same view gets the same p' again (Furlanello et
    al. 2018, equation 10). A control: it keeps the teacher's confidence and the shape of its dark
    knowledge and destroys which class resembles which.
    """
    _same_shape(student_logits, teacher_logits)
    return ban(student_logits, permute_dark_knowledge(teacher_logits, permutation))


def permute_dark_knowledge(values: Logits, permutation: Int64[Tensor, "*batch classes"]) -> Logits:
    """Permute all but the argmax of each row, in the order of the ranks of `permutation`'s
    integers.

    `values` are logits or probabilities: softmax and permutation commute.
    """
    kept = F.one_hot(values.argmax(-1), values.shape[-1]).bool()
    last = torch.iinfo(torch.int64).max
    positions = torch.arange(values.shape[-1], device=values.device).expand(values.shape)
    # Both sorts put the argmax last: the other places in their order, and the same places in random
    # order.
    places = torch.argsort(positions.masked_fill(kept, last), dim=-1, stable=True)
    sources = torch.argsort(permutation.masked_fill(kept, last), dim=-1, stable=True)
    return torch.zeros_like(values).scatter(-1, places, values.gather(-1, sources))


def mean_of_teachers(logits: Float[Tensor, "networks *batch classes"]) -> Logits:
    """Return logits whose softmax is the mean of the networks' probabilities, log(1/n sum_i
    softmax(t_i)).

    What several teachers say together, everywhere in anew. (..., C) from (n, ..., C).
    """
    log_probabilities = F.log_softmax(_at_least_float32(logits), dim=-1)
    return torch.logsumexp(log_probabilities, dim=0) - math.log(logits.shape[0])


@dataclass(frozen=True)
class Terms:
    """An objective's two parts, each already with its weight: what comes from the teacher and what
    from the labels.
    """

    teacher: Loss | None
    label: Loss | None

    def total(self) -> Loss:
        """Return the loss to minimise."""
        if self.teacher is None:
            assert self.label is not None
            return self.label
        return self.teacher if self.label is None else self.teacher + self.label


@dataclass(frozen=True)
class Option:
    """A number that an objective takes: its default and the range it must lie in."""

    default: float
    low: float
    high: float
    low_is_allowed: bool = True

    def holds(self, value: float) -> bool:
        """Say whether a value lies in the range."""
        return (
            self.low <= value if self.low_is_allowed else self.low < value
        ) and value <= self.high

    @property
    def rule(self) -> str:
        """The range in words, for messages and help."""
        return f"{'>=' if self.low_is_allowed else '>'} {self.low:g} and <= {self.high:g}"


@dataclass(frozen=True)
class Objective:
    """An objective as training calls it: its terms, with its options filled in.

    `terms(student_logits, teacher_logits, labels, permutation, **options)`: every objective is
    called alike and takes of these what it needs.
    """

    name: str
    summary: str
    terms: Callable[..., Terms]
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    uses_teacher: bool = True
    uses_permutation: bool = False


def _label_terms(
    z: Tensor, t: Tensor | None, y: Tensor, r: Tensor | None = None, *, smoothing: float
) -> Terms:
    return Terms(teacher=None, label=label(z, y, smoothing))


def _ban_terms(z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None) -> Terms:
    return Terms(teacher=ban(z, t), label=None)


def _kd_terms(
    z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None, *, temperature: float, alpha: float
) -> Terms:
    softened = ban(_at_least_float32(z) / temperature, _at_least_float32(t) / temperature)
    from_labels = None if alpha == 1 else (1 - alpha) * label(z, y)
    return Terms(teacher=alpha * temperature**2 * softened, label=from_labels)


def _ban_l_terms(
    z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None, *, label_weight: float
) -> Terms:
    from_labels = None if label_weight == 0 else label_weight * label(z, y)
    return Terms(teacher=(1 - label_weight) * ban(z, t), label=from_labels)


def _cwtm_terms(z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None) -> Terms:
    return Terms(teacher=cwtm(z, t, y), label=None)


def _teacher_smoothing_terms(z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None) -> Terms:
    return Terms(teacher=teacher_smoothing(z, t, y), label=None)


def _dkpp_terms(z: Tensor, t: Tensor, y: Tensor, r: Tensor) -> Terms:
    return Terms(teacher=dkpp(z, t, r), label=None)


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "label",
            "cross-entropy to the labels",
            _label_terms,
            {"smoothing": Option(0.0, 0.0, 1.0)},
            uses_teacher=False,
        ),
        Objective(
            "kd",
            "Hinton's: softened teacher and labels",
            _kd_terms,
            {
                "temperature": Option(4.0, 0.0, 1000.0, low_is_allowed=False),
                "alpha": Option(0.9, 0.0, 1.0),
            },
        ),
        Objective("ban", "cross-entropy to the teacher alone", _ban_terms),
        Objective(
            "ban+l",
            "teacher and labels together",
            _ban_l_terms,
            {"label_weight": Option(0.5, 0.0, 1.0)},
        ),
        Objective("cwtm", "labels, weighted by the teacher's confidence", _cwtm_terms),
        Objective(
            "teacher-smoothing",
            "labels, smoothed by the teacher's mean confidence",
            _teacher_smoothing_terms,
        ),
        Objective(
            "dkpp",
            "teacher with its dark knowledge permuted",
            _dkpp_terms,
            uses_permutation=True,
        ),
    )
}


def find(name: str) -> Objective:
    """Return the objective of that name, or raise `AnewError` with the nearest name."""
    if name not in OBJECTIVES:
        raise AnewError(
            f"objective '{name}' is not known{did_you_mean(name, OBJECTIVES)}; choose one of "
            f"{', '.join(OBJECTIVES)}"
        )
    return OBJECTIVES[name]


def fill_options(name: str, given: Mapping[str, float | None]) -> dict[str, float]:
    """Return every option of an objective: those given (not None), checked, and the defaults of the
    rest.

    Raises `AnewError` for an option that the objective does not take and for a value out of its
    range.
    """
    objective = find(name)
    for option, value in given.items():
        if value is None:
            continue
        if option not in objective.options:
            takes = ", ".join(objective.options) or "none"
            raise AnewError(
                f"objective '{name}' takes no {option}; its options: {takes}; drop "
                f"objective.{option}"
            )
        rule = objective.options[option]
        if not rule.holds(value):
            raise AnewError(
                f"objective '{name}': {option} must be {rule.rule}, got {value:g}; set "
                f"--objective.{_flag(option)}"
            )
    chosen = {option: given.get(option) for option in objective.options}
    return {
        option: objective.options[option].default if value is None else float(value)
        for option, value in chosen.items()
    }


def _flag(option: str) -> str:
    return option.replace("_", "-")


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def _probabilities(teacher_logits: Tensor) -> Tensor:
    return F.softmax(_at_least_float32(teacher_logits.detach()), dim=-1)


def _same_shape(student_logits: Tensor, teacher_logits: Tensor) -> None:
    if student_logits.shape != teacher_logits.shape:
        raise AnewError(
            f"student logits {tuple(student_logits.shape)} and teacher logits "
            f"{tuple(teacher_logits.shape)} must have "
            "the same shape; a teacher must know the same classes as its student"
        )
