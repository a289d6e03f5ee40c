"""JSON and TOML from files that somebody may have damaged or forged.

The parsers and what walks their values call themselves at each level, and Python reads no text of
thousands of digits as a number: both are one `ValueError` here.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any, cast

MOST_LEVELS = 100
MOST_BITS = 1000
"""A whole number that has more could not become a float; what anew writes needs 64."""


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises `ValueError` if it is none, is nested too deeply, or has a number of too many digits.
    """
    try:
        return _bounded(json.loads(text))
    except RecursionError:
        raise _too_deep() from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the table of a TOML text; raises `ValueError` as `parse_json` does."""
    try:
        return _bounded(tomllib.loads(text))
    except RecursionError:
        raise _too_deep() from None


def _bounded(value: Any) -> Any:
    """Return a value if its depth and its numbers are those of anything that anew reads."""
    level = [value]
    for _ in range(MOST_LEVELS):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += cast("dict[str, Any]", item).values()
            elif isinstance(item, list):
                below += cast("list[Any]", item)
            elif isinstance(item, int) and item.bit_length() > MOST_BITS:
                raise ValueError("holds a whole number of more than 300 digits")
        if not below:
            return value
        level = below
    raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"is nested more than {MOST_LEVELS} levels deep")
