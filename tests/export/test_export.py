"""A network or an ensemble as one file that works without anew."""

import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

import anew
from anew import AnewError
from anew.core.spec import ModelSpec
from anew.data.signature import Signature
from anew.evaluation.calibrated import UNCALIBRATED, Calibrated
from anew.evaluation.prediction import predict_files
from anew.evaluation.predictor import Origin, Predictor
from anew.export import check_target, export
from anew.export.comparison import compare, sample
from anew.models import network
from anew.models.network import Network
from commands import call, good
from conftest import quick
from runs import train

PICTURES = Signature((3, 32, 32), ("cat", "dog", "owl"), (120.0, 110.0, 100.0), (60.0,) * 3)


@pytest.fixture(scope="module")
def trained(arrays, tmp_path_factory):
    """A family of two generations, and its files of every format."""
    place = tmp_path_factory.mktemp("export")
    result = train(arrays, place / "family", generations=1)
    for name in ("all.onnx", "all.pt2"):
        good("export", place / "family", "--generations", "all", "-o", place / name)
    return place, result


def untrained(name="small_cnn", signature=PICTURES):
    torch.manual_seed(0)
    return network.build_empty(ModelSpec(name), signature).eval()


def predictor_of(*networks, calibrated=UNCALIBRATED):
    return Predictor(networks, calibrated, [Origin()] * len(networks))


def elsewhere(script, *arguments):
    """Run Python that must not import anew; returns what it printed, from JSON."""
    guard = "\nimport sys; assert not any(name.split('.')[0] == 'anew' for name in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script + guard, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


WITH_ONNXRUNTIME = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
about = session.get_modelmeta().custom_metadata_map
pictures = np.load(sys.argv[2])
answers = [session.run(None, {"pictures": part})[0].tolist() for part in (pictures[:1], pictures)]
print(json.dumps({"answers": answers, "about": dict(about)}))
assert "torch" not in sys.modules
"""
WITH_TORCH = """
import json, sys
import numpy as np, torch
about = {"anew.json": ""}
module = torch.export.load(sys.argv[1], extra_files=about).module()
pictures = torch.from_numpy(np.load(sys.argv[2]))
answers = [module(part).tolist() for part in (pictures[:1], pictures)]
print(json.dumps({"answers": answers, "about": json.loads(about["anew.json"])}))
"""


@pytest.mark.parametrize(
    ("name", "script"), [("all.onnx", WITH_ONNXRUNTIME), ("all.pt2", WITH_TORCH)]
)
def test_an_ensemble_is_one_graph_that_needs_no_anew(trained, arrays, tmp_path, name, script):
    place, result = trained
    pictures = arrays[0][:7, None]
    np.save(tmp_path / "pictures.npy", pictures)
    told = elsewhere(script, place / name, tmp_path / "pictures.npy")

    # Computed in float64, from each network alone.
    logits = [result.network(number)(torch.from_numpy(pictures)).double() for number in (0, 1)]
    expected = (sum(torch.softmax(one, -1) for one in logits) / 2).detach().numpy()
    np.testing.assert_allclose(told["answers"][0], expected[:1], atol=1e-6)
    np.testing.assert_allclose(told["answers"][1], expected, atol=1e-6)

    about = told["about"]
    read = {key: json.loads(about[key]) if name == "all.onnx" else about[key] for key in READ}
    assert read["classes"] == ["0", "1", "2"]
    assert read["input"]["shape"] == ["batch", 1, 8, 8] and read["input"]["dtype"] == "uint8"
    assert read["input"]["units"] == "bytes (0..255)" and read["input"]["resize"] is None
    assert [one["id"] for one in read["networks"]] == [spec.id for spec in result.lineage]
    assert about["about"] == f"exported by anew {anew.__version__}"


READ = ("classes", "input", "networks")


@pytest.mark.parametrize("name", ["all.onnx", "all.pt2"])
def test_an_exported_file_says_nothing_of_the_machine(trained, name):
    content = (trained[0] / name).read_bytes()
    assert b"site-packages" not in content and b"/anew/" not in content


LINES = """
import json, sys
import torch
from safetensors import safe_open
inputs = torch.load(sys.argv[-1], weights_only=True)
answers = []
for file in sys.argv[1:-1]:
    with safe_open(file, "pt") as opened:
        lines = json.loads(opened.metadata()["anew"])["load"]
    assert len(lines) == 7
    exec("\\n".join(lines).replace("load_file('", f"load_file('{file.rpartition('/')[0]}/"))
    answers.append(probabilities.tolist())
print(json.dumps(answers))
"""


def test_a_state_dict_is_loaded_by_its_lines_without_anew(tmp_path):
    """By timm, once with the size that a transformer is built for, and by torchvision."""
    names = ("timm:test_vit", "timm:test_resnet", "torchvision:mobilenet_v3_small")
    networks = [untrained(name) for name in names]
    # The answers of the last one are put in the order of the classes.
    moved = network.Network(networks[2].model, networks[2].spec, PICTURES, columns=(2, 0, 1))
    predictors = [
        predictor_of(networks[0]),
        predictor_of(networks[1], calibrated=Calibrated(2.5, 40)),
        predictor_of(moved),
    ]
    files = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for predictor, file in zip(predictors, files, strict=True):
        assert export(predictor, check_target(file)).difference < 1e-6

    inputs = sample(PICTURES, 5)
    torch.save(inputs, tmp_path / "inputs.pt")
    answers = elsewhere(LINES, *files, tmp_path / "inputs.pt")
    with torch.no_grad():
        expected = [
            torch.softmax(networks[0](inputs), -1),
            torch.softmax(networks[1](inputs) / 2.5, -1),
            torch.softmax(networks[2](inputs), -1)[:, [2, 0, 1]],
        ]
    for answer, probabilities in zip(answers, expected, strict=True):
        torch.testing.assert_close(torch.tensor(answer), probabilities, atol=1e-6, rtol=0)


def test_a_state_dict_is_a_teacher_again_and_is_loaded(trained, npz, command, tmp_path):
    place, result = trained
    path = tmp_path / "one.safetensors"
    said = good("export", place / "family", "--generations", "1", "-o", path)
    assert "model = anew.models.build('small_cnn', (1, 8, 8), 3, {'width': 16})" in said
    done = command(
        *("train", "--data", f"npz:{npz}", "--teacher", path, "--out", "taught", "--force"),
        *quick(epochs=1, generations=1),
        check=0,
    )
    assert "(given)" in done.err

    again = anew.load(path)
    assert again.origins == (Origin(result.lineage[1].id, 1),)
    inputs = sample(again.signature, 3)
    assert torch.equal(again(inputs), anew.load(place / "family")(inputs))


SIGNATURES = {
    "unit": Signature((1, 8, 8), ("a", "b"), (0.4,), (0.2,), units="unit"),
    "own": Signature((1, 8, 8), ("a", "b"), (3.0,), (5.0,), units="own"),
    "vectors": Signature((5,), ("a", "b", "c"), (0.0, 1.0, 5.0, -2.0, 9.0), (1.0,) * 5),
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_inputs_are_those_that_the_network_learned_from(kind, tmp_path):
    signature = SIGNATURES[kind]
    predictor = predictor_of(untrained("mlp", signature))
    exported = export(predictor, check_target(tmp_path / "x.pt2"))
    assert exported.described["input"]["dtype"] == "float32"
    assert exported.described["input"]["normalisation"]["mean"] == signature.mean
    module = torch.export.load(exported.path).module()
    inputs = torch.randn(3, *signature.input_shape)
    torch.testing.assert_close(module(inputs), predictor(inputs), atol=1e-6, rtol=0)


def test_answers_that_differ_are_refused_with_the_number(tmp_path):
    predictor = predictor_of(untrained())
    with pytest.raises(AnewError, match="differ from anew's own by up to 2e-05"):
        compare(predictor, lambda inputs: predictor(inputs) + 2e-5, "x.onnx")
    assert compare(predictor, lambda inputs: predictor(inputs) + 5e-6, "x.onnx") > 4e-6
    with pytest.raises(AnewError, match="differ from anew's own by up to nan"):
        compare(predictor, lambda inputs: predictor(inputs) * float("nan"), "x.onnx")
    with pytest.raises(AnewError, match=r"outputs have shape \(1, 1\), anew's own \(1, 3\)"):
        compare(predictor, lambda inputs: predictor(inputs)[:, :1], "x.onnx")
    # What real inputs have: several answers, so that a wrong normalisation shows.
    with torch.no_grad():
        assert predictor(sample(PICTURES, 20)).std(0).min() > 1e-3


class Named(nn.Module):
    """A model of one's own that answers with probabilities, by name."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.layer = nn.Linear(int(np.prod(input_shape)), classes)

    def forward(self, x):
        return {"inputs": x, "logits": torch.softmax(self.layer(x.flatten(1)), -1)}


def test_the_lines_take_the_tensor_that_anew_takes(tmp_path):
    torch.manual_seed(0)
    model, spec = Named((3, 32, 32), 3), ModelSpec("test_export:Named")
    odd = Network(model, spec, PICTURES, (), (2, 0, 1), probabilities=True).eval()
    for name in ("x.safetensors", "x.pt2"):
        exported = export(predictor_of(odd), check_target(tmp_path / name))
        assert exported.difference < 1e-6
        inputs = sample(PICTURES, 3)
        expected = model.eval()(odd.signature.prepare(inputs, odd.mean, odd.scale))["logits"]
        given = predictor_of(odd)(inputs)
        torch.testing.assert_close(given, expected[:, [2, 0, 1]], atol=1e-6, rtol=0)
    exported = export(predictor_of(odd), check_target(tmp_path / "x.safetensors"))
    assert exported.lines[1] == "model = test_export.Named(input_shape=(3, 32, 32), classes=3)"
    taken = "model(x)['logits'].clamp_min(1e-37).log()[:, [2, 0, 1]]"
    assert exported.lines[-1] == f"probabilities = torch.softmax({taken}, -1)"


class Odd(nn.Module):
    """A model with one layer, and what cannot be exported after it."""

    def __init__(self, after):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 3)
        self.after = after

    def forward(self, x):
        return self.after(self.layer(x.flatten(1)))


def by_value(logits):
    return logits if logits.sum() > 0 else -logits


def one_batch(logits):
    return logits + torch.stack([logits[row].sum() for row in range(len(logits))])[:, None]


def random(logits):
    return nn.functional.dropout(logits, 0.5, training=True)


UNFIT = {
    "unknown": (
        torch.special.airy_ai,
        "x.onnx",
        "ONNX has no operation for 'aten.special_airy_ai'",
    ),
    "refused": (lambda z: z + z.histc(3), "x.onnx", "ONNX has no operation for 'aten.histc'"),
    "by value": (by_value, "x.pt2", "line"),
    "fixed size": (one_batch, "x.pt2", "would only take batches of 2"),
    "random": (random, "x.pt2", "differ from anew's own by up to"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_cannot_be_exported_is_one_line_with_the_operation(case, tmp_path, capfd):
    after, name, said = UNFIT[case]
    odd = Network(Odd(after), ModelSpec("mine:Odd"), PICTURES).eval()
    with pytest.raises(AnewError) as refused:
        export(predictor_of(odd), check_target(tmp_path / name))
    assert said in str(refused.value) and "\n" not in str(refused.value)
    if case == "by value":
        assert "`return logits if logits.sum() > 0 else -logits`" in str(refused.value)
        assert "test_export.py line" in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def wrong(trained, refused, tmp_path):
    """Run an export that must be refused before a network is loaded, and leave nothing behind."""

    def run(out, *options):
        before = sorted(tmp_path.rglob("*"))
        said = refused("export", trained[0] / "family", "-o", out, *options)
        assert sorted(tmp_path.rglob("*")) == before
        return said

    return run


def test_what_cannot_be_written_is_said_before_work_starts(wrong, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("text")
    (tmp_path / "mine.onnx").write_bytes(b"somebody's")
    (tmp_path / "folder.pt2").mkdir()
    assert "unknown suffix" in wrong("model.pth")
    assert "unknown suffix" in wrong("model")
    assert "cannot be written (Not a directory)" in wrong("file/x.onnx")
    assert "exists already, and anew did not export it" in wrong("mine.onnx")
    assert "is not a plain file" in wrong("folder.pt2")
    assert "a state dict holds one network, and 2 were chosen" in wrong(
        "x.safetensors", "--generations", "all"
    )
    assert "generations must be last, all, one of 0 to 1" in wrong("x.onnx", "--generations", "0,2")
    assert "no network with an id" in wrong("x.onnx", "--network", "zz")

    monkeypatch.setattr(
        "anew.export.target.importlib.util.find_spec",
        lambda name: None if name == "onnxruntime" else True,
    )
    assert "needs onnxruntime; pip install 'anew[onnx]'" in wrong("x.onnx")
    assert (tmp_path / "mine.onnx").read_bytes() == b"somebody's"


def test_an_export_may_be_written_over_and_a_familys_file_not(trained, wrong, tmp_path):
    place, _ = trained
    for name in ("x.pt2", "x.safetensors"):
        for _ in range(2):
            good("export", place / "family", "-o", tmp_path / "new" / name)
    weights = next((place / "family" / "networks").glob("*/weights.safetensors"))
    before = weights.read_bytes()
    assert "anew did not export it" in wrong(weights)
    assert weights.read_bytes() == before


def test_a_folder_without_write_permission_is_refused(trained, tmp_path, monkeypatch):
    def refuse(**given):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("anew.export.target.tempfile.TemporaryFile", refuse)
    done = call("export", trained[0] / "family", "-o", tmp_path / "x.pt2")
    assert done.code == 2 and "x.pt2: cannot be written (Permission denied)" in done.err


def test_a_photograph_is_prepared_as_the_metadata_say(tmp_path):
    """By torchvision, which then gives the answer of `anew predict`."""
    mean, std = PICTURES.mean, PICTURES.std
    signature = Signature((3, 32, 32), PICTURES.classes, mean, std, kept_size=(36, 36))
    network = untrained(signature=signature)
    photograph = tmp_path / "photograph.png"
    noise = np.random.default_rng(0).integers(0, 256, (70, 51, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((77, 101)).save(photograph)
    (predicted,), _ = predict_files([network], [photograph], torch.device("cpu"))

    export(predictor_of(network), check_target(tmp_path / "x.safetensors"))
    with safetensors.safe_open(tmp_path / "x.safetensors", "pt") as opened:
        about = json.loads(opened.metadata()["anew"])["exported"]
    assert about["classes"] == ["cat", "dog", "owl"]
    resize = about["input"]["resize"]
    assert resize["filter"] == "bilinear with antialias"
    (side, _), middle = resize["cover"], resize["cut_middle"]
    prepare = transforms.Compose(
        [transforms.Resize(side), transforms.CenterCrop(middle), transforms.PILToTensor()]
    )
    with torch.no_grad():
        answer = anew.load(tmp_path / "x.safetensors")(prepare(Image.open(photograph))[None])[0]
    expected = dict(predicted.ranked)
    assert answer.tolist() == pytest.approx([expected[name] for name in about["classes"]], abs=1e-6)
