"""The table of objectives: what each one needs, its options, and how training calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from anew.core.errors import AnewError, did_you_mean
from anew.objectives import losses
from anew.objectives.losses import Loss


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
    return Terms(teacher=None, label=losses.label(z, y, smoothing))


def _ban_terms(z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None) -> Terms:
    return Terms(teacher=losses.ban(z, t), label=None)


def _kd_terms(
    z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None, *, temperature: float, alpha: float
) -> Terms:
    return Terms(*losses.kd_parts(z, t, y, temperature, alpha))


def _ban_l_terms(
    z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None, *, label_weight: float
) -> Terms:
    return Terms(*losses.ban_l_parts(z, t, y, label_weight))


def _cwtm_terms(z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None) -> Terms:
    return Terms(teacher=losses.cwtm(z, t, y), label=None)


def _teacher_smoothing_terms(z: Tensor, t: Tensor, y: Tensor, r: Tensor | None = None) -> Terms:
    return Terms(teacher=losses.teacher_smoothing(z, t, y), label=None)


def _dkpp_terms(z: Tensor, t: Tensor, y: Tensor, r: Tensor) -> Terms:
    return Terms(teacher=losses.dkpp(z, t, r), label=None)


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
