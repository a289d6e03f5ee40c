"""From a name to a model: anew's own architectures, timm's, torchvision's, and the user's."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from anew.core.errors import AnewError, did_you_mean, in_one_line
from anew.core.spec import ModelSpec
from anew.data.signature import Signature
from anew.models.architectures import ARCHITECTURES, Architecture, Shape
from anew.models.outlines import outlined
from anew.models.trying import made_for, try_blank

Scalar = bool | int | float | str
# Sizes that builders of timm and torchvision take before a model's class is called.
_TAKEN_BY_BUILDERS = frozenset(
    {"bn_eps", "bn_momentum", "dilated", "norm_eps", "pad_type", "reduced_tail", "width_mult"}
)
# Options of builders that load weights.
_PRETRAINED = frozenset(
    {"pretrained", "weights", "checkpoint_path", "pretrained_cfg", "weights_backbone"}
)


@dataclass(frozen=True)
class Entry:
    """A line of the catalogue."""

    name: str
    summary: str
    parameters: int


def build(
    name: str, input_shape: Shape, classes: int, options: Mapping[str, Scalar] | None = None
) -> nn.Module:
    """Build a model by name, from inputs (B, *input_shape) to logits (B, classes).

    `name` is one of anew's own (`catalogue`), `timm:NAME`, `torchvision:NAME`, or
    `package.module:callable` for a function or class of the user's own, called with `input_shape`,
    `classes` and the options. First weights come from torch's generator.

    Raises `AnewError` if the name, an option or the input does not fit, or if the model, tried on
    two blank inputs, does not return one logit for each class.
    """
    return build_for(Signature.of_shape(input_shape, classes), name, _spelled(name, options))


def build_for(
    signature: Signature, name: str, options: Mapping[str, Scalar] | None = None
) -> nn.Module:
    """Build the model of a specification as `build` does, for examples of any kind.

    What a name of the paper stands for must be spelled out, see `spelled`.
    Returns a model from (B, *input_shape) to logits (B, *positions, C).
    """
    model = _build(signature, name, options)
    try_blank(signature, name, model)
    return model


def outline(
    name: str, input_shape: Shape, classes: int, options: Mapping[str, Scalar] | None = None
) -> nn.Module:
    """Return an untried model, for the names and shapes of its parameters.

    Anew's own architectures take no memory. Raises `AnewError` if the name, an option or the input
    does not fit.
    """
    return outline_for(Signature.of_shape(input_shape, classes), name, _spelled(name, options))


def outline_for(
    signature: Signature, name: str, options: Mapping[str, Scalar] | None = None
) -> nn.Module:
    """Return a model's outline as `outline` does, for examples of any kind."""
    # Models of others may compute with numbers while they are built, so they get real ones.
    with torch.device("cpu") if is_foreign(name) else outlined():
        return _build(signature, name, options)


def spelled(spec: ModelSpec) -> ModelSpec:
    """Return a model as a user names it with the options that its name alone stands for.

    `densenet-90-60` is the network of the paper's tables. A specification that was stored without
    these options is version 0.1's, and is built as that did. Raises `AnewError` if the name is of
    an architecture and not written as its pattern.
    """
    return replace(spec, options=tuple(sorted(_spelled(spec.name, dict(spec.options)).items())))


def _spelled(name: str, options: Mapping[str, Scalar] | None) -> dict[str, Scalar]:
    for architecture in ARCHITECTURES:
        numbers = architecture.read_numbers(name)
        if numbers is not None:
            return {**architecture.spelled(numbers), **(options or {})}
    return dict(options or {})


def is_foreign(name: str) -> bool:
    """Return whether a name means code that is not anew's: timm's, torchvision's or a user's."""
    return ":" in name


def is_own_code(name: str) -> bool:
    """Return whether a name means code of the user's own, `package.module:callable`."""
    return is_foreign(name) and not name.startswith(("timm:", "torchvision:"))


def catalogue(input_shape: Shape = (3, 32, 32), classes: int = 10) -> list[Entry]:
    """Return anew's own architectures that take such inputs, with their parameter counts."""
    entries: list[Entry] = []
    signature = Signature.of_shape(input_shape, classes)
    with outlined():
        for architecture in ARCHITECTURES:
            if not _takes(architecture, signature):
                continue
            for name in architecture.examples:
                numbers = architecture.read_numbers(name) or ()
                options = architecture.spelled(numbers)
                model = architecture.build(input_shape, classes, numbers, options)
                count = sum(parameter.numel() for parameter in model.parameters())
                entries.append(Entry(name, architecture.summary, count))
    return entries


def language_models(vocabulary: int = 10_000) -> list[Entry]:
    """Return anew's own language models, with their parameter counts for a vocabulary."""
    entries: list[Entry] = []
    words = tuple(map(str, range(vocabulary)))
    signature = Signature((1,), words, kind="tokens", positions=(1,))
    with outlined():
        for architecture in ARCHITECTURES:
            for name in architecture.examples if architecture.reads_text else ():
                model = _build_known(signature, name, {})
                count = sum(parameter.numel() for parameter in model.parameters())
                summary = f"{architecture.summary}; with {vocabulary:,} words"
                entries.append(Entry(name, summary, count))
    return entries


def _build(signature: Signature, name: str, options: Mapping[str, Scalar] | None) -> nn.Module:
    given = dict(options or {})
    if name.startswith("timm:"):
        return _build_timm(signature, name, given)
    if name.startswith("torchvision:"):
        return _build_torchvision(signature, name, given)
    if is_own_code(name):
        return _build_own(signature, name, given)
    return _build_known(signature, name, given)


def _build_known(signature: Signature, name: str, options: dict[str, Scalar]) -> nn.Module:
    for architecture in ARCHITECTURES:
        numbers = architecture.read_numbers(name)
        if numbers is None:
            continue

        checked = _check_options(name, architecture, options)
        architecture.check(name, numbers, checked)
        if not _takes(architecture, signature):
            least = architecture.smallest
            takes = f"pictures of {least}x{least} and more"
            choose = "choose another --model"
            if signature.kind == "tokens":
                choose = "choose --model lstm-1-200"
            if architecture.reads_text:
                takes = "text"
            raise AnewError(
                f"model '{name}': takes {takes}, but the inputs are {signature.in_words()}; "
                f"{choose}"
            )
        return architecture.build_for(signature, numbers, checked)

    examples = [example for architecture in ARCHITECTURES for example in architecture.examples]
    raise AnewError(
        f"model '{name}' is not known{did_you_mean(name, examples)}; `anew models` lists all names"
    )


def _takes(architecture: Architecture, signature: Signature) -> bool:
    if architecture.reads_text or signature.kind == "tokens":
        # One answer for a whole text is no language model's.
        return architecture.reads_text and bool(signature.positions)
    if signature.is_picture:
        return min(signature.input_shape[1:]) >= architecture.smallest
    return signature.kind == "vector" and architecture.takes_vectors


def _check_options(
    name: str, architecture: Architecture, options: dict[str, Scalar]
) -> dict[str, int | float]:
    """Return a model's options in their own types; raise `AnewError` if one is out of its range."""
    checked: dict[str, int | float] = {}
    for key, value in options.items():
        if key not in architecture.options:
            takes = ", ".join(architecture.options) or "none"
            raise AnewError(
                f"model '{name}' has no option '{key}'{did_you_mean(key, architecture.options)}; "
                f"it takes: {takes}"
            )

        allowed = architecture.options[key]
        if not allowed.holds(value):
            raise AnewError(
                f"model '{name}': option {key} must be {allowed}, got {value!r}; set "
                f"--model.options {key}=..."
            )
        checked[key] = int(value) if allowed.whole else float(value)
    return checked


def _build_timm(signature: Signature, name: str, options: dict[str, Scalar]) -> nn.Module:
    input_shape, classes = signature.input_shape, len(signature.classes)
    try:
        import timm
    except ImportError as error:
        raise AnewError(f"model '{name}' needs timm; pip install 'anew[timm]'") from error

    inner = name.removeprefix("timm:")
    known: list[str] = timm.list_models()
    if inner not in known:
        raise AnewError(
            f"model '{name}': timm has no model '{inner}'{did_you_mean(inner, known)}; "
            f"timm.list_models() lists them"
        )
    _check_picture(signature, name)
    _check_foreign_options(name, timm.models.model_entrypoint(inner), options)

    given: dict[str, Any] = {"in_chans": input_shape[0], "num_classes": classes, **options}
    try:
        # Transformers are made for one size of picture and are told it.
        return timm.create_model(inner, pretrained=False, img_size=tuple(input_shape[1:]), **given)
    except Exception as error:
        if not isinstance(error, TypeError) or "img_size" not in str(error):
            raise _cannot_build_for(signature, name, error) from error
    # The model takes no size of picture.
    try:
        return timm.create_model(inner, pretrained=False, **given)
    except Exception as error:
        raise _cannot_build_for(signature, name, error) from error


def _build_torchvision(signature: Signature, name: str, options: dict[str, Scalar]) -> nn.Module:
    import torchvision

    input_shape, classes = signature.input_shape, len(signature.classes)
    inner = name.removeprefix("torchvision:")
    known: list[str] = torchvision.models.list_models(module=torchvision.models)
    if inner not in known:
        raise AnewError(
            f"model '{name}': torchvision has no classifier '{inner}'{did_you_mean(inner, known)}; "
            "torchvision.models.list_models() lists them"
        )
    _check_picture(signature, name)
    _check_foreign_options(name, torchvision.models.get_model_builder(inner), options)
    if input_shape[0] != 3:
        raise AnewError(
            f"model '{name}': torchvision's models take 3 channels, the pictures have "
            f"{input_shape[0]}; choose one of anew's or timm's"
        )

    given: dict[str, Any] = {"weights": None, "num_classes": classes}
    if inner in ("googlenet", "inception_v3"):
        # These two answer with several tensors while they train, for a loss of their own.
        given |= {"aux_logits": False, "init_weights": True}
    builder = torchvision.models.get_model_builder(inner)
    height, width = input_shape[1:]
    if height == width and "image_size" in _sizes_of(builder):
        # Transformers are made for one size of picture and are told it.
        given["image_size"] = height
    try:
        return torchvision.models.get_model(inner, **{**given, **options})
    except Exception as error:
        raise _cannot_build_for(signature, name, error) from error


def _check_foreign_options(
    name: str, builder: Callable[..., Any], options: dict[str, Scalar]
) -> None:
    """Raise `AnewError` for an option that is none of the sizes of somebody else's model.

    Builders also take names of files and of weights to load (`checkpoint_path`, `pretrained`,
    `weights`, `cache_dir`), and a stored description may come from anybody. What the classes beside
    a builder are called with are sizes and parts.
    """
    pretrained = sorted(options.keys() & _PRETRAINED)
    if pretrained:
        raise AnewError(
            f"model '{name}': option '{pretrained[0]}' would load weights, and options only set "
            "sizes; to start from pretrained weights use --from pretrained (from the local "
            "cache) or --from FILE; drop it from --model.options"
        )

    allowed = _sizes_of(builder)
    foreign = sorted(options.keys() - allowed)
    if foreign:
        raise AnewError(
            f"model '{name}': has no option '{foreign[0]}'{did_you_mean(foreign[0], allowed)} "
            "for sizes, and other options are refused because they may load files; drop it from "
            "--model.options"
        )


def _sizes_of(builder: Callable[..., Any]) -> set[str]:
    """Return what the classes beside a builder of somebody else's are called with."""
    sizes = set(_TAKEN_BY_BUILDERS)
    for one in vars(sys.modules[builder.__module__]).values():
        if inspect.isclass(one) and issubclass(one, nn.Module):
            sizes |= inspect.signature(one.__init__).parameters.keys()
    return sizes


def _build_own(signature: Signature, name: str, options: dict[str, Scalar]) -> nn.Module:
    input_shape, classes = signature.input_shape, len(signature.classes)
    place, _, attribute = name.partition(":")
    try:
        module = _import_own(place)
    except Exception as error:  # no such module, no module's name, or code that fails on import
        raise AnewError(
            f"model '{name}': module '{place}' cannot be imported ({in_one_line(error)}); check "
            "the name; a module lies in the current folder or in one of PYTHONPATH"
        ) from error

    builder = getattr(module, attribute, None)
    if not callable(builder):
        raise AnewError(
            f"model '{name}': module '{place}' has no callable "
            f"'{attribute}'{did_you_mean(attribute, dir(module))}"
        )
    return _call(name, lambda: builder(input_shape=input_shape, classes=classes, **options))


def _import_own(place: str) -> ModuleType:
    """Import a user's module; one that is found nowhere else may lie in the current folder.

    A command's search path begins with the folder of the command, not with the user's, as that of
    `python -m anew` does. The current folder comes last, so that no file in it hides a library.
    """
    here, top = Path.cwd(), place.partition(".")[0]
    lies_here = (here / f"{top}.py").is_file() or (here / top).is_dir()
    if lies_here and str(here) not in sys.path and importlib.util.find_spec(top) is None:
        sys.path.append(str(here))
    return importlib.import_module(place)


def _call(name: str, builder: Callable[[], Any]) -> nn.Module:
    """Return the model of a builder that is not ours; raise `AnewError` if it fails."""
    try:
        model = builder()
    except Exception as error:  # whatever somebody else's code raises is reported as theirs
        raise _cannot_build(name, error) from error
    if not isinstance(model, nn.Module):
        raise AnewError(
            f"model '{name}': gave a {type(model).__name__}, not a torch.nn.Module; return the "
            "network"
        )
    return model


def _cannot_build(name: str, error: Exception) -> AnewError:
    return AnewError(
        f"model '{name}': cannot be built ({in_one_line(error)}); a callable is called with "
        "input_shape=, classes= and the model's options"
    )


def _cannot_build_for(signature: Signature, name: str, error: Exception) -> AnewError:
    return AnewError(
        f"model '{name}': cannot be built for pictures of {signature.in_words()} "
        f"({in_one_line(error)}){made_for(name)}; choose another --data.size, or other "
        "--model.options"
    )


def _check_picture(signature: Signature, name: str) -> None:
    if not signature.is_picture:
        raise AnewError(
            f"model '{name}': takes pictures, but the inputs are {signature.in_words()}; choose "
            "--model mlp"
        )
