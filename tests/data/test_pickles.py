"""Pickles of arrays: what NumPy writes comes back equal; what could run code is refused."""

import pickle
import resource
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from anew import AnewError
from anew.data.sources.pickles import read_pickle
from forks import Forked

DTYPES = st.sampled_from(["u1", "<i8", ">i4", "<u2", "S5", "<U3", "b1"])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("pickles") / "data"


@given(
    DTYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0))),
    st.integers(0, 5),
    st.sampled_from("CF"),
)
def test_what_numpy_writes_comes_back_equal(place, values, protocol, order):
    written = np.asarray(values, order=order)
    place.write_bytes(pickle.dumps({b"data": written, b"labels": [1, 2]}, protocol))
    read = read_pickle(place)
    np.testing.assert_array_equal(read[b"data"], written)
    assert read[b"labels"] == [1, 2]


class Reduced:
    """Pickles to a call, with a state for what the call returns."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def hostile():
    """Pickles that attack the reader, by what they try."""
    import os

    plain = np.dtype("u1")
    has_object = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)
    frombuffer = np.zeros(1, np.uint8).__reduce_ex__(5)[0]
    reconstruct = np.zeros(1, np.uint8).__reduce__()[0]
    forged = Reduced(np.dtype, ("V8", False, True), has_object)
    return {
        "runs code": Reduced(os.system, ("touch hacked",)),
        "an object field hidden in a type": {
            b"label_names": Reduced(frombuffer, (b"A" * 80, forged, (10,), "C"))
        },
        "objects in a plain array": np.array(["a", None], object),
        "an object array with too short a list": Reduced(
            reconstruct, (np.ndarray, (0,), b"b"), (1, (10,), np.dtype("O"), False, ["a"])
        ),
        "fewer bytes than the shape": Reduced(
            reconstruct, (np.ndarray, (0,), b"b"), (1, (10**9,), plain, False, b"abc")
        ),
        "a negative size": Reduced(
            reconstruct, (np.ndarray, (0,), b"b"), (1, (-1,), plain, False, b"abc")
        ),
        "a subclass of array": Reduced(reconstruct, (np.matrix, (0,), b"b")),
        "a type with fields": np.zeros(2, [("a", "u1"), ("b", "O")]),
    }


@pytest.mark.parametrize("name", hostile())
def test_an_attack_is_refused_and_nothing_runs(place, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place.write_bytes(pickle.dumps(hostile()[name], 5))
    with pytest.raises(AnewError, match=r"was not loaded|is damaged"):
        read_pickle(place)
    assert not (tmp_path / "hacked").exists()


def test_a_state_for_a_function_is_refused(place):
    # GLOBAL _codecs.encode, then BUILD with a dictionary.
    place.write_bytes(b"c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.")
    with pytest.raises(AnewError, match="it changes a function"):
        read_pickle(place)


def test_a_place_in_the_memo_reserves_no_memory(place):
    """LONG_BINPUT with the largest place: the unpickler in C would reserve 64 GiB for it."""
    place.write_bytes(b"]" + b"r" + struct.pack("<I", 2**32 - 1) + b".")

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (48 << 30, 48 << 30))
        assert read_pickle(place) == []

    process = Forked(limited)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors


@given(st.binary(max_size=60))
def test_noise_is_one_line(place, noise):
    place.write_bytes(noise)
    try:
        read_pickle(place)
    except AnewError as error:
        assert "\n" not in str(error)
