"""Typed, checked fields of frozen dataclasses: one description serves recipes (TOML), the command
line, JSON and help.

A dataclass whose fields are made by `option` can be read from a mapping (`read`), from text (a
command line's values), and written back (`write`); a wrong key, type or value is an `AnewError`
that names field, rule, value and fix.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from anew.core.errors import AnewError, did_you_mean

Described = TypeVar("Described")
Scalar = bool | int | float | str
Options = tuple[tuple[str, Scalar], ...]
"""A table of free keys, kept sorted so that it is hashable: the options of a model."""


# A dataclass that starts with one of these may be given by it alone: `model = "lenet"`, `--model
# lenet`.
_NAMING = ("name", "source")


@dataclass(frozen=True)
class Rule:
    """What a field may hold, and where it is set."""

    help: str
    low: float | None = None
    high: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    flag: str = ""
    identity: bool = True
    """Whether the field is part of what a network is; False for where and how something is found.
    """
    later: bool = False
    """Whether the field came after ids were first given: at its default it is no part of them, so
    that they stay.
    """


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: bool = False,
    choices: tuple[str, ...] = (),
    flag: str = "",
    identity: bool = True,
    later: bool = False,
) -> Any:
    """Make a dataclass field with its rule: low <= value <= high (low < value with `above`), one of
    `choices`.
    """
    rule = Rule(help, low, high, above, choices, flag, identity, later)
    metadata = {"rule": rule}
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Leaf:
    """One value that a user can set: its path in a recipe, its command-line flag, type, default and
    rule.
    """

    path: tuple[str, ...]
    type: Any
    default: Any
    rule: Rule

    @property
    def key(self) -> str:
        """The field as a recipe names it, such as `training.learning_rate`."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """The field as the command line names it: `--learning-rate`, `--data.seed`, `--model` for
        model.name.
        """
        path = self.path[:-1] if len(self.path) > 1 and self.path[-1] in _NAMING else self.path
        return self.rule.flag or "--" + ".".join(path).replace("_", "-")

    @property
    def kind(self) -> str:
        """What the command line shows for a value: INT, NUMBER, TEXT, LIST or KEY=VALUE."""
        kind = _without_none(self.type)
        if kind == Options:
            return "KEY=VALUE"
        if typing.get_origin(kind) is tuple:
            return "LIST"
        return {int: "INT", float: "NUMBER"}.get(kind, "TEXT")

    def fail(self, must: str, value: object) -> AnewError:
        """Return the error for a wrong value."""
        return AnewError(
            f"{self.key} must be {must}, got {value!r}; set {self.flag} or {self.key} in the recipe"
        )


def leaves(described: type, prefix: tuple[str, ...] = (), defaults: Any = None) -> Iterator[Leaf]:
    """Yield every value in a dataclass and in the dataclasses in it, in the order of the fields."""
    defaults = described() if defaults is None else defaults
    for name, (kind, rule) in _described_fields(described).items():
        value, nested = getattr(defaults, name), _dataclass_in(kind)
        if nested is not None:
            yield from leaves(nested, (*prefix, name), value)
        else:
            yield Leaf((*prefix, name), kind, value, rule)


def read(
    described: type[Described],
    values: Mapping[str, Any],
    where: str = "",
    prefix: tuple[str, ...] = (),
) -> Described:
    """Build a dataclass from a mapping of its fields, every value checked; what is absent keeps its
    default.

    `where` names the mapping's origin, such as a recipe's file, in messages. A nested dataclass may
    be given by the value of its first field: `model = "lenet"` is `model.name = "lenet"`.
    """
    known = _described_fields(described)
    for key in values:
        if key not in known:
            place = ".".join((*prefix, key))
            origin = f"{where}: " if where else ""
            raise AnewError(
                f"{origin}unknown key '{place}'{did_you_mean(key, known)}; known here: "
                f"{', '.join(known)}"
            )
    found: dict[str, Any] = {}
    for name, value in values.items():
        kind, rule = known[name]
        leaf, nested = Leaf((*prefix, name), kind, None, rule), _dataclass_in(kind)
        if nested is None:
            found[name] = check(leaf, value)
        elif isinstance(value, nested) or (value is None and _allows_none(kind)):
            found[name] = value
        elif isinstance(value, Mapping):
            found[name] = read(nested, typing.cast("Mapping[str, Any]", value), where, leaf.path)
        elif (first := next(iter(_described_fields(nested)))) in _NAMING:
            found[name] = read(nested, {first: value}, where, leaf.path)
        else:
            raise leaf.fail("a table", value)
    return described(**found)


def check(leaf: Leaf, value: Any) -> Any:
    """Return the value in the leaf's type, or raise `AnewError`. Text is read as the type where
    that is unambiguous.
    """
    # The word none means nothing at all, but where it is itself one of the choices.
    if value is None or (
        value == "none" and _allows_none(leaf.type) and "none" not in leaf.rule.choices
    ):
        if _allows_none(leaf.type):
            return None
        raise leaf.fail(_in_words(leaf), value)
    kind = _without_none(leaf.type)
    if kind == Options:
        return _read_options(leaf, value)
    if typing.get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, Sequence):
            raise leaf.fail(_in_words(leaf), value)
        item_leaf = dataclasses.replace(leaf, type=typing.get_args(kind)[0])
        return tuple(check(item_leaf, item) for item in typing.cast("Sequence[Any]", items))
    return _check_scalar(leaf, kind, value)


def write(described: Any, *, identity: bool = False) -> dict[str, Any]:
    """Return a dataclass as a mapping that `read` takes back; with `identity`, only what makes a
    network what it is.
    """
    written: dict[str, Any] = {}
    for name, (kind, rule) in _described_fields(type(described)).items():
        if identity and not rule.identity:
            continue
        value = getattr(described, name)
        if identity and rule.later and value == getattr(type(described), name):
            continue
        if dataclasses.is_dataclass(value):
            written[name] = write(value, identity=identity)
        elif kind == Options:
            written[name] = dict(value)
        else:
            written[name] = list(value) if isinstance(value, tuple) else value
    return written


def to_toml(described: Any) -> str:
    """Return a dataclass as the TOML that `read` takes back; what is None, which TOML cannot say,
    is left out.
    """
    lines, tables = list[str](), list[str]()
    for name, value in write(described).items():
        if isinstance(value, dict):
            items = [
                f"{key} = {_toml_value(item)}"
                for key, item in value.items()
                if item is not None and item != {}
            ]
            tables += ["", f"[{name}]", *items]
        elif value is not None:
            lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join([*lines, *tables])


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        items = typing.cast("dict[str, Any]", value).items()
        return (
            "{ "
            + ", ".join(f"{json.dumps(key)} = {_toml_value(item)}" for key, item in items)
            + " }"
        )
    # JSON's numbers, texts, truth values and lists are TOML's as well.
    return json.dumps(value)


def _check_scalar(leaf: Leaf, kind: Any, value: Any) -> Any:
    rule = leaf.rule
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
            return value.lower() in ("true", "yes")
        if not isinstance(value, bool):
            raise leaf.fail(_in_words(leaf), value)
        return value
    if kind is str:
        if not isinstance(value, str):
            raise leaf.fail("a text", value)
        if rule.choices and value not in rule.choices:
            hint = did_you_mean(value, rule.choices)
            raise AnewError(
                f"{leaf.key} must be one of {', '.join(rule.choices)}, got {value!r}{hint}; set "
                f"{leaf.flag}"
            )
        return value
    number = _number(leaf, kind, value)
    low, high = rule.low, rule.high
    too_low = low is not None and (number <= low if rule.above else number < low)
    # Written so that NaN, which compares as false with everything, fails.
    if too_low or number != number or not (high is None or number <= high):
        raise leaf.fail(_in_words(leaf), value)
    return number


def _number(leaf: Leaf, kind: Any, value: Any) -> int | float:
    if isinstance(value, str):
        try:
            value = float(value) if kind is float else int(value)
        except ValueError:
            raise leaf.fail(_in_words(leaf), value) from None
    wanted = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise leaf.fail(_in_words(leaf), value)
    return float(value) if kind is float else value


def _read_options(leaf: Leaf, value: Any) -> Options:
    """Read a table of free keys: a mapping, or texts `key=value` from the command line."""
    if isinstance(value, Mapping):
        table = typing.cast("Mapping[str, Any]", value)
    else:
        texts: list[str] = [value] if isinstance(value, str) else list(value)
        if any("=" not in text for text in texts):
            raise leaf.fail("written key=value", texts)
        table = dict(text.split("=", 1) for text in texts)
    for key, item in table.items():
        if not isinstance(item, bool | int | float | str):
            raise AnewError(
                f"{leaf.key}.{key} must be a number, a text, true or false, got {item!r}"
            )
    return tuple(sorted((key, _plain(item)) for key, item in table.items()))


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


def _in_words(leaf: Leaf) -> str:
    kind, rule = _without_none(leaf.type), leaf.rule
    if typing.get_origin(kind) is tuple:
        words = "a list of words" if typing.get_args(kind)[0] is str else "a list of numbers"
    else:
        words = {bool: "true or false", int: "a whole number", float: "a number"}.get(
            kind, "a text"
        )
    if rule.low is not None:
        words += f" {'>' if rule.above else '>='} {_plainly(rule.low)}"
    if rule.high is not None:
        words += (" and" if rule.low is not None else "") + f" <= {_plainly(rule.high)}"
    return words + (" or none" if _allows_none(leaf.type) else "")


def _plainly(bound: float) -> str:
    """Write a bound as a user would: a whole number with all its digits, another one short."""
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _described_fields(described: type) -> dict[str, tuple[Any, Rule]]:
    """Return the type and the rule of every field made by `option`."""
    kinds = typing.get_type_hints(described)
    return {
        field.name: (kinds[field.name], field.metadata["rule"])
        for field in dataclasses.fields(described)
        if "rule" in field.metadata
    }


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
