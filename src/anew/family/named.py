"""Networks of a family by a text: `FAMILY:ID`, or generations of a lineage, `FAMILY:0-2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.family.family import Family
from anew.family.lineages import choose_generations, named_apart

_GENERATIONS = re.compile(r"all|last|last-\d+|\d+-\d+|\d+(,\d+)+")
# So short a number may be a generation, or the start of an id.
_NUMBER = re.compile(r"\d{1,3}")


def split_name(text: str) -> tuple[Family, str, str] | None:
    """Return the family that a text names, the end of a lineage, and what is meant of it.

    `FAMILY`, `FAMILY:WHAT` and `FAMILY:END:WHAT` name one, and so does the folder of a network. The
    end is "" where there is none, and what is meant of a whole family is `all`. None if the text
    names no family. Raises `AnewError` if the family cannot be read.
    """
    if not text:
        return None
    path = Path(text)
    if path.is_dir() and path.parent.name == "networks":
        return Family.open(path.parent.parent), "", path.name
    if (path / "family.json").exists():
        return Family.open(path), "", "all"

    place, _, what = text.rpartition(":")
    if place and Path(place).is_dir():
        return Family.open(Path(place)), "", what
    place, _, end = place.rpartition(":")
    if place and Path(place).is_dir():
        return Family.open(Path(place)), end, what
    return None


def named_networks(family: Family, end: str, what: str) -> tuple[tuple[Spec, ...], str]:
    """Return the networks that `what` names: one by the start of its id, or generations.

    `end` is the start of the last id of the lineage whose generations are meant; without it the
    family must have one alone. The text is a notice of which generations were taken, "" for an id.
    Raises `AnewError` if there is no such network, or several could be meant.
    """
    if not end and _NUMBER.fullmatch(what):
        _check_number(family, what)
    if not end and not _GENERATIONS.fullmatch(what) and not _is_generation(family, what):
        folder = family.find(what)
        # Before its spec is read: a file that has changed is said to have changed.
        wrong = folder.verify() if folder.is_done else []
        if wrong:
            raise AnewError(f"teacher '{family.path}:{what}': {wrong[0]}; restore it from a copy")
        return (family.spec(folder.id),), ""

    lineages = [family.lineage_to(end)] if end else _lineages_of_teachers(family)
    if not lineages:
        raise AnewError(
            f"{family.path}: holds no finished network; `anew train --out {family.path}` starts "
            "or resumes it"
        )
    chosen = {_chosen(lineage, what): lineage for lineage in lineages if _has(lineage, what)}
    if not chosen:
        _chosen(max(lineages, key=len), what)
    if len(chosen) > 1:
        ends = ", ".join(named_apart([lineage[-1] for lineage in lineages]))
        raise AnewError(
            f"teacher '{family.path}:{what}': the family holds {len(lineages)} lineages; name one "
            f"by the id at its end, {family.path}:ID:{what}, of {ends}"
        )
    (networks,) = chosen
    return networks, _in_words(family, networks, what)


def _lineages_of_teachers(family: Family) -> list[tuple[Spec, ...]]:
    """Return the chains of finished networks, without a student of their own ensemble at an end.

    So the command that trains the student of a lineage's ensemble into the same family names the
    same networks once it is trained.
    """
    finished = [spec for spec in family.finished() if not spec.is_soft_labels]
    chiefs = {spec.chief_teacher.id for spec in finished if spec.chief_teacher is not None}
    kept = [spec for spec in finished if spec.id in chiefs or not _is_of_ensemble(spec)]
    taught = {teacher.id for spec in kept for teacher in spec.teachers}
    return [spec.lineage for spec in kept if spec.id not in taught]


def _is_of_ensemble(spec: Spec) -> bool:
    """Return whether several taught a network, and one alone each network of its lineage."""
    return len(spec.teachers) > 1 and all(len(one.teachers) < 2 for one in spec.lineage[:-1])


def _is_generation(family: Family, what: str) -> bool:
    """Return whether a short number is a generation: no id starts so."""
    starts = any(folder.id.startswith(what) for folder in family.folders())
    return bool(_NUMBER.fullmatch(what)) and not starts


def _check_number(family: Family, what: str) -> None:
    """Raise `AnewError` if a number is both a generation and the start of an id."""
    ids = [folder.id for folder in family.folders() if folder.id.startswith(what)]
    if ids and any(int(what) < len(lineage) for lineage in _lineages_of_teachers(family)):
        raise AnewError(
            f"teacher '{family.path}:{what}': is both a generation and the start of the id "
            f"{ids[0]}; write {family.path}:{what}-{what} for the generation, or more of the id"
        )


def _has(lineage: Sequence[Spec], what: str) -> bool:
    try:
        _chosen(lineage, what)
    except AnewError:
        return False
    return True


def _chosen(lineage: Sequence[Spec], what: str) -> tuple[Spec, ...]:
    numbers = choose_generations(what, len(lineage), setting="--teacher")
    return tuple(lineage[number] for number in numbers)


def _in_words(family: Family, networks: Sequence[Spec], what: str) -> str:
    names = ", ".join(f"{spec.generation} ({spec.id})" for spec in networks)
    several = "s" if len(networks) > 1 else ""
    return f"teacher {family.path}:{what}: generation{several} {names}"
