"""Tables of cells over many networks: the paper's, and a user's own."""

from anew.studies.choosing import Changes, choose
from anew.studies.paper import STUDIES
from anew.studies.planning.measuring import plan
from anew.studies.results import Results, collect
from anew.studies.running import StudyData, run
from anew.studies.scales import SCALES
from anew.studies.study import Column, Study
from anew.studies.toml import read_study

__all__ = [
    "SCALES",
    "STUDIES",
    "Changes",
    "Column",
    "Results",
    "Study",
    "StudyData",
    "choose",
    "collect",
    "plan",
    "read_study",
    "run",
]
