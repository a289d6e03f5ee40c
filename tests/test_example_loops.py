"""The examples run as a user runs them; those for a library that is not installed are left out."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

# They write archives out of data sets that are not at hand in the tests.
WRITERS = {"cifar10n.py", "cifar100_superclasses.py"}

EXAMPLES = Path(__file__).parent.parent / "examples"
NEEDS = {
    "plain_loop.py": (),
    "lightning_module.py": ("pytorch_lightning",),
    "hugging_face_trainer.py": ("transformers", "accelerate"),
}


def test_every_example_is_run():
    loops = {path.name for path in EXAMPLES.glob("*.py")} - WRITERS
    assert loops == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_the_example_teaches_a_student(name, tmp_path):
    for library in NEEDS[name]:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:anew", EXAMPLES / name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    # The teacher itself, after so few epochs, is right on more than half of them.
    assert float(done.stdout.split()[-1]) > 0.5
