"""Pictures that are decoded when they are shown, to networks that several processes train."""

import numpy as np
import pytest
import torch
from PIL import Image

import anew
from anew import AnewError
from anew.data import from_arrays
from anew.data.kept import FEW
from forks import fork_together
from runs import finish, weights

OPTIONS = {
    "generations": 1,
    "epochs": 1,
    "batch_size": 64,
    "siblings": ("cwtm",),
    "threads": 1,
    "device": "cpu",
    "force": True,
    "recipe": {"model": {"options": {"width": 4}}},
}
FLAGS = "--generations 1 --epochs 1 --batch-size 64 --force --device cpu --model.options width=4"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """So many pictures that processes of their own decode them."""
    place = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(2 * FEW):
        folder = place / ("ant", "bee")[number % 2]
        folder.mkdir(exist_ok=True)
        picture = random.integers(0, 160, (8, 8, 3), dtype=np.uint8) + 60 * (number % 2)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:04}.png")
    return f"folder:{place}"


@pytest.mark.slow
def test_networks_trained_at_once_read_the_disk_with_processes_of_their_own(source, tmp_path):
    options = OPTIONS | {"progress": False}
    anew.train("small_cnn", source, out=tmp_path / "memory", storage="memory", **options)
    disk = {"storage": "disk", "workers": 1, "jobs": 2}
    anew.train("small_cnn", source, out=tmp_path / "disk", **disk, **options)
    assert weights(tmp_path / "memory") == weights(tmp_path / "disk")
    assert len(weights(tmp_path / "disk")) == 3


def test_processes_of_one_network_show_the_same_from_the_disk_and_from_memory(source, tmp_path):
    for storage in ("disk", "memory"):
        options = [*FLAGS.split(), "--storage", storage]
        finish(fork_together(tmp_path / storage, source, *options))
    assert weights(tmp_path / "memory") == weights(tmp_path / "disk")
    assert len(weights(tmp_path / "disk")) == 2


class Closure(torch.utils.data.Dataset):
    """A data set that cannot be pickled."""

    def __init__(self):
        self.change = lambda value: value + torch.rand(())

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return self.change(torch.full((4,), float(index % 2))), index % 2


def test_a_data_set_that_cannot_be_sent_is_one_line(tmp_path):
    test = from_arrays((np.eye(4)[[0, 1]], np.arange(2))).train
    held = torch.utils.data.TensorDataset(test.inputs, test.labels)
    options = OPTIONS | {"views": "fresh", "jobs": 2, "progress": False}
    given = {"train": Closure(), "validation": held, "test": held}
    with pytest.raises(AnewError, match=r"cannot be given to other processes .*drop --jobs"):
        anew.train("mlp", given, out=tmp_path / "f", **(options | {"recipe": {}}))
