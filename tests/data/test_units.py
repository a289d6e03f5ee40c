"""Units of pictures: found from their values, written in a file, and asked in by others."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from anew import AnewError
from anew.core import files
from anew.core.spec import DataSpec
from anew.data import from_arrays, prepare
from anew.data.signature import Signature
from anew.evaluation.ensemble import Ensemble
from anew.models import saving
from anew.models.matching import conform
from commands import call, good
from runs import RECIPE, train

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (90, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(90) % 3
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def units_of(pictures, **spec):
    return prepare(from_arrays((pictures, LABELS)), DataSpec(**spec)).units


SCALES = {
    "whole numbers": (BYTES, "bytes"),
    "whole numbers of a dark set": (BYTES // 250, "bytes"),
    "floats of bytes": (BYTES.astype("float32"), "bytes"),
    "0..1": (BYTES / 255, "unit"),
    "0..1, resized by a sharp filter": (BYTES / 255 * 1.1 - 0.05, "unit"),
    "-1..1": (BYTES / 127.5 - 1, "own"),
    "0..16, as scikit-learn's digits": (BYTES / 16, "own"),
    "0..4095": (BYTES * 16.0, "own"),
    "normalised": ((BYTES - 127.0) / 74, "own"),
    "vectors": (BYTES.reshape(90, -1) / 255, "own"),
}


@pytest.mark.parametrize("scale", SCALES)
def test_units_are_found_from_the_values(scale):
    pictures, expected = SCALES[scale]
    assert units_of(pictures) == expected


def test_the_user_may_say_the_units_and_not_what_cannot_be():
    assert units_of(BYTES / 16, units="bytes") == "bytes"
    assert units_of(BYTES / 255, units="own") == "own"
    with pytest.raises(AnewError, match="must be bytes for pictures of whole numbers"):
        units_of(BYTES, units="unit")
    with pytest.raises(AnewError, match=r"hold values up to 255, not 0\.\.1"):
        units_of(BYTES.astype("float32"), units="unit")
    with pytest.raises(AnewError, match="only pictures have units"):
        units_of(BYTES.reshape(90, -1) / 255, units="unit")


def test_units_that_are_found_leave_ids():
    spec = prepare(from_arrays((BYTES / 255, LABELS)), DataSpec()).spec
    assert spec.units == "auto"


# --- files


@pytest.mark.parametrize("scale", SCALES)
def test_a_file_says_the_units(scale):
    pictures, expected = SCALES[scale]
    signature = prepare(from_arrays((pictures, LABELS)), DataSpec()).signature
    assert signature.units == expected
    assert Signature.from_header(signature.to_header()) == signature


def test_a_header_of_bytes_is_as_it_was_and_an_old_one_is_read_by_its_statistics():
    header = Signature((1, 4, 4), ("a", "b"), (72.9,), (90.0,)).to_header()
    assert list(header) == ["input_shape", "classes", "mean", "std"]

    def read(mean, std):
        old = {"input_shape": (1, 4, 4), "classes": ("a", "b"), "mean": [mean], "std": [std]}
        return Signature.from_header(old).units

    assert (read(72.9, 90.0), read(0.286, 0.353), read(-0.1, 0.5)) == ("bytes", "unit", "own")
    with pytest.raises(ValueError, match="unknown units"):
        Signature.from_header({**header, "units": "stops"})


def test_mean_and_deviation_move_with_the_units():
    unit = Signature((3, 4, 4), ("a", "b"), *IMAGENET.values(), units="unit")
    in_bytes = unit.in_units("bytes")
    assert in_bytes.mean == pytest.approx((123.675, 116.28, 103.53))
    x = torch.from_numpy(RNG.integers(0, 256, (5, 3, 4, 4), dtype=np.uint8))
    torch.testing.assert_close(
        in_bytes.prepare(x, *in_bytes.statistics()),
        unit.prepare(x.float() / 255, *unit.statistics()),
    )
    assert in_bytes.in_units("unit").mean == pytest.approx(unit.mean)
    with pytest.raises(ValueError, match="are no inputs in units"):
        replace(unit, units="own").in_units("bytes")


# --- a mean that is given


def test_a_mean_as_torchvisions_users_have_it_is_of_bytes_over_255():
    source = from_arrays((BYTES, LABELS))
    data = prepare(source, DataSpec(**IMAGENET))
    np.testing.assert_allclose(data.mean, [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(data.std, [58.395, 57.12, 57.375], rtol=1e-6)
    (notice,) = data.notices
    assert (
        "are in 0..1 and the pictures are bytes, so they are scaled: mean 123.675, 116.28, 103.53"
        in notice
    )

    in_bytes = DataSpec(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    same = prepare(source, in_bytes)
    assert same.spec == data.spec and not same.notices
    assert prepare(source, data.spec).spec == data.spec

    floats = prepare(from_arrays((BYTES / 255, LABELS)), DataSpec(**IMAGENET))
    np.testing.assert_allclose(floats.mean, IMAGENET["mean"], rtol=1e-6)
    assert not floats.notices


@pytest.mark.parametrize(
    ("pictures", "spec"),
    [
        (BYTES / 255, {"mean": (123.7,), "std": (58.4,)}),
        (BYTES, {"mean": (0.5,), "std": (2.0,)}),
        (BYTES * 16.0, {"mean": (0.5,), "std": (0.25,)}),
    ],
)
def test_a_mean_of_other_units_is_refused_unless_the_units_are_said(pictures, spec):
    source = from_arrays((pictures, LABELS))
    with pytest.raises(
        AnewError, match=r"normalised with them, the first examples have mean .*--data\.units"
    ) as caught:
        prepare(source, DataSpec(**spec))
    assert "\n" not in str(caught.value)
    said = prepare(source, DataSpec(**spec, units=units_of(pictures)))
    assert "where 0 and 1 are usual" in said.notices[0]
    assert said.mean[0] == pytest.approx(spec["mean"][0])


# --- networks


@pytest.fixture(scope="module")
def families(arrays, tmp_path_factory):
    """The same pictures as bytes and in 0..1: two families, and four of them as PNG files."""
    place = tmp_path_factory.mktemp("units")
    pictures, labels = arrays
    results = {
        name: train((x, labels), place / name, generations=1)
        for name, x in (("bytes", pictures), ("unit", (pictures / 255).astype("float32")))
    }
    for number in range(4):
        Image.fromarray(pictures[number]).save(place / f"{number}.png")
    return place, results


def test_picture_files_are_asked_in_the_networks_units(families, arrays):
    place, results = families
    pictures, _ = arrays
    paths = [place / f"{number}.png" for number in range(4)]
    expected = results["unit"].predict((pictures[:4] / 255).astype("float32"), [0, 1])
    said = good(
        "predict", place / "unit", *paths, "--generations", "all", "--top", "1", "--format", "csv"
    )
    found = [line.split(",") for line in said.splitlines()[1:]]
    assert [row[2] for row in found] == [str(int(row.argmax())) for row in expected]
    for row, probabilities in zip(found, expected, strict=True):
        assert float(row[3]) == pytest.approx(probabilities.max().item(), abs=1e-3)


def test_picture_files_are_refused_where_the_units_are_not_known(families, arrays, tmp_path):
    place, _ = families
    pictures, labels = arrays
    train(((pictures / 100).astype("float32"), labels), tmp_path / "own", generations=0)
    done = call("predict", tmp_path / "own", place / "0.png")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "takes pictures in units 'own (their own)'" in done.err and "in Python" in done.err


def test_an_ensemble_asks_networks_of_other_units(families, arrays):
    _, results = families
    pictures = torch.from_numpy(arrays[0][:6, None])
    in_bytes, unit = (results[name].network() for name in ("bytes", "unit"))
    expected = (in_bytes(pictures).softmax(-1) + unit(pictures / 255).softmax(-1)) / 2
    found = Ensemble([in_bytes, unit])(pictures).exp()
    torch.testing.assert_close(found, expected.double(), atol=1e-5, rtol=1e-4)
    assert conform(unit, unit.signature) is unit


@pytest.mark.parametrize(("taught_in", "learns_in"), [("unit", "bytes"), ("bytes", "unit")])
def test_a_teacher_of_other_units_is_asked_in_the_datas(
    families, arrays, tmp_path, capsys, taught_in, learns_in
):
    _, results = families
    pictures, labels = arrays
    x = pictures if learns_in == "bytes" else (pictures / 255).astype("float32")
    teacher = results[taught_in].family.folder(results[taught_in].lineage[0].id).weights
    result = train((x, labels), tmp_path / "f", teacher=teacher, generations=1, progress=True)
    assert "are converted" in capsys.readouterr().err
    for ours, theirs in ((result.scores[0], results[taught_in].scores[0]),):
        assert ours.scores.error == theirs.scores.error
        assert ours.scores.nll == pytest.approx(theirs.scores.nll, rel=1e-3)

    # The network in the family takes the data's units, and its id is not that of the file alone.
    brought = result.family.folder(result.lineage[0].id)
    assert saving.load(brought.weights).signature.units == learns_in
    assert result.lineage[0].weights != files.sha256(teacher)


def test_a_teacher_of_unknown_units_is_refused_unless_its_inputs_are_alike(arrays, tmp_path):
    pictures, labels = arrays
    own = (pictures / 100).astype("float32"), labels
    result = train(own, tmp_path / "own", generations=0)
    teacher = result.family.folder(result.lineage[0].id).weights
    with pytest.raises(AnewError, match=r"takes inputs in units own .*the data are .*bytes"):
        train(arrays, tmp_path / "f", teacher=teacher, generations=1)
    assert not (tmp_path / "f").exists()
    said = {**RECIPE, "data": {"units": "bytes"}}
    taught = train(own, tmp_path / "f", recipe=said, teacher=teacher, generations=1, force=True)
    assert taught.scores[0].scores.nll == pytest.approx(result.scores[0].scores.nll)


# --- what commands say


def test_data_and_show_say_the_units_and_how_many_examples_a_class_has(families, tmp_path):
    place, results = families
    counts = np.repeat([0, 1, 2], [60, 20, 10])
    np.savez(tmp_path / "a.npz", x=BYTES / 255, y=counts, classes=["ant", "bee", "cat"])
    said = good("data", f"npz:{tmp_path / 'a.npz'}")
    assert "units: unit (0..1)\n" in said
    assert "class counts: 10 ('cat') to 60 ('ant'); uneven: see --data.balance\n" in said

    result = results["unit"]
    shown = json.loads(good("show", place / "unit", result.lineage[0].id, "--json"))
    inputs = shown["inputs"]
    assert (inputs["units"], inputs["shape"]) == ("unit", [1, 8, 8])
    assert inputs["mean"] == pytest.approx(result.data.mean.tolist())
