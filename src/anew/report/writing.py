"""A report as a file: whole or not at all; and after a training, which it never makes fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from anew.core import files
from anew.core.errors import AnewError, in_one_line
from anew.core.spec import Spec
from anew.core.text import json_text
from anew.data import Data
from anew.family import Family, choose_lineage
from anew.report import page
from anew.report.content import Report
from anew.report.gathering import gather
from anew.studies import Results, StudyData


def write(report: Report, path: Path) -> None:
    """Write a report's page; what a killed process left of an earlier one goes.

    Raises `AnewError` if it cannot be written, or if `anew[report]` is not installed.
    """
    # Names of files and classes need not be UTF-8: what no encoding holds is written out.
    content = page.render(report).encode("utf-8", "backslashreplace")
    files.sweep(path)
    files.write_bytes(path, content)


def as_json(report: Report) -> str:
    """Return a report's data as JSON."""
    return json_text(report.to_json())


def write_after_training(family: Family, chosen: Sequence[Spec], data: Data) -> str:
    """Write the report of a lineage that was just trained, and return a line with its place.

    If anything goes wrong, the line says what. The training is finished, and its page must not make
    it fail.
    """
    return _never_failing(family, "report", lambda: gather(family, chosen, data))


def write_after_study(family: Family, results: Results, data: StudyData) -> str:
    """Write the report of a study that was just run, as `write_after_training` does."""

    def gathered() -> Report:
        among = [spec.id for spec in results.study.specs(data)]
        chosen = choose_lineage(family, several="longest", among=among)
        return gather(family, chosen, data.of(chosen[-1]) if chosen else None, results)

    return _never_failing(family, results.study.name, gathered)


def _never_failing(family: Family, name: str, gathered: Callable[[], Report]) -> str:
    """Write a report into its family, and return a line with its place or with the error."""
    path = family.path / "reports" / f"{name}.html"
    try:
        page.require("jinja2")
        write(gathered(), path)
    except AnewError as error:
        return f"no report: {error}"
    # What is trained is safe already, and a fault of the page must not look like one of it.
    except Exception as error:
        return f"no report: {in_one_line(error)}; `anew report {family.path} --debug` shows where"
    return f"report: {path}"
