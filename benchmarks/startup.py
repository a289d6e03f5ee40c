"""How long it takes until something happens: the command's help, and the first training step."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.rounds import ROOT

FIRST_STEP = """
import tempfile, anew
from anew.core.callbacks import Callback

class First(Callback):
    def step_done(self):
        raise SystemExit

anew.train(out=tempfile.mkdtemp(dir={folder!r}), progress=First())
"""


def measure(folder: Path, times: int = 5) -> dict[str, float]:
    """Return medians in seconds of wall time, each process from its start to its end."""
    commands = {
        "anew --help": [sys.executable, "-m", "anew", "--help"],
        "import torch (for comparison)": [sys.executable, "-c", "import torch"],
        "anew.train() on the digits, to the end of its first step": [
            sys.executable,
            "-c",
            FIRST_STEP.format(folder=str(folder)),
        ],
    }
    return {
        what: statistics.median(_seconds(command) for _ in range(times))
        for what, command in commands.items()
    }


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start
