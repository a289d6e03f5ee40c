"""A teacher without a network: a row of soft labels for each training example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int16, Int64
from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.data.batches import Batch, Batches
from anew.models.network import Outputs
from anew.teachers.encoding import Encoding
from anew.teachers.shuffled import Shuffled


@dataclass(frozen=True)
class Rows:
    """Soft labels of all training examples, encoded as every teacher's answers are."""

    words: Int16[Tensor, "examples words"]
    encoding: Encoding

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """Write the rows to a safetensors file, which appears whole."""
        kept = {"classes": self.encoding.classes, "top_k": self.encoding.top_k}
        files.write_tensors(path, {"words": self.words}, {**about, "encoding": kept})

    @classmethod
    def load(cls, path: Path) -> Rows:
        """Read what `save` wrote; raises `AnewError` if the file holds something else."""
        tensors, header = files.read_tensors(path)
        kept, words = header.get("encoding"), tensors.get("words")
        if not isinstance(kept, dict) or words is None or words.dtype != torch.int16:
            raise AnewError(f"{path}: holds no rows of soft labels; restore it from a copy")
        encoding = Encoding(kept.get("classes", 0), kept.get("top_k"))
        if words.ndim != 2 or words.shape[1] != encoding.width:
            raise AnewError(f"{path}: its rows are damaged; restore it from a copy")
        return cls(words, encoding)


class RowTeacher:
    """A teacher that gives every view of an example its one row, as `Teacher` gives its answers.

    Of mixed pictures it gives the mean of both rows' probabilities, with the pictures' shares.
    """

    def __init__(
        self,
        rows: Rows,
        spec: Spec,
        batches: Batches,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Take the rows for a student's `spec`; raise `AnewError` unless each example has one."""
        if len(rows.words) != len(batches.labels):
            raise AnewError(
                f"soft labels: have {len(rows.words)} rows, and there are {len(batches.labels)} "
                "training examples; train with the data and the split that they were given for"
            )

        self.asked, self.served = 0, 0
        """No network is asked; and the examples of batches with targets."""
        self._words = rows.words.to(batches.device)
        self._stored = rows.encoding
        self._wanted = Encoding(rows.encoding.classes, spec.objective.top_k)
        self._shuffled: Shuffled | None = None
        if spec.objective.shuffled:
            self._shuffled = Shuffled.within(self.predicted(), batches)
            log(
                "a control: the soft labels are exchanged among training examples of the same "
                "predicted class"
            )

    def predicted(self) -> Int64[Tensor, "examples"]:
        """Return the likeliest class of each training example."""
        parts = self._words.split(1 << 14)
        return torch.cat([self._stored.decode(part).argmax(-1) for part in parts])

    def teach(self, epoch: Iterable[Batch]) -> Iterator[tuple[Batch, Outputs]]:
        """Yield an epoch's batches, each with the rows of its examples as logits (B, C)."""
        for batch in epoch:
            self.served += len(batch.labels)
            yield batch, self.ask_about(batch)

    def ask_about(self, batch: Batch) -> Outputs:
        """Return the outputs that `teach` gives for a whole batch."""
        if self._shuffled is not None:
            batch = self._shuffled(batch)

        logits = self._logits(batch.indices)
        if batch.second is not None and batch.share is not None:
            both = [
                F.log_softmax(one, dim=-1) + share.log()[:, None]
                for one, share in (
                    (logits, batch.share),
                    (self._logits(batch.second.indices), 1 - batch.share),
                )
            ]
            logits = torch.logaddexp(*both)
        if self._wanted.top_k is not None or batch.second is not None:
            logits = self._wanted.decode(self._wanted.encode(logits))
        return Outputs(logits)

    def flush(self, *, at_least_every: float = 0.0) -> None:
        """Do nothing: rows are written once."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _logits(self, indices: Int64[Tensor, "batch"]) -> Float[Tensor, "batch classes"]:
        return self._stored.decode(self._words[indices])
