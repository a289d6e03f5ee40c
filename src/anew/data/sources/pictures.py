"""Picture files and bytes to tensors, with one clear line for what cannot be read."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from anew.core import files, memory
from anew.core.errors import AnewError

DECODED_AT_ONCE = 1024
DECODED_BYTES = 256 << 20
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
"""What is read, whatever a file's name says: PIL starts another program for some other formats."""
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")


def read_picture(path: Path, channels: int) -> Tensor:
    """Return a picture file as uint8 (C, H, W), with 1 (grey), 3 (colour) or 4 (alpha) channels.

    Raises `AnewError` if there is no such mode, or if the file cannot be read.
    """
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels not in modes:
        raise AnewError(f"{path}: no picture file has {channels} channels; predict in Python")
    return torch.from_numpy(_decode(str(path), path, modes[channels])).permute(2, 0, 1)


def read_all(pictures: Iterable[tuple[str, Path | bytes]], count: int) -> Tensor:
    """Return `count` pictures as uint8 (N, C, H, W): grey if all are grey, else colour.

    Each is a name for messages and a path or the file's bytes. Several threads decode, since the
    decoder lets others run, and a part at a time goes into one block: beside it there is never a
    second copy of them all. Raises `AnewError` if one cannot be read, or has another size, and
    before any is decoded if the memory does not hold them.
    """
    remaining = iter(pictures)
    first = next(remaining)
    width, height, depth = _size(*first)
    size = width * height * depth
    # A copy of most of them is made when the validation split is cut off.
    memory.demand(
        f"{first[0]}: {count:,} pictures of {width}x{height} pixels, with a copy,",
        2 * count * size,
        "give fewer pictures, or resize them",
    )

    at_once = max(1, min(DECODED_AT_ONCE, DECODED_BYTES // size))
    whole = torch.empty(count, height, width, depth, dtype=torch.uint8)
    remaining = chain([first], remaining)
    done = 0
    with ThreadPoolExecutor() as pool:
        while part := list(islice(remaining, at_once)):
            alike = repeat((first[0], width, height))
            decoded = pool.map(_decode_alike, *zip(*part, strict=True), alike, chunksize=64)
            for picture in decoded:
                if picture.shape[2] > whole.shape[3]:
                    # The first colour after grey ones: what is read already becomes colour.
                    whole = whole.repeat(1, 1, 1, picture.shape[2])
                whole[done : done + 1] = torch.from_numpy(picture)
                done += 1

    assert done == count, f"{count} pictures were announced, {done} came"
    return whole.permute(0, 3, 1, 2)


def _size(name: str, content: Path | bytes) -> tuple[int, int, int]:
    """Return a picture's width, height and channels without decoding it."""
    with _opened(name, content) as picture:
        return *picture.size, 1 if picture.mode in GREY_MODES else 3


def _decode_alike(
    name: str, content: Path | bytes, first: tuple[str, int, int]
) -> NDArray[np.uint8]:
    """Return a picture as (H, W, C), if it has the size of the first, which is named."""
    return _decode(name, content, None, first)


def _decode(
    name: str,
    content: Path | bytes,
    mode: str | None = None,
    alike: tuple[str, int, int] | None = None,
) -> NDArray[np.uint8]:
    """Return a picture as (H, W, C), in a mode of PIL or, if None, grey or colour as it is.

    `alike` names a picture with its width and height, which this one must have too.
    """
    with _opened(name, content) as picture:
        if alike is not None and picture.size != alike[1:]:
            width, height = picture.size
            raise AnewError(
                f"{name}: is {width}x{height} pixels, but {alike[0]} is {alike[1]}x{alike[2]}; "
                "all pictures must be of one size: resize them first"
            )
        array = np.array(_eight_bits(name, picture, mode))
    return array if array.ndim == 3 else array[:, :, None]


@contextmanager
def _opened(name: str, content: Path | bytes) -> Generator[Image.Image]:
    """Open a picture, whose pixels are not decoded yet; `AnewError` if that or its use fails."""
    if isinstance(content, Path):
        files.check_regular(content)
    try:
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        with Image.open(file, formats=FORMATS) as picture:
            yield picture
    except FileNotFoundError as error:
        raise AnewError(f"{name}: is not there; check the path") from error
    except UnidentifiedImageError as error:
        raise AnewError(f"{name}: is no picture that can be read; remove or replace it") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise AnewError(f"{name}: is a damaged picture ({error}); remove or replace it") from error


def _eight_bits(name: str, picture: Image.Image, mode: str | None) -> Image.Image:
    wanted = mode or ("L" if picture.mode in GREY_MODES else "RGB")
    is_sixteen = picture.mode.startswith("I;16") or (
        picture.mode == "I" and picture.format in ("PNG", "PPM")
    )
    if is_sixteen:
        # 16-bit grey: PIL's own conversion would cut off above 255 and not scale.
        grey = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        return grey.convert(wanted)
    if picture.mode in ("I", "F"):
        raise AnewError(
            f"{name}: holds 32 bits a pixel, whose range is not known; save it with 8 or 16"
        )
    return picture.convert(wanted)
