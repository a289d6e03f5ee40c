"""Networks that read a text: the state that travels with the batch, rates by validation, kills."""

import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from anew import AnewError
from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.recipe import Recipe, lineage_of
from anew.core.settings import read_settings
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, TrainingSpec
from anew.data import Batches
from anew.data.loading import load_data
from anew.evaluation import language
from anew.family import Family, NetworkFolder
from anew.models import saving
from anew.models.network import build
from anew.teachers import Encoding, teacher_parts
from anew.training import optim
from anew.training.lineage import train_lineage
from anew.training.trainer import Trainer
from forks import fork
from runs import StopsAfter, finish, kill_at_random, metrics, saved_steps, start, weights
from texts import write

TRAINING = {
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 5.0,
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "schedule": "plateau",
    "drop": 0.25,
    "clip_norm": 0.25,
}
RECIPE = Recipe(
    model=ModelSpec("lstm-2-8", (("dropout", 0.3),)),
    objective=ObjectiveSpec("ban+l"),
    training=TrainingSpec(**TRAINING),
    generations=1,
)
STEPS = 5


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("text"))


def train(source, out, recipe=RECIPE, ask="live", progress=None, **execution):
    data = load_data(DataSpec(source=source, steps=STEPS))
    run = Execution("cpu", 1, ask=ask, force=True, **execution)
    return train_lineage(recipe, data, out, run, progress or Callback())


@pytest.fixture(scope="module")
def live(source, tmp_path_factory):
    return train(source, tmp_path_factory.mktemp("live") / "f")


class Logs(StopsAfter):
    def __init__(self, steps=0):
        super().__init__(steps or 10**9)
        self.said = []

    def log(self, text):
        self.said.append(text)


def test_a_network_is_trained_as_a_plain_loop_would(source, tmp_path):
    """The loop of the textbooks, with nothing of anew's: streams, carried state, detach, clip."""
    recipe = replace(RECIPE, model=ModelSpec("lstm-1-8", (("dropout", 0.0),)), generations=0)
    trained = train(source, tmp_path / "f", recipe)
    folder = trained.family.folder(trained.lineage[0].id)
    found = saving.load(folder.weights).model.state_dict()

    data = load_data(DataSpec(source=source, steps=STEPS))
    model = build(trained.lineage[0], data.signature).model
    text, streams = data.training.text, 4
    length = len(text) // streams
    columns = text[: streams * length].view(streams, length)
    rates = [row["learning_rate"] for row in folder.read_metrics()]
    losses = []
    for rate in rates:
        hidden, cell = torch.zeros(1, 4, 8), torch.zeros(1, 4, 8)
        total, count = 0.0, 0
        for first in range(0, length - STEPS, STEPS):
            x, y = columns[:, first : first + STEPS], columns[:, first + 1 : first + STEPS + 1]
            outputs, (hidden, cell) = model.lstm.layers[0](model.embedding(x), (hidden, cell))
            hidden, cell = hidden.detach(), cell.detach()
            loss = F.cross_entropy(model.classifier(outputs).flatten(0, 1), y.flatten())
            model.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= rate * parameter.grad
            total, count = total + loss.item(), count + 1
        losses.append(total / count)
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, found[name], atol=1e-5), name
    assert [row["train_loss"] for row in folder.read_metrics()] == pytest.approx(losses, rel=1e-5)


def test_the_rows_have_perplexities_and_ensembles(live):
    assert [row.name for row in live.rows] == ["generation 0", "generation 1", "ensemble 0-1"]
    for row in live.rows:
        assert row.scores.perplexity == pytest.approx(math.exp(row.scores.nll))
    logs = [language.read_said(live.family.folder(spec.id), "test").log_p for spec in live.lineage]
    mean = torch.stack(logs).exp().mean(0).log()
    assert live.rows[2].scores.nll == pytest.approx(-mean.mean().item(), rel=1e-12)
    assert math.isnan(live.rows[2].scores.error)
    assert set(live.rows[2].scores.to_json()) == {
        "perplexity",
        "perplexity_interval",
        "nll",
        "examples",
    }


def test_live_and_table_teach_the_same_bits(live, source, tmp_path):
    table = train(source, tmp_path / "f", ask="table")
    assert weights(table.family.path) == weights(live.family.path)
    # A second student finds the table.
    logs = Logs()
    other = replace(RECIPE, objective=ObjectiveSpec("ban"))
    train(source, tmp_path / "f", other, ask="table", progress=logs)
    assert not any("filled by one pass" in line for line in logs.said)


def test_damaged_rows_of_a_table_are_asked_for_again(live, source, tmp_path):
    train(source, tmp_path / "f", replace(RECIPE, generations=1), ask="table")
    (rows,) = (tmp_path / "f").glob("teachers/*/*/rows.u16")
    content = bytearray(rows.read_bytes())
    content[len(content) // 2] ^= 0xFF
    rows.write_bytes(content)
    student = max(Family.open(tmp_path / "f").folders(), key=lambda one: one.done["generation"])
    for file in student.path.iterdir():
        file.unlink()
    logs = Logs()
    again = train(source, tmp_path / "f", ask="table", progress=logs)
    assert weights(again.family.path) == weights(live.family.path)
    assert any("are damaged" in line for line in logs.said)


@pytest.mark.parametrize("ask", ["live", "table"])
def test_a_stop_within_an_epoch_changes_no_bit(live, source, tmp_path, ask):
    stops = 0
    for steps in (3, 2, 9, 7, 5, 30, 4, 9, 100_000):
        try:
            train(source, tmp_path / "f", ask=ask, progress=Logs(steps))
        except AnewError as error:
            assert error.exit_code == 130
            stops += 1
    assert stops >= 6
    assert weights(tmp_path / "f") == weights(live.family.path)
    assert metrics(tmp_path / "f") == metrics(live.family.path)


def test_a_teacher_whose_state_was_not_saved_reads_the_epoch_again(live, source, tmp_path):
    out = tmp_path / "f"
    train(source, out, replace(RECIPE, generations=0))
    with pytest.raises(AnewError, match="stopped and saved at step 7"):
        train(source, out, ask="table", progress=Logs(7))
    logs = Logs()
    train(source, out, ask="live", progress=logs)
    assert any("reads the epoch again" in line for line in logs.said)
    assert weights(out) == weights(live.family.path)


OPTIONS = [
    "--model", "lstm-1-8", "--model.options", "dropout=0.3", "--data.steps", STEPS,
    "--batch-size", 4, "--epochs", 2, "--learning-rate", 5, "--generations", 1, "--force",
]  # fmt: skip


def fork_text(out, source, *options):
    words = ["--data", source, "--out", out, "--threads", 1, *options]
    return fork("train", *words)


@pytest.mark.parametrize("ask", ["live", "table"])
def test_kills_at_random_instants_change_no_bit(source, tmp_path, ask):
    """SIGKILL inside an epoch: a network of labels, and a student of a live teacher or a table."""
    options = [*OPTIONS, "--ask", ask]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = fork_text(whole, source, *options)
    process.communicate()
    assert process.returncode == 0
    kill_at_random(killed, source, 6, seed=len(ask), options=options, begin=fork_text)
    assert weights(killed) == weights(whole)
    assert metrics(killed) == metrics(whole)
    assert Family.open(killed).verify() == (2, [])


def test_siblings_have_states_of_their_own(live, source, tmp_path):
    together = replace(RECIPE, siblings=("ban", "kd"), sibling_seeds=(1,))
    family = train(source, tmp_path / "f", together).family.path
    assert weights(live.family.path).items() <= weights(family).items()
    assert len(weights(family)) == 2 + 3 * 2


@pytest.mark.parametrize("name", ["char_lstm-1-8", "transformer-1-8"])
def test_other_models_stop_and_go_on_to_the_same_bits(source, tmp_path, name):
    options = {"char_lstm-1-8": (("filters", 2),), "transformer-1-8": (("context", 4),)}[name]
    recipe = replace(RECIPE, model=ModelSpec(name, options))
    whole = train(source, tmp_path / "whole", recipe).family.path
    with pytest.raises(AnewError, match="stopped"):
        train(source, tmp_path / "f", recipe, progress=Logs(4))
    train(source, tmp_path / "f", recipe)
    assert weights(tmp_path / "f") == weights(whole)


def test_bfloat16_trains(source, tmp_path):
    training = replace(RECIPE.training, precision="bfloat16")
    rows = train(source, tmp_path / "f", replace(RECIPE, training=training)).rows
    assert all(math.isfinite(row.scores.nll) for row in rows)


PERPLEXITIES = [100.0, 90.0, 91.0, 89.8, 89.5, 89.5, 80.0]


@pytest.mark.parametrize(
    ("schedule", "failed"),
    [
        # Not below the least so far: 91 after 90, and 89.5 again.
        ("plateau", [0, 0, 0, 1, 1, 1, 2, 2]),
        # Not by 0.5 below the epoch before: 91, then 89.5 after 89.8, then 89.5 again.
        ("stall", [0, 0, 0, 1, 1, 2, 3, 3]),
    ],
)
def test_the_rate_after_each_of_a_list_of_perplexities(schedule, failed):
    training = replace(RECIPE.training, schedule=schedule, drop=0.5, learning_rate=8.0)
    for epoch, failures in enumerate(failed):
        rate = optim.learning_rate(training, epoch, 10, PERPLEXITIES[:epoch])
        assert rate == 8.0 * 0.5**failures


def test_a_resumed_run_has_the_rates_of_one_that_was_not_stopped(source, tmp_path):
    training = replace(RECIPE.training, schedule="stall", least_gain=3.0, epochs=5)
    recipe = replace(RECIPE, generations=0, training=training)
    whole = train(source, tmp_path / "whole", recipe).family.path
    rates = {row["learning_rate"] for rows in metrics(whole).values() for row in rows}
    assert len(rates) > 1
    for steps in (50, 30):
        with pytest.raises(AnewError, match="stopped"):
            train(source, tmp_path / "f", recipe, progress=Logs(steps))
        # The file of metrics may be ahead of what was saved, or gone.
        for folder in Family.open(tmp_path / "f").folders():
            (folder.path / "metrics.jsonl").unlink(missing_ok=True)
    assert saved_steps(tmp_path / "f")
    train(source, tmp_path / "f", recipe)
    assert metrics(tmp_path / "f") == metrics(whole)
    assert weights(tmp_path / "f") == weights(whole)


def test_a_schedule_by_validation_needs_a_validation_text(source, tmp_path):
    folder = tmp_path / "text"
    write(folder)
    (folder / "valid.txt").unlink()
    with pytest.raises(AnewError, match="'plateau' follows the validation perplexity"):
        train(f"text:{folder}", tmp_path / "f")


def test_the_best_epoch_is_that_of_the_least_perplexity(source, tmp_path):
    training = replace(RECIPE.training, best_epoch=True, epochs=4, learning_rate=200.0)
    trained = train(source, tmp_path / "f", replace(RECIPE, generations=0, training=training))
    folder = trained.family.folder(trained.lineage[0].id)
    rows = folder.read_metrics()
    best = min(rows, key=lambda row: row["validation_nll"])
    assert folder.done["best_epoch"]["epoch"] == best["epoch"]
    said = language.read_said(folder, "validation", "best")
    assert -said.log_p.mean().item() == pytest.approx(best["validation_nll"], rel=1e-9)
    assert trained.rows[0].best is not None


def test_a_weight_is_one_tensor_on_the_disk_if_it_is_tied(live):
    folder = live.family.folder(live.lineage[0].id)
    held = safetensors.torch.load_file(folder.weights)
    assert "embedding.weight" in held
    assert "classifier.weight" not in held
    network = saving.load(folder.weights)
    assert network.model.classifier.weight is network.model.embedding.weight
    assert torch.equal(network.model.classifier.weight, held["embedding.weight"])
    about = {"id": folder.id, "generation": 0}
    assert network.saved_bytes(about) == folder.weights.stat().st_size


def test_a_tied_weight_moves_by_both_its_gradients_once(source, tmp_path):
    """Without momentum a step is w - rate (dL/dw as an embedding + dL/dw as a classifier)."""
    training = replace(
        RECIPE.training, epochs=1, batch_size=30, clip_norm=None, schedule="constant"
    )
    model = ModelSpec("lstm-1-8", (("dropout", 0.0),))
    recipe = replace(RECIPE, model=model, generations=0, training=training)
    data = load_data(DataSpec(source=source, steps=10))
    batches = list(Batches(data, 30, torch.device("cpu")).epoch(0))
    assert len(batches) == 1
    (batch,) = batches
    trained = train_lineage(recipe, data, tmp_path / "f", Execution("cpu", 1), Callback())
    found = saving.load(trained.family.folder(trained.lineage[0].id).weights).model

    before = build(trained.lineage[0], data.signature).model
    embedding = before.embedding.weight.detach().clone().requires_grad_()
    classifier = before.embedding.weight.detach().clone().requires_grad_()
    outputs, _ = before.lstm(F.embedding(batch.inputs, embedding), before.start(30))
    logits = F.linear(outputs, classifier, before.classifier.bias)
    F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten()).backward()
    wanted = embedding.detach() - 5.0 * (embedding.grad + classifier.grad)
    assert torch.allclose(found.embedding.weight, wanted, atol=1e-6)
    assert len(list(found.parameters())) == 6


def test_no_gradient_leaves_a_window(source, tmp_path):
    """d loss(window 2) / d state leaving window 1 is none: what a step leaves has no graph."""
    data = load_data(DataSpec(source=source, steps=STEPS))
    (spec,) = lineage_of(replace(RECIPE, generations=0), data.spec)
    batches = Batches(data, 4, torch.device("cpu"))
    learner = Trainer(spec, NetworkFolder(tmp_path / spec.id), data, batches)
    for batch in itertools.islice(batches.epoch(0), 3):
        learner.train_step(batch, None)
        assert len(learner._state) == 4 and bool(learner._state[0].any())
        assert all(one.grad_fn is None and not one.requires_grad for one in learner._state)


def test_a_teacher_no_better_than_frequencies_is_refused(tmp_path):
    training = replace(RECIPE.training, learning_rate=1e-6)
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text("ant ant ant ant bee ant cat\n" * 12)
    data = load_data(DataSpec(source=f"text:{tmp_path}", steps=STEPS))
    recipe = replace(RECIPE, training=training)
    with pytest.raises(AnewError, match="that of the words' frequencies alone is"):
        train_lineage(recipe, data, tmp_path / "f", Execution("cpu", 1), Callback())


def test_top_k_of_all_but_one_is_the_whole_answer():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, 9, generator=generator)
    encoding = Encoding(9, 8, torch.full((9,), 1 / 9, dtype=torch.float64))
    decoded = encoding.decode(encoding.encode(logits)).softmax(-1)
    assert (decoded - logits.softmax(-1)).abs().max() < 2e-3


def test_the_rest_is_spread_as_frequencies():
    frequencies = torch.tensor([0.5, 0.2, 0.2, 0.05, 0.05], dtype=torch.float64)
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.1, 0.1, 0.1]]))
    encoding = Encoding(5, 1, frequencies)
    found = encoding.decode(encoding.encode(logits)).softmax(-1)[0].double()
    others = torch.tensor([0.5, 0, 0.2, 0.05, 0.05], dtype=torch.float64)
    wanted = 0.4 * others / others.sum()
    wanted[1] = 0.6
    assert torch.allclose(found, wanted, atol=1e-3)


def test_a_student_of_top_k_says_what_lies_beyond(source, tmp_path):
    logs = Logs()
    objective = ObjectiveSpec("ban+l", top_k=3, rest="frequencies")
    train(source, tmp_path / "f", replace(RECIPE, objective=objective), progress=logs)
    (said,) = [line for line in logs.said if line.startswith("top 3 of")]
    assert "of the teacher's probability is outside them" in said
    assert "as the training tokens are" in said


def test_a_text_has_its_own_defaults():
    plain, _ = read_settings(None, {})
    text, _ = read_settings(None, {"data": {"source": "text:"}})
    assert plain == Recipe()
    assert (text.model.name, text.objective.name) == ("lstm-1-200", "ban+l")
    assert (text.training.momentum, text.training.weight_decay) == (0.0, 0.0)
    assert text.training.learning_rate == 35
    given = {"data": {"source": "text:"}, "objective": "ban", "training": {"momentum": 0.5}}
    own, _ = read_settings(None, given)
    assert (own.objective.name, own.training.momentum) == ("ban", 0.5)
    adam = {"data": {"source": "text"}, "model": "transformer-2-64"}
    assert read_settings(None, adam)[0].training.optimizer == "adamw"


def test_new_fields_leave_old_ids():
    identity = replace(RECIPE, model=ModelSpec("x")).training
    from anew.core import fields

    assert "least_gain" not in fields.write(identity, identity=True)
    assert not {"steps", "tokens", "vocabulary"} & fields.write(DataSpec(), identity=True).keys()
    assert "rest" not in fields.write(ObjectiveSpec(), identity=True)


def test_a_teacher_reads_each_stream_from_its_start_to_its_end(live):
    data = load_data(live.lineage[0].data)
    network = saving.load(live.family.folder(live.lineage[0].id).weights)
    batches = Batches(data, 4, torch.device("cpu"))
    teacher = teacher_parts([network.train()], live.lineage[1], batches).teacher()
    teacher.begin(batches)
    for epoch in (0, 1):
        answers = [outputs.logits for _, outputs in teacher.teach(batches.epoch(epoch))]
        found = torch.cat(answers, dim=1).log_softmax(-1)
        length = len(data.training.text) // 4
        streams = data.training.text[: 4 * length].view(4, length)[:, : found.shape[1]]
        with torch.no_grad():
            logits, _ = network.eval()(streams, network.start(4))
        assert torch.allclose(found, logits.log_softmax(-1), atol=2e-3)


@pytest.mark.slow
def test_two_processes_have_parts_of_the_streams(source, tmp_path):
    """Each has its part of every batch's streams with their states, also after kills."""
    # A small rate and no dropout, whose random numbers each process draws for itself.
    options = [*OPTIONS, "--ask", "live"]
    options[options.index("dropout=0.3")] = "dropout=0"
    options[options.index("--learning-rate") + 1] = 1
    one, two = tmp_path / "one", tmp_path / "two"
    finish(start(one, source, *options))
    finish(start(two, source, *options, processes=2))
    for folder in Family.open(one).folders():
        ours = saving.load(folder.weights).model.state_dict()
        theirs = saving.load(two / "networks" / folder.id / folder.weights.name).model.state_dict()
        for name, tensor in ours.items():
            assert torch.allclose(tensor, theirs[name], atol=1e-5), name

    begin = partial(start, processes=2)
    kill_at_random(tmp_path / "killed", source, 3, seed=1, options=options, begin=begin)
    assert weights(tmp_path / "killed") == weights(two)


@pytest.mark.slow
def test_a_compiled_network_reads_a_text(source, process, tmp_path):
    """In a process of its own: the run-time check of types in this one cannot be compiled."""
    options = [*OPTIONS, "--threads", 1]
    options[options.index("dropout=0.3")] = "dropout=0"
    options[options.index("--learning-rate") + 1] = 1
    losses = []
    for name, more in (("plain", ()), ("compiled", ("--compile",))):
        process("train", "--data", source, "--out", name, *options, *more, check=0)
        rows = metrics(tmp_path / name).values()
        losses.append(sorted(row["train_loss"] for epochs in rows for row in epochs))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_the_end_of_a_training_says_what_it_came_to(source, command, tmp_path):
    out = tmp_path / "f"
    said = command("train", "--data", source, "--out", out, *OPTIONS, check=0)
    assert "test perplexity" in said.out
    assert "next: anew sample" in said.out
    assert "next: anew insight" not in said.out
