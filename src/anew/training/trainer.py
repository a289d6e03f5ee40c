"""One network being trained: its step, its epoch's record, how it is saved so that it goes on to
the same weights.

Everything random in a step is a pure function of (seed, step), so what a resumed run needs is the
weights, the optimizer's state, and how far it got.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anew import evaluation, objectives
from anew.core import files, randomness
from anew.core.callbacks import Callback
from anew.core.distributed import World
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.data.batches import Batch, Batches
from anew.data.split import Data
from anew.family import NetworkFolder
from anew.models import network, saving, whole_batch
from anew.models.network import Network, Runner
from anew.objectives import Context
from anew.teachers import Teacher
from anew.training import checks, optim
from anew.training.checks import Knowledge
from anew.training.device import environment

# Reading a loss waits for the device, so they are read this many at a time.
READ_LOSSES_EVERY = 50


class NotFiniteError(AnewError):
    """A loss or weights are no longer finite: this network stops, its siblings do not."""


class Trainer:
    """One network being trained: its weights, its optimizer, how far it got, and how that is saved
    and restored.
    """

    def __init__(
        self,
        spec: Spec,
        folder: NetworkFolder,
        data: Data,
        batches: Batches,
        world: World | None = None,
        teacher: Network | None = None,
    ) -> None:
        """Build the network; what its spec freezes is copied from `teacher`, its first."""
        self.spec, self.data, self.batches, self.folder = spec, data, batches, folder
        self.world = world or World()
        self.objective = objectives.find(spec.objective.name)
        self.options = objectives.fill_options(spec.objective.name, spec.objective.options)
        copied = teacher.model if teacher is not None else None
        self.network = self._place(network.build(spec, data.signature, copied))
        self.optimizer = optim.optimizer(self.network, spec.training, batches.device)
        self._runner = Runner(
            whole_batch.share(self.network.train(), self.world),
            spec.training.precision,
            spec.training.compile,
        )
        self.steps = spec.training.epochs * batches.steps
        self.step = 0
        """Steps done."""
        self.epoch = 0
        """Epochs done and recorded; behind `step` for an instant, between an epoch's last step and
        its record.
        """
        self.loss_sum, self.errors = 0.0, 0
        self.seconds = 0.0
        self.metrics_end = 0
        self.checks: dict[str, Any] = {}
        self.teaching: dict[str, int] = {}
        """Its share of what its teacher's networks were asked, and for how many of its pictures
        targets were given.
        """
        self._taught_before: dict[str, int] = {}
        self.environments = [environment(batches.device, self.world.size)]
        self.best: dict[str, Tensor] = {}
        self.best_row: dict[str, Any] = {}
        self._unread: list[tuple[Tensor, Tensor]] = []
        self._started = self._saved = time.monotonic()

    @property
    def name(self) -> str:
        """How the network is called in messages."""
        return f"network {self.spec.id} (generation {self.spec.generation}, {self.spec.origin})"

    @property
    def minutes_unsaved(self) -> float:
        """Minutes since the last save."""
        return (time.monotonic() - self._saved) / 60

    def train_step(
        self, batch: Batch, teacher_logits: Float[Tensor, "batch classes"] | None
    ) -> None:
        """Take one step: forward, objective, backward, update. Nothing here waits for the device.

        Raises `NotFiniteError` where one of the last losses was not finite.
        """
        rate = optim.learning_rate(self.spec.training, self.step, self.steps)
        stream = randomness.key(
            self.spec.seed, "step", self.spec.generation, self.step, *self._of_rank()
        )
        randomness.reseed(stream, self.batches.device)
        logits = self.world.gather(self._runner(batch.inputs).logits)
        permutation = None
        if "permutation" in self.objective.needs:
            permutation = batch.permutation(self.data.spec.seed, logits.shape[-1])
        context = Context(logits, batch.labels, teacher_logits, permutation)
        loss = self.objective.terms(context, **self.options).total()
        self.optimizer.zero_grad(set_to_none=True)
        # Processes' gradients are averaged, and each has only its own part's: their sum is meant.
        (loss * self.world.size if self.world.size > 1 else loss).backward()
        if self.spec.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.spec.training.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.step += 1
        self._unread.append((loss.detach(), (logits.detach().argmax(-1) != batch.labels).sum()))
        if len(self._unread) >= READ_LOSSES_EVERY:
            self._read_losses()

    def end_epoch(self) -> dict[str, Any]:
        """Evaluate on the validation split, write the epoch's line of metrics, and return it."""
        self._read_losses()
        self._check_finite_weights()
        examples = self.batches.steps * self.batches.batch_size
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "learning_rate": optim.learning_rate(self.spec.training, self.step - 1, self.steps),
            "train_loss": self.loss_sum / self.batches.steps,
            "train_error": 100 * self.errors / examples,
        }
        if len(self.data.validation):
            logits = evaluation.predict(
                self.network, self.data.validation, self.batches.device, self.world
            )
            scores = evaluation.score_logits(logits, self.data.validation.labels)
            row |= {"validation_error": scores.error, "validation_nll": scores.nll}
            if self.spec.training.best_epoch and scores.error < self.best_row.get(
                "validation_error", math.inf
            ):
                self.best_row = dict(row)
                self.best = {
                    name: value.clone() for name, value in self.network.model.state_dict().items()
                }
        row["seconds"] = round(self._seconds_so_far(), 3)
        if self.world.is_main:
            self.metrics_end = files.write_line(self.folder.metrics, self.metrics_end, row)
        self.loss_sum, self.errors = 0.0, 0
        self.epoch += 1
        return row

    def keep_epoch(self) -> None:
        """Keep the weights as they are after the epochs so far, to be looked at when the network is
        done.

        Before the epoch is saved: where a kill comes between, the epoch is trained again and writes
        the same bytes. The last epoch's are what `finish` writes.
        """
        if self.world.is_main and self.epoch < self.spec.training.epochs:
            about = {"id": self.spec.id, "generation": self.spec.generation, "epoch": self.epoch}
            self.network.save(self.folder.at_epoch(self.epoch), about)

    def check_teacher(
        self, teacher: Teacher, knowledge: Knowledge, progress: Callback, *, force: bool
    ) -> None:
        """Measure the teacher's term before the first step, and stop where teacher or term are
        worth nothing.

        An untrained teacher is a control, worth nothing by design: it is said and stops nobody.
        """
        signal = checks.signal(
            self.network, teacher, self.objective, self.options, self.batches, self.data
        )
        progress.log(
            f"teacher: {knowledge.accuracy:.1%} of the {knowledge.measured_on} examples right "
            f"(chance "
            f"{knowledge.chance:.1%}); {self.spec.objective.name}: |gradient of the teacher's "
            f"term| / |gradient of the "
            f"label term| = {signal:.3g}"
        )
        if all(one.is_untrained for one in self.spec.teachers):
            progress.log(
                "this teacher is untrained, as its 0 epochs ask: a control, which no check stops"
            )
        elif not force:
            knowledge.check()
            checks.check_signal(self.spec.objective.name, signal)
        self.checks = {**knowledge.to_json(), "signal": signal, "forced": force}

    def count_teaching(self, teacher: Teacher, siblings: int) -> None:
        """Note what the teacher was asked since this run's first step; siblings share its answers
        and their cost.
        """
        share = round(teacher.asked * self.world.size / siblings)
        so_far = {"asked": share, "served": teacher.served}
        self.teaching = {
            name: self._taught_before.get(name, 0) + count for name, count in so_far.items()
        }

    def save(self) -> None:
        """Save everything that a resumed run needs, in one file that appears whole."""
        self._read_losses()
        self._check_finite_weights()
        self._saved = time.monotonic()
        if not self.world.is_main:
            return
        tensors = {
            f"model.{name}": value for name, value in self.network.model.state_dict().items()
        }
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{number}.{name}": value
                for name, value in state.items()
                if value is not None
            }
        progress = {
            "id": self.spec.id,
            "step": self.step,
            "epoch": self.epoch,
            "loss_sum": self.loss_sum,
            "errors": self.errors,
            "seconds": self._seconds_so_far(),
            "metrics_end": self.metrics_end,
            "checks": self.checks,
            "teaching": self.teaching,
            "environments": self.environments,
            "best_row": self.best_row,
        }
        files.write_tensors(self.folder.state, tensors, progress)
        self._saved = time.monotonic()

    def restore(self, progress: Callback) -> None:
        """Go on from the last save."""
        tensors, saved = files.read_tensors(self.folder.state)
        if saved.get("id") != self.spec.id:
            raise AnewError(
                f"{self.folder.state}: is another network's state; remove it to start this network "
                f"again"
            )
        saving.fill(self.network, _under("model.", tensors), self.folder.state)
        self._restore_optimizer(_under("optimizer.", tensors))
        self.best = {
            name: value.to(self.batches.device) for name, value in _under("best.", tensors).items()
        }
        self.step, self.epoch, self.metrics_end = (
            saved["step"],
            saved["epoch"],
            saved["metrics_end"],
        )
        self.loss_sum, self.errors, self.seconds = (
            saved["loss_sum"],
            saved["errors"],
            saved["seconds"],
        )
        self.checks, self.best_row = saved["checks"], saved["best_row"]
        # A state that an earlier version saved counts nothing.
        self.teaching = self._taught_before = saved.get("teaching", {})
        now, before = self.environments[0], saved["environments"][-1]
        self.environments = (
            saved["environments"] if now == before else [*saved["environments"], now]
        )
        progress.log(
            f"generation {self.spec.generation} goes on from step {self.step} of {self.steps}"
        )
        if now != before:
            changed = ", ".join(
                f"{name} {before.get(name)} -> {now[name]}"
                for name in now
                if now[name] != before.get(name)
            )
            progress.log(
                f"the environment changed since the last save ({changed}): the last bits may differ"
            )

    def finish(self) -> None:
        """Write weights and outputs, mark the network done with its results, and drop the resumable
        state.
        """
        about = {"id": self.spec.id, "generation": self.spec.generation}
        networks = {"last": self.network}
        if self.best:
            networks["best"] = self._place(
                network.build_empty(self.spec.model, self.data.signature)
            )
            networks["best"].model.load_state_dict(self.best)
        outputs = evaluation.outputs_of(networks, self.data, self.batches.device, self.world)
        if not self.world.is_main:
            return
        self.network.save(self.folder.weights, about)
        if self.best:
            networks["best"].save(self.folder.best, {**about, "epoch": self.best_row["epoch"]})
        evaluation.write_outputs(self.folder.outputs, outputs, self.data)
        self.folder.finish(
            {
                "id": self.spec.id,
                "generation": self.spec.generation,
                "test": evaluation.score_logits(
                    *evaluation.read_outputs(self.folder, "test")
                ).to_json(),
                "best_epoch": self.best_row,
                "checks": self.checks,
                "pictures": self.step * self.batches.batch_size,
                "teacher": self.teaching,
                "seconds": round(self._seconds_so_far(), 3),
                "environments": self.environments,
            }
        )

    def _of_rank(self) -> tuple[int, ...]:
        """Return what tells this process's dropout from the others'; nothing where it is alone."""
        return (self.world.rank,) if self.world.size > 1 else ()

    def _place(self, one: Network) -> Network:
        return network.place(one, self.batches.device, self.spec.training.memory_format)

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [
            parameter for group in self.optimizer.param_groups for parameter in group["params"]
        ]
        for name, value in tensors.items():
            number, _, key = name.partition(".")
            parameter = parameters[int(number)]
            # Fused updates walk parameter and state side by side in memory, so the state takes the
            # parameter's strides.
            fitted = (
                torch.empty_like(parameter).copy_(value)
                if value.shape == parameter.shape
                else value
            )
            state.setdefault(int(number), {})[key] = fitted.detach()
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})

    def _read_losses(self) -> None:
        """Wait for the losses of the last steps and add them up, one by one: the sum is the same
        however read.
        """
        if not self._unread:
            return
        losses = torch.stack([loss for loss, _ in self._unread]).tolist()
        errors = torch.stack([wrong for _, wrong in self._unread]).tolist()
        first, self._unread = self.step - len(losses), []
        for number, (loss, wrong) in enumerate(zip(losses, errors, strict=True)):
            if not math.isfinite(loss):
                raise self._not_finite(f"the loss is {loss}", first + number)
            self.loss_sum += loss
            self.errors += wrong

    def _check_finite_weights(self) -> None:
        """A finite loss can leave weights that are not: they must never replace the last good
        state.
        """
        values = [
            value for value in self.network.model.state_dict().values() if value.is_floating_point()
        ]
        if not bool(torch.nn.utils.get_total_norm(values).isfinite()):
            raise self._not_finite("the weights are no longer finite", self.step - 1)

    def _not_finite(self, what: str, step: int) -> NotFiniteError:
        rate = optim.learning_rate(self.spec.training, step, self.steps)
        good = f"; the last good state is {self.folder.state}" if self.folder.state.exists() else ""
        return NotFiniteError(
            f"{self.name}: {what} at step {step + 1} of {self.steps}, learning rate "
            f"{rate:.3g}{good}; lower "
            "--learning-rate, or set --clip-norm or --warmup"
        )

    def _seconds_so_far(self) -> float:
        return self.seconds + time.monotonic() - self._started


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
