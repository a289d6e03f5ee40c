"""Born-again training in Python: `train` from arrays, data sets and models of your own.

It trains the same lineage as `anew train`, into the same family.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from anew import data as data_sources
from anew import evaluation
from anew import report as reports
from anew.cli import terminal
from anew.cli.streams import Terminal
from anew.core import fields
from anew.core.callbacks import Callback, Callbacks
from anew.core.errors import AnewError
from anew.core.execution import TABLE, Execution
from anew.core.recipe import Recipe, override
from anew.core.settings import Keywords, nest_keywords, read_settings
from anew.core.spec import DataSpec, Spec
from anew.data import Data, Source
from anew.data.loading import load_data, prepare_and_log
from anew.data.sources.layout_names import SPLITS, SplitName, split_called
from anew.data.storage import Storage
from anew.evaluation import Row
from anew.evaluation import insight as insights
from anew.evaluation.ensemble import Ensemble
from anew.evaluation.loading import load_network
from anew.evaluation.predictor import Chosen
from anew.export import check_target, export
from anew.family import Family
from anew.models.network import Network
from anew.report import figures, notebook
from anew.training import given_objects, lineage
from anew.training.device import settings

Array = Tensor | NDArray[Any]
Examples = (
    str
    | tuple[Any, Any]
    | tuple[Any, Any, Any]
    | tuple[Array, Array, Array, Array]
    | Dataset[Any]
    | Mapping[str, Any]
    | Source
)
"""A source's name, (x, y), (x, y, x_test, y_test), a torch data set of (input, label), two of such
sets for training and test or three with one for validation between them, a mapping of train,
validation and test to such sets, or a `Source`.
"""


@dataclass(frozen=True)
class Result:
    """A trained lineage: its networks, oldest first, and their scores on the test set."""

    family: Family
    lineage: tuple[Spec, ...]
    scores: list[Row]
    failures: list[AnewError] = field(default_factory=list[AnewError])
    """The errors that stopped siblings of the lineage."""
    data: Data | None = field(default=None, repr=False)
    """The data that it was trained on; a report takes its test pictures from them."""

    def network(self, generation: int = -1) -> Network:
        """Load the network of a generation, in evaluation mode.

        The module takes inputs as they are stored and returns logits (B, C). Raises `AnewError` if
        it answers otherwise than when it was trained.
        """
        spec = self.lineage[generation]
        folder = self.family.folder(spec.id)
        loaded = load_network(folder, [spec.model.name], data=self.data, learned=spec.data)
        return loaded.eval()

    def predict(self, inputs: Array, generations: Sequence[int] = (-1,)) -> Tensor:
        """Return probabilities (N, C) of one generation, or the mean of several.

        `inputs` are (N, H, W), (N, H, W, C), (N, C, H, W) or (N, F), in the units of the training
        data.
        """
        given = data_sources.as_inputs(inputs)
        examples = data_sources.Resident(given, torch.zeros(len(given), dtype=torch.int64))
        together = Ensemble([self.network(generation) for generation in generations])
        return evaluation.predict(together, examples, torch.device("cpu")).exp()

    def export(
        self, path: str | Path, generations: Sequence[int] = (-1,), *, calibrate: bool = False
    ) -> Path:
        """Write a generation, or the mean of several, as one file that works without anew.

        The suffix says the format, as for `anew export`: .onnx, .pt2 or .safetensors. `calibrate`
        puts a temperature inside, fitted on the validation examples. Returns the path. Raises
        `AnewError` if the file cannot be written, or would not answer as anew does.
        """
        target = check_target(Path(path))
        chosen = Chosen(self.family, tuple(self.lineage[number] for number in generations))
        trusted = [spec.model.name for spec in chosen.specs]
        return export(chosen.predictor(trusted, temperature=calibrate), target).path

    def insight(
        self,
        split: insights.Split = "test",
        *,
        examples: int | None = None,
        data: Examples | None = None,
        device: str = "cpu",
    ) -> insights.Insight:
        """Measure what the lineage learned, as `anew insight` does.

        `data` are those given to `train`, unless that was the name of a source. They are needed for
        the split `train` and for the epochs whose weights were kept.
        """
        trusted = [spec.model.name for spec in self.lineage]
        with settings(Execution(device)) as where:
            options = insights.Options(split, examples, where, trusted)
            if data is None or isinstance(data, str):
                return insights.collect_with_data(self.family, self.lineage, options, source=data)
            spec = self.lineage[-1].data
            prepared = data_sources.prepare(_source(data, spec), spec)
            return insights.collect(self.family, self.lineage, options, prepared)

    def report(self, path: str | Path) -> Path:
        """Write the family's report with this lineage, as `anew report` does, and return its path.

        Raises `AnewError` if it cannot be written, or `anew[report]` is not installed.
        """
        reports.write(reports.gather(self.family, self.lineage, self.data), Path(path))
        return Path(path)

    def plot(self) -> Any:
        """Return the learning curves and the test errors as a matplotlib figure, for a notebook.

        Raises `AnewError` if matplotlib is not installed: `pip install 'anew[report]'`.
        """
        return figures.of_lineage(self.family, self.lineage)

    def _repr_html_(self) -> str:
        answer = reports.answer_of(self.family, self.lineage)
        return notebook.html(answer.sentence, answer.basis, self.scores)

    def __str__(self) -> str:
        console = Terminal(width=100, no_color=True)
        with console.capture() as text:
            terminal.show_scores(console, self.scores, "test")
        return text.get().rstrip()


def train(
    model: str | Callable[..., nn.Module] | None = None,
    data: Examples | None = None,
    *,
    recipe: Mapping[str, Any] | str | Path | None = None,
    out: str | Path = "family",
    execution: Execution | None = None,
    progress: bool | Callback | Sequence[bool | Callback] = True,
    **settings: Unpack[Keywords],
) -> Result:
    """Train a lineage and evaluate it, as `anew train` does: the same family, the same bits.

    `model` is an architecture's name, or a function or class of your own that is called with
    `input_shape`, `classes` and the model's options. `recipe` is a TOML file, or a mapping nested
    like one. `execution` says how to run; it overrides the recipe's table `[execution]`.
    `progress` shows progress, or not, or calls callbacks.

    Every flag of `anew train` without a dot is a keyword too, and overrides the recipe and the
    execution: `generations`, `seed`, `epochs`, `batch_size`, `learning_rate`, `objective` (a name,
    or a mapping with options), `teacher`, `siblings`, `device`, `threads`, `jobs`, ...
    A `teacher` may be a module, which is copied, or a callable that takes inputs (B, ...) as the
    data have them, float32, and returns logits or probabilities (B, C); or a list of such and of
    texts.

    Raises `AnewError` if a keyword is unknown, a value is wrong or the data do not fit, and
    `Interrupted`, after saving, on Ctrl-C.
    """
    layers: list[Mapping[str, Any]] = [recipe] if isinstance(recipe, Mapping) else []
    path = Path(recipe) if isinstance(recipe, str | Path) else None
    if execution is not None:
        layers.append({TABLE: fields.write(execution)})
    named = {"model": {"name": _model_name(model)}} if model is not None else {}
    if isinstance(data, str):
        named["data"] = {"source": data}
    names, objects = given_objects.names_of(settings.pop("teacher", None))
    layers += [named, nest_keywords({**settings, "teacher": names})]

    whole, run = read_settings(path, *layers)
    if execution is not None:
        run = replace(run, patience=execution.patience, saves=execution.saves)
    callbacks = _callbacks(progress, run.jobs)
    examples = _data(data, whole, Storage.of(run, callbacks.log))
    trained = lineage.train_lineage(whole, examples, Path(out), run, callbacks, objects)
    return Result(trained.family, trained.lineage, trained.rows, trained.failures, examples)


def _data(given: Examples | None, recipe: Recipe, storage: Storage) -> Data:
    """Return the prepared data: those given, or those of the recipe's source."""
    if given is None or isinstance(given, str):
        return load_data(recipe.data, storage)
    named = override(recipe, {"data": {"source": "arrays"}}).data
    source = _source(given, named, storage)
    return prepare_and_log(source, named, storage)


def _source(given: Any, spec: DataSpec, storage: Storage | None = None) -> Source:
    """Return the source of arrays, data sets, splits of either by name, or a source."""
    if isinstance(given, Source):
        return given
    splits = {} if data_sources.is_hugging_face(given) else _splits(given)
    of_library = splits or given
    if data_sources.is_hugging_face(of_library):
        reading = data_sources.Reading(spec, Path(), storage or Storage())
        return data_sources.from_hugging_face(of_library, reading)

    if splits and all(isinstance(one, Dataset) for one in splits.values()):
        return data_sources.from_datasets(splits, spec, storage=storage)
    if splits and all(map(_is_pair, splits.values())):
        return data_sources.from_arrays(
            splits["train"], splits.get("test"), validation=splits.get("validation")
        )
    raise AnewError(
        "data must be a source's name, (x, y), (x, y, x_test, y_test), a torch data set, a data "
        "set of Hugging Face, or a mapping of train, validation and test to such, got "
        f"{_what_is_given(given)}"
    )


def _splits(given: Any) -> dict[SplitName, Any]:
    """Return what is given for each split; nothing if that cannot be told."""
    if isinstance(given, Dataset):
        return {"train": given}
    if isinstance(given, Mapping):
        named = {split_called(str(name)): one for name, one in given.items()}
        is_clear = len(named) == len(given) and "train" in named
        return {split: named[split] for split in SPLITS if split in named} if is_clear else {}
    if not isinstance(given, tuple):
        return {}

    if len(given) == 4:
        return {"train": given[:2], "test": given[2:]}
    if all(map(_is_set, given)):
        # As Keras gives its data sets, and many files hold theirs.
        names: dict[int, tuple[SplitName, ...]] = {
            2: ("train", "test"),
            3: ("train", "validation", "test"),
        }
        return dict(zip(names.get(len(given), ()), given, strict=False))
    is_loader = any(isinstance(one, DataLoader) for one in given)
    return {"train": given} if len(given) == 2 and not is_loader else {}


def _is_set(given: Any) -> bool:
    """Return whether this is a set of examples with labels."""
    return (
        _is_pair(given)
        or isinstance(given, Dataset)
        or (not isinstance(given, Mapping) and data_sources.is_hugging_face(given))
    )


def _is_pair(given: Any) -> bool:
    return isinstance(given, tuple) and len(given) == 2


def _what_is_given(given: Any) -> str:
    """Return what data are that are none of those that are read, and what mends it."""
    inside = list(given.values()) if isinstance(given, Mapping) else given
    several = inside if isinstance(inside, list | tuple) else [inside]
    if any(isinstance(one, DataLoader) for one in several):
        return "a DataLoader; give the data set that it loads (loader.dataset): anew makes batches"
    if isinstance(given, Path):
        return f"a path; write 'folder:{given}', or another kind that `anew data` lists"
    if isinstance(given, Mapping):
        return f"a mapping of {', '.join(map(str, given)) or 'nothing'}"
    return f"{type(given).__name__}"


def _model_name(model: str | Callable[..., nn.Module]) -> str:
    """Return the name by which a model of the user's own is loaded: `package.module:name`."""
    if isinstance(model, str):
        return model
    module, name = getattr(model, "__module__", ""), getattr(model, "__qualname__", "")
    if getattr(sys.modules.get(module), name, None) is not model:
        raise AnewError(
            f"model {name or model!r}: must be a function or class at the top of a module, so that "
            "it can be found again; move it there, or give its name as 'package.module:name'"
        )
    return f"{module}:{name}"


def _callbacks(progress: object, jobs: int) -> Callback:
    """Return who watches a training: bars or lines for True, the user's callbacks, or nobody."""
    if isinstance(progress, Callback):
        return progress
    if isinstance(progress, bool):
        return terminal.watcher(Terminal(stderr=True), several=jobs > 1) if progress else Callback()
    if isinstance(progress, list | tuple):
        return Callbacks([_callbacks(part, jobs) for part in cast(Sequence[object], progress)])
    raise AnewError(
        f"progress must be True, False, a Callback or a list of them, got "
        f"{type(progress).__name__}; derive it from anew.Callback"
    )
