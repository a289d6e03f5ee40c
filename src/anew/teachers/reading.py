"""A teacher that reads a text: its answers to a window depend on all windows before it.

Asked live, it reads a training epoch's batches in their order with a state of its own, zero at the
epoch's start. A table is filled by one such pass before the first step, since rows cannot be asked
for one by one; it is the same for all epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int16
from numpy.typing import NDArray
from torch import Tensor

from anew.core.errors import AnewError
from anew.data.batches import Batch, Batches
from anew.models.language import State
from anew.models.network import Outputs
from anew.teachers.store import FLUSH_SECONDS, Places, Words
from anew.teachers.teacher import TOLERANCE, Teacher


class ReadingTeacher(Teacher):
    """A teacher's targets for windows of a text, the same bits live and from a table."""

    _states: list[State] | None = None
    """The networks' states, padded to whole batches; None before the first batch."""
    _batches: Batches | None = None

    def begin(self, batches: Batches) -> None:
        """Take the batches that will be taught, and fill the table if there is one.

        A table that cannot be written is logged; the teacher is then asked live.
        """
        self._batches = batches
        if self.encoding.top_k is not None:
            self._say_rest(batches)
        if self.store is not None and not self._held(np.arange(len(batches.labels))).all():
            self._fill(batches)

    def teach(self, epoch: Iterable[Batch]) -> Iterator[tuple[Batch, Outputs]]:
        """Yield an epoch's batches in order, each with the teacher's logits (B, T, V)."""
        for batch in epoch:
            self.served += len(batch.labels)
            words = self._read(batch) if self.store is None else self._stored(batch)
            yield batch, Outputs(self.encoding.decode(self.world.gather(words)))

    def state(self) -> dict[str, Tensor]:
        """Return the states of the networks after the last batch, by `NETWORK.TENSOR`.

        Whole batches of them, if several processes hold parts; every process must ask.
        """
        if self.store is not None or self._batches is None:
            return {}
        part = len(range(*self._batches.part.indices(self.batch_size)))
        return {
            f"{network}.{number}": self.world.gather(one[:part].clone())
            for network, state in enumerate(self._states or [])
            for number, one in enumerate(state)
        }

    def resume(self, epoch: int, first: int, state: Mapping[str, Tensor]) -> None:
        """Go on before batch `first` of an epoch with a state that was saved there.

        Without one the epoch's earlier batches are read again, to the same state.
        """
        assert self._batches is not None, "the batches are known"
        if self.store is not None or first == 0:
            return

        fresh = self.live.start(self.batch_size)
        names = [
            f"{network}.{number}" for network, one in enumerate(fresh) for number in range(len(one))
        ]
        if sorted(state) != sorted(names):
            if not names:
                return
            self._log("the teacher reads the epoch again up to here: its state was not saved")
            for batch in self._batches.epoch(epoch):
                if batch.number == first:
                    return
                self._read(batch)

        self._states = [
            tuple(
                self._padded(state[f"{network}.{number}"][self._batches.part].to(one.device))
                for number, one in enumerate(start)
            )
            for network, start in enumerate(fresh)
        ]

    def verify(self, batches: Batches, precision: str) -> None:
        """Ask about the first windows of all streams again, and compare with what a table holds.

        Raises `AnewError` if it holds other answers than the teacher gives.
        """
        if self.store is None:
            return

        batch = next(batches.epoch(0))
        places = self._places(batch)
        rows, sound = self._look(places)
        sound &= self._held(places)
        if not sound.any():
            return

        now = self.encoding.decode(self._read(batch)).softmax(-1)[torch.from_numpy(sound)]
        before = self.encoding.decode(self._from_rows(rows[sound], batches.device)).softmax(-1)
        difference = (now - before).abs().amax().item()
        if not difference <= TOLERANCE[precision]:
            raise AnewError(
                f"stored targets {self.store.folder}: differ from the teacher's present outputs "
                f"(probabilities differ by {difference:.2g}); move that folder away to have them "
                "computed again"
            )

    def _read(self, batch: Batch) -> Int16[Tensor, "part steps words"]:
        """Return the encoded answers to this process's part of the batch that comes next."""
        if batch.number == 0:
            self._states = self.live.start(self.batch_size)
        assert self._states is not None, "a text is read from its start, or from a saved state"
        self.asked += len(batch.inputs)
        logits, self._states = self.live.read(self._padded(batch.inputs), self._states)
        return self.encoding.encode(logits[: len(batch.inputs)])

    def _padded(self, part: Tensor) -> Tensor:
        """Return a part of a batch with its first row repeated up to a whole batch.

        A network's last bits may depend on the size of a batch.
        """
        padding = self.batch_size - len(part)
        if not padding:
            return part
        return torch.cat([part, part[:1].expand(padding, *part.shape[1:])])

    def _fill(self, batches: Batches) -> None:
        """Read the text once, and keep the answers to all windows."""
        assert self.store is not None, "there is a table to fill"
        self._log("the cache is filled by one pass over the text before the first step")
        try:
            for batch in batches.epoch(0):
                places = self._places(batch)
                rows = self._read(batch).flatten(1).cpu().numpy().view(np.uint16)
                self.store.write(places, _views(places), rows)
                self.store.flush(at_least_every=FLUSH_SECONDS)
            self.store.flush()
        except OSError as error:
            self._stop_writing(error)
            self.store.close()
            self.store = None

    def _stored(self, batch: Batch) -> Int16[Tensor, "part steps words"]:
        """Return the table's answers; if they are damaged, the table is filled again first."""
        assert self.store is not None, "there is a table"
        places = self._places(batch)
        rows, sound = self._look(places)
        if not sound.all():
            self._warn_of_damage(int((~sound).sum()))
            assert self._batches is not None, "the batches are known"
            self._fill(self._batches)
            if self.store is None:
                raise AnewError(
                    "stored targets: are damaged and cannot be written again; run the same "
                    "command with --ask live"
                )
            rows, _ = self._look(places)
        return self._from_rows(rows, batch.inputs.device)

    def _places(self, batch: Batch) -> NDArray[Any]:
        return batch.indices[batch.part].cpu().numpy()

    def _held(self, places: Places) -> NDArray[Any]:
        assert self.store is not None, "there is a table"
        return self.store.has(places, _views(places))

    def _look(self, places: Places) -> tuple[Words, NDArray[np.bool_]]:
        assert self.store is not None, "there is a table"
        return self.store.look(places, _views(places))

    def _say_rest(self, batches: Batches) -> None:
        """Log how much of the teacher's probability is beyond the k that are kept."""
        batch = next(batches.whole().epoch(0))
        part = batch.inputs[: self.batch_size]
        logits, _ = self.live.read(self._padded(part), self.live.start(self.batch_size))
        kept = logits.float().softmax(-1).topk(self.encoding.top_k or 1, dim=-1).values.sum(-1)
        how = "evenly" if self.encoding.frequencies is None else "as the training tokens are"
        self._log(
            f"top {self.encoding.top_k} of {self.encoding.classes:,}: "
            f"{100 * (1 - kept.mean().item()):.1f} % of the teacher's probability is outside them "
            f"(on the first windows) and is spread {how}"
        )


def _views(places: Places) -> Places:
    """Return the views of windows: a text has only one."""
    return np.zeros_like(places)
