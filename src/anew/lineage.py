"""From a recipe to a trained family: its data, its specs, and each generation in turn, oldest first."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch

from anew import data as data_sources
from anew import evaluation, fields, network, objectives, parallel
from anew.data import Batches, Data
from anew.errors import AnewError
from anew.evaluation import Row
from anew.execution import Execution
from anew.family import Family, NetworkFolder
from anew.given import find_teacher
from anew.interruption import StopRequest
from anew.network import Interface
from anew.parallel import World
from anew.progress import Progress, Silent
from anew.spec import DataSpec, ObjectiveSpec, Recipe, Spec, lineage_of, siblings_of
from anew.teachers import LiveTeacher, Store, StoreKey, Targets, Teacher, choose
from anew.training import train_siblings

STILL_FALLING = 0.02
Found = TypeVar("Found")


@dataclass(frozen=True)
class Trained:
    """A finished lineage: where it lies, its specs oldest first, its scores, and what failed beside it."""

    family: Family
    lineage: tuple[Spec, ...]
    rows: list[Row]
    failures: list[AnewError] = field(default_factory=list[AnewError])


def load_data(spec: DataSpec) -> Data:
    """Read the examples of a data spec and split them."""
    source = data_sources.load(spec.source, Path(spec.root), spec.download)
    return data_sources.prepare(source, spec)


def train_lineage(recipe: Recipe, data: Data, out: Path, how: Execution, progress: Progress) -> Trained:
    """Train what a recipe asks for in the family at `out`, going on where an earlier run stopped.

    Networks that the family already holds are not trained again. A sibling that fails does not stop the lineage. Raises
    `AnewError`, and `Interrupted` after saving.
    """
    recipe = replace(recipe, objective=filled_objective(recipe.objective))
    failures: list[AnewError] = []
    with how.settings() as device, StopRequest() as stop, parallel.join(device) as world:
        watcher = progress if world.leads else Silent()
        # What is wrong with the recipe shows before anything is written.
        _demand_sound(recipe, data)
        named = [model.name for model in (recipe.model, recipe.teacher_model) if model is not None]
        given = find_teacher(recipe, data, [*named, *how.trust]) if recipe.teacher is not None else None
        lineage = lineage_of(recipe, data.spec, given.spec if given is not None else None)
        groups = [filled_siblings(recipe, spec) for spec in lineage]
        family = _in_turn(world, lambda: Family.create(out))
        if given is not None:
            _in_turn(world, lambda: given.bring(family, data, device))
        for spec, together in zip(lineage, groups, strict=True):
            folders = _in_turn(world, lambda specs=together: [family.begin(one) for one in specs])
            found = [folder.is_done for folder in folders]
            missing = [number for number, is_done in enumerate(found) if not is_done]
            if missing:
                failures += _train(
                    [together[number] for number in missing],
                    [folders[number] for number in missing],
                    data, family, how, device, world, watcher, stop,
                )  # fmt: skip
            for one, folder, was_there in zip(together, folders, found, strict=True):
                if folder.is_done:
                    if world.leads:
                        folder.clear_state()
                    watcher.network_done(one, folder.done, found=was_there)
            if not folders[0].is_done:
                raise failures[0]
            if spec is not lineage[-1] and not found[0] and _is_still_falling(folders[0]):
                watcher.notice(
                    "this teacher's validation loss was still falling when its training ended: students of an "
                    "under-trained teacher are often worse than it; more --epochs would show"
                )
    rows = evaluation.evaluate_lineage(family, lineage)
    rows += evaluation.evaluate_networks(family, [one for together in groups for one in together[1:]])
    return Trained(family, lineage, rows, failures)


def _train(
    specs: Sequence[Spec],
    folders: Sequence[NetworkFolder],
    data: Data,
    family: Family,
    how: Execution,
    device: torch.device,
    world: World,
    progress: Progress,
    stop: StopRequest,
) -> list[AnewError]:
    """Train siblings that are not finished; returns the errors of those that failed."""
    training = specs[0].training
    whole = min(training.batch_size, len(data.training))
    batches = Batches(data, training.batch_size, device, world.part(whole) if world.size > 1 else slice(None))
    teacher = _teacher(specs[0], batches, data, family, how, world, progress) if specs[0].teachers else None
    try:
        return train_siblings(specs, folders, data, batches, teacher, how, world, progress, stop)
    finally:
        if teacher is not None:
            teacher.close()


def _teacher(
    spec: Spec, batches: Batches, data: Data, family: Family, how: Execution, world: World, progress: Progress
) -> Teacher:
    """Return the teacher of a student, with its store where a store is chosen."""
    training, classes = spec.training, len(data.classes)
    networks = [
        network.place(
            network.load(family.folder(one.id).weights, [one.model.name]), batches.device, training.memory_format
        )
        for one in spec.teachers
    ]
    live = LiveTeacher(networks, training.precision, training.compile)
    targets = Targets(classes, spec.objective.top_k)
    key = store_key(spec, batches, data, targets)
    choice = choose(
        how.ask,
        views=key.views,
        epochs=training.epochs,
        passes=1,
        store_bytes=key.bytes,
        budget_bytes=how.disk_budget * 1e9,
        free_bytes=shutil.disk_usage(family.path).free,
        is_there=key.folder(family.stores).exists(),
    )
    progress.notice(choice.reason)
    store = None
    if choice.way == "table":
        try:
            store = _in_turn(world, lambda: Store.open(family.stores, key))
        except OSError as error:
            progress.notice(
                f"stored targets {family.stores}: cannot be made ({error.strerror}); the teacher is asked live, the "
                "result is the same"
            )
    teacher = Teacher(live, targets, batches.batch_size, store, progress.notice, world)
    teacher.verify(batches, training.precision)
    return teacher


def store_key(spec: Spec, batches: Batches, data: Data, targets: Targets) -> StoreKey:
    """Return the key of the store that a student's teacher fills."""
    training = spec.training
    return StoreKey(
        teachers=tuple(one.id for one in spec.teachers),
        data=fields.write(data.spec, identity=True),
        precision=training.precision,
        memory_format=training.memory_format,
        compile=training.compile,
        batch_size=batches.batch_size,
        examples=len(data.training),
        views=data.views.count,
        words=targets.words,
        targets="logits" if targets.top_k is None else f"top {targets.top_k} of {targets.classes}",
    )


def _in_turn(world: World, work: Callable[[], Found]) -> Found:
    """Do what writes to the family in the leading process first; the others then find it done."""
    if not world.leads:
        world.wait()
        return work()
    try:
        return work()
    finally:
        # Where it failed, it fails for the others too, and they say so themselves.
        world.wait()


def filled_objective(objective: ObjectiveSpec) -> ObjectiveSpec:
    """Return the objective with its own defaults filled in, so that equal settings have equal ids."""
    options = objectives.fill_options(objective.name, objective.options)
    return ObjectiveSpec(objective.name, top_k=objective.top_k, **options)


def filled_siblings(recipe: Recipe, spec: Spec) -> list[Spec]:
    """Return a network of the lineage and its siblings with all options filled in."""
    return [replace(one, objective=filled_objective(one.objective)) for one in siblings_of(recipe, spec)]


def _demand_sound(recipe: Recipe, data: Data) -> None:
    """Build the recipe's models once and look at its objectives; raises `AnewError` where they do not fit."""
    for model in (recipe.model, recipe.teacher_model):
        if model is not None:
            network.build_empty(model, Interface.of(data))
    for name in recipe.siblings:
        if not objectives.find(name).uses_teacher:
            raise AnewError(f"siblings: objective '{name}' has no teacher; for label-only networks set --sibling-seeds")
    top_k = recipe.objective.top_k
    if top_k is not None and top_k >= len(data.classes):
        raise AnewError(
            f"objective.top_k must be smaller than the number of classes, {len(data.classes)}, got {top_k}; "
            "drop --objective.top-k"
        )


def _is_still_falling(folder: NetworkFolder) -> bool:
    """Say whether the validation loss of the last tenth of the epochs is clearly below that of the tenth before."""
    losses = [row["validation_nll"] for row in folder.read_metrics() if "validation_nll" in row]
    tenth = max(1, len(losses) // 10)
    if len(losses) < 2 * tenth:
        return False
    last, before = losses[-tenth:], losses[-2 * tenth : -tenth]
    return sum(last) < (1 - STILL_FALLING) * sum(before)
