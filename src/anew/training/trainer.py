"""One network being trained: its step, the end of an epoch, saving and resuming.

A resumed run ends with the same weights. Everything random in a step is a pure function of (seed,
step), so a checkpoint holds the weights, the optimizer's state, and how far the network got.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from anew import evaluation, models, objectives
from anew.core import files, randomness
from anew.core.callbacks import Callback
from anew.core.distributed import World
from anew.core.errors import AnewError
from anew.core.spec import VALIDATED, Spec
from anew.data.batches import Batch, Batches
from anew.data.split import Data
from anew.data.windows import Windows
from anew.evaluation import language
from anew.evaluation.loading import probe_record
from anew.family import NetworkFolder
from anew.models import network, saving, whole_batch
from anew.models.language import State
from anew.models.network import Network, Outputs, Runner
from anew.teachers import ReadingTeacher, RowTeacher, Teacher
from anew.training import averaging, checks, optim
from anew.training.averaging import Averaging
from anew.training.checkpoint import MEND, Checkpoint, Standing
from anew.training.checks import Knowledge, TextKnowledge
from anew.training.code import check_code
from anew.training.device import environment
from anew.training.objective import StudentObjective
from anew.training.start import first_weights

# Reading a loss waits for the device, so they are read this many at a time.
READ_LOSSES_EVERY = 50
MOST_NATS = 700.0


class NotFiniteError(AnewError):
    """A loss or weights are no longer finite: this network stops, its siblings do not."""


class Trainer:
    """One network being trained: its weights, its optimizer, and how far it got."""

    def __init__(
        self,
        spec: Spec,
        folder: NetworkFolder,
        data: Data,
        batches: Batches,
        world: World | None = None,
        teacher: Network | None = None,
    ) -> None:
        """Build the network. What its spec freezes, or starts from, is copied from `teacher`, its
        first.
        """
        self.spec, self.data, self.batches, self.folder = spec, data, batches, folder
        self.world = world or World()
        copied = teacher.model if teacher is not None else None
        _check_frozen(spec, teacher)
        check_accumulation(spec, self.world.size)
        start = first_weights(spec, folder, teacher)
        self.network = self._place(network.build(spec, data.signature, copied, start))
        # Masks of -inf, say: no sign of a training that went wrong.
        self._infinite = saving.infinite_tensors(self.network.model)
        self.objective = StudentObjective(spec, self.network, teacher)
        self._parameters = [*self.network.parameters(), *self._own_parameters()]
        classes = len(data.classes)
        self.optimizer = optim.optimizer(self._parameters, spec.training, batches.device, classes)
        self._runner = Runner(
            whole_batch.share(self.network.train(), self.world, uses_all=self._uses_all()),
            spec.training.precision,
            spec.training.compile,
            self.objective.features,
        )

        self._averaging = Averaging(self.network.model, spec.training.averaging)
        self.steps = spec.training.epochs * batches.steps
        """The number of steps from the first to the last."""
        self.standing = Standing(
            spec.id,
            environments=[environment(batches.device, self.world.size)],
            code=models.code_of(spec.model.name),
        )
        self._metrics = b""
        self._best: dict[str, Tensor] = {}
        self._state: State = ()
        self.teacher_state: dict[str, Tensor] = {}
        """The states of the teacher's networks at the last save, where it reads a text."""
        self._taught_before: dict[str, int] = {}
        self._unread: list[tuple[Tensor, Tensor]] = []
        self._started = self._saved = time.monotonic()

    def _uses_all(self) -> bool:
        """Whether each weight has a part in the logits, which several processes have to know."""
        if self.world.size == 1 or not models.is_foreign(self.spec.model.name):
            return True
        inputs = self.data.training.show(slice(0, 2)).to(self.batches.device)
        return whole_batch.uses_all(self.network, inputs)

    @property
    def name(self) -> str:
        """How the network is called in messages."""
        return f"network {self.spec.id} (generation {self.spec.generation}, {self.spec.origin})"

    @property
    def step(self) -> int:
        """The number of steps taken."""
        return self.standing.step

    @property
    def epoch(self) -> int:
        """The number of epochs recorded."""
        return self.standing.epoch

    @property
    def is_at_end(self) -> bool:
        """Whether the last epoch is trained."""
        return self.epoch == self.spec.training.epochs or self.has_stopped_early

    @property
    def has_stopped_early(self) -> bool:
        """Whether the validation loss was least so many epochs ago that the training ends."""
        patience, best = self.spec.training.early_stopping, self.standing.best_row
        return bool(patience and best) and self.epoch - best["epoch"] >= patience

    def what_is_kept(self) -> str:
        """Return which epoch's weights a network has that may stop early."""
        best, epochs = self.standing.best_row, self.spec.training.epochs
        ended = "stops early" if self.epoch < epochs else "ends"
        return (
            f"generation {self.spec.generation} {ended} after epoch {self.epoch} of {epochs} "
            f"with the weights of epoch {best.get('epoch', self.epoch)}, which has the lowest "
            "validation loss"
        )

    @property
    def minutes_unsaved(self) -> float:
        """Minutes since the last save."""
        return (time.monotonic() - self._saved) / 60

    def train_step(self, batch: Batch, teacher: Outputs | None) -> None:
        """Take one step: forward, objective, backward, update. Nothing here waits for the device.

        `teacher` are the teacher's outputs for the whole batch, its logits (B, *positions, C).
        Raises `NotFiniteError` if one of the last losses was not finite.
        """
        rate = self._rate(self.step)
        self._reseed()

        self.optimizer.zero_grad(set_to_none=True)
        loss, wrong = self._add_gradients(batch, teacher)
        if self.spec.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.spec.training.clip_norm)

        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.standing.step += 1
        self._averaging.update(self.step)

        self._unread.append((loss, wrong))
        if len(self._unread) >= READ_LOSSES_EVERY:
            self._read_losses()

    def _add_gradients(self, batch: Batch, teacher: Outputs | None) -> tuple[Tensor, Tensor]:
        """Run the batch, whole or in parts, forward and backward.

        Returns its loss and the number of wrong answers. The loss of a batch is the mean of the
        losses of its parts, each with its share of the examples, so that their gradients add up.
        """
        losses: list[Tensor] = []
        wrong: list[Tensor] = []
        parts = self._parts(batch)
        for place, part in parts:
            student = self._forward(part)
            targets = teacher
            if teacher is not None and len(parts) > 1:
                targets = teacher.at(place)
            loss = self.objective.terms(part, student, targets, self.step / self.steps).total()
            if len(parts) > 1:
                loss = len(part.indices) / len(batch.indices) * loss

            self._backward(loss)
            losses.append(loss.detach())
            wrong.append(part.count_wrong(student.logits))
        return sum(losses[1:], losses[0]), sum(wrong[1:], wrong[0])

    def _parts(self, batch: Batch) -> list[tuple[slice, Batch]]:
        count = self.spec.training.accumulate
        return [(slice(None), batch)] if count == 1 else batch.cut(count)

    def end_epoch(self) -> dict[str, Any]:
        """Evaluate on the validation split, write the epoch's line of metrics, and return it."""
        self._read_losses()
        self._check_finite_weights()

        standing = self.standing
        positions = self.batches.labels[:1].numel()
        answers = max(1, positions * self.batches.count_labelled(standing.epoch))
        row: dict[str, Any] = {
            "epoch": standing.epoch + 1,
            "step": standing.step,
            "learning_rate": self._rate(self.step - 1),
            "train_loss": standing.loss_sum / self.batches.steps,
            "train_error": 100 * standing.errors / answers,
        }
        if len(self.data.validation):
            row |= self._validate(row)
            if self.spec.training.schedule in VALIDATED:
                # Without the clamp the header of a save could hold no number.
                perplexity = math.exp(min(row["validation_nll"], MOST_NATS))
                standing.perplexities.append(perplexity)
        row["seconds"] = round(self._seconds_so_far(), 3)

        if self.world.is_main:
            self._metrics += self.folder.write_metrics(standing.metrics_end, row)
            standing.metrics_end = len(self._metrics)
        standing.loss_sum, standing.errors = 0.0, 0
        standing.epoch += 1
        return row

    def _validate(self, row: dict[str, Any]) -> dict[str, float]:
        """Return the scores on the validation split, and keep the weights if they are the best."""
        examples = self.data.validation
        if isinstance(examples, Windows):
            said = language.read_through(self.network, examples, self.batches.device, kept=1)
            scores = said.scores()
        else:
            logits = evaluation.predict(self.network, examples, self.batches.device, self.world)
            scores = evaluation.score_logits(logits, examples.labels)
        validation = {"validation_error": scores.error, "validation_nll": scores.nll}
        chosen_by = "validation_error"
        if scores.perplexity is not None:
            validation = {"validation_perplexity": scores.perplexity, **validation}
        if scores.perplexity is not None or self.spec.training.early_stopping:
            chosen_by = "validation_nll"

        least = self.standing.best_row.get(chosen_by, math.inf)
        if self.spec.training.keeps_best and validation[chosen_by] < least:
            self.standing.best_row = {**row, **validation}
            state = self.network.model.state_dict()
            self._best = {name: value.clone() for name, value in state.items()}
        return validation

    def keep_epoch(self) -> None:
        """Keep the weights of this epoch for later analysis; `finish` writes those of the last.

        To be called before the epoch is saved: if the process is killed in between, the epoch is
        trained again and writes the same bytes.
        """
        if self.world.is_main and self.epoch < self.spec.training.epochs:
            about = {"id": self.spec.id, "generation": self.spec.generation, "epoch": self.epoch}
            self.folder.check_ours()
            path = self.folder.at_epoch(self.epoch)
            self.network.save(path, about)
            self.standing.kept[path.name] = files.sha256(path)

    def check_teacher(
        self,
        teacher: Teacher | RowTeacher,
        knowledge: Knowledge | TextKnowledge,
        progress: Callback,
        *,
        force: bool,
    ) -> None:
        """Check the teacher and the objective's term from it before the first step.

        Raises `CheckError` if the teacher is at chance or its term does nothing, unless `force` is
        on. An untrained teacher is a control that knows nothing by design: it is only logged.
        """
        signal = checks.signal(self.network, teacher, self.objective, self.batches)
        progress.log(
            f"teacher: {knowledge.in_words()}; "
            f"{checks.signal_in_words(self.spec.objective.name, signal)}"
        )
        if knowledge.advice and (force or not knowledge.is_at_chance):
            progress.log(f"teacher: {knowledge.advice}")

        if all(one.is_untrained for one in self.spec.teachers):
            progress.log("this teacher is untrained (0 epochs): a control, which no check stops")
        elif not force:
            knowledge.check()
            checks.check_signal(self.spec.objective.name, signal)
        self.standing.checks = {**knowledge.to_json(), "signal": signal, "forced": force}

    def count_teaching(self, teacher: Teacher | RowTeacher, siblings: int) -> None:
        """Count what the teacher was asked since this run's first step, shared among siblings."""
        counts = {
            "asked": round(teacher.asked * self.world.size / siblings),
            "served": teacher.served,
        }
        for name, count in counts.items():
            self.standing.teaching[name] = self._taught_before.get(name, 0) + count

    def save(self, teacher: Teacher | RowTeacher | None = None) -> None:
        """Save all that a resumed run needs, in one file that appears whole.

        Within an epoch over a text, the states in which it left the network and its `teacher`
        belong to it. Raises `NotFiniteError` if the losses or the weights are no longer finite.
        """
        self._read_losses()
        self._check_finite_weights()
        is_within = self.batches.is_text and self.step % self.batches.steps > 0
        state = [self.world.gather(one) for one in self._state] if is_within else []
        read = teacher.state() if is_within and isinstance(teacher, ReadingTeacher) else {}

        if self.world.is_main:
            self.folder.check_ours()
            Checkpoint(
                replace(self.standing, seconds=self._seconds_so_far()),
                model=self.network.model.state_dict(),
                optimizer=optim.optimizer_state(self.optimizer),
                best=self._best,
                objective=self.objective.state(),
                state={str(number): one for number, one in enumerate(state)},
                teacher=read,
                averaged=self._averaging.state,
                metrics=self._metrics,
            ).write(self.folder.state)
        self._saved = time.monotonic()

    def restore(self, progress: Callback, *, force: bool = False) -> None:
        """Resume from the last save.

        Raises `AnewError` if it is damaged, if what was written before it has changed since, or,
        without `force`, if the code of the model has.
        """
        checkpoint = Checkpoint.read(self.folder.state, self.spec.id)
        self._check_fits(checkpoint)
        code = self.standing.code
        for notice in check_code(self.spec, checkpoint.standing.code, force=force):
            progress.log(notice)
        saving.fill(self.network, checkpoint.model, self.folder.state)
        optim.restore_optimizer(self.optimizer, checkpoint.optimizer, self.folder.state)
        self.objective.restore(checkpoint.objective, self.folder.state)
        self._restore_state(checkpoint)
        self._averaging.restore(checkpoint.averaged, self.folder.state)
        self._best = {
            name: value.to(self.batches.device) for name, value in checkpoint.best.items()
        }

        now, before = self.standing.environments[0], checkpoint.standing.environments[-1]
        self.standing = replace(checkpoint.standing, code=code)
        self._restore_metrics(checkpoint)
        self._taught_before = dict(checkpoint.standing.teaching)
        progress.log(
            f"generation {self.spec.generation} resumes at step {self.step} of {self.steps}"
        )
        if now != before:
            self.standing.environments.append(now)
            progress.log(_changes(before, now))

    def _restore_state(self, checkpoint: Checkpoint) -> None:
        """Take up a text where it was left, if that was within an epoch."""
        self.teacher_state = checkpoint.teacher
        if not self.batches.is_text or not checkpoint.standing.step % self.batches.steps:
            return
        fresh = self.network.start(self.batches.batch_size)
        saved = [checkpoint.state.get(str(number)) for number in range(len(fresh))]
        shapes = [one.shape if one is not None else None for one in saved]
        if shapes != [one.shape for one in fresh] or len(checkpoint.state) != len(fresh):
            raise AnewError(f"{self.folder.state}: holds another state of the text; {MEND}")
        self._state = tuple(
            one[self.batches.part].to(like.device, like.dtype)
            for one, like in zip(saved, fresh, strict=True)
            if one is not None
        )

    def _check_fits(self, checkpoint: Checkpoint) -> None:
        """Raise `AnewError` if a save is not of this network, or if kept epochs have changed."""
        standing, model = checkpoint.standing, self.network.model.state_dict()
        begun = standing.epoch * self.batches.steps
        fits = begun <= standing.step <= min(begun + self.batches.steps, self.steps)
        same = {name: value.shape for name, value in model.items()}
        best = {name: value.shape for name, value in checkpoint.best.items()}
        if not fits or best not in ({}, same) or bool(best) != bool(standing.best_row):
            raise AnewError(f"{self.folder.state}: is not of this network; {MEND}")

        for name, sha256 in standing.kept.items():
            path = self.folder.path / name
            if name != path.name or not path.is_file() or files.sha256(path) != sha256:
                raise AnewError(
                    f"{path}: is missing or has changed since it was written; restore it from a "
                    f"copy, or move {self.folder.state} away: the same command then trains this "
                    "network from its start, with the same bits"
                )

    def _restore_metrics(self, checkpoint: Checkpoint) -> None:
        """Write the rows of the epochs before the save again, whatever became of their file."""
        if checkpoint.metrics is None:
            self._metrics = self.folder.metrics_until(self.standing.metrics_end, self.epoch)
        else:
            self._metrics = checkpoint.metrics
        if self.world.is_main:
            self.folder.restart_metrics(self._metrics)

    def finish(self) -> None:
        """Write weights and outputs, record the results, and drop the resumable state."""
        networks = {"last": self.network}
        if self._best and self.spec.training.early_stopping:
            self.network.model.load_state_dict(self._best)
            self._best = {}
        if self._best:
            best = network.build_empty(self.spec.model, self.data.signature)
            networks["best"] = self._place(best)
            best.model.load_state_dict(self._best)
        if self._averaging.state:
            averaged = network.build_empty(self.spec.model, self.data.signature)
            networks[averaging.NAME] = self._place(averaged)
            averaged.model.load_state_dict(self._averaging.state)
        outputs = evaluation.outputs_of(networks, self.data, self.batches.device, self.world)
        if not self.world.is_main:
            return

        about = {"id": self.spec.id, "generation": self.spec.generation}
        self.folder.check_ours()
        self.network.save(self.folder.weights, about)
        if self._best:
            epoch = self.standing.best_row["epoch"]
            self.folder.check_ours()
            networks["best"].save(self.folder.best, {**about, "epoch": epoch})
        if averaging.NAME in networks:
            self.folder.check_ours()
            networks[averaging.NAME].save(self.folder.averaged, about)
        self.folder.check_ours()
        evaluation.write_outputs(self.folder.outputs, outputs, self.data)

        if self.data.is_text:
            scores = language.said_of(outputs, "test").scores()
        else:
            scores = evaluation.score_logits(outputs["test.last"], outputs["test.labels"])
        record = {
            **about,
            "test": scores.to_json(),
            "best_epoch": self.standing.best_row,
            "checks": self.standing.checks,
            "pictures": self.step * self.batches.batch_size,
            "teacher": self.standing.teaching,
            "seconds": round(self._seconds_so_far(), 3),
            "environments": self.standing.environments,
            **probe_record(self.network),
        }
        if self.standing.code:
            record["code"] = self.standing.code
        self.folder.finish(record)

    def _forward(self, batch: Batch) -> Outputs:
        """Return the student's outputs for the whole batch; every process runs its part of it."""
        if batch.number is None:
            part = self._runner(batch.inputs)
        else:
            if batch.number == 0:
                self._state = self.network.start(len(batch.inputs))
            part = self._runner(batch.inputs, self._state)
            # Gradients end where the window begins.
            self._state = tuple(one.detach() for one in part.state)
        features = {name: self.world.gather(value) for name, value in part.features.items()}
        return Outputs(self.world.gather(part.logits), features)

    def _backward(self, loss: Tensor) -> None:
        if self.world.size == 1:
            loss.backward()
            return
        # Processes' gradients are averaged, and each has only its own part's: their sum is meant.
        (loss * self.world.size).backward()
        # The objective's own module has the whole batch's gradient in every process already.
        for parameter in self._own_parameters():
            if parameter.grad is not None:
                parameter.grad /= self.world.size

    def _own_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the objective's own module."""
        module = self.objective.module
        return list(module.parameters()) if module is not None else []

    def _rate(self, step: int) -> float:
        """Return the learning rate of a step of the epoch that is being trained."""
        training, perplexities = self.spec.training, self.standing.perplexities
        return optim.learning_rate(training, step, self.steps, perplexities)

    def _reseed(self) -> None:
        """Move torch's generators, which dropout draws from, to this step's stream."""
        # Each of several processes has its own stream; a process alone has the stream without rank.
        rank = (self.world.rank,) if self.world.size > 1 else ()
        stream = randomness.key(self.spec.seed, "step", self.spec.depth, self.step, *rank)
        randomness.reseed(stream, self.batches.device)

    def _place(self, one: Network) -> Network:
        return network.place(one, self.batches.device, self.spec.training.memory_format)

    def _read_losses(self) -> None:
        """Wait for the losses of the last steps and add them up.

        They are added one by one, so the sum does not depend on how many are read at once.
        """
        if not self._unread:
            return
        losses = torch.stack([loss for loss, _ in self._unread]).tolist()
        errors = torch.stack([wrong for _, wrong in self._unread]).tolist()
        first, self._unread = self.step - len(losses), []
        for number, (loss, wrong) in enumerate(zip(losses, errors, strict=True)):
            if not math.isfinite(loss):
                raise self._not_finite(f"the loss is {loss}", first + number)
            self.standing.loss_sum += loss
            self.standing.errors += wrong

    def _check_finite_weights(self) -> None:
        """Raise `NotFiniteError` if a weight is not finite, so that it never replaces a good state.

        A finite loss can leave such weights.
        """
        weights = [
            value
            for name, value in self.network.model.state_dict().items()
            if name not in self._infinite
        ]
        tensors = [*weights, *self.objective.state().values()]
        values = [value for value in tensors if value.is_floating_point()]
        if not bool(torch.nn.utils.get_total_norm(values).isfinite()):
            raise self._not_finite("the weights are no longer finite", self.step - 1)

    def _not_finite(self, what: str, step: int) -> NotFiniteError:
        rate = self._rate(step)
        good = f"; the last good state is {self.folder.state}" if self.folder.state.exists() else ""
        return NotFiniteError(
            f"{self.name}: {what} at step {step + 1} of {self.steps}, learning rate "
            f"{rate:.3g}{good}; lower "
            "--learning-rate, or set --clip-norm or --warmup"
        )

    def _seconds_so_far(self) -> float:
        return self.standing.seconds + time.monotonic() - self._started


def _check_frozen(spec: Spec, teacher: Network | None) -> None:
    """Raise `AnewError` if parts are copied from a teacher whose outputs are in another order."""
    if spec.frozen and teacher is not None and teacher.columns:
        raise AnewError(
            "frozen: the teacher's classes are in another order than the data's, so its parts "
            f"{', '.join(spec.frozen)} cannot be copied; drop --frozen"
        )


def check_accumulation(spec: Spec, processes: int = 1) -> None:
    """Raise `AnewError` if a batch in parts would not be the batch, or cannot be cut so often."""
    training = spec.training
    if training.accumulate == 1 or spec.weights:
        return

    if objectives.find(spec.objective.name).compares_examples:
        raise AnewError(
            f"training.accumulate: objective '{spec.objective.name}' compares the examples of a "
            "batch, so the batch cannot be split; set --accumulate 1"
        )
    if processes > 1:
        raise AnewError(
            f"training.accumulate: {processes} processes have a part of each batch already; set "
            "--accumulate 1 and start more processes"
        )
    if training.accumulate > training.batch_size:
        raise AnewError(
            f"training.accumulate must be <= training.batch_size, {training.batch_size}, got "
            f"{training.accumulate}; set --accumulate"
        )


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what changed between two environments, for the log."""
    changes = ", ".join(
        f"{name} {before.get(name)} -> {value}"
        for name, value in now.items()
        if value != before.get(name)
    )
    return f"the environment changed since the last save ({changes}): the last bits may differ"
