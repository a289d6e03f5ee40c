"""By what networks differ, in words: the settings of their specs, and of their teachers'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.core.text import listed
from anew.family.family import Family

_SHOWN = 4
# Settings whose value is a hash: that it is another says more than which it is.
_HASHES = {"data.fingerprint": "other data", "weights": "other given weights"}


def differences(before: Spec, now: Spec) -> list[str]:
    """Return the settings of `now` that are others than before, such as `training.epochs 1 -> 2`.

    Those of teachers are looked at only where the networks' own are the same.
    """
    whose = ""
    while before.id != now.id:
        changed = _changed(settings(before), settings(now))
        if changed:
            return [f"{whose}{one}" for one in changed]
        if len(before.teachers) != len(now.teachers):
            return [f"{whose}{len(before.teachers)} -> {len(now.teachers)} teachers"]

        pairs = zip(before.teachers, now.teachers, strict=True)
        others = [pair for pair in pairs if pair[0].id != pair[1].id]
        if not others:
            break
        (before, now), whose = others[0], "its teacher's "
    return []


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        _HASHES.get(name) or f"{_flag(name)} {_value(old.get(name))} -> {_value(new.get(name))}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def told_apart(specs: Sequence[Spec]) -> list[str]:
    """Return for each network its origin and what not all share, such as `ban, epochs 2`."""
    apart = distinctions(specs)
    return [", ".join([spec.origin, *parts]) for spec, parts in zip(specs, apart, strict=True)]


def distinctions(specs: Sequence[Spec]) -> list[list[str]]:
    """Return for each network the settings that not all of them share, but for the objective.

    Settings of teachers are named where those of the networks are the same.
    """
    whole = [_with_teachers(spec) for spec in specs]
    names = dict.fromkeys(name for one in whole for name in one)
    varying = [name for name in names if _varies(name, whole)]
    own = [name for name in varying if not name.startswith("teacher's ")]
    chosen = [name for name in own or varying if name != "objective.name"][:_SHOWN]

    return [
        [f"{_short(name)} {_value(one[name])}" for name in chosen if name in one] for one in whole
    ]


def _varies(name: str, whole: Sequence[Mapping[str, Any]]) -> bool:
    """Whether networks have several values of a setting.

    An option of an objective counts among networks of the same objective: others do not have it.
    """
    groups: dict[object, set[str]] = {}
    for one in whole:
        group = one.get("objective.name") if name.startswith("objective.") else None
        if name == "objective.name":
            group = None
        groups.setdefault(group, set()).add(_value(one.get(name)))
    return any(len(values) > 1 for values in groups.values())


def beside(family: Family, wanted: Sequence[Spec]) -> str:
    """Return in one line that networks are begun beside others of a family, "" if none are.

    The first of `wanted` that is not begun is compared with the network of the family that is most
    like it. Those that are not finished and not wanted are named: their own settings go on with
    them.
    """
    new = [spec for spec in wanted if not family.folder(spec.id).spec_file.exists()]
    others = _others(family, {spec.id for one in wanted for spec in one.ancestry})
    alike = [spec for spec in others if new and spec.generation == new[0].generation]
    if not alike:
        return ""

    nearest = min(alike, key=lambda spec: (len(differences(spec, new[0])), spec.id))
    changed = differences(nearest, new[0])
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    finished = [spec for spec in others if family.folder(spec.id).is_done]
    unfinished = [spec for spec in others if not family.folder(spec.id).is_done]
    line = (
        f"generation {new[0].generation} differs from network {nearest.id} of this folder "
        f"({', '.join(changed[:_SHOWN])}{more}): it is trained from the start"
    )
    if finished:
        line += f"; {len(finished):,} finished {_networks(finished)} stay as they are"
    if unfinished:
        named = listed([spec.id for spec in unfinished[:_SHOWN]])
        line += f"; {named} stay unfinished until their own settings are given again"
    return line


def settings(spec: Spec) -> dict[str, Any]:
    """Return a spec's own settings by their names in a recipe, `training.epochs` and the like."""
    flat: dict[str, Any] = {}
    for name, value in spec.identity.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": given for inner, given in value.items()}
        elif name != "teachers":
            flat[name] = value

    if spec.weights:
        # Training and objective of a given network have no meaning.
        flat = {
            name: value
            for name, value in flat.items()
            if not name.startswith(("training.", "objective."))
        }
    # What is not given is the same as not being there.
    return {name: value for name, value in flat.items() if value not in (None, "", [], {})}


def _with_teachers(spec: Spec) -> dict[str, Any]:
    """Return a spec's settings, and under `teacher's ...` those of its first teacher's lineage."""
    whole = settings(spec)
    if spec.teachers:
        inner = _with_teachers_of(spec.teachers[0])
        whole |= {f"teacher's {name}": value for name, value in inner.items()}
    return {**whole, "generation": spec.generation}


def _with_teachers_of(teacher: Spec) -> dict[str, Any]:
    # No recursion: a lineage may be of any length. The nearest teacher's settings count.
    whole: dict[str, Any] = {}
    for ancestor in teacher.lineage:
        whole |= settings(ancestor)
    return whole


def _others(family: Family, ids: set[str]) -> list[Spec]:
    """Return the networks of a family that are none of these; damaged ones are left out."""
    others: list[Spec] = []
    for folder in family.folders():
        if folder.id not in ids:
            try:
                others.append(family.spec(folder.id, gaps=True))
            except AnewError:
                # Whoever uses it is told what is wrong with it.
                continue
    return others


def _networks(specs: Sequence[Spec]) -> str:
    return "network" if len(specs) == 1 else "networks"


def _flag(name: str) -> str:
    """Return a setting's name as it is given: `model` for `model.name`."""
    return name.removesuffix(".name")


def _short(name: str) -> str:
    """Return a setting's name without a section that says nothing."""
    section, _, inner = _flag(name).rpartition(".")
    for said in ("training", "objective"):
        if section.endswith(said):
            return f"{section.removesuffix(said)}{inner}"
    return _flag(name)


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ",".join(_value(one) for one in cast("Sequence[object]", value)) or "none"
    if isinstance(value, Mapping):
        inner = cast("Mapping[str, object]", value)
        return ",".join(f"{name}={_value(one)}" for name, one in inner.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
