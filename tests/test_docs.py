"""What the documentation says is run: every Python block, in order, in an empty folder."""

import re
from pathlib import Path

import pytest

from anew.studies import read_study

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_blocks_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)
    if page.name == "README.md":
        assert "ensemble" in capsys.readouterr().out
        # The page shows students that hold up.
        teacher, *students = (row.scores.error for row in names["result"].scores[:3])
        assert max(students) < teacher + 1.5


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_files_that_are_named_are_there(page):
    for named in re.findall(
        r"`((?:src|tests|docs|benchmarks)/[\w./]+)`", page.read_text(encoding="utf-8")
    ):
        assert (ROOT / named).exists(), named


def test_the_site_has_every_page():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert pages == set(re.findall(r": ([\w-]+\.md)$", nav, re.MULTILINE))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "toml")], ids=lambda page: page.name
)
def test_studies_in_the_documentation_are_sound(page, tmp_path):
    for number, block in enumerate(blocks(page, "toml")):
        path = tmp_path / f"study{number}.toml"
        path.write_text(block)
        assert read_study(path).columns


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name
)
def test_example_studies_are_sound(path):
    assert read_study(path).columns
