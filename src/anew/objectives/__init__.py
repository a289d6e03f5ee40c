"""What a student minimises: pure functions of logits and labels, and the table of their names."""

from anew.core.ranges import Number, Range
from anew.objectives.attention import attention_transfer
from anew.objectives.decoupled import dkd
from anew.objectives.losses import (
    Labels,
    Logits,
    Loss,
    Weights,
    argmax_smoothing,
    ban,
    ban_l,
    cwtm,
    dkpp,
    kd,
    label,
    mean_of_teachers,
    permute_dark_knowledge,
    standardise,
    teacher_smoothing,
)
from anew.objectives.registry import (
    OBJECTIVES,
    Context,
    Need,
    Objective,
    Shapes,
    Terms,
    fill,
    fill_options,
    find,
)

__all__ = [
    "OBJECTIVES",
    "Context",
    "Labels",
    "Logits",
    "Loss",
    "Need",
    "Number",
    "Objective",
    "Range",
    "Shapes",
    "Terms",
    "Weights",
    "argmax_smoothing",
    "attention_transfer",
    "ban",
    "ban_l",
    "cwtm",
    "dkd",
    "dkpp",
    "fill",
    "fill_options",
    "find",
    "kd",
    "label",
    "mean_of_teachers",
    "permute_dark_knowledge",
    "standardise",
    "teacher_smoothing",
]
