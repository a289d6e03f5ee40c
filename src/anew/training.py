"""The loop: one network from its first step to its last, saved so that a killed run goes on to the same weights.

A step is: batch, teacher's targets, forward, objective, backward, update. Everything random in it is a pure function of
(seed, step), so what a resumed run needs is the weights, the optimizer's state, and how far it got.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from anew import checks, evaluation, execution, network, objectives, optimization, randomness, storage
from anew.data.batches import Batch, Batches
from anew.data.split import Data
from anew.errors import AnewError
from anew.execution import Execution
from anew.family import NetworkFolder
from anew.interruption import Interrupted, StopRequest
from anew.lock import NetworkLock
from anew.network import Interface, Network, Runner
from anew.progress import Progress
from anew.spec import Spec
from anew.teachers import LiveTeacher

# Reading a loss waits for the device, so they are read this many at a time.
READ_LOSSES_EVERY = 50


def train_network(
    spec: Spec,
    data: Data,
    teacher: LiveTeacher | None,
    folder: NetworkFolder,
    how: Execution,
    device: torch.device,
    progress: Progress,
    stop: StopRequest,
) -> None:
    """Train the network of a spec in its folder of a family, from where it stands to its end.

    Raises `AnewError` where a check fails, the loss is no longer finite, or the folder cannot be written; and
    `Interrupted`, after saving, where a stop was requested. In every case the last save stays whole.
    """
    with NetworkLock(folder.path) as lock, randomness.torch_generator(0, device):
        folder.sweep()
        batches = Batches(data, spec.training.batch_size, device)
        run = _Run(spec, data, batches, folder)
        if folder.state.exists():
            run.restore(progress)
        elif teacher is not None:
            run.check_teacher(teacher, progress, force=how.force)
        progress.network_started(spec, run.steps, run.step, batches.batch_size)
        while run.epoch < spec.training.epochs:
            for batch in batches.epoch(run.epoch, first=run.step - run.epoch * batches.steps):
                run.learn(batch, teacher.logits(batch) if teacher is not None else None)
                progress.step_done()
                if stop.requested or run.minutes_unsaved > how.save_minutes:
                    run.save(lock)
                if stop.requested:
                    raise Interrupted(
                        f"generation {spec.generation} stopped and saved at step {run.step} of {run.steps}; the same "
                        "command goes on from there"
                    )
            row = run.end_epoch()
            run.save(lock)
            progress.epoch_done(row, spec.training.epochs)
        run.finish()


class _Run:
    """One network being trained: its weights, its optimizer, how far it got, and how that is saved and restored."""

    def __init__(self, spec: Spec, data: Data, batches: Batches, folder: NetworkFolder) -> None:
        self.spec, self.data, self.batches, self.folder = spec, data, batches, folder
        self.objective = objectives.find(spec.objective.name)
        self.options = objectives.fill_options(spec.objective.name, spec.objective.options)
        self.network = self._place(network.build(spec, Interface.of(data)))
        self.optimizer = optimization.optimizer(self.network, spec.training, batches.device)
        self.runner = Runner(self.network.train(), spec.training.precision, spec.training.compile)
        self.steps = spec.training.epochs * batches.steps
        self.step = 0
        """Steps done."""
        self.epoch = 0
        """Epochs done and recorded; behind `step` for an instant, between an epoch's last step and its record."""
        self.loss_sum, self.errors = 0.0, 0
        self.seconds = 0.0
        self.metrics_end = 0
        self.checks: dict[str, Any] = {}
        self.environments = [execution.environment(batches.device)]
        self.best: dict[str, Tensor] = {}
        self.best_row: dict[str, Any] = {}
        self._unread: list[tuple[Tensor, Tensor]] = []
        self._started = self._saved = time.monotonic()

    @property
    def minutes_unsaved(self) -> float:
        """Minutes since the last save."""
        return (time.monotonic() - self._saved) / 60

    def learn(self, batch: Batch, teacher_logits: Tensor | None) -> None:
        """Take one step: forward, objective, backward, update. Nothing here waits for the device."""
        rate = optimization.learning_rate(self.spec.training, self.step, self.steps)
        randomness.reseed(randomness.key(self.spec.seed, "step", self.spec.generation, self.step), self.batches.device)
        logits = self.runner(batch.inputs)
        permutation = None
        if self.objective.uses_permutation:
            permutation = batch.permutation(self.data.spec.seed, logits.shape[-1])
        terms = self.objective.terms(logits, teacher_logits, batch.labels, permutation, **self.options)
        loss = terms.total()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
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
        self._demand_finite_weights()
        examples = self.batches.steps * self.batches.batch_size
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "learning_rate": optimization.learning_rate(self.spec.training, self.step - 1, self.steps),
            "train_loss": self.loss_sum / self.batches.steps,
            "train_error": 100 * self.errors / examples,
        }
        if len(self.data.validation):
            logits = evaluation.predict(self.network, self.data.validation, self.batches.device)
            scores = evaluation.score_logits(logits, self.data.validation.labels)
            row |= {"validation_error": scores.error, "validation_nll": scores.nll}
            if self.spec.training.best_epoch and scores.error < self.best_row.get("validation_error", math.inf):
                self.best_row = dict(row)
                self.best = {name: value.clone() for name, value in self.network.model.state_dict().items()}
        row["seconds"] = round(self._seconds_so_far(), 3)
        self.metrics_end = storage.write_line(self.folder.metrics, self.metrics_end, row)
        self.loss_sum, self.errors = 0.0, 0
        self.epoch += 1
        return row

    def check_teacher(self, teacher: LiveTeacher, progress: Progress, *, force: bool) -> None:
        """Measure the teacher and its term before the first step, say so, and stop where they are worth nothing."""
        measured = checks.measure(self.network, teacher, self.objective, self.options, self.batches, self.data)
        progress.notice(
            f"teacher: {measured.teacher_accuracy:.1%} of the {measured.measured_on} examples right (chance "
            f"{measured.chance:.1%}); |gradient of its term| / |gradient of the label term| = {measured.signal:.3g}"
        )
        if not force:
            measured.demand()
        self.checks = {**measured.to_json(), "forced": force}

    def save(self, lock: NetworkLock) -> None:
        """Save everything that a resumed run needs, in one file that appears whole."""
        self._read_losses()
        self._demand_finite_weights()
        lock.check()
        tensors = {f"model.{name}": value for name, value in self.network.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items() if value is not None}
        progress = {
            "id": self.spec.id,
            "step": self.step,
            "epoch": self.epoch,
            "loss_sum": self.loss_sum,
            "errors": self.errors,
            "seconds": self._seconds_so_far(),
            "metrics_end": self.metrics_end,
            "checks": self.checks,
            "environments": self.environments,
            "best_row": self.best_row,
        }
        storage.write_tensors(self.folder.state, tensors, progress)
        self._saved = time.monotonic()

    def restore(self, progress: Progress) -> None:
        """Go on from the last save."""
        tensors, saved = storage.read_tensors(self.folder.state)
        if saved.get("id") != self.spec.id:
            raise AnewError(f"{self.folder.state}: is another network's state; remove it to start this network again")
        network.fill(self.network, _under("model.", tensors), self.folder.state)
        self._restore_optimizer(_under("optimizer.", tensors))
        self.best = {name: value.to(self.batches.device) for name, value in _under("best.", tensors).items()}
        self.step, self.epoch, self.metrics_end = saved["step"], saved["epoch"], saved["metrics_end"]
        self.loss_sum, self.errors, self.seconds = saved["loss_sum"], saved["errors"], saved["seconds"]
        self.checks, self.best_row = saved["checks"], saved["best_row"]
        now, before = self.environments[0], saved["environments"][-1]
        self.environments = saved["environments"] if now == before else [*saved["environments"], now]
        progress.notice(f"generation {self.spec.generation} goes on from step {self.step} of {self.steps}")
        if now != before:
            changed = ", ".join(
                f"{name} {before.get(name)} -> {now[name]}" for name in now if now[name] != before.get(name)
            )
            progress.notice(f"the environment changed since the last save ({changed}): the last bits may differ")

    def finish(self) -> None:
        """Write weights and outputs, mark the network done with its results, and drop the resumable state."""
        about = {"id": self.spec.id, "generation": self.spec.generation}
        self.network.save(self.folder.weights, about)
        networks = {"last": self.network}
        if self.best:
            best = self._place(network.build_empty(self.spec.model, Interface.of(self.data)))
            best.model.load_state_dict(self.best)
            best.save(self.folder.best, {**about, "epoch": self.best_row["epoch"]})
            networks["best"] = best
        evaluation.write_outputs(self.folder.outputs, networks, self.data, self.batches.device)
        self.folder.finish(
            {
                "id": self.spec.id,
                "generation": self.spec.generation,
                "test": evaluation.score_logits(*evaluation.read_outputs(self.folder, "test")).to_json(),
                "best_epoch": self.best_row,
                "checks": self.checks,
                "seconds": round(self._seconds_so_far(), 3),
                "environments": self.environments,
            }
        )

    def _place(self, one: Network) -> Network:
        return network.place(one, self.batches.device, self.spec.training.memory_format)

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for name, value in tensors.items():
            number, _, key = name.partition(".")
            parameter = parameters[int(number)]
            # Fused updates walk parameter and state side by side in memory, so the state takes the parameter's strides.
            fitted = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            state.setdefault(int(number), {})[key] = fitted.detach()
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})

    def _read_losses(self) -> None:
        """Wait for the losses of the last steps and add them up, one by one: the sum is the same however read."""
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

    def _demand_finite_weights(self) -> None:
        """A finite loss can leave weights that are not: they must never replace the last good state."""
        values = [value for value in self.network.model.state_dict().values() if value.is_floating_point()]
        if not bool(torch.nn.utils.get_total_norm(values).isfinite()):
            raise self._not_finite("the weights are no longer finite", self.step - 1)

    def _not_finite(self, what: str, step: int) -> AnewError:
        rate = optimization.learning_rate(self.spec.training, step, self.steps)
        good = f"; the last good state is {self.folder.state}" if self.folder.state.exists() else ""
        return AnewError(
            f"network {self.spec.id} (generation {self.spec.generation}): {what} at step {step + 1} of {self.steps}, "
            f"learning rate {rate:.3g}{good}; lower --learning-rate, or set --clip-norm or --warmup"
        )

    def _seconds_so_far(self) -> float:
        return self.seconds + time.monotonic() - self._started


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
