"""Torch data sets with random transforms, read afresh: pure functions of seed, epoch and place."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset
from torchvision import transforms

import anew
from anew import AnewError
from anew.core import randomness
from anew.core.spec import DataSpec
from anew.data import Batches, Resident, from_datasets, prepare
from anew.data.fresh import Fresh
from anew.data.storage import Storage
from runs import weights

CPU = torch.device("cpu")
CHANGE = transforms.Compose(
    [transforms.RandomResizedCrop(8), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
)


class Drawn(Dataset):
    """Grey pictures of three classes; with a change they come through random transforms."""

    def __init__(self, count=24, change=None, first=0):
        self.count, self.change, self.first = count, change, first

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        number = self.first + index
        values = np.random.default_rng(number).integers(0, 90, (12, 12), dtype=np.uint8)
        values[:, 4 * (number % 3) : 4 * (number % 3) + 4] += 120
        picture = Image.fromarray(values)
        if self.change is None:
            return transforms.functional.pil_to_tensor(picture.resize((8, 8))), number % 3
        return self.change(picture), number % 3


def add_noise(picture):
    """Noise from all three generators that transforms draw from."""
    values = torch.from_numpy(np.asarray(picture.resize((8, 8))).astype(np.float32) / 255)
    noise = torch.rand(8, 8) + random.random() + np.random.rand()
    return (values + 0.1 * noise)[None]


class OwnGenerator:
    """A transform with a generator of its own, whose state goes on from call to call."""

    def __init__(self):
        self.generator = np.random.default_rng(0)

    def __call__(self, picture):
        return add_noise(picture) + float(self.generator.random())


def splits(change=CHANGE, count=24):
    return {
        "train": Drawn(count, change),
        "validation": Drawn(12, None, 100),
        "test": Drawn(12, None, 200),
    }


def prepared(change=CHANGE, workers=0, views="fresh", given=None, **options):
    spec = DataSpec(source="data set", views=views, **options)
    storage = Storage("auto", workers)
    return prepare(from_datasets(given or splits(change), spec, storage=storage), spec)


def batches(data, epoch, size=8):
    return [batch.inputs for batch in Batches(data, size, CPU).epoch(epoch)]


@pytest.mark.parametrize("change", [CHANGE, add_noise])
def test_an_item_is_a_function_of_seed_epoch_and_place(change):
    data = prepared(change)
    assert isinstance(data.training, Fresh) and isinstance(data.test, Resident)
    first, again, other = batches(data, 0), batches(data, 0), batches(data, 1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    torch.manual_seed(5)
    later = Batches(data, 8, CPU).epoch(0, first=2)
    assert torch.equal(next(later).inputs, first[2])
    assert not torch.equal(batches(prepared(change, seed=1), 0)[0], first[0])


def test_an_item_does_not_depend_on_the_batch(monkeypatch):
    data = prepared(add_noise)
    whole = torch.cat(batches(data, 2, 24))
    assert torch.equal(torch.cat(batches(data, 2, 4)), whole)
    assert torch.equal(torch.cat(batches(data, 2, 1)), whole)


@pytest.mark.parametrize("change", [CHANGE, add_noise])
def test_processes_read_the_same_bits(change, monkeypatch):
    monkeypatch.setattr("anew.data.sources.fresh_items.FEW", 0)
    here, there = prepared(change), prepared(change, workers=2)
    assert here.spec == there.spec and torch.equal(here.mean, there.mean)
    for epoch in (0, 1):
        assert torch.equal(torch.cat(batches(here, epoch)), torch.cat(batches(there, epoch)))


def test_the_global_generators_are_as_they_were():
    def drawn():
        return np.random.rand(), float(torch.rand(()))

    data = prepared(add_noise)
    np.random.seed(3)
    torch.manual_seed(3)
    before = drawn()
    np.random.seed(3)
    torch.manual_seed(3)
    batches(data, 0)
    assert drawn() == before

    # Not around a whole epoch: beartype, which checks types in tests, draws from it.
    random.seed(3)
    expected = random.random()
    random.seed(3)
    with randomness.torch_generator(1 << 62):
        random.random()
    assert random.random() == expected


def test_an_item_is_what_its_seed_draws():
    data = prepared(CHANGE)
    numbers = data.views.draw(0, 4, torch.tensor([7]))
    shown = data.training.show(torch.tensor([7]), numbers)[0]
    torch.manual_seed(int(numbers))
    expected = CHANGE(Image.fromarray(np.asarray(picture_of(7))))
    assert torch.equal(shown, expected)


def picture_of(number):
    kept = []
    Drawn(24, lambda picture: kept.append(picture) or torch.zeros(1, 8, 8))[number]
    return kept[0]


def test_views_go_on_top():
    shown = torch.cat(batches(prepared(views="fresh+erase", erase=1.0), 0))
    plain = torch.cat(batches(prepared(), 0))
    assert not torch.equal(shown, plain) and shown.shape == plain.shape
    mixed = batches(prepared(views="fresh+mixup"), 0)[0]
    assert torch.equal(mixed, batches(prepared(views="mixup+fresh"), 0)[0])
    assert not torch.equal(mixed, plain[:8])


def test_vectors_and_pil_pictures():
    vectors = splits(lambda picture: add_noise(picture).flatten())
    for part in ("validation", "test"):
        vectors[part] = TensorDataset(torch.eye(3, 64), torch.arange(3))
    with pytest.raises(AnewError, match="views 'fresh\\+flip' need pictures"):
        prepared(given=vectors, views="fresh+flip")
    assert prepared(given=vectors).training.kind == "vector"

    def in_colour(picture):
        return picture.convert("RGB") if torch.rand(()) < 0.5 else picture

    pil = {part: Drawn(6, in_colour if part == "train" else lambda p: p) for part in splits()}
    data = prepared(given=pil, size=(10,))
    assert data.training.input_shape == data.test.input_shape == (3, 10, 10)


def test_what_is_measured_and_hashed_is_drawn_from_the_place():
    data, other = prepared(add_noise), prepared(add_noise, seed=9)
    assert data.spec.fingerprint == other.spec.fingerprint
    assert data.spec.fingerprint != prepared(CHANGE).spec.fingerprint
    drawn = data.training.show(slice(0, 24)).double()
    np.testing.assert_allclose(data.mean, drawn.mean(), rtol=1e-6)
    np.testing.assert_allclose(data.std, drawn.std(correction=0), rtol=1e-6)


def test_what_cannot_be_read_afresh_is_refused():
    with pytest.raises(AnewError, match="views='fresh'"):
        prepared(views="none")
    with pytest.raises(AnewError, match="item 0 changes when it is read again"):
        prepared(OwnGenerator())
    with pytest.raises(
        AnewError, match="a validation split of the training set would have random transforms"
    ):
        prepared(given={"train": Drawn(24, CHANGE), "test": Drawn(12)})
    with pytest.raises(AnewError, match="a test set split off"):
        prepared(given={"train": Drawn(24, CHANGE)})
    with pytest.raises(AnewError, match="item 0 changes each time"):
        prepared(given=splits() | {"test": Drawn(12, CHANGE)})
    with pytest.raises(AnewError, match="need a torch data set; drop fresh"):
        anew.data.prepare(anew.data.load("digits"), DataSpec(views="fresh"))
    without = {"train": Drawn(24, CHANGE), "test": Drawn(12)}
    assert len(prepared(given=without, validation=0.0).training) == 24


class Restless(Drawn):
    """A data set whose labels change once it was read."""

    reads = 0

    def __getitem__(self, index):
        Restless.reads += 1
        picture, label = super().__getitem__(index)
        return picture, label if Restless.reads < 40 else (label + 1) % 3


def test_a_label_that_changes_is_one_line():
    with pytest.raises(AnewError, match="labels must not change"):
        batches(prepared(given=splits() | {"train": Restless(24, CHANGE)}), 0)


@pytest.mark.parametrize("ask", ["live", "table"])
def test_a_lineage_is_resumed_to_the_same_bits(ask, tmp_path):
    """Stopped in the middle of the student's epochs by an interruption from a callback."""
    options = {
        "views": "fresh",
        "epochs": 3,
        "batch_size": 8,
        "generations": 1,
        "threads": 1,
        "device": "cpu",
        "force": True,
        "ask": ask,
        "progress": False,
    }
    anew.train("mlp", splits(), out=tmp_path / "whole", **options)

    class KilledError(Exception):
        pass

    class Kill(anew.Callback):
        epochs = 0

        def epoch_done(self, *arguments, **named):
            self.epochs += 1
            if self.epochs == 2:
                raise KilledError

    for _ in range(3):
        with pytest.raises(KilledError):
            anew.train("mlp", splits(), out=tmp_path / "parts", **(options | {"progress": Kill()}))
    anew.train("mlp", splits(), out=tmp_path / "parts", **options)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    stores = list((tmp_path / "whole" / "teachers").glob("*/*/filled.u8"))
    assert bool(stores) == (ask == "table")
