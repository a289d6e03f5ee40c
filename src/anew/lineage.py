"""From a recipe to a trained family: its data, its specs, and each generation in turn, oldest first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from anew import data as data_sources
from anew import evaluation, network, objectives, storage
from anew.data import Data
from anew.errors import AnewError
from anew.evaluation import Row
from anew.execution import Execution
from anew.family import Family, NetworkFolder
from anew.interruption import StopRequest
from anew.network import Interface
from anew.progress import Progress
from anew.spec import DataSpec, ModelSpec, ObjectiveSpec, Recipe, Spec, TrainingSpec, lineage_of
from anew.teachers import LiveTeacher
from anew.training import train_network

STILL_FALLING = 0.02


@dataclass(frozen=True)
class Trained:
    """A finished lineage: where it lies, its specs oldest first, and its scores."""

    family: Family
    lineage: tuple[Spec, ...]
    rows: list[Row]


def load_data(spec: DataSpec) -> Data:
    """Read the examples of a data spec and split them."""
    source = data_sources.load(spec.source, Path(spec.root), spec.download)
    return data_sources.prepare(source, spec)


def train_lineage(recipe: Recipe, data: Data, out: Path, how: Execution, progress: Progress) -> Trained:
    """Train what a recipe asks for in the family at `out`, going on where an earlier run stopped.

    Networks that the family already holds are not trained again. Raises `AnewError`, and `Interrupted` after saving.
    """
    recipe = replace(recipe, objective=_filled(recipe.objective))
    with how.settings() as device, StopRequest() as stop:
        _try_models(recipe, data)
        family = Family.create(out)
        given = _given_teacher(recipe, data, family, device) if recipe.teacher else None
        lineage = lineage_of(recipe, data.spec, given)
        for spec in lineage:
            folder = family.begin(spec)
            found = folder.is_done
            if not found:
                teacher = None
                if spec.teachers:
                    networks = [
                        network.place(network.load(family.folder(one.id).weights), device, spec.training.memory_format)
                        for one in spec.teachers
                    ]
                    teacher = LiveTeacher(networks, spec.training.precision, spec.training.compile)
                train_network(spec, data, teacher, folder, how, device, progress, stop)
                if spec is not lineage[-1] and _is_still_falling(folder):
                    progress.notice(
                        "this teacher's validation loss was still falling when its training ended: students of an "
                        "under-trained teacher are often worse than it; more --epochs would show"
                    )
            folder.clear_state()
            progress.network_done(spec, folder.done, found=found)
    return Trained(family, lineage, evaluation.evaluate_lineage(family, lineage))


def _filled(objective: ObjectiveSpec) -> ObjectiveSpec:
    """Return the objective with its own defaults filled in, so that equal settings have equal ids."""
    return ObjectiveSpec(objective.name, **objectives.fill_options(objective.name, objective.options))


def _try_models(recipe: Recipe, data: Data) -> None:
    """Build the recipe's models once, so that what is wrong with them shows before anything is written."""
    for model in (recipe.model, recipe.teacher_model):
        if model is not None:
            network.build_empty(model, Interface.of(data))


def _is_still_falling(folder: NetworkFolder) -> bool:
    """Say whether the validation loss of the last tenth of the epochs is clearly below that of the tenth before."""
    losses = [row["validation_nll"] for row in folder.read_metrics() if "validation_nll" in row]
    tenth = max(1, len(losses) // 10)
    if len(losses) < 2 * tenth:
        return False
    last, before = losses[-tenth:], losses[-2 * tenth : -tenth]
    return sum(last) < (1 - STILL_FALLING) * sum(before)


def _given_teacher(recipe: Recipe, data: Data, family: Family, device: torch.device) -> Spec:
    """Find the network that `teacher` names, bring it into the family, and return its spec.

    A network of a family whose spec is of the same data keeps its spec and brings its ancestors; any other checkpoint
    becomes a spec that holds the hash of its weights.
    """
    assert recipe.teacher is not None
    path = Path(recipe.teacher)
    if path.is_file():
        return _given_file(path, recipe.teacher_model, recipe, data, family, device)
    place, _, start = recipe.teacher.rpartition(":")
    if path.is_dir() and path.parent.name == "networks":
        place, start = str(path.parent.parent), path.name
    if not place or not Path(place).is_dir():
        raise AnewError(
            f"teacher '{recipe.teacher}': is no file and no network of a family; give a safetensors file, or "
            "FAMILY:ID with an id that `anew show FAMILY` lists"
        )
    other = Family.open(Path(place))
    folder = other.find(start)
    if not folder.is_done:
        raise AnewError(f"teacher '{recipe.teacher}': is not trained to its end; finish it with its own command first")
    wrong = folder.verify()
    if wrong:
        raise AnewError(f"teacher '{recipe.teacher}': {wrong[0]}; restore it from a copy")
    spec = other.spec(folder.id)
    if replace(spec.data, source="", root="", download=False) != replace(data.spec, source="", root="", download=False):
        return _given_file(folder.weights, None, recipe, data, family, device)
    for ancestor in spec.lineage:
        if not family.folder(ancestor.id).is_done:
            _copy(other.folder(ancestor.id), family.folder(ancestor.id))
    return spec


def _given_file(
    path: Path, model: ModelSpec | None, recipe: Recipe, data: Data, family: Family, device: torch.device
) -> Spec:
    """Bring a checkpoint into the family as a network of its own: weights, and outputs on this data."""
    interface = Interface.of(data)
    tensors, header = storage.read_tensors(path)
    if header:
        teacher = network.load(path)
        if len(teacher.interface.classes) != len(interface.classes):
            raise AnewError(
                f"teacher {path}: knows {len(teacher.interface.classes)} classes, the data has "
                f"{len(interface.classes)}; give a teacher of the same classes"
            )
        if teacher.interface.input_shape != interface.input_shape:
            raise AnewError(
                f"teacher {path}: takes inputs {teacher.interface.input_shape}, the data has {interface.input_shape}; "
                "give a teacher of the same inputs"
            )
    else:
        teacher = network.build_empty(model or recipe.model, interface)
        network.fill(teacher, tensors, path)
    spec = Spec(
        teacher.spec, data.spec, TrainingSpec(), ObjectiveSpec("label", smoothing=0.0), weights=storage.sha256(path)
    )
    folder = family.begin(spec)
    if not folder.is_done:
        teacher.save(folder.weights, {"id": spec.id, "generation": 0})
        teacher = network.place(teacher, device, recipe.training.memory_format)
        evaluation.write_outputs(folder.outputs, {"last": teacher}, data, device)
        scores = evaluation.score_logits(*evaluation.read_outputs(folder, "test"))
        folder.finish({"id": spec.id, "generation": 0, "given": path.name, "test": scores.to_json()})
    return spec


def _copy(source: NetworkFolder, target: NetworkFolder) -> None:
    """Copy a finished network; its `done.json` last, so that it is there whole or not at all."""
    storage.ensure_folder(target.path)
    names = [*source.done["files"], source.done_file.name]
    for name in names:
        storage.write_bytes(target.path / name, (source.path / name).read_bytes())
