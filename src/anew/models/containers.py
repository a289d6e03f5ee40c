"""Files of weights as other programs write them: recognised by content, read without running code.

Safetensors files are read by their library, what `torch.save` wrote by `torch.load` with
`weights_only`. Whatever that refuses, and any other format, is refused with what it is and what
makes a readable file of it.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anew.core import files
from anew.core.errors import AnewError

_START_BYTES = 512
# What a file starts with, what it is then, and what its owner does with it.
_FORMATS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself", "run git lfs pull"),
    (b"<!doctype", "is a web page: the download failed", "fetch the file itself"),
    (b"<html", "is a web page: the download failed", "fetch the file itself"),
    (b"<?xml", "is an XML text: the download failed", "fetch the file itself"),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it, and give the file in it"),
    (b"BZh", "is compressed with bzip2", "unpack it, and give the file in it"),
    (b"\xfd7zXZ", "is compressed with xz", "unpack it, and give the file in it"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "unpack it, and give the file in it"),
    (b"7z\xbc\xaf", "is a 7-Zip archive", "unpack it, and give the file in it"),
    (b"\x89HDF", "is an HDF5 file (Keras, TensorFlow)", "give PyTorch's weights of the model"),
    (b"GGUF", "is a GGUF file of quantised weights", "give PyTorch's weights of the model"),
    (b"\x93NUMPY", "is a NumPy array and no network", "give the weights of a network"),
    (b"PAR1", "is a Parquet table and no network", "give the weights of a network"),
    (b"{", "is a text and holds no weights", "give the file with the weights"),
)
_TORCH_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_REFUSED_GLOBAL = re.compile(r"(?:GLOBAL|global) ([\w.<>]+)")
# What torch says before the reason itself.
_REASON = re.compile(r"WeightsUnpickler error:\s*(.+)")


@dataclass(frozen=True)
class Content:
    """What a file of weights holds."""

    value: Any
    """Of safetensors the tensors by name; of `torch.save` what was saved: tensors by name, or
    tables in tables with numbers and texts among them. The tensors are on the CPU.
    """
    header: dict[str, Any]
    """The header that anew gave it; {} of all others."""
    is_safetensors: bool


class StandIn:
    """Stands for an object beside the weights: it takes what it is given and keeps nothing."""

    def __new__(cls, *given: object) -> StandIn:
        """Return one, whatever is given."""
        return super().__new__(cls)

    def __init__(self, *given: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _empty_table(*given: object) -> dict[Any, Any]:
    """Stand for a table with a default, whose default is code."""
    return {}


# What training scripts save beside their weights: command lines, best scores, paths, dates. None of
# it is made here: these names mean stand-ins that hold nothing.
_BESIDE = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    *(
        f"numpy.dtypes.{kind}DType"
        for kind in ("Bool", "Int32", "Int64", "Float16", "Float32", "Float64", "Str")
    ),
    *(f"pathlib.{kind}Path" for kind in ("", "Posix", "Windows", "PurePosix", "PureWindows")),
    *(f"datetime.{kind}" for kind in ("datetime", "date", "timedelta", "timezone")),
    *(f"omegaconf.dictconfig.{kind}" for kind in ("DictConfig",)),
    *(f"omegaconf.listconfig.{kind}" for kind in ("ListConfig",)),
    *(f"omegaconf.base.{kind}" for kind in ("Metadata", "ContainerMetadata")),
    *(
        f"omegaconf.nodes.{kind}"
        for kind in ("AnyNode", "BooleanNode", "FloatNode", "IntegerNode", "StringNode")
    ),
    "mmengine.logging.history_buffer.HistoryBuffer",
    "yacs.config.CfgNode",
    "easydict.EasyDict",
    "ml_collections.config_dict.config_dict.ConfigDict",
)
# As the default of a table with defaults; nothing is called.
_KINDS = tuple(f"builtins.{kind}" for kind in ("int", "float", "bool", "str", "list", "dict"))
_STAND_INS: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    *((StandIn, name) for name in (*_BESIDE, *_KINDS)),
    (_empty_table, "collections.defaultdict"),
]


def read(path: Path) -> Content:
    """Return what a file of weights holds.

    Raises `AnewError` in one line for a file that is missing or cut off, whose content is code, or
    that is of another format.
    """
    files.check_regular(path)
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except OSError as error:
        raise AnewError(f"{path}: cannot be read ({error.strerror}); check the path") from error

    if not start:
        raise AnewError(f"{path}: is empty; give a whole file of weights")
    if _is_safetensors(start):
        return Content(*files.read_tensors(path), is_safetensors=True)
    is_archive = zipfile.is_zipfile(path)
    if start.startswith(b"PK") and not is_archive:
        raise AnewError(f"{path}: is truncated, its end is missing; download or save it again")
    if is_archive or _TORCH_PICKLE.match(start):
        _check_archive(path)
        return Content(_load(path), {}, is_safetensors=False)
    for beginning, what, mend in _FORMATS:
        if start.lstrip().lower().startswith(beginning.lower()):
            raise AnewError(f"{path}: {what}; {mend}")
    if start[257:262] == b"ustar":
        raise AnewError(f"{path}: is a tar archive; unpack it, and give the file in it")
    if start[:1] == b"\x08" and (
        path.suffix.lower() == ".onnx"
        or any(word in start for word in (b"onnx", b"pytorch", b"ONNX"))
    ):
        raise AnewError(
            f"{path}: is an ONNX graph, which holds no state dict; give the weights that it was "
            "exported from"
        )
    raise AnewError(
        f"{path}: is truncated or no safetensors file, and no torch.save file either; give a "
        "whole file of weights"
    )


def _is_safetensors(start: bytes) -> bool:
    """Whether a file starts as safetensors do: eight bytes of a length, then a JSON table.

    To be asked first: the length may look like the start of any other format.
    """
    return start[6:8] == b"\0\0" and start[8:9] == b"{"


def _check_archive(path: Path) -> None:
    """Raise `AnewError` for an archive that is no file of `torch.save`, with what it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        # No archive, but the older format, or one that is cut off: loading says so.
        return

    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise AnewError(
            f"{path}: is a TorchScript archive, a program with its weights, which is not run; its "
            f'owner takes the weights out with: python -c "import torch; '
            f"torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pth')\""
        )
    if path.suffix == ".pt2" or any(name.endswith(("archive_format", ".pt2")) for name in inner):
        raise AnewError(
            f"{path}: is a program of torch.export, which is not run; its owner can save the "
            'weights alone: python -c "import torch; '
            f"torch.save(torch.export.load('{path.name}').state_dict, 'weights.pth')\""
        )
    if names and all(name.endswith(".npy") for name in names):
        raise AnewError(f"{path}: is an archive of NumPy arrays; give the weights of a network")
    if "data.pkl" not in inner:
        raise AnewError(
            f"{path}: is a ZIP archive and no file of torch.save; unpack it, and give the file of "
            "weights in it"
        )


def _load(path: Path) -> Any:
    """Load a file of `torch.save`; what torch does not take for weights is refused."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_STAND_INS):
            # Of old formats torch warns; what it cannot read is refused below.
            warnings.simplefilter("ignore")
            # By that name torch would read another format than what the file holds.
            if path.suffix == ".safetensors" or not zipfile.is_zipfile(path):
                with path.open("rb") as file:
                    return torch.load(file, weights_only=True, map_location="cpu")
            return torch.load(path, weights_only=True, map_location="cpu", mmap=True)

    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file may make the reader fail in any way
        raise AnewError(
            f"{path}: is truncated or damaged ({_first_line(error)}); download or save it again"
        ) from error


def _refusal(path: Path, said: str) -> AnewError:
    """Return the error for a file in which torch found more than weights, and how to convert it."""
    found = _REFUSED_GLOBAL.search(said)
    if found is None:
        reason = _REASON.search(said)
        return AnewError(
            f"{path}: is a pickle, but not of weights saved by torch.save (torch.load with "
            f"weights_only=True says: {_first_line(reason[1] if reason else said)}); save the "
            "network's state_dict() with torch.save"
        )

    name = found[1]
    return AnewError(
        f"{path}: holds the Python name '{name}', and loading it could run code (torch.load with "
        f"weights_only=True refuses it); whoever made the file, or trusts it, can save its "
        f'weights alone: python -c "import torch; '
        f"c = torch.load('{path.name}', weights_only=False); "
        "torch.save(c.state_dict() if hasattr(c, 'state_dict') else "
        "c.get('state_dict', c.get('model', c)), 'weights.pth')\""
    )


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.split(r"(?<=\w)\. ", lines[0])[0].rstrip(". ")
