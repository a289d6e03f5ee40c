"""Picture files to arrays: upright, over white, cut to one size; one line for what cannot be read.

A picture is *kept* in one form, whatever the file was: the bytes of a training example are the same
whether they lie in memory, in the cache, or are decoded when they are shown. Views are made from
the kept picture.
"""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.files import START, check_regular, what_is_instead

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF", "GIF", "AVIF")
"""What is read, whatever a file's name says: PIL starts another program for some other formats."""
MOST_PIXELS = 178_956_970
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
TALL = 1.8
"""Of pictures more than twice as high as wide Pillow 13 resizes columns first."""
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
_EXIF = frozenset({"exif", "Raw profile type exif", "Raw profile type APP1"})
_DEEP = re.compile(r"\b(RGB|RGBA|RGBX|LA|CMYK);16")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
Size = tuple[int, int]
"""Height and width."""
Pixels = NDArray[Any]
"""Numbers of pictures, uint8 or float32."""
Part = tuple[int, int, int, int]
"""A rectangle of a kept picture: its first row and column, its height and width."""


class PictureError(AnewError):
    """A file that holds no picture, or a damaged one; others may be sound."""


@dataclass(frozen=True)
class Form:
    """The form in which pictures are kept."""

    size: Size | None = None
    """Height and width. The picture is resized until it covers them, then its centre is cut out.
    If None, pictures stay as they are and must be of one size."""
    channels: int | None = None
    """1 for grey, 3 for colour, 4 for colour and transparency; None for what the file has."""
    shown: Size | None = None
    """Height and width of the centre that is shown, so that it lies where torchvision's
    CenterCrop of the resized picture has it; `size` if not given."""


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself before it is decoded."""

    height: int
    width: int
    """The upright picture's size."""
    channels: int
    """1 for grey, else 3."""
    is_deep: bool
    """Whether the picture has 16 bits a pixel."""


def read_header(name: str, content: Path | bytes) -> Header:
    """Return what a picture file says of itself, without decoding it.

    Raises `PictureError` if it is no picture.
    """
    with _opened(name, content) as picture:
        width, height = picture.size
        if _orientation(picture) in _TURNED:
            width, height = height, width
        grey = picture.mode in GREY_MODES
        return Header(height, width, 1 if grey else 3, _is_deep(picture))


def decode(name: str, content: Path | bytes, form: Form, part: Part | None = None) -> Pixels:
    """Return a picture (H, W, C) in a form: uint8, or float32 if it has 16 bits a pixel.

    Pictures of 16 bits are scaled to the range of eight, 0 to 255, and keep their fractions. The
    picture is turned upright as its EXIF data say, and transparent parts are shown over white.
    Of a form with a size a `part` alone can be had, which takes less time. Raises `PictureError` if
    it cannot be decoded.
    """
    with _opened(name, content) as picture:
        return pixels_of(name, picture, form, part)


def pixels_of(name: str, picture: Image.Image, form: Form, part: Part | None = None) -> Pixels:
    """Return an open picture (H, W, C) in a form, or a part of it, as `decode` does.

    Raises `PictureError` for 32 bits a pixel, and for 16 in several channels.
    """
    deep = _is_deep(picture)
    _check_depth(name, picture)
    upright = _upright(picture)
    flat = _deep(upright) if deep else _eight_bits(name, upright, form.channels)
    if form.size is not None:
        flat = _fitted(flat, form.size, form.shown or form.size, part)
    pixels = np.asarray(flat, np.float32 if deep else np.uint8)

    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    if deep and form.channels not in (None, 1):
        pixels = pixels.repeat(3, axis=2)
        if form.channels == 4:
            pixels = np.concatenate([pixels, np.full_like(pixels[:, :, :1], 255)], axis=2)
    return pixels


def read_picture(path: Path, form: Form) -> Tensor:
    """Return a picture file as (C, H, W) in a form that names 1, 3 or 4 channels.

    Raises `AnewError` if no picture file has so many, or if the file cannot be read.
    """
    if form.channels not in _MODES:
        raise AnewError(f"{path}: no picture file has {form.channels} channels; predict in Python")
    pixels = decode(str(path), path, form)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def fit(pixels: Pixels, size: Size, shown: Size | None = None) -> Pixels:
    """Return an array (H, W, C) resized and cut to a size, as `decode` does it with files."""
    if pixels.shape[:2] == size:
        return pixels
    planes = [
        np.asarray(_fitted(Image.fromarray(plane), size, shown or size))
        for plane in np.ascontiguousarray(pixels.transpose(2, 0, 1))
    ]
    return np.stack(planes, axis=2)


def _fitted(picture: Image.Image, size: Size, shown: Size, part: Part | None = None) -> Image.Image:
    """Return a picture resized until it covers (height, width), with its centre cut out.

    The arithmetic is that of torchvision's Resize of the shorter side and CenterCrop, with PIL's
    bilinear filter, which averages over all that a pixel covers (antialias).
    """
    height, width = size
    if picture.width * height <= picture.height * width:
        resized = (width, max(height, int(width * picture.height / picture.width)))
    else:
        resized = (max(width, int(height * picture.width / picture.height)), height)

    left = _start(resized[0], width, shown[1])
    top = _start(resized[1], height, shown[0])
    if part is not None and picture.height <= TALL * picture.width and _resizes_rows_first():
        return _resized_part(picture, resized, (top + part[0], left + part[1], *part[2:]))
    if resized != picture.size:
        picture = picture.resize(resized, Image.Resampling.BILINEAR)
    if part is not None:
        return _cut(picture, (top + part[0], left + part[1], *part[2:]))
    return picture if resized == (width, height) else _cut(picture, (top, left, height, width))


def _resized_part(picture: Image.Image, resized: tuple[int, int], part: Part) -> Image.Image:
    """Return a part of a picture resized to (width, height), with the bits of the whole.

    Pillow resizes rows, then columns, each rounded. Here rows are resized only where the part's
    rows come from, and columns only where the part lies. Pillow's own `box` would round the weights
    in another way.
    """
    top, left, height, width = part
    scale = picture.height / resized[1]
    reach = max(scale, 1.0)
    first = max(0, int((top + 0.5) * scale - reach) - 1)
    last = min(picture.height, int((top + height - 0.5) * scale + reach) + 2)

    rows = _cut(picture, (first, 0, last - first, picture.width))
    rows = rows.resize((resized[0], last - first), Image.Resampling.BILINEAR)
    # Rows beyond the cut ones are black, and no row of the part sees them.
    columns = _cut(rows, (-first, left, picture.height, width))
    columns = columns.resize((width, resized[1]), Image.Resampling.BILINEAR)
    return _cut(columns, (top, 0, height, width))


@functools.cache
def _resizes_rows_first() -> bool:
    """Return whether this Pillow resizes rows before columns, of pictures that are not tall."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    for height, width in ((60, 90), (75, 75), (90, 60)):
        picture = Image.fromarray(noise[:height, :width])
        resized, middle = (width * 2 // 3, height * 2 // 3), (9, 11, 20, 23)
        whole = picture.resize(resized, Image.Resampling.BILINEAR)
        part = _resized_part(picture, resized, middle)
        if not np.array_equal(np.asarray(_cut(whole, middle)), np.asarray(part)):
            return False
    return True


def _cut(picture: Image.Image, part: Part) -> Image.Image:
    top, left, height, width = part
    return picture.crop((left, top, left + width, top + height))


def _start(whole: int, kept: int, shown: int) -> int:
    """Return where the kept part starts, such that the middle of the shown part stays the same."""
    start = round((whole - shown) / 2) - round((kept - shown) / 2)
    return min(max(start, 0), whole - kept)


@contextmanager
def _opened(name: str, content: Path | bytes) -> Generator[Image.Image]:
    """Open a picture of a known format; every error of its file is one line that names it."""
    try:
        if isinstance(content, Path):
            check_regular(content)

        with warnings.catch_warnings():
            # Of palettes with transparency, which is treated here, and of large pictures.
            warnings.simplefilter("ignore")
            source = content if isinstance(content, Path) else io.BytesIO(content)
            with Image.open(source, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise _too_large(name, f"has {picture.width * picture.height:,} pixels")
                yield picture

    except FileNotFoundError as error:
        raise AnewError(f"{name}: is not there; check the path") from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{name}: {_what_it_is(content)}") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, "has too many pixels") from error
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError) as error:
        if isinstance(error, AnewError):
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{name}: is a damaged picture ({why})") from error


def _too_large(name: str, what: str) -> PictureError:
    return PictureError(f"{name}: {what}, at most {MOST_PIXELS:,} are read; make it smaller")


def _what_it_is(content: Path | bytes) -> str:
    """Return what is known of a file that no decoder takes."""
    try:
        start = content[:START] if isinstance(content, bytes) else _first_bytes(content)
    except OSError:
        return "is not a readable picture"
    instead = what_is_instead(start)
    if instead:
        return instead
    if start[:4] in (b"II*\0", b"MM\0*"):
        return (
            "is an unsupported kind of TIFF file, such as one with more than 4 channels; save "
            "arrays with numpy.savez and give npz:FILE"
        )
    return "is not a readable picture"


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(START)


def _orientation(picture: Image.Image) -> int:
    # For EXIF data behind a PNG file's pixels PIL would decode them all: only those before count.
    if picture.format == "PNG" and not _EXIF.intersection(picture.info):
        return 1
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF data raise nearly anything, and the picture may be sound
        return 1


def _upright(picture: Image.Image) -> Image.Image:
    if _orientation(picture) == 1:
        picture.load()
        return picture
    return ImageOps.exif_transpose(picture)


def _is_deep(picture: Image.Image) -> bool:
    """Return whether a grey picture has 16 bits; formats without 16-bit numbers use 32 of PIL's."""
    return picture.mode.startswith("I;16") or (
        picture.mode == "I" and picture.format in ("PNG", "PPM")
    )


def _deep(picture: Image.Image) -> Image.Image:
    """Return a 16-bit grey picture in floats from 0 to 255."""
    return Image.fromarray((np.asarray(picture).astype(np.float32)) / np.float32(257))


def _eight_bits(name: str, picture: Image.Image, channels: int | None) -> Image.Image:
    wanted = _MODES[channels] if channels else "L" if picture.mode in GREY_MODES else "RGB"
    is_transparent = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or (
        "transparency" in picture.info
    )
    if is_transparent and wanted != "RGBA":
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert(wanted)
    return picture if picture.mode == wanted else picture.convert(wanted)


def _check_depth(name: str, picture: Image.Image) -> None:
    """Raise `PictureError` for pixels of which PIL would drop bits, before it decodes them."""
    if _is_deep(picture):
        return
    if picture.mode in ("I", "F"):
        raise PictureError(
            f"{name}: has 32 bits a pixel with an unknown range; save it with 8 or 16"
        )

    # How the pixels are written in the file, such as RGB;16B.
    tiles: list[Any] = getattr(picture, "tile", [])
    if any(_DEEP.search(str(tile[3])) for tile in tiles if len(tile) > 3):
        raise PictureError(
            f"{name}: has 16 bits for each of several channels, and only 8 are supported; save "
            "it with 8, or as an array with numpy.savez"
        )
