"""Language models: their sizes, their state, and where gradients end."""

import math

import numpy as np
import pytest
import torch

from anew import AnewError, models
from anew.core.spec import DataSpec
from anew.data.loading import load_data
from anew.data.signature import Signature
from anew.models import language
from anew.models.building import build_for, outline_for
from anew.models.network import Network
from texts import ptb, write

WORDS = ("<eos>", "<unk>", "ab", "b", "cab")
MODELS = ("lstm-1-8", "lstm-2-8", "char_lstm-1-8", "char_lstm-2-8", "transformer-2-16")


def signature(words=WORDS, steps=6):
    return Signature((steps,), tuple(words), kind="tokens", positions=(steps,))


def build(name, words=WORDS, **options):
    torch.manual_seed(0)
    if name.startswith("transformer"):
        options = {"context": 7, **options}
    return build_for(signature(words), name, options).eval()


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("lstm-2-1500", {}, 51_034_000),
        ("lstm-1-1500", {}, 33_022_000),
        ("lstm-2-1500", {"tied": 0}, 66_034_000),
    ],
)
def test_the_counts_of_the_paper_s_lstm(name, options, parameters):
    words = tuple(map(str, range(10_000)))
    assert count(outline_for(signature(words), name, options)) == parameters


def test_the_count_of_kim_et_al_s_network_on_the_penn_treebank():
    data = load_data(DataSpec(source=ptb()))
    spellings, characters = language.spell(data.classes, least=7)
    assert characters == 51
    assert spellings.shape == (10_000, 21)
    assert count(build_for(data.signature, "char_lstm-2-650")) == 19_373_165


def test_the_count_of_a_character_network_by_hand():
    sizes = language.CharacterSizes(characters=3, widths=2, filters=4, most_filters=6, highway=1)
    words = ("ab", "abc", "c")
    model = language.CharacterLSTM(words, 1, 5, sizes)
    # a, b, c, pad, start, end; filters 4 and 6 of widths 1 and 2.
    wanted = 6 * 3 + (3 * 4 + 4) + (3 * 2 * 6 + 6) + 2 * (10 * 10 + 10)
    wanted += 4 * 5 * (10 + 5) + 8 * 5 + 5 * 3 + 3
    assert count(model) == wanted


def test_words_are_spelled_between_a_start_and_an_end():
    rows, characters = language.spell(["ab", "<unk>", "<eos>", "b"], least=6)
    # Pad, start, end, then + a b |.
    assert rows.tolist() == [
        [1, 4, 5, 2, 0, 0],
        [1, 6, 2, 0, 0, 0],
        [1, 3, 2, 0, 0, 0],
        [1, 5, 2, 0, 0, 0],
    ]
    assert characters == 7


@pytest.mark.parametrize("name", MODELS)
def test_a_carried_state_gives_the_logits_of_one_long_pass(name):
    model = build(name)
    ids = torch.randint(len(WORDS), (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole, end = model(ids)
        state, parts = model.start(3), []
        for first, last in ((0, 6), (6, 7), (7, 20)):
            logits, state = model(ids[:, first:last], state)
            parts.append(logits)
        assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-6)
        for one, other in zip(state, end, strict=True):
            assert torch.allclose(one, other, atol=1e-6)
        # Without carrying they differ.
        assert not torch.allclose(model(ids[:, 6:12])[0], whole[:, 6:12], atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_no_logit_depends_on_a_later_token(name):
    model = build(name)
    ids = torch.zeros(1, 9, dtype=torch.int64)
    changed = ids.clone()
    changed[0, 5:] = 2
    with torch.no_grad():
        one, other = model(ids)[0], model(changed)[0]
    assert torch.allclose(one[:, :5], other[:, :5], rtol=0, atol=1e-7)
    assert not torch.allclose(one[:, 5], other[:, 5], rtol=0, atol=1e-6)


def test_attention_reaches_the_context_and_no_further():
    model = build("transformer-1-16", context=4)
    ids = torch.zeros(1, 12, dtype=torch.int64)
    with torch.no_grad():
        before = model(ids)[0]
        ids[0, 2] = 3
        differs = ((model(ids)[0] - before).abs().amax(-1) > 1e-7)[0].tolist()
    assert differs == [False, False, True, True, True, True, *[False] * 6]


def test_the_lstm_is_zaremba_s_in_numpy():
    model = build("lstm-1-8")
    weights = {name: one.detach().double().numpy() for name, one in model.state_dict().items()}
    ids = [2, 0, 4, 4, 1]
    hidden, cell = np.zeros(8), np.zeros(8)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    for place, token in enumerate(ids):
        x = weights["embedding.weight"][token]
        gates = weights["lstm.layers.0.weight_ih_l0"] @ x + weights["lstm.layers.0.bias_ih_l0"]
        gates += weights["lstm.layers.0.weight_hh_l0"] @ hidden
        gates += weights["lstm.layers.0.bias_hh_l0"]
        enter, forget, new, leave = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        hidden = sigmoid(leave) * np.tanh(cell)
        logits = weights["embedding.weight"] @ hidden + weights["classifier.bias"]
        with torch.no_grad():
            found = model(torch.tensor([ids]))[0][0, place].numpy()
        assert np.allclose(found, logits, atol=1e-6)


def test_characters_become_features_as_kim_et_al_say():
    model = build("char_lstm-1-8")
    word = WORDS.index("cab")
    with torch.no_grad():
        found = model.embed(torch.tensor([[word]]))[0, 0]
        letters = model.characters.weight[model.spellings[word]].double()
        features = []
        for width, convolve in enumerate(model.convolutions, 1):
            places = range(len(letters) - width + 1)
            weight, bias = convolve.weight.double(), convolve.bias.double()
            answers = [
                torch.tanh((weight * letters[place : place + width].T).sum((1, 2)) + bias)
                for place in places
            ]
            features.append(torch.stack(answers).amax(0))
        x = torch.cat(features)
        for layer in model.highway:
            gate = torch.sigmoid(layer.gate.weight.double() @ x + layer.gate.bias.double() - 2)
            new = torch.relu(layer.transform.weight.double() @ x + layer.transform.bias.double())
            x = gate * new + (1 - gate) * x
    assert torch.allclose(found.double(), x, atol=1e-6)
    assert bool((model.characters.weight[0] == 0).all())


def test_first_weights_are_as_said():
    model = build("lstm-1-64", words=tuple(map(str, range(500))))
    embedding = model.embedding.weight
    assert embedding.abs().max() <= 0.1
    assert embedding.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.05)
    assert bool((model.classifier.bias == 0).all())
    kim = build("char_lstm-1-16", words=tuple(map(str, range(500))))
    for name, one in kim.named_parameters():
        assert one.abs().max() <= 0.05, name


def test_tied_weights_are_one_tensor():
    tied, free = build("lstm-1-8"), build("lstm-1-8", tied=0)
    assert tied.classifier.weight is tied.embedding.weight
    assert count(free) - count(tied) == len(WORDS) * 8


def test_dropout_stands_before_between_and_behind_the_layers():
    model = build("lstm-2-8", dropout=0.5).train()
    torch.manual_seed(0)
    ids = torch.zeros(1, 4, dtype=torch.int64)
    assert not torch.equal(model(ids)[0], model(ids)[0])
    assert [layer.dropout for layer in model.lstm.layers] == [0, 0]
    # Kim et al. have none between the highway layers and the first LSTM.
    assert build("char_lstm-1-8").lstm.before.p == 0


def _spec(name):
    from anew.core.spec import ModelSpec

    return ModelSpec(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transformer-2-30", "width must be a multiple of twice the heads"),
        ("lstm-2", "must have the form lstm-LAYERS-UNITS"),
        ("lstm-0-8", "layers must be"),
        ("small_cnn", "takes pictures .* choose --model lstm-1-200"),
        ("mlp", "choose --model lstm-1-200"),
    ],
)
def test_models_that_do_not_fit_a_text_are_refused(name, message):
    options = {"heads": 1, "context": 4} if name == "transformer-2-30" else {}
    if options:
        options["heads"] = 4
    with pytest.raises(AnewError, match=message):
        build_for(signature(), name, options)


def test_a_language_model_on_pictures_is_refused():
    with pytest.raises(AnewError, match="takes text, but the inputs are 1x8x8"):
        models.build("lstm-1-8", (1, 8, 8), 10)


def test_a_model_of_one_s_own_needs_no_state(tmp_path):
    data = load_data(DataSpec(source=write(tmp_path), steps=6))
    network = Network(
        torch.nn.Embedding(len(data.classes), len(data.classes)), _spec("x"), data.signature
    )
    assert network.start(3) == ()
    logits, state = network(data.training.show(slice(0, 3)), ())
    assert state == ()
    assert logits.shape == (3, 6, len(data.classes))
