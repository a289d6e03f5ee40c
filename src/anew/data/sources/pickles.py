"""Read pickles of numbers, texts, lists, dictionaries and NumPy arrays without running anything.

CIFAR's archives are pickles. A pickle names functions and classes, which the reader calls, and
gives them states, which they trust: NumPy's own `dtype` and `ndarray` can be led to read any
memory. So nothing of NumPy is given to the pickle. What an array's pickle asks for is answered by
stand-ins of our own, which check every value, and the array is built from plain bytes afterwards.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anew.core.errors import AnewError
from anew.core.files import check_regular

MOST_AXES = 8
_PLAIN_TYPE = re.compile(r"[<>|=]?([buifSU])([0-9]{1,6})")


def read_pickle(path: Path) -> Any:
    """Return what a pickle file holds: numbers, texts, lists, dictionaries, and arrays of numbers.

    Raises `AnewError` if the file cannot be read, is damaged, or asks for anything else.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            return _plain(_ArraysOnly(file, encoding="bytes").load())
    except OSError as error:
        raise AnewError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except _RefusedError as error:
        raise AnewError(
            f"{path}: holds more than arrays ({error}) and was not loaded, since that could run "
            "code; download it again"
        ) from error
    except Exception as error:  # damaged pickles raise nearly anything
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise AnewError(f"{path}: is damaged ({said}); download it again") from error


class _RefusedError(Exception):
    """A pickle asks for more than arrays."""


# The unpickler in Python and not the one in C: the latter takes a place in its memo for granted, so
# that five bytes make it reserve gigabytes.
class _ArraysOnly(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]
    """Reads pickles with stand-ins for the few names that an array's pickle needs."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name, or refuse it."""
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise _RefusedError(f"it asks for {module}.{name}")
        return stand_in


class _StandIn:
    """Something that a pickle may name; a state cannot be given to it."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise _RefusedError("it changes a function")


class _Type(_StandIn):
    """A plain type of an array's elements, such as u1; a structure or an object is refused."""

    __slots__ = ("kind", "order", "size")

    def __init__(self, name: object) -> None:
        written = _PLAIN_TYPE.fullmatch(_text(name))
        if written is None:
            raise _RefusedError(f"its arrays hold {_text(name)[:40]!r}")
        self.kind, self.size, self.order = written[1], int(written[2]), "|"

    def __setstate__(self, state: object) -> None:
        """Take the byte order of a state (3, order, None, None, None, -1, -1, 0)."""
        if not isinstance(state, tuple) or len(state) not in (8, 9) or state[0] not in (3, 4):
            raise _RefusedError("its arrays' type has an unknown state")
        order, *structure = state[1:5]
        if _text(order) not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            raise _RefusedError("its arrays hold structures")
        self.order = _text(order)

    def dtype(self) -> np.dtype[Any]:
        """Return the type as NumPy knows it."""
        return np.dtype(f"{self.order}{self.kind}{self.size}")


class _Array(_StandIn):
    """An array as a pickle describes it: its type, shape and bytes."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[Any] = np.zeros(0, np.uint8)

    def __setstate__(self, state: object) -> None:
        """Take a state (1, shape, type, whether Fortran's order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1:
            raise _RefusedError("an array has an unknown state")
        _, shape, kind, fortran, content = state
        self.values = _build(content, kind, shape, "F" if fortran else "C")


class _MakeType(_StandIn):
    """Stands in for numpy.dtype."""

    __slots__ = ()

    def __call__(self, name: object, align: object = False, copy: object = True) -> _Type:
        return _Type(name)


class _MakeArray(_StandIn):
    """Stands in for NumPy's `_reconstruct`: an empty array, which its state fills."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object, code: object) -> _Array:
        if kind is not _ARRAY_CLASS:
            raise _RefusedError("it makes an array of an unknown class")
        return _Array()


class _FromBuffer(_StandIn):
    """Stands in for NumPy's `_frombuffer`, by which arrays come back from pickle's protocol 5."""

    __slots__ = ()

    def __call__(
        self, content: object, kind: object, shape: object, order: object, axes: object = None
    ) -> _Array:
        if axes is not None:
            raise _RefusedError("an array has an unknown order of axes")
        array = _Array()
        array.values = _build(content, kind, shape, "F" if _text(order) == "F" else "C")
        return array


class _Latin1(_StandIn):
    """Stands in for `_codecs.encode`, by which Python 3 writes bytes in old pickles."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object) -> bytes:
        if _text(encoding) != "latin1" or not isinstance(text, str):
            raise _RefusedError("it asks for another encoding than latin1")
        return text.encode("latin1")


class _NoBytes(_StandIn):
    """Stands in for `bytes`, by which Python 3 writes none in old pickles."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


_ARRAY_CLASS = _StandIn()
_STAND_INS: dict[tuple[str, str], _StandIn] = {
    ("numpy.core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy._core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer(),
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer(),
    ("numpy", "ndarray"): _ARRAY_CLASS,
    ("numpy", "dtype"): _MakeType(),
    ("_codecs", "encode"): _Latin1(),
    ("__builtin__", "bytes"): _NoBytes(),
}


def _build(content: object, kind: object, shape: object, order: str) -> NDArray[Any]:
    """Return an array from bytes whose number is what type and shape ask for."""
    if not isinstance(kind, _Type) or not isinstance(shape, tuple) or len(shape) > MOST_AXES:
        raise _RefusedError("an array has no plain type or shape")
    sizes = [size for size in shape if type(size) is int and size >= 0]
    if len(sizes) != len(shape):
        raise _RefusedError("an array has no plain shape")
    if not isinstance(content, bytes | bytearray):
        raise _RefusedError("an array holds objects")

    dtype = kind.dtype()
    if math.prod(sizes) * dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {tuple(sizes)} has {len(content)} bytes")
    # A copy, in memory of its own and in this machine's byte order.
    values = np.frombuffer(bytes(content), dtype).astype(dtype.newbyteorder("="))
    return values.reshape(sizes, order="F" if order == "F" else "C")


def _plain(value: Any) -> Any:
    """Return a value with arrays in the place of their stand-ins, one dictionary deep."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, dict):
        return {
            key: item.values if isinstance(item, _Array) else item for key, item in value.items()
        }
    return value


def _text(value: object) -> str:
    """Return a text, or the text in bytes, as old pickles have it; "" for anything else."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    return value if isinstance(value, str) else ""
