"""From a recipe to a trained family: its data, its specs, and each generation in turn, oldest
first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anew import evaluation, models, objectives
from anew.core.callbacks import Callback
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.recipe import Recipe, lineage_of, siblings_of
from anew.core.spec import VALIDATED, Spec
from anew.data import Data
from anew.data.storage import Storage
from anew.data.unlabelled import with_unlabelled
from anew.data.windows import Windows
from anew.evaluation import Row, advice, stopping
from anew.family import Family, NetworkFolder
from anew.family.differences import beside
from anew.models import frozen
from anew.teachers.opening import check_teachers
from anew.teachers.shuffled import check_shuffled
from anew.training.code import check_finished
from anew.training.given_objects import check_jobs
from anew.training.launch import local
from anew.training.launch.scheduler import train_groups
from anew.training.launch.workers import Executor
from anew.training.pretrained import PretrainedTeacher, find_teachers
from anew.training.session import Session, open_session
from anew.training.start import check_start, find_start
from anew.training.trainer import check_accumulation
from anew.training.trial import try_model

# Up to so many steps an epoch, from so many epochs on, fewer than so many steps in all are few.
FEW_AN_EPOCH, MANY_EPOCHS, ENOUGH = 2, 10, 500


@dataclass(frozen=True)
class Trained:
    """A finished lineage: where it lies, its specs oldest first, its scores, and what failed beside
    it. Without test examples there are no scores.
    """

    family: Family
    lineage: tuple[Spec, ...]
    rows: list[Row]
    failures: list[AnewError] = field(default_factory=list[AnewError])


def train_lineage(
    recipe: Recipe,
    data: Data,
    out: Path,
    execution: Execution,
    progress: Callback,
    objects: Mapping[str, Any] | None = None,
) -> Trained:
    """Train a recipe's networks in the family at `out`; resume where an earlier run stopped.

    Networks that the family holds already are not trained again. A sibling that fails does not stop
    the lineage. Raises `AnewError`, and `Interrupted` after saving.
    """
    recipe = filled(recipe)
    data = replace(data, spec=data.spec.labelled_only)
    # Mistakes in the recipe show before anything is written.
    notices = _check_sound(recipe, data, force=execution.force)

    named = [model.name for model in (recipe.model, recipe.teacher_model) if model is not None]
    trusted = [*named, *execution.trust]
    pretrained = find_teachers(recipe, data, trusted, objects, force=execution.force)
    in_memory = {
        one.spec.id: one.network
        for one in pretrained
        if isinstance(one, PretrainedTeacher) and one.is_in_memory and one.network is not None
    }
    check_jobs(objects or {}, in_memory, execution.jobs)
    start = find_start(recipe, data)
    taught = _taught(recipe, data, execution, progress)
    lineage = lineage_of(recipe, taught.spec, [teacher.spec for teacher in pretrained], start.key)
    students = lineage[len(lineage) - recipe.generations :]
    built = students if pretrained else lineage
    generations = [filled_siblings(recipe, spec) if spec in built else [spec] for spec in lineage]
    wanted = [spec for siblings in generations for spec in siblings]
    _check_specs(wanted, students, data)
    notices += check_finished(wanted, out, force=execution.force)

    def seen_by(spec: Spec) -> Data:
        return taught if spec.data.unlabelled else data

    with (
        open_session(out, execution, progress, in_memory) as session,
        local.executor(session) as executor,
    ):
        family = session.family
        brought = [notice for teacher in pretrained for notice in teacher.notices]
        _log(session, [*taught.notices, *notices, *brought, *start.notices, beside(family, wanted)])
        session.world.in_turn(lambda: start.bring(family))
        for teacher in pretrained:
            session.world.in_turn(lambda one=teacher: one.bring(family, data, session.device))

        trained, failures = _train_in_turn(recipe, session, executor, generations, seen_by)
        lineage, generations = lineage[:trained], generations[:trained]

    rows: list[Row] = []
    if len(data.test):
        others = [
            *lineage[-1].beside_lineage,
            *(spec for siblings in generations for spec in siblings[1:]),
        ]
        rows = evaluation.evaluate_lineage(family, lineage)
        rows += evaluation.evaluate_networks(family, others)
    return Trained(family, lineage, rows, failures)


def _train_in_turn(
    recipe: Recipe,
    session: Session,
    executor: Executor,
    generations: Sequence[Sequence[Spec]],
    data: Callable[[Spec], Data],
) -> tuple[int, list[AnewError]]:
    """Train generation after generation, each a network of the lineage and its siblings.

    Returns how many there are, less than those given if the recipe's rule ended the lineage, and
    the errors of siblings. Raises the error of a network of the lineage itself.
    """
    family = session.family
    failures: list[AnewError] = []
    for number, (spec, *beside_it) in enumerate(generations):
        was_held = family.folder(spec.id).is_done
        failed: dict[str, AnewError] = {}
        for finished in train_groups([[spec, *beside_it]], data, family, executor):
            failed |= finished.failed
        failures += failed.values()
        if spec.id in failed:
            raise failed[spec.id]

        if _ends_at(session, recipe, [one for one, *_ in generations[: number + 1]]):
            return number + 1, failures
        if number + 1 < len(generations) and not was_held:
            _log(session, [_of_teacher(family.folder(spec.id), is_text=data(spec).is_text)])
    return len(generations), failures


def filled(recipe: Recipe) -> Recipe:
    """Return a recipe with what its names and defaults stand for written out."""
    teacher_model = recipe.teacher_model
    return replace(
        recipe,
        model=models.spelled(recipe.model),
        teacher_model=models.spelled(teacher_model) if teacher_model is not None else None,
        objective=objectives.fill(recipe.objective),
    )


def _check_specs(wanted: Sequence[Spec], students: Sequence[Spec], data: Data) -> None:
    """Raise `AnewError` if a network's batches cannot be cut, or a student cannot have its
    teachers, frozen parts or first weights.
    """
    for spec in wanted:
        check_accumulation(spec)
    for spec in students:
        check_teachers(spec)
        if spec.frozen:
            frozen.check_frozen(spec, data.signature)
        check_start(spec, data.signature)


def _taught(recipe: Recipe, data: Data, execution: Execution, progress: Callback) -> Data:
    """Return what students learn from: the data, with unlabelled examples if there are any.

    Raises `AnewError` if these do not fit the data, or an objective learns nothing from them.
    """
    if not recipe.data.unlabelled:
        return data
    for name in (recipe.objective.name, *recipe.siblings):
        objectives.check_unlabelled(name)
    return with_unlabelled(data, recipe.data, Storage.of(execution, progress.log))


def _log(session: Session, said: Iterable[str]) -> None:
    for notice in filter(None, said):
        session.progress.log(notice)


def filled_siblings(recipe: Recipe, spec: Spec) -> list[Spec]:
    """Return a network of the lineage and its siblings with all options filled in."""
    return [
        replace(one, objective=objectives.fill(one.objective)) for one in siblings_of(recipe, spec)
    ]


def _few_steps(recipe: Recipe, data: Data) -> list[str]:
    """Return what is to be said where a batch is about all training examples: an epoch is then a
    step or two, and dozens of epochs leave a network about as it was.
    """
    training = recipe.training
    each = max(1, len(data.training) // training.batch_size)
    steps = each * training.epochs
    if data.is_text or each > FEW_AN_EPOCH or training.epochs < MANY_EPOCHS or steps >= ENOUGH:
        return []
    lower = max(8, training.batch_size // 8)
    return [
        f"{len(data.training):,} training examples in batches of {training.batch_size} are "
        f"{each} {'step' if each == 1 else 'steps'} an epoch, {steps} in all: few to train a "
        f"network with; lower --batch-size, to {lower} for example"
    ]


def _check_sound(recipe: Recipe, data: Data, *, force: bool) -> list[str]:
    """Try the recipe's models and check its objectives.

    Returns what is to be said of the models. Raises `AnewError` if one cannot be trained on the
    data, or an objective's setting is wrong.
    """
    trained = [recipe.model]
    # That of a teacher that is given is tried with its weights.
    if recipe.teacher_model is not None and recipe.teacher is None:
        trained.append(recipe.teacher_model)
    said = [
        notice
        for model in trained
        for notice in try_model(model, data, recipe.training, force=force)
    ]

    said += _few_steps(recipe, data)

    for name in recipe.siblings:
        if "teacher" not in objectives.find(name).needs:
            raise AnewError(
                f"siblings: objective '{name}' has no teacher; for label-only networks set "
                f"--sibling-seeds"
            )

    if recipe.generations:
        for name in (recipe.objective.name, *recipe.siblings):
            objectives.find(name).features_of(recipe.model)
        if not force:
            objectives.check_bounded(recipe.objective)
    if recipe.training.schedule in VALIDATED and not len(data.validation):
        raise AnewError(
            f"training.schedule: '{recipe.training.schedule}' follows the validation perplexity, "
            "and no validation data are held out; choose another --schedule, or set "
            "--data.validation"
        )
    if recipe.training.early_stopping:
        _check_early_stopping(recipe, data)
    if data.is_text:
        _check_text(recipe, data)
    if recipe.objective.shuffled:
        samples = data.spec.balance == "sampling"
        check_shuffled(data.signature, data.views, samples=samples)
    top_k = recipe.objective.top_k
    if top_k is not None and top_k >= len(data.classes):
        raise AnewError(
            f"objective.top_k must be smaller than the number of classes, {len(data.classes)}, got "
            f"{top_k}; drop --objective.top-k"
        )
    return said


def _check_early_stopping(recipe: Recipe, data: Data) -> None:
    """Raise `AnewError` if a training cannot stop early."""
    if not len(data.validation):
        raise AnewError(
            "training.early_stopping: follows the validation loss, and no validation data are held "
            "out; set --data.validation 0.1, or --early-stopping 0"
        )
    if recipe.training.best_epoch:
        raise AnewError(
            "training.early_stopping: keeps the weights of the best epoch already; drop "
            "--best-epoch"
        )


def _check_text(recipe: Recipe, data: Data) -> None:
    """Raise `AnewError` if a recipe asks of a text what it has not."""
    assert isinstance(data.training, Windows), "the data are a text"
    data.training.in_streams(recipe.training.batch_size)
    if recipe.training.accumulate > 1:
        raise AnewError(
            "training.accumulate: is not supported for texts, whose windows pass on a state; set "
            "--accumulate 1"
        )

    if recipe.stop_rule != "none" and recipe.generations and not len(data.validation):
        raise AnewError(
            "stop_rule: needs validation tokens, and the text has none; add a valid.txt, or set "
            "--stop-rule none and a number of --generations"
        )
    if recipe.data.unlabelled:
        raise AnewError("data.unlabelled: is not supported for texts; drop --unlabelled")
    if recipe.soft_labels is not None:
        raise AnewError("soft_labels: are not supported for texts; drop --soft-labels")


def _ends_at(session: Session, recipe: Recipe, trained: Sequence[Spec]) -> bool:
    """Return whether the lineage ends at the last of those that are trained, because it gained
    nothing by the recipe's rule, and log what was measured.
    """
    family = session.family
    compared = [spec for spec in trained if family.folder(spec.id).outputs.exists()]
    if recipe.stop_rule == "none" or len(compared) < 2:
        return False
    rule: stopping.Rule = "network" if recipe.stop_rule == "network" else "ensemble"
    found = stopping.last_gain(family, compared, rule)
    session.progress.log(stopping.in_words(found, compared, rule))
    return not found.is_shown


def _of_teacher(folder: NetworkFolder, *, is_text: bool) -> str:
    """Return what is to be said of a network before it teaches; "" if nothing is."""
    if advice.still_falling(folder.read_metrics(), is_text=is_text) is None:
        return ""
    return (
        "the teacher's training ended too early: its validation loss was still falling. Students "
        "of such a teacher are often worse than it; raise --epochs"
    )
