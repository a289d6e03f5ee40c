"""Picture files and bytes to tensors, with one clear line for what is none."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from anew.errors import AnewError

GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")


def read_picture(path: Path, channels: int) -> Tensor:
    """Return a picture file as uint8 (C, H, W) with 1 (grey), 3 (colour) or 4 (with alpha) channels."""
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels not in modes:
        raise AnewError(f"{path}: no picture file has {channels} channels; predict in Python")
    return torch.from_numpy(_decode(str(path), path, modes[channels])).permute(2, 0, 1)


def read_all(pictures: Sequence[tuple[str, Path | bytes]]) -> Tensor:
    """Return pictures as uint8 (N, C, H, W): grey where all are grey, colour otherwise; all must be of one size.

    Each is a name for messages and a path or the file's bytes. Decoded by several threads: the decoder lets others run.
    """
    decoded = _in_threads(lambda one: _decode(one[0], one[1], None), pictures)
    size = decoded[0].shape[:2]
    for (name, _), picture in zip(pictures, decoded, strict=True):
        if picture.shape[:2] != size:
            raise AnewError(
                f"{name}: is {picture.shape[1]}x{picture.shape[0]} pixels, but {pictures[0][0]} is {size[1]}x{size[0]}"
                "; all pictures must be of one size: resize them first"
            )
    channels = max(picture.shape[2] for picture in decoded)
    # One block filled picture by picture: no second copy of them all.
    whole = torch.empty((len(decoded), *size, channels), dtype=torch.uint8)
    for number, picture in enumerate(decoded):
        whole[number] = torch.from_numpy(picture)
    return whole.permute(0, 3, 1, 2)


def _decode(name: str, content: Path | bytes, mode: str | None) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
            wanted = mode or ("L" if picture.mode in GREY_MODES else "RGB")
            sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
            if picture.mode in ("I", "F") and not sixteen:
                raise AnewError(f"{name}: holds 32 bits a pixel, whose range is not known; save it with 8 or 16")
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


def _in_threads(work: Callable[[Any], NDArray[np.uint8]], items: Sequence[Any]) -> list[NDArray[np.uint8]]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(work, items, chunksize=64))
