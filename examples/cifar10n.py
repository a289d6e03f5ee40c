"""CIFAR-10 with labels that people gave (CIFAR-10N, Wei et al. 2022) as an archive for anew.

    python examples/cifar10n.py CIFAR10 cifar10n_train.npz worse_label worse.npz
    anew study run examples/noisy_labels.toml --data npz:worse.npz

CIFAR10 is what follows `parquet:`, a folder or a file of Parquet; the archive of labels has a row
for each training picture, in the order of the files. The test set keeps its own, clean labels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import anew


def main(pictures: str, labels: str, column: str, target: str) -> None:
    """Write the pictures of `pictures` with the training labels `column` of `labels`."""
    source = anew.data.load(f"parquet:{pictures}")
    with np.load(labels, allow_pickle=False) as table:
        given = table[column].astype(np.int64)
    own = source.train.labels.numpy()
    if source.test is None or len(given) != len(own):
        sys.exit(f"{labels}: {len(given)} labels for {len(own)} training pictures; use its own set")

    print(f"{column}: {100 * np.mean(given != own):.1f} % differ from the set's own labels")
    np.savez(
        Path(target),
        x_train=source.train.inputs.numpy(),
        y_train=given,
        x_test=source.test.inputs.numpy(),
        y_test=source.test.labels.numpy(),
        classes=np.array(source.classes),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
