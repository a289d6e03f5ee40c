"""The signature: what an example is, and how a file of a network says it."""

import pytest
import torch

import language
from anew import AnewError
from anew.core.spec import DataSpec
from anew.data import Resident, from_arrays, prepare
from anew.data.signature import Signature

PICTURE = Signature((3, 4, 5), ("a", "b"), (1.0, 2.0, 3.0), (2.0, 4.0, 8.0))
VECTOR = Signature((2,), ("a", "b", "c"), (1.0, 2.0), (2.0, 4.0))
TOKENS = Signature((6,), ("a", "b", "c"), kind="tokens", positions=(6,))


def test_kinds_are_told_apart_by_the_length_of_the_shape():
    assert (PICTURE.kind, VECTOR.kind, TOKENS.kind) == ("picture", "vector", "tokens")
    assert [one.output_shape for one in (PICTURE, VECTOR, TOKENS)] == [(2,), (3,), (6, 3)]
    assert [one.blank(2).shape for one in (PICTURE, TOKENS)] == [(2, 3, 4, 5), (2, 6)]
    assert [one.blank(2).dtype for one in (VECTOR, TOKENS)] == [torch.float32, torch.int64]


def test_a_header_holds_for_pictures_and_vectors_what_the_first_format_held():
    assert VECTOR.to_header() == {
        "input_shape": (2,),
        "classes": ("a", "b", "c"),
        "mean": (1.0, 2.0),
        "std": (2.0, 4.0),
    }
    assert list(PICTURE.to_header()) == ["input_shape", "classes", "mean", "std"]
    added = TOKENS.to_header().keys() - VECTOR.to_header().keys()
    assert added == {"kind", "positions"}


@pytest.mark.parametrize("signature", [PICTURE, VECTOR, TOKENS])
def test_a_header_is_read_back(signature):
    assert Signature.from_header(signature.to_header()) == signature


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_shape": [float("inf")]},
        {"input_shape": [True]},
        {"input_shape": [2.0]},
        {"input_shape": "2"},
        {"classes": ["a", "b", "a"]},
        {"classes": [1, 2, 3]},
        {"classes": "abc"},
        {"classes": None},
        {"std": [-1.0, 1.0]},
        {"std": [1e-40, 1.0]},
        {"std": [1e300, 1.0]},
        {"std": ["1", "1"]},
        {"mean": [True, False]},
        {"positions": [1.5]},
        {"positions": 3},
        {"input_shape": (2, 2)},
        {"input_shape": ()},
        {"classes": ("a",)},
        {"mean": (1.0,)},
        {"std": (0.0, 1.0)},
        {"mean": (float("nan"), 1.0)},
        {"kind": "sound"},
        {"kind": "tokens"},
        {"kind": "picture"},
        {"positions": (0,)},
    ],
)
def test_a_header_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=r"for inputs|finite|kind of examples|holds|no list|name"):
        Signature.from_header({**VECTOR.to_header(), **wrong})


def test_the_smallest_deviation_of_a_header_has_a_finite_inverse():
    smallest = torch.finfo(torch.float32).tiny
    read = Signature.from_header({**VECTOR.to_header(), "std": [smallest, 1]})
    assert read.statistics()[1].isfinite().all()


def test_inputs_are_prepared_to_the_bit_and_tokens_pass():
    stored = torch.arange(120, dtype=torch.uint8).view(2, 3, 4, 5)
    mean, std = torch.tensor(PICTURE.mean), torch.tensor(PICTURE.std)
    expected = (stored.float() - mean.view(1, 3, 1, 1)) * (1 / std).view(1, 3, 1, 1)
    assert torch.equal(PICTURE.prepare(stored, *PICTURE.statistics()), expected)
    tokens = TOKENS.blank(2)
    assert TOKENS.prepare(tokens, *TOKENS.statistics()) is tokens


def test_only_pictures_are_arranged():
    picture = PICTURE.arrange(PICTURE.blank(2))
    assert picture.is_contiguous(memory_format=torch.channels_last)
    assert PICTURE.arrange(picture, "contiguous") is picture
    for other in (VECTOR, TOKENS):
        inputs = other.blank(2)
        assert other.arrange(inputs) is inputs
    module = torch.nn.Conv2d(3, 4, 3)
    assert PICTURE.arrange(module).weight.is_contiguous(memory_format=torch.channels_last)


def test_data_say_what_their_examples_are(arrays):
    data = prepare(from_arrays(arrays), DataSpec())
    assert data.signature.kind == "picture"
    assert data.signature.input_shape == (1, 8, 8)
    assert data.signature.positions == ()
    vectors = prepare(from_arrays((arrays[0].reshape(-1, 64), arrays[1])), DataSpec())
    assert vectors.signature.kind == "vector"


def test_data_of_tokens_have_an_answer_at_each_and_no_statistics():
    data = prepare(language.source(), DataSpec())
    signature = data.signature
    assert signature.kind == "tokens"
    assert signature.positions == (language.LENGTH,)
    assert signature.output_shape == (language.LENGTH, len(language.WORDS))
    assert signature.mean == signature.std == ()
    assert len(data.training) + len(data.validation) + len(data.test) == 120

    with pytest.raises(AnewError, match="tokens are not normalised"):
        prepare(language.source(), DataSpec(mean=(0.5,)))
    with pytest.raises(AnewError, match="need pictures"):
        prepare(language.source(), DataSpec(views="flip"))


def test_a_vocabulary_may_have_words_that_no_example_uses():
    tokens, following = language.sentences(40)
    words = (*language.WORDS, "unused")
    source = language.checked_source("language", Resident(tokens, following), None, words, "none")
    assert prepare(source, DataSpec()).signature.classes == words
