"""A Trainer of Hugging Face whose loss is an objective of anew, with a stored teacher.

    pip install 'anew[transformers]'
    python examples/hugging_face_trainer.py

The Trainer has the loop and the order. What an epoch shows of an example, and the teacher's targets
for exactly that, are anew's: the Trainer itself calls `EpochViews.set_epoch`.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from transformers.utils import ModelOutput

import anew
from anew.data import EpochViews
from anew.models.network import Network
from anew.objectives import kd

EPOCHS = 4


@dataclass
class Outputs(ModelOutput):
    """What a model of Hugging Face returns."""

    loss: Tensor | None = None
    logits: Tensor | None = None


class Classifier(nn.Module):
    """A network of anew in the manners of Hugging Face."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Outputs:
        """Return logits (B, C), and the cross-entropy to labels if they are given."""
        logits = self.network(inputs)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return Outputs(loss=loss, logits=logits)


class BornAgainTrainer(Trainer):
    """A Trainer whose students learn from a teacher of anew."""

    def __init__(self, *arguments, teacher, **keywords) -> None:
        super().__init__(*arguments, **keywords)
        self.teacher = teacher

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the objective of a batch of `EpochViews`."""
        targets = self.teacher(inputs["indices"], inputs["views"])
        outputs = model(inputs["inputs"])
        loss = kd(outputs.logits, targets, inputs["labels"], temperature=2.0, alpha=0.9)
        return (loss, outputs) if return_outputs else loss


def main(folder: Path) -> float:
    """Train a teacher by anew and a student by the Trainer; return its test accuracy."""
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

    settings = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=64,
        learning_rate=1e-2,
        # The names of what `EpochViews` returns are not those of the model's arguments.
        remove_unused_columns=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    with anew.teacher(network, data, batch_size=64, store=folder / "targets") as teacher:
        views = EpochViews(data)
        BornAgainTrainer(
            Classifier(student), settings, train_dataset=views, teacher=teacher
        ).train()
        assert views.epoch == EPOCHS - 1, "the Trainer did not ask for each epoch's views"
    with torch.inference_mode():
        logits = student.eval()(data.test.show(slice(None)))
    return (logits.argmax(-1) == data.test.labels).double().mean().item()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(f"test accuracy {main(Path(temporary)):.3f}")
