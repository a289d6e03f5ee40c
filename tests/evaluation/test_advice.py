"""`anew advise`: what is said of which run; the page holds the evidence of each sentence."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import anew
from anew.evaluation import advice, read_outputs
from anew.evaluation.advice import FITS, Agreement, Facts, Rising, advise, rising, still_falling
from anew.family import Family
from commands import call
from runs import train
from texts import write

PLAIN = Facts(classes=10, examples=50_000, train_error=12.0, ece=1.0)
CASES = {
    "falling": replace(PLAIN, falling=(1.0, 1.2)),
    "rising": replace(PLAIN, rising=Rising(9, 40, 2.08, 3.93)),
    "fits": replace(PLAIN, train_error=0.3),
    "overconfident": replace(PLAIN, ece=9.0),
    "noise": replace(PLAIN, agreement=Agreement(2, 30.0, 11.0)),
    "few": replace(PLAIN, examples=1000),
    "many": replace(PLAIN, classes=100),
}
TEXT = Facts(10_000, 1000, perplexities=(90.0, 100.0))
TEXTS = {
    "falling": (replace(TEXT, falling=(4.6, 4.7)), "109.9 to 99.5"),
    "under-fitted": (replace(TEXT, perplexities=(110.0, 100.0)), "does not fit its text"),
    "rising": (
        replace(TEXT, perplexities=(50.0, 55.0), rising=Rising(9, 40, 4.0, 4.5)),
        "54.6, and 90.0 at the end). Keep that epoch",
    ),
    "rate": (replace(TEXT, rising=Rising(9, 40, 4.0, 4.5)), "Lower --learning-rate"),
    "fits": (
        replace(TEXT, perplexities=(40.0, 100.0)),
        "is 40.0 and the validation perplexity 100.0",
    ),
}


def sections():
    page = Path(__file__).parents[2] / "docs" / "when-it-helps.md"
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("name", CASES)
def test_each_case_has_its_sentence_with_evidence_in_the_page(name):
    assert advise(PLAIN) == []
    (found,) = advise(CASES[name])
    assert found.section in sections() and (found.also or found.section) in sections()
    said = found.in_words()
    assert said.startswith(f"{found.reason}. {found.text[0].upper()}") and said.endswith(").")


def test_of_few_labels_nothing_is_said_to_a_network_that_fits_them():
    (found,) = advise(replace(CASES["few"], train_error=0.3))
    assert found.section == "ensembles"


@pytest.mark.parametrize("name", TEXTS)
def test_each_case_of_a_text_has_its_sentence_too(name):
    assert advise(TEXT) == []
    facts, words = TEXTS[name]
    (found,) = advise(facts)
    assert words in found.in_words()
    assert found.section in sections()


def test_of_a_text_the_perplexity_falls_or_rises():
    rows = [{"epoch": epoch, "validation_nll": 4.6 - 0.03 * epoch} for epoch in range(1, 4)]
    # 0.03 nats are 3 % of the perplexity, and less than 1 % of the NLL.
    assert still_falling(rows) is None
    assert still_falling(rows, is_text=True) == (pytest.approx(4.51), pytest.approx(4.54))
    risen = [{"epoch": 1, "validation_nll": 4.5}, {"epoch": 2, "validation_nll": 4.6}]
    assert rising(risen) is None
    assert rising(risen, is_text=True) == Rising(1, 2, 4.5, 4.6)
    assert rising([*risen[:1], {"epoch": 2, "validation_nll": 4.59}], is_text=True) is None


def test_a_language_model_is_advised_by_its_perplexities(tmp_path):
    out = tmp_path / "f"
    done = call(
        *("train", "--data", write(tmp_path), "--out", out, "--model", "lstm-1-8", "--epochs", 2),
        *("--generations", 0, "--batch-size", 4, "--data.steps", 5, "--threads", 1),
        *("--learning-rate", 2),
    )
    assert done.code == 0, done.err
    (folder,) = Family.open(out).folders()
    last = json.loads((folder.path / "metrics.jsonl").read_text().splitlines()[-1])
    found = json.loads(call("advise", out, "--json").out)
    wanted = [math.exp(last["train_loss"]), math.exp(last["validation_nll"])]
    assert found["facts"]["perplexities"] == pytest.approx(wanted)
    assert found["facts"]["classes"] == 11
    assert found["advice"][0]["reason"].startswith("The validation perplexity was still falling")
    assert "The validation perplexity was still falling" in " ".join(done.err.split())
    refused = call("advise", f"text:{tmp_path / 'train.txt'}")
    assert (
        refused.code == 2
        and refused.err.count("\n") == 1
        and "needs a trained network" in refused.err
    )


def test_networks_must_contradict_the_labels_twice_as_often_as_each_other():
    # Measured: 20 and 40 % planted in digits; clean digits, and clean CIFAR-10.
    assert Agreement(3, 30.4, 11.1).shows_noise
    assert Agreement(3, 56.0, 26.1).shows_noise
    assert not Agreement(3, 1.7, 1.2).shows_noise
    assert not Agreement(3, 42.1, 32.5).shows_noise
    assert not Agreement(2, 4.9, 0.1).shows_noise


def test_planted_wrong_labels_are_seen_by_networks_that_fit_them(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 440)
    inputs = (rng.normal(size=(4, 64))[labels] + 0.8 * rng.normal(size=(440, 64))).astype("f4")
    noisy = np.where(rng.random(440) < 0.3, (labels + rng.integers(1, 4, 440)) % 4, labels)
    recipe = {
        "training": {"epochs": 20, "batch_size": 29, "learning_rate": 0.1, "weight_decay": 0.0},
        "data": {"validation": 0.25, "test": 0.05},
        "model": {"name": "mlp", "options": {"hidden": 256}},
    }
    given = {"recipe": recipe, "generations": 0, "threads": 1, "progress": False}
    for seed in (0, 1):
        result = anew.train("mlp", (inputs, noisy), out=tmp_path / "f", seed=seed, **given)
        lone = advice.facts_of(result.family, result.lineage[0])
        assert (lone.agreement is None) == (seed == 0)

    outputs = [
        read_outputs(result.family.folder(folder.id), "validation")
        for folder in result.family.folders()
    ]
    answers = [logits.argmax(-1).numpy() for logits, _ in outputs]
    wrong = [(one != outputs[0][1].numpy()).mean() for one in answers]
    assert lone.train_error <= 2
    assert lone.agreement.error == pytest.approx(100 * np.mean(wrong))
    assert lone.agreement.disagreement == pytest.approx(100 * (answers[0] != answers[1]).mean())
    assert lone.agreement.networks == 2


def test_at_most_three_are_said_the_most_important_first():
    everything = Facts(100, 1000, (1.0, 1.2), 0.0, Rising(3, 9, 1.0, 2.0), 20.0)
    found = advise(everything)
    assert len(found) == 3
    assert [one.section for one in found][:2] == ["under-trained-teachers", "wrong-labels"]


def test_a_loss_that_falls_or_rises_is_seen():
    def rows(losses):
        return [
            {"epoch": epoch, "validation_nll": loss} for epoch, loss in enumerate(losses, start=1)
        ]

    assert still_falling(rows([3.0, 2.0, 1.0])) == (1.0, 2.0)
    assert still_falling(rows([3.0, 1.0, 0.99])) is None
    assert still_falling(rows([None, 2.0])) is None and rising(rows([None])) is None
    assert rising(rows([3.0, 1.0, 1.05])) is None
    assert rising(rows([3.0, 1.0, None, 1.5])) == Rising(2, 4, 1.0, 1.5)


def test_the_command_reads_a_family_and_a_source(arrays, tmp_path):
    train(arrays, tmp_path / "f", generations=1)
    done = call("advise", tmp_path / "f", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    # 172 examples to train on, in 10 whole batches of 16.
    assert (told["facts"]["classes"], told["facts"]["examples"]) == (3, 160)
    fits = told["facts"]["train_error"] <= FITS
    assert ("few-labels" in [one["section"] for one in told["advice"]]) != fits

    done = call("advise", f"npz:{saved(tmp_path, arrays)}")
    assert done.code == 0 and "docs/when-it-helps.md#few-labels" in " ".join(done.out.split())
    wrong = call("advise", tmp_path / "none")
    assert wrong.code == 2 and wrong.err.count("\n") == 1


def saved(folder, arrays):
    path = folder / "some.npz"
    np.savez(path, x=arrays[0], y=arrays[1])
    return path


def test_training_ends_with_what_would_help(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (8, 8), 20 * number).save(tmp_path / "p" / name / f"{number}.png")
    done = call(
        *("train", "--data", f"folder:{tmp_path / 'p'}", "--out", tmp_path / "f", "--epochs", 1),
        *("--generations", 0, "--batch-size", 4, "--threads", 1, "--model", "mlp"),
    )
    assert done.code == 0, done.err
    assert "labelled examples for each class" in " ".join(done.err.split())
