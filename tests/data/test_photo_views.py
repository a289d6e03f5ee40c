"""Views that cannot be counted: pure functions of their numbers, and equal to torchvision's own
operations with the same parameters.
"""

import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from anew import AnewError
from anew.core import randomness
from anew.core.spec import DataSpec
from anew.data import Batches, Resident, from_arrays, prepare
from anew.data.views import Views, boxes, colour, erasing, operations, resizing
from anew.data.views.boxes import Boxes

MANY = 20_000
# The least p-value of a test of the drawn numbers; they are fixed, so it fails for good or never.
LEAST_P = 1e-3

# Every kind of views that has numbers of 63 bits, each with the size that is shown.
KINDS = [
    ("resized-crop", None),
    ("resized-crop+flip", (20, 24)),
    ("crop+flip", (20, 24)),
    ("trivial", None),
    ("crop+flip+rand", None),
    ("colour", (20, 24)),
    ("erase+colour", None),
]


def pictures(count=6, channels=3, height=32, width=36, dtype=torch.uint8):
    """Smooth pictures with noise, as photographs are; in 0..255, or in 0..1 if not bytes."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    noisy = (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
    values = (noisy * 255).round()
    values = values.to(dtype) if dtype == torch.uint8 else (values / 255).to(dtype)
    return values.contiguous(memory_format=torch.channels_last)


def numbers(count, epoch=0, views=None):
    views = views or Views("resized-crop")
    return views.draw(0, epoch, torch.arange(count))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_a_view_depends_on_its_number_and_picture_alone(kind, size, dtype):
    views, source = Views(kind, size=size), pictures(dtype=dtype)
    indices = torch.tensor([3, 0, 5, 3, 1, 2, 2])
    drawn = numbers(len(indices))
    together = views.show(source, indices, drawn)
    assert together.dtype == dtype and together.shape[-2:] == (size or source.shape[-2:])
    assert together.is_contiguous(memory_format=torch.channels_last)
    mixed = torch.tensor([4, 6, 0, 2, 1, 5, 3])
    assert torch.equal(views.show(source, indices[mixed], drawn[mixed]), together[mixed])
    for place in range(len(indices)):
        one = views.show(source, indices[place : place + 1], drawn[place : place + 1])
        assert torch.equal(one[0], together[place])
        # As examples that are decoded when they are shown give them.
        alone = source[indices[place] : indices[place] + 1].clone()
        streamed = views.show(alone, torch.tensor([0]), drawn[place : place + 1])
        assert torch.equal(streamed[0], together[place])
    # The same picture twice, in two views.
    assert not torch.equal(together[5], together[6])


def test_numbers_are_keyed_by_seed_epoch_and_index_and_never_meet():
    views = Views("resized-crop")
    drawn = [views.draw(seed, epoch, torch.arange(MANY)) for seed in (0, 1) for epoch in (0, 1)]
    together = torch.cat(drawn)
    assert together.min() >= 0 and len(together.unique()) == 4 * MANY
    assert torch.equal(drawn[3][100:200], views.draw(1, 1, torch.arange(100, 200)))
    # Every bit is set in half of the numbers.
    shares = torch.stack([(together >> bit & 1).double().mean() for bit in range(63)])
    assert (shares - 0.5).abs().max() < 6 * 0.5 / math.sqrt(len(together))


def uniform_p(values):
    return stats.kstest(np.asarray(values), "uniform").pvalue


def test_resized_crops_are_drawn_as_torchvision_says():
    kept, area = (1000, 1400), 0.08
    crops = resizing.draw(numbers(MANY), area, kept)
    height, width = crops.height.double(), crops.width.double()
    assert (height >= 1).all() and (crops.top + crops.height <= kept[0]).all()
    assert (width >= 1).all() and (crops.left + crops.width <= kept[1]).all()
    aspects = width / height
    assert aspects.min() > 0.74 and aspects.max() < 1.34

    # Wide and large ones do not always fit; among small ones nothing is left out.
    shares = height * width / (kept[0] * kept[1])
    small = shares < 0.5
    assert uniform_p((shares[small] - area) / (0.5 - area)) > LEAST_P
    log_aspects = aspects[small].log() / math.log(4 / 3)
    assert uniform_p((log_aspects + 1) / 2) > LEAST_P
    for first, length, side in ((crops.top, height, kept[0]), (crops.left, width, kept[1])):
        assert uniform_p((first + 0.5) / (side - length + 1)) > LEAST_P
    assert abs(np.corrcoef(shares[small], aspects[small].log())[0, 1]) < 0.03

    # torchvision's own draws have the same areas.
    transform = v2.RandomResizedCrop(10, (area, 1.0))
    torch.manual_seed(0)
    blank = torch.zeros(1, *kept)
    theirs = [transform.make_params([blank]) for _ in range(2000)]
    theirs = [one["height"] * one["width"] / (kept[0] * kept[1]) for one in theirs]
    assert stats.ks_2samp(theirs, shares.numpy()).pvalue > LEAST_P


def test_where_no_rectangle_fits_the_middle_is_shown():
    # A strip: its area needs sides that it has not.
    crops = resizing.draw(numbers(50), 0.9, (4, 400))
    assert set(crops.height.tolist()) == {4} and set(crops.width.tolist()) == {5}
    assert set(crops.left.tolist()) == {197} and set(crops.top.tolist()) == {0}
    crops = resizing.draw(numbers(50), 0.9, (400, 4))
    assert set(crops.height.tolist()) == {5} and set(crops.width.tolist()) == {4}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_resized_crop_is_torchvisions(dtype, channels):
    views, source = Views("resized-crop+flip", size=(20, 24)), pictures(40, channels, dtype=dtype)
    drawn = numbers(len(source))
    shown = views.show(source, torch.arange(len(source)), drawn)
    crops = resizing.draw(drawn, views.crop_area, (32, 36))
    flips = 0
    for place, picture in enumerate(source):
        box = [int(side[place]) for side in (crops.top, crops.left, crops.height, crops.width)]
        expected = functional.resized_crop(picture, *box, size=[20, 24], antialias=True)
        flipped = functional.horizontal_flip(expected)
        assert torch.equal(shown[place], expected) or torch.equal(shown[place], flipped)
        flips += torch.equal(shown[place], flipped)
    assert 8 < flips < 32


@pytest.mark.parametrize("size", [(20, 24), (48, 40), (7, 9)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_resampling_a_whole_batch_is_torchs_resize_but_for_rounding(dtype, size):
    source = pictures(40, dtype=dtype)
    crops = resizing.draw(numbers(40), 0.08, (32, 36))
    flips = torch.arange(40) % 2 == 0
    asked = (source, torch.arange(40), crops, flips, size)
    one, other = resizing.show(*asked), resizing.resample(*asked)
    assert other.dtype == dtype and other.is_contiguous(memory_format=torch.channels_last)
    # Bytes: torch has weights of 16 bits.
    assert (one.double() - other.double()).abs().max() <= (1 if dtype == torch.uint8 else 1e-5)
    mixed = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    some = Boxes(*(side[mixed] for side in vars(crops).values()))
    assert torch.equal(resizing.resample(source, mixed, some, flips[mixed], size), other[mixed])


def test_pictures_that_are_kept_larger_show_their_middle_or_move_within():
    source, size = pictures(), (21, 24)
    indices = torch.arange(6).repeat(50)
    expected = functional.center_crop(source, list(size))
    assert torch.equal(Views("none", size=size).still(source), expected)
    whole = Views("none", size=size)
    assert whole.is_countable and whole.count == 1
    assert torch.equal(whole.show(source, indices, torch.zeros_like(indices)), expected[indices])

    flips = Views("flip", size=size)
    assert flips.count == 2
    assert torch.equal(
        flips.show(source, indices, torch.ones_like(indices))[0], expected[0].flip(2)
    )

    views = Views("crop", padding=4, size=size)
    assert not views.is_countable
    shown = views.show(source, indices, numbers(300))
    met = set()
    for index, view in zip(indices.tolist(), shown, strict=True):
        places = [
            (top, left)
            for top in range(32 - 21 + 1)
            for left in range(36 - 24 + 1)
            if torch.equal(source[index, :, top : top + 21, left : left + 24], view)
        ]
        assert len(places) == 1
        met.add(places[0])
    tops, lefts = (set(part) for part in zip(*met, strict=True))
    assert tops == set(range(12)) and lefts == set(range(13))
    assert stats.binomtest(len(met), 12 * 13, 1 - (1 - 1 / 156) ** 300).pvalue > LEAST_P


@pytest.mark.parametrize(
    ("views", "says"),
    [
        (Views("crop+resized-crop"), "have both crop and resized-crop; drop one of them"),
        (Views("trivial+rand"), "have both trivial and rand; drop one"),
        (Views("flip", erase=0.5), "data.erase is for views with erase, and these are 'flip'"),
        (Views("mixup", rand_magnitude=3), "drop --data.rand-magnitude, or add rand to --views"),
        (
            Views(padding=3),
            "views with crop, and these are 'none'; drop --data.padding, or add crop",
        ),
        (Views("flip", crop_area=0.2), "data.crop_area is for views with resized-crop, and"),
        (Views("flip", size=(40, 20)), "show 40x20 of pictures of 32x36"),
    ],
)
def test_views_that_make_no_sense_are_refused(views, says):
    with pytest.raises(AnewError, match=re.escape(says)):
        views.check("picture", (3, 32, 36))


def test_views_are_read_from_a_spec():
    spec = DataSpec(views="resized-crop+flip", crop_area=0.3)
    assert Views.of(spec) == Views("resized-crop+flip", crop_area=0.3)
    # Kept larger than shown: views and a store's key must agree that crops cannot be counted.
    larger = DataSpec(views="crop+flip", size=(8,), resize=10)
    assert Views.of(larger) == Views("crop+flip", size=(8, 8))
    assert not Views.of(larger).is_countable
    assert Views.of(replace(larger, resize=8)) == Views("crop+flip")


def worst_and_share(one, other):
    """The largest difference of bytes, and the share of places that differ."""
    apart = (one.double() - other.double()).abs()
    return apart.max().item(), (apart > 0).double().mean().item()


CHANGES = {
    "brightness": (colour.brightness, functional.adjust_brightness),
    "contrast": (colour.contrast, functional.adjust_contrast),
    "saturation": (colour.saturation, functional.adjust_saturation),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CHANGES)
def test_changes_of_colour_are_torchvisions(name, channels):
    ours, theirs = CHANGES[name]
    for dtype in (torch.uint8, torch.float32):
        source = pictures(4, channels, dtype=dtype)
        for picture in source.split(1):
            for factor in (0.0, 0.6, 1.0, 1.37, 1.99):
                one, other = colour.changed(ours, picture, factor), theirs(picture, factor)
                worst, share = worst_and_share(one, other)
                # A fused product and sum falls on another side of a whole number here and there.
                assert (worst <= 1 and share < 0.02) if dtype == torch.uint8 else worst < 1e-4


def test_colour_jitter_applies_three_changes_by_drawn_factors():
    source, drawn = pictures(40), numbers(MANY)
    factors = {
        name: 1 + 0.4 * (2 * randomness.uniform(randomness.key("colour", name), drawn) - 1)
        for name in CHANGES
    }
    shown = Views("colour").show(source, torch.arange(40), drawn[:40])
    for place in range(40):
        expected = source[place]
        for name, (_, theirs) in CHANGES.items():
            expected = theirs(expected, float(factors[name][place]))
        worst, share = worst_and_share(shown[place], expected)
        assert worst <= 3 and share < 0.05
    for one in factors.values():
        assert uniform_p((one - 0.6) / 0.8) > LEAST_P


def drawn_calls(transform, name):
    """Which operation torchvision's own class applies, and by what, many times."""
    calls = []
    transform._apply_image_or_video_transform = lambda image, id, by, **_: (
        calls.append((id, round(by, 4))) or image
    )
    torch.manual_seed(0)
    for _ in range(6000):
        transform(torch.zeros(3, 32, 36, dtype=torch.uint8))
    return Counter(calls)


@pytest.mark.parametrize("kind", ["trivial", "rand"])
def test_operations_have_torchvisions_names_and_magnitudes(kind, monkeypatch):
    calls = []
    for name, operation in operations.OPERATIONS.items():
        watched = replace(
            operation,
            apply=lambda picture, by, name=name: calls.append((name, round(by, 4))) or picture,
        )
        monkeypatch.setitem(operations.OPERATIONS, name, watched)
    blank = torch.zeros(1, 3, 32, 36, dtype=torch.uint8)
    Views(kind).show(blank, torch.zeros(6000, dtype=torch.int64), numbers(6000))
    theirs = drawn_calls(
        v2.TrivialAugmentWide() if kind == "trivial" else v2.RandAugment(num_ops=2), kind
    )
    ours = Counter(calls)
    # Where torchvision has no magnitude ours is 0 too; the sign of nothing says nothing.
    assert {(n, abs(by)) for n, by in ours} == {(n, abs(by)) for n, by in theirs}
    names = sorted(operations.OPERATIONS)
    table = [
        [sum(count for (one, _), count in which.items() if one == name) for name in names]
        for which in (ours, theirs)
    ]
    assert stats.chi2_contingency(table).pvalue > LEAST_P
    signed = [
        sum(c for (_, by), c in ours.items() if sign * by > 0 and _ == "Rotate") for sign in (1, -1)
    ]
    assert stats.binomtest(signed[0], sum(signed)).pvalue > LEAST_P


def test_every_operation_is_torchvisions():
    transform = v2.TrivialAugmentWide()
    source = pictures(1)
    for name, operation in operations.OPERATIONS.items():
        for by in (0.0, operation.trivial[1] / 3, operation.trivial[1], -operation.trivial[1] / 2):
            by = max(2.0, round(by)) if operation.is_whole else by
            if by < 0 and not operation.is_signed:
                continue
            expected = transform._apply_image_or_video_transform(
                source, name, by, interpolation=transform.interpolation, fill=transform._fill
            )
            worst, share = worst_and_share(operation.apply(source, by), expected)
            assert worst <= 1 and share < 0.02, (name, by)


def test_erasing_fills_a_rectangle_with_the_mean_colour_as_often_as_told():
    source, drawn = pictures(1, height=40, width=50), numbers(MANY)
    shown = Views("erase", erase=0.3).show(
        source, torch.zeros(1000, dtype=torch.int64), drawn[:1000]
    )
    mean = source[0].double().mean((1, 2)).round()
    lost = (shown != source).any(1)
    assert stats.binomtest(int(lost.any(2).any(1).sum()), 1000, 0.3).pvalue > LEAST_P
    for view, gone in zip(shown, lost, strict=True):
        if gone.any():
            rows, columns = gone.any(1).nonzero()[:, 0], gone.any(0).nonzero()[:, 0]
            box = view[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert (box.double() == mean[:, None, None]).all()

    found, is_found = boxes.draw(erasing.SHAPE, "erase", drawn, (400, 500))
    shares = (found.height * found.width).double() / 200_000
    assert is_found.all() and shares.min() > 0.019 and shares.max() < 0.335
    small = shares < 0.3 * 0.8
    assert uniform_p((shares[small] - 0.02) / (0.24 - 0.02)) > LEAST_P
    torch.manual_seed(0)
    blank, transform = torch.zeros(1, 400, 500), v2.RandomErasing(1.0)
    theirs = [transform.make_params([blank]) for _ in range(2000)]
    theirs = [one["h"] * one["w"] / 200_000 for one in theirs if one["h"] is not None]
    assert stats.ks_2samp(theirs, shares.numpy()).pvalue > LEAST_P


@pytest.mark.parametrize("kind", ["trivial", "colour", "flip+rand"])
def test_floats_that_are_no_units_have_no_colour(kind):
    source = from_arrays((pictures(30).numpy().astype(np.float32) - 100, np.arange(30) % 3))
    with pytest.raises(AnewError, match="need bytes or floats in"):
        prepare(source, DataSpec(views=kind))
    with pytest.raises(AnewError, match="these have 2 channels"):
        Views(kind).check("picture", (2, 8, 8))


def beta(alpha):
    return stats.beta(alpha, alpha).cdf


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_adds_by_shares_from_a_beta_distribution(alpha):
    views = Views("mixup", mix_alpha=alpha)
    mixture = views.mixture(numbers(MANY), (32, 36))
    share = mixture.share.double().numpy()
    # Shares are whole steps of 2^-16: those at the ends stand for what is beyond.
    assert stats.ks_1samp(share, beta(alpha)).statistic < (0.08 if alpha == 0.2 else 0.015)
    inner = (share > 0.01) & (share < 0.99)
    expected = beta(alpha)(0.99) - beta(alpha)(0.01)
    assert stats.binomtest(int(inner.sum()), MANY, expected).pvalue > LEAST_P
    assert not mixture.is_cut.any()

    source = pictures(40)
    first, second = source, source.roll(1, 0)
    mixed = views.mixture(numbers(40), (32, 36)).mix(first, second)
    share = mixture.share[:40].double()[:, None, None, None]
    exact = share * first.double() + (1 - share) * second.double()
    assert (mixed.double() - exact).abs().max() <= 0.5001


def test_cutmix_pastes_a_rectangle_as_torchvision_draws_it():
    views, (rows, columns) = Views("cutmix"), (32, 36)
    source = pictures(40)
    mixture = views.mixture(numbers(40), (rows, columns))
    mixed = mixture.mix(source, torch.full_like(source, 7))
    assert mixture.is_cut.all()
    for place in range(40):
        box = [int(side[place]) for side in vars(mixture.pasted).values()]
        top, left, height, width = box
        expected = source[place].clone()
        expected[:, top : top + height, left : left + width] = 7
        assert torch.equal(mixed[place], expected)
        assert float(mixture.share[place]) == pytest.approx(1 - height * width / (rows * columns))

    # The same weights of the first label as torchvision's, which are drawn by torch's generator.
    many = views.mixture(numbers(MANY), (rows, columns)).share
    torch.manual_seed(0)
    transform = v2.CutMix(num_classes=2)
    blank = torch.zeros(2, 3, rows, columns)
    theirs = [transform.make_params([blank])["lam_adjusted"] for _ in range(2000)]
    assert stats.ks_2samp(theirs, many.numpy()).pvalue > LEAST_P


def test_of_mixup_and_cutmix_each_example_draws_one():
    mixture = Views("mixup+cutmix").mixture(numbers(MANY), (32, 36))
    assert stats.binomtest(int(mixture.is_cut.sum()), MANY).pvalue > LEAST_P
    with pytest.raises(AnewError, match="mix examples of one label"):
        Views("mixup").check("picture", (3, 8, 8), (4,))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("kind", ["mixup", "cutmix", "resized-crop+mixup+cutmix"])
def test_a_mixed_picture_does_not_depend_on_its_batch(kind, dtype):
    examples = Resident(pictures(50, dtype=dtype), torch.arange(50) % 3)
    source = from_arrays((examples.inputs.numpy(), examples.labels.numpy()))
    data = prepare(source, DataSpec(views=kind, validation=0.0))
    cpu = torch.device("cpu")
    large, small = Batches(data, 20, cpu), Batches(data, 7, cpu)
    for epoch in (0, 3):
        one = {
            int(batch.indices[k]): (batch.inputs[k], batch.heavier[k], batch.share[k])
            for batch in large.epoch(epoch)
            for k in range(20)
        }
        met = 0
        for batch in small.epoch(epoch):
            assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
            for k, index in enumerate(batch.indices.tolist()):
                if index in one:
                    met += 1
                    expected = (batch.inputs[k], batch.heavier[k], batch.share[k])
                    for a, b in zip(one[index], expected, strict=True):
                        assert torch.equal(a, b)
        assert met > 20


def test_the_second_picture_is_the_next_of_the_epoch_in_its_own_view():
    source = from_arrays((pictures(30).numpy(), np.arange(30) % 3))
    mixed, plain = (
        Batches(prepare(source, DataSpec(views=kind, validation=0.0)), 8, torch.device("cpu"))
        for kind in ("resized-crop+mixup", "resized-crop")
    )
    shown = list(plain.epoch(1))
    inputs = torch.cat([batch.inputs for batch in shown])
    labels = torch.cat([batch.labels for batch in shown])
    start = 0
    for batch in mixed.epoch(1):
        following = (torch.arange(start, start + 8) + 1) % len(inputs)
        share = batch.share.double()[:, None, None, None]
        exact = share * inputs[start : start + 8] + (1 - share) * inputs[following]
        assert (batch.inputs - exact).abs().max() <= 0.5001
        assert torch.equal(batch.second.labels, labels[following])
        assert torch.equal(batch.second.weights, 1 - batch.share)
        assert torch.equal(batch.weights, batch.share)
        expected = torch.where(batch.share >= 0.5, batch.labels, batch.second.labels)
        assert torch.equal(batch.heavier, expected)
        start += 8
