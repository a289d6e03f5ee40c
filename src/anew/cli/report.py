"""`anew report`: a family on one page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from anew.cli.options import AS_PAGE, PrintedPage
from anew.cli.printing import notify, print_json
from anew.cli.streams import Terminal
from anew.cli.study_choice import AS_IT_IS, Choice, as_run
from anew.core.errors import AnewError
from anew.core.text import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anew.core.spec import Spec
    from anew.data import Data
    from anew.family import Family
    from anew.report import Report
    from anew.studies import Results


@Parameter(name="*")
@dataclass(frozen=True)
class Contents:
    """What the page shows beside the family's scores."""

    network: Annotated[
        str,
        Parameter(
            help="Show the lineage that ends at this network (the start of its id). Default: "
            "the longest."
        ),
    ] = ""
    figures: Annotated[
        Path | None,
        Parameter(help="Also write every chart as SVG and PNG, for a paper, to this folder."),
    ] = None
    pictures: Annotated[
        bool, Parameter(name="--pictures", help="Show test pictures; this reads the data.")
    ] = True


EVERYTHING = Contents()


def report(
    family: Annotated[
        Path,
        Parameter(
            help="The family's folder, written by `anew train --out` or `anew study run --out`."
        ),
    ],
    study: Annotated[
        str,
        Parameter(
            help="Study whose table the page begins with, with the options of its last run. "
            "Default: the family's only study."
        ),
    ] = "",
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(
            name=["--out", "-o"],
            help="The file to write. Default: FAMILY/reports/report.html (or the study's name).",
        ),
    ] = None,
    printed: PrintedPage = AS_PAGE,
    contents: Contents = EVERYTHING,
    choice: Choice = AS_IT_IS,
) -> None:
    """Write a page about a family: the answer, its lineage, curves, ensembles, what students
    learned, pictures.

    The page is one HTML file that works offline. If the data have moved, give their place with
    --data or --root.
    """
    from anew import report as reports
    from anew.family import Family, choose_lineage
    from anew.report import figures, page

    # What is not installed is said before minutes of work.
    if not printed.is_json:
        page.require("jinja2")
    if contents.figures is not None:
        figures.require()

    opened = Family.open(family)
    results, among = None, None
    if study:
        results, among = _of_study(opened, study, choice)
    elif not contents.network:
        study, results, among = _only_study(opened, choice)

    shown = choose_lineage(opened, contents.network, several="longest", among=among)
    if not (study or contents.network):
        _say_which(opened, shown)
    data = None
    if not contents.pictures:
        data = AnewError("not shown (--no-pictures)")
    elif shown:
        data = _data_of(shown[-1], choice)
    content = reports.gather(opened, shown, data, results)

    if contents.figures is not None:
        figures.write(content, contents.figures)
    if printed.is_json:
        _write_json(content, out)
        return
    name = Path(study).name.removesuffix(".toml") or "report"
    target = out or family / "reports" / f"{name}.html"
    reports.write(content, target)
    Terminal().say(f"report: {target}")


def _of_study(family: Family, name: str, choice: Choice) -> tuple[Results, list[str]]:
    """Return a study's table, and the ids of its networks."""
    from anew import studies

    chosen = as_run(family, name, choice)
    read = studies.StudyData(chosen)
    results = studies.collect(chosen, family, read)
    return results, [spec.id for spec in chosen.specs(read)]


def _only_study(family: Family, choice: Choice) -> tuple[str, Results | None, Sequence[str] | None]:
    """Return the name, table and networks of the only study that a family was trained for.

    Without any, or if it cannot be shown, the page shows the family alone.
    """
    from anew.studies import remembered

    names = remembered.names(family)
    is_asked = replace(choice, data=None, root=None) != AS_IT_IS
    if len(names) != 1:
        if is_asked:
            raise AnewError("report: options of a study need its name; write it after the family")
        if names:
            notify([f"the family was trained for {listed(names)}; name a study to show its table"])
        return "", None, None
    try:
        return names[0], *_of_study(family, names[0], choice)
    except AnewError as error:
        if is_asked:
            raise
        notify([f"the page has no table of study {names[0]}: {error}"])
        return "", None, None


def _write_json(content: Report, target: Path | None) -> None:
    """Print a page's data, or write them to a file and print its place."""
    from anew.core import files
    from anew.report import writing

    if target is None:
        print_json(content.to_json())
        return
    files.sweep(target)
    files.write_bytes(target, writing.as_json(content).encode() + b"\n")
    print_json({"report": str(target)})


def _say_which(family: Family, shown: Sequence[Spec]) -> None:
    """Say which lineage the page shows, where the family has several."""
    from anew.family import named_apart

    ends = [lineage[-1] for lineage in family.lineages(gaps=True)]
    if len(ends) < 2 or not shown:
        return
    names = dict(zip((spec.id for spec in ends), named_apart(ends), strict=True))
    others = "; ".join(name for end, name in names.items() if end != shown[-1].id)
    line = (
        f"the page shows the longest of {len(ends)} lineages (of equally long ones the last to "
        f"finish), to {names.get(shown[-1].id, shown[-1].id)}; --network shows another: {others}"
    )
    notify([line])


def _data_of(spec: Spec, choice: Choice) -> Data | AnewError:
    """Return the data that a lineage learned from, or the error of reading them: without them the
    page has no pictures.
    """
    from anew.data.loading import load_data

    try:
        return load_data(spec.data.at(choice.data, choice.root))
    except AnewError as error:
        return error
