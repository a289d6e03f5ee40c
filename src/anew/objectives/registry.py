"""The table of objectives: what each one needs, its options, and how training calls it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from anew.core.errors import AnewError, did_you_mean
from anew.core.ranges import Number, Range
from anew.core.spec import ModelSpec, ObjectiveSpec
from anew.objectives import attention, decoupled, losses
from anew.objectives.losses import Labels, Logits, Loss, Weights

# How often DKPP's permutation of an example is drawn.
REDRAWN = {"epoch": 1.0, "example": 0.0}
CONSTANT = math.inf
"""The end of a schedule that is not given: the value stays what it is at the start."""
TEMPERATURE = Number(4.0, Range(0, 1000, above=True))
YES_OR_NO = Number(0.0, Range(0, 1), words={"no": 0.0, "yes": 1.0})
Need = Literal["teacher", "permutation", "features"]
Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of features of one example, by the name of the module that puts them out."""


@dataclass(frozen=True)
class Context:
    """What an objective computes its terms from, in one step; B examples, C classes.

    Whatever the objective does not need is None.
    """

    logits: Logits
    """The student's logits (B, *positions, C); gradients flow into them."""
    labels: Labels
    """The labels (B, *positions)."""
    teacher_logits: Logits | None = None
    """The teacher's logits (B, *positions, C), float32."""
    permutation: Int64[Tensor, "*batch classes"] | None = None
    """Random integers (B, *positions, C) whose ranks permute the classes of each view."""

    features: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """The student's features (B, ...) by the module's name; gradients flow into them."""
    teacher_features: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """The teacher's features (B, ...) by the module's name; no gradient flows into them."""
    module: nn.Module | None = None
    """The objective's own module, such as a projection; it is trained with the student."""
    weights: Weights | None = None
    """The weights (B,) of the examples where an objective compares with labels; None if all are
    1. What compares with the teacher alone has none."""

    second: tuple[Labels, Weights] | None = None
    """The labels (B,) of the second pictures and their weights, where pictures are mixed; `weights`
    holds the shares of the first then. Logits and features are those of the mixed pictures."""

    progress: float = 0.0
    """The share of the training's steps that are done, 0 <= progress < 1."""

    def between(self, start: float, end: float) -> float:
        """Return a value that goes from `start` to `end` in equal steps, or stays if there is no
        end.
        """
        return start if math.isinf(end) else start + (end - start) * self.progress

    @property
    def teacher(self) -> Logits:
        """The teacher's logits, for an objective that needs a teacher."""
        assert self.teacher_logits is not None, "an objective must name its needs"
        return self.teacher_logits


@dataclass(frozen=True)
class Terms:
    """The two parts of an objective, each with its weight: from the teacher, and from the labels.

    An objective has at least one of them.
    """

    teacher: Loss | None = None
    label: Loss | None = None

    def total(self) -> Loss:
        """Return the loss to minimise: the sum of the parts."""
        if self.teacher is None:
            assert self.label is not None
            return self.label
        return self.teacher if self.label is None else self.teacher + self.label


@dataclass(frozen=True)
class Objective:
    """An objective, as training finds and calls it."""

    name: str
    summary: str
    terms: Callable[..., Terms]
    """Called as `terms(context, **options)` in each step, with all options filled in."""
    options: Mapping[str, Number] = field(default_factory=dict[str, Number])
    compares_examples: bool = False
    """Whether a batch's examples are weighed against each other, so that the loss of a batch is no
    mean of the losses of its parts."""
    teaches_without_labels: bool = True
    """Whether its term from the teacher needs no label, so that unlabelled examples teach."""
    needs: frozenset[Need] = frozenset[Need]({"teacher"})
    """What its context must hold beside the student's logits and the labels."""
    features: Callable[[ModelSpec], Sequence[str]] = lambda model: ()
    """Called with the student's and with the teacher's model: returns the names of the modules
    whose outputs are the features. Not called if features are no need."""
    module: Callable[[Shapes, Shapes], nn.Module] | None = None
    """Called with the shapes of the student's and of the teacher's features: returns the module
    that the objective owns. Its first weights come from a stream of their own."""

    def features_of(self, model: ModelSpec) -> tuple[str, ...]:
        """Return the names of the modules of a model whose features are needed."""
        return tuple(self.features(model)) if "features" in self.needs else ()


def _over_labels(context: Context, loss: Callable[[Labels, Weights | None], Loss]) -> Loss:
    """Return a label term: of two mixed pictures the sum over both labels, each with its weight."""
    first = loss(context.labels, context.weights)
    return first if context.second is None else first + loss(*context.second)


def _label_terms(context: Context, *, smoothing: float) -> Terms:
    def loss(labels: Labels, weights: Weights | None) -> Loss:
        return losses.label(context.logits, labels, smoothing, weights)

    return Terms(label=_over_labels(context, loss))


def _ban_terms(context: Context) -> Terms:
    return Terms(teacher=losses.ban(context.logits, context.teacher))


def _kd_terms(context: Context, **options: float) -> Terms:
    student, teacher = context.logits, context.teacher
    if options["standardise"]:
        student, teacher = losses.standardise(student), losses.standardise(teacher)
    temperature = context.between(options["temperature"], options["temperature_end"])
    alpha = context.between(options["alpha"], options["alpha_end"])

    paid = losses.paid_for(teacher, alpha, temperature) if options["bounded"] else None

    return Terms(
        alpha * temperature**2 * losses.softened(student, teacher, temperature),
        _weighted_labels(context, 1 - alpha, options["label_smoothing"], paid),
    )


def _ban_l_terms(context: Context, **options: float) -> Terms:
    weight = context.between(options["label_weight"], options["label_weight_end"])
    from_teacher = (1 - weight) * losses.ban(context.logits, context.teacher)
    paid = losses.paid_for(context.teacher, 1 - weight) if options["bounded"] else None
    return Terms(from_teacher, _weighted_labels(context, weight, options["label_smoothing"], paid))


def _dkd_terms(context: Context, **options: float) -> Terms:
    student, teacher = context.logits, context.teacher
    if options["standardise"]:
        student, teacher = losses.standardise(student), losses.standardise(teacher)
    settings = (options["temperature"], options["alpha"], options["beta"])

    def loss(labels: Labels, weights: Weights | None) -> Loss:
        each = decoupled.dkd_each(student, teacher, labels, *settings)
        return (each if weights is None else weights * each).mean()

    from_labels = _weighted_labels(context, options["label_weight"], 0.0)
    return Terms(_over_labels(context, loss), from_labels)


def _at_terms(context: Context, *, beta: float, smoothing: float) -> Terms:
    pairs = [*context.features.values()], [*context.teacher_features.values()]
    from_teacher = beta * attention.attention_transfer(*pairs)
    return Terms(from_teacher, _weighted_labels(context, 1.0, smoothing))


def _weighted_labels(
    context: Context, weight: float, smoothing: float, paid: Logits | None = None
) -> Loss | None:
    """Return a label term with its weight, of two mixed pictures over both; None if it is 0.

    Labels of a weight below 0 are subtracted no further than the teacher's term has `paid` for.
    """
    if weight == 0:
        return None
    if paid is not None and context.second is not None:
        # Two labels of one class share what is paid for it.
        is_same = context.labels == context.second[0]
        paid = torch.where(is_same[..., None], paid / 2, paid)

    def loss(labels: Labels, weights: Weights | None) -> Loss:
        if paid is None or weight > 0:
            return weight * losses.label(context.logits, labels, smoothing, weights)
        bound = losses.subtractable(paid, labels, -weight, smoothing, weights)
        return -losses.label(context.logits, labels, smoothing, bound)

    return _over_labels(context, loss)


def _cwtm_terms(context: Context) -> Terms:
    def loss(labels: Labels, weights: Weights | None) -> Loss:
        return losses.cwtm(context.logits, context.teacher, labels, weights)

    return Terms(teacher=_over_labels(context, loss))


def _teacher_smoothing_terms(context: Context) -> Terms:
    def loss(labels: Labels, weights: Weights | None) -> Loss:
        return losses.teacher_smoothing(context.logits, context.teacher, labels, weights)

    return Terms(teacher=_over_labels(context, loss))


def _argmax_smoothing_terms(context: Context) -> Terms:
    return Terms(teacher=losses.argmax_smoothing(context.logits, context.teacher))


def _dkpp_terms(context: Context, *, redraw: float) -> Terms:
    # `redraw` decides which permutation the context holds.
    assert context.permutation is not None, "an objective must name its needs"
    return Terms(teacher=losses.dkpp(context.logits, context.teacher, context.permutation))


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "label",
            "cross-entropy to the labels",
            _label_terms,
            {"smoothing": Number(0.0, Range(0, 1))},
            teaches_without_labels=False,
            needs=frozenset(),
        ),
        Objective(
            "kd",
            "Hinton's: softened teacher and labels",
            _kd_terms,
            {
                "temperature": TEMPERATURE,
                "alpha": Number(0.9, Range(0, 2)),
                "temperature_end": replace(TEMPERATURE, default=CONSTANT),
                "alpha_end": Number(CONSTANT, Range(0, 2)),
                "label_smoothing": Number(0.0, Range(0, 1)),
                "standardise": YES_OR_NO,
                "bounded": YES_OR_NO,
            },
        ),
        Objective("ban", "cross-entropy to the teacher alone", _ban_terms),
        Objective(
            "ban+l",
            "teacher and labels together",
            _ban_l_terms,
            {
                "label_weight": Number(0.5, Range(-1, 1)),
                "label_weight_end": Number(CONSTANT, Range(-1, 1)),
                "label_smoothing": Number(0.0, Range(0, 1)),
                "bounded": YES_OR_NO,
            },
        ),
        Objective(
            "dkd",
            "teacher in two parts, its confidence and its dark knowledge, and labels",
            _dkd_terms,
            {
                "temperature": TEMPERATURE,
                "alpha": Number(1.0, Range(0, 1000)),
                "beta": Number(8.0, Range(0, 1000)),
                "label_weight": Number(1.0, Range(0, 1000)),
                "standardise": YES_OR_NO,
            },
            teaches_without_labels=False,
        ),
        Objective(
            "at",
            "labels, and where the teacher looks (attention transfer)",
            _at_terms,
            {"beta": Number(1000.0, Range(0, 1e6)), "smoothing": Number(0.0, Range(0, 1))},
            needs=frozenset({"teacher", "features"}),
            features=attention.layers_of,
            module=attention.check_maps,
        ),
        Objective(
            "cwtm",
            "labels, weighted by the teacher's confidence",
            _cwtm_terms,
            compares_examples=True,
            teaches_without_labels=False,
        ),
        Objective(
            "teacher-smoothing",
            "labels, smoothed by the teacher's mean confidence",
            _teacher_smoothing_terms,
            compares_examples=True,
            teaches_without_labels=False,
        ),
        Objective(
            "argmax-smoothing",
            "the teacher's argmax, smoothed by its confidence in each example",
            _argmax_smoothing_terms,
        ),
        Objective(
            "dkpp",
            "teacher with its dark knowledge permuted",
            _dkpp_terms,
            {"redraw": Number(REDRAWN["epoch"], Range(0, 1), words=REDRAWN)},
            needs=frozenset({"teacher", "permutation"}),
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


def check_unlabelled(name: str) -> None:
    """Raise `AnewError` if an objective learns nothing from unlabelled examples."""
    if not find(name).teaches_without_labels:
        able = [one.name for one in OBJECTIVES.values() if one.teaches_without_labels]
        raise AnewError(
            f"data.unlabelled: objective '{name}' weights the labels, so it learns nothing from "
            f"unlabelled examples; choose one of {', '.join(able)}, or drop --unlabelled"
        )


def check_bounded(spec: ObjectiveSpec) -> None:
    """Raise `AnewError` for `kd` with labels that are subtracted without a bound.

    Its students can end wrong on every example: softened, the teacher's probability of most labels
    is too small to pay for them.
    """
    if spec.name != "kd":
        return
    options = fill_options(spec)
    most = max(options["alpha"], 0 if math.isinf(options["alpha_end"]) else options["alpha_end"])
    if most <= 1:
        return

    if options["standardise"]:
        raise AnewError(
            "objective 'kd': alpha above 1 subtracts the labels, and with standardised logits "
            "the loss has no bound; set --objective.standardise no, or an alpha of 1 at most"
        )
    if not options["bounded"]:
        raise AnewError(
            "objective 'kd': alpha above 1 subtracts the labels, and the loss has no minimum for "
            "labels with a low probability of the teacher; set --objective.bounded yes (or "
            "--force it)"
        )


def fill(spec: ObjectiveSpec) -> ObjectiveSpec:
    """Return a spec's objective with its defaults filled in, so that equal settings have equal ids.

    An option that is not among the first ones (`ObjectiveSpec.ALWAYS_WRITTEN`) is left out at its
    default: then an option that is added to an objective leaves all ids. Raises `AnewError` as
    `fill_options` does.
    """
    known = find(spec.name).options
    kept: dict[str, float] = {}
    for option, value in fill_options(spec).items():
        if option in spec.ALWAYS_WRITTEN or value != known[option].default:
            kept[option] = value
    return replace(spec, options=tuple(sorted(kept.items())))


def fill_options(spec: ObjectiveSpec) -> dict[str, float]:
    """Return every option of a spec's objective: those given, checked, and the others' defaults.

    Raises `AnewError` for an option that the objective does not take and for a value out of its
    range.
    """
    objective = find(spec.name)
    filled = {option: number.default for option, number in objective.options.items()}
    for option, value in spec.options:
        if option not in objective.options:
            takes = ", ".join(objective.options) or "none"
            near = did_you_mean(option, [*objective.options, "name", "top_k", "shuffled"])
            raise AnewError(
                f"objective '{spec.name}' takes no {option}{near}; its options: {takes}; drop "
                f"objective.{option}"
            )

        number = objective.options[option]
        value = number.words.get(value, value) if isinstance(value, str) else value
        is_allowed = number.range.holds(value)
        if number.words:
            is_allowed = value in number.words.values()
        if not is_allowed:
            given = f"{value:g}" if isinstance(value, float) else repr(value)
            wanted = " or ".join(number.words) or number.range.bounds
            raise AnewError(
                f"objective '{spec.name}': {option} must be {wanted}, got {given}; set "
                f"--objective.{option.replace('_', '-')}"
            )
        filled[option] = float(value)
    return filled
