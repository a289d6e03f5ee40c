"""Sources that come as arrays: tensors, NumPy's arrays and scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anew.data.sources.arrays import Array, as_examples
from anew.data.sources.source import Reading, Source, checked_source


def from_arrays(
    train: tuple[Array, Array],
    test: tuple[Array, Array] | None = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    views: str = "none",
    *,
    validation: tuple[Array, Array] | None = None,
) -> Source:
    """Return arrays (inputs, labels) as a source; raises `AnewError` if they are none.

    Without a test or a validation set one is cut off from the training examples.
    """
    names = tuple(classes) if classes is not None else None
    count = len(names) if names is not None else None
    examples = as_examples(*train, name, count)
    tests = as_examples(*test, f"{name} (test)", count) if test is not None else None
    held_out = None
    if validation is not None:
        held_out = as_examples(*validation, f"{name} (validation)", count)
    return checked_source(name, examples, tests, names, views, held_out)


def read_digits(reading: Reading) -> Source:
    """Read scikit-learn's 1,797 grey 8x8 pictures of digits, which need no files."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    # 0..16 becomes 0..255, so that a picture file of a digit means the same.
    values = np.rint(np.asarray(pictures).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return from_arrays(
        (values, np.asarray(labels)), classes=[str(digit) for digit in range(10)], name=reading.name
    )
