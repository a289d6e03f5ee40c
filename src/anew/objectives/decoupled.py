"""Distillation in two parts: how sure of the label, and how the other classes are ranked."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from anew.objectives.losses import Labels, Logits, Loss, Weights, at_least_float32, same_shape


def dkd(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
) -> Loss:
    """Decoupled distillation: T^2 (alpha TCKD + beta NCKD), Zhao et al. 2022, equation 8.

    With p and q the softmax of t / T and z / T, TCKD = KL((p_y, 1 - p_y) || (q_y, 1 - q_y)) is of
    the label's class against all others, and NCKD = KL(p^ || q^) of the other classes among
    themselves, p^_i = p_i / (1 - p_y). Ordinary distillation is TCKD + (1 - p_y) NCKD (equation 7):
    a confident teacher's dark knowledge hardly counts in it, and here it does, by `beta`.
    Divergences, so 0 where both agree. Choose it for a confident teacher of many classes.

    Raises `AnewError` if the shapes of the two differ.
    """
    return dkd_each(student_logits, teacher_logits, labels, temperature, alpha, beta).mean()


def dkd_each(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    temperature: float,
    alpha: float,
    beta: float,
) -> Weights:
    """Return `dkd` of each example, (B,): its parts know the label, so examples can be weighted."""
    same_shape(student_logits, teacher_logits)
    z = at_least_float32(student_logits) / temperature
    t = at_least_float32(teacher_logits.detach()) / temperature
    is_label = F.one_hot(labels, z.shape[-1]).bool()
    q_label, q_rest, q_others = _parts(z, is_label)
    p_label, p_rest, p_others = _parts(t, is_label)

    of_label = p_label.exp() * (p_label - q_label) + p_rest.exp() * (p_rest - q_rest)
    of_others = (p_others.exp() * (p_others - q_others)).masked_fill(is_label, 0).sum(-1)
    return temperature**2 * (alpha * of_label + beta * of_others)


def _parts(logits: Tensor, is_label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p_y, log(1 - p_y), and log p^ with zeros at the label: all finite.

    1 - p_y is never computed from p_y, whose float32 rounds to 1 for a confident teacher.
    """
    log_p = F.log_softmax(logits, dim=-1)
    label = log_p.masked_fill(~is_label, 0).sum(-1)
    # Far below any logarithm of a float's probability, and finite where the gradient needs it.
    others = log_p.masked_fill(is_label, -1e9)
    rest = others.logsumexp(-1)
    return label, rest, F.log_softmax(others, dim=-1).masked_fill(is_label, 0)
