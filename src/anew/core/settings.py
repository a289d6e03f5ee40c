"""A recipe and its execution read together: what `anew train` and `anew.train` are given.

The keywords of `anew.train` are the flags of `anew train` that have no dot: one table serves both.
"""

from __future__ import annotations

import keyword as python_keyword
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from anew.core import fields
from anew.core.errors import AnewError, did_you_mean
from anew.core.execution import TABLE, Execution
from anew.core.recipe import Recipe, override, read_toml
from anew.core.spec import TrainingSpec, is_text


class Keywords(TypedDict, total=False):
    """The settings that `anew.train` takes as keywords; None is the same as not given."""

    # The recipe.
    objective: str | Mapping[str, Any] | None
    generations: int | str | None
    stop_rule: str | None
    seed: int | None
    siblings: Sequence[str] | None
    sibling_seeds: Sequence[int] | None
    label_smoothing: float | None
    frozen: Sequence[str] | None
    # Also modules and callables, of which nothing is known here.
    teacher: Any
    teacher_weights: Sequence[float] | None
    taught_by: str | None
    soft_labels: str | Path | None
    soft_labels_are: str | None
    teacher_model: str | Mapping[str, Any] | None
    start_from: str | Path | None
    # Its data.
    limit: int | None
    unlabelled: str | None
    views: str | None
    # Its training.
    epochs: int | None
    batch_size: int | None
    optimizer: str | None
    learning_rate: float | None
    momentum: float | None
    nesterov: bool | None
    weight_decay: float | None
    decay_all: bool | None
    schedule: str | None
    milestones: Sequence[float] | None
    drop: float | None
    warmup: float | None
    clip_norm: float | None
    precision: str | None
    memory_format: str | None
    compile: bool | None
    best_epoch: bool | None
    early_stopping: int | None
    accumulate: int | None
    averaging: float | None
    # The execution.
    device: str | None
    threads: int | None
    save_minutes: float | None
    force: bool | None
    ask: str | None
    disk_budget: float | None
    trust: Sequence[str] | None
    jobs: int | None
    keep_epochs: int | None
    storage: str | None
    workers: int | None
    cache_budget: float | None
    track: Sequence[str] | None


TEXT = {
    "model": {"name": "lstm-1-200"},
    "objective": {"name": "ban+l"},
    "training": {
        "epochs": 20,
        "batch_size": 20,
        "learning_rate": 35.0,
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 0.0,
        "schedule": "plateau",
        "drop": 0.25,
        "clip_norm": 0.25,
    },
}
"""What is meant for a text where nothing else is said: the paper's settings (section 4.2), with the
rate 1 of a sum over 35 steps as 35 of the mean over tokens."""
TRANSFORMER = {
    **TEXT,
    "training": {
        "epochs": 20,
        "batch_size": 20,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "decay_all": False,
        "schedule": "cosine",
        "warmup": 0.05,
        "clip_norm": 1.0,
    },
}
"""The same for a transformer, which SGD trains badly."""
POSITIONAL = ("model", "data")
"""Flags of `anew train` that are parameters of their own in Python."""


def keywords() -> dict[str, fields.Option]:
    """Return every setting that has a keyword, by that keyword."""
    by_keyword: dict[str, fields.Option] = {}
    settings = [*fields.options(Recipe), *fields.options(Execution, (TABLE,))]
    for setting in settings:
        keyword = setting.flag.removeprefix("--").replace("-", "_")
        if python_keyword.iskeyword(keyword):
            # `from` cannot be an argument's name.
            keyword = setting.path[-1]
        if "." not in keyword and keyword not in POSITIONAL:
            by_keyword[keyword] = setting
    return by_keyword


def nest_keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords nested as the tables of a TOML file are, without those that are None.

    Raises `AnewError` if a keyword is unknown.
    """
    known = keywords()
    nested: dict[str, Any] = {}
    for keyword, value in given.items():
        if keyword not in known:
            raise AnewError(
                f"unknown keyword '{keyword}'{did_you_mean(keyword, known)}; known are "
                f"{', '.join(known)}; pass other settings with recipe="
            )
        if value is None:
            continue

        *tables, name = known[keyword].path
        table = nested
        for part in tables:
            table = table.setdefault(part, {})
        if tables and isinstance(value, Mapping):
            # As objective={"name": "kd", "temperature": 4}: the whole table.
            table.update(typing.cast("Mapping[str, Any]", value))
        else:
            table[name] = _as_text(value)
    return nested


def _as_text(value: Any) -> Any:
    """Return a value with text in place of paths."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_as_text(item) for item in typing.cast("Sequence[Any]", value)]
    return value


def read_settings(path: Path | None, *given: Mapping[str, Any]) -> tuple[Recipe, Execution]:
    """Read a recipe and its execution from a TOML file (or none), overridden by the given values.

    `given` are mappings nested as the TOML file is; a later one overrides an earlier one. The table
    `[execution]` is the execution, the rest is the recipe. Raises `AnewError` if the file cannot be
    read, a key is unknown or a value is wrong.
    """
    layers = [(values, "") for values in given]
    if path is not None:
        layers.insert(0, (read_toml(path), f"recipe {path}"))
    recipe, execution = _together(Recipe(), layers)
    if is_text(recipe.data.source):
        by_rates = recipe.training.optimizer == TrainingSpec().optimizer
        of_model = TEXT
        if recipe.model.name.startswith("transformer-") or not by_rates:
            of_model = TRANSFORMER
        return _together(override(Recipe(), of_model), layers)
    return recipe, execution


def _together(
    recipe: Recipe, layers: Sequence[tuple[Mapping[str, Any], str]]
) -> tuple[Recipe, Execution]:
    """Return a recipe, and an execution of defaults, with each layer over those before."""
    execution = Execution()
    for values, where in layers:
        recipe, execution = _override(recipe, execution, values, where)
    return recipe, execution


def _override(
    recipe: Recipe, execution: Execution, values: Mapping[str, Any], where: str = ""
) -> tuple[Recipe, Execution]:
    """Return both with the given values in place of their own; `where` names their origin."""
    of_recipe = {name: value for name, value in values.items() if name != TABLE}
    of_execution = values.get(TABLE, {})
    if not isinstance(of_execution, Mapping):
        raise AnewError(f"{TABLE} must be a table, got {of_execution!r}; write it as [{TABLE}]")

    of_execution = typing.cast("Mapping[str, Any]", of_execution)
    changed = fields.override(execution, of_execution, where, (TABLE,))
    return override(recipe, of_recipe, where), changed
