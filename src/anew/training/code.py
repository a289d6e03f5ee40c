"""The code of networks' models, compared with that which they were trained with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from anew import models
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.core.text import listed
from anew.family import Family

_SHOWN = 4


def check_finished(specs: Iterable[Spec], out: Path, *, force: bool) -> list[str]:
    """Compare the code of models with that of the networks which a family at `out` holds already.

    The models have been built. Returns what is to be said. Raises `AnewError` as `check_code`.
    """
    if not (out / "family.json").exists():
        return []
    family, said = Family.open(out), list[str]()
    for spec in specs:
        folder = family.folder(spec.id)
        if folder.is_done:
            said += check_code(spec, folder.done.get("code", {}), force=force)
    return said


def check_code(spec: Spec, before: Mapping[str, str], *, force: bool) -> list[str]:
    """Compare the code of a spec's model with that of a network that was begun or finished.

    `before` are the hashes that were kept; networks of earlier versions have none. Raises
    `AnewError` if definitions have changed; with `force` that is returned, to be said.
    """
    changed = models.changes(before, models.code_of(spec.model.name))
    if not changed:
        return []

    shown = changed[:_SHOWN]
    more = [f"{len(changed) - _SHOWN} more"] if len(changed) > _SHOWN else []
    said = (
        f"the code of '{spec.model.name}' has changed since network {spec.id} was trained "
        f"({listed([*shown, *more])})"
    )
    if force:
        return [f"{said}; the trained network is used"]
    raise AnewError(
        f"{said}; give another --out to train with the present code, or --force to use the "
        "trained network"
    )
