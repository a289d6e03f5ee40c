"""A pretrained teacher: a network of a family, or a checkpoint from elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from anew import evaluation
from anew.core import files
from anew.core.errors import AnewError
from anew.core.recipe import Recipe
from anew.core.spec import ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.data import Data
from anew.family import Family, NetworkFolder
from anew.models import network, saving
from anew.models.network import Network


@dataclass(frozen=True)
class PretrainedTeacher:
    """The teacher that a recipe names: its spec, and the family that holds it, or the network."""

    spec: Spec
    name: str
    family: Family | None = None
    """The family that holds it and its ancestors, if its spec is of the same data."""
    network: Network | None = None
    """The network, if it is a checkpoint or of other data."""

    def bring(self, family: Family, data: Data, device: torch.device) -> None:
        """Copy the teacher into a family, with its ancestors, or with its outputs on this data."""
        if self.family is not None:
            for ancestor in self.spec.lineage:
                if not family.folder(ancestor.id).is_done:
                    family.check_plain(ancestor.id)
                    _copy(self.family.folder(ancestor.id), family.folder(ancestor.id))
            return

        assert self.network is not None
        folder = family.begin(self.spec)
        if not folder.is_done:
            self.network.save(folder.weights, {"id": self.spec.id, "generation": 0})
            placed = network.place(self.network, device, "channels_last")
            evaluation.write_outputs(
                folder.outputs, evaluation.outputs_of({"last": placed}, data, device), data
            )
            scores = evaluation.score_logits(*evaluation.read_outputs(folder, "test"))
            folder.finish(
                {"id": self.spec.id, "generation": 0, "given": self.name, "test": scores.to_json()}
            )


def find_teacher(recipe: Recipe, data: Data, trusted: Collection[str] = ()) -> PretrainedTeacher:
    """Find the network that `recipe.teacher` names, and check that it can teach this data.

    A network of a family whose spec is of the same data keeps its spec and its ancestors. Any other
    checkpoint gets a spec that holds the hash of its weights. `trusted` are models of the user's
    own that a file may name. Nothing is written. Raises `AnewError` if there is no such teacher, or
    it does not fit the data.
    """
    assert recipe.teacher is not None
    path = Path(recipe.teacher)
    if recipe.teacher and path.is_file():
        return _from_file(path, recipe.teacher_model, recipe.model, data, trusted)

    place, _, start = recipe.teacher.rpartition(":")
    if path.is_dir() and path.parent.name == "networks":
        place, start = str(path.parent.parent), path.name
    if not place or not Path(place).is_dir():
        raise AnewError(
            f"teacher '{recipe.teacher}': is no file and no network of a family; give a "
            "safetensors file, or FAMILY:ID with an id that `anew show FAMILY` lists"
        )

    other = Family.open(Path(place))
    folder = other.find(start)
    if not folder.is_done:
        raise AnewError(
            f"teacher '{recipe.teacher}': is not trained to its end; finish it with its own "
            f"command first"
        )
    wrong = folder.verify()
    if wrong:
        raise AnewError(f"teacher '{recipe.teacher}': {wrong[0]}; restore it from a copy")

    spec = other.spec(folder.id)
    if not spec.data.is_same(data.spec):
        return _from_file(folder.weights, recipe.teacher_model, recipe.model, data, trusted)
    if recipe.teacher_model is not None:
        raise _brings_its_own(recipe.teacher)
    saving.check_trusted(spec.model.name, trusted, folder.path)
    return PretrainedTeacher(spec, folder.id, family=other)


def _from_file(
    path: Path,
    given_model: ModelSpec | None,
    students: ModelSpec,
    data: Data,
    trusted: Collection[str],
) -> PretrainedTeacher:
    """Read a checkpoint.

    The header of one that anew wrote names its model; any other is a state dict of `given_model`,
    or of the students' model.
    """
    signature = data.signature
    tensors, header = files.read_tensors(path)
    if header:
        if given_model is not None:
            raise _brings_its_own(str(path))
        teacher = saving.restore(tensors, header, path, trusted)
        if len(teacher.signature.classes) != len(signature.classes):
            raise AnewError(
                f"teacher {path}: knows {len(teacher.signature.classes)} classes, the data has "
                f"{len(signature.classes)}; give a teacher of the same classes"
            )
        if teacher.signature.input_shape != signature.input_shape:
            raise AnewError(
                f"teacher {path}: takes inputs {teacher.signature.input_shape}, the data has "
                f"{signature.input_shape}; give a teacher of the same inputs"
            )
    else:
        teacher = network.build_empty(given_model or students, signature)
        saving.fill(teacher, tensors, path)

    spec = Spec(
        teacher.spec,
        data.spec,
        TrainingSpec(),
        ObjectiveSpec.of("label", smoothing=0.0),
        weights=files.sha256(path),
    )
    return PretrainedTeacher(spec, path.name, network=teacher)


def _brings_its_own(teacher: str) -> AnewError:
    return AnewError(f"teacher '{teacher}': brings its own architecture; drop --teacher-model")


def _copy(source: NetworkFolder, target: NetworkFolder) -> None:
    """Copy a finished network, `done.json` last: a copy that is cut off is no finished network."""
    files.ensure_folder(target.path)
    # What a copy that was killed left half-written.
    target.sweep()
    names = [*source.done["files"], source.done_file.name]
    for name in names:
        files.write_bytes(target.path / name, (source.path / name).read_bytes())
