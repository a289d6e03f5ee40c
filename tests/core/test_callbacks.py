"""Callbacks: several hear every call in order, and a worker's calls come out as they went in."""

import inspect
import pickle

import pytest

import anew
from anew import api
from anew.core.callbacks import FORWARDED, Call, Callback, Callbacks, Forward
from anew.core.errors import AnewError
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec

ONE = Spec(ModelSpec("mlp"), DataSpec(), TrainingSpec(), ObjectiveSpec("label"))
METHODS = [name for name, _ in inspect.getmembers(Callback, inspect.isfunction)]


class Keeps(Callback):
    """Keeps every call, with the name of who heard it."""

    def __init__(self, heard, name=""):
        self.heard, self.name = heard, name

    def _keep(self, *call):
        self.heard.append((self.name, *call) if self.name else call)

    def log(self, text):
        self._keep("log", text)

    def training_started(self, specs, steps, done, batch_size):
        self._keep("training_started", tuple(specs), steps, done, batch_size)

    def training_resumed(self, spec, rows):
        self._keep("training_resumed", spec, list(rows))

    def step_done(self):
        self._keep("step_done")

    def epoch_done(self, spec, row):
        self._keep("epoch_done", spec, row)

    def network_done(self, spec, record, *, found):
        self._keep("network_done", spec, record, found)

    def training_ended(self):
        self._keep("training_ended")


def call_all(callback):
    callback.log("a line")
    callback.training_started([ONE, ONE], 10, 3, 32)
    callback.training_resumed(ONE, [{"epoch": 1}])
    callback.step_done()
    callback.epoch_done(ONE, {"epoch": 1})
    callback.network_done(ONE, {"seconds": 1.0}, found=True)
    callback.training_ended()


def test_several_callbacks_hear_every_call_in_order():
    alone, together = [], []
    call_all(Keeps(alone))
    call_all(Callbacks([Keeps(together, "first"), Keeps(together, "second")]))
    assert {name for name, *_ in alone} == set(METHODS)
    assert together == [(name, *call) for call in alone for name in ("first", "second")]


def test_forwarded_calls_arrive_as_they_were_made_but_for_steps_and_the_end():
    direct, delivered, pipe = [], [], []
    call_all(Keeps(direct))
    call_all(Forward(lambda call: pipe.append(pickle.dumps(call))))
    for sent in pipe:
        pickle.loads(sent).deliver(Keeps(delivered))
    stays = {"step_done", "training_ended"}
    assert delivered == [call for call in direct if call[0] not in stays]
    assert set(FORWARDED) == set(METHODS) - stays


def test_only_a_callbacks_methods_are_called():
    with pytest.raises(ValueError, match="_keep"):
        Call("_keep", ("text",)).deliver(Keeps([]))


def test_train_tells_several_callbacks(arrays, tmp_path):
    heard = []
    recipe = {"training": {"epochs": 1, "batch_size": 32}, "model": {"options": {"width": 4}}}
    anew.train(
        "small_cnn",
        arrays,
        out=tmp_path / "f",
        generations=0,
        recipe=recipe,
        device="cpu",
        threads=1,
        progress=[Keeps(heard, "first"), False, Keeps(heard, "second")],
    )
    first = [call[1:] for call in heard if call[0] == "first"]
    assert first == [call[1:] for call in heard if call[0] == "second"]
    assert {"training_started", "step_done", "epoch_done", "network_done"} <= {
        name for name, *_ in first
    }


@pytest.mark.parametrize("progress", [3, "True", Callback, ["x"]])
def test_what_is_no_callback_is_refused(progress):
    with pytest.raises(AnewError, match=r"^progress must be .* Callback"):
        api._callbacks(progress, jobs=1)
