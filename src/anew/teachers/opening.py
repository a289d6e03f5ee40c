"""Opening a teacher: trained networks, the encoding of their answers, and a table if one pays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from anew import objectives
from anew.core.distributed import World
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.spec import Spec
from anew.data.batches import Batches
from anew.models.network import Network
from anew.teachers.choice import Choice, Need, choose
from anew.teachers.encoding import Encoding
from anew.teachers.live import LiveTeacher
from anew.teachers.reading import ReadingTeacher
from anew.teachers.store import Store, StoreKey, store_key
from anew.teachers.teacher import Teacher


@dataclass(frozen=True)
class TeacherParts:
    """What a student's teacher is put together from."""

    spec: Spec
    """The student, which decides precision, encoding and batch size."""
    live: LiveTeacher
    encoding: Encoding
    key: StoreKey
    """The key of the table that holds the answers."""
    reads_text: bool = False
    """Whether the answers depend on what came before, as those to windows of a text."""

    def choose(self, stores: Path, execution: Execution) -> Choice:
        """Choose how to ask for one student, given the tables and the free disk at `stores`."""
        need = Need(
            views=self.key.views,
            epochs=self.spec.training.epochs,
            store_bytes=self.key.bytes,
            free_bytes=shutil.disk_usage(stores.parent).free,
            is_begun=self.key.folder(stores).exists(),
            features=bool(self.live.features),
            by=self.key.by,
        )
        return choose(need, execution)

    def teacher(
        self,
        store: Store | None = None,
        log: Callable[[str], None] = lambda text: None,
        world: World | None = None,
    ) -> Teacher:
        """Return the teacher, asked live, or through an open store."""
        kind = ReadingTeacher if self.reads_text else Teacher
        return kind(self.live, self.encoding, self.key.batch_size, store, log, world)


def asking(specs: Sequence[Spec]) -> Spec:
    """Return the spec by which the teacher of siblings is asked: the first's, for all their epochs.

    A store by epoch has places for the sibling that trains longest.
    """
    epochs = max(spec.training.epochs for spec in specs)
    return replace(specs[0], training=replace(specs[0].training, epochs=epochs))


def check_teachers(spec: Spec) -> tuple[str, ...]:
    """Return the names of the features that a student's objective takes of its teacher.

    Raises `AnewError` if it compares features and there are several teachers.
    """
    objective = objectives.find(spec.objective.name)
    if any(teacher.is_soft_labels for teacher in spec.teachers):
        if "features" in objective.needs:
            raise AnewError(
                f"objective '{spec.objective.name}': needs a network's features, not soft "
                "labels; choose another --objective"
            )
        return ()

    features = objective.features_of(spec.teachers[0].model)
    if features and len(spec.teachers) > 1:
        raise AnewError(
            f"objective '{spec.objective.name}': compares features with a single teacher's, got "
            f"{len(spec.teachers)} teachers; choose another --objective"
        )
    return features


def teacher_parts(networks: Sequence[Network], spec: Spec, batches: Batches) -> TeacherParts:
    """Return the parts of a student's teacher. `networks` are its teachers, on their device.

    Raises `AnewError` if the objective compares features and there are several teachers.
    """
    training, features = spec.training, check_teachers(spec)
    live = LiveTeacher(
        networks, training.precision, training.compile, features, spec.teacher_weights
    )

    classes = len(live.signature.classes)
    frequencies = None
    if spec.objective.top_k is not None and spec.objective.rest == "frequencies":
        # One more of each: a word that training has not keeps a probability.
        counts = torch.bincount(batches.labels.flatten(), minlength=classes)
        frequencies = (counts + 1).double() / (counts.sum() + classes)

    encoding = Encoding(classes, spec.objective.top_k, frequencies)
    key = store_key(
        spec, len(batches.labels), batches.batch_size, encoding, live.signature.positions
    )
    return TeacherParts(spec, live, encoding, key, batches.is_text)


def open_teacher(
    parts: TeacherParts,
    batches: Batches,
    stores: Path,
    execution: Execution,
    log: Callable[[str], None],
    world: World,
) -> Teacher:
    """Return a student's teacher, ready to answer: with its table if one is chosen, and verified.

    `stores` is the folder of a family's tables. A table that cannot be made is logged, and the
    teacher is asked live. A damaged one is set aside, which is logged too, and filled again. Raises
    `AnewError` if a table holds other answers than the teacher gives.
    """
    choice = parts.choose(stores, execution)
    log(choice.reason)
    store = None
    if choice.way == "table":
        try:
            store = world.in_turn(lambda: Store.open(stores, parts.key, log))
        except OSError as error:
            log(
                f"stored targets {stores}: cannot be made ({error.strerror}); the teacher runs "
                "without a cache, with the same result"
            )

    teacher = parts.teacher(store, log, world)
    teacher.verify(batches, parts.spec.training.precision)
    if isinstance(teacher, ReadingTeacher):
        teacher.begin(batches)
    if parts.spec.objective.shuffled:
        teacher.shuffle(batches)
    return teacher
