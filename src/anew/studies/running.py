"""A study's missing networks are trained: siblings together, oldest generation first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path

from anew import data as data_sources
from anew import models
from anew.core import fields, files
from anew.core.callbacks import Callback
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.spec import DataSpec, Spec
from anew.data import Contents, Data, Source, loading
from anew.data.storage import Storage
from anew.data.unlabelled import with_unlabelled
from anew.family import Family
from anew.models import frozen, saving
from anew.studies.planning import needs as planning
from anew.studies.planning.needs import GroupNeeds
from anew.studies.study import SEEDS_APART, Study, data_of_seed
from anew.teachers import StoreKey
from anew.teachers.store import count_held
from anew.training.code import check_finished
from anew.training.launch import local, slurm
from anew.training.launch.scheduler import train_groups
from anew.training.launch.slurm import Scripts
from anew.training.launch.workers import ExecutorFactory
from anew.training.session import open_session
from anew.training.trial import try_model


class StudyData:
    """A study's data: read once, split anew for each of its seeds.

    With a `storage`, what is to be said of them is logged there, as the first seed splits them.
    """

    def __init__(self, study: Study, storage: Storage | None = None) -> None:
        self._spec = study.data
        self._first_seed = study.seeds[0]
        self._storage = storage
        self._source: Source | None = None
        self._prepared = cache(self._prepare)
        self._with_unlabelled = cache(self._add_unlabelled)

    def __call__(self, seed: int) -> DataSpec:
        """Return the description of the data as it was found, for a seed of the study.

        With the study's unlabelled examples, if it has any: columns without them leave them out.
        """
        return self._whole(seed).spec

    def of(self, spec: Spec) -> Data:
        """Return the data that a network of the study learns from."""
        seed = (spec.data.seed - self._spec.seed) // SEEDS_APART
        return self._whole(seed) if spec.data.unlabelled else self._prepared(seed)

    def _whole(self, seed: int) -> Data:
        return self._with_unlabelled(seed) if self._spec.unlabelled else self._prepared(seed)

    def _add_unlabelled(self, seed: int) -> Data:
        described = data_of_seed(self._spec, seed)
        return with_unlabelled(self._prepared(seed), described, self._storage)

    @property
    def contents(self) -> Contents:
        """The number and the form of the source's examples."""
        return self._read().contents

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be said of the data as the first seed splits them."""
        return self._whole(self._first_seed).notices

    def _read(self) -> Source:
        if self._source is None:
            self._source = data_sources.open_source(self._spec, self._storage)
        return self._source

    def _prepare(self, seed: int) -> Data:
        # Order, views and split vary with the seed, so that results over seeds show all chance.
        labelled = data_of_seed(self._spec, seed).labelled_only
        if self._storage is None or seed != self._first_seed:
            return data_sources.prepare(self._read(), labelled)
        return loading.prepare_and_log(self._read(), labelled, self._storage)


def run(
    study: Study,
    out: Path,
    execution: Execution,
    progress: Callback,
    data: StudyData | None = None,
    open_executor: ExecutorFactory = local.executor,
) -> dict[str, str]:
    """Train what a study needs and the family at `out` does not hold.

    Returns the reasons of networks that failed, by id; a failure stops a network's students and
    nothing else. `data` is the study's, if the caller has read it already. `open_executor` opens
    what trains: `local.executor` on this machine, or `ray.executor(...)`.

    Raises `AnewError` if the study cannot run or the disk has no room (`execution.force` goes on),
    and `Interrupted`, after saving.
    """
    data = data or StudyData(study, Storage.of(execution, progress.log))
    specs = checked_specs(study, data, out, execution, progress)
    return _train(specs, data.of, out, execution, progress, open_executor)


def checked_specs(
    study: Study, data: StudyData, out: Path, execution: Execution, progress: Callback
) -> list[Spec]:
    """Return a study's networks, oldest first; what is to be said of their data and their models is
    logged.

    Raises `AnewError` if the disk at `out` has no room for them, or a model cannot be trained on
    the data.
    """
    specs = study.specs(data)
    # Before models are tried: those of a study that is too large are counted, never made.
    if not execution.force:
        missing = needs(siblings(specs), out, data.contents, execution)
        planning.check_room(study.name, missing, execution.jobs, out)

    for notice in data.notices:
        progress.log(notice)
    models = {(spec.model, spec.data.fingerprint): spec for spec in specs}
    for spec in models.values():
        for notice in try_model(spec.model, data.of(spec), spec.training, force=execution.force):
            progress.log(notice)
    for notice in check_finished(specs, out, force=execution.force):
        progress.log(notice)

    for spec in specs:
        frozen.check_frozen(spec, data.of(spec).signature)
    return specs


def write_slurm_scripts(
    study: Study, out: Path, execution: Execution, scripts: Scripts, data: StudyData
) -> list[Path]:
    """Write scripts for SLURM that train what a study needs and the family at `out` does not hold.

    Returns the scripts, submit.sh last; none if all networks are trained. The family is made, with
    the spec of each network. Raises `AnewError` if the study cannot run.
    """
    specs = checked_specs(study, data, out, execution, Callback())
    family = Family.create(out)
    missing = [spec for spec in specs if not family.begin(spec).is_done]
    # The study's file is the user's, who so named them; what a family holds may be anybody's.
    named = {spec.model.name for spec in specs if models.is_own_code(spec.model.name)}
    execution = replace(execution, trust=tuple(sorted(named)))
    return slurm.write_scripts(scripts, siblings(missing), out, execution, study.data)


def train_networks(
    family: Path,
    ids: Sequence[str],
    execution: Execution,
    progress: Callback,
    source: str = "",
    root: str = "",
) -> dict[str, str]:
    """Train networks whose specs a family holds, as the scripts for SLURM do.

    Returns the reasons of networks that failed, by id. `source` and `root` override where the specs
    say that their data are. Raises `AnewError` if a teacher is neither trained nor among them, or a
    spec names a model of somebody's own code that `execution` does not trust, and `Interrupted`,
    after saving.
    """
    opened = Family.open(family)
    written = opened.specs(opened.find(start).id for start in ids)
    specs = [replace(spec, data=spec.data.at(source, root)) for spec in written.values()]
    for spec in specs:
        for named in (spec, *spec.teachers):
            folder = opened.folder(named.id).path
            saving.check_trusted(named.model.name, execution.trust, folder)
        for teacher in spec.teachers:
            if teacher.id not in written and not opened.folder(teacher.id).is_done:
                raise AnewError(
                    f"network {spec.id}: its teacher {teacher.id} is not finished (or failed); "
                    "train it first"
                )

    sources: dict[str, Source] = {}
    storage = Storage.of(execution, progress.log)

    @cache
    def data(described: DataSpec) -> Data:
        if described.source not in sources:
            sources[described.source] = data_sources.open_source(described, storage)
        prepared = data_sources.prepare(sources[described.source], described.labelled_only)
        return with_unlabelled(prepared, described, storage) if described.unlabelled else prepared

    return _train(specs, lambda spec: data(spec.data), family, execution, progress, local.executor)


def _train(
    specs: Sequence[Spec],
    data: Callable[[Spec], Data],
    out: Path,
    execution: Execution,
    progress: Callback,
    open_executor: ExecutorFactory,
) -> dict[str, str]:
    failed: dict[str, str] = {}
    with open_session(out, execution, progress) as session, open_executor(session) as executor:
        for finished in train_groups(siblings(specs), data, session.family, executor):
            failed |= {name: str(error) for name, error in finished.failed.items()}
            for text in dict.fromkeys(str(error) for error in finished.failed.values()):
                session.progress.log(text)
    return failed


def needs(
    together: Sequence[Sequence[Spec]], out: Path, contents: Contents, execution: Execution
) -> list[GroupNeeds]:
    """Return what groups of siblings take of which the family at `out` does not hold all."""
    free = files.free_bytes(out)
    if not (out / "family.json").exists():
        return planning.needs(together, (), contents, execution, free)
    family = Family.open(out)
    held = {spec.id for group in together for spec in group if family.folder(spec.id).is_done}

    def filled(key: StoreKey) -> int | None:
        return count_held(family.stores, key)

    return planning.needs(together, held, contents, execution, free, filled)


def siblings(specs: Sequence[Spec]) -> list[list[Spec]]:
    """Return specs in groups that can train on one pass over the data, oldest first.

    Siblings have the same teachers, data and batches, and ask their teacher in the same way.
    """

    def key(spec: Spec) -> str:
        training = spec.training
        # Generations as text of one length, so that older groups come first.
        shared: Mapping[str, object] = {
            "generation": f"{spec.generation:06d}",
            "data": fields.write(spec.data, identity=True),
            "teachers": [teacher.id for teacher in spec.teachers],
            "teacher_weights": spec.teacher_weights,
            "batch_size": training.batch_size,
            "asked": (
                training.precision,
                training.memory_format,
                training.compile,
                spec.objective.top_k,
                spec.objective.rest,
            ),
            "shuffled": spec.objective.shuffled,
        }

        return repr(shared)

    return [list(group) for _, group in groupby(sorted(specs, key=key), key=key)]
