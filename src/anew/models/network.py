"""A network: an architecture, its weights, and what its inputs must look like; all in one
safetensors file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from anew import models
from anew.core import fields, files, randomness
from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import ModelSpec, Spec
from anew.data.signature import Signature

Logits = Float[Tensor, "batch *positions classes"]


class Network(nn.Module):
    """A model behind its normalisation: takes inputs as they are stored, uint8 or float, and
    returns logits (B, C).

    The model's modules named in `frozen` have no gradients, and stay in evaluation mode, so that
    batch norms in them keep their statistics too.
    """

    def __init__(
        self, model: nn.Module, spec: ModelSpec, signature: Signature, frozen: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.model, self.spec, self.signature, self.frozen = model, spec, signature, frozen
        for name in frozen:
            model.get_submodule(name).requires_grad_(False)
        mean, scale = signature.statistics()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(
        self, inputs: Num[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch *positions classes"]:
        """Normalise and run the model."""
        return self.model(self.signature.prepare(inputs, self.mean, self.scale))

    def train(self, mode: bool = True) -> Network:
        """Set training or evaluation mode, but leave what is frozen in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.model.get_submodule(name).eval()
        return self

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """Write weights and signature to a safetensors file, atomically; `about` goes into the
        header as well.
        """
        files.write_tensors(path, self.model.state_dict(), self._header(about))

    def saved_bytes(self, about: Mapping[str, Any]) -> int:
        """Return the size of the file that `save` writes; the network may be on the meta device."""
        return files.file_bytes(files.sizes_of(self.model.state_dict()), self._header(about))

    def _header(self, about: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **about,
            "model": fields.write(self.spec),
            **self.signature.to_header(),
        }


class Runner:
    """Runs a network as a spec asks: under autocast, compiled; without changing the network
    itself.
    """

    def __init__(self, network: nn.Module, precision: str, compile: bool) -> None:
        self._call = torch.compile(network) if compile else network
        self._half = precision == "bfloat16"
        self._device_type = next(network.buffers()).device.type

    def __call__(
        self, inputs: Num[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch *positions classes"]:
        """Return the logits (B, *positions, C), in bfloat16 where autocast made them so."""
        with torch.autocast(self._device_type, torch.bfloat16, enabled=self._half):
            return self._call(inputs)


def build(spec: Spec, signature: Signature, teacher: nn.Module | None = None) -> Network:
    """Build a network with the first weights of its spec: from the stream of its seed and
    generation, on the CPU.

    What the spec freezes is copied from `teacher`, its first teacher's model.
    """
    with randomness.torch_generator(randomness.key(spec.seed, "weights", spec.generation)):
        model = models.build_for(signature, spec.model.name, dict(spec.model.options))
    if spec.frozen:
        assert teacher is not None, "what is frozen is a teacher's"
        model.load_state_dict(_frozen_tensors(spec, model, teacher), strict=False)
    return Network(model, spec.model, signature, spec.frozen)


def check_frozen(spec: Spec, signature: Signature) -> None:
    """Raise `AnewError` where what a spec freezes is not in student and teacher alike; nothing is
    built for it.
    """
    if spec.frozen:
        student, teacher = (outline(one.model, signature) for one in (spec, spec.teachers[0]))
        _frozen_tensors(spec, student, teacher)


def outline(spec: ModelSpec, signature: Signature) -> nn.Module:
    """Return a model to look at its parameters' names and shapes; nobody else's random numbers are
    drawn for it.
    """
    with randomness.torch_generator(0):
        return models.outline_for(signature, spec.name, dict(spec.options))


def count_trained(spec: ModelSpec, frozen: tuple[str, ...], signature: Signature) -> int:
    """Return the number of parameters that a network learns: all but those that are frozen."""
    model = Network(outline(spec, signature), spec, signature, frozen)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _frozen_tensors(spec: Spec, student: nn.Module, teacher: nn.Module) -> dict[str, Tensor]:
    """Return the teacher's tensors that a student copies; `AnewError` where they do not fit or
    nothing is left.
    """
    copied: dict[str, Tensor] = {}
    names = (spec.model.name, spec.teachers[0].model.name)
    for part in spec.frozen:
        parts: list[dict[str, Tensor]] = []
        for name, model in zip(names, (student, teacher), strict=True):
            try:
                module = model.get_submodule(part) if part else None
            except AttributeError:
                module = None
            if module is None:
                known = [child for child, _ in model.named_children()]
                raise AnewError(
                    f"frozen: model '{name}' has no part '{part}'{did_you_mean(part, known)}; it "
                    f"has: "
                    f"{', '.join(known)}"
                )
            parts.append({f"{part}.{key}": value for key, value in module.state_dict().items()})
        own, theirs = parts
        for key in sorted(own.keys() | theirs.keys()):
            shapes = [tuple(one[key].shape) if key in one else "none" for one in parts]
            if shapes[0] != shapes[1]:
                raise AnewError(
                    f"frozen: '{key}' has shape {shapes[0]} in student '{names[0]}' and "
                    f"{shapes[1]} in teacher "
                    f"'{names[1]}', so it cannot be copied; choose another student, or do not "
                    f"freeze '{part}'"
                )
        copied |= theirs
    frozen = tuple(f"{part}." for part in spec.frozen)
    if all(name.startswith(frozen) for name, _ in student.named_parameters()):
        raise AnewError(
            f"frozen: nothing of model '{names[0]}' is left to train; freeze less of it"
        )
    return copied


def place(network: Network, device: torch.device, memory_format: str) -> Network:
    """Move a network to a device, its weights in a memory format if its inputs are pictures."""
    network.signature.arrange(network.to(device), memory_format)
    return network


def load(path: Path, trusted: Collection[str] = ()) -> Network:
    """Load a network that anew saved, from its file alone; `AnewError` where the file is damaged or
    foreign.

    A file that names a model of somebody's own code, `package.module:callable`, is loaded only
    where that name is `trusted`: a file must not choose what is imported and called.
    """
    return restore(*files.read_tensors(path), path, trusted)


def restore(
    tensors: dict[str, Tensor], header: Mapping[str, Any], path: Path, trusted: Collection[str]
) -> Network:
    """Return the network that a file's tensors and header tell of, as `load` does for a file that
    is read already.
    """
    try:
        spec = fields.read(ModelSpec, header["model"], str(path), prefix=("model",))
        signature = Signature.from_header(header)
        check_trusted(spec.name, trusted, path)
    except KeyError as error:
        raise AnewError(
            f"{path}: has no {error} in its header, so anew did not write it; give a family's file"
        ) from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AnewError(
            f"{path}: its header is damaged ({error}); restore it from a copy"
        ) from error
    network = build_empty(spec, signature)
    fill(network, tensors, path)
    return network


def check_trusted(name: str, trusted: Collection[str], path: Path) -> None:
    """Raise `AnewError` where a file names a model of own code that the user did not name."""
    if models.is_own_code(name) and name not in trusted:
        raise AnewError(
            f"{path}: asks for the code '{name}', and a file may not choose what is run; if you "
            f"trust it, set "
            f"--trust {name}"
        )


def build_empty(spec: ModelSpec, signature: Signature) -> Network:
    """Build a network whose weights are about to be filled in."""
    with randomness.torch_generator(0):
        model = models.build_for(signature, spec.name, dict(spec.options))
    return Network(model, spec, signature)


def fill(network: Network, tensors: dict[str, Tensor], path: Path) -> None:
    """Put a state dict into a network's model; `AnewError` names what is missing, extra or of
    another shape.
    """
    wanted = network.model.state_dict()
    name = network.spec.name
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        parts = [
            f"{word} {_some(names)}"
            for word, names in (("lacks", missing), ("has the extra", extra))
            if names
        ]
        raise AnewError(
            f"{path}: is no state dict of {name}: it {' and '.join(parts)}; name its model with "
            f"--teacher-model"
        )
    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            raise AnewError(
                f"{path}: tensor '{key}' has shape {tuple(tensor.shape)}, but {name} with "
                f"{len(network.signature.classes)} classes and inputs "
                f"{network.signature.input_shape} needs "
                f"{tuple(wanted[key].shape)}; give a checkpoint of the same model, classes and "
                f"inputs"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise AnewError(
                f"{path}: tensor '{key}' holds NaN or infinity; give a checkpoint of a sound "
                f"network"
            )
    network.model.load_state_dict(tensors)


def _some(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
