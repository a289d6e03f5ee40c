"""A stopped run: what was saved is proved by its hash, and what lies beside it is restored or
refused.
"""

import hashlib
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from anew import AnewError
from anew.core import files
from anew.family import Family
from anew.training.checkpoint import Checkpoint
from runs import RECIPE, StopsAfter, metrics, train, weights

GIVEN = {"generations": 0, "keep_epochs": 1, "recipe": RECIPE}


@pytest.fixture(scope="module")
def whole(arrays, tmp_path_factory):
    return train(arrays, tmp_path_factory.mktemp("whole") / "family", **GIVEN).family.path


@pytest.fixture(scope="module")
def half(arrays, tmp_path_factory, whole):
    (folder,) = Family.open(whole).folders()
    out = tmp_path_factory.mktemp("half") / "family"
    with pytest.raises(AnewError, match="stopped and saved at step"):
        after = StopsAfter(folder.read_metrics()[1]["step"] + 1)
        train(arrays, out, progress=after, **GIVEN)
    return out


@pytest.fixture
def stopped(half, tmp_path):
    """A run that was stopped in the middle of its last epoch."""
    shutil.copytree(half, tmp_path / "family")
    (folder,) = Family.open(tmp_path / "family").folders()
    return folder


def goes_on(stopped, arrays, whole):
    family = stopped.path.parent.parent
    train(arrays, family, **GIVEN)
    assert weights(family) == weights(whole) and metrics(family) == metrics(whole)
    assert Family.open(family).verify() == (1, [])


def as_version_0_1(state, **header):
    """Write a state as version 0.1 did: without hash, metrics and kept epochs."""
    tensors, written = files.read_tensors(state)
    tensors.pop("metrics")
    written = {
        key: value for key, value in written.items() if key not in ("sha256", "kept", *header)
    }
    text = json.dumps({**written, **{key: one for key, one in header.items() if one != "gone"}})
    save_file(tensors, state, {"anew": text})


def test_the_hash_of_a_save_is_one_of_all_that_it_holds(stopped):
    tensors, header = files.read_tensors(stopped.state)
    seal = header.pop("sha256")
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    assert seal == digest.hexdigest()
    assert tensors["metrics"].numpy().tobytes() == stopped.metrics.read_bytes()


def test_no_changed_byte_of_a_save_is_accepted(stopped):
    whole = stopped.state.read_bytes()
    good = Checkpoint.read(stopped.state, stopped.id)
    for at in range(3, len(whole), len(whole) // 150):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        stopped.state.write_bytes(damaged)
        try:
            read = Checkpoint.read(stopped.state, stopped.id)
        except AnewError as error:
            assert str(stopped.state) in str(error) and "move it away" in str(error)
        else:
            # A byte that pads the table says nothing.
            assert read.standing == good.standing and read.metrics == good.metrics
            assert all(map(torch.equal, read.model.values(), good.model.values()))


@pytest.mark.parametrize("harm", ["missing", "cut", "changed", "longer", "link", "pipe", "none"])
def test_the_metrics_of_a_stopped_run_come_from_its_save(stopped, arrays, whole, tmp_path, harm):
    content = stopped.metrics.read_bytes()
    other = tmp_path / "thesis"
    other.write_text("somebody's")
    stopped.metrics.unlink()
    if harm == "link":
        stopped.metrics.symlink_to(other)
    elif harm == "pipe":
        os.mkfifo(stopped.metrics)
    elif harm != "missing":
        changed = {"cut": content[:-9], "changed": content[:9] + b"\0" + content[10:]}
        stopped.metrics.write_bytes(changed.get(harm, content + b"{" * (harm == "longer")))
    goes_on(stopped, arrays, whole)
    assert other.read_text() == "somebody's"


def test_a_save_of_version_0_1_goes_on_if_its_metrics_are_sound(stopped, arrays, whole):
    as_version_0_1(stopped.state)
    content = stopped.metrics.read_bytes()
    for damaged in (content[:-9], content.replace(b'"epoch": 2', b'"epoch": 3'), b"\0" * 999):
        stopped.metrics.write_bytes(damaged)
        with pytest.raises(AnewError, match=r"metrics\.jsonl: is damaged, 2 epochs were written"):
            train(arrays, stopped.path.parent.parent, **GIVEN)
        assert stopped.metrics.read_bytes() == damaged
    stopped.metrics.write_bytes(content + b'{"epoch": 3')
    goes_on(stopped, arrays, whole)


@pytest.mark.parametrize(
    "header",
    [
        {"step": "1"},
        {"step": -1},
        {"step": 10**30},
        {"step": True},
        {"epoch": 0},
        {"loss_sum": None},
        {"loss_sum": float("nan")},
        {"errors": 0.5},
        {"seconds": []},
        {"metrics_end": "gone"},
        {"checks": 1},
        {"teaching": {"asked": "1"}},
        {"environments": []},
        {"environments": [1]},
        {"best_row": {"epoch": 1}},
        {"kept": ["epoch-1.safetensors"]},
        {"kept": {"../elsewhere": "0"}},
    ],
)
def test_odd_values_in_a_save_are_refused_in_one_line(stopped, arrays, header):
    as_version_0_1(stopped.state, **header)
    with pytest.raises(AnewError, match=r"safetensors|elsewhere") as error:
        train(arrays, stopped.path.parent.parent, **GIVEN)
    assert error.value.exit_code == 2 and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.momentum_buffer", "99.momentum_buffer", "0.odd", "0"])
def test_anothers_optimizer_is_refused(stopped, arrays, name):
    tensors = load_file(stopped.state)
    header = files.read_tensors(stopped.state)[1]
    header.pop("sha256")
    tensors[f"optimizer.{name}"] = tensors.pop("optimizer.0.momentum_buffer")
    save_file(tensors, stopped.state, {"anew": json.dumps(header)})
    with pytest.raises(AnewError, match="of another optimizer; restore it from a copy"):
        train(arrays, stopped.path.parent.parent, **GIVEN)


def test_a_kept_epoch_that_changed_is_not_sealed(stopped, arrays, whole):
    path = stopped.at_epoch(1)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AnewError, match=r"epoch-1\.safetensors: is missing or has changed"):
        train(arrays, stopped.path.parent.parent, **GIVEN)
    path.write_bytes(content)
    goes_on(stopped, arrays, whole)


def test_a_damaged_save_moved_away_is_trained_again_to_the_same_bits(stopped, arrays, whole):
    stopped.state.write_bytes(stopped.state.read_bytes()[:-5])
    with pytest.raises(AnewError, match="move it away: the same command then trains"):
        train(arrays, stopped.path.parent.parent, **GIVEN)
    stopped.state.rename(whole.parent / "damaged")
    goes_on(stopped, arrays, whole)
