"""trackio: a project, on this machine unless its own variables say otherwise, in it a run for each
network.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from anew.training.tracking.callback import Run


class Trackio:
    """A project of trackio, which `trackio show --project PROJECT` shows."""

    def __init__(self, project: str) -> None:
        self.project = project

    def open(self, run: Run) -> TrackioRun:
        """Open the network's run, found by its name, which holds the id, or a new one."""
        # trackio ends the run that is open in its context, and siblings are open together.
        context = contextvars.Context()
        opened = context.run(
            import_module("trackio").init,
            self.project,
            name=run.name,
            group=run.group,
            config={"id": run.id, **run.settings},
            resume="allow",
            embed=False,
            # What the machine does is none of the network's metrics, and has no step.
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        return TrackioRun(opened)


class TrackioRun:
    """A run of trackio's."""

    def __init__(self, run: Any) -> None:
        self._run = run
        # Read from the project when a run is opened again; it has no public name.
        self.last_step: int = max(0, run._next_step - 1)

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add values at a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Wait until all is written, and close the run."""
        self._run.finish()
