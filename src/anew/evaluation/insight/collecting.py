"""Everything that insight measures of one lineage on one set of examples, in one description.

On test and validation examples the stored outputs are enough: neither data nor networks are needed.
On training examples, and at kept epochs, the networks are run on the examples as they are stored,
unaugmented, in evaluation mode.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from anew import evaluation
from anew.core import files, randomness
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.data import Data, Examples
from anew.data.loading import load_data
from anew.evaluation import ensemble, row_name
from anew.evaluation.insight import calibration, dark_knowledge, fidelity, gradients
from anew.evaluation.insight.calibration import Calibration, Harm
from anew.evaluation.insight.dark_knowledge import DarkKnowledge
from anew.evaluation.insight.fidelity import Fidelity
from anew.evaluation.insight.gradients import Gradients
from anew.family import Family, NetworkFolder
from anew.models import network

FORMAT = 1
TRAINING_EXAMPLES = 10_000
"""How many training examples are looked at where nobody says."""
Split = Literal["test", "validation", "train"]


@dataclass(frozen=True)
class Member:
    """A generation of the lineage that was looked at."""

    generation: int
    id: str
    model: str
    objective: str
    """What made its weights: an objective, or `given`, or `untrained`."""
    seed: int
    teachers: tuple[str, ...]
    kept_epochs: tuple[int, ...]
    """At which epochs its weights were kept, the last among them."""


@dataclass(frozen=True)
class Insight:
    """What a lineage learned, on the examples of one split: all that `anew insight` prints."""

    format: int
    """The version of this shape, 1; it grows when a field changes its meaning or goes."""
    split: str
    """`test`, `validation` or `train`."""
    examples: int
    classes: tuple[str, ...]
    lineage: tuple[Member, ...]
    """Oldest first."""
    gradients: tuple[Gradients, ...]
    """By generation, then epoch; none of generation 0, which has no teacher."""
    dark_knowledge: tuple[DarkKnowledge, ...]
    """Of every generation."""
    calibration: tuple[Calibration, ...]
    """Of every generation, then of every ensemble of neighbours."""
    harm: tuple[Harm, ...]
    """Teacher to student, generation by generation; then the first to the last, and the first to
    the whole ensemble.
    """
    fidelity: Fidelity
    notices: tuple[str, ...]
    """What is not there and why, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        """Return it as `anew insight --format json` prints it; docs/insight.md says what each part
        means.
        """
        return _plain(self)


@dataclass(frozen=True)
class _Seen:
    """The examples that are looked at, and what every generation says about them."""

    places: Int64[Tensor, "examples"]
    """Their numbers in the split."""
    labels: Int64[Tensor, "examples"]
    logits: tuple[Float[Tensor, "examples classes"], ...]
    """Of the lineage's networks, oldest first."""
    teachers: tuple[Float[Tensor, "examples classes"], ...]
    """What each student of the lineage learned from, from generation 1 on: several teachers'
    probabilities averaged.
    """
    permutation: Int64[Tensor, "examples classes"]
    """Random integers, by the examples' numbers: what DKPP would permute by."""


def collect(
    family: Family,
    lineage: Sequence[Spec],
    split: Split = "test",
    *,
    examples: int | None = None,
    data: Data | None = None,
    device: torch.device | None = None,
    trusted: Collection[str] = (),
) -> Insight:
    """Measure what a finished lineage learned, on the examples of a split, or on so many of them
    drawn at random.

    `data` are the lineage's own data (see `find_data`): needed for `train`, where 10,000 examples
    are looked at unless told otherwise, and for the epochs whose weights were kept, which are left
    out where it is not given. `trusted` are names of models of the user's own that the family's
    files may name.

    Raises `AnewError` for a network that is not finished, files that are damaged, a family without
    stored outputs, a split that is not there, and data that are not the lineage's.
    """
    if examples is not None and examples < 1:
        raise AnewError(f"examples must be a whole number >= 1, got {examples}; set --examples")
    device = device or torch.device("cpu")
    # Where a student has several teachers, the others are beside the lineage.
    everybody = list(dict.fromkeys(one for spec in lineage for one in (*spec.teachers, spec)))
    sound = {spec.id: _sound(family, spec) for spec in everybody}
    folders = [sound[spec.id] for spec in lineage]
    if data is not None:
        _check_same(data, lineage[-1])
    notices = _unfinished(family, lineage)
    if split == "train":
        if data is None:
            raise AnewError(
                "split train: needs the data that the lineage was trained on; give data, or "
                "another split"
            )
        classes = data.classes
        places = _chosen(len(data.training), examples or TRAINING_EXAMPLES)
        chosen = data.training.take(places)
        says = {
            one.id: _ask(one, sound[one.id].weights, chosen, device, trusted) for one in everybody
        }
        labels = chosen.labels
    else:
        classes = tuple(_stored(folders[-1])[1]["classes"])
        says, labels = _read_stored(family, list(sound.values()), split)
        places = _chosen(len(labels), examples)
        says, labels = {one: logits[places] for one, logits in says.items()}, labels[places]
    seen = _Seen(
        places=places,
        labels=labels,
        logits=tuple(says[spec.id] for spec in lineage),
        teachers=tuple(
            _together([says[teacher.id] for teacher in spec.teachers]) for spec in lineage[1:]
        ),
        permutation=_permutation(lineage, places, len(classes)),
    )
    return Insight(
        format=FORMAT,
        split=split,
        examples=len(seen.labels),
        classes=classes,
        lineage=tuple(
            _member(number, *one) for number, one in enumerate(zip(lineage, folders, strict=True))
        ),
        gradients=_gradients(lineage, folders, seen, split, data, device, trusted, notices),
        dark_knowledge=tuple(
            dark_knowledge.measure(
                number, spec.id, logits, seen.labels, seen.permutation, seen.places
            )
            for number, (spec, logits) in enumerate(zip(lineage, seen.logits, strict=True))
        ),
        calibration=_calibration(folders, seen, split, notices),
        harm=_harm(seen, classes),
        fidelity=fidelity.measure(seen.logits, seen.labels),
        notices=tuple(notices),
    )


def collect_with_data(
    family: Family,
    lineage: Sequence[Spec],
    split: Split = "test",
    *,
    examples: int | None = None,
    source: str | None = None,
    root: str | Path | None = None,
    device: torch.device | None = None,
    trusted: Collection[str] = (),
) -> Insight:
    """Collect, with the lineage's data read again where something needs them, as `find_data` reads
    them.

    Data that are not there are an error where the split is `train`, and a notice where only kept
    epochs are left out.
    """
    kept = any(family.folder(spec.id).kept_epochs() for spec in lineage[1:])
    data, missing = None, ""
    if split == "train" or kept or source is not None:
        try:
            data = find_data(lineage, source, root)
        except AnewError as error:
            if split == "train" or source is not None or root is not None:
                raise
            missing = f"Weights of further epochs were kept and are left out: {error}."
    found = collect(
        family, lineage, split, examples=examples, data=data, device=device, trusted=trusted
    )
    return replace(found, notices=(*found.notices, missing)) if missing else found


def find_data(
    lineage: Sequence[Spec], source: str | None = None, root: str | Path | None = None
) -> Data:
    """Read a lineage's data again, from where it was or from where it lies now; `AnewError` where
    it is not there.
    """
    try:
        return load_data(lineage[-1].data.at(source, root))
    except AnewError as error:
        raise AnewError(
            f"the family's data are not at hand ({error}); say where they lie now with --data, and "
            f"--root"
        ) from error


def _sound(family: Family, spec: Spec) -> NetworkFolder:
    """Return a network's folder; `AnewError` where it is not finished or its files are not as they
    were written.
    """
    folder = family.folder(spec.id)
    folder.check_done()
    wrong = folder.verify()
    if wrong:
        raise AnewError(f"{wrong[0]}; restore it from a copy")
    return folder


def _stored(folder: NetworkFolder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not folder.outputs.exists():
        raise AnewError(
            f"{folder.path}: holds no stored outputs ({folder.outputs.name}); restore it from a "
            f"copy, or look at the "
            "training examples with --split train"
        )
    tensors, header = files.read_tensors(folder.outputs)
    if "classes" not in header:
        raise AnewError(
            f"{folder.outputs}: names no classes, so anew did not write it; restore it from a copy"
        )
    return tensors, header


def _check_same(data: Data, spec: Spec) -> None:
    if not data.spec.is_same(spec.data):
        raise AnewError(
            f"data '{data.spec.source}': are not those that the lineage was trained on "
            f"(fingerprint "
            f"{data.spec.fingerprint}, wanted {spec.data.fingerprint}, or another split); give the "
            f"same data"
        )


def _unfinished(family: Family, lineage: Sequence[Spec]) -> list[str]:
    """Return a notice for each network that would carry this lineage on and is not finished."""
    begun = [family.spec(folder.id) for folder in family.folders() if not folder.is_done]
    return [
        f"generation {spec.generation} ({spec.id}, {spec.origin}) is not trained to its end and is "
        f"left out."
        for spec in begun
        if lineage[-1] in spec.lineage
    ]


def _member(generation: int, spec: Spec, folder: NetworkFolder) -> Member:
    return Member(
        generation=generation,
        id=spec.id,
        model=spec.model.name,
        objective=spec.origin,
        seed=spec.seed,
        teachers=tuple(teacher.id for teacher in spec.teachers),
        kept_epochs=(*folder.kept_epochs(), *(() if spec.weights else (spec.training.epochs,))),
    )


def _chosen(count: int, wanted: int | None) -> Int64[Tensor, "examples"]:
    """Return the numbers of the examples to look at, in order: all, or so many drawn at random, the
    same each time.
    """
    if wanted is None or wanted >= count:
        return torch.arange(count)
    return randomness.order(randomness.key(0, "insight examples"), count)[:wanted].sort().values


def _permutation(lineage: Sequence[Spec], places: Tensor, classes: int) -> Tensor:
    counters = places[:, None] * classes + torch.arange(classes)
    return randomness.bits(randomness.key(lineage[-1].data.seed, "insight permutation"), counters)


def _read_stored(
    family: Family, folders: Sequence[NetworkFolder], split: str
) -> tuple[dict[str, Tensor], Int64[Tensor, "examples"]]:
    """Return the stored logits of networks by their ids, and the labels, which must be the same."""
    for folder in folders:
        _stored(folder)
    outputs = {folder.id: evaluation.read_outputs(folder, split) for folder in folders}
    labels = outputs[folders[-1].id][1]
    if any(not torch.equal(labels, other) for _, other in outputs.values()):
        raise AnewError(
            f"{family.path}: the networks of this lineage were evaluated on different {split} "
            f"examples, so they cannot "
            "be compared"
        )
    return {one: logits for one, (logits, _) in outputs.items()}, labels


def _together(logits: Sequence[Tensor]) -> Float[Tensor, "examples classes"]:
    return logits[0] if len(logits) == 1 else ensemble.log_mean(logits)


def _ask(
    spec: Spec, path: Path, examples: Examples, device: torch.device, trusted: Collection[str]
) -> Float[Tensor, "examples classes"]:
    """Return the logits of a network with the weights at a path, computed as at the end of its
    training.
    """
    asked = network.place(network.load(path, trusted), device, spec.training.memory_format)
    return evaluation.predict(asked, examples, device)


def _gradients(
    lineage: Sequence[Spec],
    folders: Sequence[NetworkFolder],
    seen: _Seen,
    split: str,
    data: Data | None,
    device: torch.device,
    trusted: Collection[str],
    notices: list[str],
) -> tuple[Gradients, ...]:
    """Measure every student's gradients at its kept epochs and at its end, towards its teacher at
    the teacher's end.
    """
    if len(lineage) == 1:
        notices.append("There is no student yet, so there are no gradients and nothing to compare.")
    if data is not None:
        chosen = {"test": data.test, "validation": data.validation, "train": data.training}[
            split
        ].take(seen.places)
    else:
        chosen = None
    notices += [
        f"Generation {generation} learned from a shuffled teacher: gradients are towards its own "
        f"answers."
        for generation, spec in enumerate(lineage)
        if spec.objective.shuffled
    ]
    found: list[Gradients] = []
    for generation in range(1, len(lineage)):
        spec, folder, teacher = (
            lineage[generation],
            folders[generation],
            seen.teachers[generation - 1],
        )
        epochs = [(spec.training.epochs, seen.logits[generation])]
        if chosen is not None:
            epochs = [
                *(
                    (one, _ask(spec, folder.at_epoch(one), chosen, device, trusted))
                    for one in folder.kept_epochs()
                ),
                *epochs,
            ]
        found += [
            gradients.measure(
                generation, spec.id, epoch, logits, teacher, seen.labels, seen.permutation
            )
            for epoch, logits in epochs
        ]
    return tuple(found)


def _calibration(
    folders: Sequence[NetworkFolder], seen: _Seen, split: str, notices: list[str]
) -> tuple[Calibration, ...]:
    held_out = _held_out(folders, split, notices)
    found: list[Calibration] = []
    for members in [
        *((number,) for number in range(len(folders))),
        *ensemble.consecutive(len(folders)),
    ]:
        validation = None
        if held_out is not None:
            logits, labels = held_out
            validation = (_log_probabilities([logits[one] for one in members]), labels)
        log_p = _log_probabilities([seen.logits[one] for one in members])
        found.append(
            calibration.measure(members, row_name(members), log_p, seen.labels, validation)
        )
    return tuple(found)


def _held_out(
    folders: Sequence[NetworkFolder], split: str, notices: list[str]
) -> tuple[list[Tensor], Tensor] | None:
    """Return all generations' stored validation logits and the labels; None, with a notice, where
    they do not serve.
    """
    if split == "validation":
        notices.append(
            "No temperature is fitted: it would be scored on the validation examples that chose it."
        )
        return None
    if not all(folder.outputs.exists() for folder in folders):
        notices.append(
            "No temperature is fitted: there are no stored outputs of validation examples."
        )
        return None
    stored = [_stored(folder)[0] for folder in folders]
    labels = stored[0].get("validation.labels", torch.zeros(0, dtype=torch.int64))
    if not len(labels):
        notices.append(
            "No temperature is fitted: no validation split was held out (--data.validation)."
        )
        return None
    if not all(torch.equal(labels, one.get("validation.labels", labels[:0])) for one in stored):
        notices.append(
            "No temperature is fitted: the generations have different validation examples."
        )
        return None
    return [one["validation.last"] for one in stored], labels


def _log_probabilities(logits: Sequence[Tensor]) -> Float[Tensor, "examples classes"]:
    return (
        F.log_softmax(logits[0].double(), dim=-1) if len(logits) == 1 else ensemble.log_mean(logits)
    )


def _harm(seen: _Seen, classes: Sequence[str]) -> tuple[Harm, ...]:
    """Compare neighbours, then the first with the last, then the first with the ensemble of all."""
    last = len(seen.logits) - 1
    everybody = tuple(range(last + 1))
    pairs = [((number - 1,), (number,)) for number in range(1, last + 1)]
    pairs += [((0,), (last,))] if last > 1 else []
    pairs += [((0,), everybody)] if last > 0 else []

    def right(members: tuple[int, ...]) -> Tensor:
        return _log_probabilities([seen.logits[one] for one in members]).argmax(-1) == seen.labels

    return tuple(
        calibration.compare(
            before,
            after,
            f"{row_name(before)} to {row_name(after)}",
            right(before),
            right(after),
            right(everybody) if after != everybody else None,
            seen.labels,
            classes,
        )
        for before, after in pairs
    )


def _plain(value: Any) -> Any:
    """Return dataclasses as mappings, tuples as lists, and what is not a number as None, at every
    depth.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
