"""The notebooks: their code cells are run in order, in an empty folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands import call

NOTEBOOKS = Path(__file__).parent.parent / "examples" / "notebooks"
SAYS = {
    "born_again_in_ten_minutes": "ensemble 0-2",
    "a_study_of_your_own": "| small CNN | from labels again |",
}


def test_every_notebook_is_run():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SAYS)


def run_here(words, **options):
    """Run the command of a cell in this process, which has torch already."""
    assert words[:3] == [sys.executable, "-m", "anew"]
    assert options == {"capture_output": True, "text": True}
    done = call(*words[3:])
    return subprocess.CompletedProcess(words, done.code, done.out, done.err)


@pytest.mark.parametrize("name", SAYS)
def test_the_cells_run_in_order(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", run_here)
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    names = {}
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), "notebooks are kept without outputs"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), name, "exec"), names)
    assert SAYS[name] in capsys.readouterr().out
