"""The style that a linter does not hold: long bodies have paragraphs."""

import ast
from pathlib import Path

import pytest

import anew

ROOT = Path(anew.__file__).parent

# A body of so many lines is long.
LONG = 15

# Every package, and every module at the top.
HELD = sorted({path.relative_to(ROOT).parts[0].removesuffix(".py") for path in ROOT.rglob("*.py")})

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def bodies_without_paragraphs(source, long=LONG):
    """Return the name and first line of every function in a source whose body is long and has no
    blank line. The docstring is no part of the body.
    """
    lines = source.splitlines()
    without = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, FUNCTIONS):
            continue
        statements = node.body
        if ast.get_docstring(node, clean=False) is not None:
            statements = statements[1:]
        if not statements:
            continue
        body = lines[statements[0].lineno - 1 : node.end_lineno]
        if len(body) >= long and all(line.strip() for line in body):
            without.append((node.name, node.lineno))
    return without


@pytest.mark.parametrize("package", HELD)
def test_long_bodies_have_paragraphs(package):
    place = ROOT / package
    paths = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert paths, f"there is no package {package}"
    offenders = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in paths
        for name, line in bodies_without_paragraphs(path.read_text(encoding="utf-8"))
    ]
    assert offenders == []


def test_a_long_body_without_a_blank_line_is_found():
    """A guard of the test above, which would hold as well if it found nothing anywhere."""
    steps = ["    x = 1"] * LONG
    head = ["def long():", '    """Say.', "", "    More.", '    """']
    assert bodies_without_paragraphs("\n".join([*head, *steps])) == [("long", 1)]
    assert bodies_without_paragraphs("\n".join([*head, *steps[1:]])) == []
    assert bodies_without_paragraphs("\n".join([*head, *steps, "", *steps])) == []
    inner = ["def outer():", "    y = 1", "", *(f"    {line}" for line in ["def inner():", *steps])]
    assert bodies_without_paragraphs("\n".join(inner)) == [("inner", 4)]
