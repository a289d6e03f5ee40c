"""Typed, checked fields of frozen dataclasses: one description serves recipes (TOML), the command
line, JSON and help.

A dataclass whose fields are made by `option` is read from a mapping or from a command line's texts
(`read`), changed (`override`), and written back (`write`). A wrong key, type or value is an
`AnewError` that names field, rule, value and fix.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import tomli_w

from anew.core.errors import AnewError, did_you_mean
from anew.core.ranges import Range

Described = TypeVar("Described")
Scalar = bool | int | float | str
Table = tuple[tuple[str, Scalar], ...]
"""A table of free keys, sorted, and a tuple so that it is hashable: the options of a model."""

ALWAYS_WRITTEN = "ALWAYS_WRITTEN"
"""The class attribute with the names that an identity writes at their defaults too."""

# A dataclass that starts with one of these may be given by it alone: `model = "lenet"`, `--model
# lenet`.
_NAMING = ("name", "source")


@dataclass(frozen=True)
class Parts:
    """Words that may stand alone or joined by `+`, as in crop+flip.

    Their order says nothing, and `none` stands for no word at all.
    """

    words: tuple[str, ...]
    """In the order in which a value is written."""

    @property
    def choices(self) -> tuple[str, ...]:
        """All that may stand between two `+`, and `none`."""
        return ("none", *self.words)

    def of(self, value: str) -> tuple[str, ...]:
        """Return the words of a value in their order; none for `none`."""
        given = value.split("+")
        return tuple(word for word in self.words if word in given)


class WholeTexts:
    """Texts of which each may hold commas, such as names of files: a list is given item by item."""


@dataclass(frozen=True)
class Constraint:
    """What a field may hold, and where it is set."""

    help: str
    range: Range = Range()
    choices: tuple[str, ...] = ()
    flag: str = ""
    identity: bool = True
    """Whether the field is part of what a network is; False for where and how something is found.
    """
    keys: Mapping[str, str] | None = None
    """Of a table: its keys may stand beside the other fields; the help of those with own flags."""
    parts: Parts | None = None
    """Of a text of several words: the words, which are its choices."""
    commas: bool = True
    """Of a list: whether a text is cut at its commas; False where an item may hold one."""


def option(
    default: Any,
    help: str,
    *,
    allowed: Range | Sequence[str] | Parts | WholeTexts = (),
    flag: str = "",
    identity: bool = True,
    keys: Mapping[str, str] | None = None,
) -> Any:
    """Make a dataclass field with its constraint; `allowed` is a range of numbers, the choices,
    words that may be joined, or that the texts of a list are whole.

    A class as the default is a nested dataclass. The other arguments are those of `Constraint`.
    """
    if isinstance(allowed, Range):
        constraint = Constraint(help, allowed, (), flag, identity, keys)
    elif isinstance(allowed, WholeTexts):
        constraint = Constraint(help, Range(), (), flag, identity, keys, commas=False)
    elif isinstance(allowed, Parts):
        constraint = Constraint(help, Range(), allowed.choices, flag, identity, keys, allowed)
    else:
        constraint = Constraint(help, Range(), tuple(allowed), flag, identity, keys)

    metadata = {"constraint": constraint}
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One value that a user can set: its path in a recipe, its type, default and constraint."""

    path: tuple[str, ...]
    type: Any
    default: Any
    constraint: Constraint

    @property
    def key(self) -> str:
        """The name in a recipe, such as `training.learning_rate`."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """The name on the command line: `--learning-rate`, or `--model` for model.name."""
        path = self.path[:-1] if len(self.path) > 1 and self.path[-1] in _NAMING else self.path
        return self.constraint.flag or "--" + ".".join(path).replace("_", "-")

    @property
    def kind(self) -> str:
        """The value as help shows it: INT, NUMBER, TEXT, LIST, TEXTS or KEY=VALUE."""
        kind = _without_none(self.type)
        if kind == Table:
            return "KEY=VALUE"
        if typing.get_origin(kind) is tuple:
            return "LIST" if self.constraint.commas else "TEXTS"
        return {int: "INT", float: "NUMBER"}.get(kind, "TEXT")

    def fail(self, must: str, value: object) -> AnewError:
        """Return the error for a wrong value."""
        return AnewError(
            f"{self.key} must be {must}, got {value!r}; set {self.flag} or {self.key} in the recipe"
        )


def options(
    described: type, prefix: tuple[str, ...] = (), defaults: Any = None
) -> Iterator[Option]:
    """Yield every value in a dataclass and in its nested dataclasses, in the order of the fields.

    Their defaults are those of the class, or the values of the instance `defaults`.
    """
    defaults = described() if defaults is None else defaults
    for name, (kind, constraint) in _described_fields(described).items():
        value, nested = getattr(defaults, name), _dataclass_in(kind)
        if nested is not None:
            yield from options(nested, (*prefix, name), value)
            continue

        yield Option((*prefix, name), kind, value, constraint)
        for key, help in (constraint.keys or {}).items():
            yield Option((*prefix, key), float | None, None, Constraint(help))


def read(
    described: type[Described],
    values: Mapping[str, Any],
    where: str = "",
    prefix: tuple[str, ...] = (),
) -> Described:
    """Build a dataclass from a mapping of its fields, every value checked; an absent one keeps its
    default.

    `where` names the mapping's origin, such as a recipe's file, in messages. A nested dataclass may
    be given by the value of its first field: `model = "lenet"` is `model.name = "lenet"`. Raises
    `AnewError` for an unknown key and a wrong value.
    """
    known = _described_fields(described)
    values = _gather(described, values)
    for key in values:
        if key not in known:
            place = ".".join((*prefix, key))
            origin = f"{where}: " if where else ""
            raise AnewError(
                f"{origin}unknown key '{place}'{did_you_mean(key, known)}; known here: "
                f"{', '.join(known)}"
            )

    checked: dict[str, Any] = {}
    for name, value in values.items():
        kind, constraint = known[name]
        field = Option((*prefix, name), kind, None, constraint)
        checked[name] = _read_field(field, value, where)
    return described(**checked)


def override(
    old: Described, values: Mapping[str, Any], where: str = "", prefix: tuple[str, ...] = ()
) -> Described:
    """Return a dataclass with the given values in place of its own, checked as by `read`.

    Keys of a table that may stand beside other fields are overridden one by one; None drops one.
    """
    return _overridden(old, read(type(old), values, where, prefix), values)


def check(option: Option, value: Any) -> Any:
    """Return a value in the option's type; text is read as the type if that is unambiguous.

    Raises `AnewError` for a value that the constraint does not allow.
    """
    allows_none = _allows_none(option.type)
    # The word none means nothing at all, unless it is itself one of the choices.
    if value == "none" and allows_none and "none" not in option.constraint.choices:
        value = None
    if value is None:
        if allows_none:
            return None
        raise option.fail(_in_words(option), value)

    kind = _without_none(option.type)
    if kind == Table:
        return _read_table(option, value)
    if typing.get_origin(kind) is tuple:
        items = value
        if isinstance(value, str):
            items = value.split(",") if option.constraint.commas else [value]
        if isinstance(items, int | float) and not isinstance(items, bool):
            items = (items,)
        if not isinstance(items, Sequence):
            raise option.fail(_in_words(option), value)
        item = dataclasses.replace(option, type=typing.get_args(kind)[0])
        return tuple(check(item, part) for part in typing.cast("Sequence[Any]", items))
    return _check_scalar(option, kind, value)


def write(described: Any, *, identity: bool = False) -> dict[str, Any]:
    """Return a dataclass as a mapping that `read` takes back.

    With `identity` only what makes a network what it is: the names of its class's `ALWAYS_WRITTEN`,
    and what is not at its default.
    """
    always: Collection[str] = getattr(type(described), ALWAYS_WRITTEN, ())
    written: dict[str, Any] = {}
    for field in _own_fields(type(described)):
        name, value = field.path[-1], getattr(described, field.path[-1])
        if identity and not field.constraint.identity:
            continue

        if field.constraint.keys is not None:
            named = [key for key in field.constraint.keys if key in always] if identity else []
            written |= dict.fromkeys(named) | dict(value)
        elif identity and name not in always and value == field.default:
            continue
        elif dataclasses.is_dataclass(value):
            written[name] = write(value, identity=identity)
        elif _without_none(field.type) == Table:
            written[name] = dict(value)
        else:
            written[name] = list(value) if isinstance(value, tuple) else value
    return written


def to_toml(described: Any) -> str:
    """Return a dataclass as the TOML that `read` takes back.

    None, which TOML cannot say, and empty tables are left out.
    """
    return tomli_w.dumps(_without_nothing(write(described))).rstrip("\n")


def _without_nothing(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop None and empty tables at every depth, and put tables last, as TOML needs them."""
    plain: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            table = _without_nothing(typing.cast("dict[str, Any]", value))
            if table:
                tables[key] = table
        elif value is not None:
            plain[key] = value
    return plain | tables


def _read_field(field: Option, value: Any, where: str) -> Any:
    nested = _dataclass_in(field.type)
    if nested is None:
        return check(field, value)
    if isinstance(value, nested) or (value is None and _allows_none(field.type)):
        return value
    if isinstance(value, Mapping):
        return read(nested, typing.cast("Mapping[str, Any]", value), where, field.path)

    first = next(iter(_described_fields(nested)))
    if first not in _NAMING:
        raise field.fail("a table", value)
    return read(nested, {first: value}, where, field.path)


def _overridden(old: Any, checked: Any, values: Mapping[str, Any]) -> Any:
    """Return `old` with those fields of `checked` that `values` names."""
    known = _described_fields(type(old))
    changes: dict[str, Any] = {}
    for name, given in _gather(type(old), values).items():
        before, new = getattr(old, name), getattr(checked, name)
        if known[name][1].keys is not None:
            dropped = [key for key, value in given.items() if value is None]
            kept = {key: value for key, value in before if key not in dropped}
            changes[name] = tuple(sorted((kept | dict(new)).items()))
        elif isinstance(given, Mapping) and dataclasses.is_dataclass(before):
            changes[name] = _overridden(before, new, typing.cast("Mapping[str, Any]", given))
        else:
            changes[name] = new
    return dataclasses.replace(old, **changes)


def _gather(described: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping in which keys that stand beside the fields are back in their table."""
    known = _described_fields(described)
    tables = [name for name, (_, constraint) in known.items() if constraint.keys is not None]
    if not tables:
        return dict(values)

    (table,) = tables
    gathered = {key: value for key, value in values.items() if key in known}
    beside = {key: value for key, value in values.items() if key not in known}
    if beside or table in gathered:
        own = gathered.get(table, {})
        field = Option((table,), Table, (), known[table][1])
        gathered[table] = (
            dict(own if isinstance(own, Mapping) else _read_table(field, own)) | beside
        )
    return gathered


def _check_scalar(option: Option, kind: Any, value: Any) -> Any:
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
            return value.lower() in ("true", "yes")
        if not isinstance(value, bool):
            raise option.fail(_in_words(option), value)
        return value

    if kind is str:
        choices = option.constraint.choices
        if not isinstance(value, str):
            raise option.fail("a text", value)
        if option.constraint.parts is not None:
            return _check_parts(option, option.constraint.parts, value)
        if choices and value not in choices:
            hint = did_you_mean(value, choices)
            raise AnewError(
                f"{option.key} must be one of {', '.join(choices)}, got {value!r}{hint}; set "
                f"{option.flag}"
            )
        return value

    number = _number(option, kind, value)
    if not option.constraint.range.holds(number):
        raise option.fail(_in_words(option), value)
    return number


def _check_parts(option: Option, parts: Parts, value: str) -> str:
    """Return words joined by `+` in their order: the same words are the same value."""
    given = [word.strip() for word in value.split("+")]
    for word in given:
        if word not in parts.choices:
            hint = did_you_mean(word, parts.choices)
            raise AnewError(
                f"{option.key} must be none, or parts joined by + of {', '.join(parts.words)}, got "
                f"{value!r}{hint}; set {option.flag}"
            )
    if len(set(given)) < len(given) or ("none" in given and len(given) > 1):
        raise AnewError(
            f"{option.key} must name each part once, and none alone, got {value!r}; set "
            f"{option.flag}"
        )
    return "+".join(parts.of("+".join(given))) or "none"


def _number(option: Option, kind: Any, value: Any) -> int | float:
    if isinstance(value, str):
        try:
            value = float(value) if kind is float else int(value)
        except ValueError:
            raise option.fail(_in_words(option), value) from None
    wanted = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise option.fail(_in_words(option), value)
    return float(value) if kind is float else value


def _read_table(option: Option, value: Any) -> Table:
    """Read a table of free keys: a mapping, pairs, or texts `key=value` from the command line."""
    if isinstance(value, Mapping):
        table = dict(typing.cast("Mapping[str, Any]", value))
    else:
        if not isinstance(value, str | list | tuple):
            raise option.fail("a table", value)
        texts: list[Any] = [value] if isinstance(value, str) else list(value)
        pairs = [text.split("=", 1) if isinstance(text, str) else text for text in texts]
        if not all(_is_pair(pair) for pair in pairs):
            raise option.fail("written key=value", texts)
        table = dict(pairs)

    for key, item in table.items():
        if item is not None and not isinstance(item, bool | int | float | str):
            raise AnewError(
                f"{option.key}.{key} must be a number, a text, true or false, got {item!r}"
            )
    given = {key: _plain(item) for key, item in table.items() if item is not None}
    return tuple(sorted(given.items()))


def _is_pair(value: Any) -> bool:
    """Return whether a value is a key and what it stands for."""
    if not isinstance(value, list | tuple):
        return False
    pair = typing.cast("Sequence[Any]", value)
    return len(pair) == 2 and isinstance(pair[0], str)


def _plain(value: Scalar) -> Scalar:
    """Read a text from the command line as TOML would: 3 is a whole number, 0.5 a number, true a
    truth value.
    """
    if not isinstance(value, str):
        return value
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _in_words(option: Option) -> str:
    """Return what a value must be, such as `a whole number >= 1 or none`."""
    kind = _without_none(option.type)
    if typing.get_origin(kind) is tuple:
        words = "a list of words" if typing.get_args(kind)[0] is str else "a list of numbers"
    else:
        names = {bool: "true or false", int: "a whole number", float: "a number"}
        words = names.get(kind, "a text")

    words = f"{words} {option.constraint.range.bounds}".rstrip()
    if option.constraint.range.also:
        words = f"{words}, or {option.constraint.range.also}"
    return words + (" or none" if _allows_none(option.type) else "")


@cache
def _described_fields(described: type) -> Mapping[str, tuple[Any, Constraint]]:
    """Return the type and the constraint of every field made by `option`."""
    kinds = typing.get_type_hints(described)
    return {
        field.name: (kinds[field.name], field.metadata["constraint"])
        for field in dataclasses.fields(described)
        if "constraint" in field.metadata
    }


# Looked up once a class: the types of annotations cost more than all else of an id.
@cache
def _own_fields(described: type) -> tuple[Option, ...]:
    """Return the fields of a dataclass, with its defaults, without those of nested dataclasses."""
    found: list[Option] = []
    kinds = typing.get_type_hints(described)
    for field in dataclasses.fields(described):
        if "constraint" in field.metadata:
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            constraint = field.metadata["constraint"]
            found.append(Option((field.name,), kinds[field.name], default, constraint))
    return tuple(found)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (types.UnionType, typing.Union)


def _allows_none(kind: Any) -> bool:
    return _is_union(kind) and type(None) in typing.get_args(kind)


def _without_none(kind: Any) -> Any:
    if not _allows_none(kind):
        return kind
    (only,) = (part for part in typing.get_args(kind) if part is not type(None))
    return only


def _dataclass_in(kind: Any) -> type | None:
    kind = _without_none(kind)
    return kind if dataclasses.is_dataclass(kind) and isinstance(kind, type) else None
