"""The layers of anew: imports run downward only, also inside functions, and every module has its place."""

import ast
import graphlib
from pathlib import Path

import pytest

import anew

# Lowest first. A name stands for a module, or for a package with all that is in it. A module may import from lower
# layers and from its own, but never in a circle. A new module is placed by its name on one of these lines.
LAYERS = """
errors version
fields randomness statistics
spec
objectives metrics
data models
storage ensemble optimization interruption progress lock network parallel
family teachers
execution
evaluation
checks given
run
training
groups
workers
scheduling ray_workers
lineage prediction terminal markdown
costs studies insight
report
api
anew cli study_commands study_place report_command command_options __main__
"""

ROOT = Path(anew.__file__).parent


def modules():
    """Every module's dotted name below anew, with its file; `anew` itself is the package's own `__init__`."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "anew"] = path
    return found


def imports(path, known):
    """The modules of anew that a file imports, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports whole, from anew.x"
            # What is imported from a package may be one of its modules, or a name in its `__init__`.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix("anew.") in known else node.module for name in whole]
        else:
            continue
        found |= {name.removeprefix("anew.") for name in names if name == "anew" or name.startswith("anew.")}
    return found


def heights(layers):
    return {name: height for height, line in enumerate(layers.split("\n")) for name in line.split()}


def place(module, table):
    """A module's height: its own, or that of the package that it is in; None where it has no place."""
    names = [module.rsplit(".", count)[0] for count in range(module.count(".") + 1)]
    return next((table[name] for name in names if name in table), None)


def upward(graph, layers):
    """Every import that runs upward; a module without a place is another test's matter."""
    table = heights(layers)
    height = {module: place(module, table) for module in graph}
    return [
        f"{module} imports {target}, which is above it"
        for module, targets in graph.items()
        for target in targets
        if None not in (height[module], height[target]) and height[target] > height[module]
    ]


@pytest.fixture(scope="module")
def graph():
    known = modules()
    return {module: imports(path, known) for module, path in known.items()}


def test_every_module_has_its_place_and_every_place_its_module(graph):
    table = heights(LAYERS)
    assert [module for module in graph if place(module, table) is None] == []
    assert [name for name in table if name not in graph] == []


def test_imports_run_downward_only(graph):
    assert upward(graph, LAYERS) == []


def test_no_modules_import_each_other_in_a_circle(graph):
    # Raises CycleError, with the circle.
    graphlib.TopologicalSorter(graph).prepare()


def test_these_tests_would_see_an_import_upward(graph):
    """A guard that never fails guards nothing: the table upside down must fail, and imports in functions must count."""
    assert len(upward(graph, "\n".join(reversed(LAYERS.split("\n"))))) > 50
    assert upward(graph, LAYERS.replace("\nspec\n", "\n").replace("api", "api spec"))
    assert {"lineage", "terminal", "execution", "family", "data.sources"} <= graph["cli"]
    assert place("data.sources", {"data": 4}) == 4 and place("nowhere", {"data": 4}) is None
