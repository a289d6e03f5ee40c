"""Picture files and bytes to tensors, with one clear line for what cannot be read."""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from anew.core.errors import AnewError

DECODED_AT_ONCE = 1024
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
    second copy of them all. Raises `AnewError` if one cannot be read, or has another size.
    """
    whole = torch.empty(0, 0, 0, 0, dtype=torch.uint8)
    first, done = "", 0
    remaining = iter(pictures)
    with ThreadPoolExecutor() as pool:
        while part := list(islice(remaining, DECODED_AT_ONCE)):
            decoded = list(pool.map(_decode, *zip(*part, strict=True), chunksize=64))
            if not done:
                first = part[0][0]
                whole = torch.empty((count, *decoded[0].shape), dtype=torch.uint8)

            for (name, _), picture in zip(part, decoded, strict=True):
                rows, columns, channels = picture.shape
                if (rows, columns) != tuple(whole.shape[1:3]):
                    raise AnewError(
                        f"{name}: is {columns}x{rows} pixels, but {first} is "
                        f"{whole.shape[2]}x{whole.shape[1]}; all pictures must be of one size: "
                        "resize them first"
                    )
                if channels > whole.shape[3]:
                    # The first colour after grey ones: what is read already becomes colour.
                    whole = whole.repeat(1, 1, 1, channels)
                whole[done] = torch.from_numpy(picture)
                done += 1

    assert done == count, f"{count} pictures were announced, {done} came"
    return whole.permute(0, 3, 1, 2)


def _decode(name: str, content: Path | bytes, mode: str | None = None) -> NDArray[np.uint8]:
    """Return a picture as (H, W, C), in a mode of PIL or, if None, grey or colour as it is."""
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
            array = np.array(_eight_bits(name, picture, mode))
    except FileNotFoundError as error:
        raise AnewError(f"{name}: is not there; check the path") from error
    except UnidentifiedImageError as error:
        raise AnewError(f"{name}: is no picture that can be read; remove or replace it") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise AnewError(f"{name}: is a damaged picture ({error}); remove or replace it") from error
    return array if array.ndim == 3 else array[:, :, None]


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
