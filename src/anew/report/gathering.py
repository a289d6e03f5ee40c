"""From a family's files to a `Report`: stored outputs, metrics and records; no network runs,
nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from anew import evaluation
from anew.core import files
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.core.version import __version__
from anew.data import Data
from anew.evaluation import insight
from anew.evaluation.insight import Insight
from anew.family import Family, NetworkFolder, replicas
from anew.report import gallery, headline
from anew.report.content import Answer, Cost, Gallery, Network, Report, StudyTable
from anew.studies import rendering
from anew.studies.results import Results

ALL_SUBSETS_UP_TO = 6
"""Generations: more than these have more than 57 ensembles, and the page lists those of consecutive
ones.
"""

_PLACES = ("data.root", "data.download")


def gather(
    family: Family,
    chosen: Sequence[Spec],
    data: Data | AnewError | None = None,
    results: Results | None = None,
) -> Report:
    """Read everything that a report shows of a family.

    `chosen` is the lineage that is shown, of `choose_lineage`. `data` is what it learned from; an
    `AnewError` says why that is not at hand. `results` are a study's, which then gives the answer.
    Raises `AnewError` where a file is missing or damaged, and where the family holds no network at
    all.
    """
    folders = list(family.folders())
    if not folders:
        raise AnewError(
            f"{family.path}: holds no network yet; `anew train --out {family.path}` trains one"
        )
    specs = family.specs()
    _check_whole(family, chosen)
    networks = tuple(
        sorted(
            (network_of(folder, specs[folder.id]) for folder in folders),
            key=lambda one: (one.generation, one.id),
        )
    )
    first = chosen[-1] if chosen else next(iter(specs.values()))
    outputs, classes = _outputs(family, chosen)
    notices = [_unfinished(one) for one in networks if not one.finished]
    all_subsets = len(chosen) <= ALL_SUBSETS_UP_TO
    shown = (
        gallery_of(chosen, outputs, data) if chosen else Gallery(missing="no network is finished")
    )
    learned, why = insight_of(family, chosen, data)
    return Report(
        family=family.path.resolve().name,
        model=first.model.name,
        data=_data_name(first),
        examples=len(outputs[0][1]) if outputs else 0,
        classes=classes,
        answer=headline.of_study(results) if results is not None else answer_of(family, chosen),
        notices=(*notices, *why),
        lineage=tuple(spec.id for spec in chosen),
        networks=networks,
        rows=tuple(
            row.to_json()
            for row in evaluation.evaluate_lineage(family, chosen, all_subsets=all_subsets)
        )
        if chosen
        else (),
        all_subsets=all_subsets,
        study=_study(results) if results is not None else None,
        insight=learned,
        gallery=shown,
        version=__version__,
    )


def answer_of(family: Family, chosen: Sequence[Spec]) -> Answer:
    """Return the answer of a lineage and its replicas."""
    if not chosen:
        return headline.NOTHING_FINISHED
    lineages: list[tuple[list[Tensor], Tensor]] = []
    for one in replicas(family, chosen):
        outputs = [evaluation.read_outputs(family.folder(spec.id), "test") for spec in one]
        lineages.append(([logits for logits, _ in outputs], outputs[0][1]))
    return headline.of_lineages(lineages, bool(chosen[0].weights))


def gallery_of(
    chosen: Sequence[Spec],
    outputs: Sequence[tuple[Float[Tensor, "examples classes"], Int64[Tensor, "examples"]]],
    data: Data | AnewError | None,
) -> Gallery:
    """Return the gallery of a lineage, or why there is none."""
    try:
        if isinstance(data, AnewError):
            raise data
        if data is None:
            raise AnewError("no data was given")
        return gallery.choose(data.test, [logits for logits, _ in outputs], outputs[0][1])
    except AnewError as error:
        return Gallery(missing=str(error))


def insight_of(
    family: Family, chosen: Sequence[Spec], data: Data | AnewError | None = None
) -> tuple[Insight | None, list[str]]:
    """Return what the lineage's students learned, at kept epochs too where the data are at hand; or
    why not.
    """
    if not chosen:
        return None, []
    try:
        return insight.collect(family, chosen, data=data if isinstance(data, Data) else None), []
    except AnewError as error:
        return None, [f"What the students learned is not shown: {error}"]


def _check_whole(family: Family, chosen: Sequence[Spec]) -> None:
    """Refuse to report numbers of files that are not as they were written."""
    wrong = [line for spec in chosen for line in family.folder(spec.id).verify()]
    if wrong:
        raise AnewError(f"{'; '.join(wrong)}; restore it from a copy, or train that network again")


def _outputs(
    family: Family, chosen: Sequence[Spec]
) -> tuple[
    list[tuple[Float[Tensor, "examples classes"], Int64[Tensor, "examples"]]], tuple[str, ...]
]:
    outputs = [evaluation.read_outputs(family.folder(spec.id), "test") for spec in chosen]
    if not outputs:
        return [], ()
    _, header = files.read_tensors(family.folder(chosen[-1].id).outputs)
    return outputs, tuple(header["classes"])


def network_of(folder: NetworkFolder, spec: Spec) -> Network:
    """Return what a network's folder says of it, finished or not."""
    record: Mapping[str, Any] = folder.done if folder.is_done else {}
    curve = tuple(folder.read_metrics())
    written = {name: value for name, value in _flat(spec.to_json()).items() if name not in _PLACES}
    written["data.source"] = _data_name(spec)
    return Network(
        id=spec.id,
        generation=spec.generation,
        model=spec.model.name,
        objective=spec.origin,
        seed=spec.seed,
        teachers=tuple(teacher.id for teacher in spec.teachers),
        finished=folder.is_done,
        epochs=spec.training.epochs,
        epochs_done=len(curve),
        error=record["test"]["error"] if record else None,
        cost=_cost(record, curve, spec),
        curve=curve,
        spec=written,
        checks=record.get("checks", {}),
        environments=tuple(record.get("environments", ())),
        files=record.get("files", {}),
    )


def _cost(record: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], spec: Spec) -> Cost:
    if spec.weights:
        return Cost()
    seconds = record.get("seconds", curve[-1]["seconds"] if curve else None)
    pictures = record.get(
        "pictures", curve[-1]["step"] * spec.training.batch_size if curve else None
    )
    teacher = record.get("teacher") or {}
    return Cost(seconds, pictures, teacher.get("asked"), teacher.get("served"))


def _unfinished(network: Network) -> str:
    return (
        f"Generation {network.generation} ({network.objective}, seed {network.seed}, {network.id}) "
        f"is not finished: "
        f"{network.epochs_done} of {network.epochs} epochs are done. Its curve so far is shown, "
        f"its results are not."
    )


def _study(results: Results) -> StudyTable:
    columns, lines = rendering.for_page(results)
    return StudyTable(
        title=results.study.title,
        columns=tuple(columns),
        lines=tuple(tuple(line) for line in lines),
        controls_columns=tuple(rendering.CONTROLS_COLUMNS),
        controls_lines=tuple(tuple(line) for line in rendering.controls_lines(results)),
        about=tuple(rendering.about(results)),
        results=results.to_json(),
    )


def _data_name(spec: Spec) -> str:
    """Return the data's name without the folders that it lies in: they are the machine's, not the
    report's.
    """
    kind, _, place = spec.data.source.partition(":")
    return f"{kind}:{place.rstrip('/').rsplit('/', 1)[-1]}" if place else kind


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, one in value.items():
        flat |= (
            _flat(one, f"{prefix}{name}.") if isinstance(one, Mapping) else {f"{prefix}{name}": one}
        )
    return flat
