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
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from anew.core.errors import AnewError

Logits = Float[Tensor, "*batch classes"]
Labels = Int64[Tensor, "*batch"]
Loss = Float[Tensor, ""]
Weights = Float[Tensor, "*batch"]
"""How much each example's label counts, such as the inverse frequency of its class."""


def label(
    student_logits: Logits,
    labels: Labels,
    smoothing: float = 0.0,
    weights: Weights | None = None,
) -> Loss:
    """Cross-entropy to the labels: mean of -log q_y, what generation 0 minimises.

    With `smoothing` eps the target is (1 - eps) onehot(y) + eps / C (Szegedy et al. 2016), a
    control: what soft targets do that know nothing of the example. With `weights` v it is the mean
    of v times each example's loss: 1/B sum_s v_s CE_s, whatever the weights of a batch add up to.
    """
    logits = at_least_float32(student_logits).flatten(0, -2)
    if weights is None:
        return F.cross_entropy(logits, labels.flatten(), label_smoothing=smoothing)
    losses = F.cross_entropy(logits, labels.flatten(), label_smoothing=smoothing, reduction="none")
    return (weights.flatten() * losses).mean()


def ban(student_logits: Logits, teacher_logits: Logits) -> Loss:
    """Cross-entropy to the teacher's output alone: mean of -sum_i p_i log q_i.

    Its gradient with respect to z is (q - p) / B (Furlanello et al. 2018, equation 5). Choose it
    first: it is what the paper calls BAN, without temperature and without labels.

    Raises `AnewError` if the shapes of the two differ, as all objectives with a teacher do.
    """
    same_shape(student_logits, teacher_logits)
    p = _probabilities(teacher_logits)
    return -(p * F.log_softmax(at_least_float32(student_logits), dim=-1)).sum(-1).mean()


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
    over-confident teacher. An alpha above 1 subtracts the labels, as in `ban_l`.
    """
    from_teacher = alpha * temperature**2 * softened(student_logits, teacher_logits, temperature)
    if alpha == 1:
        return from_teacher
    return from_teacher + (1 - alpha) * label(student_logits, labels)


def softened(student_logits: Logits, teacher_logits: Logits, temperature: float) -> Loss:
    """Return CE(softmax(t / T), softmax(z / T)), the teacher's term of `kd` without its weight."""
    return ban(
        at_least_float32(student_logits) / temperature,
        at_least_float32(teacher_logits) / temperature,
    )


def standardise(logits: Logits) -> Logits:
    """Return logits less their mean over the classes, divided by their standard deviation.

    A student then need not match the size of its teacher's logits, only their pattern (Sun et al.
    2024, "Logit standardization in knowledge distillation", algorithm 1; as in the authors' code,
    the deviation is the unbiased one and 1e-7 is added to it). Float32 at least.
    """
    x = at_least_float32(logits)
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-7)


def ban_l(
    student_logits: Logits, teacher_logits: Logits, labels: Labels, label_weight: float = 0.5
) -> Loss:
    """Label and teacher together, BAN+L: (1 - w) CE(p, q) + w CE(y, q) with w = `label_weight`.

    The paper gives no weights; one half each is the default here. Choose it if the teacher is
    weak, and for language models, where the paper found that `ban` alone fails.

    A weight w below 0 gives the teacher a weight above 1 and subtracts the labels: the target is p
    + |w| (p - onehot(y)), which moves away from what the teacher did not believe. It can be optimal
    where many labels are wrong (Das and Sanghavi 2023, "Understanding self-distillation in the
    presence of label noise"). The gradient q - p - |w| (p - onehot(y)) stays bounded, but where
    p_y < |w| / (1 + |w|) the loss has no minimum: weight decay and few epochs must hold it.
    """
    from_teacher = (1 - label_weight) * ban(student_logits, teacher_logits)
    if label_weight == 0:
        return from_teacher
    return from_teacher + label_weight * label(student_logits, labels)


def paid_for(teacher_logits: Logits, weight: float, temperature: float = 1.0) -> Logits:
    """Return a T p (..., C) with p = softmax(t / T): how far each label may be subtracted.

    Beside a teacher's term a T^2 CE(p, softmax(z / T)), subtracting w_y CE(y, q) leaves a loss with
    a lower bound exactly where w_y <= a T p_y: as z_y falls by L the first rises by a T p_y L, the
    second falls by w_y L. Then the loss is at least -w_y log C.
    """
    return weight * temperature * _probabilities(at_least_float32(teacher_logits) / temperature)


def subtractable(
    paid: Logits,
    labels: Labels,
    most: float,
    smoothing: float = 0.0,
    weights: Weights | None = None,
) -> Weights:
    """Return how far each example's label is subtracted: `most` times its weight, or what is paid
    for.

    A smoothed label has a part of every class, each of which must be paid for.
    """
    classes = paid.shape[-1]
    allowed = paid.gather(-1, labels[..., None])[..., 0] / (1 - smoothing + smoothing / classes)
    if smoothing:
        allowed = torch.minimum(allowed, (paid * classes / smoothing).amin(-1))
    wanted = torch.full_like(allowed, most) if weights is None else most * weights
    return torch.minimum(wanted, allowed)


def cwtm(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    weights: Weights | None = None,
) -> Loss:
    """Confidence weighted by teacher max: sum_s (w_s / sum_u w_u) CE(y_s, q_s).

    Each example's label loss is weighted by the teacher's largest probability w_s = max_i p_{s,i},
    right or wrong (Furlanello et al. 2018, equation 10): it stands for the importance weight of
    their equation 9, the teacher's probability of the right class. A control: it carries the
    teacher's confidence and none of its dark knowledge. `weights` v multiply each example's loss
    as in `label`: sum_s (w_s / sum_u w_u) v_s CE(y_s, q_s).
    """
    same_shape(student_logits, teacher_logits)
    confidence = _probabilities(teacher_logits).amax(-1).flatten()
    logits = at_least_float32(student_logits)
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    if weights is not None:
        losses = weights.flatten() * losses
    return (confidence / confidence.sum() * losses).sum()


def teacher_smoothing(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    weights: Weights | None = None,
) -> Loss:
    """Label smoothing as strong as the teacher's mean confidence: mean of -sum_i s_i log q_i.

    The target s is c on the label and (1 - c) / (C - 1) on every other class, with c = 1/B sum_s
    max_i p_{s,i} the mean over the batch's examples and views, as CWTM's weights are the batch's.
    It equals `label` with the smoothing (1 - c) C / (C - 1). A control: it keeps how confident the
    teacher is on the whole, and nothing of any example. `weights` multiply each example's loss as
    in `label`; c is the plain mean all the same.
    """
    same_shape(student_logits, teacher_logits)
    confidence = _probabilities(teacher_logits).amax(-1).mean()
    log_q = F.log_softmax(at_least_float32(student_logits), dim=-1)
    on_label = log_q.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    elsewhere = (log_q.sum(-1) - on_label) / (log_q.shape[-1] - 1)
    losses = -(confidence * on_label + (1 - confidence) * elsewhere)
    return losses.mean() if weights is None else (weights * losses).mean()


def argmax_smoothing(student_logits: Logits, teacher_logits: Logits) -> Loss:
    """Smoothing of the teacher's argmax by its own confidence: mean of -sum_i s_i log q_i.

    The target s of an example is max_i p_i on the teacher's argmax, right or wrong, and the rest
    spread evenly over the other classes. It is the mean of `dkpp`'s targets over all permutations,
    and cross-entropy is linear in the target, so `dkpp` whose permutation is redrawn in each epoch
    minimises this in expectation. The control for exactly that; `teacher_smoothing` keeps the
    labels and one confidence for all.
    """
    same_shape(student_logits, teacher_logits)
    confidence, top = _probabilities(teacher_logits).max(-1)
    log_q = F.log_softmax(at_least_float32(student_logits), dim=-1)
    on_top = log_q.gather(-1, top.unsqueeze(-1)).squeeze(-1)
    elsewhere = (log_q.sum(-1) - on_top) / (log_q.shape[-1] - 1)
    return -(confidence * on_top + (1 - confidence) * elsewhere).mean()


def dkpp(
    student_logits: Logits, teacher_logits: Logits, permutation: Int64[Tensor, "*batch classes"]
) -> Loss:
    """Dark knowledge with permuted predictions: CE(p', q).

    p' is p with all but its argmax permuted for each example (Furlanello et al. 2018, equation 11).
    `permutation` holds random integers, one per class of each example; their ranks are the
    permutation, so the function stays pure and the same view gets the same p' again. A control: it
    keeps the teacher's confidence and the shape of its dark knowledge and destroys which class
    resembles which. Drawn anew in each epoch the permutations average out to `argmax_smoothing`;
    drawn once for an example they are a fixed wrong similarity, which is another objective. The
    paper does not say which it used.
    """
    same_shape(student_logits, teacher_logits)
    return ban(student_logits, permute_dark_knowledge(teacher_logits, permutation))


def permute_dark_knowledge(values: Logits, permutation: Int64[Tensor, "*batch classes"]) -> Logits:
    """Return each row with all but its argmax permuted by the ranks of `permutation`'s integers.

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


def mean_of_teachers(
    logits: Float[Tensor, "networks *batch classes"], weights: Sequence[float] = ()
) -> Logits:
    """Return the log of the mean of the networks' probabilities, log(1/n sum_i softmax(t_i)).

    With `weights` w_i, which add up to 1, it is log(sum_i w_i softmax(t_i)). Its softmax is that
    mean. Everywhere in anew it is the answer of several teachers. (..., C) from (n, ..., C).
    """
    log_probabilities = F.log_softmax(at_least_float32(logits), dim=-1)
    if not weights:
        return torch.logsumexp(log_probabilities, dim=0) - math.log(logits.shape[0])
    shares = log_probabilities.new_tensor([math.log(weight) for weight in weights])
    shares = shares.view(-1, *[1] * (logits.ndim - 1))
    return torch.logsumexp(log_probabilities + shares, dim=0)


def at_least_float32(logits: Tensor) -> Tensor:
    """Return numbers in float32 if they are in half precision, else as they are."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def _probabilities(teacher_logits: Tensor) -> Tensor:
    return F.softmax(at_least_float32(teacher_logits.detach()), dim=-1)


def same_shape(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Raise `AnewError` if the logits of the two are not of the same examples and classes."""
    if student_logits.shape != teacher_logits.shape:
        raise AnewError(
            f"student logits {tuple(student_logits.shape)} and teacher logits "
            f"{tuple(teacher_logits.shape)} must have "
            "the same shape; a teacher must know the same classes as its student"
        )
