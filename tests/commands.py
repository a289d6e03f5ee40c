"""The command line, called in this process."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

from anew.cli import main
from anew.core import files
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


def seal(folder):
    """Record the hashes of a finished network's files as they are now, as whoever made them can."""
    record = json.loads((folder / "done.json").read_text())
    for name, recorded in record["files"].items():
        recorded["sha256"] = files.sha256(folder / name)
        recorded["bytes"] = (folder / name).stat().st_size
    signed = {name: value for name, value in record.items() if name != "sha256"}
    record["sha256"] = files.sha256_of_json(signed)
    (folder / "done.json").write_text(json.dumps(record))
