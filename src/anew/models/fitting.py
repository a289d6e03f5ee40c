"""Fitting the tensors of a checkpoint to a model: by name, and by what stands before the names.

Tools that wrap a model put a prefix before the names of its tensors, and versions of a library name
a few tensors otherwise or leave them out. What torch's own loaders forgive is forgiven here. Each
change is said, and none is made unless all of the model's tensors fit then, in name and shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anew.core.errors import AnewError
from anew.core.text import listed
from anew.models.checkpoints import Checkpoint, Tensors

# What wrappers put between the names of modules: torch.compile, FSDP, activation checkpoints.
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
# Counters that a tool for counting operations leaves in state dicts.
_COUNTERS = ("total_ops", "total_params")
# How weight norm names its two tensors: as a parametrization, and before that.
_WEIGHT_NORM = (
    (".parametrizations.weight.original0", ".weight_g"),
    (".parametrizations.weight.original1", ".weight_v"),
)
_BATCHES = "num_batches_tracked"
MOST_PREFIXES = 8
SHOWN = 3


@dataclass(frozen=True)
class Fit:
    """How a table of tensors fits a model."""

    key: str
    """The table's key, with the prefix of the tensors that were taken, as `FILE:KEY` takes it."""
    taken: Tensors
    """The file's tensors, by the model's names."""
    filled: Tensors
    """What the file lacks and the model knows by itself."""
    left: tuple[str, ...]
    """Tensors of the file that the model has no use for."""
    wrong: tuple[str, ...]
    """Names that are missing, extra or of another shape: it fits if there are none."""
    notices: tuple[str, ...]
    """What was done for it, in words."""

    @property
    def is_exact(self) -> bool:
        """Whether all names are the model's, and nothing had to be done."""
        return not (self.wrong or self.notices)

    @property
    def tensors(self) -> Tensors:
        """A state dict of the model."""
        return self.taken | self.filled


def fit(model: nn.Module, checkpoint: Checkpoint, name: str, fresh_classes: int = 0) -> Fit:
    """Return how a checkpoint fits a model: the one way in which it does, or else the nearest.

    `name` is what the user named the checkpoint by. With `fresh_classes` the model is to be trained
    on: its classifier of so many classes may be missing or of others, and is left out then. Raises
    `AnewError` if several of its tables fit, or several parts of one: the user chooses.
    """
    wanted = _Wanted.of(model, fresh_classes)
    ways = [
        way for key, tensors in checkpoint.tables.items() for way in _ways(wanted, key, tensors)
    ]
    fitting = [way for way in ways if not way.wrong]
    if not fitting:
        return min(ways, key=lambda way: len(way.wrong))

    # A table without anything else in it is meant, and the same tensors are one choice.
    whole = [way for way in fitting if not way.left] or fitting
    same = {frozenset(map(id, way.taken.values())): way for way in reversed(whole)}
    fitting = [way for way in whole if way in same.values()]

    if len(fitting) > 1:
        keys = [way.key for way in fitting]
        raise AnewError(
            f"{name}: holds several networks that fit: {listed(keys)}; choose one, such as "
            f"{checkpoint.path}:{keys[0]}"
        )
    return fitting[0]


@dataclass(frozen=True)
class _Wanted:
    """The tensors that a model has."""

    tensors: Tensors
    """By name, as its state dict has them."""
    buffers: Tensors
    """Of them, those that are not learned."""
    computed: Tensors
    """Buffers that no state dict holds, since the model computes them."""
    same: dict[str, tuple[str, ...]]
    """The other names of a tensor that has several, by each of them."""
    fresh: frozenset[str] = frozenset()
    """Tensors of the classifier, if it may start fresh."""

    @classmethod
    def of(cls, model: nn.Module, fresh_classes: int) -> _Wanted:
        tensors: Tensors = dict(model.state_dict(keep_vars=True))
        buffers = dict(model.named_buffers(remove_duplicate=False))
        names: dict[int, list[str]] = {}
        for name, tensor in tensors.items():
            names.setdefault(id(tensor), []).append(name)
        return cls(
            tensors,
            {name: tensor for name, tensor in buffers.items() if name in tensors},
            {name: tensor for name, tensor in buffers.items() if name not in tensors},
            {name: tuple(group) for group in names.values() if len(group) > 1 for name in group},
            _classifier(tensors, fresh_classes) if fresh_classes else frozenset(),
        )


def _classifier(tensors: Tensors, classes: int) -> frozenset[str]:
    """Return the tensors of the last module, and of others called heads, with an output a class."""
    weights = [
        name
        for name, tensor in tensors.items()
        if name.endswith("weight") and tensor.ndim > 1 and len(tensor) == classes
    ]
    places = {name.rpartition(".")[0] for name in weights[-1:]}
    places |= {place for name in weights if (place := name.rpartition(".")[0]).startswith("head")}
    return frozenset(name for name in tensors if name.rpartition(".")[0] in places)


def _ways(wanted: _Wanted, key: str, tensors: Tensors) -> list[Fit]:
    """Return how a table fits by each of the prefixes that bring names of the model about."""
    names = {name: _unwrapped(name) for name in tensors}
    unwrapped = {name: tensors[given] for given, name in names.items()}
    if len(unwrapped) < len(names):
        names, unwrapped = {name: name for name in tensors}, tensors
    wrapped = [wrapper for wrapper in _WRAPPERS if any(wrapper in name for name in tensors)]
    was_wrapped = any(given != name for given, name in names.items())

    ways: list[Fit] = []
    for added in _common_prefixes(wanted.tensors):
        short = {name.removeprefix(added) for name in wanted.tensors}
        for removed in _prefixes(unwrapped, short):
            said = [f"'{wrapper}'" for wrapper in wrapped] if was_wrapped else []
            said += [f"'{removed}'"] if removed else []
            notices: list[str] = []
            if said:
                was = "was" if len(said) == 1 else "were"
                notices.append(f"{listed(said)} {was} removed from the names of its tensors")
            if added:
                notices.append(f"'{added}' was added before the names of its tensors")
            ways.append(_way(wanted, key, unwrapped, (removed, added), notices))
            if not ways[-1].wrong and not ways[-1].left:
                return ways[-1:]
    return ways


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _common_prefixes(names: Iterable[str]) -> list[str]:
    """Return the prefixes that all of a model's names have, each ending in a dot, "" first."""
    split = [name.split(".")[:-1] for name in names]
    prefixes = [""]
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        prefixes.append(f"{prefixes[-1]}{parts[0]}.")
    return prefixes


def _prefixes(given: Iterable[str], wanted: set[str]) -> list[str]:
    """Return prefixes of a file's names behind which most names of the model stand, and ""."""
    votes: Counter[str] = Counter()
    for name in given:
        for spelling in (name, _spelt_otherwise(name, wanted)):
            if spelling is None:
                continue
            start = 0
            while True:
                if spelling[start:] in wanted:
                    votes[spelling[:start]] += 1
                start = spelling.find(".", start) + 1
                if not start:
                    break

    often = sorted(votes, key=lambda prefix: (-votes[prefix], len(prefix)))
    return list(dict.fromkeys(["", *often[:MOST_PREFIXES]]))


def _spelt_otherwise(name: str, wanted: Iterable[str]) -> str | None:
    """Return the other spelling of a tensor of weight norm; None if it is none."""
    for new, old in _WEIGHT_NORM:
        if name.endswith(new):
            return name.removesuffix(new) + old
        if name.endswith(old):
            return name.removesuffix(old) + new
    return None


def _way(
    wanted: _Wanted, key: str, given: Tensors, prefixes: tuple[str, str], notices: list[str]
) -> Fit:
    """Return how tensors fit with one prefix taken off their names and another put before them."""
    removed, added = prefixes
    taken: Tensors = {}
    others = [name for name in given if not name.startswith(removed)]
    respelt: list[str] = []
    for name, tensor in given.items():
        if not name.startswith(removed):
            continue
        own = added + name.removeprefix(removed)
        other = _spelt_otherwise(own, wanted.tensors)
        if own not in wanted.tensors and other in wanted.tensors:
            own = other
            respelt.append(own)
        taken[own] = tensor

    notices = list(notices)
    if respelt:
        notices.append(f"{_some(respelt)} have the older or newer names of weight norm")
    filled = _fill_gaps(wanted, taken, notices)
    _drop_extras(wanted, taken, notices)
    fresh = _leave_out_classifier(wanted, taken, filled, notices)
    if others:
        notices.append(f"{_some(others)} outside of '{removed}' {_is(others)} not used")

    known = taken | filled
    wrong = [
        name
        for name, tensor in wanted.tensors.items()
        if name not in fresh and (name not in known or known[name].shape != tensor.shape)
    ]
    wrong += [name for name in taken if name not in wanted.tensors]
    inner = ".".join(filter(None, (key, removed.rstrip("."))))
    return Fit(inner, taken, filled, tuple(others), tuple(wrong), tuple(notices))


def _fill_gaps(wanted: _Wanted, taken: Tensors, notices: list[str]) -> Tensors:
    """Return what a file lacks and torch's own loaders do without, and say it."""
    missing = [name for name in wanted.tensors if name not in taken]
    filled: Tensors = {}
    counters = [name for name in missing if name.endswith(_BATCHES)]
    if counters:
        notices.append(
            "its batch norms have no num_batches_tracked, as in old files; the "
            "counters start from 0"
        )
    tied = {
        name: other
        for name in missing
        for other in wanted.same.get(name, ())
        if other in taken and taken[other].shape == wanted.tensors[name].shape
    }
    if tied:
        notices.append(f"{_some(tied)} {_is(tied)} not in it: the same as {_some(tied.values())}")
    # Whole numbers that are no counters are tables that the model computes, and never learned.
    whole = [
        name
        for name in missing
        if name in wanted.buffers
        and name not in counters
        and name not in tied
        and not wanted.buffers[name].is_floating_point()
        and not wanted.buffers[name].is_complex()
    ]
    if whole:
        notices.append(f"{_some(whole)} {_is(whole)} not in it; the model computes them itself")

    for name in (*counters, *whole):
        filled[name] = wanted.tensors[name].detach().clone()
    return filled | {name: taken[other] for name, other in tied.items()}


def _drop_extras(wanted: _Wanted, taken: Tensors, notices: list[str]) -> None:
    """Take out of a file's tensors what its model does without, and say it."""
    extra = [name for name in taken if name not in wanted.tensors]
    helpers = _helpers(wanted.tensors, extra)
    extra = [name for name in extra if name not in helpers]
    counters = [name for name in extra if name.rpartition(".")[2] in (*_COUNTERS, _BATCHES)]
    computed = [
        name
        for name in extra
        if name in wanted.computed and _is_equal(taken[name], wanted.computed[name])
    ]

    for names, why in (
        (counters, "counters without effect on outputs"),
        (helpers, "an auxiliary classifier, which the model is built without"),
        (computed, "the model computes the same values itself"),
    ):
        if names:
            notices.append(f"{_some(names)} {_is(names)} not used: {why}")
        for name in names:
            del taken[name]


def _leave_out_classifier(
    wanted: _Wanted, taken: Tensors, filled: Tensors, notices: list[str]
) -> frozenset[str]:
    """Leave out a classifier of other classes where it may start fresh; return its tensors."""
    if wanted.tensors.keys() - wanted.fresh - taken.keys() - filled.keys():
        # More is missing: it is another model's, and to be told as it is.
        return frozenset()
    other = {
        name
        for name in wanted.fresh
        if name not in taken or taken[name].shape != wanted.tensors[name].shape
    }
    if not other:
        return frozenset()

    classes = {len(taken[name]) for name in other if name in taken and taken[name].ndim}
    why = f"it has {min(classes)} classes" if classes else "it has none"
    names = [name for name in wanted.tensors if name in wanted.fresh]
    notices.append(f"the classifier, {_some(names)}, starts from random weights: {why}")
    for name in wanted.fresh:
        taken.pop(name, None)
    tops = {name.partition(".")[0] for name in wanted.tensors}
    beside = [name for name in taken if name.partition(".")[0] not in tops]
    if beside:
        notices.append(f"{_some(beside)} {_is(beside)} not used")
    for name in beside:
        del taken[name]
    return wanted.fresh


def _helpers(wanted: Mapping[str, Tensor], extra: Iterable[str]) -> list[str]:
    """Return the tensors of auxiliary classifiers in a file whose model has none."""
    tops = {name.partition(".")[0] for name in wanted}
    if any(top.lower().startswith("aux") for top in tops):
        return []
    return [name for name in extra if name.lower().startswith("aux") and "." in name]


def _is_equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.is_complex() != other.is_complex():
        return False
    return torch.allclose(one.double(), other.double(), equal_nan=True)


def _some(names: Iterable[str]) -> str:
    """Return some names, and how many more there are."""
    found = list(names)
    shown = [f"'{name}'" for name in found[:SHOWN]]
    more = [f"{len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return listed([*shown, *more])


def _is(names: Iterable[str]) -> str:
    return "is" if len(list(names)) == 1 else "are"
