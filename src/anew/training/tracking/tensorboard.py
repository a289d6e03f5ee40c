"""TensorBoard: a folder for each lineage, in it a folder of event files for each network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from anew.training.tracking.callback import Run


class TensorBoard:
    """Event files in a folder, which `tensorboard --logdir FOLDER` shows."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def open(self, run: Run) -> EventFiles:
        """Open a network's event files: those there are stay, and further steps go into another."""
        place = self.folder / run.group.replace(" ", "-") / f"{run.name}"
        is_new = not place.exists()
        opened = EventFiles(place)
        if is_new:
            lines = [f"    {name} = {value}" for name, value in run.settings.items()]
            opened.writer.add_text("settings", "\n".join([f"    id = {run.id}", *lines]))
        return opened


class EventFiles:
    """The event files of a network."""

    def __init__(self, place: Path) -> None:
        self.last_step = _last_step(place)
        self.writer: Any = import_module("torch.utils.tensorboard").SummaryWriter(str(place))

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add values at a step."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        # Somebody may be watching, and a killed process writes nothing any more.
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


def _last_step(place: Path) -> int:
    """Return the last step in a folder's event files, 0 if it has none."""
    loader = import_module("tensorboard.backend.event_processing.event_file_loader")
    steps = [
        event.step
        for path in sorted(place.glob("events.out.tfevents.*"))
        for event in loader.EventFileLoader(str(path)).Load()
        if event.HasField("summary")
    ]
    return max(steps, default=0)
