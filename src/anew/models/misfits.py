"""Why a checkpoint does not fit a model, and what would help: one line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from torch import Tensor, nn

from anew.core.errors import AnewError
from anew.core.text import listed
from anew.data.signature import Signature
from anew.models.architectures import ARCHITECTURES
from anew.models.building import outline_for
from anew.models.fitting import Fit
from anew.models.network import Network
from anew.models.outlines import outlined

SHOWN = 3
# From this share of a model's names on, a checkpoint is taken for one of the same architecture.
SAME = 0.5


def misfit(fit: Fit, network: Network, name: str, flag: str = "") -> AnewError:
    """Return the error for a checkpoint whose nearest fit to a model still has wrong names.

    `name` is what the user named it by. `flag` is the option that would name another model for it,
    "" if the user named this one.
    """
    wanted = network.model.state_dict()
    missing = sorted(wanted.keys() - fit.tensors.keys())
    extra = sorted(fit.taken.keys() - wanted.keys())
    model = network.spec.name
    if not missing and not extra:
        return AnewError(f"{name}: {_shapes(fit, network)}")

    parts = [f"lacks {_some(missing)}"] if missing else []
    parts += [f"has the extra {_some(extra)}"] if extra else []
    advice = _advice(fit.taken, network, missing, extra, flag)
    return AnewError(f"{name}: is no state dict of {model}: it {' and '.join(parts)}; {advice}")


def _shapes(fit: Fit, network: Network) -> str:
    """Return what is wrong with a checkpoint whose names are right, and what would help."""
    wanted, signature = network.model.state_dict(), network.signature
    wrong = [key for key in fit.wrong if key in wanted]
    first = wrong[0]
    classes, channels = len(signature.classes), signature.input_shape[0]
    model = network.spec.name
    said = (
        f"tensor '{first}' has shape {_shape(fit.taken[first])}, but {model} with {classes} "
        f"classes and inputs {signature.input_shape} needs {_shape(wanted[first])}"
    )

    pairs = [(_shape(fit.taken[key]), _shape(wanted[key])) for key in wrong]
    counts = {given[:1] for given, _ in pairs}
    if len(counts) == 1 and all(
        given[1:] == own[1:] and own[:1] == (classes,) for given, own in pairs
    ):
        (count,) = pairs[0][0][:1]
        return (
            f"{said}: it has {count} classes, and the data have {classes}; give a checkpoint "
            "with the same classes; to start students from its other weights, use --from"
        )
    if len(pairs) == 1 and pairs[0][1][1:2] == (channels,) and pairs[0][0][1:2] != (channels,):
        return (
            f"{said}: it takes {pairs[0][0][1]} channels, and the data have {channels}; give a "
            "checkpoint of the same inputs"
        )
    if all("pos" in key for key in wrong):
        return f"{said}: it is made for pictures of another size; set --data.size to its own"

    ratios = Counter(
        given[0] / own[0] for given, own in pairs if given and own and given[0] != own[0]
    )
    if ratios and len(wrong) > 2:
        ratio, _ = ratios.most_common(1)[0]
        return (
            f"{said}; of {len(wrong)} tensors the shapes differ, most by {ratio:g} times: it has "
            "another width: name the model of its width"
        )
    return f"{said}; give a checkpoint of the same model, classes and inputs"


def _advice(
    taken: Mapping[str, Tensor],
    network: Network,
    missing: Collection[str],
    extra: Collection[str],
    flag: str,
) -> str:
    """Return what would help with a checkpoint of other names."""
    wanted, model = network.model.state_dict(), network.spec.name
    classes = len(network.signature.classes)
    share = len(wanted.keys() & taken.keys()) / len(wanted)
    heads = [key for key in missing if _shape(wanted[key])[:1] == (classes,)]
    renamed = _renamed(taken, wanted, missing, extra)
    if renamed:
        return f"{renamed}: rename them in the file, or in the model"
    if share >= SAME and missing and len(heads) == len(missing):
        return (
            f"it has no classifier of {model}: give a whole checkpoint; to start students from "
            "it, use --from"
        )

    if share >= SAME and _kinds(missing) <= _kinds(taken) and _kinds(extra) <= _kinds(wanted):
        return f"it has another depth than {model}, or is incomplete: name the model of its depth"
    known = _architecture_of(taken, network) if share < SAME else ""
    if known:
        named = f"name it with {flag}" if flag else "name that model"
        return f"it fits {known}: {named}"

    if share >= SAME or not flag:
        return f"give a checkpoint of {model} as it is built here, with its own options"
    if extra:
        return f"it is of another architecture: name its model with {flag}"
    return f"name its model with {flag}, or give a whole checkpoint"


def _renamed(
    taken: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    missing: Collection[str],
    extra: Collection[str],
) -> str:
    """Return in words that what is missing has other names in the file, "" if it has not."""
    if not missing or len(missing) != len(extra):
        return ""
    pairs = list(zip(missing, extra, strict=True))
    if any(
        _shape(wanted[own]) != _shape(taken[other])
        or own.rpartition(".")[2] != other.rpartition(".")[2]
        for own, other in pairs
    ):
        return ""
    own, other = pairs[0]
    return f"what it has as '{other}' has the shape of '{own}', which may be the same"


def _kinds(names: Collection[str]) -> set[str]:
    """Return names without their numbers: blocks of one kind have the same."""
    return {re.sub(r"\d+", "#", name) for name in names}


def _architecture_of(taken: Mapping[str, Tensor], network: Network) -> str:
    """Return the name of a known architecture whose tensors these are, "" if none is found."""
    shapes = _learned_shapes(taken)
    for name, outline in _outlines(network.signature):
        own = _learned_shapes(outline.state_dict())
        # Classifiers may differ.
        if own.keys() == shapes.keys() and all(own[key][1:] == shapes[key][1:] for key in own):
            return name
    return ""


def _outlines(signature: Signature) -> Iterator[tuple[str, nn.Module]]:
    """Yield the names and outlines of anew's own architectures and of torchvision's ResNets."""
    for name in (example for one in ARCHITECTURES for example in one.examples):
        try:
            yield name, outline_for(signature, name)
        except AnewError:
            # It is for other inputs.
            continue
    if signature.is_picture and signature.input_shape[0] == 3:
        import torchvision

        for depth in (18, 34, 50, 101, 152):
            with outlined():
                yield (
                    f"torchvision:resnet{depth}",
                    torchvision.models.get_model(f"resnet{depth}", weights=None),
                )


def _learned_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: _shape(tensor) for name, tensor in tensors.items() if tensor.ndim}


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _some(names: list[str]) -> str:
    shown = [f"'{name}'" for name in names[:SHOWN]]
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return listed([*shown, *more])
