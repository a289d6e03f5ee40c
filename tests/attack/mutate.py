"""Damage, drawn by chance: bytes flipped, cut,
doubled; values of JSON and TOML that no one expects."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEEP = 3000
Dice = random.Random


def damage_bytes(dice: Dice, content: bytes) -> tuple[str, bytes]:
    """Return how a file's bytes were damaged, and the damaged bytes; they differ."""
    for _ in range(100):
        name, way = dice.choice(_WAYS)
        damaged = way(dice, content)
        if damaged != content:
            return name, damaged
    return "emptied and marked", b"\0"


def _flip(dice: Dice, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(dice.choice([1, 1, 1, 3, 30])):
        if damaged:
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def _flip_early(dice: Dice, content: bytes) -> bytes:
    return _flip(dice, content[:64]) + content[64:]


def _part(dice: Dice, content: bytes) -> tuple[int, int]:
    start = dice.randrange(len(content) + 1)
    return start, min(len(content), start + dice.choice([1, 2, 4, 8, 64, 1000]))


def _replace(dice: Dice, content: bytes) -> bytes:
    start, end = _part(dice, content)
    filler = dice.choice([b"\0", b"\xff", b"\x7f", b" ", b"9", b"[", b"\x1b", b"\n"])
    return content[:start] + filler * (end - start) + content[end:]


def _noise(dice: Dice, content: bytes) -> bytes:
    start, end = _part(dice, content)
    return content[:start] + dice.randbytes(end - start) + content[end:]


def _insert(dice: Dice, content: bytes) -> bytes:
    start, end = _part(dice, content)
    return content[:start] + content[start:end] * 2 + content[end:]


def _delete(dice: Dice, content: bytes) -> bytes:
    start, end = _part(dice, content)
    return content[:start] + content[end:]


_WAYS: list[tuple[str, Callable[[Dice, bytes], bytes]]] = [
    ("bits flipped", _flip),
    ("bits flipped", _flip),
    ("bits flipped at its start", _flip_early),
    ("bytes replaced", _replace),
    ("noise within", _noise),
    ("bytes doubled", _insert),
    ("bytes deleted", _delete),
    ("cut", lambda dice, content: content[: dice.randrange(len(content) + 1)]),
    ("emptied", lambda dice, content: b""),
    ("twice as long", lambda dice, content: content * 2),
    ("followed by noise", lambda dice, content: content + dice.randbytes(8)),
    ("followed by zeros", lambda dice, content: content + bytes(4096)),
    ("zeros", lambda dice, content: bytes(len(content))),
    ("noise", lambda dice, content: dice.randbytes(dice.choice([1, 8, 100, 5000]))),
    ("after a byte order mark", lambda dice, content: b"\xef\xbb\xbf" + content),
    ("in UTF-16", lambda dice, content: content.decode("latin1").encode("utf-16")),
    ("deep brackets", lambda dice, content: b"[" * 100_000),
    ("deep objects", lambda dice, content: b'{"a":' * 50_000),
]


def damage_place(dice: Dice, path: Path) -> str:
    """Put something that is no file in a file's place; return what."""
    path.unlink()
    what = dice.choice(["a folder", "a link to itself", "a link to nothing", "a full folder"])
    if what == "a folder":
        path.mkdir()
    elif what == "a full folder":
        path.mkdir()
        (path / "file").write_text("x")
    elif what == "a link to itself":
        path.symlink_to(path)
    else:
        path.symlink_to(path.parent / "nothing")
    return what


def nasty(dice: Dice) -> Any:
    """Return a value of JSON that is not expected."""
    return dice.choice(
        [
            None,
            True,
            False,
            0,
            -1,
            1,
            2**31,
            2**63,
            2**64,
            10**30,
            -(10**30),
            0.5,
            -0.0,
            1e-320,
            1e308,
            float("nan"),
            float("inf"),
            float("-inf"),
            "",
            " ",
            "x",
            "../../x",
            "/etc/passwd",
            "\x1b[2J\x1b]0;t\x07",
            "\x9b31m",
            "a\nb\rc",
            "\u202eabc",
            "\ud800",
            "é" * 200,
            "A" * 100_000,
            "1",
            "nan",
            "__class__",
            "%s%n{0}",
            "0" * 16,
            "f" * 16,
            [],
            {},
            [[]],
            [None],
            {"": 0},
            [1] * 10_000,
            {"name": "x"},
            ["a", "a"],
            [-1, 8, 8],
            [10**12, 8, 8],
            [[1, 2], [3]],
            # json.dumps cannot write this deep: it is put in afterwards.
            "DEEP",
            "DIGITS",
        ]
    )


def damage_json(dice: Dice, value: Any) -> tuple[str, Any]:
    """Return what was changed in a JSON value, and the changed value."""
    value = json.loads(json.dumps(value))
    places = list(_places(value))
    if not places:
        return "another value", nasty(dice)
    holder, key = dice.choice(places)
    do = dice.choice(["value", "value", "value", "value", "drop", "rename", "number", "add"])
    if do == "drop":
        del holder[key]
    elif do == "rename" and isinstance(holder, dict):
        holder[dice.choice(["", "\x1b[1m", "x", key + " ", "format"])] = holder.pop(key)
    elif do == "add" and isinstance(holder, dict):
        holder[dice.choice(["", "\x1b[1m", "x", "../x"])] = nasty(dice)
    elif do == "number" and type(holder[key]) in (int, float):
        holder[key] = dice.choice(
            [-holder[key], holder[key] + 1, holder[key] * 1000, str(holder[key])]
        )
    else:
        holder[key] = nasty(dice)
    return f"{do} of {str(key)[:30]!r}", value


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for number, part in enumerate(value[:20]):
            yield value, number
            yield from _places(part)


def write_json(value: Any) -> bytes:
    """Return JSON, with what json.dumps cannot write."""
    text = json.dumps(value)
    text = text.replace('"DEEP"', "[" * DEEP + "]" * DEEP)
    return text.replace('"DIGITS"', "9" * 5000).encode("utf-8", "surrogatepass")


TOML_VALUES = [
    "9" * 5000, "-1", "0", "1e400", "-nan", "inf", "0x" + "f" * 4000, "2024-01-01", "07:32:00",
    "1979-05-27T07:32:00Z", '""', '"\\u001b[2J"', "'\\ud800'", '"../../x"', "[]", "{}", "true",
    "[" * DEEP + "]" * DEEP, "{a=" * 900 + "1" + "}" * 900, "[[1,2],[3]]",
    '"' + "A" * 100_000 + '"',
    '["a", 1, true]', "[1, 2", '"unclosed', "1_000_", "0b2", "{a = 1, a = 2}", '"""x',
    "18446744073709551616",
    "1e308", "1e-320", "0.0", "-0.0", "1.5", '"1"', '"nan"', "[1.0]", '["\\u009b31m"]',
    "99999999999",
]  # fmt: skip


def damage_toml(dice: Dice, text: str) -> tuple[str, bytes]:
    """Return what was changed in a TOML text, and its bytes."""
    if dice.random() < 0.2:
        name, damaged = damage_bytes(dice, text.encode())
        return name, damaged
    lines = text.splitlines()
    number = dice.randrange(len(lines))
    do = dice.choice(["value", "value", "value", "value", "drop", "double", "key", "table", "add"])
    key = lines[number].partition("=")[0].strip()
    if do == "value" and "=" in lines[number]:
        lines[number] = f"{key} = {dice.choice(TOML_VALUES)}"
    elif do == "drop":
        del lines[number]
    elif do == "double":
        lines.insert(number, lines[number])
    elif do == "key":
        odd = dice.choice(['"\\u001b[1m"', '""', "a.b.c", "'x y'", '"' + "k" * 5000 + '"'])
        lines.insert(number, f"{odd} = {dice.choice(TOML_VALUES)}")
    elif do == "table":
        lines.insert(
            number, "[" + dice.choice(["x", "training.x", '"\\u001b"', ".".join("a" * 900)]) + "]"
        )
    else:
        lines.insert(number, f"{key or 'x'}x = {dice.choice(TOML_VALUES)}")
    return f"{do} at {key[:30]!r}", "\n".join(lines).encode("utf-8", "surrogatepass")


ARGUMENTS = [
    "", " ", "-1", "0", "1", "-0", "1e400", "nan", "inf", "-inf", "9" * 5000,
    "99999999999999999999",
    "0x10", "1_0", "½", "\u0663", "\x1b[2J", "a\nb", "../../../x", "/", ".", "/dev/null",
    "/dev/zero", "~",
    "$(x)", "%s%n", "{}", "[]", "null", "=1", "x=", "x=y=z", "a" * 5000, "\udce9", "--help", "-",
    "--",
    "None", "True", "1,2", "1-", "0-9999999999", "é", "\u202e", "x:y", ":", "npz:", "npz:/",
    "folder:/dev",
    "parquet:.", "cifar10:/nowhere", "timm:", "timm:../x", "os:system", "a.b:c", ":c", "a:",
    "builtins:exec",
    "wide_resnet-1-1", "wide_resnet--1-2", "resnet0", "densenet-99999999-1",
    "wide_resnet-" + "9" * 400 + "-1",
]  # fmt: skip


def argument(dice: Dice) -> str:
    """Return a value for the command line that is not expected, without bytes that exec refuses."""
    return dice.choice(ARGUMENTS)


def make_unreadable(path: Path) -> None:
    """Take all rights from a file; a superuser reads it all the same."""
    os.chmod(path, 0)
