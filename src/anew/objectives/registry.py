"""The table of objectives: what each one needs, its options, and how training calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Int64
from torch import Tensor, nn

from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import ModelSpec
from anew.objectives import losses
from anew.objectives.losses import Labels, Logits, Loss

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
    """An objective, as training finds and calls it."""

    name: str
    summary: str
    terms: Callable[..., Terms]
    """Called as `terms(context, **options)` in each step, with all options filled in."""
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
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


def _label_terms(context: Context, *, smoothing: float) -> Terms:
    return Terms(label=losses.label(context.logits, context.labels, smoothing))


def _ban_terms(context: Context) -> Terms:
    return Terms(teacher=losses.ban(context.logits, context.teacher))


def _kd_terms(context: Context, *, temperature: float, alpha: float) -> Terms:
    student, teacher, labels = context.logits, context.teacher, context.labels
    return Terms(*losses.kd_parts(student, teacher, labels, temperature, alpha))


def _ban_l_terms(context: Context, *, label_weight: float) -> Terms:
    student, teacher, labels = context.logits, context.teacher, context.labels
    return Terms(*losses.ban_l_parts(student, teacher, labels, label_weight))


def _cwtm_terms(context: Context) -> Terms:
    return Terms(teacher=losses.cwtm(context.logits, context.teacher, context.labels))


def _teacher_smoothing_terms(context: Context) -> Terms:
    loss = losses.teacher_smoothing(context.logits, context.teacher, context.labels)
    return Terms(teacher=loss)


def _dkpp_terms(context: Context) -> Terms:
    assert context.permutation is not None, "an objective must name its needs"
    return Terms(teacher=losses.dkpp(context.logits, context.teacher, context.permutation))


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "label",
            "cross-entropy to the labels",
            _label_terms,
            {"smoothing": Option(0.0, 0.0, 1.0)},
            needs=frozenset(),
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
