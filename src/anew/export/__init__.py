"""A network or an ensemble as one file that works without anew."""

from anew.export.target import FORMATS, Target, check_target
from anew.export.writing import Exported, export

__all__ = ["FORMATS", "Exported", "Target", "check_target", "export"]
