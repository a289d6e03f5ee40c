"""Trackers by name: `tensorboard:FOLDER`, `mlflow:URI`, `wandb:PROJECT`, `trackio:PROJECT`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from anew.core.callbacks import Callback, Callbacks
from anew.core.errors import AnewError, did_you_mean
from anew.training.tracking.callback import Destination, Tracker
from anew.training.tracking.mlflow import MLflow
from anew.training.tracking.tensorboard import TensorBoard
from anew.training.tracking.trackio import Trackio
from anew.training.tracking.wandb import WandB


@dataclass(frozen=True)
class _Kind:
    """A kind of tracker: what opens it, what its name goes on with, and its default ("": none)."""

    open: Callable[[str], Destination]
    takes: str
    default: str = ""


# The names are those of the packages, and of anew's extras.
_KINDS = {
    "tensorboard": _Kind(TensorBoard, "FOLDER", "runs"),
    "mlflow": _Kind(MLflow, "URI", "sqlite:///mlflow.db"),
    "wandb": _Kind(WandB, "PROJECT", "anew"),
    "trackio": _Kind(Trackio, "PROJECT", "anew"),
}


def tracker(name: str, say: Callable[[str], None] | None = None) -> Tracker:
    """Return the tracker of a name, a callback for `anew.train(progress=[...])`.

    `name` is `tensorboard:FOLDER`, `mlflow:URI`, `wandb:PROJECT` or `trackio:PROJECT`. Without what
    stands after the colon: the folder `runs`, `sqlite:///mlflow.db`, the project `anew`. `say`
    takes the one line that tells of the tracker's failure, which goes to standard error if it is
    None. Raises `AnewError` for an unknown name, or if the tracker's package is not installed.
    """
    check_trackers([name])
    kind, _, place = name.partition(":")
    return Tracker(kind, _KINDS[kind].open(place or _KINDS[kind].default), say)


def check_trackers(names: Sequence[str]) -> None:
    """Raise `AnewError` if a tracker is unknown, its package is not installed, or it is given
    twice.
    """
    for name in names:
        kind = name.partition(":")[0]
        if kind not in _KINDS:
            known = ", ".join(f"{kind}:{about.takes}" for kind, about in _KINDS.items())
            raise AnewError(
                f"track: unknown tracker '{kind}'{did_you_mean(kind, _KINDS)}; set --track to one "
                f"of {known}"
            )

        if find_spec(kind) is None:
            raise AnewError(
                f"track: {kind} is not installed; install it with pip install 'anew[{kind}]', or "
                f"drop --track {name}"
            )
        if names.count(name) > 1:
            raise AnewError(f"track: {name} is given twice; give it once")


def with_trackers(callback: Callback, names: Sequence[str]) -> Callback:
    """Return a callback together with the trackers of these names; it prints their failures."""
    if not names:
        return callback
    check_trackers(names)
    return Callbacks([callback, *(tracker(name, callback.log) for name in names)])
