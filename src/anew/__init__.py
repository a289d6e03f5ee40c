"""Born-again training of neural networks: train one on labels, then the same architecture anew from
the one before.

    import anew
    result = anew.train(model="small_cnn", data=(x, y), generations=3)

`anew.objectives` holds the losses, usable in any loop of your own; `anew.models` the architectures.
Names are loaded when they are first used, so that `import anew` takes no time.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from anew.core.errors import AnewError
from anew.core.version import __version__

# Otherwise the last bits of MKL's float32 products depend on where a row stands in memory, and so
# on an example's place in its batch, where rows are no multiple of 16 bytes. MKL reads it once,
# before its first product.
os.environ.setdefault("MKL_CBWR", "AUTO")

if TYPE_CHECKING:
    from anew import data, models, objectives
    from anew.api import Result, train
    from anew.core.callbacks import Callback
    from anew.core.execution import Execution
    from anew.core.recipe import Recipe
    from anew.core.spec import Spec
    from anew.estimator import BornAgainClassifier
    from anew.evaluation import ensemble, insight, metrics
    from anew.evaluation.predictor import load
    from anew.family import Family
    from anew.teachers.outside import teacher
    from anew.training.tracking import tracker

__all__ = [
    "AnewError",
    "BornAgainClassifier",
    "Callback",
    "Execution",
    "Family",
    "Recipe",
    "Result",
    "Spec",
    "__version__",
    "data",
    "ensemble",
    "insight",
    "load",
    "metrics",
    "models",
    "objectives",
    "teacher",
    "tracker",
    "train",
]

# Where each public name lives. It is loaded when it is first used.
_HOMES = {
    "BornAgainClassifier": "anew.estimator",
    "Callback": "anew.core.callbacks",
    "Execution": "anew.core.execution",
    "Family": "anew.family",
    "Recipe": "anew.core.recipe",
    "Result": "anew.api",
    "Spec": "anew.core.spec",
    "load": "anew.evaluation.predictor",
    "teacher": "anew.teachers.outside",
    "tracker": "anew.training.tracking",
    "train": "anew.api",
}
_MODULES = {
    "data": "anew.data",
    "ensemble": "anew.evaluation.ensemble",
    "insight": "anew.evaluation.insight",
    "metrics": "anew.evaluation.metrics",
    "models": "anew.models",
    "objectives": "anew.objectives",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'anew' has no attribute '{name}'")


def __dir__() -> list[str]:
    return list(__all__)
