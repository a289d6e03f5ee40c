"""Soft targets for an epoch's batches: asked live, or once a view and then read from a store."""

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
from anew.data.examples import in_equal_parts
from anew.models.network import Outputs
from anew.teachers.encoding import Encoding
from anew.teachers.live import LiveTeacher
from anew.teachers.shuffled import Shuffled, check_shuffled
from anew.teachers.store import FLUSH_SECONDS, Store

AHEAD_BATCHES = 16
AHEAD_BYTES = 64 << 20
# The largest difference of probabilities that rounding makes: another machine or another number of
# threads sums in another order, in bfloat16 with errors of a few parts in a hundred.
TOLERANCE = {"float32": 0.02, "bfloat16": 0.25}


class Teacher:
    """A teacher's targets, the same bits live and from a store.

    Networks run on batches of one fixed size, because their last bits may depend on it but not on
    an example's place within the batch (a test holds every architecture to that). With a store, the
    missing answers to the next few batches are asked for together, so that few places of a batch
    are padding.
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
        """The examples that the networks answered, and the examples of batches with targets."""
        self._log = log
        self._writes = store is not None
        self._is_damaged = False
        self._shuffled: Shuffled | None = None

    def shuffle(self, batches: Batches) -> None:
        """From now on give each training example the answer to another one: see `Shuffled`.

        Partners share the class that the teacher predicts for the example itself, without
        augmentation. Each process asks about its share of the examples, in batches of the fixed
        size, so the partners do not depend on the number of processes.

        Raises `AnewError` if the teacher answers at several positions of an example: such an
        example has no one class.
        """
        check_shuffled(self.live.signature, batches.views, samples=batches.samples)
        predicted = torch.zeros_like(batches.labels)
        first, stride = self.world.rank * self.batch_size, self.world.size * self.batch_size
        for start in range(first, len(predicted), stride):
            part = slice(start, start + self.batch_size)
            predicted[part] = self.ask(batches.examples.show(part)).argmax(-1)
        self._shuffled = Shuffled.within(self.world.sum(predicted), batches)
        self._log(
            "a control: this teacher's outputs are exchanged among training examples of the same "
            "predicted class"
        )

    def teach(self, epoch: Iterable[Batch]) -> Iterator[tuple[Batch, Outputs]]:
        """Yield an epoch's batches, each with the teacher's outputs for exactly its views.

        The logits are (B, *positions, C), float32. A shuffled teacher yields its outputs for the
        same views of the examples' partners.
        """
        batches = iter(epoch)
        while ahead := list(islice(batches, 1)):
            ahead += islice(batches, self._ahead(ahead[0]) - 1)
            asked_for = [self._asked_for(batch) for batch in ahead]
            for batch, outputs in zip(ahead, self._outputs(asked_for), strict=True):
                self.served += len(batch.labels)
                yield batch, outputs

    def ask(self, inputs: Num[Tensor, "asked ..."]) -> Float[Tensor, "asked *positions classes"]:
        """Return the logits (A, *positions, C) for inputs as they are, asked live."""
        return self.encoding.decode(self._ask(inputs))

    def ask_about(self, batch: Batch) -> Outputs:
        """Return the outputs that `teach` gives for a whole batch, asked live."""
        inputs = self._asked_for(batch).inputs
        if self.live.features:
            return self._observe(inputs)
        return Outputs(self.ask(inputs))

    def verify(self, batches: Batches, precision: str) -> None:
        """Ask for a random sample of the stored answers again and compare.

        Logs a warning if the networks' last bits depend on an example's place in the batch, as
        those of a user's own network may: the content of a table then depends on the order in which
        it was filled. Raises `AnewError` if the store holds other answers than the teacher gives.
        """
        if self.store is None:
            return

        inputs = batches.examples.show(slice(0, self.batch_size))
        if not torch.equal(self._ask(inputs), self._ask(inputs.flip(0)).flip(0)):
            self._log(
                "this teacher's last bits depend on an example's place in the batch, so with a "
                "cache a student's bits may depend on the order in which the cache was filled; "
                "--ask live avoids this"
            )

        examples, views = self.store.filled()
        if not len(examples):
            return
        order = randomness.order(randomness.key(0, "store sample"), len(examples))
        sample = order[: self.batch_size].numpy()
        examples, views = examples[sample], views[sample]
        rows, sound = self.store.look(examples, views)
        if not sound.any():
            return
        examples, views = examples[sound], views[sound]
        before = self.encoding.decode(self._from_rows(rows[sound], batches.device))

        chosen = torch.from_numpy(examples).to(batches.device)
        columns = torch.from_numpy(views).to(batches.device)
        now = self.ask(batches.show_stored(chosen, columns))
        difference = (now.softmax(-1) - before.softmax(-1)).abs().amax().item()
        if not difference <= TOLERANCE[precision]:
            raise AnewError(
                f"stored targets {self.store.folder}: differ from the teacher's present outputs "
                f"(probabilities differ by {difference:.2g}); move that folder away to have them "
                "computed again"
            )

    def flush(self, *, at_least_every: float = 0.0) -> None:
        """Write new answers to the disk; if that is full, log it and go on without writing."""
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
        """Return the batch whose answers this one gets: itself, or its partners once shuffled."""
        return batch if self._shuffled is None else self._shuffled(batch)

    def _outputs(self, batches: Sequence[Batch]) -> Iterator[Outputs]:
        """Yield the outputs for whole batches; each process asks for its parts."""
        if not self.live.features:
            for words in self._words(batches):
                yield Outputs(self.encoding.decode(self.world.gather(words)))
            return

        # Features are as large as activations, so no table holds them.
        for batch in batches:
            part = self._observe(batch.inputs)
            features = {name: self.world.gather(value) for name, value in part.features.items()}
            yield Outputs(self.world.gather(part.logits), features)

    def _observe(self, inputs: Num[Tensor, "asked ..."]) -> Outputs:
        """Return logits, rounded as all targets are, and features."""
        self.asked += len(inputs)
        outputs = self.live.outputs(self.live.signature.arrange(inputs))
        words = self.encoding.encode(outputs.logits)
        return Outputs(self.encoding.decode(words), outputs.features)

    def _words(self, batches: Sequence[Batch]) -> Sequence[Int16[Tensor, "batch *positions words"]]:
        """Return encoded answers for this process's parts of batches, from the store if held there.

        The others are asked for, and kept in the store.
        """
        sizes = [len(batch.inputs) for batch in batches]
        if self.store is None:
            return self._ask(torch.cat([batch.inputs for batch in batches])).split(sizes)

        device = batches[0].inputs.device
        examples = torch.cat([batch.indices[batch.part] for batch in batches]).cpu().numpy()
        views = torch.cat([batch.columns[batch.part] for batch in batches]).cpu().numpy()
        has_place = (views >= 0) & (views < self.store.key.views)
        held = has_place.copy()
        held[has_place] = self.store.has(examples[has_place], views[has_place])
        rows = np.empty((len(examples), self.store.key.words), np.uint16)
        if held.any():
            rows[held], sound = self.store.look(examples[held], views[held])
            self._warn_of_damage(len(sound) - int(sound.sum()))
            held[held] = sound

        missing = np.flatnonzero(~held)
        if len(missing):
            inputs = torch.cat([batch.inputs for batch in batches])
            if len(missing) < len(examples):
                inputs = inputs[torch.from_numpy(missing).to(device)]
            rows[missing] = self._ask(inputs).flatten(1).cpu().numpy().view(np.uint16)
            kept = missing[has_place[missing]]
            self._keep(examples[kept], views[kept], rows[kept])
        return self._from_rows(rows, device).split(sizes)

    def _ahead(self, batch: Batch) -> int:
        """Return the number of batches whose answers are asked for together.

        The processes' parts of them make at least one whole batch for the networks. With a store,
        they are as many as fit a modest memory.
        """
        if self.store is None:
            return self.world.size
        size = batch.inputs.numel() * batch.inputs.element_size()
        return max(self.world.size, min(AHEAD_BATCHES, AHEAD_BYTES // max(1, size)))

    def _ask(self, inputs: Num[Tensor, "asked ..."]) -> Int16[Tensor, "asked *positions words"]:
        """Return the networks' encoded answers, asked in batches of the fixed size."""
        self.asked += len(inputs)
        answers: list[Tensor] = []
        for part, count in in_equal_parts(inputs, self.batch_size):
            asked = self.live.signature.arrange(part)
            answers.append(self.encoding.encode(self.live.logits(asked)[:count]))
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
            f"stored targets {self.store.folder}: cannot be written ({error.strerror}); missing "
            "outputs are computed live, with the same result"
        )

    def _warn_of_damage(self, wrong: int) -> None:
        """Say once that stored answers are not as they were written."""
        assert self.store is not None
        if wrong and not self._is_damaged:
            self._is_damaged = True
            self._log(
                f"stored targets {self.store.folder}: are damaged ({wrong} outputs so far); they "
                "are computed again, with the same result"
            )

    def _from_rows(
        self, rows: np.ndarray, device: torch.device
    ) -> Int16[Tensor, "batch *positions words"]:
        """Return a store's rows (B, T x W) as words on the device, a row of them a position."""
        words = torch.from_numpy(rows.view(np.int16)).to(device)
        return words.view(len(rows), *self.live.signature.positions, self.encoding.width)
