"""Who may import whom: packages import downward only, also inside functions, and docs/map.md shows
the same table.
"""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import anew

# A package, and what it may import beside itself. What is not named here may not be imported.
MAY_IMPORT = {
    "core": "",
    "data": "core",
    "objectives": "core",
    "family": "core",
    "models": "core data",
    "teachers": "core data family models objectives",
    "evaluation": "core data family models objectives",
    "training": "core data evaluation family models objectives teachers",
    "studies": "core data evaluation family models objectives teachers training",
    "report": "core data evaluation family studies",
    "export": "core data evaluation family models",
    "cli": "core data evaluation export family models objectives report studies teachers training",
    "api": "cli core data evaluation export family models objectives report studies teachers "
    "training",
    "estimator": "api core data evaluation family models training",
}
# Names at the top of the package that are no part of it: its face and its entry point import what
# they need.
FACES = ("__init__", "__main__")
# Of core, only these import torch: the command line reads descriptions and answers without it.
WITH_TORCH = {"core.distributed", "core.files", "core.randomness"}
MOST_NAMES = 16

ROOT = Path(anew.__file__).parent
MAP = Path(__file__).parent.parent / "docs" / "map.md"


def modules():
    """Every module's dotted name below anew, with its file; a package is its `__init__`."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        whole = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        found[".".join(whole)] = path
    return found


def imports(path):
    """The modules of anew that a file imports, at its top or anywhere in it, as far as they are
    modules.
    """
    found = set()
    known = modules()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports whole, from anew.x"
            # What is imported from a package may be one of its modules, or a name in its
            # `__init__`.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix("anew.") in known else node.module for name in whole]
        else:
            continue
        found |= {
            name.removeprefix("anew.")
            for name in names
            if name == "anew" or name.startswith("anew.")
        }
    return found


def package(module):
    return module.partition(".")[0]


def forbidden(graph, table):
    """Every import that the table does not allow."""
    return [
        f"{module} imports {target}"
        for module, targets in graph.items()
        if module not in FACES
        for target in targets
        if package(target) != package(module)
        and package(target) not in table[package(module)].split()
    ]


@pytest.fixture(scope="module")
def graph():
    return {module: imports(path) for module, path in modules().items()}


def test_every_package_has_its_place_and_there_are_few(graph):
    found = {package(module) for module in graph} - set(FACES)
    assert found == set(MAY_IMPORT)
    assert len(found) + len(FACES) <= MOST_NAMES


def test_packages_import_only_what_the_table_allows(graph):
    assert forbidden(graph, MAY_IMPORT) == []


def test_the_table_runs_downward():
    """Each package may import only those above it in the table, so that no packages can form a
    circle.
    """
    names = list(MAY_IMPORT)
    for place, allowed in enumerate(MAY_IMPORT.values()):
        assert set(allowed.split()) <= {*names[:place]}, names[place]


def test_no_modules_import_each_other_in_a_circle(graph):
    # A package's face imports its modules, and they import each other by their own names.
    inside = {
        module: {
            target for target in targets if not (target in graph and f"{target}." in f"{module}.")
        }
        for module, targets in graph.items()
    }
    # Raises CycleError, with the circle.
    graphlib.TopologicalSorter(inside).prepare()


def test_core_is_no_cellar(graph):
    """What only one package imports belongs to that package."""
    for module in (one for one in graph if one.startswith("core.") and one != "core.version"):
        users = {package(other) for other, targets in graph.items() if module in targets} - {"core"}
        inside = {
            other
            for other, targets in graph.items()
            if module in targets and other.startswith("core.")
        }
        assert len(users) >= 2 or inside, f"{module} is imported by {users}"


def test_descriptions_need_no_torch(graph):
    for module, path in modules().items():
        if package(module) == "core" and module not in WITH_TORCH:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {
                alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.Import)
                for alias in node.names
            }
            names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            assert not {name for name in names if name.split(".")[0] in ("torch", "torchvision")}, (
                module
            )


def test_the_map_shows_the_same_table():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|$", MAP.read_text(encoding="utf-8"), re.MULTILINE)
    assert {
        name: " ".join(re.findall(r"\w+", allowed.replace("nothing", ""))) for name, allowed in rows
    } == MAY_IMPORT


def test_these_tests_would_see_an_import_upward(graph):
    """A guard that never fails guards nothing: without its permissions everything fails, functions'
    imports too.
    """
    assert len(forbidden(graph, dict.fromkeys(MAY_IMPORT, ""))) > 100
    assert forbidden(graph, {**MAY_IMPORT, "training": "core"})
    assert {"training.lineage", "cli.terminal", "data.loading"} <= set().union(
        *(targets for module, targets in graph.items() if package(module) == "cli")
    )
