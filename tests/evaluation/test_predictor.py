"""`anew.load`: one module from inputs as they are stored to probabilities."""

import pytest
import torch

import anew
from anew import AnewError
from anew.export.comparison import sample
from runs import train


@pytest.fixture(scope="module")
def result(arrays, tmp_path_factory):
    return train(arrays, tmp_path_factory.mktemp("loaded") / "family", generations=2)


@pytest.mark.parametrize(
    ("generations", "meant"),
    [
        ("last", (2,)),
        ("all", (0, 1, 2)),
        ("0-1", (0, 1)),
        (1, (1,)),
        (-1, (2,)),
        ((0, -1), (0, 2)),
    ],
)
def test_a_family_is_loaded_as_one_module(result, arrays, generations, meant):
    loaded = anew.load(result.family.path, generations)
    pictures = torch.from_numpy(arrays[0][:6, None])
    with torch.no_grad():
        probabilities = loaded(pictures)
    assert probabilities.dtype == torch.float32 and not loaded.training
    expected = result.predict(arrays[0][:6], meant)
    torch.testing.assert_close(probabilities.double(), expected, atol=1e-6, rtol=0)
    assert loaded.classes == ("0", "1", "2") and loaded.signature.input_shape == (1, 8, 8)
    assert [origin.generation for origin in loaded.origins] == list(meant)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[:, 0], r"must be of shape \(N, 1, 8, 8\), got \(6, 8, 8\)"),
        (lambda x: x[..., :4], r"got \(6, 1, 8, 4\)"),
        (lambda x: x / 255, r"are pictures in 0\.\.1, and the network learned from 0\.\.255"),
    ],
)
def test_inputs_of_another_shape_or_in_other_units_are_refused(result, arrays, change, words):
    loaded, pictures = anew.load(result.family.path), torch.from_numpy(arrays[0][:6, None])
    with pytest.raises(AnewError, match=f"^inputs: .*{words}"):
        loaded(change(pictures))
    assert torch.equal(loaded(pictures), loaded(pictures.float()))
    black = torch.zeros_like(pictures)
    assert torch.equal(loaded(black), loaded(black.float()))


def test_a_file_or_a_networks_folder_is_one_network(result):
    folder = result.family.folder(result.lineage[1].id)
    expected = anew.load(result.family.path, 1)
    inputs = sample(expected.signature, 4)
    for place in (folder.path, str(folder.weights)):
        assert torch.equal(anew.load(place)(inputs), expected(inputs))


@pytest.mark.parametrize(
    ("generations", "said"), [(3, "got '3'"), ((0, 0), "got '0,0'"), (-4, "got '-4'"), ((), "''")]
)
def test_generations_that_do_not_exist_are_refused(result, generations, said):
    with pytest.raises(AnewError, match=f"generations must be .*{said}"):
        anew.load(result.family.path, generations)


def test_files_that_are_no_network_of_anew_are_refused(tmp_path):
    for name, said in (("x.onnx", "onnxruntime.InferenceSession"), ("x.pt2", "torch.export.load")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(AnewError, match=said):
            anew.load(tmp_path / name)
    with pytest.raises(AnewError, match="is no family"):
        anew.load(tmp_path / "nowhere")


def test_a_result_exports_itself(result, arrays, tmp_path):
    path = result.export(tmp_path / "both.pt2", generations=(0, -1))
    pictures = torch.from_numpy(arrays[0][:4, None])
    answer = torch.export.load(path).module()(pictures).double()
    torch.testing.assert_close(answer, result.predict(arrays[0][:4], (0, 2)), atol=1e-6, rtol=0)
    with pytest.raises(AnewError, match="unknown suffix"):
        result.export(tmp_path / "both.h5")
