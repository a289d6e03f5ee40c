"""torchdistill, driven as its image-classification example drives it: a box from a configuration, a
metric logger.

The teacher is set to evaluation mode before torchdistill gets it, as it should be: the box itself
leaves it in training mode, which is slower, and another teacher.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import RandomSampler
from torchdistill.core.distillation import get_distillation_box
from torchdistill.core.training import get_training_box
from torchdistill.misc.log import MetricLogger, SmoothedValue

from benchmarks.contenders.pictures import Pictures, networks
from benchmarks.contenders.plain import LABEL_WEIGHT, SOFT_WEIGHT, TEMPERATURE
from benchmarks.worker import Setup, Turns

EPOCHS = 10_000
FORWARD = {"forward_proc": "forward_batch_only"}
OUTPUT = {"module_path": ".", "io": "output"}


def train(setup: Setup, turns: Turns) -> None:
    """Train a box, epoch after epoch."""
    data = Pictures(setup.data)
    student, teacher = networks(setup, data)
    device = torch.device(setup.device)
    box: Any
    if setup.distil:
        config = _config(setup, {"kd": _term("KDLoss", _KD)})
        config |= {
            "teacher": {**FORWARD, "requires_grad": False},
            "student": {**FORWARD, "requires_grad": True},
        }
        box = get_distillation_box(
            teacher, student, {"train": data}, config, device, None, False, 1
        )
    else:
        label = _term("CrossEntropyLoss", {"reduction": "mean"})
        label["criterion_wrapper"] = {
            "key": "SimpleLossWrapper",
            "kwargs": {
                "input": {"is_from_teacher": False, **OUTPUT},
                "target": {"uses_label": True},
            },
        }
        config = {**_config(setup, {"label": label}), "model": dict(FORWARD)}
        box = get_training_box(student, {"train": data}, config, device, None, False, 1)
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        meters = MetricLogger(delimiter="  ")
        meters.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        for pictures, labels, supplement in meters.log_every(
            box.train_data_loader, 100, f"Epoch: [{epoch}]"
        ):
            inputs, targets = pictures.to(device), labels.to(device)
            loss = box.forward_process(inputs, targets, supplement)
            box.post_forward_process(loss=loss)
            meters.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
            if not torch.isfinite(loss):
                raise ValueError(f"the loss is {loss}")
            turns.step(len(targets))
        box.post_epoch_process()


_KD = {
    "student_module_path": ".",
    "student_module_io": "output",
    "teacher_module_path": ".",
    "teacher_module_io": "output",
    "temperature": TEMPERATURE,
    "alpha": LABEL_WEIGHT,
    "beta": SOFT_WEIGHT,
    "reduction": "batchmean",
}


def _config(setup: Setup, terms: dict[str, Any]) -> dict[str, Any]:
    return {
        "num_epochs": EPOCHS,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {
                "batch_size": setup.batch_size,
                "num_workers": setup.options.get("workers", 0),
            },
        },
        "optimizer": {
            "key": "SGD",
            "kwargs": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
        },
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}},
    }


def _term(key: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"criterion": {"key": key, "kwargs": kwargs}, "weight": 1.0}
