"""The report of language models: where a generation gains, and that the page says so."""

import json

import numpy as np
import pytest
import torch

from anew.evaluation import statistics
from anew.evaluation.language import Said
from anew.report import text
from commands import call
from texts import write

VOCABULARY = tuple(f"w{number}" if number else "<eos>" for number in range(120))


def said(log_p, labels, words):
    count = len(labels)
    return Said(
        labels,
        torch.tensor(log_p, dtype=torch.float64),
        words[:, 0].to(torch.int32),
        torch.full((count,), 0.5),
        torch.full((count,), 0.5),
        words.to(torch.int32),
        torch.log(torch.tensor([0.5, 0.3, 0.1])).expand(count, 3).half(),
    )


@pytest.fixture(scope="module")
def two():
    generator = np.random.default_rng(0)
    labels = torch.from_numpy(generator.integers(1, 120, 200))
    labels[9::10] = 0
    words = torch.stack([labels, (labels + 1) % 120, (labels + 2) % 120], dim=1)
    logs = -generator.random((2, 200)) * 3
    return [said(log_p, labels, words) for log_p in logs], labels.numpy(), logs


def test_gains_by_frequency_are_means_by_hand(two):
    networks, labels, logs = two
    groups = text.part_of(networks, VOCABULARY).groups
    assert [group.name for group in groups] == [
        "words 1 to 10 by frequency",
        "words 11 to 100 by frequency",
        "words 101 to 120 by frequency",
    ]
    for group, (first, end) in zip(groups, ((0, 10), (10, 100), (100, 120)), strict=True):
        inside = (labels >= first) & (labels < end)
        assert group.share == pytest.approx(inside.mean())
        assert group.gains == pytest.approx([(logs[1] - logs[0])[inside].mean()])


def test_sentences_are_those_of_the_largest_differences(two):
    networks, labels, logs = two
    part = text.part_of(networks, VOCABULARY)
    totals = (logs[1] - logs[0]).reshape(20, 10).sum(1)
    order = np.argsort(-totals)
    assert [one.line - 1 for one in part.gained] == order[:3].tolist()
    assert [one.line - 1 for one in part.lost] == order[::-1][:3].tolist()
    best = part.gained[0]
    assert best.gain == pytest.approx(totals[order[0]])
    place = 10 * order[0] + np.argmax((logs[1] - logs[0])[10 * order[0] : 10 * order[0] + 10])
    assert best.word == VOCABULARY[labels[place]]
    assert [guess.of_token for guess in best.guesses] == pytest.approx(np.exp(logs[:, place]))
    assert best.guesses[0].words[0][0] == best.word
    shown = f"{best.before} {best.word} {best.after}".split()
    assert shown == [VOCABULARY[one] for one in labels[10 * order[0] : 10 * order[0] + 10]]


def test_the_answer_is_of_perplexities(two):
    networks, _, logs = two
    logs = [one.log_p for one in networks]
    answer = text.answer([logs], "which learned from the labels", [(1,), (0, 1)])
    wanted = statistics.over_blocks(-logs[1].numpy(), -logs[0].numpy(), 35)
    assert answer.comparisons[0].difference == wanted
    assert f"{float(np.exp(-logs[0].numpy().mean())):.2f}" in answer.sentence
    assert answer.sentence.startswith("The ensemble of generations 0 and 1 has a test perplexity ")
    assert "lower than generation 0 (5.00), which learned from the labels. " in answer.sentence
    several = text.answer([logs, logs[::-1]], "which", [(1,), (0, 1)])
    assert "2 seeds. " in several.basis and "paired by seed" in several.basis
    alone = text.answer([logs[:1]], "which", [])
    assert "no finished student" in alone.sentence


def test_the_page_and_its_json_show_them(tmp_path):
    source = write(tmp_path / "text")
    options = ["--model", "lstm-1-8", "--data.steps", 5, "--batch-size", 4, "--epochs", 2]
    family = tmp_path / "f"
    done = call("train", "--data", source, "--out", family, "--generations", 1, "--force", *options)
    assert done.code == 0, done.err
    assert call("report", family).code == 0
    page = (family / "reports" / "report.html").read_text()
    for words in (
        "Where a generation gains",
        "test perplexity",
        "Validation perplexity over training",
        "Sentences on which the last generation",
        "words 1 to 10 by frequency",
    ):
        assert words in page
    assert 'id="gallery"' not in page
    assert "Test error" not in page
    written = json.loads(call("report", family, "--format", "json").out)
    assert written["text"]["groups"][0]["gains"]
    assert written["networks"][0]["perplexity"] > 1
