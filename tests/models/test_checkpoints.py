"""Checkpoints as people have them: whatever the file, the same weights come out of it, no code in
it is run, and what does not fit says what would.
"""

import argparse
import collections
import gzip
import hashlib
import io
import json
import os
import pathlib
import pickle
import re
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations

from anew import AnewError
from anew.core import files
from anew.core.spec import ModelSpec
from anew.data.signature import Signature
from anew.models import checkpoints, containers, fitting, hub, misfits, network, saving


class Net(nn.Module):
    """A network with batch norm, for pictures 1x4x4."""

    def __init__(self, width=4, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, inputs):
        return self.fc(self.norm(self.conv(inputs)).relu().mean((2, 3)))


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, inputs):
        return self.net(inputs)


@pytest.fixture
def net():
    torch.manual_seed(3)
    net = Net()
    net(torch.randn(8, 1, 4, 4))
    return net.eval()


@pytest.fixture
def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def fitted(path, model, key="", **options):
    return fitting.fit(model, checkpoints.read(path, key), "teacher", **options)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def answers(model, state):
    model.load_state_dict(state)
    inputs = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(inputs)


# Containers


def optimizer_of(state):
    return {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}


SAVED = {
    "a state dict": lambda s: s,
    "ImageNet's example": lambda s: {
        "epoch": 3,
        "arch": "net",
        "best_acc1": np.float64(0.5),
        "state_dict": prefixed(s, "module."),
        "optimizer": optimizer_of(s),
    },
    "with its command line": lambda s: {
        "model": s,
        "args": argparse.Namespace(lr=0.1, output=pathlib.Path("out")),
        "when": {"rng": np.arange(3)},
    },
    "compiled and distributed": lambda s: {"net": prefixed(s, "_orig_mod.module.")},
    "distributed and compiled inside": lambda s: prefixed(s, "module._orig_mod."),
    "Lightning": lambda s: {
        "pytorch-lightning_version": "2.4",
        "state_dict": {**prefixed(s, "model."), "criterion.weight": torch.ones(3)},
        "callbacks": {"ModelCheckpoint": {"best": torch.tensor(0.5)}},
        "loops": {},
        "optimizer_states": [optimizer_of(s)],
        "hyper_parameters": collections.defaultdict(int, width=4),
    },
    "mmcv": lambda s: {
        "meta": {"epoch": 3, "CLASSES": ("ant", "bee", "cat")},
        "state_dict": collections.OrderedDict(s),
        "optimizer": optimizer_of(s),
    },
    "deep": lambda s: {"checkpoint": {"generator": {"params": s}}, "step": torch.tensor(3)},
    "an averaged model": lambda s: {**prefixed(s, "module."), "n_averaged": torch.tensor(4)},
    "a model's parameters": lambda s: {name: nn.Parameter(v, False) for name, v in s.items()},
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("saved", SAVED)
def test_the_same_weights_come_out_of_every_container(net, state, tmp_path, saved, legacy):
    path = tmp_path / "teacher.pth.tar"
    torch.save(SAVED[saved](state), path, _use_new_zipfile_serialization=not legacy)
    fit = fitted(path, Net())
    assert not fit.wrong and equal(fit.tensors, state)
    # It is known by the hash that a safetensors file of these weights has.
    plain = tmp_path / "plain.safetensors"
    safetensors.torch.save_file(state, plain)
    assert files.sha256_as_file(fit.taken) == hashlib.sha256(plain.read_bytes()).hexdigest()
    assert fit.is_exact is (saved in ("a state dict", "a model's parameters", "mmcv", "deep")) or (
        saved == "with its command line"
    )


def test_the_hash_of_a_networks_file_is_pinned(tmp_path):
    """Ids of checkpoints depend on it: another version of safetensors must not change it."""
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, 2, dtype=torch.int64)}
    expected = (
        b'{"a":{"dtype":"I64","shape":[2,2],"data_offsets":[0,32]},'
        b'"b":{"dtype":"F32","shape":[3],"data_offsets":[32,44]}}'
    )
    expected += b" " * (-len(expected) % 8)
    content = len(expected).to_bytes(8, "little") + expected
    content += np.ones(4, "<i8").tobytes() + np.arange(3, dtype="<f4").tobytes()
    assert files.sha256_as_file(tensors) == hashlib.sha256(content).hexdigest()


def test_classes_are_read_where_training_scripts_note_them(state, tmp_path):
    for beside, classes in (
        ({"classes": ["ant", "bee", "cat"]}, ("ant", "bee", "cat")),
        ({"class_to_idx": {"bee": 1, "ant": 0, "cat": 2}}, ("ant", "bee", "cat")),
        ({"idx_to_class": {0: "ant", 1: "bee", 2: "cat"}}, ("ant", "bee", "cat")),
        ({"meta": {"CLASSES": ("ant", "bee", "cat")}}, ("ant", "bee", "cat")),
        ({"class_to_idx": {"bee": 1, "ant": 5}}, ()),
        ({"classes": 3}, ()),
        ({}, ()),
    ):
        torch.save({"state_dict": state, **beside}, tmp_path / "t.pth")
        assert checkpoints.read(tmp_path / "t.pth").classes == classes


def test_folders_of_weights(net, state, tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    torch.save({"optimizer": optimizer_of(state)}, folder / "optimizer.bin")
    torch.save(state, folder / "pytorch_model.bin")
    names = {"0": "ant", "1": "bee", "2": "cat"}
    (folder / "config.json").write_text(json.dumps({"id2label": names}))
    found = checkpoints.read(folder)
    assert equal(found.tensors, state) and found.classes == ("ant", "bee", "cat")
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}))
    assert checkpoints.read(folder).classes == ()
    # Safetensors go first, as everywhere.
    safetensors.torch.save_file(prefixed(state, "net."), folder / "model.safetensors")
    assert set(checkpoints.read(folder).tensors) == set(prefixed(state, "net."))

    other = tmp_path / "other"
    other.mkdir()
    torch.save(state, other / "a.pth")
    assert equal(checkpoints.read(other).tensors, state)
    torch.save(state, other / "b.pth")
    with pytest.raises(AnewError, match=r"holds 2 files that may be the weights \(a.pth, b.pth\)"):
        checkpoints.read(other)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("preprocessor_config.json", {"image_mean": [0.5], "image_std": [0.25]}, (0.5, 0.25)),
        ("config.json", {"pretrained_cfg": {"mean": [0.4], "std": [0.2]}}, (0.4, 0.2)),
        ("preprocessor_config.json", {"do_normalize": False, "image_mean": [0.5]}, (0.0, 1.0)),
        # Pictures that are brought to -1..1, or kept as bytes, are not described by these numbers.
        ("preprocessor_config.json", {"image_mean": [0.5], "rescale_factor": 1 / 127.5}, None),
        ("preprocessor_config.json", {"image_mean": [0.5], "do_rescale": False}, None),
        ("preprocessor_config.json", {"image_mean": [0.5], "image_std": [0.0]}, None),
        ("preprocessor_config.json", {"image_mean": "0.5", "image_std": [1]}, None),
        ("preprocessor_config.json", {"image_mean": [0.5]}, None),
        ("config.json", {"pretrained_cfg": "resnet18", "mean": [0.4], "std": [0.2]}, None),
    ],
)
def test_files_beside_the_weights_tell_how_pictures_are_normalised(
    state, tmp_path, file, content, told
):
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / file).write_text(json.dumps(content))
    expected = None if told is None else ((told[0],), (told[1],))
    assert checkpoints.read(tmp_path).normalisation == expected
    assert checkpoints.read(tmp_path / "pytorch_model.bin").normalisation is None


@pytest.mark.parametrize("named", ["folder", "index"])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_read_together(state, tmp_path, named, kind):
    names = list(state)
    parts = {f"model-{n}.{kind}": {k: state[k] for k in names[n::2]} for n in (0, 1)}
    for file, part in parts.items():
        write = safetensors.torch.save_file if kind == "safetensors" else torch.save
        write(part, tmp_path / file)
    whole = {name: file for file, part in parts.items() for name in part}
    stem = "model.safetensors" if kind == "safetensors" else "pytorch_model.bin"
    index = tmp_path / f"{stem}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": whole}))
    path = tmp_path if named == "folder" else index
    assert checkpoints.locate(str(path)) == (path, "")
    assert equal(fitted(path, Net()).tensors, state)

    (tmp_path / f"model-1.{kind}").unlink()
    with pytest.raises(AnewError, match=rf"its file model-1.{kind} is missing; download all"):
        checkpoints.read(path)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/b.bin", "..", "c\\d", ""])
def test_an_index_names_no_file_outside_of_its_folder(state, tmp_path, name):
    inner = tmp_path / "inner"
    inner.mkdir()
    safetensors.torch.save_file(state, tmp_path / "x.safetensors")
    index = inner / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(state, name)}))
    with pytest.raises(AnewError, match="an index may only name files beside it"):
        checkpoints.read(inner)


def test_an_index_that_lies_is_refused(state, tmp_path):
    safetensors.torch.save_file(state, tmp_path / "x.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    for content, says in (
        ({}, "no 'weight_map'"),
        ({"weight_map": {"a": 3}}, "no 'weight_map'"),
        ({"weight_map": {"a": "x.safetensors"}}, "1 of its tensors, such as 'a', are not in"),
    ):
        index.write_text(json.dumps(content))
        with pytest.raises(AnewError, match=says):
            checkpoints.read(tmp_path)


# Code


class Touch:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("sprung"),)


class System:
    def __reduce__(self):
        return os.system, ("touch sprung",)


class Eval:
    def __reduce__(self):
        return eval, ("open('sprung', 'w')",)


class Forged:
    """A type of numbers whose hidden fields would make numpy follow any address."""

    def __reduce__(self):
        state = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)
        return np.dtype, ("V8",), state


@pytest.mark.parametrize("name", ["t.pth", "t.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("trap", [Touch, System, Eval])
def test_code_is_never_run_and_named(state, tmp_path, monkeypatch, trap, legacy, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    held = {"state_dict": state, "x": trap()}
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    says = r"holds the Python name '(getattr|posix.system|nt.system|eval)'"
    for place in (path, tmp_path):
        with pytest.raises(AnewError, match=says) as caught:
            checkpoints.read(place)
        assert "\n" not in str(caught.value) and "weights_only=False" in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_objects_beside_the_weights_are_never_made(state, tmp_path):
    """Of a type that could be forged, only its name is read."""
    path = tmp_path / "t.pth"
    torch.save({"state_dict": state, "x": Forged(), "y": np.arange(3), "z": np.float32(3)}, path)
    value = containers.read(path).value
    assert equal(value["state_dict"], state)
    assert {type(value[name]).__name__ for name in "xyz"} == {"StandIn"}


def test_a_whole_model_says_how_its_owner_takes_the_weights_out(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(net, tmp_path / "whole.pth")
    with pytest.raises(AnewError, match=r"Python name '[\w.]+Net'.*save its weights") as caught:
        checkpoints.read(tmp_path / "whole.pth")
    # The words do what they say, for whoever trusts the file.
    command = str(caught.value).partition('python -c "')[2].removesuffix('"')
    exec(command, {})
    assert equal(fitted(tmp_path / "weights.pth", Net()).tensors, net.state_dict())


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


OTHERS = {
    "nothing": (b"", "is empty"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
    "a web page": (b"\n<!DOCTYPE html><html>", "is a web page: the download failed"),
    "gzip": (gzip.compress(b"x" * 99), "compressed with gzip"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file"),
    "NumPy": (b"\x93NUMPY\x01\x00" + bytes(99), "is a NumPy array"),
    "JSON": (b'{"a": 1}', "is a text and holds no weights"),
    "TorchScript": (zipped(a__data="", a__constants="", **{"a__constants.pkl": ""}), "TorchScript"),
    "a ZIP archive": (zipped(readme="hello"), "is a ZIP archive and no file of torch.save"),
    "NumPy's archive": (zipped(**{"x.npy": "", "y.npy": ""}), "an archive of NumPy arrays"),
    "a plain pickle": (
        pickle.dumps({"a": 1}, 4),
        "is a pickle, but not of weights saved by torch.save",
    ),
    "noise": (bytes(range(255, 0, -1)), "is truncated or no safetensors file"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_files_are_called_what_they_are(tmp_path, other):
    content, says = OTHERS[other]
    path = tmp_path / "teacher.pth"
    path.write_bytes(content)
    with pytest.raises(AnewError, match=says) as caught:
        checkpoints.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(state, tmp_path, legacy, kept):
    path = tmp_path / "t.pth"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AnewError, match=r"is truncated|is a pickle, but not"):
        checkpoints.read(path)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"state": {0: {"m": torch.ones(1)}}, "param_groups": []}, "an optimizer and no weights"),
        ({"optimizer": optimizer_of({}), "epoch": 3}, "an optimizer and no weights"),
        ({"epoch": 3}, r"holds no weights \(epoch\)"),
        ({"fc.weight": np.ones(3)}, r"holds NumPy's arrays .*\(fc\.weight\): torch\.from_numpy"),
        ([torch.ones(3)], "holds a list and no state dict"),
        (torch.ones(3), "holds a Tensor and no state dict"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(tmp_path, held, says):
    torch.save(held, tmp_path / "t.pth")
    with pytest.raises(AnewError, match=says):
        checkpoints.read(tmp_path / "t.pth")


# Several networks in one file


def test_of_several_networks_the_user_chooses(state, tmp_path):
    path = tmp_path / "deit.pth"
    average = {name: value + 1 for name, value in state.items()}
    torch.save({"model": state, "model_ema": average, "epoch": 3}, path)
    with pytest.raises(AnewError, match=r"fit: model and model_ema; choose .*deit.pth:model$"):
        fitted(path, Net())
    assert checkpoints.locate(f"{path}:model_ema") == (path, "model_ema")
    assert equal(fitted(path, Net(), "model_ema").tensors, average)
    with pytest.raises(AnewError, match=r"under 'model_emma' \(did you mean 'model_ema'\?\)"):
        checkpoints.read(path, "model_emma")

    # Also where they lie in one table.
    held = {**prefixed(state, "student."), **prefixed(average, "teacher.module.")}
    torch.save({"state_dict": held}, path)
    says = r"fit: state_dict.student and state_dict.teacher.module; choose"
    with pytest.raises(AnewError, match=says):
        fitted(path, Net())
    for key in ("state_dict.teacher.module", "state_dict.teacher", "state_dict.teacher."):
        assert equal(fitted(path, Net(), key).tensors, average)


def test_a_network_beside_others_that_do_not_fit_is_taken(state, tmp_path):
    path = tmp_path / "t.pth"
    torch.save({"generator": Net(width=7).state_dict(), "critic": state}, path)
    fit = fitted(path, Net())
    assert equal(fit.tensors, state) and fit.key == "critic"
    assert "under 'critic' (other entries: generator)" in checkpoints.read(path).said(fit.key)[0]


def test_numbers_beside_a_table_are_named_and_no_table(state, tmp_path):
    path = tmp_path / "t.pth"
    torch.save({"state_dict": state, "best_acc": torch.tensor(0.9), "epoch": 3}, path)
    said = checkpoints.read(path).said(fitted(path, Net()).key)
    assert said == ["its weights are under 'state_dict' (other entries: best_acc, epoch)"]


def test_what_is_no_checkpoint_is_not_located(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.pth").write_bytes(b"")
    for named in ("", "nowhere.pth", "nowhere.pth:key", str(tmp_path / "empty"), "a:b", ":x"):
        assert checkpoints.locate(named) is None
    assert checkpoints.locate(f"{tmp_path}/x.pth:a.b") == (tmp_path / "x.pth", "a.b")


# Names


def test_a_prefix_is_put_before_the_names_of_a_wrapped_model(net, state, tmp_path):
    path = tmp_path / "t.pth"
    for given in (state, prefixed(state, "module."), prefixed(state, "model.module.")):
        torch.save(given, path)
        fit = fitted(path, Wrapped())
        assert torch.equal(answers(Wrapped(), fit.tensors), answers(net, state))
        assert "'net.' was added before the names of its tensors" in fit.notices


def without(state, *ends):
    return {name: value for name, value in state.items() if not name.endswith(ends)}


def test_old_batch_norm_is_forgiven_and_lost_statistics_are_not(net, state, tmp_path):
    path = tmp_path / "t.safetensors"
    safetensors.torch.save_file(without(state, "num_batches_tracked"), path)
    fit = fitted(path, Net())
    assert not fit.wrong and "num_batches_tracked" in fit.notices[0]
    assert torch.equal(answers(Net(), fit.tensors), answers(net, state))
    safetensors.torch.save_file(without(state, "running_mean"), path)
    assert fitted(path, Net()).wrong == ("norm.running_mean",)


def test_tied_weights_that_were_saved_once_are_both_filled(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.again = nn.Linear(16, 16)
            self.out = nn.Linear(16, 3)

        def forward(self, inputs):
            return self.out(self.again(self.first(inputs.flatten(1)).relu()))

    model = Tied()
    safetensors.torch.save_model(model, tmp_path / "t.safetensors")
    fit = fitted(tmp_path / "t.safetensors", Tied())
    assert not fit.wrong and equal(fit.tensors, model.state_dict()) and fit.notices
    # Tensors that only look alike are not tied.
    other = {"first.weight": torch.ones(2), "out.bias": torch.ones(3)}
    torch.save(other, tmp_path / "t.pth")
    assert "again.weight" in fitted(tmp_path / "t.pth", Tied()).wrong


def test_weight_norm_of_either_version(tmp_path):
    old = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    old[1].register_parameter("weight_g", nn.Parameter(torch.rand(3, 1) + 1))
    old[1].register_parameter("weight_v", nn.Parameter(torch.randn(3, 16)))
    del old[1]._parameters["weight"]
    new = nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(16, 3)))

    torch.save(old.state_dict(), tmp_path / "old.pth")
    fit = fitted(tmp_path / "old.pth", new)
    assert not fit.wrong and "weight norm" in fit.notices[0]
    # g v / |v|, by hand.
    direction = old[1].weight_v / old[1].weight_v.norm(dim=1, keepdim=True)
    inputs = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1)).flatten(1)
    expected = inputs @ (old[1].weight_g * direction).T + old[1].bias
    torch.testing.assert_close(answers(new, fit.tensors), expected)

    torch.save(new.state_dict(), tmp_path / "new.pth")
    back = fitted(tmp_path / "new.pth", old)
    assert not back.wrong and equal(back.tensors, old.state_dict())


class Masked(Net):
    """A network with a table that it computes, which a state dict may hold or not."""

    def __init__(self, persistent, value=1.0):
        super().__init__()
        self.register_buffer("index", torch.arange(4), persistent=persistent)
        self.register_buffer("scale", torch.full((2,), value), persistent=persistent)


def test_tables_that_a_model_computes(tmp_path):
    torch.save(Masked(True).state_dict(), tmp_path / "t.pth")
    fit = fitted(tmp_path / "t.pth", Masked(False))
    assert not fit.wrong and "the model computes the same values itself" in fit.notices[0]
    assert fitted(tmp_path / "t.pth", Masked(False, value=2.0)).wrong == ("scale",)
    # What may have been learned is not invented.
    torch.save(Masked(False).state_dict(), tmp_path / "t.pth")
    assert fitted(tmp_path / "t.pth", Masked(True)).wrong == ("scale",)


def test_helpers_of_training_and_counters_are_left_out(state, tmp_path):
    held = {
        **state,
        "aux1.conv.weight": torch.ones(3),
        "aux1.bn.num_batches_tracked": torch.tensor(3),
        "AuxLogits.fc.bias": torch.ones(3),
        "total_ops": torch.tensor(3.0),
        "conv.total_params": torch.tensor(3.0),
    }
    torch.save(held, tmp_path / "t.pth")
    fit = fitted(tmp_path / "t.pth", Net())
    assert equal(fit.tensors, state) and len(fit.notices) == 2


# What does not fit


def refusal(tmp_path, held, model="small_cnn", flag="--teacher-model", options=()):
    torch.save(held, tmp_path / "t.pth")
    own = network.build_empty(ModelSpec(model, options), Signature.of_shape((1, 8, 8), 3))
    fit = fitted(tmp_path / "t.pth", own.model)
    assert fit.wrong
    return str(misfits.misfit(fit, own, "teacher t.pth", flag))


def built(model, shape=(1, 8, 8), classes=3, options=()):
    signature = Signature.of_shape(shape, classes)
    return network.build_empty(ModelSpec(model, options), signature).model.state_dict()


MISFITS = {
    "more classes": (
        lambda: built("small_cnn", classes=7),
        r"has shape \(7,.*has 7 classes, and the data have 3;.*--from",
    ),
    "channels": (
        lambda: built("small_cnn", (3, 8, 8)),
        "takes 3 channels, and the data have 1",
    ),
    "another width": (
        lambda: built("small_cnn", options=(("width", 64),)),
        "most by 2 times: it has another width",
    ),
    "no classifier": (
        lambda: {k: v for k, v in built("small_cnn").items() if "classifier" not in k},
        "has no classifier of small_cnn: give a whole checkpoint; to start students .* --from",
    ),
    "another architecture": (
        lambda: built("resnet18"),
        "it fits resnet18: name it with --teacher-model",
    ),
    "an unknown one": (
        lambda: {"a.weight": torch.ones(3)},
        "lacks .* and has the extra 'a.weight'; it is of another architecture: name its model",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_says_what_would(tmp_path, case):
    make, says = MISFITS[case]
    found = refusal(tmp_path, make())
    assert re.search(says, found) and "\n" not in found, found


def test_a_classifier_of_another_name_is_named(tmp_path):
    held = {name.replace("classifier", "fc"): one for name, one in built("small_cnn").items()}
    assert "'fc.bias' has the shape of 'classifier.bias', which may be the same" in refusal(
        tmp_path, held
    )


def test_another_depth_is_called_so(tmp_path):
    deep, flat = built("wide_resnet-16-1"), built("wide_resnet-10-1")
    says = (
        "it has another depth than wide_resnet-{}-1, or is incomplete: name the model of its depth"
    )
    assert says.format(10) in refusal(tmp_path, deep, "wide_resnet-10-1")
    assert says.format(16) in refusal(tmp_path, flat, "wide_resnet-16-1")


def test_a_model_that_is_named_is_not_asked_for(tmp_path):
    for make, _ in MISFITS.values():
        assert "--teacher-model" not in refusal(tmp_path, make(), flag="")


def test_numbers_that_are_not_sound_are_refused_from_any_container(state, tmp_path):
    held = {**state, "fc.bias": torch.tensor([0.0, torch.nan, 0.0])}
    torch.save(held, tmp_path / "t.pth")
    fit = fitted(tmp_path / "t.pth", Net())
    own = network.build_empty(ModelSpec("small_cnn"), Signature.of_shape((1, 8, 8), 3))
    object.__setattr__(own, "model", Net())
    with pytest.raises(AnewError, match=r"'fc\.bias' holds NaN or infinity"):
        saving.fill(own, fit.tensors, tmp_path / "t.pth")


# Weights to start from


def test_a_classifier_of_other_classes_starts_fresh(state, tmp_path):
    torch.save(state, tmp_path / "t.pth")
    fit = fitted(tmp_path / "t.pth", Net(classes=5), fresh_classes=5)
    assert not fit.wrong and equal(fit.tensors, without(state, "fc.weight", "fc.bias"))
    assert (
        "'fc.weight' and 'fc.bias', starts from random weights: it has 3 classes" in fit.notices[0]
    )
    body = without(state, "fc.weight", "fc.bias") | {"projector.weight": torch.ones(2)}
    torch.save(body, tmp_path / "t.pth")
    fit = fitted(tmp_path / "t.pth", Net(), fresh_classes=3)
    assert not fit.wrong and "starts from random weights: it has none" in fit.notices[0]
    # Only the classifier may be missing.
    torch.save(without(state, "conv.weight"), tmp_path / "t.pth")
    assert fitted(tmp_path / "t.pth", Net(), fresh_classes=3).wrong == ("conv.weight",)


def test_pretrained_weights_are_found_in_the_cache_and_never_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    says = "not in the local cache, and training downloads nothing; download them once with: python"
    with pytest.raises(AnewError, match=says):
        hub.cached("torchvision:resnet18")
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    file.write_bytes(b"x")
    assert hub.cached("torchvision:resnet18") == file
    with pytest.raises(AnewError, match="is for models of timm and torchvision"):
        hub.cached("small_cnn")
