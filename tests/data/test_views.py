"""Views: pure, all 162 of them, and equal to padding, cropping and flipping by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anew import AnewError
from anew.data.views import Views


def by_hand(picture, number, views):
    """One view of one picture (C, H, W), with numpy.pad and slices."""
    pad, side = views.padding, 2 * views.padding + 1
    crops = side * side if "crop" in views.kind else 1
    flip, crop = divmod(number, crops)
    if "crop" in views.kind:
        mode = {"mode": "constant"} if views.padding_mode == "zero" else {"mode": "reflect"}
        padded = np.pad(picture, ((0, 0), (pad, pad), (pad, pad)), **mode)
        row, column = divmod(crop, side)
        picture = padded[:, row : row + picture.shape[1], column : column + picture.shape[2]]
    return picture[:, :, ::-1] if flip else picture


def pictures(count=5, channels=3, height=8, width=8, dtype=torch.uint8):
    values = torch.randint(
        0, 256, (count, channels, height, width), generator=torch.Generator().manual_seed(0)
    )
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mode", ["zero", "reflect"])
@pytest.mark.parametrize("kind", ["none", "flip", "crop", "crop+flip"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_view_equals_padding_and_slicing(kind, mode, channels, dtype):
    views = Views(kind, 4, mode)
    source = pictures(channels=channels, height=9, width=8, dtype=dtype)
    numbers = torch.arange(views.count)
    indices = numbers % len(source)
    shown = views.show(source, indices, numbers)
    assert shown.dtype == dtype
    for number in range(views.count):
        expected = by_hand(source[number % len(source)].numpy(), number, views)
        np.testing.assert_array_equal(shown[number].numpy(), expected)


def test_crop_and_flip_have_162_views_and_all_are_drawn():
    views = Views("crop+flip", 4)
    assert views.count == 162
    drawn = torch.cat([views.draw(0, epoch, torch.arange(1000)) for epoch in range(20)])
    assert torch.equal(drawn.unique(), torch.arange(162))
    # 20,000 draws over 162 cells: mean 123, standard deviation 11.
    counts = torch.bincount(drawn, minlength=162).float()
    assert (counts - counts.mean()).abs().max() < 6 * 11.1


def test_one_example_sees_about_115_distinct_views_in_200_epochs():
    views = Views("crop+flip", 4)
    drawn = torch.stack([views.draw(0, epoch, torch.arange(300)) for epoch in range(200)])
    distinct = (
        torch.tensor([len(drawn[:, example].unique()) for example in range(300)])
        .float()
        .mean()
        .item()
    )
    assert distinct == pytest.approx(162 * (1 - (1 - 1 / 162) ** 200), abs=1)


@given(
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 10_000),
    indices=st.lists(st.integers(0, 10**7), min_size=1, max_size=10),
)
@settings(deadline=None)
def test_a_view_is_a_function_of_seed_epoch_and_index_alone(seed, epoch, indices):
    views = Views("crop+flip", 4)
    together = views.draw(seed, epoch, torch.tensor(indices))
    alone = [views.draw(seed, epoch, torch.tensor([index])).item() for index in indices]
    assert together.tolist() == alone


def test_seeds_and_epochs_draw_differently():
    views = Views("crop+flip", 4)
    indices = torch.arange(1000)
    first = views.draw(0, 0, indices)
    for other in (views.draw(1, 0, indices), views.draw(0, 1, indices)):
        assert (first == other).float().mean() < 0.05


def test_views_come_in_channels_last_memory():
    shown = Views("crop+flip", 4).show(pictures(), torch.tensor([0, 1]), torch.tensor([0, 100]))
    assert shown.is_contiguous(memory_format=torch.channels_last)


def test_vectors_have_one_view():
    features = torch.randn(5, 7)
    assert torch.equal(
        Views().show(features, torch.tensor([3, 1]), torch.tensor([0, 0])), features[[3, 1]]
    )
    with pytest.raises(AnewError, match="need pictures"):
        Views("flip").check("vector", (7,))


def test_reflection_wider_than_the_picture_is_refused():
    with pytest.raises(AnewError, match="padding 8 with reflection needs pictures larger"):
        Views("crop", 8, "reflect").check("picture", (1, 8, 8))
    Views("crop", 8, "zero").check("picture", (1, 8, 8))
