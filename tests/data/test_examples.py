"""What is asked of examples: a source that decodes each picture when it is shown trains the bits
of one in memory.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.recipe import Recipe
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, TrainingSpec
from anew.data import Batches, Examples, Resident, Views, from_arrays, prepare
from anew.data.examples import Chosen, OnHost
from anew.training.lineage import train_lineage
from runs import weights

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Streamed:
    """Pictures that stay on the disk: each is decoded when it is shown."""

    files: tuple[Path, ...]
    labels: torch.Tensor
    views: Views = Views()
    kind = "picture"

    @property
    def input_shape(self):
        return tuple(self.decode(0).shape)

    def __len__(self):
        return len(self.files)

    def decode(self, number):
        return torch.from_numpy(np.array(Image.open(self.files[number])))[None]

    def show(self, indices, views=None):
        numbers = torch.arange(len(self))[indices]
        pictures = torch.stack([self.decode(number) for number in numbers.tolist()])
        if views is not None:
            pictures = self.views.show(pictures, torch.arange(len(numbers)), views)
        return pictures.contiguous(memory_format=torch.channels_last)

    def stream(self, requests):
        return (self.show(*request) for request in requests)

    def take(self, indices):
        files = tuple(self.files[number] for number in indices.tolist())
        return replace(self, files=files, labels=self.labels[indices])

    def with_views(self, views):
        return replace(self, views=views)

    def to(self, device):
        assert device == CPU
        return self


def on_disk(folder, examples):
    """Write examples in memory as files, and return those."""
    folder.mkdir()
    files = []
    for number, picture in enumerate(examples.inputs):
        files.append(folder / f"{number}.png")
        Image.fromarray(picture[0].numpy()).save(files[-1])
    return Streamed(tuple(files), examples.labels, examples.views)


@pytest.fixture
def resident(arrays):
    return prepare(from_arrays(arrays), DataSpec(views="crop+flip", padding=1))


@pytest.fixture
def streamed(resident, tmp_path):
    parts = {
        name: on_disk(tmp_path / name, getattr(resident, name))
        for name in ("training", "validation", "test")
    }
    return replace(resident, **parts)


def test_both_are_examples(resident, streamed):
    assert isinstance(resident.validation, Resident)
    assert isinstance(resident.validation, Examples)
    assert isinstance(resident.training, Examples)
    assert isinstance(streamed.training, Examples)
    assert resident.signature == streamed.signature


def test_they_show_the_same_views_in_every_epoch(resident, streamed):
    for epoch in (0, 7):
        pairs = zip(
            Batches(resident, 16, CPU).epoch(epoch),
            Batches(streamed, 16, CPU).epoch(epoch),
            strict=True,
        )
        for one, other in pairs:
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.labels, other.labels)


def test_a_slice_is_shown_without_a_copy(resident):
    examples = resident.validation.with_views(resident.views)
    shown = examples.show(slice(3, 9))
    assert shown.data_ptr() == examples.inputs[3:].data_ptr()
    assert torch.equal(examples.show(torch.arange(3, 9)), shown)
    unmoved = torch.full((6,), resident.views.crops // 2)
    assert torch.equal(examples.show(slice(3, 9), unmoved), shown)


@pytest.mark.parametrize("ask", ["live", "table"])
def test_a_lineage_from_the_disk_has_the_bits_of_one_from_memory(resident, streamed, tmp_path, ask):
    recipe = Recipe(
        model=ModelSpec("small_cnn", (("width", 8),)),
        objective=ObjectiveSpec("ban"),
        training=TrainingSpec(epochs=2, batch_size=16),
        generations=1,
        siblings=("dkpp",),
    )
    for name, data in (("memory", resident), ("disk", streamed)):
        execution = Execution("cpu", 1, ask=ask, force=True)
        train_lineage(recipe, data, tmp_path / name, execution, Callback())
    assert weights(tmp_path / "disk") == weights(tmp_path / "memory")
    assert len(weights(tmp_path / "disk")) == 3


def test_what_a_device_does_not_hold_stays_with_the_host_and_shows_the_same(resident, monkeypatch):
    expected = list(Batches(resident, 16, CPU).epoch(2))
    monkeypatch.setattr("anew.data.examples._fits", lambda examples, device: False)
    batches = Batches(resident, 16, CPU)
    assert isinstance(batches.examples, OnHost) and isinstance(batches.examples, Examples)
    for one, other in zip(batches.epoch(2), expected, strict=True):
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.labels, other.labels)
    few = batches.examples.take(torch.tensor([3, 1])).with_views(Views())
    assert torch.equal(few.show(slice(0, 2)), resident.training.inputs[[3, 1]])


def test_most_of_a_data_set_is_chosen_without_a_copy(arrays):
    source = from_arrays(arrays)
    data = prepare(source, DataSpec())
    assert isinstance(data.training, Chosen)
    assert data.training.whole.inputs is source.train.inputs
    few = prepare(source, DataSpec(limit=len(source.train) // 20))
    assert isinstance(few.training, Resident)
