"""Experiment trackers as callbacks: TensorBoard, MLflow, Weights & Biases and trackio.

A network is a run, a lineage is a group. `callback.py` is what all share; each other module writes
to one tracker.
"""

from anew.training.tracking.callback import Destination, Run, RunLog, Tracker
from anew.training.tracking.naming import check_trackers, tracker, with_trackers

__all__ = [
    "Destination",
    "Run",
    "RunLog",
    "Tracker",
    "check_trackers",
    "tracker",
    "with_trackers",
]
