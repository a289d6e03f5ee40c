"""The command line, called in this process."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from anew.cli import main
from conftest import without_page


@dataclass
class Done:
    code: int
    out: str
    err: str


def call(*arguments) -> Done:
    """Run `anew ...` in this process: importing torch anew for each case would take minutes."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.main([str(one) for one in without_page(arguments)])
        except SystemExit as end:
            code = end.code
    return Done(code, out.getvalue(), err.getvalue())


def good(*arguments) -> str:
    done = call(*arguments)
    assert (done.code, done.err) == (0, "")
    return done.out


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in Path(folder).rglob("*")}
