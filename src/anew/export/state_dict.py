"""The plain state dict of one network, and the lines of Python that load it without anew."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn

from anew.core import files
from anew.core.errors import AnewError
from anew.data.signature import Signature
from anew.evaluation.predictor import Predictor
from anew.export.comparison import Ask, sample
from anew.models.network import Network
from anew.models.outlines import outlined
from anew.models.returns import find_logits


@dataclass(frozen=True)
class Call:
    """How a model is built without anew, if it is not one of anew's own: a call of a function."""

    module: str
    function: str
    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    def build(self) -> nn.Module:
        """Return the model, its weights still to be filled in."""
        function = getattr(importlib.import_module(self.module), self.function)
        return function(*self.positional, **self.named)

    def in_words(self) -> str:
        """Return the call as a line of Python has it."""
        given = [repr(value) for value in self.positional]
        given += [f"{name}={value!r}" for name, value in self.named.items()]
        return f"{self.module}.{self.function}({', '.join(given)})"


def check_single(predictor: Predictor, called: str) -> None:
    """Raise `AnewError` if there are several networks: a state dict is of one."""
    count = len(predictor.members)
    if count > 1:
        raise AnewError(
            f"{called}: a state dict holds one network, and {count} were chosen; choose one with "
            "--generations, or export the mean as .onnx or .pt2"
        )


def state_dict_bytes(predictor: Predictor, described: Mapping[str, Any], called: str) -> bytes:
    """Return one network's state dict as a safetensors file.

    Its header holds what a family's file has, so that it is a --teacher again, the description, and
    under `load` the lines that load it elsewhere.
    """
    (network,) = predictor.members
    (origin,) = predictor.origins
    about: dict[str, Any] = {"exported": dict(described), "load": lines(predictor, called)}
    if origin.id:
        about["id"] = origin.id
    if origin.generation is not None:
        about["generation"] = origin.generation
    return files.tensor_bytes(network.model.state_dict(), network.header(about), whole=True)


def lines(predictor: Predictor, file: str) -> list[str]:
    """Return the lines of Python that load a file and ask its network."""
    (network,) = predictor.members
    call = call_of(network)
    answer = _answer_in_words(network)
    if network.probabilities:
        answer += ".clamp_min(1e-37).log()"
    if network.columns:
        answer += f"[:, {list(network.columns)}]"
    if predictor.temperature != 1.0:
        answer += f" / {predictor.temperature!r}"

    return [
        f"import torch, {call.module}; from safetensors.torch import load_file",
        f"model = {call.in_words()}",
        f"model.load_state_dict(load_file({file!r})); model.eval()",
        *_normalising(network.signature),
        f"probabilities = torch.softmax({answer}, -1)",
    ]


def _answer_in_words(network: Network) -> str:
    """Return the expression of Python for the tensor that a model answers with."""
    inputs = sample(network.signature, 2)
    with torch.no_grad():
        answer: Any = network.model(network.signature.prepare(inputs, network.mean, network.scale))
        logits = find_logits(answer, network.signature.output_shape)
    if isinstance(answer, Tensor):
        return "model(x)"
    if isinstance(answer, Mapping):
        named = cast("Mapping[str, object]", answer)
        return next((f"model(x)[{key!r}]" for key in named if named[key] is logits), "model(x)")
    if isinstance(answer, list | tuple):
        listed = cast("Sequence[object]", answer)
        places = [place for place, value in enumerate(listed) if value is logits]
        return f"model(x)[{places[0]}]" if places else "model(x)"
    return "model(x).logits"


def _normalising(signature: Signature) -> list[str]:
    """Return the lines that make of stored inputs what the model takes."""
    if signature.kind == "tokens":
        return ["x = inputs"]
    shape = "".join(", 1" for _ in signature.input_shape[1:])
    mean, std = (
        f"torch.tensor({list(values)}).view(-1{shape})"
        for values in (signature.mean, signature.std)
    )
    return [f"mean = {mean}", f"std = {std}", "x = (inputs.float() - mean) / std"]


def call_of(network: Network) -> Call:
    """Return how a network's model is built: by timm, torchvision, the user's own code, or anew."""
    signature, spec = network.signature, network.spec
    options, classes = dict(spec.options), len(signature.classes)
    place, _, inner = spec.name.partition(":")
    if place == "timm":
        named = {"in_chans": signature.input_shape[0], "num_classes": classes, **options}
        return Call("timm", "create_model", (inner,), _with_size(inner, named, signature))
    if place == "torchvision":
        named = {"num_classes": classes, **options}
        if inner in ("googlenet", "inception_v3"):
            named |= {"aux_logits": False, "init_weights": True}
        return Call("torchvision.models", "get_model", (inner,), named)
    if inner:
        named = {"input_shape": signature.input_shape, "classes": classes, **options}
        return Call(place, inner, (), named)

    given = (spec.name, signature.input_shape, classes)
    return Call("anew.models", "build", (*given, options) if options else given, {})


def _with_size(name: str, named: dict[str, Any], signature: Signature) -> dict[str, Any]:
    """Return the arguments of a model of timm, with the picture's size where it takes one."""
    import timm

    sized: dict[str, Any] = {**named, "img_size": tuple(signature.input_shape[1:])}
    try:
        with outlined():
            timm.create_model(name, pretrained=False, **sized)
    # Models that take no size, and those that cannot be outlined: the comparison decides.
    except (TypeError, RuntimeError, NotImplementedError):
        return named
    return sized


def asking(content: bytes, predictor: Predictor) -> Ask:
    """Return what a state dict answers in a model that is built as its lines say."""
    (network,) = predictor.members
    model = call_of(network).build()
    model.load_state_dict(safetensors.torch.load(content))
    model.eval()
    rebuilt = Network(
        model, network.spec, network.signature, (), network.columns, network.probabilities
    ).eval()

    def ask(inputs: Tensor) -> Tensor:
        return torch.softmax(rebuilt(inputs) / predictor.temperature, dim=-1)

    return ask
