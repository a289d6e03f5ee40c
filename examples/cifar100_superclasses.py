"""Some superclasses of CIFAR-100 as an archive for anew, and the file of groups for `--groups`.

    python examples/cifar100_superclasses.py cifar100 4 four.npz four.txt
    anew study run examples/cifar100_superclasses.toml --data npz:four.npz
    anew insight FAMILY --siblings --groups four.txt

The first superclasses of the set's own order are taken, with all pictures of their five classes.
The folder holds `train.parquet` and `test.parquet` with the columns `label` and `coarse_label`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import anew


def main(folder: str, count: int, target: Path, groups: Path) -> None:
    """Write the pictures of the first ``count`` superclasses, and which class is in which."""
    source = anew.data.load(f"parquet:{folder}")
    table = pq.read_table(Path(folder) / "train.parquet", columns=["label", "coarse_label"])
    superclass = np.zeros(len(source.classes), dtype=np.int64)
    superclass[table["label"].to_numpy()] = table["coarse_label"].to_numpy()
    kept = np.flatnonzero(superclass < count)

    arrays: dict[str, np.ndarray] = {}
    for name, part in (("train", source.train), ("test", source.test)):
        if part is None:
            sys.exit(f"{folder} has no {name} pictures")
        labels = part.labels.numpy()
        chosen = np.isin(labels, kept)
        arrays[f"x_{name}"] = part.inputs.numpy()[chosen]
        arrays[f"y_{name}"] = np.searchsorted(kept, labels[chosen])
    classes = [source.classes[number] for number in kept]
    np.savez(target, classes=np.array(classes), **arrays)
    lines = [f"{name},{superclass[number]}" for name, number in zip(classes, kept, strict=True)]
    groups.write_text("\n".join(lines) + "\n")
    print(f"{len(classes)} classes, {len(arrays['y_train'])} and {len(arrays['y_test'])} pictures")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
