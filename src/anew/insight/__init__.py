"""What the students of a lineage learned, and why: gradients, dark knowledge, calibration and harm, fidelity."""

from anew.insight.calibration import Calibration, ClassChange, Harm, ReliabilityBin
from anew.insight.collecting import FORMAT, Insight, Member, Split, collect, collect_with_data, find_data
from anew.insight.dark_knowledge import DarkKnowledge, SecondThought
from anew.insight.fidelity import EnsembleGain, Fidelity
from anew.insight.gradients import Gradients, Pull, RatioBin

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
    "Pull",
    "RatioBin",
    "ReliabilityBin",
    "SecondThought",
    "Split",
    "collect",
    "collect_with_data",
    "find_data",
]
