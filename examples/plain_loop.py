"""A loop of your own with anew's data, objectives and stored teacher.

    python examples/plain_loop.py

A teacher is trained by anew on scikit-learn's digits. A student, any module, then learns from it
in a loop that is not anew's: batches and views are anew's pure functions of (seed, epoch), and what
the teacher answered once it never answers again.
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import anew
from anew.objectives import ban_l

EPOCHS = 6


def student() -> nn.Module:
    """Return a small network of your own, which takes pictures as bytes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def main(folder: Path) -> float:
    """Train a teacher and a student, and return the student's test accuracy."""
    result = anew.train(
        "small_cnn",
        "digits",
        recipe={"model": {"options": {"width": 16}}, "data": {"padding": 1}},
        views="crop",
        generations=0,
        epochs=4,
        batch_size=32,
        out=folder / "family",
        progress=False,
    )
    data = result.data
    torch.manual_seed(0)
    model = student()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    store = folder / "targets"
    with anew.teacher(result.network(0), data, batch_size=64, store=store) as teacher:
        for epoch in range(EPOCHS):
            for batch, targets in teacher.epoch(epoch):
                logits = model(batch.inputs.float() / 255)
                loss = ban_l(logits, targets, batch.labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            asked, served = teacher.teacher.asked, teacher.teacher.served
            print(f"epoch {epoch + 1}: loss {loss:.3f}, {asked} of {served} answers asked for")

        # By the numbers of views, where a loop has an order of its own: the same targets.
        by_number = teacher(batch.indices, batch.views)
        assert torch.equal(by_number, targets)

    with torch.inference_mode():
        logits = model(data.test.show(slice(None)).float() / 255)
    return (logits.argmax(-1) == data.test.labels).double().mean().item()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(f"test accuracy {main(Path(temporary)):.3f}")
