"""Perplexities: exact over a whole text, of networks and of ensembles, however it is read."""

import math
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from anew import AnewError
from anew.core import files
from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.recipe import Recipe
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, TrainingSpec
from anew.data.loading import load_data
from anew.data.windows import Windows
from anew.evaluation import language, metrics, read_outputs, statistics
from anew.evaluation.loading import load_network
from anew.models.network import Network, build_empty
from anew.training.lineage import train_lineage
from attack.forging import change_header, reseal
from commands import call
from texts import ptb, write

CPU = torch.device("cpu")


class Fixed(nn.Module):
    """Says the same of every token, whatever came before."""

    def __init__(self, log_p):
        super().__init__()
        self.register_buffer("log_p", log_p)

    def forward(self, tokens):
        return self.log_p.expand(*tokens.shape, -1)


def network(data, log_p):
    return Network(Fixed(log_p), ModelSpec("fixed"), data.signature)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load_data(DataSpec(source=write(tmp_path_factory.mktemp("text")), steps=5))


def test_equal_logits_have_the_perplexity_of_the_vocabulary(data):
    size = len(data.classes)
    said = language.read_through(network(data, torch.full((size,), 3.7)), data.test, CPU)
    assert said.scores().perplexity == pytest.approx(size, rel=1e-14)
    assert len(said.labels) == data.test.predictions


def test_frequencies_have_their_perplexity_by_hand(data):
    counts = np.bincount(data.training.text.numpy(), minlength=len(data.classes))
    frequencies = counts / counts.sum()
    wanted = math.exp(-np.log(frequencies[data.test.text.numpy()[1:]]).mean())
    found = language.word_frequencies(data.training.text, len(data.classes)).log().float()
    said = language.read_through(network(data, found), data.test, CPU)
    assert said.scores().perplexity == pytest.approx(wanted, rel=1e-6)


def test_the_unigram_perplexities_of_the_penn_treebank():
    treebank = load_data(DataSpec(source=ptb()))
    log_p = language.word_frequencies(treebank.training.text, 10_000).log()
    for split, perplexity in ((treebank.validation, 687.03), (treebank.test, 639.30)):
        found = language.perplexity(log_p[split.text[1:]])
        assert found == pytest.approx(perplexity, abs=0.005)


@pytest.mark.parametrize("name", ["lstm-2-8", "char_lstm-1-8", "transformer-2-32"])
def test_windows_of_any_length_say_the_same(data, name):
    model = build_empty(ModelSpec(name), data.signature)
    # Larger weights, so that what came before matters.
    for parameter in model.parameters():
        parameter.data *= 4
    whole = language.read_through(model, data.test, CPU, window=10_000)
    for window in (1, 7, 35):
        part = language.read_through(model, data.test, CPU, window=window)
        assert torch.allclose(part.log_p, whole.log_p, atol=2e-5)
        assert part.scores().perplexity == pytest.approx(whole.scores().perplexity, rel=1e-6)
    assert model.training is True


def test_the_scores_are_those_of_full_distributions(data):
    model = build_empty(ModelSpec("lstm-1-8"), data.signature)
    for parameter in model.parameters():
        parameter.data *= 20
    said = language.read_through(model, data.test, CPU)
    with torch.no_grad():
        logits, _ = model.eval()(data.test.text[None, :-1], model.start(1))
    log_p = logits[0].double().log_softmax(-1)
    wanted = metrics.scores(log_p, data.test.text[1:])
    found = said.scores()
    for name in ("error", "nll", "ece", "brier"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-5), name
    top = log_p.topk(min(language.KEPT_WORDS, log_p.shape[-1]), dim=-1)
    assert torch.equal(said.words[:, 0].long(), top.indices[:, 0])
    assert torch.allclose(said.word_log_p.double(), top.values, atol=0.01, rtol=1e-3)


def test_an_ensemble_is_the_mean_of_full_distributions_in_numpy(data):
    logs = []
    for seed in range(3):
        torch.manual_seed(seed)
        logs.append(torch.randn(40, 6, dtype=torch.float64).log_softmax(-1))
    labels = torch.arange(40) % 6
    own = [one.gather(-1, labels[:, None])[:, 0] for one in logs]
    mean = np.mean([np.exp(one.numpy()) for one in logs], axis=0)
    wanted = np.log(mean[np.arange(40), labels.numpy()])
    assert np.allclose(language.ensemble_log_p(own).numpy(), wanted, atol=1e-14)
    shares = np.average([np.exp(one.numpy()) for one in logs], axis=0, weights=[0.5, 0.3, 0.2])
    weighted = language.ensemble_log_p(own, (0.5, 0.3, 0.2)).numpy()
    assert np.allclose(weighted, np.log(shares[np.arange(40), labels.numpy()]), atol=1e-14)


def test_blocks_are_drawn_together():
    nll = np.arange(10.0)
    blocks = statistics.in_blocks({"nll": nll}, 4)
    assert blocks["nll"].tolist() == [6.0, 22.0, 17.0]
    assert blocks["size"].tolist() == [4.0, 4.0, 2.0]


def test_a_difference_of_neighbours_that_are_alike_is_less_sure():
    generator = np.random.default_rng(0)
    # Each value stands twenty times: no surer than a twentieth of the values is, but single tokens
    # would make it so.
    alike = 1 + np.repeat(generator.normal(0.0, 0.1, 100), 20)
    single = statistics.over_blocks(alike, np.zeros(2000), 1)
    together = statistics.over_blocks(alike, np.zeros(2000), 20)
    assert single.mean == pytest.approx(math.exp(alike.mean()) - 1)
    assert together.mean == pytest.approx(math.exp(alike.mean()) - 1)
    wide = (together.high - together.low) / (single.high - single.low)
    assert wide == pytest.approx(math.sqrt(20), rel=0.1)
    # exp is nearly straight over so little: the width of a mean's interval, times its slope.
    deviation = math.exp(alike.mean()) * alike[::20].std() / math.sqrt(100)
    assert together.high - together.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert statistics.over_blocks(alike + 1, alike, 20).p < 0.001
    assert statistics.over_blocks(alike, alike, 20).p == 1


def test_a_perplexity_has_its_interval(data):
    said = language.read_through(build_empty(ModelSpec("lstm-1-8"), data.signature), data.test, CPU)
    scores = said.scores()
    low, high = scores.perplexity_interval
    assert low < scores.perplexity < high


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    recipe = Recipe(
        model=ModelSpec("lstm-1-8"),
        objective=ObjectiveSpec("ban+l"),
        training=TrainingSpec(
            epochs=1, batch_size=4, momentum=0.0, nesterov=False, weight_decay=0.0
        ),
        generations=0,
    )
    out = tmp_path_factory.mktemp("trained") / "f"
    return train_lineage(recipe, data, out, Execution("cpu", 1), Callback())


def test_a_language_model_that_answers_otherwise_is_refused(trained, data):
    folder = trained.family.folder(trained.lineage[0].id)
    load_network(folder, data=data, learned=trained.lineage[0].data)
    text = data.validation.text.clone()
    text[1:] = text[1:].flip(0)
    other = Windows.of(text, 5)
    from dataclasses import replace

    with pytest.raises(AnewError, match="has other outputs than when it was trained"):
        load_network(folder, data=replace(data, validation=other), learned=trained.lineage[0].data)


def put(value=None, at=0):
    """Return what puts a number, or that of no word, at a place of a tensor."""

    def forge(tensor, vocabulary):
        tensor[at] = vocabulary if value is None else value
        return tensor

    return forge


FORGERIES = {
    "a token beyond the vocabulary": ("labels", put()),
    "a token below 0": ("labels", put(-1)),
    "NaN": ("last.log_p", put(math.nan)),
    "a probability above 1": ("last.log_p", put(1e-3)),
    "another type": ("last.log_p", lambda tensor, _: tensor.float()),
    "one token less": ("last.log_p", lambda tensor, _: tensor[1:].clone()),
    "likely words of one token less": ("last.words", lambda tensor, _: tensor[:-1].clone()),
    "words beyond the vocabulary": ("last.words", put(at=(1, 1))),
    "words of one axis": ("last.words", lambda tensor, _: tensor[:, 0].clone()),
    "no words": ("last.words", lambda tensor, _: tensor[:, :0].clone()),
    "fewer probabilities than words": (
        "last.word_log_p",
        lambda tensor, _: tensor[:, :2].clone(),
    ),
    "a likely word above 1": ("last.word_log_p", put(0.5)),
    "an answer beyond the vocabulary": ("last.predicted", put()),
    "a confidence above 1": ("last.confidence", put(1.5)),
    "a Brier score of NaN": ("last.brier", put(math.nan)),
    "a part that is missing": ("last.log_p", None),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_outputs_of_a_text_are_refused(trained, tmp_path, name):
    """Sealed with right hashes, as whoever may write into a family can."""
    family = tmp_path / "f"
    shutil.copytree(trained.family.path, family)
    path = family / "networks" / trained.lineage[0].id / "outputs.safetensors"
    tensors, header = files.read_tensors(path)
    part, forge = FORGERIES[name]
    forged = tensors.pop(f"test.{part}")
    if forge is not None:
        tensors[f"test.{part}"] = forge(forged, len(header["classes"]))
    files.write_tensors(path, tensors, header)
    reseal(path.parent)
    done = call("evaluate", family, "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1 and "restore it from a copy" in done.err
    # What validation says is whole.
    assert call("evaluate", family, "--split", "validation").code == 0


@pytest.mark.parametrize("classes", [None, ["a", "b"], 3, [1, 2]])
def test_a_forged_vocabulary_is_refused(trained, tmp_path, classes):
    family = tmp_path / "f"
    shutil.copytree(trained.family.path, family)
    path = family / "networks" / trained.lineage[0].id / "outputs.safetensors"
    change_header(path, lambda about: about.update(classes=classes))
    page = tmp_path / "page.html"
    for command in (("evaluate",), ("report", "-o", page)):
        done = call(command[0], family, *command[1:])
        assert done.code == 2, (command, done.out)
        assert done.err.count("\n") == 1 and "restore it from a copy" in done.err
    assert not page.exists()
    # Advice looks at no token.
    assert call("advise", family).code == (0 if classes == ["a", "b"] else 2)


def test_logits_of_a_language_model_are_not_stored(trained):
    folder = trained.family.folder(trained.lineage[0].id)
    with pytest.raises(AnewError, match="is a language model"):
        read_outputs(folder, "test")
