"""What the students of a lineage learned: gradients, dark knowledge, calibration, fidelity."""

from anew.evaluation.insight.calibration import Calibration, ClassChange, Harm, ReliabilityBin
from anew.evaluation.insight.collecting import (
    FORMAT,
    Insight,
    Member,
    Options,
    Split,
    collect,
    collect_with_data,
    find_data,
)
from anew.evaluation.insight.dark_knowledge import DarkKnowledge, SecondThought
from anew.evaluation.insight.fidelity import EnsembleGain, Fidelity
from anew.evaluation.insight.gradients import Gradients, Pull, RatioBin

__all__ = [
    "FORMAT",
    "Calibration",
    "ClassChange",
    "DarkKnowledge",
    "EnsembleGain",
    "Fidelity",
    "Gradients",
    "Harm",
    "Insight",
    "Member",
    "Options",
    "Pull",
    "RatioBin",
    "ReliabilityBin",
    "SecondThought",
    "Split",
    "collect",
    "collect_with_data",
    "find_data",
]
