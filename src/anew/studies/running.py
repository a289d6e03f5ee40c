"""A study's networks trained where the family does not hold them: siblings together, oldest generation first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path

from anew import data as data_sources
from anew import fields, groups, network
from anew.data import Data, Source
from anew.execution import Execution
from anew.lineage import demand_model
from anew.network import Interface
from anew.progress import Progress
from anew.scheduling import train_groups
from anew.spec import DataSpec, Spec
from anew.studies.study import SEEDS_APART, Study
from anew.workers import workers


class StudyData:
    """A study's data: read once, split anew for each of its seeds."""

    def __init__(self, study: Study) -> None:
        self._spec = study.data
        self._source: Source | None = None
        self._prepared = cache(self._prepare)

    def __call__(self, seed: int) -> DataSpec:
        """Return the data's description as it was found, for a seed."""
        return self._prepared(seed).spec

    def of(self, spec: Spec) -> Data:
        """Return the data that a spec of the study learns from."""
        return self._prepared((spec.data.seed - self._spec.seed) // SEEDS_APART)

    def _prepare(self, seed: int) -> Data:
        if self._source is None:
            self._source = data_sources.load(self._spec.source, Path(self._spec.root), self._spec.download)
        # Order, views and split vary with the seed: what is measured over seeds is all that chance decides.
        return data_sources.prepare(self._source, replace(self._spec, seed=self._spec.seed + SEEDS_APART * seed))


def run(study: Study, out: Path, how: Execution, progress: Progress, data: StudyData | None = None) -> dict[str, str]:
    """Train what a study needs and the family at `out` does not hold; returns why networks failed, by id.

    `data` is the study's, where the caller has read it already or needs it again.

    A network that fails takes its students with it and nothing else. Raises `AnewError` where the study cannot run, and
    `Interrupted`, after saving.
    """
    data = data or StudyData(study)
    specs = study.specs(data)
    for model in {(spec.model, spec.data.fingerprint): spec for spec in specs}.values():
        demand_model(model.model, data.of(model))
    for spec in specs:
        network.demand_frozen(spec, Interface.of(data.of(spec)))
    failed: dict[str, str] = {}
    with groups.session(out, how, progress) as session, workers(session) as trainers:
        for finished in train_groups(siblings(specs), data.of, session.family, trainers):
            failed |= {name: str(error) for name, error in finished.failed.items()}
            for text in dict.fromkeys(str(error) for error in finished.failed.values()):
                progress.notice(text)
    return failed


def siblings(specs: Sequence[Spec]) -> list[list[Spec]]:
    """Return specs in groups that can train on one pass, of the same teachers, data and batches; oldest first."""

    def key(spec: Spec) -> str:
        training = spec.training
        shared: Mapping[str, object] = {
            "generation": f"{spec.generation:06d}",
            "data": fields.write(spec.data, identity=True),
            "teachers": [teacher.id for teacher in spec.teachers],
            "batch_size": training.batch_size,
            "asked": (training.precision, training.memory_format, training.compile, spec.objective.top_k),
            "shuffled": spec.objective.shuffled,
        }
        return repr(shared)

    return [list(group) for _, group in groupby(sorted(specs, key=key), key=key)]
