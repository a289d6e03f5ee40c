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
from anew.evaluation.insight.comparing import (
    Against,
    Comparison,
    compare_generations,
    compare_siblings,
)
from anew.evaluation.insight.dark_knowledge import DarkKnowledge, SecondThought
from anew.evaluation.insight.fidelity import EnsembleGain, Fidelity
from anew.evaluation.insight.gradients import Gradients, Pull, RatioBin
from anew.evaluation.insight.seeds import SeedsInsight, collect_over_seeds

__all__ = [
    "FORMAT",
    "Against",
    "Calibration",
    "ClassChange",
    "Comparison",
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
    "SeedsInsight",
    "Split",
    "collect",
    "collect_over_seeds",
    "collect_with_data",
    "compare_generations",
    "compare_siblings",
    "find_data",
]
