"""How fast photographs are read, and in how much memory: anew's streamed pictures beside others.

`python -m benchmarks.loading --counts 10000 100000` writes Parquet files of JPEG bytes, many
pictures sharing the bytes of a few, and measures in processes of their own, one after another:

- `decoder`: Pillow decoding and resizing the same bytes in one thread, times the processes: the
  most that any loader built on it can reach;
- `torchvision`: a DataLoader with RandomResizedCrop and flip over the same bytes in memory;
- `anew-disk`: an epoch of batches as training sees them, decoded when they are shown;
- `anew-cached`: the same when all decoded pictures are in the cache.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

BATCH = 64
SIDE = 224
FEW = 64


def jpegs(few: int = FEW) -> list[bytes]:
    """Return JPEG files of photographs' size and grain, 320 to 500 pixels a side."""
    random = np.random.default_rng(0)
    files: list[bytes] = []
    for _ in range(few):
        height, width = (int(side) for side in random.integers(320, 500, 2))
        coarse = random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        grain = np.asarray(smooth) + random.normal(0, 6, (height, width, 3))
        file = io.BytesIO()
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files


def write(folder: Path, count: int) -> None:
    """Write `count` pictures in ten classes as train.parquet, and a tenth as test.parquet."""
    import pyarrow
    import pyarrow.parquet

    files = jpegs()
    for name, rows in (("train", count), ("test", max(10, count // 100))):
        numbers = np.random.default_rng(1).integers(0, len(files), rows)
        images = pyarrow.DictionaryArray.from_arrays(
            pyarrow.array(numbers, pyarrow.int32()), pyarrow.array(files, pyarrow.binary())
        )
        table = pyarrow.table({"image": images, "label": np.arange(rows) % 10})
        pyarrow.parquet.write_table(table, folder / f"{name}.parquet", row_group_size=1000)


def decoder(seconds: float) -> float:
    """Return the pictures a second that one thread decodes and resizes."""
    files, done = jpegs(), 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        picture = Image.open(io.BytesIO(files[done % len(files)])).convert("RGB")
        picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        done += 1
    return done / (time.perf_counter() - start)


def torchvision_batches(count: int, workers: int) -> Iterator[int]:
    """Yield the sizes of batches of torchvision's usual pipeline."""
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    files = jpegs()
    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )

    class Pictures(Dataset):
        def __len__(self):
            return count

        def __getitem__(self, number):
            return change(Image.open(io.BytesIO(files[number % len(files)])).convert("RGB")), 0

    loader = DataLoader(Pictures(), BATCH, shuffle=True, num_workers=workers, drop_last=True)
    for inputs, _ in loader:
        yield len(inputs)


def anew_batches(folder: Path, workers: int, budget: float) -> Iterator[int]:
    """Yield the sizes of batches of an epoch as training sees them."""
    import torch

    from anew.core.spec import DataSpec
    from anew.data import Batches, open_source, prepare
    from anew.data.storage import Storage

    spec = DataSpec(source=f"parquet:{folder}", size=(SIDE,), views="resized-crop+flip")
    storage = Storage("disk", workers, budget, lambda line: print(line, file=sys.stderr))
    started = time.perf_counter()
    data = prepare(open_source(spec, storage), spec)
    print(f"start: {time.perf_counter() - started:.1f} s", file=sys.stderr)
    for batch in Batches(data, BATCH, torch.device("cpu")).epoch(0):
        yield len(batch.inputs)


def measure(batches: Iterator[int], seconds: float) -> dict[str, float]:
    """Return pictures a second after the first batches, for some seconds, and peak memory."""
    for _ in range(4):
        next(batches)
    start, done = time.perf_counter(), 0
    for size in batches:
        done += size
        if time.perf_counter() - start > seconds:
            break
    rate = done / (time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"rate": rate, "peak": peak}


def one(what: str, folder: Path, count: int, workers: int, seconds: float) -> dict[str, float]:
    """Measure one contender in this process."""
    if what == "decoder":
        return {"rate": decoder(seconds) * max(1, workers), "peak": 0.0}
    if what == "torchvision":
        return measure(torchvision_batches(count, workers), seconds)
    budget = 1e13 if what == "anew-cached" else (count * 100e3)
    return measure(anew_batches(folder, workers, budget), seconds)


def main() -> None:
    """Measure all contenders for each count and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["decoder", "torchvision", "anew-disk"])
    parser.add_argument(
        "--one", nargs=3, metavar=("WHAT", "FOLDER", "COUNT"), help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    if given.one:
        what, folder, count = given.one
        print(json.dumps(one(what, Path(folder), int(count), given.workers, given.seconds)))
        return

    for count in given.counts:
        folder = Path(tempfile.mkdtemp(prefix="anew-loading-"))
        environment = {**os.environ, "ANEW_CACHE": str(folder / "cache")}
        try:
            write(folder, count)
            found: dict[str, list[dict[str, float]]] = {what: [] for what in given.only}
            for _ in range(given.rounds):
                for what in given.only:
                    command = [sys.executable, "-m", "benchmarks.loading", "--one", what]
                    command += [str(folder), str(count), "--workers", str(given.workers)]
                    command += ["--seconds", str(given.seconds)]
                    done = subprocess.run(
                        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
                    )
                    found[what].append(json.loads(done.stdout))
            print(f"\n{count:,} pictures, {given.workers} processes, batches of {BATCH} at {SIDE}")
            for what, rounds in found.items():
                rate = statistics.median(each["rate"] for each in rounds)
                ratio = statistics.median(
                    each["rate"] / limit["rate"]
                    for each, limit in zip(rounds, found[given.only[0]], strict=True)
                )
                peak = max(each["peak"] for each in rounds)
                print(f"{what:12} {rate:8,.0f} pictures/s  {ratio:5.2f} x  peak {peak:.2f} GB")
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
