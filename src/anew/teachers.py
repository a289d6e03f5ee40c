"""Where soft targets come from: networks asked about exactly the views that a student sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from anew.data.batches import Batch
from anew.network import Network, Runner
from anew.objectives import mean_of_teachers


class LiveTeacher:
    """One or several trained networks, run on every batch in inference mode; several answer with their mean."""

    def __init__(self, networks: Sequence[Network], precision: str, compile: bool) -> None:
        self.networks = networks
        self._runners = [Runner(one.eval().requires_grad_(False), precision, compile) for one in networks]

    @torch.inference_mode()
    def logits(self, batch: Batch) -> Float[Tensor, "batch classes"]:
        """Return the teacher's logits (B, C) for the views in a batch."""
        answers = [run(batch.inputs) for run in self._runners]
        return answers[0] if len(answers) == 1 else mean_of_teachers(torch.stack(answers))
