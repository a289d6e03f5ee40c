"""A LightningModule that learns from a teacher of anew, with anew's objectives and views.

    pip install 'anew[lightning]'
    python examples/lightning_module.py

Lightning's trainer has the loop, its loader the order; what an epoch shows of an example, and the
teacher's targets for exactly that, are anew's.
"""

import logging
import tempfile
import warnings
from pathlib import Path

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import anew
from anew.data import Data, EpochViews
from anew.models.network import Network
from anew.objectives import ban


class Student(lightning.LightningModule):
    """Any network, trained by the cross-entropy to a teacher's probabilities."""

    def __init__(self, network: nn.Module, teacher, data: Data) -> None:
        super().__init__()
        self.network, self.teacher, self.anew_data = network, teacher, data

    def train_dataloader(self) -> DataLoader:
        """Return an epoch's views; the trainer asks anew for them before each epoch."""
        views = EpochViews(self.anew_data)
        views.set_epoch(self.current_epoch)
        order = torch.Generator().manual_seed(self.current_epoch)
        return DataLoader(views, batch_size=64, shuffle=True, drop_last=True, generator=order)

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the objective for a batch."""
        loss = ban(self.network(batch["inputs"]), self.teacher(batch["indices"], batch["views"]))
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(self.network.parameters(), lr=3e-3)


def main(folder: Path) -> float:
    """Train a teacher by anew and a student by Lightning; return the student's test accuracy."""
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
    data, network = result.data, result.network(0)
    torch.manual_seed(0)
    fresh = anew.models.build_for(data.signature, "small_cnn", {"width": 16})
    student = Network(fresh, network.spec, data.signature)

    with anew.teacher(network, data, batch_size=64, store=folder / "targets") as teacher:
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=3,
            reload_dataloaders_every_n_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Student(student, teacher, data))
    with torch.inference_mode():
        logits = student.eval()(data.test.show(slice(None)))
    return (logits.argmax(-1) == data.test.labels).double().mean().item()


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # One process reads what is in memory: workers would only copy it.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    with tempfile.TemporaryDirectory() as temporary:
        print(f"test accuracy {main(Path(temporary)):.3f}")
