"""What commands' options share: whole numbers, the family's folder, and every value of a recipe as
an option.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter, Token

from anew.core import fields
from anew.core.errors import AnewError
from anew.core.spec import Recipe

DEFAULT_FAMILY = Path("family")


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


WHOLE = Parameter(converter=_read_whole)


def with_recipe(command: Callable[..., None], texts: Mapping[str, str]) -> Callable[..., None]:
    """Give a command whose last parameter is `**given` an option for every value of a recipe.

    One description of a field serves TOML, flags and help. `texts` are the help of its own
    parameters, which come first. What was given arrives in `given`, for `nested`.
    """
    recipe_group, run_group = (
        Group("What is trained", sort_key=1),
        Group("How it is run", sort_key=0),
    )
    parameters = [
        _keyword(
            leaf.key.replace(".", "__"),
            _option_type(leaf),
            None,
            leaf.flag,
            _option_help(leaf),
            recipe_group,
            leaf.kind,
        )
        for leaf in fields.leaves(Recipe)
    ]
    own = inspect.signature(command, eval_str=True).parameters
    for name, text in texts.items():
        flag = "--" + name.removeprefix("as_").replace("_", "-")
        parameters.append(
            _keyword(name, own[name].annotation, own[name].default, flag, text, run_group)
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _keyword(
    name: str,
    kind: Any,
    default: Any,
    flag: str,
    text: str,
    group: Group,
    metavar: str | None = None,
) -> inspect.Parameter:
    shown = default is not None and default is not False
    parameter = Parameter(
        name=flag,
        help=text,
        group=group,
        show_default=shown,
        negative_iterable=(),
        consume_multiple=False,
        metavar=metavar,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, parameter]
    )


def _option_type(leaf: fields.Leaf) -> Any:
    """Return how an option is read: as text, which the recipe's own rules then check, as for a TOML
    file.
    """
    if leaf.type is bool:
        return bool | None
    return list[str] | None if leaf.type == fields.Options else str | None


def _option_help(leaf: fields.Leaf) -> str:
    default = leaf.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    choices = f" ({', '.join(leaf.rule.choices)})" if leaf.rule.choices else ""
    # teacher_model has no default of its own: without it generation 0 is the model itself.
    shown = "" if default in (None, "") or leaf.path[0] == "teacher_model" else f" [{default}]"
    return f"{leaf.rule.help}{choices}{shown}"


def nested(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, nested as a recipe is."""
    nested: dict[str, Any] = {}
    for key, value in given.items():
        if value is not None:
            *tables, name = key.split("__")
            table = nested
            for one in tables:
                table = table.setdefault(one, {})
            table[name] = value
    return nested
