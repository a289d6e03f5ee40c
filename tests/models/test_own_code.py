"""The code of a user's own model: what counts as a change, and what is said of it."""

import sys

import pytest

import anew
from anew import AnewError
from anew.core.callbacks import Callback
from anew.models import changes, code_of
from anew.models.building import build
from conftest import quick

BLOCKS = '''"""Blocks."""
from torch import nn

WIDTH = 4

def block(channels):
    """Return a block."""
    return nn.Sequential(nn.Conv2d(channels, WIDTH, 3, padding=1), nn.ReLU())
'''
NETS = """
import math
from torch import nn
from {package}.blocks import block

class Net(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.body = block(input_shape[0])
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

class Other(nn.Module):
    pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A package of two modules that can be imported; its folder."""
    name = f"edited_{abs(hash(request.node.name))}"
    folder = tmp_path / "code" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "blocks.py").write_text(BLOCKS)
    (folder / "nets.py").write_text(NETS.format(package=name))
    monkeypatch.syspath_prepend(folder.parent)
    yield folder
    forget(folder)


def forget(folder):
    """Let the next import read the files again, as a new process would."""
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]


def edit(folder, module, old, new):
    path = folder / f"{module}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    forget(folder)


def code(folder):
    name = f"{folder.name}.nets:Net"
    build(name, (1, 8, 8), 3)
    return code_of(name)


def names(folder, *parts):
    return [f"{folder.name}.{part}" for part in parts]


def test_the_code_is_the_definitions_that_the_model_uses(package):
    assert sorted(code(package)) == names(
        package, "blocks:WIDTH", "blocks:block", "blocks:nn", "nets:Net", "nets:block", "nets:nn"
    )


@pytest.mark.parametrize(
    "module, old, new, changed",
    [
        ("blocks", "nn.ReLU()", "nn.Tanh()", ["blocks:block"]),
        ("blocks", "WIDTH = 4", "WIDTH = 4 + 0", ["blocks:WIDTH"]),
        ("nets", "mean((2, 3))", "amax((2, 3))", ["nets:Net"]),
        ("nets", "class Other", "Net.extra = 1\n\nclass Other", ["nets"]),
        ("blocks", "from torch import nn", "import torch.nn as nn", ["blocks:nn"]),
        # What the model does not use, and what no network depends on.
        ("nets", "    pass", "    number = 3", []),
        ("nets", "import math", "import math, json", []),
        ("blocks", '"""Return a block."""', '"""Return another."""  # a comment', []),
        ("blocks", "WIDTH = 4\n", "WIDTH  =  4  # channels\n", []),
        ("nets", "class Other", "def helper():\n    return 1\n\nclass Other", []),
        ("nets", "    pass", '    pass\n\nif __name__ == "__main__":\n    print(Net)', []),
    ],
)
def test_what_is_a_change(package, module, old, new, changed):
    before = code(package)
    edit(package, module, old, new)
    assert changes(before, code(package)) == names(package, *changed)


def test_code_of_others_is_none(tmp_path):
    assert code_of("wide_resnet-10-1") == {}
    assert code_of("no_such_module:Net") == {}
    # An installed package has a version.
    assert code_of("torch.nn:ReLU") == {}


def test_edited_code_is_never_taken_for_what_was_trained(command, refused, package, npz):
    words = (
        "train",
        "--model",
        f"{package.name}.nets:Net",
        "--data",
        f"npz:{npz}",
        *quick(1, 0)[:-2],
    )
    first = command(*words, check=0).out
    forget(package)
    assert command(*words, check=0).out == first

    edit(package, "blocks", "nn.ReLU()", "nn.Tanh()")
    line = refused(*words)
    assert "has changed since network" in line
    assert line.endswith(
        f"was trained ({package.name}.blocks:block); give another --out to train with the "
        "present code, or --force to use the trained network"
    )
    forced = command(*words, "--force", check=0)
    assert forced.out == first
    assert "has changed since" in forced.err
    assert command(*words, "--out", "other", check=0).out != first


class StopsAfterAnEpoch(Callback):
    def epoch_done(self, spec, row):
        raise RuntimeError("stopped")


def test_a_half_trained_network_does_not_go_on_with_other_code(package, arrays, tmp_path):
    def train(**options):
        anew.train(
            f"{package.name}.nets:Net",
            arrays,
            out=tmp_path / "family",
            epochs=2,
            batch_size=16,
            generations=0,
            **options,
        )

    with pytest.raises(RuntimeError, match="stopped"):
        train(progress=StopsAfterAnEpoch())
    edit(package, "nets", "mean((2, 3))", "amax((2, 3))")
    with pytest.raises(AnewError, match=r"has changed since .*\.nets:Net\); give another --out"):
        train(progress=False)
    train(progress=False, force=True)
