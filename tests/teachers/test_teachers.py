"""Teachers: the same bits whichever way they are asked, asked as seldom as can be, and never
another one's answers.
"""

import math
import random
import shutil
import time
from fractions import Fraction

import numpy as np
import pytest
import torch

import anew
from anew import AnewError, models
from anew import data as data_sources
from anew.core import files
from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.spec import DataSpec, ModelSpec
from anew.core.text import in_bytes
from anew.data import Batches
from anew.data.signature import Signature
from anew.family import Family
from anew.models import network
from anew.models.network import Network, Runner
from anew.teachers import Encoding, LiveTeacher, Need, Store, StoreKey, Teacher, choose, store
from anew.teachers.choice import distinct_views
from forks import fork_code

CPU = torch.device("cpu")
BATCH = 16


@pytest.fixture(autouse=True)
def deterministic():
    """As `Execution.settings` has it."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def built(name, shape, classes=10, seed=0, options=None):
    """A network whose batch norms have seen something, in inference mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = models.build(name, shape, classes, options)
        with torch.no_grad():
            model.train()(torch.randn(8, *shape))
    names = tuple(map(str, range(classes)))
    one = Network(
        model, ModelSpec(name), Signature(shape, names, (127.0,) * shape[0], (60.0,) * shape[0])
    )
    return network.place(one.eval(), CPU, "channels_last")


SMALL = {
    "small_cnn": (1, 8, 8),
    "mlp": (3, 16, 16),
    "lenet": (1, 28, 28),
    "wide_resnet-10-1": (3, 16, 16),
    "densenet-22-12": (3, 16, 16),
    "resnet18": (3, 8, 8),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch_size", [5, 16, 48])
@pytest.mark.parametrize(("name", "shape"), [*SMALL.items(), ("mlp", (5,)), ("mlp", (69,))])
def test_an_examples_logits_have_the_same_bits_wherever_it_stands_and_whatever_the_others_are(
    name, shape, batch_size, precision
):
    generator = torch.Generator().manual_seed(0)
    network = built(name, shape)
    run = Runner(network, precision, False)
    pictures = torch.randint(
        0, 256, (2 * batch_size, *shape), generator=generator, dtype=torch.uint8
    )

    @torch.inference_mode()
    def ask(inputs):
        return run(network.signature.arrange(inputs)).logits

    ours, others = pictures.split(batch_size)
    logits = ask(ours)
    for _ in range(3):
        order = torch.randperm(batch_size, generator=generator)
        assert torch.equal(ask(ours[order]), logits[order])
        mixed, place = others.clone(), int(order[0])
        mixed[place] = ours[0]
        assert torch.equal(ask(mixed)[place], logits[0])


def prepared(arrays, **spec):
    source = data_sources.from_arrays(arrays)
    return data_sources.prepare(source, DataSpec(source="arrays", **spec))


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(240, 5)), np.arange(240) % 3


# The epochs for which a table by epoch has places.
EPOCHS = 10
CASES = {
    "no views": ("small_cnn", {}, None),
    "crop and flip": ("small_cnn", {"views": "crop+flip", "padding": 2}, None),
    "few views": ("small_cnn", {"views": "flip"}, None),
    "top k": ("small_cnn", {"views": "flip"}, 2),
    "resized crops": ("small_cnn", {"views": "resized-crop+flip"}, None),
    "vectors": ("mlp", {}, None),
    "a densenet": ("densenet-10-5", {"views": "flip"}, None),
}


class Case:
    """A teacher to be asked about data, by a store in a folder or live."""

    def __init__(self, case, arrays, vectors, stores):
        name, views, top_k = CASES[case]
        self.data = prepared(vectors if case == "vectors" else arrays, validation=0.0, **views)
        self.batches = Batches(self.data, BATCH, CPU)
        self.encoding = Encoding(3, top_k)
        self.networks = [built(name, self.data.input_shape, classes=3)]
        self.stores = stores
        self.key = StoreKey(
            teachers=("t",),
            data={"case": case},
            precision="float32",
            memory_format="channels_last",
            compile=False,
            batch_size=BATCH,
            examples=len(self.data.training),
            views=self.data.views.count if self.data.views.is_countable else EPOCHS,
            words=self.encoding.width,
            targets="",
            by="view" if self.data.views.is_countable else "epoch",
        )
        self.said = []

    def teacher(self, networks=None, *, table=True):
        opened = Store.open(self.stores, self.key) if table else None
        live = LiveTeacher(networks or self.networks, "float32", False)
        return Teacher(live, self.encoding, BATCH, opened, self.said.append)

    def epoch(self, teacher, number, first=0):
        """An epoch's targets, with the numbers of the examples and the views that they are for."""
        taught = list(teacher.teach(self.batches.epoch(number, first)))
        assert [len(outputs.logits) for _, outputs in taught] == [BATCH] * (
            self.batches.steps - first
        )
        indices, views = (
            torch.cat([getattr(batch, what) for batch, _ in taught])
            for what in ("indices", "views")
        )
        return torch.cat([outputs.logits for _, outputs in taught]), indices, views


@pytest.fixture
def case(request, arrays, vectors, tmp_path):
    return Case(request.param, arrays, vectors, tmp_path / "teachers")


every_case = pytest.mark.parametrize("case", CASES, indirect=True)


@every_case
def test_a_table_gives_the_bits_of_asking_live_in_every_epoch_and_after_reopening(case):
    live, table = case.teacher(table=False), case.teacher()
    for number in range(6):
        assert torch.equal(case.epoch(table, number)[0], case.epoch(live, number)[0])
        if number == 3:
            table.close()
            table = case.teacher()
            table.verify(case.batches, "float32")
    # From the middle of an epoch, as a resumed run, with what is missing no whole number of
    # batches.
    assert torch.equal(case.epoch(table, 9, first=5)[0], case.epoch(live, 9, first=5)[0])
    table.close()
    assert store.verify(case.key.folder(case.stores)) == []


@every_case
def test_each_view_that_is_met_is_asked_for_once(case):
    met, table = set(), case.teacher()
    for number in range(6):
        _, indices, views = case.epoch(table, number)
        met |= set(zip(indices.tolist(), views.tolist(), strict=True))
        assert table.asked == len(met) == table.store.count
    assert table.served == 6 * case.batches.steps * BATCH
    if case.key.views == 1:
        # One pass over the data set (what an epoch leaves out comes in a later one), then nothing.
        assert table.asked == len(case.data.training)
    table.close()
    again = case.teacher()
    for number in range(6):
        case.epoch(again, number)
    assert again.asked == 0
    again.close()


@pytest.mark.parametrize("case", ["crop and flip"], indirect=True)
def test_a_live_answer_is_the_networks_own_but_for_rounding(case):
    logits, indices, views = case.epoch(case.teacher(table=False), 0)
    with torch.inference_mode():
        own = case.networks[0](case.batches.examples.show(indices, views))
    torch.testing.assert_close(logits.softmax(-1), own.softmax(-1), atol=0.0005, rtol=0)
    assert torch.equal(logits.argmax(-1), own.argmax(-1))


@pytest.mark.parametrize("case", ["no views"], indirect=True)
def test_several_teachers_answer_with_the_mean_of_their_probabilities(case):
    two = [built("small_cnn", case.data.input_shape, 3, seed) for seed in (1, 2)]
    teacher = case.teacher(two, table=False)
    inputs = case.batches.examples.show(slice(0, BATCH))
    with torch.inference_mode():
        mean = torch.stack([one(inputs).softmax(-1) for one in two]).mean(0)
    torch.testing.assert_close(teacher.ask(inputs).softmax(-1), mean, atol=0.0005, rtol=0)


@pytest.mark.parametrize("size", [1, 7, BATCH, BATCH + 1, 3 * BATCH - 1])
@pytest.mark.parametrize("case", ["no views", "vectors"], indirect=True)
def test_any_number_may_be_asked_about_at_once(case, size):
    teacher, sizes = case.teacher(table=False), []
    case.networks[0].register_forward_pre_hook(lambda network, given: sizes.append(len(given[0])))
    whole = teacher.ask(case.batches.examples.show(slice(0, 3 * BATCH)))
    assert torch.equal(teacher.ask(case.batches.examples.show(slice(0, size))), whole[:size])
    # The network's last bits may depend on the batch size, so it sees one only.
    assert sizes == [BATCH] * (3 + math.ceil(size / BATCH))


@every_case
def test_anothers_answers_are_refused(case):
    table = case.teacher()
    table.verify(case.batches, "float32")
    case.epoch(table, 0)
    table.close()
    name, _, _ = CASES[next(one for one in CASES if case.key.data["case"] == one)]
    another = case.teacher([built(name, case.data.input_shape, classes=3, seed=1)])
    with pytest.raises(AnewError) as caught:
        another.verify(case.batches, "float32")
    said = str(caught.value)
    assert said.startswith(
        f"stored targets {case.key.folder(case.stores)}: differ from the teacher's present outputs"
    )
    assert said.endswith("move that folder away to have them computed again")
    another.close()


@pytest.mark.parametrize("case", ["few views"], indirect=True)
def test_a_damaged_answer_is_asked_for_again_and_mended(case):
    live, table = case.teacher(table=False), case.teacher()
    case.epoch(table, 0)
    table.close()
    path = case.key.folder(case.stores) / "rows.u16"
    before = path.read_bytes()
    content = np.fromfile(path, np.uint16)
    content[np.flatnonzero(content)[[100, 500]]] ^= 4
    content.tofile(path)

    again = case.teacher()
    again.verify(case.batches, "float32")
    asked = again.asked
    assert torch.equal(case.epoch(again, 0)[0], case.epoch(live, 0)[0])
    assert again.asked == asked + 2
    again.close()
    (said,) = (text for text in case.said if text.startswith("stored targets "))
    assert "are damaged" in said and said.endswith("with the same result")
    assert path.read_bytes() == before and store.verify(path.parent) == []


@pytest.mark.parametrize(
    ("views", "epochs", "about"), [(162, 200, 115), (162, 300, 137), (1, 5, 1), (50, 3, 3)]
)
def test_distinct_views_are_those_of_a_simulation(views, epochs, about):
    drawn = np.random.default_rng(0).integers(0, views, (4000, epochs))
    simulated = np.mean([len(np.unique(row)) for row in drawn])
    assert distinct_views(views, epochs) == pytest.approx(simulated, rel=0.01)
    assert round(distinct_views(views, epochs)) == about


def chosen(way="auto", *, budget_bytes=4e9, **given):
    numbers = {"views": 162, "epochs": 200, "store_bytes": 10**9, "free_bytes": 9e9}
    return choose(Need(**{**numbers, **given}), Execution(ask=way, disk_budget=budget_bytes / 1e9))


def first_epochs_that_pay(views, passes):
    """The least number of epochs at which a tenth of the forwards is saved, in exact fractions."""
    for epochs in range(1, 1000):
        met = views * (1 - (1 - Fraction(1, views)) ** epochs)
        if 1 - met / (passes * epochs) >= Fraction(1, 10):
            return epochs
    raise AssertionError


@pytest.mark.parametrize(
    ("views", "passes"), [(162, 1), (50, 1), (2, 1), (1, 1), (162, 2), (10**6, 2)]
)
def test_auto_takes_the_table_from_where_it_saves_a_tenth(views, passes):
    epochs = first_epochs_that_pay(views, passes)
    assert chosen(views=views, passes=passes, epochs=epochs).way == "table"
    if epochs > 1:
        below = chosen(views=views, passes=passes, epochs=epochs - 1)
        assert below.way == "live" and below.reason.endswith("too little")


def test_one_pass_with_one_epoch_is_asked_live():
    assert chosen(views=1, epochs=1).way == "live"
    assert chosen(views=1, epochs=1, passes=2).way == "table"


@pytest.mark.parametrize(
    "room", [{"budget_bytes": 1e9}, {"free_bytes": 2e9}, {"budget_bytes": 1e9, "free_bytes": 2e9}]
)
def test_auto_takes_the_table_where_it_just_fits_the_budget_and_half_of_the_free_disk(room):
    assert chosen(**room).way == "table"
    too_large = chosen(**room, store_bytes=10**9 + 1)
    assert too_large.way == "live"
    assert (
        "1 GB is all that it may take (--disk-budget, or half of the free disk)" in too_large.reason
    )


@pytest.mark.parametrize("given", [{}, {"epochs": 1}, {"budget_bytes": 0.0}, {"is_begun": True}])
@pytest.mark.parametrize("way", ["live", "table"])
def test_a_way_that_is_told_is_taken(way, given):
    choice = chosen(way, **given)
    assert choice.way == way and f", as --ask {way} says (" in choice.reason


@pytest.mark.parametrize("given", [{"epochs": 1}, {"store_bytes": 10**12}])
def test_a_table_that_an_earlier_student_began_is_used(given):
    assert chosen(**given).way == "live"
    choice = chosen(**given, is_begun=True)
    assert choice.way == "table" and "because an earlier student began it" in choice.reason


@pytest.mark.parametrize(
    "given", [{}, {"epochs": 2}, {"store_bytes": 5 * 10**9}, {"is_begun": True}]
)
def test_the_reason_is_one_line_with_its_numbers(given):
    choice = chosen(**given)
    epochs, size = given.get("epochs", 200), given.get("store_bytes", 10**9)
    distinct = distinct_views(162, epochs)
    assert "\n" not in choice.reason
    assert f"{distinct:,.1f} forward passes per example instead of {epochs}" in choice.reason
    assert in_bytes(size) in choice.reason


VIEWS = {"views": "crop+flip", "padding": 2}
RECIPE = {
    "training": {"epochs": 6, "batch_size": 16, "learning_rate": 0.1},
    "model": {"options": {"width": 4}},
    "data": VIEWS,
    "objective": {"name": "ban"},
}


class Watcher(Callback):
    """Keeps what was said."""

    def __init__(self):
        self.said = []

    def log(self, text):
        self.said.append(text)


def train(arrays, out, **given):
    settings = {
        "generations": 2,
        "recipe": RECIPE,
        "progress": False,
        "threads": 1,
        "device": "cpu",
        **given,
    }
    return anew.train("small_cnn", arrays, out=out, **settings)


def weights(family):
    return {folder.id: files.sha256(folder.weights) for folder in Family.open(family).folders()}


def contents(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def live(arrays, tmp_path_factory):
    return weights(
        train(arrays, tmp_path_factory.mktemp("live") / "family", ask="live").family.path
    )


@pytest.fixture(scope="module")
def tabled(arrays, tmp_path_factory):
    return train(arrays, tmp_path_factory.mktemp("table") / "family", ask="table").family.path


@pytest.fixture
def copied(tabled, tmp_path):
    return shutil.copytree(tabled, tmp_path / "copied")


def stores_of(family):
    return sorted(family.glob("teachers/*/*"))


def test_trainings_live_and_by_table_have_the_same_bits(live, tabled):
    assert weights(tabled) == live and len(live) == 3
    assert len(stores_of(tabled)) == 2 and all(store.verify(one) == [] for one in stores_of(tabled))


def test_auto_has_the_same_bits_and_asks_live_where_nothing_is_written(live, arrays, tmp_path):
    watcher = Watcher()
    assert (
        weights(train(arrays, tmp_path / "family", disk_budget=0.0, progress=watcher).family.path)
        == live
    )
    assert sum("teacher outputs are computed in each epoch: " in line for line in watcher.said) == 2
    assert not (tmp_path / "family" / "teachers").exists()


def test_another_student_of_the_same_teacher_asks_for_nothing(copied, arrays):
    # The views that the first student met are those of every student, but another's epochs may be
    # more.
    before, watcher = contents(stores_of(copied)[0].parents[1]), Watcher()
    result = train(arrays, copied, objective="ban+l", generations=1, seed=0, progress=watcher)
    assert len(weights(copied)) == 4 and result.lineage[0].id in weights(copied)
    assert contents(stores_of(copied)[0].parents[1]) == before
    assert any("because an earlier student began it" in line for line in watcher.said)


def test_a_store_with_another_teachers_answers_stops_the_student(copied, arrays):
    first, second = stores_of(copied)
    for name in ("rows.u16", "filled.u8"):
        for one, other in ((first, second), (second, first)):
            (one / f"{name}.new").write_bytes((other / name).read_bytes())
        for one in (first, second):
            (one / f"{name}.new").replace(one / name)
    # Every checksum is right.
    assert all(store.verify(one) == [] for one in (first, second))
    with pytest.raises(AnewError, match="differ from the teacher's present outputs"):
        train(arrays, copied, objective="ban+l", generations=1)


def test_verify_counts_stores_and_finds_a_flipped_bit(copied, command, refused):
    done = command("verify", copied, check=0)
    assert "OK: 3 networks and 2 target caches, all hashes match" in done.out
    # What a killed process had not made to its end is no store.
    half = stores_of(copied)[0].parent / ".half.1.tmp"
    half.mkdir()
    path = stores_of(copied)[1] / "rows.u16"
    content = np.fromfile(path, np.uint16)
    content[np.flatnonzero(content)[-1]] ^= 1 << 15
    content.tofile(path)
    said = refused("verify", copied)
    assert (
        "1 of its files are missing or have changed" in said
        and f"stored targets {path.parent}: is damaged" in said
    )
    assert said.strip().endswith("the next student that needs them computes them again")


ON_A_FULL_DISK = """
import resource, sys
import numpy as np
import anew
from anew.core.callbacks import Callback

class Watcher(Callback):
    epochs = 0

    def log(self, text):
        print(text)

    def epoch_done(self, spec, row):
        Watcher.epochs += spec.generation == 1
        # Room for what the second student saves, but not for all answers.
        if sys.argv[3] == "half way" and Watcher.epochs == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

if sys.argv[3] == "from the start":
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
given = np.load(sys.argv[1])
anew.train("small_cnn", (given["x"], given["y"]), out=sys.argv[2], ask="table", threads=1,
           device="cpu", progress=Watcher(), generations=2, recipe={RECIPE})
"""


@pytest.mark.parametrize("when", ["from the start", "half way"])
def test_a_disk_that_is_full_changes_no_bit_and_is_told(live, npz, tmp_path, when):
    code = ON_A_FULL_DISK.replace("{RECIPE}", repr(RECIPE))
    process = fork_code(code, npz, tmp_path / "family", when)
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    says = "cannot be made" if when == "from the start" else "cannot be written"
    lines = [line for line in said.splitlines() if f"{says} (File too large)" in line]
    # A student's table is said to fail once. Half way, the second student's cannot even be made.
    assert len(lines) == (2 if when == "from the start" else 1)
    assert all(
        line.startswith("stored targets ") and "with the same result" in line for line in lines
    )
    assert weights(tmp_path / "family") == live
    assert all(store.verify(one) == [] for one in stores_of(tmp_path / "family"))


# As `anew`, but with answers brought to the disk all the time, so that a kill finds it at work.
IMPATIENT = """
import sys, anew.teachers.teacher, anew.training.loop
for module in (anew.teachers.teacher, anew.training.loop):
    # Where the constant has moved away, this test would prove less without a word.
    assert module.FLUSH_SECONDS > 0
    module.FLUSH_SECONDS = 0.0
from anew.cli.main import main
main(sys.argv[1:])
"""


def test_killed_while_the_table_fills_it_ends_with_the_same_bits(live, npz, tmp_path):
    out, dice = tmp_path / "family", random.Random(0)
    options = {
        "epochs": 6,
        "batch-size": 16,
        "learning-rate": 0.1,
        "generations": 2,
        "model.options": "width=4",
    }
    options |= {
        "views": "crop+flip",
        "data.padding": 2,
        "ask": "table",
        "threads": 1,
        "device": "cpu",
    }
    options |= {"save-minutes": 0.00001, "data": f"npz:{npz}", "out": out}
    given = [text for name, value in options.items() for text in (f"--{name}", value)]

    def begin():
        return fork_code(IMPATIENT, "train", *given)

    counts = []
    for kill in range(3):
        process = begin()
        deadline = time.monotonic() + 60
        while len(stores_of(out)) < 1 + kill // 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.4))
        process.kill()
        process.communicate()
        assert all(
            store.verify(one) == [] for one in stores_of(out) if not one.name.startswith(".")
        )
        counts.append(len(stores_of(out)))
    last = begin()
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    assert counts[0] > 0
    assert weights(out) == live
    assert all(store.verify(one) == [] for one in stores_of(out) if not one.name.startswith("."))


def test_top_k_trains_and_is_another_network(live, arrays, tmp_path):
    recipe = {**RECIPE, "objective": {"name": "ban", "top_k": 1}}
    by_table = train(arrays, tmp_path / "table", recipe=recipe, generations=1, ask="table")
    by_asking = train(arrays, tmp_path / "live", recipe=recipe, generations=1, ask="live")
    assert weights(by_table.family.path) == weights(by_asking.family.path)
    teacher, student = (spec.id for spec in by_table.lineage)
    assert teacher in live and student not in live
    assert by_table.scores[1].scores.error < 50


@pytest.mark.parametrize("top_k", [3, 4])
def test_top_k_of_all_classes_and_more_is_refused(arrays, tmp_path, top_k):
    recipe = {**RECIPE, "objective": {"name": "ban", "top_k": top_k}}
    with pytest.raises(
        AnewError, match=rf"top_k must be smaller than the number of classes, 3, got {top_k}; drop"
    ):
        train(arrays, tmp_path / "family", recipe=recipe)
    assert not (tmp_path / "family").exists()
