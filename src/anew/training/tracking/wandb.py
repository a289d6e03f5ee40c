"""Weights & Biases: a project, in it a run for each network.

It follows W&B's own settings, such as `WANDB_MODE=offline`. W&B's server says which step a run has
reached. An offline run cannot be asked, so the step stands in a file beside W&B's files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from anew.core import files
from anew.training.tracking.callback import Run


class WandB:
    """A project of Weights & Biases."""

    def __init__(self, project: str) -> None:
        self.project = project

    def open(self, run: Run) -> WandBRun:
        """Open the network's run, found by the network's id, or a new one."""
        wandb: Any = import_module("wandb")
        opened = wandb.init(
            project=self.project,
            id=run.id,
            name=run.name,
            group=run.group,
            config=dict(run.settings),
            resume="allow",
            # Siblings are open together.
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )
        return WandBRun(opened, Path(opened.dir).parent.parent / "anew")


class WandBRun:
    """A run of Weights & Biases, and the file `PROJECT-ID.step` with the step that it reached."""

    def __init__(self, run: Any, folder: Path) -> None:
        self._run = run
        self._file = folder / f"{re.sub(r'[^0-9A-Za-z_.-]', '-', run.project)}-{run.id}.step"
        self.last_step = max(0, run.step - 1)
        if run.offline and self._file.exists():
            self.last_step = int(self._file.read_text())

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add values at a step."""
        self._run.log(dict(values), step=step)
        files.ensure_folder(self._file.parent)
        files.write_bytes(self._file, str(step).encode())

    def close(self) -> None:
        """Wait until all is written, and close the run."""
        self._run.finish()
