"""Files forged by hand: safetensors with other headers, records with right hashes, pictures, data.

Whoever may write into a family can compute its hashes too, so what is forged here is sealed again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HACK = "import pathlib; pathlib.Path({place!r}).touch()\n"


class Runs:
    """Pickles to a call that makes a file: whoever loads it has run code."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.place}",)


def read_header(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the JSON header of a safetensors file, and the bytes of its tensors."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_header(path: Path, header: Mapping[str, Any], tensors: bytes) -> None:
    """Write a safetensors file from its parts."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + tensors)


def change_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what anew keeps in a safetensors file's header, and seal the network again."""
    header, tensors = read_header(path)
    about = json.loads(header["__metadata__"]["anew"])
    change(about)
    header["__metadata__"]["anew"] = json.dumps(about)
    write_header(path, header, tensors)
    reseal(path.parent)


def reseal(folder: Path) -> None:
    """Write right hashes into a network's record, as its maker could."""
    place = folder / "done.json"
    if not place.exists():
        return
    record = json.loads(place.read_text())
    for name, entry in record["files"].items():
        path = folder / name
        if path.is_file():
            content = path.read_bytes()
            entry.update(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    write_record(place, record)


def write_record(place: Path, record: dict[str, Any]) -> None:
    """Write a record with its own hash."""
    record.pop("sha256", None)
    text = json.dumps(record, sort_keys=True).encode()
    record["sha256"] = hashlib.sha256(text).hexdigest()
    place.write_text(json.dumps(record))


def networks(family: Path) -> list[Path]:
    """Return the folders of a family's networks, the teacher first."""
    folders = [path.parent for path in family.glob("networks/*/spec.json")]
    return sorted(folders, key=lambda folder: bool(_teachers(folder)))


def _teachers(folder: Path) -> Any:
    return json.loads((folder / "spec.json").read_text()).get("teachers")


def picture(form: str = "PNG", value: int = 100, size: tuple[int, int] = (8, 8)) -> bytes:
    """Return a grey picture's bytes."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", size, value).save(file, form)
    return file.getvalue()


def write_folder_data(place: Path, names: tuple[str, ...] = ("a", "b"), form: str = "PNG") -> Path:
    """Write pictures, one folder a class."""
    for label, name in enumerate(names):
        (place / name).mkdir(parents=True)
        for number in range(12):
            content = picture(form, 40 + 100 * label + number)
            (place / name / f"{number}.{form.lower()}").write_bytes(content)
    return place


def write_parquet(path: Path, names: tuple[str, ...] = ("a", "b"), images: Any = None) -> Path:
    """Write pictures and labels as the `datasets` library does."""
    import pyarrow
    import pyarrow.parquet

    images = images or [picture(value=40 + n) for n in range(24)]
    table = pyarrow.table(
        {
            "image": [{"bytes": image, "path": None} for image in images],
            "label": [n % len(names) for n in range(len(images))],
        }
    )
    features = {"label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path)
    return path


def write_cifar(place: Path, meta: object = None, batch: object = None) -> Path:
    """Write an archive in the layout of CIFAR-10, with 10 pictures a batch."""
    folder = place / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    whole = {
        b"data": rng.integers(0, 255, (10, 3072), dtype=np.uint8),
        b"labels": list(range(10)),
    }
    names = {b"label_names": [f"class {n}".encode() for n in range(10)]}
    files = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    for name in files:
        first = batch is not None and name == files[0]
        (folder / name).write_bytes(pickle.dumps(batch if first else whole, 2))
    (folder / "batches.meta").write_bytes(pickle.dumps(names if meta is None else meta, 5))
    return place


def idx(values: np.ndarray) -> bytes:
    """Return an array of bytes in the IDX format."""
    sizes = b"".join(struct.pack(">I", size) for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def write_idx(place: Path) -> Path:
    """Write a data set in the layout of MNIST, 40 pictures of 8x8."""
    raw = place / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        pictures = rng.integers(0, 255, (40, 8, 8))
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(pictures))
        labels = gzip.compress(idx(np.arange(40) % 10), mtime=0)
        (raw / f"{split}-labels-idx1-ubyte.gz").write_bytes(labels)
    return place


def write_npz(path: Path, **arrays: Any) -> Path:
    """Write 24 pictures of two classes, with other arrays over them."""
    rng = np.random.default_rng(0)
    whole = {"x": rng.integers(0, 255, (24, 8, 8), dtype=np.uint8), "y": np.arange(24) % 2}
    np.savez(path, **{**whole, **arrays})
    return path
