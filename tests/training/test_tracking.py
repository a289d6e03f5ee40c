"""Experiment trackers: every epoch once, whatever stops a training, and no failure that changes it.

What each real tracker holds is read back by its own package, where that is installed.
"""

import json
import os
import struct
import threading
from importlib.util import find_spec

import pytest

import anew
from anew import AnewError
from anew.core import files
from anew.core.recipe import Recipe
from anew.family import Family
from anew.training.tracking import Run, Tracker
from conftest import quick
from runs import StopsAfter, finish, kill_at_random, metrics, start, train, weights

KINDS = ("tensorboard", "mlflow", "wandb", "trackio")


def needs(package):
    return pytest.mark.skipif(
        find_spec(package) is None,
        reason=f"{package} is not installed: pip install 'anew[{package}]'",
    )


class Memory:
    """A destination that keeps what it is given, as a tracker's server does."""

    def __init__(self):
        self.runs, self.written, self.opened = {}, {}, 0

    def open(self, run):
        self.runs[run.id] = run
        self.opened += 1
        return MemoryLog(self.written.setdefault(run.id, []))


class MemoryLog:
    def __init__(self, written):
        self.written = written
        self.last_step = max((step for step, _ in written), default=0)

    def write(self, values, step):
        self.written.append((step, dict(values)))

    def close(self):
        pass


def epochs(written):
    """The rows of epochs among what a run was given."""
    return [(step, values) for step, values in written if "epoch" in values]


def expected(family):
    """What each run must hold of its epochs, from the family's own files."""
    return {
        name: [(row["step"], row["epoch"], row["train_loss"], row["learning_rate"]) for row in rows]
        for name, rows in metrics(family).items()
    }


def as_held(written):
    return {
        name: [
            (step, values["epoch"], values["train/loss"], values["learning_rate"])
            for step, values in epochs(rows)
        ]
        for name, rows in written.items()
    }


def test_every_network_is_a_run_with_its_epochs_settings_and_test_scores(arrays, tmp_path):
    memory = Memory()
    result = train(arrays, tmp_path / "f", progress=[Tracker("memory", memory)])
    first, *_ = result.lineage
    assert list(memory.runs) == [spec.id for spec in result.lineage]
    assert as_held(memory.written) == expected(tmp_path / "f")
    for spec, row in zip(result.lineage, result.scores, strict=False):
        run = memory.runs[spec.id]
        assert run == Run.of(spec)
        assert run.group == f"lineage {first.id}"
        assert run.settings["training.epochs"] == 3
        step, values = memory.written[spec.id][-1]
        assert step == metrics(tmp_path / "f")[spec.id][-1]["step"]
        assert values["test/error"] == pytest.approx(row.scores.error)
        assert "validation/error" in memory.written[spec.id][0][1]


def test_a_stopped_training_goes_on_in_the_same_runs_without_a_step_twice(arrays, tmp_path):
    memory, stops = Memory(), 0
    for steps in (1, 13, 2, 40, 17, 1000):
        tracker = Tracker("memory", memory)
        try:
            train(arrays, tmp_path / "f", progress=[tracker, StopsAfter(steps)])
        except AnewError as error:
            assert error.exit_code == 130
            stops += 1
        else:
            break
    assert stops > 2
    assert memory.opened > len(memory.runs)
    assert as_held(memory.written) == expected(tmp_path / "f")


def test_epochs_that_a_tracker_missed_are_written_when_the_network_goes_on(arrays, tmp_path):
    memory = Memory()
    with pytest.raises(AnewError):
        train(arrays, tmp_path / "f", progress=StopsAfter(25), generations=0)
    assert len(next(iter(metrics(tmp_path / "f").values()))) == 2
    train(arrays, tmp_path / "f", progress=[Tracker("memory", memory)], generations=0)
    assert as_held(memory.written) == expected(tmp_path / "f")
    # A network that was finished before has nothing to tell.
    train(arrays, tmp_path / "f", progress=[Tracker("memory", memory)], generations=0)
    assert memory.opened == 1


def test_siblings_in_workers_are_tracked_by_the_process_that_starts_them(arrays, tmp_path):
    memory = Memory()
    train(
        arrays,
        tmp_path / "f",
        progress=[Tracker("memory", memory)],
        generations=1,
        siblings=["ban+l"],
        jobs=2,
    )
    assert len(memory.runs) == 3
    assert len({run.group for run in memory.runs.values()}) == 1
    assert as_held(memory.written) == expected(tmp_path / "f")


class Fails:
    """A destination that raises an error: when it is opened, at a write, or at the end."""

    def __init__(self, at):
        self.at, self.last_step, self.calls = at, 0, 0

    def _may_fail(self, at):
        self.calls += 1
        if at == self.at:
            raise ConnectionError(f"no answer\nat {at}")

    def open(self, run):
        self._may_fail("open")
        return self

    def write(self, values, step):
        self._may_fail("write")

    def close(self):
        self._may_fail("close")


@pytest.fixture(scope="module")
def untracked(arrays, tmp_path_factory):
    """The weights of generation 0 that no tracker hears of."""
    out = tmp_path_factory.mktemp("untracked") / "f"
    train(arrays, out, generations=0)
    return weights(out)


@pytest.mark.parametrize("at", ["open", "write", "close"])
def test_a_failing_tracker_says_one_line_and_changes_nothing(
    at, arrays, untracked, tmp_path, capsys
):
    train(arrays, tmp_path / "tracked", progress=[Tracker("mine", Fails(at))], generations=0)
    assert weights(tmp_path / "tracked") == untracked
    assert capsys.readouterr().err.splitlines() == [
        f"tracker mine: ConnectionError: no answer at {at}; training continues without it"
    ]


def test_a_tracker_that_never_answers_does_not_hold_the_training_up(arrays, tmp_path, monkeypatch):
    class Hangs:
        def open(self, run):
            threading.Event().wait()

    monkeypatch.setattr("anew.training.tracking.callback.END_SECONDS", 0.2)
    said = []
    tracker = Tracker("mine", Hangs(), said.append)
    result = train(arrays, tmp_path / "f", progress=[tracker], generations=0)
    assert len(result.scores) == 1
    assert said == ["tracker mine: has not answered for 0 seconds; training continues without it"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("tensorbord:runs", "unknown tracker 'tensorbord' (did you mean 'tensorboard'?)"),
        ("", "unknown tracker ''"),
        ("/runs", "set --track to one of tensorboard:FOLDER, mlflow:URI"),
    ],
)
def test_an_unknown_tracker_is_refused_before_anything_is_written(name, part, refused, tmp_path):
    assert part in refused("train", "--track", name, "--out", "f")
    assert not (tmp_path / "f").exists()
    with pytest.raises(AnewError, match="unknown tracker"):
        anew.tracker(name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tracker_that_is_not_installed_is_refused(kind, refused, tmp_path):
    if find_spec(kind) is not None:
        pytest.skip(f"{kind} is installed")
    assert f"pip install 'anew[{kind}]'" in refused("train", "--track", kind, "--out", "f")
    assert not (tmp_path / "f").exists()


def test_what_tracks_is_no_part_of_what_a_network_is(arrays, tmp_path):
    assert "track" not in json.dumps(files.read_json(_spec_file(arrays, tmp_path)))
    assert not hasattr(Recipe(), "track")


def _spec_file(arrays, tmp_path):
    train(arrays, tmp_path / "f", generations=0)
    return next(Family.open(tmp_path / "f").folders()).spec_file


# Real packages, by their own readers.


def scalars(folder):
    """The scalars of a TensorBoard folder's runs: by id, step and name."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    held = {}
    for place in folder.glob("*/*"):
        rows = held.setdefault(place.name.rpartition("(")[2].rstrip(")"), [])
        for path in sorted(place.glob("events*")):
            for event in EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.tag != "settings/text_summary":
                        rows.append((event.step, value.tag, value.tensor.float_val[0]))
    return held


@needs("tensorboard")
def test_tensorboard_holds_every_epoch_once_however_often_the_process_is_killed(tmp_path, npz):
    out, runs = tmp_path / "f", tmp_path / "runs"
    options = [*quick(3, 1), "--track", f"tensorboard:{runs}"]
    kill_at_random(out, npz, kills=3, seed=1, options=options, begin=start)
    finish(start(out, npz, *options))
    held = scalars(runs)
    for name, rows in metrics(out).items():
        losses = [(step, value) for step, tag, value in held[name[:8]] if tag == "train/loss"]
        assert losses == [(row["step"], pytest.approx(row["train_loss"])) for row in rows]
        assert [step for step, tag, _ in held[name[:8]] if tag == "test/error"] == [
            rows[-1]["step"]
        ]


@needs("mlflow")
# Its own use of SQLAlchemy warns.
@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_every_epoch_once(arrays, tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    _stop_and_go_on(arrays, tmp_path / "f", f"mlflow:{uri}")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("anew").experiment_id
    runs = {run.data.tags["anew.id"]: run for run in client.search_runs([experiment])}
    for name, rows in metrics(tmp_path / "f").items():
        run = runs[name]
        history = client.get_metric_history(run.info.run_id, "train/loss")
        assert [(one.step, one.value) for one in history] == [
            (row["step"], row["train_loss"]) for row in rows
        ]
        assert run.data.params["training.epochs"] == "3"
        assert run.info.status == "FINISHED"
        assert "test/error" in run.data.metrics


@needs("trackio")
def test_trackio_holds_every_epoch_once(arrays, tmp_path):
    name = f"test-{os.getpid()}-{tmp_path.name.replace('_', '-')}"
    _stop_and_go_on(arrays, tmp_path / "f", f"trackio:{name}")
    from trackio.sqlite_storage import SQLiteStorage

    held = {}
    for record in SQLiteStorage.get_run_records(name):
        logs = SQLiteStorage.get_logs(name, record["name"])
        held[record["name"].rpartition("(")[2].rstrip(")")] = logs
    for network, rows in metrics(tmp_path / "f").items():
        logs = [one for one in held[network[:8]] if "train/loss" in one]
        assert [(one["step"], one["train/loss"]) for one in logs] == [
            (row["step"], row["train_loss"]) for row in rows
        ]


@needs("wandb")
def test_wandb_offline_holds_every_epoch_once(arrays, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    _stop_and_go_on(arrays, tmp_path / "f", "wandb:testing")
    held = _of_wandb(tmp_path / "wandb")
    for name, rows in metrics(tmp_path / "f").items():
        steps = [(step, loss) for step, loss in held[name] if loss is not None]
        assert steps == [(row["step"], pytest.approx(row["train_loss"])) for row in rows]


def _of_wandb(folder):
    """The steps and losses in W&B's offline files, by run."""
    from wandb.proto import wandb_internal_pb2

    held = {}
    for path in sorted(folder.glob("offline-run-*/*.wandb")):
        for content in _log_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") == "history":
                items = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in record.history.item
                }
                rows = held.setdefault(path.stem.removeprefix("run-"), [])
                rows.append((items["_step"], items.get("train/loss")))
    return held


def _log_records(content):
    """The records of a file in LevelDB's log format, which W&B writes after 7 bytes of its own."""
    place, parts = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        part = content[place + 7 : place + 7 + length]
        place += 7 + length
        # 1 is a whole record; 2, 3 and 4 are its first, middle and last part.
        parts = part if kind in (1, 2) else parts + part
        if kind in (1, 4):
            yield parts


def _stop_and_go_on(arrays, out, name):
    """Train with a tracker: stopped within the second epoch, again within the student."""
    for steps in (20, 30, 1000):
        try:
            train(arrays, out, progress=StopsAfter(steps), generations=1, track=[name])
        except AnewError as error:
            assert error.exit_code == 130
