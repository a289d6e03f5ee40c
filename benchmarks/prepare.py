"""What all contenders share, made once: the pictures, decoded, and a teacher for each model.

A process of its own (`python -m benchmarks.prepare DATA FOLDER MODEL...`), so that the one that
starts the contenders stays small: a child's peak memory is counted from its parent's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from anew import data, models

# anew evaluates a given teacher and what it trains; that is not timed, so it need not take long.
TEST_PICTURES = 512
CALIBRATION_BATCHES = 20


def main(source: str, folder: Path, names: list[str]) -> dict[str, Any]:
    """Write pictures.npz and a teacher's state dict for each model; return what there is."""
    found = data.load(source)
    train, test = found.train, found.test or found.train
    pictures, labels = _by_place(train.inputs), train.labels.numpy()
    mean, std = (getattr(train.inputs.float() / 255, what)((0, 2, 3)) for what in ("mean", "std"))
    np.savez(
        folder / "pictures.npz",
        x_train=pictures,
        y_train=labels,
        x_test=_by_place(test.inputs[:TEST_PICTURES]),
        y_test=test.labels[:TEST_PICTURES].numpy(),
        classes=np.array(found.classes),
        mean=mean.numpy(),
        std=std.numpy(),
    )
    teachers: dict[str, str] = {}
    for number, name in enumerate(names):
        torch.manual_seed(0)
        model = models.build(name, tuple(train.inputs.shape[1:]), len(found.classes)).train()
        # Not trained, for its speed is all that counts; but batch norm must have met the pictures,
        # or its outputs are beyond all measure.
        with torch.no_grad():
            for batch in train.inputs[: 128 * CALIBRATION_BATCHES].split(128):
                model((batch / 255 - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1))
        teachers[name] = str(folder / f"teacher-{number}.safetensors")
        save_file(model.state_dict(), teachers[name])
    shape = "x".join(map(str, pictures.shape[1:]))
    return {"pictures": len(pictures), "shape": shape, "teachers": teachers}


def _by_place(inputs: torch.Tensor) -> np.ndarray:
    return inputs.permute(0, 2, 3, 1).contiguous().numpy()


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])))
