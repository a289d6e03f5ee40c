"""What many tests share: small data, a quick recipe, the command line as a real process."""

import builtins
import functools
import inspect
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# What is compiled is kept for this process's next run, and for the processes that tests start: with
# the checks below that is three seconds of a run's start, and a second of each process's.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Types and the shapes in annotations are checked at run time, in everything of anew that a test
# process imports. A whole number is a number (the numeric tower), as the type checker has it too.
# A violation is a TypeError, as a wrong value is without these checks.
check_types = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))
check_shapes = jaxtyping.jaxtyped


def checked(function=None, *, typechecker=None):
    """Check the types of a function's arguments, and the shapes across them where it has arrays.

    jaxtyping's own decorator binds the arguments at each call and checks them twice, half as much
    as a small training itself costs. beartype alone does the same in one pass: a function without
    arrays has no shapes that could disagree, and one with arrays gets a scope for its shapes.
    """
    if function is None:
        return functools.partial(checked, typechecker=typechecker)
    if not (isinstance(function, types.FunctionType) and has_known_names(function)):
        return check_shapes(function, typechecker=typechecker)
    if not has_shapes(function):
        return check_types(function)
    # beartype checks a generator's arguments at its first step, where its scope has ended.
    if inspect.isgeneratorfunction(function):
        return check_shapes(function, typechecker=typechecker)
    return with_shapes(function)


def with_shapes(function):
    """Check a function's types, and that a call's arguments and its result agree in the sizes that
    their annotations share.
    """
    with_types = check_types(function)

    @functools.wraps(function)
    def call(*arguments, **named):
        if jaxtyping.config.jaxtyping_disable:
            return function(*arguments, **named)
        with check_shapes("context"):
            return with_types(*arguments, **named)

    return call


def has_known_names(function):
    """Whether every name in a function's annotations is there when it is called. Those that only
    the type checker imports are not; jaxtyping lets them be, and beartype does not.
    """
    known = {*function.__globals__, *dir(builtins)}
    annotations = " ".join(map(str, function.__annotations__.values()))
    # Without what is quoted: shapes.
    names = re.findall(r"(?<![\w.])[A-Za-z_]\w*", re.sub(r"\"[^\"]*\"|'[^']*'", "", annotations))
    return known.issuperset(names)


def has_shapes(function):
    """Whether an annotation has an array with a shape, itself or by a name of the module's."""
    for annotation in map(str, function.__annotations__.values()):
        named = (str(function.__globals__.get(one)) for one in re.findall(r"\w+", annotation))
        if any("[Tensor" in text for text in (annotation, *named)):
            return True
    return False


jaxtyping.jaxtyped = checked
install_import_hook("anew", "conftest.check_types")

# One thread a test process: the suite runs in parallel, and bits depend on the number of threads.
torch.set_num_threads(1)


def without_page(arguments):
    """A command's words, so that it writes no report: that takes a second or two, and
    test_report.py looks at it.
    """
    trains = arguments[:1] == ("train",) or arguments[:2] == ("study", "run")
    return (
        (*arguments, "--no-page")
        if trains and not {"--page", "--no-page"} & {*arguments}
        else arguments
    )


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory):
    """Decoded pictures are cached in a folder of the test process, also by commands it starts."""
    before = os.environ.get("ANEW_CACHE")
    os.environ["ANEW_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["ANEW_CACHE"]
    else:
        os.environ["ANEW_CACHE"] = before


@pytest.fixture(autouse=True)
def no_fork_outlives_its_test():
    """A test that fails leaves no process behind that would run on."""
    yield
    if "forks" in sys.modules:
        sys.modules["forks"].end_all()


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run `anew ...` in this process, in a folder of its own; return its code and what it said.

    A process of its own would spend seconds on importing torch; `process` is for what needs one.
    """
    from commands import call

    def run(*arguments, check=None):
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setenv("COLUMNS", "120")
            done = call(*arguments)
        if check is not None:
            assert done.code == check, done.err
        return done

    return run


@pytest.fixture
def process(tmp_path):
    """Run `anew ...` as a process of its own in a folder of its own; return the finished process.

    With `limit`, kill it (SIGKILL) if it still runs after so many seconds.
    """

    def run(*arguments, check=None, limit=None, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "anew", *map(str, without_page(arguments))],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", **environment},
        )
        try:
            out, errors = process.communicate(timeout=limit or 300)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
            assert limit is not None, f"it took more than five minutes: {errors}"
        done = subprocess.CompletedProcess(process.args, process.returncode, out, errors)
        if check is not None:
            assert done.returncode == check, done.stderr
        return done

    return run


@pytest.fixture
def refused(command):
    """Run a command that must be refused: exit code 2, one line on standard error, no traceback;
    return the line.
    """

    def run(*arguments):
        lines = command(*arguments, check=2).err.strip().splitlines()
        assert lines[-1].startswith("anew: ")
        assert not any("Traceback" in line for line in lines)
        return lines[-1]

    return run


@pytest.fixture(scope="session")
def arrays():
    """A small problem that can be learned: 240 grey 8x8 pictures of 3 classes, a bright patch at a
    place of each.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    pictures = rng.integers(0, 100, (240, 8, 8))
    for picture, label in zip(pictures, labels, strict=True):
        picture[2 * label : 2 * label + 3] += 100
    return pictures.astype(np.uint8), labels


@pytest.fixture
def npz(tmp_path, arrays) -> Path:
    """The small problem as a file."""
    path = tmp_path / "small.npz"
    np.savez(path, x=arrays[0], y=arrays[1])
    return path


def quick(epochs: int = 3, generations: int = 2) -> list[str]:
    """Options of `anew train` for the small problem."""
    settings = {
        "epochs": epochs,
        "batch-size": 16,
        "generations": generations,
        "learning-rate": 0.1,
        "model.options": "width=16",
    }
    return [text for name, value in settings.items() for text in (f"--{name}", str(value))]


QUICK = quick()
