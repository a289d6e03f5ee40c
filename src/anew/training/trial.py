"""A model that is not anew's own, tried on a few real examples before anything is written.

It is built as training builds it, takes a step, and is loaded into another build of itself, so that
what would fail hours later, or would give other results in silence, is told in one line now. All
its random numbers come from streams of the trial: nothing that is trained later is moved by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Num
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from anew.core import randomness
from anew.core.errors import AnewError, in_one_line
from anew.core.spec import ModelSpec, TrainingSpec
from anew.core.text import listed
from anew.data import Data
from anew.models import answers as given_answers
from anew.models import coverage, network, returns, trying
from anew.models.building import build_for, is_foreign, is_own_code
from anew.models.network import Network
from anew.training import answers

_SHOWN = 3


def try_model(
    model: ModelSpec, data: Data, training: TrainingSpec, *, force: bool = False
) -> list[str]:
    """Build a model and, unless it is one of anew's own, train it for a step.

    Returns what is to be said of it. Raises `AnewError` if it is not known, does not fit the data,
    has nothing to train, cannot be trained on batches of this size or saved, if two builds of it
    differ where they must be equal, or, without `force`, if no other process could build it.
    """
    said = _say_place(model, force=force)
    built = network.build_empty(model, data.signature)
    foreign = is_foreign(model.name)
    count = min(trying.COUNT, training.batch_size, len(data.training))
    if not foreign and count > 1:
        return []

    examples, labels = data.training.show(slice(0, count)), data.training.labels[:count]
    trial = _Trial(model, built, examples, labels, training.precision == "bfloat16")
    network.place(built, torch.device("cpu"), training.memory_format)
    with randomness.torch_generator(randomness.key("trial")):
        if not foreign:
            return trial.step()
        said += trial.learn()
        said += answers.check_new(built, data, force=force)
        return said + trial.look_closer()


def _say_place(model: ModelSpec, *, force: bool) -> list[str]:
    """Return what is to be said of where a model's code lies, or refuse it without `force`."""
    if not model.name.startswith("__main__:"):
        return []
    inner = model.name.removeprefix("__main__:")
    what = (
        f"model '{model.name}': is defined in the running script or notebook, where no other "
        "process finds it: neither `anew predict`, nor --jobs, nor another script"
    )
    if not force:
        raise AnewError(
            f"{what}; put it into a file of its own, such as networks.py, and give "
            f"networks:{inner}, or continue with --force"
        )
    return [what]


@dataclass(frozen=True)
class _Trial:
    """A model that was just built, and what it is tried on."""

    model: ModelSpec
    network: Network
    examples: Num[Tensor, "batch ..."]
    """Examples as they are stored."""
    labels: Tensor
    half: bool
    """Whether it is trained under autocast to bfloat16."""

    def learn(self) -> list[str]:
        """Look whether it can be trained, and train it for a step.

        Returns what is to be said. Raises `AnewError` as `try_model`.
        """
        self._check_state()
        if is_own_code(self.model.name):
            self._check_built_alike()
        return [*self.step(), *self._say_dimensions()]

    def look_closer(self) -> list[str]:
        """Load it into another build, and see of which pixels it knows; it is used up by that.

        Returns what is to be said. Raises `AnewError` as `try_model`.
        """
        if is_own_code(self.model.name):
            self._check_loaded_alike()
        return coverage.say(self.model.name, self.network.model, self.network.signature)

    def step(self) -> list[str]:
        """Go forward and backward in training mode; return what is to be said of it.

        Raises `AnewError` if that fails, or if no training can come of it.
        """
        with torch.no_grad():
            in_evaluation = self._answer(training=False)
        answer = self._answer(training=True)
        logits = trying.check_answer(
            answer, len(self.examples), self.network.signature, self.model.name
        )
        self._go_backward(logits)
        return [*self._say_taken(in_evaluation, answer), *self._say_idle()]

    def _answer(self, *, training: bool) -> Any:
        """Return what the model returns for the examples, in training or evaluation mode."""
        given = self.network.signature.prepare(
            self.examples, self.network.mean, self.network.scale
        ).clone()
        self.network.train(training)
        kept = given.clone()
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                answer = self.network.model(given)
        except Exception as error:  # whatever somebody else's code raises
            raise self._fails(error, "training" if training else "evaluation") from error

        # Tokens are given to the model as they are stored, all others after normalisation.
        if self.network.signature.kind == "tokens" and not torch.equal(given, kept):
            raise self._refuse("changes its inputs in place", "let it work on a copy (x.clone())")
        return answer

    def _fails(self, error: Exception, mode: str) -> AnewError:
        if len(self.examples) == 1 and "more than 1 value per channel" in str(error):
            return AnewError(
                f"training.batch_size: batch norm of model '{self.model.name}' needs more than "
                "one value per channel; set --batch-size 2 or more"
            )
        count = len(self.examples)
        return self._refuse(
            f"fails in {mode} mode on {count} {'example' if count == 1 else 'examples'} "
            f"({in_one_line(error)})",
            "correct its forward, or choose another --model",
        )

    def _go_backward(self, logits: Tensor) -> None:
        if not logits.requires_grad:
            raise self._refuse(
                "its logits have no gradient in training mode",
                "drop detach() and torch.no_grad() from its forward",
            )
        if not bool(logits.isfinite().all()):
            raise self._refuse(
                "its first logits are not finite in training mode (NaN or infinity)",
                "look for a division by 0, a logarithm or a root in it",
            )

        loss = cross_entropy(logits.float().flatten(0, -2), self.labels.flatten())
        try:
            loss.backward()
        except RuntimeError as error:
            raise self._refuse(
                f"its gradient cannot be computed ({in_one_line(error)})",
                "write into new tensors (x = x + 1 for x += 1)",
            ) from error

        wrong = [
            name
            for name, tensor in self.network.model.named_parameters()
            if tensor.grad is not None and not bool(tensor.grad.isfinite().all())
        ]
        if wrong:
            raise self._refuse(
                f"its first gradient is not finite, that of {_some(wrong)}",
                "look for a division by 0, a logarithm or a root in it",
            )

    def _say_taken(self, in_evaluation: Any, in_training: Any) -> list[str]:
        """Return which part of the model's answers is taken for its logits, if it gives several."""
        shape = self.network.signature.output_shape
        one, other = returns.describe(in_evaluation, shape), returns.describe(in_training, shape)
        name = f"model '{self.model.name}'"
        if one == other:
            return [f"{name}: its logits are {one}"] if one else []
        modes = (("evaluation", one), ("training", other))
        return [f"{name}: in {mode} mode its logits are {what}" for mode, what in modes if what]

    def _say_idle(self) -> list[str]:
        """Return which parameters the logits do not depend on."""
        learned = [
            (name, tensor)
            for name, tensor in self.network.model.named_parameters()
            if tensor.requires_grad
        ]
        idle = [name for name, tensor in learned if tensor.grad is None]
        if not idle:
            return []
        return [
            f"model '{self.model.name}': {len(idle)} of its {len(learned)} weight tensors do not "
            f"affect its logits and are not trained: {_some(idle)}"
        ]

    def _say_dimensions(self) -> list[str]:
        """Return which weights have no layout of pictures."""
        other = [name for name, tensor in self.network.model.named_parameters() if tensor.ndim == 5]
        if not other or not self.network.signature.is_picture:
            return []
        return [
            f"model '{self.model.name}': five-dimensional weights keep the contiguous layout: "
            f"{_some(other)}"
        ]

    def _check_state(self) -> None:
        """Raise `AnewError` if there is nothing to train, or what cannot be saved."""
        model = self.network.model
        foreign = [
            (name, value)
            for name, value in cast("dict[str, object]", model.state_dict()).items()
            if not isinstance(value, Tensor)
        ]
        if foreign:
            name, value = foreign[0]
            raise self._refuse(
                f"its state dict holds '{name}', a {type(value).__name__}, and files of weights "
                "hold only tensors",
                "let get_extra_state return a tensor, or keep it in the constructor",
            )

        parameters = list(model.parameters())
        if not any(tensor.requires_grad for tensor in parameters):
            why = "requires_grad is off for all weights" if parameters else "it has no parameters"
            raise self._refuse(f"has nothing to train: {why}", "choose another --model")

    def _check_built_alike(self) -> None:
        """Raise `AnewError` if another build from the same random numbers has other weights."""
        again = network.build_empty(self.model, self.network.signature).model.state_dict()
        for name, tensor in self.network.model.state_dict().items():
            other = again.get(name)
            if other is None or not _are_equal(tensor, other):
                raise self._refuse(
                    f"two builds of it from the same random numbers differ in '{name}'",
                    "draw initial weights from the global generator of torch, NumPy or Python, "
                    "which anew seeds, not from one of its own (numpy.random.default_rng() "
                    "without a seed)",
                )

    def _check_loaded_alike(self) -> None:
        """Raise `AnewError` if another build with the same weights answers otherwise."""
        signature = self.network.signature
        with randomness.torch_generator(randomness.key("trial", "other")):
            other = build_for(signature, self.model.name, dict(self.model.options))
        try:
            other.load_state_dict(self.network.model.state_dict())
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._refuse(
                f"cannot be loaded after a step ({in_one_line(error)})",
                "let its state dict have the same tensors before and after",
            ) from error

        loaded = Network(other, self.model, signature)
        apart = given_answers.difference(
            given_answers.ask(self.network, self.examples),
            given_answers.ask(loaded, self.examples),
        )
        if not apart <= given_answers.SAME:
            outside = list(_differing(self.network.model, other))
            where = f" ({_some(outside)})" if outside else ""
            raise self._refuse(
                "two builds of it with the same weights give different outputs (by "
                f"{100 * apart:.0f} % of their size): a random value from its construction is not "
                f"in its state dict{where}, so a loaded network would differ from the trained one",
                "store it with register_buffer, or draw it with a fixed seed",
            )

    def _refuse(self, what: str, remedy: str) -> AnewError:
        return AnewError(f"model '{self.model.name}': {what}; {remedy}")


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _differing(one: nn.Module, other: nn.Module) -> Iterator[str]:
    """Yield the names of numbers outside of the state dict that differ between two models."""
    theirs = dict(other.named_modules())
    for place, module in one.named_modules():
        kept = _outside(theirs[place]) if place in theirs else {}
        for name, value in _outside(module).items():
            if name not in kept or not np.array_equal(value, kept[name], equal_nan=True):
                yield f"{place}.{name}" if place else name


def _outside(module: nn.Module) -> dict[str, Any]:
    """Return the numbers that a module keeps outside of its state dict, by name."""
    own = {**vars(module), **dict(module.named_buffers(recurse=False))}
    return {
        name: value.detach().cpu().float().numpy() if isinstance(value, Tensor) else value
        for name, value in own.items()
        if isinstance(value, Tensor | np.ndarray | int | float)
    }


def _some(names: list[str]) -> str:
    shown = names[:_SHOWN]
    return listed([*shown, f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else shown)
