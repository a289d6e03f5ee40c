"""Which networks of a family belong together: lineages, their generations, their replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from anew.core import files
from anew.core.errors import AnewError, MissingNetworkError
from anew.core.spec import Spec
from anew.family.differences import told_apart
from anew.family.family import Family

Several = Literal["refuse", "alike", "longest"]
"""What to do if a family holds several lineages, or none.

`refuse`: raise `AnewError`, as a command must that predicts or measures. `alike`: likewise, but of
lineages that differ in their seeds alone take one. `longest`: take the longest, of several the one
that was finished last, and () if no network is finished, as a page can. A lineage whose training
did not come to its end stands behind those that did and have a student.
"""


def choose_lineage(
    family: Family,
    end: str = "",
    *,
    several: Several = "refuse",
    among: Sequence[str] | None = None,
    flag: str = "--network",
    gaps: bool = False,
) -> tuple[Spec, ...]:
    """Return the lineage that ends at the network whose id starts with `end`, oldest first.

    Without `end`, `several` is the rule. Of several longest lineages the one that was finished last
    is taken, or the first of `among`, the ids of the networks that count. `flag` is the option that
    an error names. With `gaps` networks of it may be missing; else lineages that lack
    one do not count. Raises `AnewError` if `end` is not one finished network, and
    `MissingNetworkError` if every lineage lacks one.
    """
    if end:
        return family.lineage_to(end, gaps=gaps)
    if several == "longest":
        networks = family.finished(among, gaps=True)
        chains = [spec.lineage for spec in networks if not spec.is_soft_labels]
        whole = _whole(family, chains, gaps=gaps)
        if among is not None:
            return max(whole, key=len, default=())
        ends = {chain: family.folder(chain[-1].id).finished_at for chain in whole}
        stopped = _stopped(family)
        return max(
            whole,
            key=lambda chain: (chain[-1].id not in stopped, len(chain), ends[chain]),
            default=(),
        )

    lineages = _whole(family, family.lineages(gaps=True), gaps=gaps)
    if not lineages:
        raise AnewError(
            f"{family.path}: holds no finished network; `anew train --out {family.path}` starts "
            "or resumes it"
        )
    if several == "alike":
        known: dict[str, str] = {}
        # The first of each kind.
        lineages = list(
            {kind_of(lineage[-1], known): lineage for lineage in reversed(lineages)}.values()
        )
    if len(lineages) > 1:
        going_on = unfinished_after(family)
        named = zip(named_apart([lineage[-1] for lineage in lineages]), lineages, strict=True)
        ends = "; ".join(
            f"{name}{', whose student is not finished' * (lineage[-1].id in going_on)}"
            for name, lineage in named
        )
        raise AnewError(
            f"{family.path}: holds {len(lineages)} lineages; choose one with {flag}: {ends}"
        )
    return lineages[0]


def generation_0(family: Family, end: str = "") -> Spec:
    """Return the network from labels of the lineage that ends at the network `end`.

    Without `end`, all lineages of the family must begin with one network. Raises `AnewError` if
    they do not.
    """
    if end:
        return choose_lineage(family, end)[0]
    first = {lineage[0].id: lineage[0] for lineage in family.lineages()}
    if len(first) == 1:
        return next(iter(first.values()))
    return choose_lineage(family)[0]


def unfinished_after(family: Family) -> dict[str, list[Spec]]:
    """Return the networks that were begun and are not finished, by the ids of their chief teachers;
    those from labels by "".
    """
    found: dict[str, list[Spec]] = {}
    for folder in family.folders():
        if folder.is_done:
            continue
        try:
            spec = family.spec(folder.id, gaps=True)
        except AnewError:
            # What is damaged is named where it is read itself.
            continue
        teacher = "" if spec.chief_teacher is None else spec.chief_teacher.id
        found.setdefault(teacher, []).append(spec)
    return found


def _stopped(family: Family) -> set[str]:
    """Return the ids of the networks of which nothing but unfinished trainings go on.

    None of them if no other lineage has a student: then there is nothing better to show.
    """
    going_on = unfinished_after(family)
    lineages = family.lineages(gaps=True)
    ended = [lineage for lineage in lineages if lineage[-1].id not in going_on]
    if all(len(lineage) < 2 for lineage in ended):
        return set()
    stopped = {spec.id for lineage in lineages for spec in lineage}
    return stopped - {spec.id for lineage in ended for spec in lineage}


def named_apart(specs: Sequence[Spec]) -> list[str]:
    """Return networks by their ids, each with what tells it from the others."""
    labels = told_apart(specs)
    return [f"{spec.id} ({label})" for spec, label in zip(specs, labels, strict=True)]


def _whole(
    family: Family, lineages: Sequence[tuple[Spec, ...]], *, gaps: bool
) -> Sequence[tuple[Spec, ...]]:
    """Return the lineages of which no network is missing, or all if `gaps` are allowed.

    Raises `MissingNetworkError` if every one lacks a network.
    """
    if gaps:
        return lineages
    whole = [
        lineage for lineage in lineages if not any(spec.is_missing for spec in lineage[-1].ancestry)
    ]
    if lineages and not whole:
        raise MissingNetworkError(family.missing()[0])
    return whole


def choose_generations(text: str, count: int, *, setting: str = "--generations") -> tuple[int, ...]:
    """Read which of `count` generations are meant: `last`, `all`, `2`, `0-2`, `0,2` or `last-2`.

    `setting` is the option that an error names. Raises `AnewError` if the text is none of these, or
    names a generation twice or one that does not exist.
    """
    if text == "last":
        return (count - 1,)
    if text == "all":
        return tuple(range(count))

    try:
        if text.startswith("last-"):
            last = int(text.removeprefix("last-"))
            chosen = tuple(range(count - last, count)) if last <= count else ()
        elif "-" in text:
            first, last = map(int, text.split("-"))
            # A huge last number must not make a huge range before it is refused.
            chosen = tuple(range(first, last + 1)) if last < count else ()
        else:
            chosen = tuple(map(int, text.split(",")))
    except ValueError:
        chosen = ()

    exist = all(0 <= generation < count for generation in chosen)
    if not chosen or not exist or len(set(chosen)) < len(chosen):
        raise AnewError(
            f"generations must be last, all, one of 0 to {count - 1}, a range such as "
            f"0-{count - 1}, a list such as 0,{count - 1} or the last few such as last-{count}, "
            f"got '{text}'; set {setting}"
        )
    return chosen


def replicas(family: Family, chosen: Sequence[Spec]) -> list[tuple[Spec, ...]]:
    """Return the finished lineages that differ from a chosen one in their seeds alone.

    The chosen one comes first. Each has another generation 0: students of one teacher are no
    independent repetition.
    """
    lineages = [tuple(chosen)]
    known: dict[str, str] = {}
    wanted = kind_of(chosen[-1], known)
    for spec in family.finished(gaps=True):
        lineage = spec.lineage
        if len(lineage) != len(chosen) or lineage[0].is_missing:
            continue
        if kind_of(spec, known) != wanted:
            continue
        if all(lineage[0].id != other[0].id for other in lineages):
            lineages.append(lineage)
    return lineages


def kind_of(spec: Spec, known: dict[str, str]) -> str:
    """Return a hash of all that decides a network's weights but its seeds and its teachers'.

    `known` are the hashes by id of those that were looked at before, and it grows.
    """
    for one in spec.ancestry:
        if one.id in known:
            continue
        identity = {name: value for name, value in one.identity.items() if name != "seed"}
        identity["data"] = {**identity["data"], "seed": None}
        identity["teachers"] = [known[teacher.id] for teacher in one.teachers]
        known[one.id] = files.sha256_of_json(identity)
    return known[spec.id]
