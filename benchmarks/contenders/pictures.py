"""Pictures and networks as all but anew's own loop get them: a PIL data set with torchvision's
transforms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import transforms

from anew import models
from benchmarks.worker import Setup


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures held as uint8, changed one by one as torchvision's own CIFAR-10 does: to PIL, then
    the transforms.
    """

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self.pictures, self.labels = arrays["x_train"].squeeze(), arrays["y_train"].tolist()
            self.classes = arrays["classes"].tolist()
            mean, std = arrays["mean"].tolist(), arrays["std"].tolist()
        side = self.pictures.shape[1]
        self.shape = (len(mean), side, side)
        self.transform: Callable[[Image.Image], Tensor] = transforms.Compose(
            [
                transforms.RandomCrop(side, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pictures[index])), self.labels[index]


def networks(setup: Setup, data: Pictures) -> tuple[nn.Module, nn.Module]:
    """Return a new student and the teacher, in evaluation mode, on the device."""
    torch.manual_seed(0)
    student, teacher = (models.build(setup.model, data.shape, len(data.classes)) for _ in range(2))
    teacher.load_state_dict(load_file(setup.teacher))
    return student.to(setup.device), teacher.to(setup.device).eval()
