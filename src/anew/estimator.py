"""Born-again training as an estimator of scikit-learn, for its cross-validation and pipelines.

`BornAgainClassifier` calls `anew.train`, keeps the networks, and answers with their mean.
"""

from __future__ import annotations

import copy
import numbers
import tempfile
import threading
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, no_type_check

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from anew.api import Result, train
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.interruption import Interrupted
from anew.data import Resident, Source, as_inputs, from_arrays
from anew.data.examples import in_equal_parts
from anew.data.units import find_units, units_in_words
from anew.evaluation.ensemble import Ensemble
from anew.family.lineages import choose_generations
from anew.models.network import Network
from anew.training.checks import CheckError
from anew.training.device import torch_device

ASKED_AT_ONCE = 64
"""Networks are asked in batches of this size: a row's answer does not depend on the other rows."""
PATIENCE = 1e6
"""Seconds to wait for a network that another process trains into the same folder."""
OWN = ("model", "data", "out", "progress", "execution", "seed")
"""Arguments of `anew.train` that the estimator gives itself, beside those of its own name."""
# A feature loses digits in float32 where the error is more than this of its deviation.
LOST = 1e-3

# scikit-learn has no types: those that are inferred from its code are of its defaults.
_validate = cast("Callable[..., Any]", validate_data)
_check_array = cast("Callable[..., NDArray[Any]]", check_array)

# Training sets torch's threads and generators, which the threads of a process share.
_ONE_AT_A_TIME = threading.Lock()


class EstimatorError(AnewError, ValueError):
    """A parameter or an array that the estimator cannot take: for scikit-learn, a ValueError."""


class BornAgainClassifier(ClassifierMixin, BaseEstimator):
    """A network trained from labels, then anew from its soft outputs, generation by generation.

    Takes tables (N, F) and pictures (N, H, W), (N, H, W, C) or (N, C, H, W), and labels (N,) of any
    type; inputs are standardised inside. Equal arrays, parameters and `random_state` give equal
    predictions, to the bit on one machine.

    The parameters:
        model: an architecture's name (`anew models`), or a function or class of your own; not
            given, `mlp` for tables and `small_cnn` for pictures.
        model_options: the architecture's options, such as `{"hidden": 64}`.
        objective: what the students minimise, a name or a mapping with options.
        generations: students trained one after another; 0 is a network trained from labels.
        epochs, batch_size, learning_rate: how each generation is trained.
        validation_fraction: the share of the examples on which a teacher is checked before its
            students learn; none where that would be fewer than one for each class.
        predict_with: `"all"` answers with the mean of all generations, `"last"` with the last;
            others are a number, `"1-3"` or a list of numbers. May be changed after `fit`.
        random_state: the seed of weights, splits and order; None draws one from NumPy's generator.
        folder: a family folder that keeps the networks, so that a killed `fit` resumes and equal
            ones are not trained again; not given, a temporary one.
        device: where to run, `"auto"` for the fastest there is.
        verbose: show progress.
        options: any other keywords of `anew.train`, such as `{"weight_decay": 1e-3}`; its key
            `recipe` is a mapping nested like a recipe's TOML file.

    After `fit`: `classes_`, `n_features_in_`, `feature_names_in_` if `X` has names of columns,
    `input_shape_`, the shape of one input, and `networks_`, the generations, oldest first.
    """

    classes_: NDArray[Any]
    networks_: list[Network]
    input_shape_: tuple[int, ...]

    # scikit-learn reads the parameters from this signature. Whatever they are, `fit` looks at them.
    @no_type_check
    def __init__(  # noqa: PLR0913
        self,
        model: str | Callable[..., nn.Module] | None = None,
        *,
        model_options: Mapping[str, Any] | None = None,
        objective: str | Mapping[str, Any] = "ban",
        generations: int = 3,
        epochs: int = 50,
        batch_size: int = 32,
        learning_rate: float = 0.03,
        validation_fraction: float = 0.1,
        predict_with: str | int | Sequence[int] = "all",
        random_state: int | np.integer[Any] | np.random.RandomState | None = 0,
        folder: str | Path | None = None,
        device: str = "auto",
        verbose: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.model_options = model_options
        self.objective = objective
        self.generations = generations
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.predict_with = predict_with
        self.random_state = random_state
        self.folder = folder
        self.device = device
        self.verbose = verbose
        self.options = options

    def fit(self, X: Any, y: Any) -> BornAgainClassifier:  # noqa: N803
        """Train all generations on inputs and labels (N,), and return the estimator itself.

        A teacher at chance, or a term that does nothing, is a `ConvergenceWarning` here: tests by
        permuted labels must be able to go on. Raises ValueError for wrong arrays and parameters,
        `AnewError` for wrong settings of `anew.train`, and KeyboardInterrupt on Ctrl-C.
        """
        inputs, labels = _validate(self, X, y, dtype="numeric", allow_nd=True)
        check_classification_targets(labels)
        self.classes_, numbered = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise EstimatorError(
                f"y: holds 1 class, '{self.classes_[0]}', and a classifier needs 2; give examples "
                "of another"
            )

        source = _source(inputs, numbered, self.classes_)
        _warn_of_lost_digits(inputs)
        settings = self._settings(source)
        with _family(self.folder) as folder, _ONE_AT_A_TIME:
            result = _train(source, folder, settings)
            self.networks_ = [result.network(number) for number in range(len(result.lineage))]
        for failure in result.failures:
            warnings.warn(str(failure), ConvergenceWarning, stacklevel=2)
        self.input_shape_ = inputs.shape[1:]
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the likeliest class (N,) of each input."""
        likeliest = self._log_probabilities(X).argmax(-1).numpy()
        return self.classes_[likeliest]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return probabilities (N, C), float64, in the order of `classes_`."""
        return self._log_probabilities(X).exp().numpy()

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return the logarithms of the probabilities (N, C), float64."""
        return self._log_probabilities(X).numpy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _settings(self, source: Source) -> dict[str, Any]:
        """Return the keywords of `anew.train` but for the data and the folder."""
        given = dict(self.options or {})
        taken = [name for name in given if name in OWN or name in self.get_params(deep=False)]
        if taken:
            raise EstimatorError(
                f"options: '{taken[0]}' is no option here; set the estimator's own parameter "
                f"{'random_state' if taken[0] == 'seed' else taken[0]}"
                if taken[0] in ("seed", "model", *self.get_params(deep=False))
                else f"options: '{taken[0]}' is given by the estimator; drop it"
            )

        recipe = given.pop("recipe", None) or {}
        if not isinstance(recipe, Mapping):
            raise EstimatorError(
                f"options: 'recipe' must be a mapping, got {type(recipe).__name__}; nest it like "
                "a recipe's TOML file"
            )
        recipe = dict(cast("Mapping[str, Any]", recipe))
        seed = self._seed()
        share = _validation_share(self.validation_fraction, len(source.train), len(source.classes))
        recipe["data"] = {"seed": seed, "validation": share, **recipe.get("data", {})}
        if self.model_options is not None:
            recipe["model"] = {**recipe.get("model", {}), "options": dict(self.model_options)}

        kind = "small_cnn" if source.train.kind == "picture" else "mlp"
        return {
            "model": self.model if self.model is not None else kind,
            "recipe": recipe,
            "progress": bool(self.verbose),
            "execution": Execution(patience=PATIENCE, saves=self.folder is not None),
            "seed": seed,
            "objective": self.objective,
            "generations": self.generations,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "device": self.device,
            **given,
        }

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _log_probabilities(self, X: Any) -> Tensor:  # noqa: N803
        """Return the log of the mean of the chosen networks' probabilities (N, C), on the CPU."""
        check_is_fitted(self)
        given = _validate(self, X, dtype="numeric", allow_nd=True, reset=False)
        if given.shape[1:] != self.input_shape_:
            raise EstimatorError(
                f"X: holds inputs of shape {given.shape[1:]}, and the estimator was fitted to "
                f"{self.input_shape_}; give inputs of that shape"
            )
        inputs = _as_inputs(given)
        _check_units(inputs, self.networks_[0])

        device = torch_device(Execution(self.device))
        ensemble = Ensemble([self.networks_[number] for number in self._chosen()])
        if device.type != "cpu":
            # MPS has no float64. The networks themselves stay where they can be pickled.
            ensemble = copy.deepcopy(ensemble).to(device)
            ensemble.dtype = torch.float32 if device.type == "mps" else torch.float64
        arrange = ensemble.signature.arrange
        with torch.inference_mode():
            parts = [
                ensemble(arrange(part.to(device)))[:count].cpu().double()
                for part, count in in_equal_parts(inputs, ASKED_AT_ONCE)
            ]
        return torch.cat(parts)

    def _chosen(self) -> tuple[int, ...]:
        """Return the numbers of the generations that answer."""
        asked = self.predict_with
        if isinstance(asked, Sequence) and not isinstance(asked, str):
            asked = ",".join(map(str, asked))
        try:
            return choose_generations(
                str(asked), len(self.networks_), setting="the parameter predict_with"
            )
        except AnewError as error:
            raise EstimatorError(str(error)) from error


def _train(source: Source, folder: Path, settings: dict[str, Any]) -> Result:
    """Call `anew.train`; what its checks stop becomes a warning, and an interruption Ctrl-C."""
    try:
        try:
            return train(data=source, out=folder, **settings)
        except CheckError as error:
            what, _, _ = str(error).partition(";")
            warnings.warn(f"{what}; training continues", ConvergenceWarning, stacklevel=3)
            forced: dict[str, Any] = {**settings, "force": True}
            return train(data=source, out=folder, **forced)
    except Interrupted as error:
        # A search would take the error for one of these parameters, and go on to the next.
        raise KeyboardInterrupt from error


@contextmanager
def _family(folder: str | Path | None) -> Generator[Path]:
    """Yield the folder to train into: a temporary one if none is given."""
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="anew-") as temporary:
        yield Path(temporary)


def _source(inputs: NDArray[Any], labels: NDArray[Any], classes: NDArray[Any]) -> Source:
    """Return arrays as a source without test examples: scikit-learn keeps those to itself."""
    names = [str(name) for name in classes.tolist()]
    try:
        source = from_arrays((_as_array(inputs), labels), classes=names, name="X")
    except AnewError as error:
        raise EstimatorError(str(error)) from error
    nothing = torch.zeros(0, dtype=torch.int64)
    return replace(source, test=source.train.take(nothing))


def _as_array(inputs: NDArray[Any]) -> NDArray[Any]:
    """Return features and floats as float32, whole-number pictures as they are."""
    if inputs.ndim > 2 and inputs.dtype.kind != "f":
        return inputs
    # Numbers beyond float32 become infinite, and are refused as such.
    with np.errstate(over="ignore"):
        return _check_array(inputs, dtype=np.float32, allow_nd=True)


def _as_inputs(inputs: NDArray[Any]) -> Tensor:
    try:
        return as_inputs(_as_array(inputs), "X")
    except AnewError as error:
        raise EstimatorError(str(error)) from error


def _validation_share(fraction: float, examples: int, classes: int) -> float:
    """Return the share of validation examples; 0 if that is fewer than one for each class.

    Training, too, keeps at least one for each.
    """
    if not 0 <= fraction < 1:
        raise EstimatorError(
            f"validation_fraction must be >= 0 and < 1, got {fraction}; set it to 0 for none"
        )
    held_out = round(fraction * examples)
    return fraction if classes <= held_out <= examples - classes else 0.0


def _warn_of_lost_digits(inputs: NDArray[Any]) -> None:
    """Warn of features whose differences float32 cannot hold, such as times in nanoseconds."""
    if inputs.ndim != 2 or inputs.dtype.itemsize < 4 or inputs.dtype == np.float32:
        return
    exact = inputs.astype(np.float64)
    error = exact.astype(np.float32) - exact

    lost = np.flatnonzero(error.std(0) > LOST * exact.std(0))
    if len(lost):
        warnings.warn(
            f"X: feature {lost[0]} ({len(lost)} such features) varies little beside its size, and "
            "networks compute with float32, which loses the differences; subtract its mean, as "
            "StandardScaler does",
            UserWarning,
            stacklevel=3,
        )


def _check_units(inputs: Tensor, network: Network) -> None:
    """Raise `EstimatorError` if pictures are 0..1 and those of `fit` were 0..255, or vice versa."""
    trained = network.signature.units
    if not network.signature.is_picture or trained == "own" or not bool(inputs.any()):
        return
    labels = torch.zeros(len(inputs), dtype=torch.int64)
    given = find_units(Resident(inputs, labels), "auto")
    if given not in (trained, "own"):
        assert trained is not None, "a signature knows its units"
        raise EstimatorError(
            f"X: holds pictures in {units_in_words(given)}, and those of fit were in "
            f"{units_in_words(trained)}; give them in the same units"
        )
