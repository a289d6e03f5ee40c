"""From a family's files to a `Report`: stored outputs, metrics and records.

No network runs, and nothing is chosen on test.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from anew import evaluation
from anew.core import files
from anew.core.errors import AnewError
from anew.core.spec import Spec, is_text
from anew.core.text import listed
from anew.core.version import __version__
from anew.data import Data
from anew.evaluation import insight
from anew.evaluation.insight import Insight
from anew.evaluation.scoring import lineage_said
from anew.family import Family, NetworkFolder, replicas
from anew.report import gallery, headline, making, text, using
from anew.report.content import Answer, Cost, Gallery, NetworkSummary, Report, StudyTable, Use
from anew.studies import rendering
from anew.studies.results import Results

ALL_SUBSETS_UP_TO = 6
"""The most generations for which the page lists ensembles of all subsets.

More have over 57 of them, and the page lists those of consecutive generations.
"""

Outputs = list[tuple[Float[Tensor, "*examples classes"], Int64[Tensor, "*examples"]]]
"""Logits and labels of test examples, by generation, oldest first."""

_PLACES = ("data.root", "data.download")


def gather(
    family: Family,
    chosen: Sequence[Spec],
    data: Data | AnewError | None = None,
    results: Results | None = None,
) -> Report:
    """Read everything that a report shows of a family.

    `chosen` is the lineage that is shown (see `choose_lineage`). `data` is what it learned from, or
    the error that says why that is not at hand. `results` are a study's, whose answer then opens
    the page. Raises `AnewError` if a file is missing or damaged, or if the family holds no network.
    """
    specs = family.specs(gaps=True)
    if not specs:
        raise AnewError(
            f"{family.path}: holds no network yet; `anew train --out {family.path}` trains one"
        )
    _check_whole(family, chosen)

    networks = [network_of(family.folder(spec.id), spec) for spec in specs.values()]
    networks.sort(key=lambda network: (network.generation, network.id))
    newest = chosen[-1] if chosen else next(iter(specs.values()))

    reads_text = is_text(newest.data.source)
    outputs, classes = _outputs(family, [] if reads_text else chosen)
    said = lineage_said(family, chosen, "test") if reads_text and chosen else []
    if said:
        classes = _classes(family, chosen[-1])
    all_subsets = len(chosen) <= ALL_SUBSETS_UP_TO
    rows: list[evaluation.Row] = []
    if chosen:
        rows = evaluation.evaluate_lineage(family, chosen, all_subsets=all_subsets)

    answer = headline.of_study(results) if results is not None else answer_of(family, chosen)
    learned, missing = insight_of(family, [] if reads_text else chosen, data)
    ids = [spec.id for spec in chosen]
    unfinished = [_unfinished(network, ids) for network in networks if not network.finished]
    return Report(
        family=family.path.resolve().name,
        model=newest.model.name,
        data=making.without_folders(newest.data.source),
        examples=len(outputs[0][1]) if outputs else len(said[0].labels) if said else 0,
        classes=classes,
        answer=answer,
        notices=(*_others(family, ids, results), *unfinished, *missing),
        lineage=tuple(spec.id for spec in chosen),
        networks=tuple(networks),
        rows=tuple(rows),
        all_subsets=all_subsets,
        study=_study(results) if results is not None else None,
        insight=learned,
        gallery=gallery_of(outputs, data),
        version=__version__,
        text=text.part_of(said, classes) if reads_text else None,
        use=_use(family, chosen) if chosen and results is None else None,
        command=_command(chosen, specs.values(), results, family),
    )


def _use(family: Family, chosen: Sequence[Spec]) -> Use:
    """Return the network to use of a lineage; the outputs say whether it was validated."""
    tensors, _ = files.read_tensors(family.folder(chosen[-1].id).outputs)
    held_out = [tensor for name, tensor in tensors.items() if name.startswith("validation.")]
    return using.to_use(family, chosen, validated=any(len(tensor) for tensor in held_out))


def _command(
    chosen: Sequence[Spec], among: Collection[Spec], results: Results | None, family: Family
) -> str:
    """Return the command that trained what is shown."""
    name = family.path.resolve().name
    if results is not None:
        return making.of_study(results.study, name)
    return making.command(chosen, among, name)


def answer_of(family: Family, chosen: Sequence[Spec]) -> Answer:
    """Return the answer of a lineage and its replicas."""
    if not chosen:
        return headline.NOTHING_FINISHED
    if is_text(chosen[0].data.source):
        logs = [
            [one.log_p for one in lineage_said(family, lineage, "test")]
            for lineage in replicas(family, chosen)
        ]
        return text.answer(logs, headline.what_is(chosen[0]), headline.compared(len(chosen)))
    lineages: list[tuple[list[Tensor], Tensor]] = []
    for lineage in replicas(family, chosen):
        outputs = [evaluation.read_outputs(family.folder(spec.id), "test") for spec in lineage]
        lineages.append(([logits for logits, _ in outputs], outputs[0][1]))
    return headline.of_lineages(lineages, headline.what_is(chosen[0]))


def gallery_of(outputs: Outputs, data: Data | AnewError | None) -> Gallery:
    """Return the gallery of a lineage, or the reason for having none."""
    if not outputs:
        return Gallery(missing="no network is finished")
    if data is None:
        return Gallery(missing="no data was given")
    if isinstance(data, AnewError):
        return Gallery(missing=str(data))
    try:
        return gallery.choose(data.test, [logits for logits, _ in outputs], outputs[0][1])
    except AnewError as error:
        return Gallery(missing=str(error))


def insight_of(
    family: Family, chosen: Sequence[Spec], data: Data | AnewError | None = None
) -> tuple[Insight | None, list[str]]:
    """Return what the lineage's students learned, or None and the reason.

    If the data are at hand, kept epochs are shown too. The files of `chosen` must be verified.
    """
    if not chosen:
        return None, []
    options = insight.Options(verified=[spec.id for spec in chosen])
    at_hand = data if isinstance(data, Data) else None
    try:
        return insight.collect(family, chosen, options, at_hand), []
    except AnewError as error:
        return None, [f"What the students learned is not shown: {error}"]


def _check_whole(family: Family, chosen: Sequence[Spec]) -> None:
    """Raise `AnewError` if a file of the lineage is not as it was written."""
    wrong = [line for spec in chosen for line in family.folder(spec.id).verify()]
    if wrong:
        raise AnewError(f"{'; '.join(wrong)}; restore it from a copy, or train that network again")


def _outputs(family: Family, chosen: Sequence[Spec]) -> tuple[Outputs, tuple[str, ...]]:
    """Return the lineage's stored outputs, and the names of the classes."""
    outputs = [evaluation.read_outputs(family.folder(spec.id), "test") for spec in chosen]
    if not outputs:
        return [], ()
    return outputs, _classes(family, chosen[-1])


def _classes(family: Family, spec: Spec) -> tuple[str, ...]:
    """Return the names of a finished network's classes, from its outputs."""
    _, header = files.read_tensors(family.folder(spec.id).outputs)
    return tuple(header["classes"])


def network_of(folder: NetworkFolder, spec: Spec) -> NetworkSummary:
    """Return what a network's folder records of it, finished or not."""
    record: Mapping[str, Any] = folder.done if folder.is_done else {}
    curve = tuple(folder.read_metrics())
    written = {name: value for name, value in _flat(spec.to_json()).items() if name not in _PLACES}
    written["data.source"] = making.without_folders(spec.data.source)

    return NetworkSummary(
        id=spec.id,
        generation=spec.generation,
        model=spec.model.name,
        objective=folder.soft_labels if spec.is_soft_labels else spec.origin,
        seed=spec.seed,
        teachers=tuple(teacher.id for teacher in spec.teachers),
        finished=folder.is_done,
        epochs=spec.training.epochs,
        epochs_done=len(curve),
        error=record["test"].get("error") if record else None,
        perplexity=record["test"].get("perplexity") if record else None,
        cost=_cost(record, curve, spec),
        curve=curve,
        spec=written,
        checks=record.get("checks", {}),
        environments=tuple(record.get("environments", ())),
        files=record.get("files", {}),
    )


def _cost(record: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], spec: Spec) -> Cost:
    """Return what a network took, from its record; of one not finished, from its last epoch."""
    if spec.weights:
        return Cost()
    seconds, pictures = None, None
    if curve:
        seconds, pictures = curve[-1]["seconds"], curve[-1]["step"] * spec.training.batch_size
    teacher = record.get("teacher") or {}
    return Cost(
        record.get("seconds", seconds),
        record.get("pictures", pictures),
        teacher.get("asked"),
        teacher.get("served"),
    )


def _others(family: Family, shown: Sequence[str], results: Results | None) -> list[str]:
    """Return the note that a page shows one of several lineages, unless it is a study's."""
    ends = [lineage[-1].id for lineage in family.lineages(gaps=True)]
    others = [end for end in ends if end not in shown]
    if results is not None or not shown or not others:
        return []
    return [
        f"The family has {len(ends)} lineages; this page shows the one to {shown[-1]}; "
        f"`anew report {family.path.resolve().name} --network ID` shows another: {listed(others)}."
    ]


def _unfinished(network: NetworkSummary, lineage: Sequence[str]) -> str:
    """Return what the page says of a network that is not finished."""
    shown = "The page shows its curve so far, and no results of it."
    if not network.goes_on(lineage):
        shown = "The page does not show it."
    return (
        f"Generation {network.generation} ({network.objective}, seed {network.seed}, {network.id}) "
        f"is not finished: {network.epochs_done} of {network.epochs} epochs are done. {shown}"
    )


def _study(results: Results) -> StudyTable:
    columns, lines = rendering.for_page(results)
    return StudyTable(
        results=results,
        columns=tuple(columns),
        lines=tuple(tuple(line) for line in lines),
        controls_columns=tuple(rendering.CONTROLS_COLUMNS),
        controls_lines=tuple(tuple(line) for line in rendering.controls_lines(results)),
        about=tuple(rendering.about(results, titled=True)),
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, by dotted names."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = item
    return flat
