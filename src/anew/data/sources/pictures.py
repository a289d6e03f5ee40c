"""Picture files and bytes to tensors, with one clear line for what is none."""

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
    """Return a picture file as uint8 (C, H, W) with 1 (grey), 3 (colour) or 4 (with alpha)
    channels.
    """
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels not in modes:
        raise AnewError(f"{path}: no picture file has {channels} channels; predict in Python")
    return torch.from_numpy(_decode(str(path), path, modes[channels])).permute(2, 0, 1)


def read_all(pictures: Iterable[tuple[str, Path | bytes]], count: int) -> Tensor:
    """Return `count` pictures as uint8 (N, C, H, W): grey where all are grey, else colour; all must
    be of one size.

    Each is a name for messages and a path or the file's bytes. Decoded by several threads, since
    the decoder lets others run, and a part at a time into one block: beside it there is never a
    second copy of them all.
    """
    whole = torch.empty(0, 0, 0, 0, dtype=torch.uint8)
    first, done = "", 0
    given = iter(pictures)
    with ThreadPoolExecutor() as pool:
        while part := list(islice(given, DECODED_AT_ONCE)):
            decoded = list(pool.map(_decode, *zip(*part, strict=True), chunksize=64))
            if not done:
                first, whole = (
                    part[0][0],
                    torch.empty((count, *decoded[0].shape), dtype=torch.uint8),
                )
            for (name, _), picture in zip(part, decoded, strict=True):
                rows, columns, channels = picture.shape
                if (rows, columns) != tuple(whole.shape[1:3]):
                    raise AnewError(
                        f"{name}: is {columns}x{rows} pixels, but {first} is "
                        f"{whole.shape[2]}x{whole.shape[1]}; all "
                        "pictures must be of one size: resize them first"
                    )
                if channels > whole.shape[3]:
                    # The first colour after grey ones: what is there becomes colour.
                    whole = whole.repeat(1, 1, 1, channels)
                whole[done] = torch.from_numpy(picture)
                done += 1
    assert done == count, f"{count} pictures were announced, {done} came"
    return whole.permute(0, 3, 1, 2)


def _decode(name: str, content: Path | bytes, mode: str | None = None) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
            wanted = mode or ("L" if picture.mode in GREY_MODES else "RGB")
            sixteen = picture.mode.startswith("I;16") or (
                picture.mode == "I" and picture.format in ("PNG", "PPM")
            )
            if picture.mode in ("I", "F") and not sixteen:
                raise AnewError(
                    f"{name}: holds 32 bits a pixel, whose range is not known; save it with 8 or 16"
                )
            if sixteen:
                # 16-bit grey: PIL's own conversion would cut off above 255 and not scale.
                grey = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
                array = np.array(grey.convert(wanted))
            else:
                array = np.array(picture.convert(wanted))
    except FileNotFoundError as error:
        raise AnewError(f"{name}: is not there; check the path") from error
    except UnidentifiedImageError as error:
        raise AnewError(f"{name}: is no picture that can be read; remove or replace it") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise AnewError(f"{name}: is a damaged picture ({error}); remove or replace it") from error
    return array if array.ndim == 3 else array[:, :, None]
