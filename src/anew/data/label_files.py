"""Tables of numbers by example in files, such as soft labels: NumPy, tensors, columns of Parquet.

No file runs code: NumPy's and torch's pickles are not loaded.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError, did_you_mean, in_one_line

SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet", ".pt", ".pth")
TABLES = (".npy", ".npz", ".parquet")
"""The suffixes of files that hold tables of numbers, and no network."""
_LABELS = ("labels", "label", "y", "targets", "target")
_CLASSES = ("classes", "class_names", "label_names")
_NUMBERS = ("indices", "index", "top_k_indices", "topk_indices")
_VALUES = ("values", "top_k_values", "topk_values")
SOFT_LABELS = "soft labels"
Array = NDArray[Any]


@dataclass(frozen=True)
class LabelTable:
    """What a file holds: a row (C,) for each example, or the k largest with their classes."""

    path: Path
    name: str
    """The array or column of the rows, "" where a file holds one without a name."""
    rows: Array
    """(N, C), or (N, k) with `numbers`."""
    numbers: Array | None = None
    """The classes (N, k) to which the values belong, where not all are there."""
    labels: Array | None = None
    """The label (N,) of each example, where the file has them."""
    classes: tuple[str, ...] = ()
    """The names of the classes, where the file has them."""
    what: str = SOFT_LABELS
    """What the rows are, for messages."""

    @property
    def called(self) -> str:
        """How the table is called in messages."""
        return f"{self.what} {self.path}{':' if self.name else ''}{self.name}"


def split_name(text: str) -> tuple[Path, str]:
    """Return the file that a text names, and the array or column in it, "" if it names none."""
    path = Path(text)
    if path.exists():
        return path, ""
    file, _, name = text.rpartition(":")
    return (Path(file), name) if file and Path(file).exists() else (path, "")


def read_label_table(text: str, what: str = SOFT_LABELS) -> LabelTable:
    """Read a table of numbers by example: `FILE`, or `FILE:NAME` for an array or a column of it.

    `what` the rows are is said in messages.

    Raises `AnewError` if it is missing, damaged or of another kind, would run code, or if it is
    not clear which array is meant.
    """
    path, name = split_name(text)
    called = f"{what} {path}"
    arrays = _arrays(path, name, called)
    wide = {key: array for key, array in arrays.items() if array.ndim == 2 and array.shape[1] > 1}
    for key in wide:
        if wide[key].dtype.kind not in "fiub":
            raise AnewError(
                f"{called}: '{key}' holds {wide[key].dtype}, not real numbers; convert it"
            )

    numbers = next((key for key in _NUMBERS if key in wide), None) if not name else None
    if numbers is not None:
        candidates = [key for key in _VALUES if key in wide] or [
            key for key in wide if key != numbers
        ]
    else:
        candidates = [name] if name else list(wide)
    if len(candidates) != 1 or candidates[0] not in wide:
        raise _unclear(path, called, name, arrays)

    chosen = candidates[0]
    labels = next((arrays[key] for key in _LABELS if key in arrays and key != chosen), None)
    classes = next((arrays[key] for key in _CLASSES if key in arrays), None)
    return LabelTable(
        path,
        chosen if len(arrays) > 1 else "",
        wide[chosen],
        wide[numbers] if numbers is not None else None,
        labels.reshape(-1) if labels is not None and labels.size == len(wide[chosen]) else None,
        tuple(map(str, classes.reshape(-1))) if classes is not None else (),
        what,
    )


def _unclear(path: Path, called: str, name: str, arrays: Mapping[str, Array]) -> AnewError:
    """Return the error of a file in which the rows are not found."""
    wide = [key for key, array in arrays.items() if array.ndim == 2 and array.shape[1] > 1]
    shapes = ", ".join(f"{key or 'array'} {array.shape}" for key, array in arrays.items())
    if name and name not in arrays:
        return AnewError(
            f"{called}: hold no '{name}'{did_you_mean(name, list(arrays))}; there: "
            f"{shapes or 'nothing'}"
        )
    if name or not wide:
        return AnewError(
            f"{called}: must have the shape (N, C), a row for each example, got "
            f"{shapes or 'nothing'}; give rows of as many numbers as there are classes"
        )
    return AnewError(f"{called}: hold several tables ({shapes}); name one as {path}:NAME")


def _arrays(path: Path, name: str, called: str) -> dict[str, Array]:
    """Return all arrays of a file by their names; "" for one without a name."""
    files.check_regular(path)
    read = {
        ".npy": _read_numpy,
        ".npz": _read_numpy,
        ".safetensors": _read_safetensors,
        ".pt": _read_torch,
        ".pth": _read_torch,
    }.get(path.suffix.lower())

    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, called)
    if read is None:
        raise AnewError(
            f"{called}: are read from {', '.join(SUFFIXES)}, got '{path.suffix}'; save "
            "them with numpy.save"
        )
    return read(path, called)


def _read_numpy(path: Path, called: str) -> dict[str, Array]:
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": cast(Array, loaded)}
        with loaded:
            return {key: loaded[key] for key in loaded.files}

    except OSError as error:
        raise AnewError(
            f"{called}: cannot be read ({error.strerror or error}); check the path"
        ) from error
    except (ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise AnewError(
            f"{called}: are truncated or damaged, or hold Python objects, which are never loaded "
            f"({in_one_line(error)}); save plain numbers with numpy.save"
        ) from error


def _read_safetensors(path: Path, called: str) -> dict[str, Array]:
    tensors, _ = files.read_tensors(path)
    return {key: _numpy(tensor) for key, tensor in tensors.items()}


def _read_torch(path: Path, called: str) -> dict[str, Array]:
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise AnewError(
            f"{called}: cannot be loaded without running code ({in_one_line(error)}); "
            "save a plain tensor"
        ) from error
    named = cast("dict[Any, Any]", loaded if isinstance(loaded, dict) else {"": loaded})
    return {str(key): _numpy(one) for key, one in named.items() if isinstance(one, Tensor)}


def _numpy(tensor: Tensor) -> Array:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _read_parquet(path: Path, called: str) -> dict[str, Array]:
    """Return columns of numbers and of lists of equal length; of pictures nothing is read."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise AnewError(f"{called}: need pyarrow; pip install 'anew[parquet]'") from error

    arrays: dict[str, Array] = {}
    try:
        schema = pyarrow.parquet.read_schema(path)
        wanted = [
            field.name
            for field in schema
            if _is_numbers(pyarrow, field.type)
            or (_is_list(pyarrow, field.type) and _is_numbers(pyarrow, field.type.value_type))
        ]
        table = pyarrow.parquet.read_table(path, columns=wanted)
        for column in wanted:
            values = table[column].combine_chunks()
            if not _is_list(pyarrow, values.type):
                arrays[column] = values.to_numpy(zero_copy_only=False)
                continue
            flat = values.flatten().to_numpy(zero_copy_only=False)
            count = len(values)
            lengths = {len(one) if one is not None else 0 for one in values.to_pylist()}
            if len(lengths) == 1 and len(flat) == count * max(lengths):
                arrays[column] = flat.reshape(count, -1)
    except (OSError, pyarrow.ArrowException) as error:
        raise AnewError(
            f"{called}: cannot be read as Parquet ({in_one_line(error)}); give a whole file"
        ) from error
    return arrays


def _is_numbers(pyarrow: Any, kind: Any) -> bool:
    return bool(pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind))


def _is_list(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))
