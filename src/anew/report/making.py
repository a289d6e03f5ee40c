"""The command that trains a lineage, found from the specs of its networks.

A family records what each network is and not how it was asked for: a recipe in TOML, options and
Python all come to the same specs. The command is shown only where it comes to these, too.
"""

from __future__ import annotations

import shlex
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from anew import studies
from anew.core import fields
from anew.core.errors import AnewError
from anew.core.fields import Option, Table
from anew.core.recipe import Recipe, lineage_of
from anew.core.settings import read_settings
from anew.core.spec import FROM_TEACHER, ObjectiveSpec, Spec
from anew.studies import Changes, Study

_FILE = "FILE"
"""What stands for the name of a file, which a family does not keep."""
_DECISIVE = ("model.name", "data.source", "training.optimizer")
"""The settings that decide the defaults of others."""
_SOURCES = ("data.source", "data.unlabelled")
_UNSAID = ("data.root", "data.download", "data.fingerprint", "data.unlabelled_fingerprint")
"""Where the data lie, and hashes by which they are checked."""


def command(lineage: Sequence[Spec], among: Collection[Spec], family: str) -> str:
    """Return the command that trains a lineage, oldest network first, into the folder `family`.

    `among` are the family's networks, of which siblings are found. A path is given by its last
    part, and FILE stands for the name of a teacher's file. Returns "" where no single command
    trains this lineage.
    """
    lineage = _main(lineage, among)
    found = _recipe(lineage) if lineage else None
    if found is None:
        return ""
    recipe, teachers = found
    settings = _settings(recipe)
    # Defaults may hang together in a way that only reading them shows.
    read, _ = read_settings(None, _nested(settings))
    if replace(read, data=recipe.data) != recipe or _identity(read) != _identity(recipe):
        return ""

    siblings, seeds = _siblings(lineage, among), _seeds(lineage, among)
    words = ["anew", "train", "--out", family]
    for option, value in settings.items():
        words += _words(option, value)
    words += ["--siblings", ",".join(siblings)] if siblings else []
    words += ["--sibling-seeds", ",".join(map(str, seeds))] if seeds else []
    for teacher in teachers:
        words += ["--soft-labels" if teacher.is_soft_labels else "--teacher", _FILE]
    if lineage[-1].start not in ("", FROM_TEACHER):
        words += ["--from", _FILE]
    return shlex.join(words)


def _main(lineage: Sequence[Spec], among: Collection[Spec]) -> Sequence[Spec]:
    """Return a lineage without a sibling at its end: with the network beside which it learned."""
    if len(lineage) < 3:
        return lineage
    *before, last = lineage
    main = replace(last, objective=before[-1].objective, seed=before[-1].seed)
    return (*before, main) if main.id in {spec.id for spec in among} else lineage


def _identity(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe says of the data's content, apart from hashes that check it."""
    spec = replace(recipe.data, fingerprint="", unlabelled_fingerprint="")
    return fields.write(spec, identity=True)


def without_folders(source: str) -> str:
    """Return a source's name without its folders, which belong to the machine."""
    kind, _, place = source.partition(":")
    return f"{kind}:{place.rstrip('/').rsplit('/', 1)[-1]}" if place else kind


def _recipe(lineage: Sequence[Spec]) -> tuple[Recipe, tuple[Spec, ...]] | None:
    """Return the recipe of a lineage and the teachers that were given to it, if there is one."""
    candidates: list[tuple[Spec, ...]] = [()]
    candidates += [spec.teachers for spec in lineage[:2] if spec.teachers]
    for teachers in candidates:
        recipe = _guess(lineage, teachers)
        try:
            made = lineage_of(recipe, lineage[-1].data, teachers, lineage[-1].start)
        except AnewError:
            continue
        if [spec.id for spec in made] == [spec.id for spec in lineage]:
            return recipe, teachers
    return None


def _guess(lineage: Sequence[Spec], teachers: Sequence[Spec]) -> Recipe:
    """Return the recipe that the networks of a lineage speak of."""
    first, last = lineage[0], lineage[-1]
    students = len(lineage) - (0 if first.teachers else 1)
    recipe = Recipe(
        model=last.model,
        data=last.data,
        training=last.training,
        generations=students,
        seed=last.seed,
        frozen=last.frozen,
        start_from=FROM_TEACHER if last.start == FROM_TEACHER else None,
    )

    if students:
        weights = lineage[-students].teacher_weights
        recipe = replace(recipe, objective=last.objective, teacher_weights=weights)

    if students > 1 and len(last.teachers) > 1:
        everyone = len(last.teachers) == students + max(0, len(teachers) - 1)
        taught_by = "all" if everyone else f"last-{len(last.teachers)}"
        recipe = replace(recipe, taught_by=taught_by)
    if not teachers:
        smoothing = dict(first.objective.options).get("smoothing") or 0.0
        other = first.model if first.model != last.model else None
        recipe = replace(recipe, label_smoothing=float(smoothing), teacher_model=other)
    return recipe


def _siblings(lineage: Sequence[Spec], among: Collection[Spec]) -> tuple[str, ...]:
    """Return the objectives that have a student beside every student of a lineage.

    Those with options of their own are left out: a command names siblings without options.
    """
    students = [spec for spec in lineage if spec.teachers and not spec.weights]
    found: dict[str, set[str]] = {}
    for one in among:
        for student in students:
            alike = replace(one, objective=student.objective) == student
            if alike and one != student and one.objective == _asked(student, one.objective.name):
                found.setdefault(one.objective.name, set()).add(student.id)
    return tuple(sorted(name for name, beside in found.items() if len(beside) == len(students)))


def _asked(student: Spec, name: str) -> ObjectiveSpec:
    """Return the objective of a student's sibling, which asks the same of the teacher."""
    return replace(student.objective, name=name, options=())


def _seeds(lineage: Sequence[Spec], among: Collection[Spec]) -> tuple[int, ...]:
    """Return the further seeds that every network of a lineage has beside it."""
    trained = [spec for spec in lineage if not spec.weights]
    if not any(spec.teachers for spec in trained):
        return ()
    ids = {spec.id for spec in among}
    seeds = sorted({spec.seed for spec in among} - {lineage[-1].seed})
    return tuple(
        seed for seed in seeds if all(replace(spec, seed=seed).id in ids for spec in trained)
    )


def _settings(recipe: Recipe) -> dict[Option, Any]:
    """Return the settings that differ from their defaults, which some of them decide."""
    plain = Recipe()
    decisive = {option: _value(recipe, option.path) for option in _options(recipe)}
    decisive = {option: value for option, value in decisive.items() if option.key in _DECISIVE}
    others, _ = read_settings(None, _nested(decisive))

    settings: dict[Option, Any] = {}
    for option in _options(recipe):
        value = _value(recipe, option.path)
        default = _value(plain if option.key in _DECISIVE else others, option.path)
        if value != default:
            settings[option] = value
    return settings


def _options(recipe: Recipe) -> Iterator[Option]:
    """Yield the options of a recipe that a command may have to give."""
    for option in fields.options(Recipe):
        if option.key in _UNSAID or option.constraint.keys is not None:
            continue
        if option.path[0] != "teacher_model" or recipe.teacher_model is not None:
            yield option


def _value(recipe: Recipe, path: Sequence[str]) -> Any:
    """Return the value of a setting; of an objective's own option None where it is not given."""
    part: Any = recipe
    for name in path[:-1]:
        part = getattr(part, name)
    if part is None or hasattr(part, path[-1]):
        return getattr(part, path[-1], None)
    return dict(part.options).get(path[-1])


def _nested(settings: Mapping[Option, Any]) -> dict[str, Any]:
    """Return settings nested as the tables of a TOML file are."""
    nested: dict[str, Any] = {}
    for option, value in settings.items():
        table = nested
        for part in option.path[:-1]:
            table = table.setdefault(part, {})
        table[option.path[-1]] = dict(value) if option.kind == "KEY=VALUE" else value
    return nested


def _words(option: Option, value: Any) -> list[str]:
    """Return a setting as a command's words."""
    if option.type is bool:
        *tables, name = option.flag.removeprefix("--").split(".")
        return ["--" + ".".join([*tables, name if value else f"no-{name}"])]
    if option.kind == "KEY=VALUE":
        table = typing.cast("Table", value)
        return [word for key, one in table for word in (option.flag, f"{key}={_text(one)}")]
    if isinstance(value, tuple):
        items = [_text(one) for one in typing.cast("tuple[Any, ...]", value)]
        return [option.flag, ",".join(items)]
    text = _text(value)
    return [option.flag, without_folders(text) if option.key in _SOURCES else text]


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def of_study(study: Study, family: str) -> str:
    """Return the command that trains a study's table into the folder `family`.

    Returns "" where none does: a family does not keep the name of a study's file.
    """
    if study.name not in studies.STUDIES:
        return ""
    for scale in studies.SCALES:
        plain = studies.choose(study.name, scale)
        changes = _changes(plain, study)
        try:
            is_it = studies.choose(study.name, scale, changes) == study
        except AnewError:
            continue
        if is_it:
            words = ["anew", "study", "run", study.name, "--out", family]
            words += ["--scale", scale] if scale != "full" else []
            return shlex.join([*words, *_change_words(changes)])
    return ""


def _changes(plain: Study, study: Study) -> Changes:
    """Return what a user changed about a study."""
    data = {
        name: getattr(study.data, name)
        for name in ("source", "limit")
        if getattr(study.data, name) != getattr(plain.data, name)
    }
    epochs = study.training.epochs

    return Changes(
        seeds=() if study.seeds == plain.seeds else study.seeds,
        rows=() if list(study.rows) == list(plain.rows) else tuple(study.rows),
        columns=study.shown,
        controls=study.controls != plain.controls,
        # Where the data lie is no part of the command.
        data={**data, "root": study.data.root, "download": study.data.download},
        epochs=None if epochs == plain.training.epochs else epochs,
    )


def _change_words(changes: Changes) -> list[str]:
    source, limit = changes.data.get("source"), changes.data.get("limit")
    several = {"--seeds": changes.seeds, "--rows": changes.rows, "--columns": changes.columns}
    words = [word for flag, given in several.items() if given for word in (flag, *map(str, given))]
    words += ["--controls"] if changes.controls else []
    words += ["--data", without_folders(source)] if source else []
    words += ["--limit", str(limit)] if limit else []
    return words + (["--epochs", str(changes.epochs)] if changes.epochs is not None else [])
