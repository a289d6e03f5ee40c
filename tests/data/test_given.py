"""What `anew.train` takes for data in Python."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import anew
from anew import AnewError, api
from anew.core.spec import DataSpec

X = np.random.default_rng(0).integers(0, 256, (24, 6, 6)).astype(np.uint8)
Y = np.arange(24) % 3
SETS = [TensorDataset(torch.from_numpy(X[:, None]), torch.from_numpy(Y)) for _ in range(3)]


def sizes(given, out):
    """How many examples training, validation and test have."""
    result = anew.train(
        "mlp", given, generations=0, epochs=0, out=out, progress=False, device="cpu"
    )
    data = result.data
    return len(data.training), len(data.validation), len(data.test)


@pytest.mark.parametrize(
    "given, expected",
    [
        (((X, Y), (X[:9], Y[:9])), (22, 2, 9)),
        (((X, Y), (X[:6], Y[:6]), (X[:9], Y[:9])), (24, 6, 9)),
        ({"train": (X, Y), "val": (X[:6], Y[:6])}, (19, 6, 5)),
        ({"Training": (X, Y), "Valid": (X[:6], Y[:6]), "eval": (X[:9], Y[:9])}, (24, 6, 9)),
        ((SETS[0], SETS[1]), (22, 2, 24)),
        ({"train": SETS[0], "dev": SETS[1], "test": SETS[2]}, (24, 24, 24)),
        ((list(X), Y.tolist()), (17, 2, 5)),
    ],
)
def test_splits_are_given_as_people_have_them(tmp_path, given, expected):
    assert sizes(given, tmp_path / "family") == expected


def test_pairs_of_hugging_face_data_sets_are_training_and_test(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    from PIL import Image

    def made(count):
        pictures = [Image.fromarray(one) for one in X[:count]]
        rows = {"image": pictures, "label": Y[:count].tolist()}
        return datasets.Dataset.from_dict(rows, features)

    assert sizes((made(24), made(9)), tmp_path / "family") == (22, 2, 9)


@pytest.mark.parametrize(
    "given, words",
    [
        (DataLoader(SETS[0]), r"got a DataLoader; give the data set that it loads"),
        ((DataLoader(SETS[0]), DataLoader(SETS[1])), r"got a DataLoader; give the data set"),
        ({"train": DataLoader(SETS[0])}, r"got a DataLoader; give the data set"),
        (Path("photos"), "got a path; write 'folder:photos'"),
        ({"x": X, "y": Y}, "got a mapping of x, y"),
        ({"test": (X, Y)}, "got a mapping of test"),
        ({"val": (X, Y), "dev": (X, Y), "train": (X, Y)}, "got a mapping of val, dev, train"),
        (X, "got ndarray"),
    ],
)
def test_other_data_are_refused_with_what_to_give(given, words):
    with pytest.raises(AnewError, match=f"^data must be .*{words}"):
        api._source(given, DataSpec())
