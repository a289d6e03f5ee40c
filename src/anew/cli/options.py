"""What the options of commands share: whole numbers, the family's folder, and an option for every
value of a recipe and of an execution.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import Group, Parameter, Token

from anew.core import fields
from anew.core.errors import AnewError
from anew.core.execution import TABLE, Execution
from anew.core.recipe import Recipe
from anew.core.settings import read_settings
from anew.core.text import capitalised

Command = TypeVar("Command", bound=Callable[..., None])

COMMAND: ContextVar[Sequence[str]] = ContextVar("command", default=())
"""The words of the command that runs, without the program."""
DEFAULT_FAMILY = Path("family")
COMMON = Group("Common options", sort_key=0)
RUN = Group("Where and how it runs", sort_key=5)
_GROUPS = {
    "model": COMMON,
    "data": Group("Data and views", sort_key=2),
    "objective": Group("Objective", sort_key=3),
    "training": Group("Training", sort_key=4),
    TABLE: RUN,
}
_LINEAGE = Group("Lineage and teachers", sort_key=1)
_COMMON = (
    "data.source",
    "data.size",
    "data.limit",
    "data.views",
    "objective.name",
    "training.epochs",
    "training.batch_size",
    "training.learning_rate",
    "generations",
    "seed",
    "teacher",
    f"{TABLE}.device",
    f"{TABLE}.jobs",
)


def _read_whole(kind: Any, tokens: Sequence[Token]) -> int:
    """Read a whole number, all of it: cyclopts by itself would round 1.5."""
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError:
        name = (token.keyword or "").lstrip("-")
        raise AnewError(
            f"{name} must be a whole number, got '{token.value}'; set --{name}"
        ) from None


_OF_VALUES = re.compile(r"[a-z0-9+-]+( \([^)]*\))?(, [a-z0-9+-]+( \([^)]*\))?)*: ")
"""A help that begins with the values it is about, such as `kd, dkd: temperature`."""
WHOLE = Parameter(converter=_read_whole)


Network = Annotated[
    str,
    Parameter(
        help="Use the lineage that ends at this network (the start of its id). Needed if a "
        "family has several lineages."
    ),
]
Generations = Annotated[
    str,
    Parameter(
        help="Generations to use: `last`, `all`, a number such as 2, a range such as 0-2, a "
        "list such as 0,2, or the last few, such as last-2. Several are an ensemble: the mean "
        "of their probabilities."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True)
class Chosen:
    """Which networks of a family are asked together."""

    network: Network = ""
    generations: Generations = "last"


THE_LAST = Chosen()
"""The last generation of the only lineage."""

_FORMAT = Parameter(name="--format", help="Format of the result.")


@dataclass(frozen=True)
class _Formats:
    """How a command prints its result: by `--format`, or by `--json` for short."""

    form: str
    as_json: Annotated[
        bool, Parameter(name="--json", negative=(), help="Short for --format json.")
    ] = False

    @property
    def chosen(self) -> str:
        """The format that either option asks for; `AnewError` if they ask for two."""
        if self.as_json and self.form not in (type(self).form, "json"):
            raise AnewError(
                f"format: --json and --format {self.form} contradict each other; drop one"
            )
        return "json" if self.as_json else self.form

    @property
    def is_json(self) -> bool:
        """Whether JSON is asked for, by either option."""
        return self.chosen == "json"


@Parameter(name="*")
@dataclass(frozen=True)
class Printed(_Formats):
    """How a command prints a result that is no table, or of several unlike ones."""

    form: Annotated[Literal["table", "json"], _FORMAT] = "table"


@Parameter(name="*")
@dataclass(frozen=True)
class PrintedSections(_Formats):
    """How a command prints a result of several tables with notes."""

    form: Annotated[Literal["table", "markdown", "json"], _FORMAT] = "table"


@Parameter(name="*")
@dataclass(frozen=True)
class PrintedRows(_Formats):
    """How a command prints a result that is the rows of one table."""

    form: Annotated[Literal["table", "markdown", "csv", "json"], _FORMAT] = "table"


@Parameter(name="*")
@dataclass(frozen=True)
class PrintedStudy(_Formats):
    """How a command prints a study's table."""

    form: Annotated[Literal["table", "markdown", "csv", "latex", "json"], _FORMAT] = "table"


@Parameter(name="*")
@dataclass(frozen=True)
class PrintedPage(_Formats):
    """How a family's page is written."""

    form: Annotated[
        Literal["html", "json"],
        Parameter(name="--format", help="The page, or its data as JSON (docs/report.md)."),
    ] = "html"


AS_TABLE = Printed()
SECTIONS_AS_TABLE = PrintedSections()
ROWS_AS_TABLE = PrintedRows()
STUDY_AS_TABLE = PrintedStudy()
AS_PAGE = PrintedPage()

Calibrate = Annotated[
    bool,
    Parameter(
        name="--calibrate",
        negative=(),
        help="Calibrate the probabilities with a temperature fitted on the validation examples.",
    ),
]
Coverage = Annotated[
    float | None,
    Parameter(
        name="--conformal",
        help="Print sets of classes that contain the true class with this probability, such as "
        "0.9 (conformal prediction on the validation examples).",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True)
class Moved:
    """Where the data of a family are now."""

    data: Annotated[
        str | None,
        Parameter(help="Where the data are now, such as parquet:PATH, if they have moved."),
    ] = None
    root: Annotated[
        Path | None,
        Parameter(help="The folder of torchvision's data sets, if it has moved."),
    ] = None


AS_RECORDED = Moved()
"""The data are where the networks' specs say."""


def in_paragraphs(command: Command) -> Command:
    """Put each paragraph of a command's description on one line, so that its help breaks lines at
    the terminal's width and not where the source does.
    """
    head, section, rest = inspect.cleandoc(command.__doc__ or "").partition("\n\nParameters\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in head.split("\n\n")]
    command.__doc__ = "\n\n".join(paragraphs) + section + rest
    return command


def takes_execution(*names: str) -> Callable[[Command], Command]:
    """Give a command with `**given` options of `Execution`; `execution_from` reads them."""

    def extend(command: Command) -> Command:
        return _extend(command, [_keyword(option) for option in _execution_options(names)])

    return extend


def takes_recipe(*names: str) -> Callable[[Command], Command]:
    """Give a command with `**given` an option for every value of a recipe, and the named options of
    `Execution`; all of them if none is named. `settings_from` reads them.
    """

    def extend(command: Command) -> Command:
        described = [*fields.options(Recipe), *_execution_options(names)]
        return _extend(command, [_keyword(option, _group_of(option)) for option in described])

    return extend


def takes_data(*names: str) -> Callable[[Command], Command]:
    """Give a command with `**given` the options of a data spec that say what is read and shown, and
    the named options of `Execution`; `settings_from` reads them.
    """

    def extend(command: Command) -> Command:
        described = [
            option
            for option in fields.options(Recipe)
            if option.path[0] == "data" and option.path[-1] not in ("source", "root", "download")
        ]
        keywords = [_keyword(option) for option in [*described, *_execution_options(names)]]
        return _extend(command, keywords)

    return extend


def takes_model_and_data() -> Callable[[Command], Command]:
    """Give a command with `**given` an option for every value of a recipe's model and data, and
    those of `Execution` that reading and asking depend on; `settings_from` reads them.
    """

    def extend(command: Command) -> Command:
        described = [
            option for option in fields.options(Recipe) if option.path[0] in ("model", "data")
        ]
        run = _execution_options(
            ("device", "threads", "force", "trust", "storage", "workers", "cache_budget")
        )
        return _extend(command, [_keyword(option) for option in [*described, *run]])

    return extend


def _group_of(option: fields.Option) -> Group:
    """Return the group of options under which a command's help lists an option."""
    if ".".join(option.path) in _COMMON:
        return COMMON
    return _GROUPS.get(option.path[0], _LINEAGE)


def _execution_options(names: tuple[str, ...]) -> list[fields.Option]:
    known = fields.options(Execution, (TABLE,))
    return [option for option in known if not names or option.path[-1] in names]


def _extend(command: Command, options: Iterable[inspect.Parameter]) -> Command:
    """Put options in the place of a command's `**given`, where cyclopts sees them."""
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    parameters = [*own, *options]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _keyword(option: fields.Option, group: Group | None = None) -> inspect.Parameter:
    """Return a described value as a command's option."""
    # For cyclopts a group of None would hide the option.
    grouped: dict[str, Any] = {} if group is None else {"group": group}
    parameter = Parameter(
        **grouped,
        name=option.flag,
        help=_option_help(option),
        show_default=False,
        negative_iterable=(),
        consume_multiple=False,
        metavar=option.kind,
        converter={"LIST": _join, "TEXTS": _collect}.get(option.kind),
    )

    return inspect.Parameter(
        "__".join(option.path),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[_option_type(option), parameter],
    )


def _option_type(option: fields.Option) -> Any:
    """Return how an option is read: as text, which its rule checks as it checks a TOML file."""
    if option.type is bool:
        return bool | None
    is_list = option.kind in ("LIST", "TEXTS", "KEY=VALUE")
    return list[str] | None if is_list else str | None


def _join(kind: Any, tokens: Sequence[Token]) -> str:
    """Read a list that may be given at once, `a,b`, or by repeating its option."""
    return ",".join(token.value for token in tokens)


def _collect(kind: Any, tokens: Sequence[Token]) -> str | list[str]:
    """Read a list that is given by repeating its option; one value alone may be `none`."""
    values = [token.value for token in tokens]
    return values[0] if len(values) == 1 else values


def _option_help(option: fields.Option) -> str:
    """Return a description as sentences, with the choices and the default."""
    text = f"{option.constraint.help}."
    if not _OF_VALUES.match(text):
        text = capitalised(text)

    default = option.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    choices = f" ({', '.join(option.constraint.choices)})" if option.constraint.choices else ""

    # teacher_model has no default of its own: without it generation 0 is the model itself.
    has_default = default not in (None, "") and option.path[0] != "teacher_model"
    shown = f" [{default}]" if has_default else ""
    return f"{text}{choices}{shown}"


def settings_from(path: Path | None, given: Mapping[str, Any]) -> tuple[Recipe, Execution]:
    """Return the recipe and the execution of a TOML file (or none), overridden by a command's
    options.
    """
    return read_settings(path, _nested(given))


def execution_from(given: Mapping[str, Any]) -> Execution:
    """Return the execution that a command's options ask for, every value checked."""
    _, execution = read_settings(None, _nested(given))
    return execution


def _nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, nested as the tables of a TOML file are."""
    nested: dict[str, Any] = {}
    for key, value in given.items():
        if value is None:
            continue
        *tables, name = key.split("__")
        table = nested
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = value
    return nested
