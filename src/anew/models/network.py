"""A network: a model with its weights, and the signature of its inputs and outputs.

Both lie in one safetensors file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from anew import models
from anew.core import fields, files, randomness
from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import ModelSpec, Spec
from anew.data.signature import Signature
from anew.models.frozen import frozen_tensors, outline
from anew.models.language import State
from anew.models.returns import find_logits

Logits = Float[Tensor, "batch *positions classes"]
# The logarithm of a probability of 0 is taken of the smallest float instead.
_LEAST_PROBABILITY = float(torch.finfo(torch.float32).tiny)


class Network(nn.Module):
    """A model behind its normalisation, from inputs as they are stored to logits.

    The modules of the model named in `frozen` have no gradients. They stay in evaluation mode, so
    that batch norms in them keep their statistics too. `columns` puts the model's outputs in the
    order of the classes: class k has output `columns[k]`; () if they are in order. A model that
    answers with `probabilities` is one of logits too: their logarithms, whose softmax they are.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: ModelSpec,
        signature: Signature,
        frozen: tuple[str, ...] = (),
        columns: tuple[int, ...] = (),
        probabilities: bool = False,
    ) -> None:
        super().__init__()

        in_order = tuple(range(len(signature.classes)))
        if columns and tuple(sorted(columns)) != in_order:
            raise ValueError("the columns are no order of the classes")
        self.columns = () if columns == in_order else columns
        self.probabilities = probabilities

        self.model, self.spec, self.signature, self.frozen = model, spec, signature, frozen
        for name in frozen:
            model.get_submodule(name).requires_grad_(False)
        mean, scale = signature.statistics()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.order: Tensor
        if self.columns:
            self.register_buffer("order", torch.tensor(self.columns), persistent=False)

    @overload
    def forward(self, inputs: Num[Tensor, "batch ..."]) -> Logits: ...

    @overload
    def forward(self, inputs: Num[Tensor, "batch ..."], state: State) -> tuple[Logits, State]: ...

    def forward(
        self, inputs: Num[Tensor, "batch ..."], state: State | None = None
    ) -> Logits | tuple[Logits, State]:
        """Return the logits (B, *positions, C) of stored inputs (B, ...).

        With the state in which a text's earlier tokens left the network, the next state is returned
        too; without one the inputs begin a text.
        """
        prepared = self.signature.prepare(inputs, self.mean, self.scale)
        following: State = ()
        if state:
            logits, following = self.model(prepared, state)
        elif self.has_state:
            logits, _ = self.model(prepared)
        else:
            logits = find_logits(self.model(prepared), self._output_shape(inputs))
        if self.probabilities:
            logits = logits.float().clamp_min(_LEAST_PROBABILITY).log()
        if self.columns:
            logits = logits.index_select(-1, self.order)
        return logits if state is None else (logits, tuple(following))

    def _output_shape(self, inputs: Tensor) -> tuple[int, ...]:
        """Return the shape of an input's logits: a text may have another length than a window."""
        if not self.signature.positions:
            return self.signature.output_shape
        return (inputs.shape[1], len(self.signature.classes))

    @property
    def has_state(self) -> bool:
        """Whether the model reads a text with a state, as its method `start` says."""
        return callable(getattr(self.model, "start", None))

    def start(self, count: int) -> State:
        """Return the state of `count` texts before their first token; () if there is no state."""
        if not self.has_state:
            return ()
        begin: Callable[[int], State] = getattr(self.model, "start")  # noqa: B009
        return tuple(begin(count))

    def train(self, mode: bool = True) -> Network:
        """Set training or evaluation mode; frozen modules stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.model.get_submodule(name).eval()
        return self

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """Write weights and signature to a safetensors file, which appears whole.

        `about` goes into its header as well.
        """
        files.write_tensors(path, self.model.state_dict(), self.header(about))

    def saved_bytes(self, about: Mapping[str, Any]) -> int:
        """Return the size of the file that `save` writes; the network may be on the meta device."""
        return files.bytes_on_disk(self.model.state_dict(), self.header(about))

    def header(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return the header of the network's file: what loads it again, and `about`."""
        header = {**about, "model": fields.write(self.spec), **self.signature.to_header()}
        if self.columns:
            header["columns"] = self.columns
        if self.probabilities:
            header["answers"] = "probabilities"
        return header


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network for a batch: its logits, and the features of some modules."""

    logits: Logits
    features: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """The outputs (B, ...) of the modules that the runner was given, by name."""
    state: State = ()
    """The state in which a text's tokens left the network, if it was run with one."""

    def at(self, place: slice) -> Outputs:
        """Return the outputs for a part of the batch."""
        features = {name: value[place] for name, value in self.features.items()}
        return Outputs(self.logits[place], features)


class Runner:
    """Runs a network under autocast and compiled, as a spec asks, and returns its outputs.

    `features` names modules of the model, such as `features.3`, whose outputs forward hooks take.
    Without names, nothing is hooked. Raises `AnewError` if the model has no such module.
    """

    def __init__(
        self, network: nn.Module, precision: str, compile: bool, features: Sequence[str] = ()
    ) -> None:
        self._call = torch.compile(network) if compile else network
        self._half = precision == "bfloat16"
        self._device_type = next(network.buffers()).device.type
        self._features: dict[str, Tensor] = {}

        for name in features:
            _module(network, name).register_forward_hook(self._taking(name))

    def __call__(self, inputs: Num[Tensor, "batch ..."], state: State | None = None) -> Outputs:
        """Return logits (B, *positions, C), in bfloat16 if autocast made them so, and features.

        With the state of a text, the next one is returned as well.
        """
        self._features.clear()
        following: State = ()
        with torch.autocast(self._device_type, torch.bfloat16, enabled=self._half):
            if state is None:
                logits = self._call(inputs)
            else:
                logits, following = self._call(inputs, state)
        return Outputs(logits, dict(self._features), following)

    def _taking(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def take(module: nn.Module, inputs: object, output: Tensor) -> None:
            self._features[name] = output

        return take


def _module(network: nn.Module, name: str) -> nn.Module:
    """Return a module of a network's model, also if the network is shared among processes."""
    inner = network if isinstance(network, Network) else network.module
    assert isinstance(inner, Network)
    try:
        return inner.model.get_submodule(name)
    except AttributeError:
        known = [known for known, _ in inner.model.named_modules() if known]
        raise AnewError(
            f"features: model '{inner.spec.name}' has no module '{name}'"
            f"{did_you_mean(name, known)}; it has: {', '.join(known[:20])}"
        ) from None


def build(
    spec: Spec,
    signature: Signature,
    teacher: nn.Module | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> Network:
    """Build a network with the first weights of its spec, on the CPU.

    They come from the stream of its seed and depth, but those in `start`, by their names in
    the state dict. What the spec freezes is copied from `teacher`, the model of its first teacher.
    """
    with randomness.torch_generator(randomness.key(spec.seed, "weights", spec.depth)):
        model = models.build_for(signature, spec.model.name, dict(spec.model.options))
    if start:
        model.load_state_dict(start, strict=False)
    if spec.frozen:
        assert teacher is not None, "frozen parts are copied from a teacher"
        model.load_state_dict(frozen_tensors(spec, model, teacher), strict=False)
    return Network(model, spec.model, signature, spec.frozen)


def count_trained(spec: ModelSpec, frozen: tuple[str, ...], signature: Signature) -> int:
    """Return the number of parameters that a network learns; frozen ones do not count."""
    model = Network(outline(spec, signature), spec, signature, frozen)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def place(network: Network, device: torch.device, memory_format: str) -> Network:
    """Move a network to a device, its weights in a memory format if its inputs are pictures."""
    network.signature.arrange(network.to(device), memory_format)
    return network


def build_empty(spec: ModelSpec, signature: Signature) -> Network:
    """Build a network whose weights are filled in afterwards."""
    with randomness.torch_generator(0):
        model = models.build_for(signature, spec.name, dict(spec.options))
    return Network(model, spec, signature)
