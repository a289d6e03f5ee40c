"""A study's column may show the epoch that the validation split picks."""

import json

import numpy as np
import pytest

from anew import AnewError
from anew.evaluation import read_outputs
from anew.family import Family
from anew.studies import read_study
from commands import call

STUDY = """
seeds = [0]
[data]
source = "npz:{place}"
validation = 0.3
[training]
epochs = 9
batch_size = 16
learning_rate = 0.1
schedule = "constant"
{best}
[rows]
mlp = "mlp"
[columns.Teacher]
[columns."Teacher, best epoch"]
best_epoch = true
"""


def test_it_shows_the_same_network_at_another_epoch(arrays, tmp_path):
    # Labels of which half are random: the last epoch has learned them by heart, the best has not.
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(240) < 0.5, rng.integers(0, 3, 240), arrays[1])
    np.savez(tmp_path / "some.npz", x=arrays[0], y=labels)
    path = tmp_path / "best.toml"
    path.write_text(STUDY.format(place=tmp_path / "some.npz", best="best_epoch = true"))
    common = (path, "--out", tmp_path / "f", "--threads", 1)
    done = call("study", "run", *common)
    assert done.code == 0, done.err

    (folder,) = Family.open(tmp_path / "f").folders()
    exported = call("study", "show", path, tmp_path / "f", "--format", "json")
    assert exported.code == 0, exported.err
    errors = [cell["errors"]["0"] for cell in json.loads(exported.out)["cells"]]
    assert errors[0] != errors[1]

    for error, epoch in zip(errors, ("last", "best"), strict=True):
        logits, labels = read_outputs(folder, "test", epoch)
        wrong = (logits.argmax(-1) != labels).double().mean().item()
        assert error == pytest.approx(100 * wrong)


def test_without_a_kept_epoch_it_is_refused(tmp_path):
    path = tmp_path / "best.toml"
    path.write_text(STUDY.format(place="some.npz", best=""))
    with pytest.raises(AnewError, match=r"needs one network and training\.best_epoch"):
        read_study(path)
