"""`anew study plan`: its counts are those of a real run, its bytes those of the folder, its
schedule within bounds.
"""

import json
import math
import re
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anew import AnewError, data, studies
from anew.core import files
from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.interruption import Interrupted
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.data import Contents, prepare, sizes
from anew.family import Family
from anew.studies import Column, Study, StudyData
from anew.studies.planning import rendering
from anew.studies.planning.footprint import footprint
from anew.studies.planning.known_data import fingerprint_in, known_data
from anew.studies.planning.needs import needs as needs_of
from anew.studies.planning.plan import Work, plan, schedule
from anew.studies.planning.speeds import speeds_of_rate
from anew.studies.running import needs, siblings
from runs import StopsAfter

CPU = Execution("cpu", 1)
LOTS = 1e15

STUDY = Study(
    name="small",
    title="A small question",
    rows={
        "narrow": ModelSpec("small_cnn", (("width", 8),)),
        "flat": ModelSpec("mlp", (("hidden", 24),)),
    },
    columns={
        "Teacher": Column(),
        "longer": Column(seed=1, epochs=2),
        "BAN": Column("Teacher", ObjectiveSpec("ban")),
        "CWTM": Column("Teacher", ObjectiveSpec("cwtm")),
        "BAN-2": Column("BAN", ObjectiveSpec("ban")),
    },
    training=TrainingSpec(epochs=4, batch_size=16),
    seeds=(0, 1),
)


@pytest.fixture
def small(npz):
    return replace(STUDY, data=DataSpec(source=f"npz:{npz}", views="flip"))


class Counts(Callback):
    """Watches and counts the batches that pass."""

    batches = 0

    def step_done(self):
        self.batches += 1


def needed(study, out):
    found = StudyData(study)
    return needs(siblings(study.specs(found)), out, found.contents, CPU)


def bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_plan_is_what_a_real_run_does(small, tmp_path):
    out = tmp_path / "f"
    before = needed(small, out)
    planned = studies.plan(small, out, CPU, rate=1000.0)
    assert not out.exists()
    counts = Counts()
    assert studies.run(small, out, replace(CPU, force=True), counts) == {}
    family = Family.open(out)
    folders = list(family.folders())
    rows = {folder.id: folder.read_metrics() for folder in folders}
    assert planned.networks == len(folders) == 2 * 2 * 5 and planned.held == 0
    assert planned.steps == sum(lines[-1]["step"] for lines in rows.values())
    assert planned.trained == 16 * planned.steps
    assert counts.batches == sum(one.batches for one in before)
    outputs = [files.read_tensors(folder.outputs)[0] for folder in folders]
    held_out, test = len(outputs[0]["validation.labels"]), len(outputs[0]["test.labels"])
    epochs = sum(len(lines) for lines in rows.values())
    assert planned.evaluated == epochs * held_out + len(folders) * (held_out + test)
    # Two teachers a row and seed; the first has two students on one pass.
    shown = 4 * 16 * (sizes(StudyData(small).contents, small.data).training // 16)
    assert (
        planned.saved_by_siblings == 4 * shown
        and planned.answers + planned.saved_by_stores == 8 * shown
    )
    # Every answer that was asked for lies in a store; which views are drawn is chance, so the
    # number is about the mean.
    stores = [path for path in family.stores.glob("*/*") if path.is_dir()]
    filled = sum(
        int(np.unpackbits(np.fromfile(path / "filled.u8", np.uint8)).sum()) for path in stores
    )
    assert {one.way for one in before} == {"", "table"} and len(stores) == 8
    assert planned.answers == pytest.approx(filled, rel=0.02)
    assert planned.disk.networks == pytest.approx(bytes_in(out / "networks"), rel=0.03)
    assert planned.disk.stores == pytest.approx(bytes_in(out / "teachers"), rel=0.03)
    # What is there is not trained again.
    again = studies.plan(small, out, CPU)
    assert (again.networks, again.held, again.seconds, again.disk.whole) == (0, 20, 0, 0)
    assert rendering.about(again) == ["Nothing to train: the family holds all 20 networks."]
    more = studies.plan(replace(small, seeds=(0, 1, 2)), out, CPU, rate=1000.0)
    assert (more.networks, more.held) == (10, 20) and more.seconds == pytest.approx(
        planned.seconds / 2, rel=0.02
    )


@pytest.mark.parametrize(
    "training",
    [
        TrainingSpec(epochs=2, batch_size=16),
        TrainingSpec(epochs=2, batch_size=16, momentum=0.0, nesterov=False),
        TrainingSpec(
            epochs=2, batch_size=16, optimizer="adamw", learning_rate=1e-3, best_epoch=True
        ),
    ],
    ids=["sgd", "without momentum", "adamw, best epoch"],
)
def test_states_while_training_are_as_large_as_planned(small, tmp_path, training):
    out = tmp_path / "f"
    study = replace(small.only(("narrow",), ("Teacher",)), training=training, seeds=(0,))
    with pytest.raises(Interrupted):
        studies.run(study, out, CPU, StopsAfter(14))
    (state,) = out.glob("networks/*/state/state.safetensors")
    (one,) = needed(study, out)
    # Counted twice: a save is written beside the one before it.
    assert one.state_bytes / 2 == pytest.approx(state.stat().st_size, rel=0.05)


@given(
    count=st.integers(30, 400),
    classes=st.integers(2, 5),
    own_test=st.booleans(),
    seed=st.integers(0, 9),
    limit=st.none() | st.integers(25, 300),
    validation=st.sampled_from([0.0, 0.1, 0.25]),
)
def test_sizes_of_a_split_are_known_without_the_examples(
    count, classes, own_test, seed, limit, validation
):
    labels = np.arange(count) % classes
    inputs = np.zeros((count, 2), np.float32)
    source = data.from_arrays((inputs, labels), (inputs, labels) if own_test else None)
    spec = DataSpec(seed=seed, limit=limit, validation=validation)
    found = prepare(source, spec)
    expected = sizes(source.contents, spec)
    for name in ("training", "validation", "test"):
        # Where a share falls between two numbers, sums of rounded shares may fall to either side.
        assert abs(len(getattr(found, name)) - getattr(expected, name)) <= 1


def test_a_mean_in_0_1_is_planned_as_it_is_trained(tmp_path):
    """Else the plan would not know the networks that the family holds: their ids would differ."""
    spec = DataSpec(source="digits", mean=(0.2,), std=(0.4,))
    described = known_data(replace(STUDY, data=spec), tmp_path).described(spec.seed)
    assert described == prepare(data.load("digits"), spec).spec
    assert described.mean == (51.0,)


def test_parameters_and_operations_are_counted():
    counted = footprint(ModelSpec("mlp", (("hidden", 24), ("layers", 1))), (1, 8, 8), 10)
    assert counted.parameters == 64 * 24 + 24 + 24 * 10 + 10
    assert counted.flops == 2 * (64 * 24 + 24 * 10)
    # 3x3 convolutions of a Wide-ResNet-10-1, its two shortcuts and its classifier, by hand.
    at = {32: 3 * 16 + 2 * 16 * 16, 16: 16 * 32 + 32 * 32, 8: 32 * 64 + 64 * 64}
    expected = (
        sum(9 * side**2 * products for side, products in at.items())
        + 16**2 * 16 * 32
        + 8**2 * 32 * 64
        + 640
    )
    assert footprint(ModelSpec("wide_resnet-10-1"), (3, 32, 32), 10).flops == 2 * expected


def test_a_given_rate_is_scaled_by_operations(small):
    study = small.only(("narrow", "flat"), ("Teacher",))
    groups = siblings(study.specs(StudyData(study)))
    contents = StudyData(study).contents
    found = needs_of(groups, (), contents, CPU, LOTS)
    speeds = speeds_of_rate(50.0, found, contents)
    planned = plan("s", Work(groups, found, contents), speeds, 1, LOTS)
    flops = {line.model: line.flops for line in planned.lines}
    largest = max(flops.values())
    for line in planned.lines:
        seconds = (line.trained + line.evaluated / 3) / 50 * flops[line.model] / largest
        assert line.seconds == pytest.approx(seconds)
    assert "small_cnn at 50 examples a second" in planned.speeds and "at least" in planned.speeds


def test_a_store_of_an_earlier_group_is_used_again_and_a_full_disk_has_none(small):
    groups = siblings(small.specs(StudyData(small)))
    contents = StudyData(small).contents
    students = [group for group in groups if group[0].teachers][:1]
    (once,) = needs_of(students, (), contents, CPU, LOTS)
    twice = needs_of([*students, *students], (), contents, CPU, LOTS)
    assert once.way == "table" and twice[1].way == "table" and twice[1].store_bytes == 0
    assert 0 < twice[1].answers < once.answers
    (full,) = needs_of(students, (), contents, CPU, once.store_bytes)
    assert (full.way, full.store_bytes) == ("live", 0) and full.answers == full.answers_live
    (there,) = needs_of(students, (), contents, CPU, LOTS, lambda key: key.examples * key.views)
    assert (there.answers, there.store_bytes) == (0, 0)


def a_spec(number, teachers=()):
    return Spec(
        ModelSpec(), DataSpec(), TrainingSpec(), ObjectiveSpec("label"), number, tuple(teachers)
    )


tasks = st.lists(
    st.tuples(st.floats(0.01, 10), st.sets(st.integers(0, 11), max_size=2)), min_size=1, max_size=12
)


@given(tasks=tasks, workers=st.integers(1, 5))
def test_the_schedule_keeps_grahams_bounds(tasks, workers):
    specs, seconds, chains = [], {}, []
    for number, (length, earlier) in enumerate(tasks):
        teachers = [one for one in earlier if one < number]
        specs.append(a_spec(number, [specs[one] for one in teachers]))
        seconds[specs[-1].id] = length
        chains.append(length + max((chains[one] for one in teachers), default=0.0))
    alone, chain, work = [[one] for one in specs], max(chains), sum(seconds.values()) / workers

    def measure(part):
        return sum(seconds[spec.id] for spec in part)

    found = schedule(alone, measure, workers)
    assert found >= max(chain, work) - 1e-9
    assert found <= work + (1 - 1 / workers) * chain + 1e-9
    assert schedule(alone, measure, len(specs)) == pytest.approx(chain)


def test_a_schedule_worked_out_by_hand():
    first, second, third = (a_spec(number) for number in range(3))
    student = a_spec(3, [first])
    groups = [[first, second, third], [student]]

    # A second a network, and one a group for what its members share.
    def seconds(part):
        return 1.0 + len(part)

    assert schedule(groups, seconds, 1) == 4 + 2
    # Whom the student waits for goes first and by itself: it ends at 2, the other two beside it at
    # 3.
    assert schedule(groups, seconds, 2) == 2 + 2
    assert schedule(groups, seconds, 3) == 2 + 2
    assert schedule([], seconds, 3) == 0.0


@pytest.fixture
def in_haste(monkeypatch):
    """Speeds are measured in the same way, but not for as long: what they are is not looked at."""
    monkeypatch.setattr("anew.studies.planning.measuring.SLICE_SECONDS", 0.02)
    monkeypatch.setattr("anew.studies.planning.measuring.ROUNDS", 2)


def test_what_is_measured_covers_every_kind(small, tmp_path, in_haste):
    out = tmp_path / "f"
    planned = studies.plan(replace(small, seeds=(0,)), out, CPU, workers=2)
    assert 0 < planned.chain_seconds <= planned.critical_seconds <= planned.seconds < 600
    assert all(line.seconds > 0 for line in planned.lines) and planned.teacher_seconds > 0
    assert "measured on this machine" in planned.speeds and not out.exists()


def test_the_papers_tables_are_planned_without_their_data(command, tmp_path):
    options = [
        "table3",
        "--rows",
        "Wide-ResNet-28-1",
        "--columns",
        "Teacher",
        "BAN",
        "--rate",
        1000,
        "--gpus",
        4,
    ]
    found = json.loads(command("study", "plan", *options, "--format", "json", check=0).out)
    # 50,000 examples in batches of 128 are 390 steps; three seeds, a teacher and a student of each.
    assert (found["networks"], found["steps"]) == (6, 6 * 200 * 390) and found[
        "trained"
    ] == 128 * found["steps"]
    # Nothing is held out for validation: the test examples once for each network.
    assert found["evaluated"] == 6 * 10_000
    (line,) = found["lines"]
    assert line["parameters"] == 375_348 and line["seconds"] == pytest.approx(
        found["trained"] / 1000 + found["evaluated"] / 3000 + 3 * 8 * 128 / 3000
    )
    # Of 162 views, 162 (1 - (1 - s/162)^200) are met, where s = 390 x 128 / 50,000 is the share of
    # an epoch.
    assert found["answers"] == pytest.approx(
        3 * 50_000 * 162 * (1 - (1 - 390 * 128 / 50_000 / 162) ** 200), rel=1e-6
    )
    assert found["disk"]["stores"] == pytest.approx(
        3 * (50_000 * 162 * 2 * 101 + 50_000 * 21), rel=1e-5
    )
    # Three chains of two groups on four workers.
    assert found["critical_seconds"] == pytest.approx(found["chain_seconds"])
    assert "cifar100 is not available" in " ".join(found["notes"])
    text = command("study", "plan", *options, check=0).out
    assert "wide_resnet-28-1" in text and "on 4 workers" in text and "not available" in text
    assert list(tmp_path.iterdir()) == []


def test_networks_that_a_family_holds_are_known_without_the_data(small, tmp_path):
    known = Contents(240, 0, (1, 8, 8), 3, "none")
    study = replace(
        small,
        seeds=(0,),
        columns={"Teacher": Column()},
        training=TrainingSpec(epochs=1, batch_size=16),
    )
    out = tmp_path / "f"
    studies.run(study, out, CPU, Callback())
    described = StudyData(study)(0)
    assert (
        fingerprint_in(study.data, out) == described.fingerprint
        and StudyData(study).contents == known
    )
    assert fingerprint_in(study.data, tmp_path / "nowhere") == ""


TOML = """
[data]
source = "{source}"
[rows]
huge = {{ name = "mlp", options = {{ hidden = 1000000, layers = 100 }} }}
[columns.Teacher]
"""


def test_students_with_frozen_parts_are_measured_too(small, tmp_path, in_haste):
    columns = {
        "Teacher": Column(),
        "BAN": Column("Teacher", ObjectiveSpec("ban"), frozen=("classifier",)),
    }
    planned = studies.plan(replace(small, columns=columns), tmp_path / "f", CPU)
    assert planned.seconds > 0 and not (tmp_path / "f").exists()


def test_what_does_not_fit_the_disk_is_not_begun(refused, npz, tmp_path):
    path = tmp_path / "huge.toml"
    # 99 layers of 10^12 weights are 400 TB; they are counted, never made.
    path.write_text(TOML.format(source=f"npz:{npz}"))
    line = refused("study", "run", path, "--out", "f")
    assert re.search(
        r"study 'huge': needs .* TB at f \(.* networks, .*\), .* is free; .*--force", line
    )
    assert not (tmp_path / "f").exists()
    planned = studies.plan(studies.choose(str(path)), tmp_path / "f", CPU, rate=1e9)
    assert not planned.fits and "IT DOES NOT FIT" in rendering.markdown(planned)
    assert planned.disk.networks == pytest.approx(3 * 4 * 99e12, rel=0.01)


def test_a_study_is_begun_on_a_full_disk_when_told(small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: SimpleNamespace(total=10**9, used=10**9 - 5000, free=5000)
    )
    with pytest.raises(AnewError, match=r"study 'small': needs .* 5 kB is free"):
        studies.run(small, tmp_path / "f", CPU, Callback())
    assert not (tmp_path / "f").exists()
    with pytest.raises(Interrupted):
        studies.run(small, tmp_path / "f", replace(CPU, force=True), StopsAfter(2))
    assert list(Family.open(tmp_path / "f").folders())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["table7"], "study 'table7' is not known"),
        (["table2", "--rate", 0], "rate must be a number of examples a second > 0"),
        (["table2", "--gpus", 0], "workers must be a whole number >= 1"),
    ],
)
def test_what_makes_no_sense_is_refused(refused, arguments, says):
    assert re.search(says, refused("study", "plan", *arguments))


@pytest.mark.slow
def test_the_time_is_within_a_quarter_of_a_real_run(tmp_path):
    study = Study(
        name="timed",
        title="Timed",
        rows={
            "Wide-ResNet-10-1": ModelSpec("wide_resnet-10-1"),
            "small CNN": ModelSpec("small_cnn"),
        },
        columns={
            "Teacher": Column(),
            "BAN": Column("Teacher", ObjectiveSpec("ban")),
            "DKPP": Column("Teacher", ObjectiveSpec("dkpp")),
            "BAN-2": Column("BAN", ObjectiveSpec("ban")),
        },
        data=DataSpec(source="digits", views="crop", padding=1),
        training=TrainingSpec(epochs=6, batch_size=32),
        seeds=(0,),
    )
    ratios = []
    for number in range(3):
        out = tmp_path / str(number)
        planned = studies.plan(study, out, CPU)
        started = time.perf_counter()
        assert studies.run(study, out, CPU, Callback()) == {}
        ratios.append((time.perf_counter() - started) / planned.seconds)
    assert math.log(1.25) > abs(math.log(sorted(ratios)[1])), ratios


@pytest.mark.parametrize("rate", [-3.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(small, tmp_path, rate):
    with pytest.raises(AnewError, match="rate must be a number of examples a second > 0"):
        studies.plan(small, tmp_path / "f", CPU, rate=rate)
