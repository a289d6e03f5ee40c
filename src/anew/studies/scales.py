"""How the paper's studies are scaled down, by `--scale`.

Networks, examples and epochs are smaller; the structure of the tables stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import DataSpec, ModelSpec
from anew.studies.networks import (
    DENSE_NETS,
    DENSE_ROWS,
    RESIDUAL_NETS,
    SLIDES_NET,
    WIDE_ROWS,
    dense_nets,
    residual_nets,
    said,
)
from anew.studies.study import Column, Study
from anew.studies.text import TEXT_SCALES


@dataclass(frozen=True)
class _Sizes:
    """The sizes of a scale's networks."""

    wide: tuple[str, ...]
    """Wide-ResNets, by row."""
    dense: tuple[str, ...]
    """DenseNets, by row, without DenseNet-90-60: `layers` and `growth` say what that is."""
    layers: int
    """Layers in a block of DenseNet-90-60, as its students in Tables 4 and 5 need them."""
    growth: int
    depth: int
    """Of Table 5's pre-activation ResNet."""
    pre_units: int
    """Of Table 5's matched pre-activation students."""
    slides: str

    def by_paper(self) -> dict[ModelSpec, ModelSpec]:
        """Return the networks of the scale by the paper's networks."""
        dense_net_90_60 = DENSE_ROWS["DenseNet-90-60"]
        full = (
            *WIDE_ROWS.values(),
            *(model for model in DENSE_ROWS.values() if model != dense_net_90_60),
            *DENSE_NETS.values(),
            *RESIDUAL_NETS.values(),
            SLIDES_NET,
        )

        smaller = (
            *(ModelSpec(f"wide_resnet-{name}") for name in self.wide),
            *(ModelSpec(f"densenet-{name}") for name in self.dense),
            *dense_nets(self.layers, self.growth).values(),
            *residual_nets(self.layers, self.growth, self.depth, self.pre_units).values(),
            ModelSpec(self.slides),
        )
        return dict(zip(full, smaller, strict=True))


@dataclass(frozen=True)
class _Scale:
    """What replaces the paper's networks and training."""

    networks: Mapping[ModelSpec, ModelSpec]
    epochs: int
    batch_size: int
    called: str
    """The data in a title."""
    note: str
    """What a reader of the table must know."""


# Digits are 8x8: each architecture by its smallest kin. Two layers a block is the least that can be
# halved, growth 12 the least that can be divided by 2, 3 and 4.
TINY = _Scale(
    _Sizes(
        wide=("10-1", "10-2", "10-3", "10-4"),
        dense=("10-4", "10-8", "10-12"),
        layers=2,
        growth=12,
        depth=11,
        pre_units=3,
        slides="small_cnn",
    ).by_paper(),
    epochs=6,
    batch_size=32,
    called="scikit-learn's digits",
    note="Scaled down (tiny): scikit-learn's digits, 6 epochs, batch 32; the paper's structure, "
    "not its figures.",
)
# For 10,000 pictures of 32x32 on a processor, a table in hours: depth 10 in place of 28, DenseNets
# of a layer or two a block.
SMALL = _Scale(
    _Sizes(
        wide=("10-1", "10-2", "10-3", "10-4"),
        dense=("10-8", "10-16", "10-24"),
        layers=2,
        growth=12,
        depth=29,
        pre_units=6,
        slides="resnet18",
    ).by_paper(),
    epochs=15,
    batch_size=128,
    called="CIFAR-10 (10,000 pictures)",
    note="Scaled down (small): 10,000 training pictures of CIFAR-10, 15 epochs; published figures "
    "are of the full size.",
)


_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
_UNLIKE_THE_PAPER = (
    "Unlike full size: no dropout, zeros beyond the border of a crop, and 10 % of the training "
    "examples held out for validation."
)


def _scaled(study: Study, scale: _Scale, data: DataSpec) -> Study:
    """Return a study with the networks and the training of a scale, on other data."""

    def column(given: Column | None) -> Column | None:
        if given is None or given.model is None:
            return given
        return replace(given, model=scale.networks[given.model])

    rows = {name: scale.networks[model] for name, model in study.rows.items()}
    columns = {name: column(given) or given for name, given in study.columns.items()}
    exceptions = {cell: column(given) for cell, given in study.exceptions.items()}

    named = dict(rows)
    for name, given in columns.items():
        if given.model is not None:
            named[name] = given.model
    which = ", ".join(f"{name} is {said(model)}" for name, model in named.items())
    return replace(
        study,
        title=study.title.replace(_NAMES[study.data.source], scale.called),
        rows=rows,
        columns=columns,
        exceptions=exceptions,
        data=data,
        training=replace(study.training, epochs=scale.epochs, batch_size=scale.batch_size),
        notes=(*study.notes, f"{scale.note} {_UNLIKE_THE_PAPER} Networks: {which}."),
    )


def _tiny(study: Study) -> Study:
    views = "none" if study.data.views == "none" else "crop"
    return _scaled(study, TINY, DataSpec(source="digits", views=views, padding=1))


def _small(study: Study) -> Study:
    data = DataSpec(source="cifar10", limit=10_000, views=study.data.views)
    return _scaled(study, SMALL, data)


SCALES: Mapping[str, Callable[[Study], Study]] = {
    "tiny": _tiny,
    "small": _small,
    "full": lambda study: study,
}


def scaled(study: Study, scale: str) -> Study:
    """Return one of the paper's studies at a scale; raise `AnewError` for an unknown scale."""
    if scale not in SCALES:
        raise AnewError(
            f"scale must be one of {', '.join(SCALES)}, got "
            f"'{scale}'{did_you_mean(scale, SCALES)}; set --scale"
        )
    if study.is_text and scale in TEXT_SCALES:
        return TEXT_SCALES[scale](study)
    return SCALES[scale](study)
