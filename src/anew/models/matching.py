"""A network that is asked in the units and the class order of others: teachers and ensembles."""

from __future__ import annotations

import math
from dataclasses import replace

from anew.core.errors import AnewError
from anew.core.text import listed
from anew.data.signature import Signature, Units
from anew.data.units import units_in_words
from anew.models.network import Network

# Inputs of unknown units are taken for the same ones if their statistics are about the same.
NEAR_MEAN, NEAR_RATIO = 0.25, 1.25
SHOWN_NAMES = 4


def conform(network: Network, wanted: Signature, called: str = "a network") -> Network:
    """Return a network that takes inputs in the wanted units and answers in the wanted order.

    The network itself if it does so already. Raises `AnewError` as `in_units` and `in_order` do,
    in which `called` names it.
    """
    assert wanted.units is not None, "a signature knows its units"
    return in_order(in_units(network, wanted.units, called), wanted.classes, called)


def in_units(network: Network, units: Units, called: str) -> Network:
    """Return the same network for inputs in other units, its mean and deviation with them.

    Raises `AnewError` if either units are a scale of their own, and not the same.
    """
    if network.signature.units == units:
        return network

    try:
        signature = network.signature.in_units(units)
    except ValueError as error:
        found = network.signature
        assert found.units is not None, "a signature knows its units"
        raise AnewError(
            f"{called}: takes pictures in units '{units_in_words(found.units)}', of mean "
            f"{_numbers(found.mean)} and deviation {_numbers(found.std)}, and these are in "
            f"'{units_in_words(units)}'; the conversion is unknown: use the network in Python, "
            "with inputs like those of its training"
        ) from error

    return _as(network, signature, network.columns)


def in_order(network: Network, classes: tuple[str, ...], called: str) -> Network:
    """Return the same network with its answers in the order of `classes`, which are its own.

    Raises `AnewError` if they are others.
    """
    own = network.signature.classes
    if own == classes:
        return network
    if sorted(own) != sorted(classes) or len(set(own)) < len(own):
        raise AnewError(f"{called}: {differing(own, classes)}; give networks of the same classes")

    places = {name: place for place, name in enumerate(own)}
    columns = network.columns or tuple(range(len(own)))
    order = tuple(columns[places[name]] for name in classes)
    signature = replace(network.signature, classes=classes)
    return _as(network, signature, order)


def of_units(network: Network, units: Units) -> Network:
    """Return the same network, taken to be in other units without a change of its numbers."""
    signature = replace(network.signature, units=units)
    return _as(network, signature, network.columns)


def of_probabilities(network: Network) -> Network:
    """Return the same network, its model's answers taken for probabilities."""
    return _as(network, network.signature, network.columns, probabilities=True)


def normalising(network: Network, mean: tuple[float, ...], std: tuple[float, ...]) -> Network:
    """Return the same network with another mean and deviation, for pictures in 0..1 or bytes.

    They are given for pictures in 0..1, one for all channels or one for each.
    """
    channels, known = network.signature.input_shape[0], network.signature.units
    assert known is not None, "a signature knows its units"
    mean, std = (tuple(values) * (channels // len(values)) for values in (mean, std))
    signature = replace(network.signature, mean=mean, std=std, units="unit").in_units(known)
    return _as(network, signature, network.columns)


def named(network: Network, classes: tuple[str, ...]) -> Network:
    """Return the same network with other names for its classes, in the order that they have."""
    signature = replace(network.signature, classes=classes)
    return _as(network, signature, network.columns)


def are_numbers(classes: tuple[str, ...]) -> bool:
    """Whether classes are only numbered, "0" to "C-1": then their names say nothing."""
    return classes == tuple(map(str, range(len(classes))))


def differing(own: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """Return in words which classes only one of two sides knows."""
    only_own = [name for name in own if name not in wanted]
    only_wanted = [name for name in wanted if name not in own]
    return f"knows {_some(only_own)} and does not know {_some(only_wanted)}"


def is_same(one: Signature, other: Signature) -> bool:
    """Whether the statistics of inputs are the same but for rounding."""
    pairs = [*zip(one.mean, other.mean, strict=True), *zip(one.std, other.std, strict=True)]
    return all(math.isclose(mine, theirs, rel_tol=1e-5) for mine, theirs in pairs)


def is_near(one: Signature, other: Signature) -> bool:
    """Whether the statistics of inputs are about the same, so that their units may be."""
    means = zip(one.mean, other.mean, other.std, strict=True)
    ratios = [mine / theirs for mine, theirs in zip(one.std, other.std, strict=True)]
    return all(abs(mine - theirs) <= NEAR_MEAN * std for mine, theirs, std in means) and all(
        1 / NEAR_RATIO <= ratio <= NEAR_RATIO for ratio in ratios
    )


def _as(
    network: Network,
    signature: Signature,
    columns: tuple[int, ...],
    *,
    probabilities: bool | None = None,
) -> Network:
    """Return the same model, in the same mode, behind another signature."""
    if probabilities is None:
        probabilities = network.probabilities
    same = Network(network.model, network.spec, signature, network.frozen, columns, probabilities)
    # A module is made in training mode; whoever restores that would set the shared model to it.
    return same.train(network.training)


def _some(names: list[str]) -> str:
    shown = [f"'{name}'" for name in names[:SHOWN_NAMES]]
    more = [f"{len(names) - SHOWN_NAMES} more"] if len(names) > SHOWN_NAMES else []
    return listed([*shown, *more]) or "no others"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
