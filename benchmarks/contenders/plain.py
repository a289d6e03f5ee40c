"""A plain PyTorch loop, as PyTorch's knowledge-distillation tutorial has it, with this benchmark's
optimizer.

https://docs.pytorch.org/tutorials/beginner/knowledge_distillation_tutorial.html
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.contenders.pictures import Pictures, networks
from benchmarks.worker import Setup, Turns

TEMPERATURE, SOFT_WEIGHT, LABEL_WEIGHT = 2.0, 0.25, 0.75


def train(setup: Setup, turns: Turns) -> None:
    """Train from labels, or from labels and teacher, epoch after epoch."""
    data = Pictures(setup.data)
    layout = getattr(torch, setup.options.get("memory_format", "contiguous_format"))
    student, teacher = (one.to(memory_format=layout) for one in networks(setup, data))
    workers = setup.options.get("workers", 0)
    loader = DataLoader(data, batch_size=setup.batch_size, shuffle=True, num_workers=workers)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    student.train()
    while True:
        running_loss = 0.0
        for pictures, labels in loader:
            inputs = pictures.to(setup.device, memory_format=layout)
            targets = labels.to(setup.device)
            optimizer.zero_grad()
            if setup.distil:
                with torch.no_grad():
                    teacher_logits = teacher(inputs)
                logits = student(inputs)
                loss = SOFT_WEIGHT * _soft(logits, teacher_logits) + LABEL_WEIGHT * criterion(
                    logits, targets
                )
            else:
                loss = criterion(student(inputs), targets)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            turns.step(len(targets))


def _soft(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the tutorial's loss to the softened teacher: T^2 KL(p || q), its log p summed with the
    rest.
    """
    p = nn.functional.softmax(teacher_logits / TEMPERATURE, dim=-1)
    log_q = nn.functional.log_softmax(logits / TEMPERATURE, dim=-1)
    return torch.sum(p * (p.log() - log_q)) / log_q.size(0) * TEMPERATURE**2
