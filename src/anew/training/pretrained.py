"""A pretrained teacher: a network of a family, or a checkpoint from elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from anew import evaluation
from anew.core import files
from anew.core.errors import AnewError
from anew.core.recipe import Recipe
from anew.core.spec import ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.data import Data, label_files
from anew.data.label_files import TABLES
from anew.data.signature import Signature
from anew.data.units import units_in_words
from anew.evaluation.loading import compare_with_record, load_network, probe_record
from anew.family import Family, NetworkFolder, named_networks, split_name
from anew.models import checkpoints, fitting, matching, misfits, network, saving
from anew.models.checkpoints import Checkpoint
from anew.models.network import Network
from anew.training import answers, given_objects
from anew.training.given_rows import GivenRows, find_rows


@dataclass(frozen=True)
class PretrainedTeacher:
    """The teacher that a recipe names: its spec, and the family that holds it, or the network."""

    spec: Spec
    name: str
    family: Family | None = None
    """The family that holds it and its ancestors, if its spec is of the same data."""
    network: Network | None = None
    """The network, if it is a checkpoint or of other data."""
    notices: tuple[str, ...] = ()
    """What is to be said of how it was brought to this data."""

    @property
    def is_in_memory(self) -> bool:
        """Whether it is an object of Python that no file can build again."""
        return self.spec.model.name.endswith(saving.IN_MEMORY)

    def bring(self, family: Family, data: Data, device: torch.device) -> None:
        """Copy the teacher into a family, with its ancestors, or with its outputs on this data."""
        if self.family is not None:
            for ancestor in self.spec.ancestry:
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
            scores = evaluation.score_network(folder, "test")
            about = {"id": self.spec.id, "generation": 0, "given": self.name}
            # Whoever answers in Python is asked about examples alone, and never loaded.
            probe = {} if self.is_in_memory else probe_record(placed)
            folder.finish({**about, "test": scores.to_json(), **probe})


def find_teachers(
    recipe: Recipe,
    data: Data,
    trusted: Collection[str] = (),
    objects: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
) -> tuple[PretrainedTeacher | GivenRows, ...]:
    """Find the networks or the soft labels that a recipe names, and check that they can teach.

    A network of a family whose spec is of the same data keeps its spec and its ancestors. Any other
    checkpoint gets a spec that holds the hash of its weights, and is brought to the data's units
    and the order of its classes. With `force` classes of other names are taken in their order.
    `trusted` are models of the user's own that a file may name, `objects` are modules and callables
    that were given under a name. Nothing is written. Raises `AnewError` if there is no such
    teacher, it does not fit the data, or it is named twice.
    """
    names = list(recipe.teacher or ())
    # A table of numbers that is given as a teacher can only be soft labels.
    tables = [name for name in names if label_files.split_name(name)[0].suffix in TABLES]
    tables += [recipe.soft_labels] if recipe.soft_labels is not None else []
    if tables and len({*names, *tables}) > 1:
        raise AnewError(
            f"soft_labels: '{tables[0]}' cannot be combined with another teacher; drop one, or "
            "put the mean of both into the file"
        )
    if tables:
        return (find_rows(tables[0], recipe.soft_labels_are, data, force=force),)

    found: dict[str, tuple[str, PretrainedTeacher]] = {}
    for name in names:
        if objects is not None and name in objects:
            teachers = [_from_object(objects[name], name, recipe, data, force=force)]
        else:
            teachers = _find(name, recipe, data, trusted, force=force)
        for teacher in teachers:
            twice = found.get(teacher.spec.id)
            if twice is not None:
                raise AnewError(
                    f"teacher '{name}': network {teacher.spec.id} is given twice (also by "
                    f"'{twice[0]}'); give each network once, and set its weight with "
                    "--teacher-weights"
                )
            found[teacher.spec.id] = name, teacher
    return tuple(teacher for _, teacher in found.values())


def _find(
    name: str, recipe: Recipe, data: Data, trusted: Collection[str], *, force: bool
) -> list[PretrainedTeacher]:
    """Find the networks that one name stands for."""
    place = checkpoints.locate(name)
    if place is not None:
        checkpoint = checkpoints.read(*place)
        return [_from_file(checkpoint, recipe, data, trusted, force=force)]

    named = split_name(name)
    if named is None:
        raise AnewError(
            f"teacher '{name}': is no file and no network of a family; give a file or folder of "
            f"weights, or FAMILY:ID with an id that `anew show FAMILY` lists{_several_in_one(name)}"
        )

    other, end, what = named
    specs, notice = named_networks(other, end, what)
    found: list[PretrainedTeacher] = []
    for spec in specs:
        folder = other.folder(spec.id)
        if not folder.is_done:
            raise AnewError(
                f"teacher '{name}': is not finished; finish it with its own command first"
            )
        wrong = folder.verify()
        if wrong:
            raise AnewError(f"teacher '{name}': {wrong[0]}; restore it from a copy")

        if spec.is_soft_labels and (len(specs) > 1 or not spec.data.is_same(data.spec)):
            raise AnewError(
                f"teacher '{name}': network {spec.id} stands for soft labels of other data; give "
                "their file with --soft-labels"
            )
        if not spec.data.is_same(data.spec):
            weights = checkpoints.read(folder.weights)
            found.append(_from_file(weights, recipe, data, trusted, force=force))
            continue
        if recipe.teacher_model is not None:
            raise _brings_its_own(name)
        load_network(folder, trusted, data=data, learned=spec.data)
        found.append(PretrainedTeacher(spec, folder.id, family=other))
    if notice:
        found[0] = replace(found[0], notices=(notice, *found[0].notices))
    return found


def _from_object(
    given: Any, name: str, recipe: Recipe, data: Data, *, force: bool
) -> PretrainedTeacher:
    """Make a teacher of a module or a callable of Python."""
    asked, weights = given_objects.network_of(given, name, recipe, data)
    notices: list[str] = []
    teacher, place = asked, Path(name)
    if isinstance(given, Network):
        _check_shapes(asked, data, place)
        teacher = _in_units(
            _in_order(asked, data, place, notices, force=force), data, place, notices
        )
    teacher, said = answers.as_logits(teacher, data, f"teacher {name}", force=force)
    notices += [said] if said else []

    changes = _changes(asked, teacher)
    if changes:
        weights = files.sha256_of_json({"weights": weights, **changes})
    label = ObjectiveSpec.of("label", smoothing=0.0)
    spec = Spec(teacher.spec, data.spec, TrainingSpec(), label, weights=weights)
    return PretrainedTeacher(spec, name, network=teacher, notices=tuple(notices))


def _several_in_one(name: str) -> str:
    """Return a hint if a name seems to be several with commas between them."""
    parts = name.split(",")
    exist = [Path(part.strip().partition(":")[0]).exists() for part in parts]
    return "; for several, repeat --teacher" if len(parts) > 1 and all(exist) else ""


def own_model(named: str, trusted: Collection[str] = ()) -> ModelSpec | None:
    """Return the model that a checkpoint which anew saved names in its header; None of any other.

    Raises `AnewError` if there is no such checkpoint, or if it names code that is not `trusted`.
    """
    found = checkpoints.locate(named)
    if found is None:
        raise AnewError(
            f"checkpoint '{named}': is no file and no folder of weights; give one of these"
        )
    checkpoint = checkpoints.read(*found)
    if not checkpoint.header:
        return None
    model = saving.model_of(checkpoint.header, checkpoint.path)
    saving.check_trusted(model.name, trusted, checkpoint.path)
    return model


def _from_file(
    checkpoint: Checkpoint, recipe: Recipe, data: Data, trusted: Collection[str], *, force: bool
) -> PretrainedTeacher:
    """Make a teacher of a checkpoint.

    The header of one that anew wrote names its model; any other is a state dict of the recipe's
    teacher model, or of the students' model.
    """
    path, notices = checkpoint.path, list[str]()
    if checkpoint.header:
        if recipe.teacher_model is not None:
            raise _brings_its_own(str(path))
        given = saving.restore(checkpoint.tensors, checkpoint.header, path, trusted)
        compare_with_record(given, path)
        _check_shapes(given, data, path)
        weights = files.sha256(checkpoint.file)
    else:
        given, weights = _fitted(checkpoint, recipe, data, notices)

    teacher = _in_order(given, data, path, notices, force=force)
    teacher = _in_units(teacher, data, path, notices)
    teacher, said = answers.as_logits(teacher, data, f"teacher {path}", force=force)
    notices += [said] if said else []
    changes = _changes(given, teacher)
    if changes:
        # Another network than the file's own: it must not be taken for one that was brought as it
        # was.
        weights = files.sha256_of_json({"weights": weights, **changes})
    label = ObjectiveSpec.of("label", smoothing=0.0)
    spec = Spec(teacher.spec, data.spec, TrainingSpec(), label, weights=weights)
    return PretrainedTeacher(spec, path.name, network=teacher, notices=tuple(notices))


def _fitted(
    checkpoint: Checkpoint, recipe: Recipe, data: Data, notices: list[str]
) -> tuple[Network, str]:
    """Return the network of a state dict, and the hash by which it is known.

    It is the hash of the file if that is safetensors and fits as it is, and else the one that a
    safetensors file of the tensors that were taken would have, by the model's names: the same
    weights are the same network in any container.
    """
    path, called = checkpoint.path, f"teacher {checkpoint.path}"
    network_of_names = recipe.teacher_model or recipe.model
    given = network.build_empty(network_of_names, data.signature)
    fit = fitting.fit(given.model, checkpoint, called)
    if fit.wrong:
        flag = "" if recipe.teacher_model is not None else "--teacher-model"
        raise misfits.misfit(fit, given, called, flag)
    notices += [f"{called}: {notice}" for notice in (*checkpoint.said(fit.key), *fit.notices)]
    saving.fill(given, fit.tensors, path)

    if len(checkpoint.classes) == len(data.classes):
        given = matching.named(given, checkpoint.classes)
    normalised = _normalised(given, checkpoint, data, notices)
    is_whole = checkpoint.is_safetensors and fit.is_exact
    weights = files.sha256(checkpoint.file) if is_whole else files.sha256_as_file(fit.taken)
    if normalised is not given:
        mean, std = normalised.signature.mean, normalised.signature.std
        weights = files.sha256_of_json({"weights": weights, "mean": mean, "std": std})
    return normalised, weights


def _normalised(given: Network, checkpoint: Checkpoint, data: Data, notices: list[str]) -> Network:
    """Return a network with the mean and deviation that files beside its weights tell.

    The network itself if they tell none, the same as the data's, or another number of channels, or
    if the data's pictures are in units of their own.
    """
    told, signature = checkpoint.normalisation, data.signature
    is_picture = signature.kind == "picture" and signature.units != "own"
    if told is None or not is_picture or len(told[0]) not in (1, signature.input_shape[0]):
        return given

    normalised = matching.normalising(given, *told)
    if matching.is_same(normalised.signature, signature):
        return given
    mean, std = (", ".join(f"{value:g}" for value in values) for values in told)
    notices.append(
        f"teacher {checkpoint.path}: its pictures are normalised as the files beside its weights "
        f"say, mean {mean} and deviation {std} for pictures in 0..1"
    )
    return normalised


def _check_shapes(teacher: Network, data: Data, path: Path) -> None:
    """Raise `AnewError` unless a teacher has as many classes as the data, and takes its inputs."""
    found, wanted = teacher.signature, data.signature
    if len(found.classes) != len(wanted.classes):
        raise AnewError(
            f"teacher {path}: has {len(found.classes)} classes, the data have "
            f"{len(wanted.classes)}; give a teacher of the same classes"
        )
    if found.input_shape != wanted.input_shape:
        raise AnewError(
            f"teacher {path}: takes inputs {found.input_shape}, the data have "
            f"{wanted.input_shape}; give a teacher of the same inputs"
        )


def _in_order(
    teacher: Network, data: Data, path: Path, notices: list[str], *, force: bool
) -> Network:
    """Return a teacher whose answers are in the order of the data's classes.

    Raises `AnewError` if both name their classes, and not alike, unless `force` is on.
    """
    own, wanted = teacher.signature.classes, data.classes
    if own == wanted:
        return teacher
    if data.is_text:
        differing = matching.differing(own, wanted)
        raise AnewError(
            f"teacher {path}: has another vocabulary than the data, or the same in another order "
            f"({differing}); give a teacher of the same text and vocabulary"
        )
    if sorted(own) == sorted(wanted):
        moved = sum(one != other for one, other in zip(own, wanted, strict=True))
        notices.append(
            f"teacher {path}: has the data's classes in another order; its outputs are put in "
            f"the data's order ({moved} of {len(own)} classes moved)"
        )
        return matching.in_order(teacher, wanted, f"teacher {path}")

    if force or matching.are_numbers(own) or matching.are_numbers(wanted):
        side = "its" if matching.are_numbers(own) else "the data's"
        why = f"{side} classes have only numbers as names"
        if not (matching.are_numbers(own) or matching.are_numbers(wanted)):
            why = "--force is on"
        notices.append(
            f"teacher {path}: {matching.differing(own, wanted)}; {why}, so they are matched by "
            "position"
        )
        return matching.named(teacher, wanted)
    raise AnewError(
        f"teacher {path}: {matching.differing(own, wanted)}; rename the data's classes, or match "
        "them by position with --force"
    )


def _in_units(teacher: Network, data: Data, path: Path, notices: list[str]) -> Network:
    """Return a teacher that takes the data's units.

    Raises `AnewError` if the units of one side are not known, and the statistics differ.
    """
    found, wanted = teacher.signature, data.signature
    if found.units == wanted.units:
        return teacher
    if "own" in (found.units, wanted.units):
        if not matching.is_near(found, wanted):
            raise AnewError(
                f"teacher {path}: takes {_inputs(found)}, and the data are {_inputs(wanted)}; "
                "give inputs like those of its training, or set --data.units"
            )
        return matching.of_units(teacher, data.units)

    notices.append(
        f"teacher {path}: takes {_inputs(found)}; the data's {units_in_words(data.units)} are "
        "converted"
    )
    return matching.in_units(teacher, data.units, f"teacher {path}")


def _inputs(signature: Signature) -> str:
    """Return the units of pictures and their statistics in words."""
    assert signature.units is not None, "a signature knows its units"
    mean, std = (
        ", ".join(f"{value:.3g}" for value in values) for values in (signature.mean, signature.std)
    )
    return f"inputs in units {units_in_words(signature.units)}, mean {mean}, deviation {std}"


def _changes(given: Network, teacher: Network) -> dict[str, Any]:
    """Return what was changed of a network when it was brought to the data; {} if nothing."""
    changes: dict[str, Any] = {}
    if teacher.columns != given.columns:
        changes["columns"] = teacher.columns
    if teacher.signature.mean != given.signature.mean:
        changes["units"] = teacher.signature.units
    if teacher.probabilities != given.probabilities:
        changes["answers"] = "probabilities"
    return changes


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
