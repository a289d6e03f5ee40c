"""Where an export goes, and all that can be said of it before any work."""

from __future__ import annotations

import importlib.util
import mmap
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anew.core.errors import AnewError

Suffix = Literal[".onnx", ".pt2", ".safetensors"]
MARK = "exported by anew"
"""Stands in every exported file, uncompressed, so that such a file may be written over."""


@dataclass(frozen=True)
class Format:
    """One kind of file: what it is called, and which packages write it."""

    suffix: Suffix
    called: str
    packages: tuple[str, ...] = ()
    """Packages of the extra `anew[onnx]`."""


FORMATS = (
    Format(".onnx", "an ONNX graph", ("onnx", "onnxscript", "onnxruntime")),
    Format(".pt2", "a graph of torch.export"),
    Format(".safetensors", "the state dict of one network"),
)


@dataclass(frozen=True)
class Target:
    """A file that can be written, and its format."""

    path: Path
    format: Format


def check_target(path: Path) -> Target:
    """Return where an export goes, once it is known that it can go there.

    Raises `AnewError` for an unknown suffix, a package that is not installed, a folder that cannot
    be written, and a file that is there already and is no export. Nothing is written.
    """
    known = {form.suffix: form for form in FORMATS}
    form = next((known[suffix] for suffix in known if path.suffix.lower() == suffix), None)
    if form is None:
        kinds = ", ".join(f"{form.suffix} ({form.called})" for form in FORMATS)
        raise AnewError(f"{path}: unknown suffix; end it with one of {kinds}")
    missing = [name for name in form.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise AnewError(
            f"{path}: {form.called} needs {', '.join(missing)}; pip install 'anew[onnx]'"
        )

    _check_free(path)
    _check_folder(path)
    return Target(path, form)


def _check_free(path: Path) -> None:
    """Raise `AnewError` if something is there that anew did not export."""
    if path.is_symlink() or path.exists():
        if not path.is_file():
            raise AnewError(f"{path}: is not a plain file; give another -o")
        if not _is_export(path):
            raise AnewError(f"{path}: exists already, and anew did not export it; give another -o")


def _is_export(path: Path) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return text.find(MARK.encode()) >= 0
    except (OSError, ValueError):
        # It cannot be read, or is empty.
        return False


def _check_folder(path: Path) -> None:
    """Raise `AnewError` if the file's folder, or the first above it that exists, takes no file."""
    folder = next(one for one in path.absolute().parents if one.exists() or one.is_symlink())
    try:
        # A file without a name, where the system has such; else one that goes at once.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AnewError(
            f"{path}: cannot be written ({error.strerror or error}); give an -o in a folder that "
            "can be written"
        ) from error
