"""The contact sheet of `anew data --sheet`."""

import numpy as np
import pytest
import torch
from PIL import Image

from anew import AnewError
from anew.core.spec import DataSpec
from anew.data import from_arrays, prepare
from anew.data.sheet import GAP, LABEL, contact_sheet

RNG = np.random.default_rng(0)


def test_a_sheet_shows_examples_of_each_class_and_views_of_the_first():
    pictures = RNG.integers(0, 256, (60, 96, 80, 3), dtype=np.uint8)
    data = prepare(
        from_arrays((pictures, np.arange(60) % 3), classes=["a", "b", "ç"]), DataSpec(views="flip")
    )
    sheet = np.asarray(contact_sheet(data))
    first = (data.training.labels == 1).nonzero().flatten()[0]
    # 96 pixels are shown as they are: rows of 96, columns of 80.
    top = GAP + 1 * (96 + LABEL + GAP) + LABEL
    still = data.training.show(first.reshape(1))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(sheet[top : top + 96, GAP : GAP + 80], still)
    for place in range(4, 8):
        left = 2 * GAP + place * (80 + GAP)
        view = sheet[top : top + 96, left : left + 80]
        assert np.array_equal(view, still) or np.array_equal(view, still[:, ::-1])
    assert sheet.shape == (3 * (96 + LABEL + GAP) + GAP, 8 * (80 + GAP) + 2 * GAP, 3)


def test_grey_floats_are_shown_and_vectors_refused():
    grey = from_arrays((torch.rand(20, 8, 8), torch.arange(20) % 2))
    assert contact_sheet(prepare(grey, DataSpec())).size[0] > 64
    with pytest.raises(AnewError, match="drop --sheet"):
        contact_sheet(prepare(from_arrays((torch.rand(20, 8), torch.arange(20) % 2)), DataSpec()))


def test_the_command_writes_it_for_photographs_of_any_size(command, tmp_path):
    for number in range(12):
        place = tmp_path / "photos" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        size = (70 + number, 90 - number, 3)
        Image.fromarray(RNG.integers(0, 256, size, dtype=np.uint8)).save(place / f"{number}.png")
    said = command("data", "folder:photos", "--data.size", "64", "--sheet", "s.png", check=0).out
    assert "each 3x64x64 uint8" in said and "views: resized-crop+flip" in said
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size == (8 * (64 + GAP) + 2 * GAP, 2 * (64 + LABEL + GAP) + GAP)
    assert "--data.size" in command("data", "folder:photos", check=2).err
