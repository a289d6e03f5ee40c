"""The paper's tables and the slides' experiment as studies, with the published figures, and how they are scaled down.

Furlanello et al. 2018 (arXiv 1805.04770). What the sources leave open, and what was chosen, is in docs/reproduction.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from anew.errors import AnewError, did_you_mean
from anew.spec import DataSpec, ModelSpec, ObjectiveSpec, TrainingSpec
from anew.studies.study import REFERENCE, Column, Study

CIFAR_TRAINING = TrainingSpec(epochs=200)
"""Wide-ResNet's: Nesterov momentum, rate 0.1 dropped x0.2 at 30, 60 and 80 % of 200 epochs, decay 5e-4, batch 128."""

WIDE = ("28-1", "28-2", "28-5", "28-10")
DENSE = ("112-33", "90-60", "80-80", "80-120")


def _rows(wide: tuple[str, ...] = (), dense: tuple[str, ...] = ()) -> dict[str, ModelSpec]:
    return {
        **{f"Wide-ResNet-{name}": ModelSpec(f"wide_resnet-{name}") for name in wide},
        **{f"DenseNet-{name}": ModelSpec(f"densenet-{name}") for name in dense},
    }


def _published(
    columns: tuple[str, ...], figures: Mapping[str, tuple[float | None, ...]]
) -> dict[tuple[str, str], float]:
    return {
        (row, column): value
        for row, values in figures.items()
        for column, value in zip(columns, values, strict=True)
        if value is not None
    }


def _student(objective: str = "ban", teacher: str = REFERENCE, seed: int = 0) -> Column:
    return Column(teacher=teacher, objective=ObjectiveSpec(objective), seed=seed)


TABLE1 = Study(
    name="table1",
    title="Table 1: test error on CIFAR-10 of teachers and their born-again students",
    rows=_rows(WIDE, DENSE),
    columns={REFERENCE: Column(), "BAN": _student()},
    data=DataSpec(source="cifar10"),
    training=CIFAR_TRAINING,
    published=_published(
        (REFERENCE, "BAN"),
        {
            "Wide-ResNet-28-1": (6.69, 6.64),
            "Wide-ResNet-28-2": (5.06, 4.86),
            "Wide-ResNet-28-5": (4.13, 4.03),
            "Wide-ResNet-28-10": (3.77, 3.86),
            "DenseNet-112-33": (3.84, 3.61),
            "DenseNet-90-60": (3.81, 3.50),
            "DenseNet-80-80": (3.48, 3.49),
            "DenseNet-80-120": (3.37, 3.54),
        },
    ),
)

TABLE2_COLUMNS: dict[str, Column] = {
    REFERENCE: Column(),
    "BAN": _student(),
    "BAN+L": _student("ban+l"),
    "CWTM": _student("cwtm"),
    "DKPP": _student("dkpp"),
    # BAN and BAN-1 both learn from the teacher, with different seeds.
    "BAN-1": _student(seed=1),
    "BAN-2": _student(teacher="BAN-1", seed=1),
    "BAN-3": _student(teacher="BAN-2", seed=1),
    "Ens*2": Column(ensemble=("BAN-1", "BAN-2")),
    "Ens*3": Column(ensemble=("BAN-1", "BAN-2", "BAN-3")),
}

TABLE2 = Study(
    name="table2",
    title="Table 2: test error on CIFAR-100 of students, controls, sequences and ensembles",
    rows=_rows(dense=DENSE),
    columns=TABLE2_COLUMNS,
    data=DataSpec(source="cifar100"),
    training=CIFAR_TRAINING,
    published=_published(
        tuple(TABLE2_COLUMNS),
        {
            "DenseNet-112-33": (18.25, 16.95, 17.68, 17.84, 17.84, 17.61, 17.22, 16.59, 15.77, 15.68),
            "DenseNet-90-60": (17.69, 16.69, 16.93, 17.42, 17.43, 16.62, 16.44, 16.72, 15.39, 15.74),
            "DenseNet-80-80": (17.16, 16.36, 16.50, 17.16, 16.84, 16.26, 16.30, 15.50, 15.46, 15.14),
            "DenseNet-80-120": (16.87, 16.00, 16.41, 17.12, 16.34, 16.13, 16.13, None, 15.13, 14.90),
        },
    ),
    exceptions={
        ("DenseNet-80-120", "BAN-3"): None,
        ("DenseNet-80-120", "Ens*3"): Column(ensemble=(REFERENCE, "BAN-1", "BAN-2")),
    },
)

TABLE3 = Study(
    name="table3",
    title="Table 3: test error on CIFAR-100 of students of Wide-ResNet teachers, alike and DenseNet-90-60",
    rows=_rows(WIDE),
    columns={
        REFERENCE: Column(),
        "BAN": _student(),
        "DenseNet-90-60": replace(_student(), model=ModelSpec("densenet-90-60")),
    },
    data=DataSpec(source="cifar100"),
    training=CIFAR_TRAINING,
    published=_published(
        (REFERENCE, "BAN", "DenseNet-90-60"),
        {
            "Wide-ResNet-28-1": (30.05, 29.43, 24.93),
            "Wide-ResNet-28-2": (25.32, 24.38, 18.49),
            "Wide-ResNet-28-5": (20.88, 20.93, 17.52),
            "Wide-ResNet-28-10": (19.08, 18.25, 16.79),
        },
    ),
)

LAYERS, GROWTH = 14, 60


def _dense_nets(layers: int, growth: int) -> dict[str, ModelSpec]:
    """Return Table 4's networks by column: a DenseNet, and students with its hidden sizes after every transition.

    The published counts of Tables 4 and 5 come out where a 1x1 convolution follows the last block too, so that the
    hidden sizes of DenseNet-90-60 are 480, 660 and 750. A student `times` as deep has that many times the layers and
    grows by that much less. The teacher's compression takes away half of a block's channels: a student with `times` the
    compression takes away `times` that half, and grows so that what is left is the teacher's.
    """
    first = 2 * growth
    hidden, width = list[int](), first
    for _ in range(3):
        width = (width + layers * growth) // 2
        hidden.append(width)

    def network(layers: int, growth: int, **options: float) -> ModelSpec:
        # The depth that usually means so many layers, but for the teacher, which is called DenseNet-90-60.
        name = "densenet-90-60" if (layers, growth) == (LAYERS, GROWTH) else f"densenet-{6 * layers + 4}-{growth}"
        given = {"first_channels": first, "layers": layers, "transitions": 3, **options}
        return ModelSpec(name, tuple(sorted(given.items())))

    kept = {f"hidden{stage}": channels for stage, channels in enumerate(hidden, 1)}
    return {
        REFERENCE: network(layers, growth),
        **{f"{times:g}x depth": network(round(layers * times), round(growth / times)) for times in (0.5, 2, 3, 4)},
        **{
            f"{times:g}x compr.": network(layers, growth, compression=1 - times / 2, **kept)
            for times in (0.5, 0.75, 1.5)
        },
    }


def _hidden_sizes(layers: int, growth: int) -> dict[str, int]:
    """Return the first channels and the hidden sizes of the teacher in `_dense_nets`, as options of its students."""
    options = dict(_dense_nets(layers, growth)["0.5x compr."].options)
    return {name: int(options[name]) for name in ("first_channels", "hidden1", "hidden2", "hidden3")}


def _residual_nets(layers: int, growth: int, depth: int, pre_units: int) -> dict[str, ModelSpec]:
    """Return Table 5's networks by row: a usual one of a depth, and students matched to the teacher's hidden sizes."""

    def student(name: str, ratio: float) -> ModelSpec:
        return ModelSpec(name, tuple(sorted({**_hidden_sizes(layers, growth), "ratio": ratio}.items())))

    return {
        "Pre-activation ResNet-1001": ModelSpec(f"pre_activation_resnet-{depth}"),
        "BAN-Pre-ResNet-14-0.5": student(f"matched_pre_resnet-{pre_units}", 0.5),
        "BAN-Pre-ResNet-14-1": student(f"matched_pre_resnet-{pre_units}", 1.0),
        "BAN-Wide-ResNet-1-1": student("matched_wide_resnet-1", 1.0),
        "BAN-Match-Wide-ResNet-2-1": student("matched_wide_resnet-2", 1.0),
        "BAN-Wide-ResNet-4-0.5": student("matched_wide_resnet-4", 0.5),
        "BAN-Wide-ResNet-4-1": student("matched_wide_resnet-4", 1.0),
    }


DENSE_NETS = _dense_nets(LAYERS, GROWTH)

TABLE4 = Study(
    name="table4",
    title="Table 4: test error on CIFAR-100 of DenseNet-90-60's students of other depth and compression",
    rows={"DenseNet-90-60": DENSE_NETS[REFERENCE]},
    columns={
        REFERENCE: Column(),
        **{name: replace(_student(), model=model) for name, model in DENSE_NETS.items() if name != REFERENCE},
    },
    data=DataSpec(source="cifar100"),
    training=CIFAR_TRAINING,
    published=_published(
        tuple(DENSE_NETS), {"DenseNet-90-60": (17.69, 16.95, 16.43, 16.64, 16.64, 19.83, 17.30, 18.89)}
    ),
    published_parameters=_published(
        tuple(DENSE_NETS), {"DenseNet-90-60": (22.4, 21.2, 13.7, 12.9, 12.6, 5.1, 10.1, 80.5)}
    ),
)

RESIDUAL_NETS = _residual_nets(LAYERS, GROWTH, depth=1001, pre_units=14)

TABLE5 = Study(
    name="table5",
    title="Table 5: test error on CIFAR-100 of DenseNet-90-60's residual students, first and last layers the teacher's",
    rows=RESIDUAL_NETS,
    columns={
        REFERENCE: Column(model=DENSE_NETS[REFERENCE]),
        "baseline": Column(),
        "BAN": replace(_student(), frozen=("first", "classifier")),
    },
    data=DataSpec(source="cifar100"),
    training=CIFAR_TRAINING,
    # The teacher is Table 4's, the same in every row.
    published=_published(
        (REFERENCE, "baseline", "BAN"),
        {
            "Pre-activation ResNet-1001": (17.69, 22.71, None),
            "BAN-Pre-ResNet-14-0.5": (17.69, 20.28, 18.80),
            "BAN-Pre-ResNet-14-1": (17.69, 18.84, 17.39),
            "BAN-Wide-ResNet-1-1": (17.69, 20.40, 19.12),
            "BAN-Match-Wide-ResNet-2-1": (17.69, 18.83, 17.42),
            "BAN-Wide-ResNet-4-0.5": (17.69, 19.63, 17.13),
            "BAN-Wide-ResNet-4-1": (17.69, 18.77, 17.18),
        },
    ),
    published_parameters=_published(
        ("baseline", "BAN"),
        {
            "Pre-activation ResNet-1001": (10.2, None),
            "BAN-Pre-ResNet-14-0.5": (7.3, 7.3),
            "BAN-Pre-ResNet-14-1": (17.7, 17.7),
            "BAN-Wide-ResNet-1-1": (20.9, 20.9),
            "BAN-Match-Wide-ResNet-2-1": (43.1, 43.1),
            "BAN-Wide-ResNet-4-0.5": (24.3, 24.3),
            "BAN-Wide-ResNet-4-1": (87.3, 87.3),
        },
    ),
    exceptions={("Pre-activation ResNet-1001", "BAN"): None},
)

BONUS = Study(
    name="bonus",
    title="The slides' experiment: three generations of ResNet-50 on CIFAR-10 without augmentation",
    rows={"ResNet-50": ModelSpec("resnet50")},
    columns={
        "generation 1": Column(),
        "generation 2": _student(teacher="generation 1"),
        "generation 3": _student(teacher="generation 2"),
        "ensemble (1,2)": Column(ensemble=("generation 1", "generation 2")),
        "ensemble (1,2,3)": Column(ensemble=("generation 1", "generation 2", "generation 3")),
    },
    data=DataSpec(source="cifar10", views="none"),
    # Adam is AdamW without decay. The slides name neither rate nor epochs.
    training=TrainingSpec(epochs=50, optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, schedule="constant"),
    reference="generation 1",
    published={
        ("ResNet-50", column): round(100 - accuracy, 2)
        for column, accuracy in (
            ("generation 1", 81.40), ("generation 2", 83.99), ("generation 3", 81.87),
            ("ensemble (1,2)", 84.17), ("ensemble (1,2,3)", 84.60),
        )
    },
)  # fmt: skip

STUDIES: Mapping[str, Study] = {study.name: study for study in (TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, BONUS)}


def _modified(layers: int, growth: int, depth: int, pre_units: int) -> dict[ModelSpec, ModelSpec]:
    """Return the networks of Tables 4 and 5 of another size, by the paper's."""
    whole = (*DENSE_NETS.values(), *RESIDUAL_NETS.values())
    return dict(
        zip(
            whole,
            (*_dense_nets(layers, growth).values(), *_residual_nets(layers, growth, depth, pre_units).values()),
            strict=True,
        )
    )


# Two layers a block is the least that can be halved; growth 12 that can be divided by 2, 3 and 4.
TINY_MODIFIED = _modified(layers=2, growth=12, depth=11, pre_units=3)
SMALL_MODIFIED = _modified(layers=4, growth=12, depth=29, pre_units=6)


def _tiny_model(model: ModelSpec) -> ModelSpec:
    """Digits are 8x8: each architecture by its smallest kin, growing from row to row as the paper's do."""
    if model in TINY_MODIFIED:
        return TINY_MODIFIED[model]
    growth = {"112-33": 4, "90-60": 6, "80-80": 8, "80-120": 12}
    width = {"28-1": 1, "28-2": 2, "28-5": 3, "28-10": 4}
    family, _, size = model.name.partition("-")
    if family == "densenet":
        return ModelSpec(f"densenet-10-{growth[size]}")
    return ModelSpec(f"wide_resnet-10-{width[size]}") if family == "wide_resnet" else ModelSpec("small_cnn")


def _small_model(model: ModelSpec) -> ModelSpec:
    """For 10,000 pictures of 32x32 on a processor: depth 10 in place of 28, DenseNets of 22 layers."""
    if model in SMALL_MODIFIED:
        return SMALL_MODIFIED[model]
    growth = {"112-33": 8, "90-60": 12, "80-80": 16, "80-120": 24}
    family, _, size = model.name.partition("-")
    if family == "densenet":
        return ModelSpec(f"densenet-22-{growth[size]}")
    return ModelSpec(f"wide_resnet-10-{size.partition('-')[2]}") if family == "wide_resnet" else ModelSpec("resnet18")


def _scaled(
    study: Study, model: Callable[[ModelSpec], ModelSpec], data: DataSpec, epochs: int, batch_size: int, note: str
) -> Study:
    def column(one: Column | None) -> Column | None:
        return replace(one, model=model(one.model)) if one is not None and one.model is not None else one

    rows = {name: model(spec) for name, spec in study.rows.items()}
    columns = {name: column(one) or one for name, one in study.columns.items()}
    named = {**rows, **{name: one.model for name, one in columns.items() if one.model is not None}}
    networks = ", ".join(f"{name} is {_said(spec)}" for name, spec in named.items())
    return replace(
        study,
        rows=rows,
        columns=columns,
        exceptions={cell: column(one) for cell, one in study.exceptions.items()},
        data=data,
        training=replace(study.training, epochs=epochs, batch_size=batch_size),
        notes=(*study.notes, f"{note} Networks: {networks}."),
    )


def _said(model: ModelSpec) -> str:
    """Return a model's name with its options."""
    options = " ".join(f"{name}={value:g}" for name, value in model.options if not isinstance(value, str))
    return f"{model.name} ({options})" if options else model.name


def _tiny(study: Study) -> Study:
    data = DataSpec(source="digits", views="none" if study.data.views == "none" else "crop", padding=1)
    note = "Scaled down (tiny): scikit-learn's digits, 6 epochs, batch 32; the paper's structure, not its figures."
    return _scaled(study, _tiny_model, data, 6, 32, note)


def _small(study: Study) -> Study:
    note = (
        "Scaled down (small): 10,000 training pictures of CIFAR-10, 15 epochs; published figures are of the full size."
    )
    return _scaled(study, _small_model, DataSpec(source="cifar10", limit=10_000, views=study.data.views), 15, 128, note)


SCALES: Mapping[str, Callable[[Study], Study]] = {"tiny": _tiny, "small": _small, "full": lambda study: study}


def scaled(study: Study, scale: str) -> Study:
    """Return one of the paper's studies at a scale; `AnewError` for one that is not known."""
    if scale not in SCALES:
        raise AnewError(
            f"scale must be one of {', '.join(SCALES)}, got '{scale}'{did_you_mean(scale, SCALES)}; set --scale"
        )
    return SCALES[scale](study)


def with_controls(study: Study) -> Study:
    """Return a study with the controls that ask whether distillation did it: columns like any other.

    A second label-only network; one that is given the whole compute of the longest lineage; an ensemble of as many
    independent label-only networks as that lineage has generations; labels smoothed as much as the teacher is unsure on
    the whole; a student of the teacher with its answers exchanged between examples of the same predicted class; and an
    untrained network with a student of its own. `AnewError` where the study has a column of such a name.
    """
    longest = max(_depth(study, row, name) for row in study.rows for name in study.columns)
    again = [Column(seed=500 + number) for number in range(1, longest + 1)]
    names = [f"{study.reference} again", *(f"{study.reference} again ({number})" for number in range(2, longest + 1))]
    members = (study.reference, *names[:longest])
    untrained = f"{study.reference} untrained"
    controls = {
        **dict(zip(names, again, strict=True)),
        f"{study.reference}, {longest + 1}x epochs": Column(seed=500, epochs=longest + 1),
        f"{longest + 1} independent": Column(ensemble=members),
        f"labels smoothed by {study.reference}": _student("teacher-smoothing", study.reference),
        f"BAN, {study.reference} shuffled": Column(study.reference, ObjectiveSpec("ban", shuffled=True)),
        untrained: Column(seed=500, epochs=0),
        f"BAN, {untrained}": _student(teacher=untrained),
    }
    for name in controls:
        if name in study.columns:
            raise AnewError(
                f"study '{study.name}': has a column '{name}', a control's name; rename it, or drop --controls"
            )
    return replace(study, columns={**study.columns, **controls})


def _depth(study: Study, row: str, name: str) -> int:
    column = study.column(row, name)
    if column is None or column.ensemble or not column.teacher:
        return 0
    return 1 + _depth(study, row, column.teacher)
