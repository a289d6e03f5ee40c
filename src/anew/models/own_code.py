"""The code of a user's own model, as hashes of the definitions that it is made of.

An id holds a model's name and not its code, so that it stays where code is moved or tidied up. What
a network was trained with is kept beside its results instead, and compared when it is used again.
Comments, docstrings and definitions that the model does not use do not count.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

_INSTALLED = ("site-packages", "dist-packages")
_FINDS_ANY_NAME = {"globals", "locals", "eval", "exec"}
_Definition = tuple[str, str]
"""A module's name and a name at its top; "" for what stands there without a name."""


def code_of(name: str) -> dict[str, str]:
    """Return the hashes of the definitions that `package.module:callable` uses, by their names.

    The module is imported already. Definitions of other modules count if these lie beside it: in
    the folder of its package or file. Empty if the source cannot be read, as in a notebook, and for
    an installed package, which has a version.
    """
    place, _, attribute = name.partition(":")
    root = _root(place)
    if root is None:
        return {}

    hashes: dict[str, str] = {}
    sources: dict[str, _Source | None] = {}
    waiting: list[_Definition] = [(place, attribute)]
    reached: set[_Definition] = set()
    while waiting:
        current = waiting.pop()
        if current in reached:
            continue
        reached.add(current)
        if current[0] not in sources:
            sources[current[0]] = _read(current[0], root)
        source = sources[current[0]]
        if source is None:
            continue

        nodes = source.definitions.get(current[1], [])
        if nodes:
            hashes[":".join(current).rstrip(":")] = _hash(nodes)
        waiting += source.reached_from(current[1])
        # What stands at the top without a name runs whenever the module is imported.
        waiting.append((current[0], ""))
    return hashes


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of definitions that are not as they were; none if either is not known."""
    if not before or not now:
        return []
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


class _Source:
    """The definitions at the top of a module, and the names that they use."""

    def __init__(self, place: str, is_package: bool, tree: ast.Module) -> None:
        self._place = place
        self._package = place if is_package else place.rpartition(".")[0]
        self.definitions: dict[str, list[ast.stmt]] = {}
        """The statements that define a name."""
        self._imported: dict[str, list[_Definition]] = {}

        for node in tree.body:
            if not _is_docstring(node) and not _is_for_scripts(node):
                self._add(node)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._add_import(node)

    def reached_from(self, name: str) -> Iterator[_Definition]:
        """Yield what the definition of a name names, here and in modules that are imported."""
        used = {
            node.id
            for top in self.definitions.get(name, [])
            for node in ast.walk(top)
            if isinstance(node, ast.Name)
        }
        if used & _FINDS_ANY_NAME:
            used |= self.definitions.keys()
        for one in used:
            yield self._place, one
        yield from self._imported.get(name, ())

    def _add(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                self.definitions.setdefault(_bound(alias), []).append(_with_one(node, alias))
            return
        for name in _names_defined(node) or {""}:
            self.definitions.setdefault(name, []).append(node)

    def _add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                found = _all_of(alias.name)
            else:
                module = self._absolute(node)
                inner = f"{module}.{alias.name}"
                found = _all_of(inner) if inner in sys.modules else [(module, alias.name)]
                if alias.name == "*":
                    for _, name in _all_of(module):
                        self._imported.setdefault(name, []).append((module, name))
            self._imported.setdefault(_bound(alias), []).extend(found)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self._package.split(".")
        base = ".".join(parts[: len(parts) - node.level + 1])
        return f"{base}.{node.module}" if node.module else base


def _all_of(place: str) -> list[_Definition]:
    """Return all names of a module: of one that is imported whole, which are used is not seen."""
    module = sys.modules.get(place)
    return [(place, name) for name in vars(module)] if module is not None else []


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _with_one(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(node, ast.Import):
        return ast.Import([alias])
    return ast.ImportFrom(node.module, [alias], node.level)


def _names_defined(node: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of a module may define."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    names: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            names.add(inner.id)
        elif isinstance(inner, ast.FunctionDef | ast.ClassDef):
            names.add(inner.name)
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            names |= {_bound(alias) for alias in inner.names}
    return names


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_for_scripts(node: ast.stmt) -> bool:
    """Whether a statement is the part of a file that only runs as a script."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _hash(nodes: Iterable[ast.stmt]) -> str:
    text = "\n".join(ast.unparse(_without_docstrings(node)) for node in nodes)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_docstrings(node: ast.stmt) -> ast.stmt:
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner.body = [one for one in inner.body if not _is_docstring(one)] or [ast.Pass()]
    return node


def _read(place: str, root: Path) -> _Source | None:
    """Return the source of a module of the user's, None if it is somebody else's or not there."""
    path = _file(place)
    if path is None or not path.is_relative_to(root):
        return None
    # An environment may lie in the folder of the user's code.
    if any(part in _INSTALLED for part in path.parts):
        return None
    return _parsed(place, path, path.stat().st_mtime_ns)


@cache
def _parsed(place: str, path: Path, time: int) -> _Source | None:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    return _Source(place, path.name == "__init__.py", tree)


def _root(place: str) -> Path | None:
    """Return the folder whose modules are the user's: the one that a module is imported from.

    None if the module has no source, or is an installed package's.
    """
    path = _file(place)
    if path is None or any(part in _INSTALLED for part in path.parts):
        return None
    return path.parents[place.count(".") + (path.name == "__init__.py")]


def _file(place: str) -> Path | None:
    module: ModuleType | None = sys.modules.get(place)
    path = getattr(module, "__file__", None)
    return Path(path).resolve() if isinstance(path, str) and path.endswith(".py") else None
