"""From a source to what training uses: the splits, and the normalisation of inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from anew.core import randomness
from anew.core.errors import AnewError
from anew.core.spec import DataSpec, is_text
from anew.data.examples import Examples, in_parts
from anew.data.fresh import Fresh, measurable
from anew.data.keeping import check_enough, keep_classes
from anew.data.moments import moments_of
from anew.data.signature import Signature, Units
from anew.data.sources import Contents, Source
from anew.data.sources.source import form_of, resized
from anew.data.streamed import Streamed, settled
from anew.data.units import check_statistics, filled, find_units
from anew.data.views import FRESH, Views
from anew.data.windows import Windows

OF_TEXT = ("steps", "tokens", "vocabulary")
"""The fields of a data description that are for texts alone."""
# What else is not for pictures alone.
_OF_BOTH = ("source", "root", "download", "fingerprint", "seed", "limit", "validation", "test")


@dataclass(frozen=True)
class Places:
    """Where the training examples stood among all that the source has for training."""

    training: Tensor
    """The place of each training example (N,), int64, in their order."""
    count: int
    """How many the source has, before any split."""
    held_out: Tensor
    """The place of each example that was held out for validation, int64; empty if the source has a
    validation set of its own."""
    test: Tensor
    """The place of each example that was split off as test set, int64; empty if the source has a
    test set of its own."""


@dataclass(frozen=True)
class Data:
    """Examples ready for training: three disjoint sets, their classes and their normalisation."""

    training: Examples
    validation: Examples
    test: Examples
    classes: tuple[str, ...]
    mean: Tensor
    """One number for each channel or feature, float32, measured on the training examples alone, in
    the units of the stored inputs; empty for tokens."""
    std: Tensor
    """The deviations that belong to `mean`."""
    spec: DataSpec
    """The data's description with everything filled in."""
    units: Units = "bytes"
    """In which units pictures are."""
    notices: tuple[str, ...] = ()
    """What is to be said of the data before anything is trained on them."""
    places: Places | None = None
    """Where the training examples stood in the source, for what is given by its rows."""

    @property
    def views(self) -> Views:
        """The views of the training examples; the others are shown as they are."""
        return self.training.views

    @property
    def signature(self) -> Signature:
        """What goes into a network for this data and what comes out of it."""
        return Signature(
            input_shape=self.training.input_shape,
            classes=self.classes,
            mean=tuple(self.mean.tolist()),
            std=tuple(self.std.tolist()),
            kind=self.training.kind,
            positions=tuple(self.training.labels.shape[1:]),
            units=self.units,
            kept_size=self.spec.kept_size,
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: (C, H, W), (F,) or (T,)."""
        return self.training.input_shape

    @property
    def is_text(self) -> bool:
        """Whether these are texts, in whose order a network reads them, with a state."""
        return isinstance(self.training, Windows)


@dataclass(frozen=True)
class Sizes:
    """How many examples a split has for training, for validation and for the test."""

    training: int
    validation: int
    test: int


def sizes(contents: Contents, spec: DataSpec) -> Sizes:
    """Return the sizes of the split that `prepare` makes, without the examples.

    With unlabelled examples, of which so many are taken to be there as `spec` limits them to.

    Raises `AnewError` if no example is left for training.
    """
    left = contents.training
    if is_text(spec.source):
        if spec.limit is not None:
            left = min(left, max(0, spec.limit - 1) // spec.steps)
        return Sizes(left, contents.validation, contents.test)
    if contents.test:
        test = contents.test
    else:
        test = round(spec.test * left)
        left -= test

    if spec.limit is not None:
        left = min(left, spec.limit)
    # How many there are without a limit is not known before they are read.
    added = (spec.unlabelled_limit or 0) if spec.unlabelled else 0
    if contents.validation and spec.folds is None:
        return Sizes(left + added, contents.validation, test)
    validation = round(spec.validation * left)
    if spec.folds is not None:
        validation = len(range(spec.fold, left, spec.folds))
    if left - validation < 1:
        raise AnewError(
            f"data '{spec.source}': no training example is left of {left} after the splits; raise "
            "--limit, or lower --data.validation"
        )
    return Sizes(left - validation + added, validation, test)


def prepare(source: Source, spec: DataSpec) -> Data:
    """Split a source's examples and measure the normalisation.

    Splits are drawn by `spec.seed`, class by class if an example has one label. The validation
    split is the source's own, or comes from the training examples, never from the test set, which
    is cut off first if the source has none. A class that they would leave without training examples
    keeps one. Raises `AnewError` if there are fewer training examples than classes, or if the
    source's content is not that of the spec's fingerprint.
    """
    spec = spec.complete()
    source = resized(source, form_of(spec))
    if spec.fingerprint not in ("", source.fingerprint):
        raise AnewError(
            f"data '{spec.source}': has the fingerprint {source.fingerprint}, not "
            f"{spec.fingerprint}: its content differs; restore the data, or drop "
            "--data.fingerprint"
        )

    if isinstance(source.train, Windows):
        return _prepare_text(source, source.train, spec)
    return _prepare_examples(source, spec)


def _prepare_examples(source: Source, spec: DataSpec) -> Data:
    """Split examples that have nothing to do with each other, as `prepare` says."""
    _check_fields(spec, OF_TEXT, "texts", "none")
    if spec.balance != "none" and source.train.labels.ndim > 1:
        raise AnewError(
            "data.balance: needs one class for each example, and these have "
            f"{source.train.labels.shape[1]} labels each; drop --data.balance"
        )

    _check_fresh(source, spec)
    everything, test = source.train, source.test
    strata = _Strata.of(everything.labels, len(source.classes))
    indices = torch.arange(len(everything))
    cut_off = left_out = torch.zeros(0, dtype=torch.int64)
    if test is None:
        indices, cut_off = strata.cut(indices, spec.test, randomness.key(spec.seed, "test split"))
        if not len(cut_off):
            raise AnewError(
                f"data '{spec.source}': no test example can be split off from {len(everything)}; "
                "raise --data.test"
            )

    if spec.limit is not None and spec.limit < len(indices):
        share = spec.limit / len(indices)
        left_out, indices = strata.cut(indices, share, randomness.key(spec.seed, "limit"))
    indices, held_out, share = _hold_out(strata, indices, source, spec)
    sizes_cut = len(indices), len(held_out), len(cut_off)
    check_enough(sizes_cut, len(everything), strata.count, replace(spec, validation=share))
    indices, (held_out, cut_off, _) = keep_classes(
        strata.labels, indices, (held_out, cut_off, left_out), strata.count
    )
    test = everything.take(cut_off) if test is None else test

    # If nothing is cut off, the source's own tensors serve: no second copy of the data set.
    training = everything if len(indices) == len(everything) else everything.take(indices)
    spec = replace(spec, fingerprint=source.fingerprint, views=spec.views or source.views)
    views = Views.of(spec)
    kept = (training.input_shape[0], *(spec.kept_size or training.input_shape[1:]))
    views.check(training.kind, kept, tuple(training.labels.shape[1:]))
    still = Views(size=views.size)
    training, validation, test = settled(
        [
            training.with_views(views),
            _validation(source, spec, held_out).with_views(still),
            test.with_views(still),
        ],
        f"data '{spec.source}'",
    )
    measured = measurable(training)
    units = find_units(measured, source.units if spec.units == "auto" else spec.units)
    views.check_units(units, whole=not training.show(slice(0, 1)).is_floating_point())
    spec, notices = filled(spec, units)
    mean, std = _normalisation(measured, spec)
    notices += check_statistics(measured, mean, std, spec, units)
    return Data(
        training,
        validation,
        test,
        source.classes,
        mean,
        std,
        spec,
        units,
        notices,
        Places(indices, len(everything), held_out, cut_off),
    )


def _hold_out(
    strata: _Strata, indices: Tensor, source: Source, spec: DataSpec
) -> tuple[Tensor, Tensor, float]:
    """Return the indices that stay, those that are held out for validation, and their share."""
    if spec.folds is not None:
        return *strata.fold(indices, spec), 1 / spec.folds
    share = spec.validation if source.validation is None else 0.0
    return *strata.cut(indices, share, randomness.key(spec.seed, "validation split")), share


def _validation(source: Source, spec: DataSpec, held_out: Tensor) -> Examples:
    """Return the validation examples: the source's own, or those that were held out."""
    if source.validation is not None and spec.folds is None:
        return source.validation
    return source.train.take(held_out)


def _prepare_text(source: Source, training: Windows, spec: DataSpec) -> Data:
    """Return the three texts of a source; a limit takes the first tokens of the training text."""
    asked = spec.views if spec.views != "none" else None
    spec = replace(spec, fingerprint=source.fingerprint, views=asked)
    of_pictures = [one.name for one in fields(spec) if one.name not in (*_OF_BOTH, *OF_TEXT)]
    _check_fields(spec, of_pictures, "pictures and vectors", "a text")

    notices: tuple[str, ...] = ()
    if spec.limit is not None and spec.limit < len(training.text):
        notices = (f"data: --limit leaves the first {spec.limit:,} training tokens",)
        training = Windows.of(training.text[: spec.limit], training.steps)
    nothing = Windows.of(training.text[:0], training.steps)
    return Data(
        training.in_streams(1),
        source.validation or nothing,
        source.test or nothing,
        source.classes,
        torch.zeros(0),
        torch.zeros(0),
        replace(spec, views="none"),
        "own",
        notices,
    )


def _check_fields(spec: DataSpec, names: Sequence[str], of: str, given: str) -> None:
    """Raise `AnewError` if a field is set that data of this kind have not."""
    for one in fields(spec):
        if one.name in names and getattr(spec, one.name) != one.default:
            flag = "--views" if one.name == "views" else f"--data.{one.name.replace('_', '-')}"
            raise AnewError(
                f"data.{one.name}: is for {of}, and '{spec.source}' is {given}; drop {flag}"
            )


def _check_fresh(source: Source, spec: DataSpec) -> None:
    """Raise `AnewError` for views that read items afresh where that cannot be."""
    asked = FRESH in (spec.views or "").split("+")
    if asked and not isinstance(source.train, Fresh):
        raise AnewError(
            f"data '{spec.source}': views '{spec.views}' need a torch data set; drop fresh from "
            "--views"
        )
    if not isinstance(source.train, Fresh):
        return

    if source.test is None:
        raise AnewError(
            "data: with fresh views a test set split off from the training set would have random "
            "transforms too; give one without them: data=(train, test), or a mapping"
        )
    if source.validation is None and spec.validation > 0:
        raise AnewError(
            "data: with fresh views a validation split of the training set would have random "
            "transforms too; give one without them, data={'train': ..., 'validation': ..., "
            "'test': ...}, or set data.validation 0"
        )


@dataclass(frozen=True)
class _Strata:
    """The classes that a split draws from one by one."""

    labels: Tensor
    """The stratum of each example (N,)."""
    count: int

    @classmethod
    def of(cls, labels: Tensor, classes: int) -> _Strata:
        """Return one stratum for each class, or a single one if an example has several labels."""
        if labels.ndim == 1:
            return cls(labels, classes)
        return cls(torch.zeros(len(labels), dtype=torch.int64), 1)

    def cut(self, indices: Tensor, share: float, stream: int) -> tuple[Tensor, Tensor]:
        """Split indices in two: those that stay, and a share of them drawn by the stream.

        Both are sorted. The sizes add up: each class gives the whole part of its share, and those
        with the largest rest one more.
        """
        by_class = [indices[self.labels[indices] == number] for number in range(self.count)]
        exact = torch.tensor([share * len(members) for members in by_class], dtype=torch.float64)
        sizes = exact.floor().long()
        rest = int((exact.sum().round() - sizes.sum()).item())
        sizes[torch.argsort(sizes - exact, stable=True)[:rest]] += 1

        position = torch.zeros(len(self.labels), dtype=torch.int64)
        position[indices] = randomness.bits(stream, indices)
        chosen = torch.zeros(len(self.labels), dtype=torch.bool)
        for members, size in zip(by_class, sizes.tolist(), strict=True):
            chosen[members[torch.argsort(position[members], stable=True)[:size]]] = True
        return indices[~chosen[indices]], indices[chosen[indices]]

    def fold(self, indices: Tensor, spec: DataSpec) -> tuple[Tensor, Tensor]:
        """Split indices in those that stay and those of one of the spec's folds, both sorted.

        The folds are disjoint, hold all indices together, and have equal parts of each class, but
        for one. Raises `AnewError` if there is no such fold, or it would be empty.
        """
        assert spec.folds is not None
        if spec.fold >= spec.folds:
            raise AnewError(
                f"data.fold must be < data.folds, {spec.folds}, got {spec.fold}; set --data.fold"
            )
        if spec.folds > len(indices):
            raise AnewError(
                f"data.folds must be <= {len(indices)}, the number of examples, got {spec.folds}; "
                "set --data.folds"
            )
        drawn = indices[randomness.order(randomness.key(spec.seed, "folds"), len(indices))]
        by_class = drawn[torch.argsort(self.labels[drawn], stable=True)]
        is_held_out = torch.arange(len(by_class)) % spec.folds == spec.fold
        return by_class[~is_held_out].sort().values, by_class[is_held_out].sort().values


def _normalisation(examples: Examples, spec: DataSpec) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel or feature, float32; empty for tokens."""
    if examples.kind == "tokens":
        if spec.mean is not None or spec.std is not None:
            raise AnewError("data: tokens are not normalised; drop --data.mean and --data.std")
        return torch.zeros(0), torch.zeros(0)

    channels = examples.input_shape[0]
    mean = _checked(spec.mean, channels, "mean")
    std = _checked(spec.std, channels, "std")
    if mean is None or std is None:
        measured_mean, measured_std = _measured(examples)
        mean = measured_mean if mean is None else mean
        std = measured_std if std is None else std
    return mean.float(), std.float()


def _measured(examples: Examples) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel, float64, exact to float32 at any size."""
    channels = examples.input_shape[0]
    if examples.kind == "picture" and examples.show(slice(0, 1)).dtype == torch.uint8:
        return _of_moments(examples)

    count = len(examples) * math.prod(examples.input_shape) // channels
    totals = torch.zeros(channels, dtype=torch.float64)
    squares = torch.zeros(channels, dtype=torch.float64)

    # Measured from a value that occurs: the sums lose no digits to a large mean, and are 0 if
    # nothing varies.
    origin = examples.show(slice(0, 1))[0].reshape(channels, -1)[:, 0].double()
    # A part at a time: the doubles of a whole data set would take eight times its memory.
    for part in in_parts(examples):
        others = [axis for axis in range(part.ndim) if axis != 1]
        exact = part.double() - origin.view(-1, *[1] * (part.ndim - 2))
        totals += exact.sum(others)
        squares += exact.square_().sum(others)

    return _statistics(origin, totals, squares, count)


def _of_moments(examples: Examples) -> tuple[Tensor, Tensor]:
    """Return the same numbers for pictures of bytes, whose sums are whole numbers."""
    if isinstance(examples, Streamed):
        moments = examples.moments()
    else:
        parts = (part.permute(0, 2, 3, 1).numpy() for part in in_parts(examples))
        moments = moments_of(parts, examples.input_shape[0])
    first = examples.show(slice(0, 1))[0].flatten(1)[:, 0].tolist()
    pairs = list(zip(first, moments.totals, moments.squares, strict=True))
    count = moments.pixels
    totals = [total - count * start for start, total, _ in pairs]
    squares = [square - 2 * start * total + count * start * start for start, total, square in pairs]
    exact = [torch.tensor(values, dtype=torch.float64) for values in (first, totals, squares)]
    return _statistics(exact[0], exact[1], exact[2], count)


def _statistics(
    origin: Tensor, totals: Tensor, squares: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return mean and deviation from the sums of what is measured from an origin."""
    mean = totals / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std[std == 0] = 1.0  # a constant channel or feature carries nothing; it becomes 0
    return mean + origin, std


def _checked(given: tuple[float, ...] | None, channels: int, name: str) -> Tensor | None:
    """Return a statistic that the user sets, for each channel, float64; None if not set."""
    if given is None:
        return None
    if len(given) not in (1, channels):
        raise AnewError(
            f"data.{name} must be one number, or one for each of {channels} channels, got "
            f"{len(given)}; set --data.{name}"
        )
    return torch.tensor(given, dtype=torch.float64).expand(channels).clone()
