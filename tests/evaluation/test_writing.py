"""Next words and samples of language models, and the commands that show them."""

import json

import pytest
import torch

from anew import AnewError
from anew.core.spec import DataSpec, ModelSpec
from anew.data.loading import load_data
from anew.evaluation.writing import Writers
from anew.models.network import build_empty
from texts import write

TRAIN = ("--model", "lstm-1-8", "--data.steps", 5, "--batch-size", 4, "--epochs", 2, "--force")


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    from commands import call

    place = tmp_path_factory.mktemp("writing")
    source = write(place / "text")
    done = call(
        "train", "--data", source, "--out", place / "f", "--generations", 1, "--threads", 1, *TRAIN
    )
    assert done.code == 0, done.err
    return place / "f"


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    data = load_data(DataSpec(source=write(tmp_path_factory.mktemp("t")), steps=5))
    networks = []
    for name in ("lstm-1-8", "transformer-1-8"):
        network = build_empty(ModelSpec(name), data.signature)
        for parameter in network.parameters():
            parameter.data *= 5
        networks.append(network)
    return networks


def test_next_words_are_the_mean_of_the_networks_probabilities(networks):
    writers = Writers(networks)
    found = dict(writers.after("ant cat").ranked)
    ids = torch.tensor([writers.tokens("ant cat")])
    assert writers.vocabulary[ids[0, 0]] == "<eos>"
    with torch.no_grad():
        shares = [network.eval()(ids)[0, -1].softmax(-1) for network in networks]
    wanted = torch.stack(shares).mean(0)
    for number, word in enumerate(writers.vocabulary):
        assert found[word] == pytest.approx(wanted[number].item(), rel=1e-5)
    assert sum(found.values()) == pytest.approx(1)


def test_samples_depend_on_seed_and_state_alone(networks):
    writers = Writers(networks)
    one, again, other = (writers.sample("ant", 40, seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    # Cold, the likeliest word is written always: as reading from the start each time says.
    text, written = "ant", []
    for _ in range(5):
        word = writers.after(" ".join([text, *written])).ranked[0][0]
        if word == "<eos>":
            break
        written.append(word)
    assert writers.sample(text, len(written), 0, temperature=1e-6).split() == written


def test_samples_are_drawn_by_their_probabilities(networks):
    writers = Writers(networks[:1])
    shares = dict(writers.after("ant").ranked)
    drawn = [writers.sample("ant", 1, seed).strip() or "<eos>" for seed in range(400)]
    likeliest = max(shares, key=shares.get)
    share = drawn.count(likeliest) / len(drawn)
    assert share == pytest.approx(shares[likeliest], abs=3 * (shares[likeliest] / 400) ** 0.5)


def test_a_word_that_is_not_known_needs_a_token(networks):
    with pytest.raises(AnewError, match="'zebra' is not in the vocabulary"):
        Writers(networks).after("zebra")


def test_the_commands_print_next_words_and_samples(family, command):
    assert "next word" in command("predict", family, "--text", "ant", check=0).out
    written = command("predict", family, "--text", "ant", "--format", "json", "--top", 2, check=0)
    said = json.loads(written.out)
    assert said["text"] == "ant"
    assert len(said["next"]) == 2
    sampled = command("sample", family, "--words", 20, "--generations", "all", check=0).out
    assert sampled == command("sample", family, "--words", 20, "--generations", "all").out
    assert 1 <= len(sampled.split()) <= 20


def test_show_and_evaluate_say_perplexity_first(family, command):
    shown = command("show", family, check=0).out
    assert "test perplexity" in shown
    assert "validation perplexity (digits mark" in shown
    table = command("evaluate", family, check=0).out
    assert table.index("perplexity") < table.index("error %")
    (entry,) = json.loads(command("evaluate", family, "--json", check=0).out)
    assert next(key for key in entry["rows"][0] if key not in ("name", "generations", "ids")) in (
        "objective",
        "perplexity",
    )
    assert entry["rows"][2]["perplexity"] > 1
    assert "error" not in entry["rows"][2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", "FAMILY", "--text", "zebra"), "is not in the vocabulary"),
        (("predict", "FAMILY"), "give --text"),
        (("predict", "FAMILY", "x.png", "--text", "ant"), "drop them, or drop --text"),
        (("sample", "FAMILY", "--words", "0"), "words must be"),
        (("sample", "FAMILY", "--temperature", "0"), "temperature must be"),
        (("evaluate", "FAMILY", "--calibrate"), "is a language model"),
        (("insight", "FAMILY"), "is a language model"),
        (("export", "FAMILY", "--out", "x.pt2"), "has a state"),
    ],
)
def test_what_does_not_fit_is_refused(family, refused, words, message):
    said = refused(*(family if word == "FAMILY" else word for word in words))
    assert message in said


def test_pictures_are_not_continued(refused, npz, tmp_path):
    from commands import call
    from conftest import quick

    options = [*quick(epochs=1, generations=0), "--threads", 1]
    assert call("train", "--data", f"npz:{npz}", "--out", tmp_path / "p", *options).code == 0
    assert "not text; give picture files" in refused("predict", tmp_path / "p", "--text", "a")
    assert "not text; give picture files" in refused("sample", tmp_path / "p")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "text:", "--model", "small_cnn"), "choose --model lstm-1-200"),
        (("--data", "digits", "--model", "lstm-1-8"), "takes text, but the inputs are 1x8x8"),
        (("--data", "text:", "--batch-size", "5000"), "fewer than one window of 35"),
        (("--data", "text:", "--views", "flip"), "data.views: is for pictures"),
        (("--data", "text:", "--objective.shuffled"), "needs one predicted class"),
        (("--data", "text:", "--soft-labels", "x.npy"), "soft"),
        (("--data", "text:nothing"), "there is nothing at nothing"),
        (("--data", "text:", "--data.validation", "0"), "follows the validation perplexity"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(refused, words, message):
    assert message in refused("train", *words)


def test_a_teacher_of_another_vocabulary_is_refused(family, refused, tmp_path):
    source = write(tmp_path / "other")
    text = (tmp_path / "other" / "train.txt").read_text().replace("jay", "kea")
    (tmp_path / "other" / "train.txt").write_text(text)
    for name in ("valid", "test"):
        (tmp_path / "other" / f"{name}.txt").write_text("ant bee kea\n" * 9)
    said = refused("train", "--data", source, "--teacher", f"{family}:0", *TRAIN)
    assert "vocabulary" in said
