"""A toy language model from data to scores: one answer at each position of an example."""

import json
from dataclasses import replace

import pytest
import torch.nn.functional as F
from safetensors import safe_open

import language
from anew import AnewError
from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.recipe import Recipe
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, TrainingSpec
from anew.data import prepare
from anew.evaluation import read_outputs
from anew.models import saving
from anew.training.lineage import train_lineage
from runs import StopsAfter, metrics, weights

MODEL = ModelSpec("language:Model")
RECIPE = Recipe(
    model=MODEL,
    objective=ObjectiveSpec("ban+l"),
    training=TrainingSpec(epochs=3, batch_size=16, learning_rate=0.5),
    generations=2,
    siblings=("cwtm", "dkpp", "kd"),
)
VOCABULARY = len(language.WORDS)


def train(out, ask, recipe=RECIPE, progress=None):
    data = prepare(language.source(), DataSpec())
    execution = Execution("cpu", 1, ask=ask, force=True)
    return train_lineage(recipe, data, out, execution, progress or Callback())


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    return train(tmp_path_factory.mktemp("tokens") / "f", "live")


def test_the_file_of_a_network_says_what_it_takes(live):
    path = live.family.folder(live.lineage[0].id).weights
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["anew"])
    assert header["kind"] == "tokens"
    assert header["positions"] == [language.LENGTH]
    network = saving.load(path, [MODEL.name])
    assert network.signature == prepare(language.source(), DataSpec()).signature


def test_siblings_are_trained_and_the_language_is_learned(live):
    assert len(weights(live.family.path)) == 3 + 2 * 3
    for row in live.rows:
        assert row.scores.error < 60, row.name  # chance is above 80


def test_the_scores_count_every_position(live):
    logits, labels = read_outputs(live.family.folder(live.lineage[1].id), "test")
    assert logits.shape == (*labels.shape, VOCABULARY)
    assert labels.shape[1:] == (language.LENGTH,)
    wrong = (logits.argmax(-1) != labels).sum().item()
    scores = live.rows[1].scores
    assert scores.examples == labels.numel()
    assert scores.error == pytest.approx(100 * wrong / labels.numel())
    nll = F.cross_entropy(logits.double().flatten(0, 1), labels.flatten())
    assert scores.nll == pytest.approx(nll.item())


def test_the_training_error_counts_every_position(live):
    for row in live.family.folder(live.lineage[0].id).read_metrics():
        assert 0 <= row["train_error"] <= 100


def test_a_table_gives_the_bits_of_a_teacher_asked_live(live, tmp_path):
    table = train(tmp_path / "f", "table")
    assert list(table.family.stores.iterdir())
    assert weights(table.family.path) == weights(live.family.path)
    assert metrics(table.family.path) == metrics(live.family.path)


@pytest.mark.parametrize("ask", ["live", "table"])
def test_interrupted_and_resumed_it_ends_with_the_same_bits(live, tmp_path, ask):
    for steps in (1, 3, 2, 9, 5, 7, 12, 4, 1000):
        try:
            train(tmp_path / "f", ask, progress=StopsAfter(steps))
        except AnewError as error:
            assert "stopped and saved at step" in str(error)
    assert weights(tmp_path / "f") == weights(live.family.path)
    assert metrics(tmp_path / "f") == metrics(live.family.path)


def test_the_largest_answers_at_each_position_are_enough_for_a_student(live, tmp_path):
    recipe = replace(
        RECIPE, objective=ObjectiveSpec("ban+l", top_k=2), generations=1, siblings=("kd",)
    )
    asked = train(tmp_path / "live", "live", recipe)
    stored = train(tmp_path / "table", "table", recipe)
    assert weights(asked.family.path) == weights(stored.family.path)
    assert len(weights(asked.family.path)) == 3
    teacher, student = (spec.id for spec in asked.lineage)
    assert weights(asked.family.path)[teacher] == weights(live.family.path)[teacher]
    assert student not in weights(live.family.path)


def test_a_shuffled_teacher_of_several_answers_is_refused(live, tmp_path):
    recipe = replace(RECIPE, objective=ObjectiveSpec("ban", shuffled=True), siblings=())
    with pytest.raises(AnewError, match="labels each"):
        train(tmp_path / "f", "live", recipe)
