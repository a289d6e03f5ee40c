"""How the paper's studies are scaled down, by `--scale`: other networks, examples and epochs, the
same structure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

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


def _networks(
    wide: tuple[str, ...],
    dense: tuple[str, ...],
    layers: int,
    growth: int,
    depth: int,
    pre_units: int,
    slides: str,
) -> dict[ModelSpec, ModelSpec]:
    """Return the networks of a scale by the paper's.

    `wide` and `dense` are the rows', but for DenseNet-90-60: it has `layers` a block and `growth`,
    as its students in Tables 4 and 5 need it. `depth` and `pre_units` are Table 5's pre-activation
    networks'.
    """
    dense_net_90_60 = DENSE_ROWS["DenseNet-90-60"]
    others = [model for model in DENSE_ROWS.values() if model != dense_net_90_60]
    whole = (
        *WIDE_ROWS.values(),
        *others,
        *DENSE_NETS.values(),
        *RESIDUAL_NETS.values(),
        SLIDES_NET,
    )
    smaller = (
        *(ModelSpec(f"wide_resnet-{name}") for name in wide),
        *(ModelSpec(f"densenet-{name}") for name in dense),
        *dense_nets(layers, growth).values(),
        *residual_nets(layers, growth, depth, pre_units).values(),
        ModelSpec(slides),
    )
    return dict(zip(whole, smaller, strict=True))


# Digits are 8x8: each architecture by its smallest kin. Two layers a block is the least that can be
# halved, growth 12 the least that can be divided by 2, 3 and 4.
TINY = _networks(
    ("10-1", "10-2", "10-3", "10-4"),
    ("10-4", "10-8", "10-12"),
    layers=2,
    growth=12,
    depth=11,
    pre_units=3,
    slides="small_cnn",
)
# For 10,000 pictures of 32x32 on a processor, a table in hours: depth 10 in place of 28, DenseNets
# of a layer or two a block.
SMALL = _networks(
    ("10-1", "10-2", "10-3", "10-4"),
    ("10-8", "10-16", "10-24"),
    layers=2,
    growth=12,
    depth=29,
    pre_units=6,
    slides="resnet18",
)


def _scaled(
    study: Study,
    networks: Mapping[ModelSpec, ModelSpec],
    data: DataSpec,
    epochs: int,
    batch_size: int,
    note: str,
) -> Study:
    def column(one: Column | None) -> Column | None:
        return (
            replace(one, model=networks[one.model])
            if one is not None and one.model is not None
            else one
        )

    rows = {name: networks[spec] for name, spec in study.rows.items()}
    columns = {name: column(one) or one for name, one in study.columns.items()}
    named = {**rows, **{name: one.model for name, one in columns.items() if one.model is not None}}
    which = ", ".join(f"{name} is {said(spec)}" for name, spec in named.items())
    return replace(
        study,
        rows=rows,
        columns=columns,
        exceptions={cell: column(one) for cell, one in study.exceptions.items()},
        data=data,
        training=replace(study.training, epochs=epochs, batch_size=batch_size),
        notes=(*study.notes, f"{note} Networks: {which}."),
    )


def _tiny(study: Study) -> Study:
    data = DataSpec(
        source="digits", views="none" if study.data.views == "none" else "crop", padding=1
    )
    note = (
        "Scaled down (tiny): scikit-learn's digits, 6 epochs, batch 32; the paper's structure, not "
        "its figures."
    )
    return _scaled(study, TINY, data, 6, 32, note)


def _small(study: Study) -> Study:
    note = (
        "Scaled down (small): 10,000 training pictures of CIFAR-10, 15 epochs; published figures "
        "are of the full size."
    )
    return _scaled(
        study,
        SMALL,
        DataSpec(source="cifar10", limit=10_000, views=study.data.views),
        15,
        128,
        note,
    )


SCALES: Mapping[str, Callable[[Study], Study]] = {
    "tiny": _tiny,
    "small": _small,
    "full": lambda study: study,
}


def scaled(study: Study, scale: str) -> Study:
    """Return one of the paper's studies at a scale; `AnewError` for one that is not known."""
    if scale not in SCALES:
        raise AnewError(
            f"scale must be one of {', '.join(SCALES)}, got "
            f"'{scale}'{did_you_mean(scale, SCALES)}; set --scale"
        )
    return SCALES[scale](study)
