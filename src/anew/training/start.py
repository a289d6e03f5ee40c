"""Weights that training starts from in place of fresh ones: given ones, or the teacher's.

Given weights are fitted to the model once and lie in the family, in a file that is named by its
hash, so that every process finds them. The hash is part of each network's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError
from anew.core.recipe import Recipe
from anew.core.spec import FROM_TEACHER, Spec
from anew.data import Data
from anew.data.signature import Signature
from anew.family import Family, NetworkFolder
from anew.models import checkpoints, fitting, hub, misfits, network, saving
from anew.models.frozen import outline
from anew.models.network import Network

PRETRAINED = "pretrained"
"""Names the pretrained weights of a timm or torchvision model, in their local cache."""


@dataclass(frozen=True)
class Start:
    """Where the networks of a recipe's model start."""

    key: str = ""
    """As a spec has it: their hash, or `FROM_TEACHER`; "" for fresh weights."""
    tensors: Mapping[str, Tensor] | None = None
    """Given weights, by the model's names; the rest of the model starts fresh."""
    notices: tuple[str, ...] = ()
    """What is to be said of how they were fitted to the model."""

    def bring(self, family: Family) -> None:
        """Write given weights into a family, unless it holds them whole."""
        if self.tensors is None:
            return
        path = family.start_file(self.key)
        if not path.is_file() or files.sha256(path) != self.key:
            files.check_no_link(path.parent)
            files.write_tensors(path, self.tensors, None)


def find_start(recipe: Recipe, data: Data) -> Start:
    """Find the weights that a recipe's networks start from, and fit them to its model.

    A classifier of other classes is left out, and starts fresh. Nothing is written. Raises
    `AnewError` if there are no such weights, or if they do not fit.
    """
    named, model = recipe.start_from, recipe.model
    if named is None:
        return Start()
    if named == FROM_TEACHER:
        note = "every student starts from its teacher's weights, generation 0 from random ones"
        return Start(FROM_TEACHER, notices=(note,))

    path, key = (hub.cached(model.name), "") if named == PRETRAINED else _located(named)
    called = f"start {path}"
    checkpoint = checkpoints.read(path, key)
    own = network.build_empty(model, data.signature)
    fit = fitting.fit(own.model, checkpoint, called, len(data.classes))
    if fit.wrong:
        raise misfits.misfit(fit, own, called, "--model")
    # Checks the tensors' types, and that they are finite.
    saving.fill(own, {**own.model.state_dict(), **fit.tensors}, path)

    notices = [f"{called}: {notice}" for notice in (*checkpoint.said(fit.key), *fit.notices)]
    started = "every network" if recipe.teacher_model is None else "every student"
    notices.append(f"{called}: {started} starts from these weights")
    return Start(files.sha256_as_file(fit.tensors), fit.tensors, tuple(notices))


def _located(named: str) -> tuple[Path, str]:
    """Return the path, and the key in it, of the weights that a text names."""
    found = checkpoints.locate(named)
    if found is not None:
        return found

    place, _, start = named.rpartition(":")
    path = Path(named)
    if path.is_dir() and path.parent.name == "networks":
        place, start = str(path.parent.parent), path.name
    if not place or not (Path(place) / "family.json").is_file():
        raise AnewError(
            f"start_from '{named}': is no file and no network of a family; give a file or folder "
            "of weights, FAMILY:ID, teacher or pretrained"
        )
    folder = Family.open(Path(place)).find(start)
    folder.check_done()
    return folder.sound_weights, ""


def check_start(spec: Spec, signature: Signature) -> None:
    """Raise `AnewError` if a student starts from the weights of a teacher of another architecture.

    Only the outlines of both models are built.
    """
    if spec.start != FROM_TEACHER:
        return
    own, theirs = (
        {name: tuple(tensor.shape) for name, tensor in outline(one, signature).state_dict().items()}
        for one in (spec.model, spec.teachers[0].model)
    )
    if own != theirs:
        raise AnewError(
            f"start_from: student '{spec.model.name}' cannot start from the weights of teacher "
            f"'{spec.teachers[0].model.name}', whose tensors differ; choose the teacher's "
            "--model, or drop --from"
        )


def first_weights(
    spec: Spec, folder: NetworkFolder, teacher: Network | None
) -> Mapping[str, Tensor] | None:
    """Return the weights that a network starts from, by name; None if all of them are fresh.

    `teacher` is the network of its first teacher. Raises `AnewError` if they are not as they were
    written, or if they are a teacher's whose classes are in another order.
    """
    if not spec.start:
        return None
    if spec.start == FROM_TEACHER:
        assert teacher is not None, "a student starts from a teacher"
        if teacher.columns:
            raise AnewError(
                "start_from: the teacher's classes are in another order than the data's, so "
                "students cannot start from its classifier; drop --from"
            )
        return teacher.model.state_dict()

    path = folder.start_file(spec.start)
    if not path.is_file() or files.sha256(path) != spec.start:
        raise AnewError(
            f"{path}: the weights that network {spec.id} starts from are missing or have "
            "changed; run its command with --from again"
        )
    return files.read_tensors(path)[0]
