"""Soft targets for the batches of an epoch: asked for now, or once a view and read from a store
ever after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Int16, Num
from torch import Tensor

from anew.core import randomness
from anew.core.distributed import World
from anew.core.errors import AnewError
from anew.data.batches import Batch, Batches
from anew.teachers.encoding import Encoding
from anew.teachers.live import LiveTeacher
from anew.teachers.shuffled import Shuffled
from anew.teachers.store import FLUSH_SECONDS, Store

AHEAD_BATCHES = 16
AHEAD_BYTES = 64 << 20
# Rows recomputed on another machine or with other threads differ by rounding, in bfloat16 by a few
# parts in a hundred.
TOLERANCE = {"float32": 0.02, "bfloat16": 0.25}


class Teacher:
    """A teacher's targets, the same bits whichever way it is asked.

    Networks are asked in batches of one fixed size, because their last bits may depend on it but
    not on an example's place within the batch (a test holds every architecture to that). With a
    store, the missing answers to the next few batches are asked for together, so that few of a
    batch's places are padding.
    """

    def __init__(
        self,
        live: LiveTeacher,
        encoding: Encoding,
        batch_size: int,
        store: Store | None = None,
        log: Callable[[str], None] = lambda text: None,
        world: World | None = None,
    ) -> None:
        self.live, self.encoding, self.batch_size, self.store = live, encoding, batch_size, store
        self.world = world or World()
        self.asked, self.served = 0, 0
        """How many answers the networks gave, and for how many examples of batches targets were
        given.
        """
        self._log = log
        self._writes = store is not None
        self._shuffled: Shuffled | None = None

    def shuffle(self, batches: Batches) -> None:
        """From now on answer to each training example with what belongs to another one: see
        `Exchange`.

        Its class is what the teacher says of the picture itself, without augmentation. Several
        processes ask about a share each, in batches of the fixed size, so the partners are the same
        however many there are.
        """
        predicted = torch.zeros_like(batches.labels)
        for start in range(
            self.world.rank * self.batch_size, len(predicted), self.world.size * self.batch_size
        ):
            part = slice(start, start + self.batch_size)
            predicted[part] = self.ask(batches.examples.show(part)).argmax(-1)
        self._shuffled = Shuffled.within(self.world.sum(predicted), batches)
        self._log(
            "a control: this teacher's answers are exchanged among training examples of one "
            "predicted class"
        )

    def teach(
        self, epoch: Iterable[Batch]
    ) -> Iterator[tuple[Batch, Float[Tensor, "batch classes"]]]:
        """Yield an epoch's batches, each with the teacher's logits (B, C), float32, for exactly its
        views.

        Once shuffled, for the same views of the examples' partners.
        """
        batches = iter(epoch)
        while ahead := list(islice(batches, 1)):
            ahead += islice(batches, self._ahead(ahead[0]) - 1)
            for batch, words in zip(
                ahead, self._words([self._asked_for(one) for one in ahead]), strict=True
            ):
                self.served += len(batch.labels)
                yield batch, self.encoding.decode(self.world.gather(words))

    def ask(self, inputs: Num[Tensor, "asked ..."]) -> Float[Tensor, "asked classes"]:
        """Return the logits for inputs as they are, asked live."""
        return self.encoding.decode(self._ask(inputs))

    def ask_about(self, batch: Batch) -> Float[Tensor, "batch classes"]:
        """Return the logits that `teach` gives for a whole batch, asked live."""
        return self.ask(self._asked_for(batch).inputs)

    def verify(self, batches: Batches, precision: str) -> None:
        """Ask for a random sample of the stored answers again and compare; `AnewError` where they
        are another's.

        Says so where the networks' last bits depend on an example's place in the batch, as those of
        a network of one's own may: what a table holds then depends on the order in which it was
        filled.
        """
        if self.store is None:
            return
        inputs = batches.examples.show(slice(0, self.batch_size))
        if not torch.equal(self._ask(inputs), self._ask(inputs.flip(0)).flip(0)):
            self._log(
                "this teacher's last bits depend on an example's place in the batch: with a table, "
                "a student's bits "
                "may depend on the order in which it was filled; --ask live avoids it"
            )
        examples, views = self.store.filled()
        if not len(examples):
            return
        sample = randomness.order(randomness.key(0, "store sample"), len(examples))[
            : self.batch_size
        ].numpy()
        chosen, numbers = (
            torch.from_numpy(places[sample]).to(batches.device) for places in (examples, views)
        )
        stored = self._to_device(self.store.read(examples[sample], views[sample]), batches.device)
        now = self.ask(batches.examples.show(chosen, numbers))
        before = self.encoding.decode(stored)
        difference = (now.softmax(-1) - before.softmax(-1)).abs().amax().item()
        if not difference <= TOLERANCE[precision]:
            raise AnewError(
                f"stored targets {self.store.folder}: hold other answers than the teacher gives "
                f"now (probabilities "
                f"differ by {difference:.2g}); remove that folder, it is filled again"
            )

    def flush(self, *, at_least_every: float = 0.0) -> None:
        """Bring what was asked to the disk; where that is full, say so and go on without
        writing.
        """
        if self.store is not None and self._writes:
            try:
                self.store.flush(at_least_every=at_least_every)
            except OSError as error:
                self._stop_writing(error)

    def close(self) -> None:
        """Flush and close the store."""
        if self.store is not None:
            self.flush()
            self.store.close()

    def _asked_for(self, batch: Batch) -> Batch:
        """Return the batch whose answers are given for this one: itself, or once shuffled its
        partners.
        """
        return batch if self._shuffled is None else self._shuffled(batch)

    def _words(self, batches: Sequence[Batch]) -> Sequence[Int16[Tensor, "batch words"]]:
        """Return the rows for this process's parts of batches: stored where they are there, asked
        for otherwise.
        """
        sizes = [len(batch.inputs) for batch in batches]
        if self.store is None:
            return self._ask(torch.cat([batch.inputs for batch in batches])).split(sizes)
        device = batches[0].inputs.device
        examples = torch.cat([batch.indices[batch.part] for batch in batches]).cpu().numpy()
        views = torch.cat([batch.views[batch.part] for batch in batches]).cpu().numpy()
        there = self.store.has(examples, views)
        rows = np.empty((len(examples), self.encoding.width), np.uint16)
        if there.any():
            rows[there] = self.store.read(examples[there], views[there])
        missing = np.flatnonzero(~there)
        if len(missing):
            inputs = torch.cat([batch.inputs for batch in batches])
            if len(missing) < len(examples):
                inputs = inputs[torch.from_numpy(missing).to(device)]
            rows[missing] = self._ask(inputs).cpu().numpy().view(np.uint16)
            self._keep(examples[missing], views[missing], rows[missing])
        return self._to_device(rows, device).split(sizes)

    def _ahead(self, batch: Batch) -> int:
        """Return for how many batches at once answers are asked: with a store, as many as fit a
        modest memory.

        At least so many that the processes' parts of them make a whole batch to ask for.
        """
        if self.store is None:
            return self.world.size
        size = batch.inputs.numel() * batch.inputs.element_size()
        return max(self.world.size, min(AHEAD_BATCHES, AHEAD_BYTES // max(1, size)))

    def _ask(self, inputs: Num[Tensor, "asked ..."]) -> Int16[Tensor, "asked words"]:
        """Ask the networks in batches of the fixed size, the last one padded with its own first
        examples.
        """
        self.asked += len(inputs)
        answers: list[Tensor] = []
        for part in inputs.split(self.batch_size):
            padding = self.batch_size - len(part)
            asked = (
                torch.cat([part, part[:1].expand(padding, *part.shape[1:])]) if padding else part
            )
            asked = self.live.signature.arrange(asked)
            answers.append(self.encoding.encode(self.live.logits(asked)[: len(part)]))
        return torch.cat(answers)

    def _keep(self, examples: np.ndarray, views: np.ndarray, rows: np.ndarray) -> None:
        if self.store is None or not self._writes:
            return
        try:
            self.store.write(examples, views, rows)
            self.store.flush(at_least_every=FLUSH_SECONDS)
        except OSError as error:
            self._stop_writing(error)

    def _stop_writing(self, error: OSError) -> None:
        assert self.store is not None
        self._writes = False
        self._log(
            f"stored targets {self.store.folder}: cannot be written ({error.strerror}); the "
            f"teacher is asked live for "
            "what is missing, the result is the same"
        )

    @staticmethod
    def _to_device(rows: np.ndarray, device: torch.device) -> Int16[Tensor, "batch words"]:
        return torch.from_numpy(rows.view(np.int16)).to(device)
