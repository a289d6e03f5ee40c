"""Files that appear whole or not at all, and the hashes that prove it."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.parsing import parse_json
from anew.core.text import json_text

_HEADER = "anew"
_TIED = "tied"
"""The key of a header that holds which names mean the same tensor."""
TensorSize = tuple[str, int, tuple[int, ...]]
"""A tensor in a file: its name, its bytes an element, and its shape."""
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags that open no link and wait for no named pipe; Windows has neither."""
HALF_WRITTEN = r"([0-9]{1,9})(?:-[0-9a-f]{8})?\.tmp"
"""How the name of a half-written file ends: its process, and since version 0.2 what tells hosts
apart that share a folder.
"""


def half_written(path: Path) -> Path:
    """Return a name beside a path for what is written before it gets that name.

    Processes of two hosts may have one number, so that chance is in it too.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: to a temporary name beside it, flushed to the disk, then renamed.

    Raises `AnewError` if the folder cannot be written or the disk is full; the old file, if any,
    is then untouched.
    """
    temporary = half_written(path)
    ensure_folder(path.parent)

    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        _remove_quietly(temporary)
        raise AnewError(
            f"{path}: cannot be written ({error.strerror}); free space or make the folder "
            "writable, then run the same command again"
        ) from error


def sweep(path: Path) -> None:
    """Remove what processes that died while they wrote a file have left beside it."""
    temporary = re.compile(rf"\.{re.escape(path.name)}\.{HALF_WRITTEN}")
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    for other in list(beside):
        named = temporary.fullmatch(other.name)
        if named is None or other.is_dir():
            continue
        try:
            os.kill(int(named[1]), 0)
        except ProcessLookupError:
            other.unlink(missing_ok=True)
        except PermissionError:
            # Somebody else's process, which lives.
            continue


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of some bytes at a place of an open file; OSError if the disk is full."""
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def stretches(numbers: Sequence[int] | NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each stretch of numbers that follow one another, none of no numbers.

    What lies behind one another in a file is read and written together.
    """
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    return itertools.pairwise(sorted({0, *cuts.tolist(), len(numbers)}))


def ensure_folder(path: Path) -> None:
    """Make a folder and its parents if they are missing; `AnewError` if that is not allowed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnewError(
            f"{path}: cannot be made ({error.strerror}); give a folder that can be written"
        ) from error


def check_no_link(path: Path) -> None:
    """Raise `AnewError` if a folder that anew writes into is a link: it may lead anywhere."""
    if path.is_symlink():
        raise AnewError(
            f"{path}: is a link; anew does not write through links inside a family: move the "
            "folder itself there, or link the whole family"
        )


def free_bytes(path: Path) -> float:
    """Return the free bytes of the disk of a file or folder, which need not exist yet.

    A disk without a size has infinitely many.
    """
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    usage = shutil.disk_usage(existing)
    return usage.free if usage.total else math.inf


def check_regular(path: Path) -> None:
    """Raise `AnewError` if there is something at a path that is neither a file nor a folder.

    A named pipe would be waited for without an end.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise AnewError(
            f"{path}: is no file (a pipe or a device); move it away, or give another path"
        )


START = 512
"""Bytes at a file's start that tell what it is instead."""


def what_is_instead(start: bytes) -> str:
    """Return what lies in place of a file that begins so; "" if that is not known."""
    if not start:
        return "is an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself (git lfs pull)"
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page, not the file itself"
    return ""


def check_content(path: Path) -> None:
    """Raise `AnewError` if a file is empty, a pointer of Git LFS or a web page."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        instead = what_is_instead(file.read(START))
    if instead:
        raise AnewError(f"{path}: {instead}; download it again")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON, atomically; numbers that are not finite become null."""
    write_bytes(path, (json_text(value) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a mapping written by `write_json`; `AnewError` if it is missing or damaged."""
    check_regular(path)
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnewError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise AnewError(
            f"{path}: is damaged ({error}); restore it from a copy, or move its folder away"
        ) from error
    if not isinstance(value, dict):
        raise AnewError(
            f"{path}: is damaged (no JSON object); restore it from a copy, or move its folder away"
        )
    return value


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any] | None
) -> None:
    """Write tensors and a JSON header as one safetensors file, atomically.

    Without a header the hash of the file is `sha256_as_file`. Raises `AnewError` as `write_bytes`
    does.
    """
    write_bytes(path, tensor_bytes(tensors, header))


def tensor_bytes(
    tensors: Mapping[str, Tensor], header: Mapping[str, Any] | None, *, whole: bool = False
) -> bytes:
    """Return the safetensors file of tensors and a JSON header; equal content gives equal bytes.

    Of tied weights one is written, and the header says which names mean it too; without a header,
    or if the file is to be `whole` for other readers, each name gets its own copy.
    """
    tied = {} if whole or header is None else tied_names(tensors)
    content = _unshared({name: one for name, one in tensors.items() if name not in tied})
    # One metadata key: safetensors writes several in no fixed order, and the hash of the file must
    # not vary.
    metadata = None if header is None else {_HEADER: _in_header(header, tied)}
    return safetensors.torch.save(content, metadata)


def tied_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the tensors that are the same memory as an earlier one, with its name."""
    first: dict[tuple[object, ...], str] = {}
    tied: dict[str, str] = {}
    for name, tensor in tensors.items():
        # The address of the storage's owner, which tensors on torch's meta device have too.
        place = tensor.untyped_storage()._cdata, tensor.storage_offset()  # pyright: ignore
        own = first.setdefault((*place, tensor.dtype, tensor.shape, tensor.stride()), name)
        if own != name and tensor.numel():
            tied[name] = own
    return tied


def _in_header(header: Mapping[str, Any], tied: Mapping[str, str]) -> str:
    """Return a header as JSON, with the names of tied weights."""
    return json.dumps({**header, _TIED: tied} if tied else header, sort_keys=True)


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors on the CPU as a safetensors file holds them: without sharing."""
    content: dict[str, Tensor] = {}
    memory: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        shared = plain.untyped_storage().data_ptr() in memory
        content[name] = plain.clone() if shared else plain
        memory.add(plain.untyped_storage().data_ptr())
    return content


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file: its tensors, on the CPU, and anew's header ({} if it has none).

    Raises `AnewError` for a file that is missing, truncated or of another format, such as a pickle.
    """
    check_regular(path)

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = parse_json((file.metadata() or {}).get(_HEADER, "{}"))
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return _with_tied(tensors, header.pop(_TIED, {})), header
    except OSError as error:
        raise AnewError(
            f"{path}: cannot be read ({error.strerror or error}); check the path"
        ) from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise AnewError(
            f"{path}: {_what_it_is(path)} ({error}); give a whole safetensors file"
        ) from error


def _with_tied(tensors: dict[str, Tensor], tied: object) -> dict[str, Tensor]:
    """Return the tensors of a file with those that are the same under other names."""
    if not isinstance(tied, dict):
        raise ValueError("its header names no tied tensors")
    for name, own in cast("dict[str, object]", tied).items():
        if name in tensors or not isinstance(own, str) or own not in tensors:
            raise ValueError(f"its header ties {name!r} to what it does not hold")
        tensors[name] = tensors[own]
    return tensors


def bytes_on_disk(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> int:
    """Return the size of the file that `write_tensors` writes of tensors, also of torch's meta
    device.
    """
    tied = tied_names(tensors)
    sizes = sorted(size for size in sizes_of(tensors) if size[0] not in tied)
    return file_bytes(sizes, {**header, _TIED: tied} if tied else header)


def file_bytes(tensors: Iterable[TensorSize], header: Mapping[str, Any]) -> int:
    """Return the size of the file that `write_tensors` writes, without the tensors themselves.

    A safetensors file has eight bytes, a JSON table padded to a multiple of eight, and the tensors.
    """
    table: dict[str, Any] = {"__metadata__": {_HEADER: json.dumps(header, sort_keys=True)}}
    end = 0
    for name, size, shape in tensors:
        start, end = end, end + size * math.prod(shape)
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": (start, end)}
    text = len(json.dumps(table, separators=(",", ":")))
    return 8 + -(-text // 8) * 8 + end


def sha256_of_tensors(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a file of `write_tensors` holds: names, types, shapes, bytes.

    The tensors lie on the CPU.
    """
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sha256_as_file(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 that a safetensors file of nothing but these tensors has."""
    return hashlib.sha256(safetensors.torch.save(_unshared(tensors))).hexdigest()


def sizes_of(tensors: Mapping[str, Tensor]) -> list[TensorSize]:
    """Return the sizes of tensors, which may lie on torch's meta device."""
    return [(name, tensor.element_size(), tuple(tensor.shape)) for name, tensor in tensors.items()]


def write_line(
    path: Path, at: int, value: Mapping[str, Any], still_ours: Callable[[], None] | None = None
) -> bytes:
    """Write one line of JSON at byte `at` of a file, drop the rest, and return the line.

    Lines that a killed process wrote after its last save are so replaced, not repeated.
    `still_ours` is called when the file is open and before it changes: if another process has put
    its own file under the name by then, nothing of that file is changed. Raises `AnewError` if the
    file cannot be written, is a link, or ends before `at`.
    """
    line = (json_text(value, None) + "\n").encode()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
        with os.fdopen(descriptor, "r+b") as file:
            if still_ours is not None:
                still_ours()
            _check_end(path, os.fstat(descriptor), at)

            file.truncate(at)
            file.seek(at)
            file.write(line)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise AnewError(
            f"{path}: cannot be written ({error.strerror}); free space, then run the same "
            "command again"
        ) from error
    return line


def _check_end(path: Path, status: os.stat_result, at: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise AnewError(f"{path}: is no plain file; move it away, then run the same command again")
    if status.st_size < at:
        raise AnewError(
            f"{path}: has {status.st_size:,} bytes, {at:,} were written: another program changed "
            "it; run the same command again to resume from the last save"
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; `AnewError` for a pipe or a device."""
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the SHA-256 of a value's JSON with sorted keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _what_it_is(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(b"PK") or start[:1] == b"\x80":
        return (
            "is a file of torch.save, which could run code and is never loaded here; convert it "
            "with safetensors"
        )
    return "is truncated or no safetensors file"


def flush_folder(folder: Path) -> None:
    """Make a rename durable where folders can be flushed (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_quietly(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # The folder itself is gone or read-only: the error on its way says so.
        return
