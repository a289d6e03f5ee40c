"""The report: what it shows equals what `anew evaluate` says, whatever it is given stays text, bad
input is refused.
"""

import base64
import csv
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from anew import AnewError, report
from anew.cli import main
from anew.core import files
from anew.core.spec import DataSpec
from anew.data import Resident, from_arrays, prepare
from anew.evaluation import statistics
from anew.evaluation.statistics import Difference, Judged
from anew.family import Family, choose_lineage, replicas
from anew.report import figures, gallery, headline, insight_sections, page, sections, writing
from anew.report.charts import Chart, Series
from anew.report.content import Comparison
from anew.studies.paper import STUDIES
from anew.studies.results import Cell, Results
from conftest import quick
from runs import train

HOSTILE = "<script>alert(1)</script>"
CLASSES = (HOSTILE, 'b" onload="alert(2)', "c & d")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, arrays):
    """A trained family whose classes are named like markup, of data that is not learned without
    errors.
    """
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "data.npz"
    labels = np.where(np.random.default_rng(0).random(240) < 0.3, (arrays[1] + 1) % 3, arrays[1])
    np.savez(path, x=arrays[0], y=labels, classes=np.array(CLASSES))
    return train(f"npz:{path}", folder / "family")


@pytest.fixture(scope="module")
def gathered(hostile):
    return report.gather(hostile.family, hostile.lineage, hostile.data)


@pytest.fixture(scope="module")
def written(gathered):
    return page.render(gathered)


@pytest.fixture
def command(capsys):
    """Run `anew ...` in this process, which is sooner; returns what it printed."""

    def run(*arguments):
        main.main(list(map(str, arguments)))
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(capsys):
    """Run a command that must be refused: exit code 2, one line on standard error; returns the
    line.
    """

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main.main(list(map(str, arguments)))
        assert ended.value.code == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert lines[-1].startswith("anew: ")
        return lines[-1]

    return run


class Texts(HTMLParser):
    """What a browser would read: tags with their attributes, and the text of tables' cells."""

    def __init__(self):
        super().__init__()
        self.tags, self.cells, self.headings, self._cell = [], [], [], None

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th", "h1", "h2", "h3", "h4"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cells.append(self._cell)
            self._cell = None
        elif tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), self._cell.strip()))
            self._cell = None


@pytest.fixture(scope="module")
def read(written):
    parser = Texts()
    parser.feed(written)
    return parser


def copy(family, folder):
    """A copy of a family to spoil."""
    shutil.copytree(family.path, folder)
    return Family.open(folder)


def test_numbers_equal_those_of_evaluate(hostile, gathered, read, command):
    (said,) = json.loads(command("evaluate", hostile.family.path, "--all-subsets", "--json"))
    assert [row.to_json() for row in gathered.rows] == said["rows"]
    assert list(gathered.lineage) == said["lineage"]
    for row in said["rows"]:
        texts = [
            f"{row['error']:.2f}",
            f"{row['nll']:.4f}",
            f"{row['ece']:.2f}",
            f"{row['brier']:.4f}",
        ]
        line = [row["name"].capitalize(), *([row["objective"]] if row["objective"] else []), *texts]
        starts = [number for number, cell in enumerate(read.cells) if cell == line[0]]
        assert line in [read.cells[start : start + len(line)] for start in starts]
    errors = {network.id: network.error for network in gathered.networks}
    assert [errors[one] for one in gathered.lineage] == [
        row["error"] for row in said["rows"][: len(errors)]
    ]


def test_the_same_family_gives_the_same_bytes(hostile, written):
    assert page.render(report.gather(hostile.family, hostile.lineage, hostile.data)) == written


def test_what_draws_the_charts_is_as_it_was_published(written):
    """Plotly's file is what its README says, with its license beside it, and a page holds it."""
    path = resources.files("anew.report") / page.PLOTLY
    content = path.read_bytes()
    folder = resources.files("anew.report") / "vendor" / "plotly.js"
    recorded = re.search(r"SHA-256 of the file: `(\w{64})`", (folder / "README.md").read_text())
    assert recorded is not None and recorded[1] == hashlib.sha256(content).hexdigest()
    assert "MIT License" in (folder / "LICENSE").read_text()
    assert content.decode() in written
    # A page is its charts' code and half a megabyte.
    assert len(written) < 3e6


def test_names_stay_text(written, read):
    assert HOSTILE not in written
    scripts = [attributes for tag, attributes in read.tags if tag == "script"]
    assert len(scripts) == 3 and not any(
        name.startswith("on") for _, one in read.tags for name in one
    )
    pictures = [one["alt"] for tag, one in read.tags if tag == "img"]
    assert any(one.endswith(f"labelled {HOSTILE}") for one in pictures)
    # Plotly reads a few tags in texts.
    figures_said = re.search(
        r'<script type="application/json" id="figures">(.*?)</script>', written, re.S
    )[1]
    drawn = json.loads(
        figures_said,
        parse_constant=lambda name: pytest.fail(f"{name} is no JSON: no browser reads it"),
    )
    assert HOSTILE not in json.dumps(drawn)


def test_the_page_asks_for_nothing(written, read):
    for tag, attributes in read.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert not re.search(r"@import|url\(", page._own("page.css"))
    assert not re.search(r"https?://|fetch\(|XMLHttpRequest|import\(", page._own("page.js"))
    policy = next(
        one["content"] for _, one in read.tags if one.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy and "http" not in policy


def test_headings_and_alternative_texts(read, gathered):
    levels = [level for level, _ in read.headings]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(text for _, text in read.headings)
    drawn = [one for tag, one in read.tags if "data-chart" in one]
    assert len(drawn) >= 7 and all(
        one["role"] == "img" and len(one["aria-label"]) > 40 for one in drawn
    )
    ids = [one["id"] for _, one in read.tags if "id" in one]
    assert len(ids) == len(set(ids))


def test_a_page_of_200_pictures_is_at_most_8_megabytes(tmp_path, gathered):
    rng = np.random.default_rng(0)
    # Noise does not compress: real pictures are smaller.
    noise = torch.from_numpy(rng.integers(0, 256, (300, 3, 32, 32)).astype(np.uint8))
    labels = torch.from_numpy(rng.integers(0, 10, 300))
    outputs = [torch.from_numpy(rng.normal(size=(300, 10))) for _ in range(4)]
    chosen = gallery.choose(Resident(noise, labels), outputs, labels)
    assert len(chosen.pictures) == 200
    many = replace(gathered, gallery=chosen, classes=tuple("abcdefghij"))
    path = tmp_path / "page.html"
    report.write(many, path)
    assert path.stat().st_size <= 8 * 2**20


@pytest.mark.parametrize(
    ("name", "of", "words", "measure"),
    [
        ("learning-curves", sections.learning_curves, "validation error, %", "validation_error"),
        (
            "validation-losses",
            sections.validation_losses,
            "validation loss, nats",
            "validation_nll",
        ),
    ],
)
def test_csv_holds_the_chart(gathered, written, read, name, of, words, measure):
    chart = of(gathered.shown)
    assert [one.name for one in chart.series] == [f"generation {number}" for number in range(3)]
    link = next(one for _, one in read.tags if one.get("download") == f"{name}.csv")
    text = base64.b64decode(link["href"].removeprefix("data:text/csv;base64,")).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == sum(len(one.x) for one in chart.series)
    network = gathered.shown[1]
    mine = [float(row[words]) for row in rows if row["series"] == "generation 1"]
    assert mine == pytest.approx([row[measure] for row in network.curve], rel=1e-9)


def test_json_is_the_whole_report(hostile, gathered, command, tmp_path):
    out = command("report", hostile.family.path, "--format", "json")
    said = json.loads(out)
    assert said["format"] == 1 and said["rows"] == [row.to_json() for row in gathered.rows]
    assert said["answer"]["sentence"] == gathered.answer.sentence
    assert said["insight"]["format"] == 1 and len(said["insight"]["gradients"]) == 2
    first = said["gallery"]["pictures"][0]
    assert Image.open(io.BytesIO(base64.b64decode(first["png"]))).size == (8, 8)
    assert "NaN" not in out and "Infinity" not in out
    where = tmp_path / "out.json"
    command("report", hostile.family.path, "--format", "json", "-o", where)
    assert json.loads(where.read_text()) == said


def test_nothing_of_the_machine_is_on_the_page(hostile, written):
    assert str(hostile.family.path.parent) not in written


def test_the_command_writes_a_page_and_figures(hostile, command, tmp_path):
    where = tmp_path / "deep" / "page.html"
    done = command("report", hostile.family.path, "-o", where, "--figures", tmp_path / "paper")
    assert done.strip() == f"report: {where}"
    assert "<!DOCTYPE html>" in where.read_text()
    names = {path.name for path in (tmp_path / "paper").iterdir()}
    assert {
        "validation-losses.svg",
        "learning-curves.svg",
        "learning-curves.png",
        "errors.svg",
        "differences.png",
    } <= names
    with Image.open(tmp_path / "paper" / "errors.png") as picture:
        assert picture.size[0] > 1500
    svg = (tmp_path / "paper" / "class-changes.svg").read_text()
    assert HOSTILE not in svg and "&lt;script&gt;" in svg


# The answer


FROM_LABELS = "which learned from the labels"


def outputs_with(wrong_by_generation, count=1000):
    """Logits of two classes, so that each generation errs on exactly the given examples; labels are
    all 0.
    """
    outputs = []
    for wrong in wrong_by_generation:
        logits = torch.zeros(count, 2)
        logits[:, 0] = 1
        logits[list(wrong)] = torch.tensor([0.0, 1.0])
        outputs.append(logits)
    return outputs, torch.zeros(count, dtype=torch.int64)


def test_one_seed_is_compared_by_example():
    said = headline.of_lineages(
        [outputs_with([range(300), range(220), range(100)])], first=FROM_LABELS
    )
    last = said.comparisons[1]
    expected = statistics.over_examples(np.arange(1000) < 100, np.arange(1000) < 300)
    assert last.name == "generation 2" and last.difference == expected and last.verdict == "better"
    half = (expected.high - expected.low) / 2
    assert said.sentence.startswith(
        f"Generation 2 has an error rate 20.0 ± {half:.1f} points lower than "
        f"generation 0, which learned from the labels; "
        "the ensemble of generations 1 and 2 has an error rate "
    )
    assert [one.generations for one in said.comparisons] == [(1,), (2,), (1, 2), (0, 1, 2)]
    p = [one.difference.p for one in said.comparisons]
    assert [one.corrected_p for one in said.comparisons] == statistics.holm(p)
    assert "One seed" in said.basis and "1,000 test examples" in said.basis


def test_seeds_are_compared_by_seed():
    lineages = [outputs_with([range(300 + seed), range(200 + 3 * seed)]) for seed in range(4)]
    said = headline.of_lineages(lineages, first=FROM_LABELS)
    ours, theirs = [20 + 0.3 * seed for seed in range(4)], [30 + 0.1 * seed for seed in range(4)]
    test = stats.ttest_rel(ours, theirs)
    difference = said.comparisons[0].difference
    assert difference.p == pytest.approx(test.pvalue) and difference.count == 4
    assert (difference.low, difference.high) == pytest.approx(tuple(test.confidence_interval()))
    assert said.basis.startswith("4 seeds, each with ")


def test_no_difference_is_said_plainly():
    same = headline.of_lineages(
        [outputs_with([range(100), range(1, 101)])], first="the given network"
    )
    assert same.sentence.startswith("No clear winner: generation 1 (+0.0 ")
    assert same.sentence.endswith(
        " show no difference in error rate from generation 0, the given network."
    )
    assert same.comparisons[0].verdict == "no difference shown"


@pytest.mark.parametrize(
    ("last", "mean", "expected"),
    [
        (
            "better",
            "worse",
            "Generation 3 has an error rate 1.0 ± 0.3 points lower than X; the mean of all has "
            "an error rate 1.0 ± 0.3 points higher.",
        ),
        (
            "worse",
            "worse",
            "Generation 3 has an error rate 1.0 ± 0.3 points higher than X; the mean of all "
            "has an error rate 1.0 ± 0.3 points higher.",
        ),
        (
            "no difference shown",
            "better",
            "The mean of all has an error rate 1.0 ± 0.3 points lower than X. For "
            "generation 3 alone, no difference is shown "
            "(-1.0 ± 0.3 points).",
        ),
        (
            "better",
            "no difference shown",
            "Generation 3 has an error rate 1.0 ± 0.3 points lower than X. For "
            "the mean of all, no difference is shown (-1.0 ± 0.3 points).",
        ),
    ],
)
def test_sentences(last, mean, expected):
    difference = Difference(-1.0, -1.3, -0.7, 0.001, "", 1000)
    ours = Comparison("generation 3", (3,), difference, 0.001, last)
    theirs = Comparison("mean of all", (0, 1, 2, 3), difference, 0.001, mean)
    assert headline.sentence(ours, theirs, "X") == expected


def test_a_studys_sentence_counts_its_comparisons_and_reports_the_first():
    """The first whatever it shows, so that nothing is chosen by what came out."""
    study = STUDIES["table2"]

    def said(*verdicts, row="A"):
        cells = [
            Cell(row, f"column {place}", {}, {}, None, None, 1, None, judged(verdict))
            for place, verdict in enumerate(verdicts)
        ]
        return headline.of_study(Results(study, cells, "")).sentence

    def judged(verdict):
        return Judged(Difference(-1.0, -1.3, -0.7, 0.001, "", 3), 0.001, verdict, 0.5)

    same = "no difference shown"
    opening = f"comparisons with {study.reference}"
    first = "The first is column 0: -1.0 ± 0.3 points (no difference shown)."
    assert said(same, "better", same, "worse") == (
        f"Of 4 {opening}, one shows a lower error rate (column 1, -1.0 ± 0.3), one a higher one "
        f"(column 3, -1.0 ± 0.3), and 2 no difference. {first}"
    )
    assert said(same, *["better"] * 4) == (
        f"Of 5 {opening}, 4 show a lower error rate (by 1.0 to 1.0 points), none a higher one, and "
        f"1 no difference. {first}"
    )
    assert said(same, "worse") == (
        f"Of 2 {opening}, none shows a lower error rate, one a higher one (column 1, -1.0 ± 0.3), "
        f"and 1 no difference. {first}"
    )
    assert said(same, same) == (f"None of 2 {opening} shows a difference in error rate. {first}")
    assert said("better", "better").endswith(
        "and none no difference. The first is column 0: -1.0 ± 0.3 points (better)."
    )
    assert said("better") == (
        f"Column 0 on A has an error rate 1.0 ± 0.3 points lower than {study.reference}."
    )


def test_one_network_has_an_interval_too():
    said = headline.of_lineages([outputs_with([range(100)])], first=FROM_LABELS)
    wilson = stats.binomtest(100, 1000).proportion_ci(method="wilson")
    assert (
        f"10.0 % on the test examples ({100 * wilson.low:.1f} to {100 * wilson.high:.1f} %)"
        in said.sentence
    )


def test_replicas_differ_in_seeds_alone(arrays, tmp_path):
    for seed in (0, 1):
        result = train(arrays, tmp_path / "family", seed=seed, generations=1)
    train(arrays, tmp_path / "family", seed=2, generations=1, objective="cwtm")
    found = replicas(result.family, result.lineage)
    assert len(found) == 2 and {one[-1].objective.name for one in found} == {"ban"}
    assert "2 seeds, each" in report.answer_of(result.family, result.lineage).basis


# The gallery


def test_flips_and_disagreements_come_first():
    labels = torch.zeros(40, dtype=torch.int64)
    right, wrong = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    first, middle, last = (torch.stack([right] * 40) for _ in range(3))
    last[7], first[11], middle[13] = wrong, wrong, wrong
    first[17], middle[17], last[17] = wrong, wrong, wrong
    chosen = gallery.choose(
        Resident(torch.zeros(40, 1, 4, 4, dtype=torch.uint8), labels), [first, middle, last], labels
    )
    assert [(one.index, one.kind) for one in chosen.pictures[:4]] == [
        (7, "lost"),
        (11, "won"),
        (13, "disagreement"),
        (17, "wrong"),
    ]
    assert chosen.counts == {"lost": 1, "won": 1, "disagreement": 1, "wrong": 1, "right": 36}
    rest = [one.index for one in chosen.pictures[4:]]
    assert rest != sorted(rest) and len(set(rest)) == 36
    expected = torch.stack([first[7], middle[7], last[7]]).double().softmax(-1).numpy()
    np.testing.assert_allclose(chosen.pictures[0].probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_are_what_they_were(channels):
    values = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (channels, 5, 6)).astype(np.uint8)
    )
    shown = np.asarray(Image.open(io.BytesIO(gallery.png(values, 0, 255))))
    expected = values[:3].permute(1, 2, 0).numpy() if channels >= 3 else values[0].numpy()
    np.testing.assert_array_equal(shown, expected)


def test_numbers_with_a_fraction_become_greys():
    picture = torch.tensor([[[-1.0, 0.0, 1.0]]])
    assert np.asarray(Image.open(io.BytesIO(gallery.png(picture, -1, 1)))).tolist() == [
        [0, 128, 255]
    ]


# What is not there


def test_an_unfinished_family_is_reported_as_far_as_it_is(hostile, tmp_path, command):
    family = copy(hostile.family, tmp_path / "family")
    last = family.folder(hostile.lineage[-1].id)
    for path in (last.done_file, last.outputs, last.weights):
        path.unlink()
    found = report.gather(family, choose_lineage(family, several="longest"), hostile.data)
    assert found.lineage == tuple(spec.id for spec in hostile.lineage[:-1])
    assert (
        len(found.notices) == 1
        and last.id in found.notices[0]
        and "3 of 3 epochs" in found.notices[0]
    )
    curves = sections.own_charts(found)
    assert [
        one.name for chart in curves if chart.name == "learning-curves" for one in chart.series
    ] == [
        "generation 0",
        "generation 1",
        "generation 2, not finished",
    ]
    assert "is not finished" in page.render(found)
    assert "report: " in command("report", family.path)


def test_nothing_finished_is_said(hostile, tmp_path):
    family = copy(hostile.family, tmp_path / "family")
    for spec in hostile.lineage:
        family.folder(spec.id).done_file.unlink()
    found = report.gather(family, choose_lineage(family, several="longest"))
    assert found.answer == headline.NOTHING_FINISHED and not found.rows
    assert "No network of this family is finished" in page.render(found)


def test_an_empty_family_is_refused(tmp_path, refused):
    Family.create(tmp_path / "family")
    assert "holds no network yet" in refused("report", tmp_path / "family")
    assert "is no family" in refused("report", tmp_path)


@pytest.mark.parametrize(
    "name",
    ["weights.safetensors", "outputs.safetensors", "metrics.jsonl", "spec.json", "done.json"],
)
def test_a_damaged_family_is_refused(hostile, tmp_path, name):
    family = copy(hostile.family, tmp_path / "family")
    path = family.folder(hostile.lineage[1].id).path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(AnewError, match=re.escape(name) if name != "spec.json" else "."):
        report.gather(family, choose_lineage(family, several="longest"))


def test_a_family_without_outputs_is_refused(hostile, tmp_path, refused):
    family = copy(hostile.family, tmp_path / "family")
    family.folder(hostile.lineage[0].id).outputs.unlink()
    line = refused("report", family.path, "-o", tmp_path / "page.html")
    assert "outputs.safetensors: is missing" in line and not (tmp_path / "page.html").exists()


def test_without_data_there_is_a_page_without_pictures(hostile, tmp_path, command, arrays):
    family = copy(hostile.family, tmp_path / "family")
    command(
        "report",
        family.path,
        "--data",
        f"npz:{tmp_path / 'nowhere.npz'}",
        "-o",
        tmp_path / "page.html",
    )
    text = (tmp_path / "page.html").read_text()
    assert "No pictures here: " in text and "nowhere.npz" in text and "<img" not in text
    other = prepare(from_arrays((arrays[0][::-1].copy(), arrays[1])), DataSpec())
    found = report.gather(
        family, hostile.lineage, replace(other, test=other.test.take(torch.arange(9)))
    )
    assert "are not those that the networks were evaluated on" in found.gallery.missing
    vectors = Resident(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(AnewError, match="vectors, not pictures"):
        gallery.choose(vectors, [torch.zeros(3, 2)], vectors.labels)


def test_a_path_that_cannot_be_written_is_refused(hostile, tmp_path, refused):
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refused(
        "report", hostile.family.path, "-o", tmp_path / "file" / "page.html"
    )
    (tmp_path / "folder").mkdir()
    assert "cannot be written" in refused("report", hostile.family.path, "-o", tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == [] and not list(tmp_path.glob(".*.tmp"))


def test_what_a_killed_process_left_of_a_page_goes_and_nothing_else(hostile, tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / f".r.html.{ended.pid}.tmp"
    (tmp_path / f".r.html.{ended.pid}-0123abcd.tmp").write_text("mine")
    others = [f".r.html.{os.getppid()}.tmp", ".r.html.x.tmp", f".other.html.{ended.pid}.tmp"]
    for path in (left, *(tmp_path / name for name in others)):
        path.write_text("mine")
    files.sweep(tmp_path / "r.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    files.sweep(tmp_path / "no" / "r.html")


def test_what_a_killed_process_left_of_json_and_of_figures_goes(
    hostile, gathered, tmp_path, command
):
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in ("r.json", "errors.svg", "errors.png"):
        (tmp_path / f".{name}.{ended.pid}-0123abcd.tmp").write_text("half")
    figures.write(gathered, tmp_path)
    command(
        "report",
        hostile.family.path,
        "--no-pictures",
        "--format",
        "json",
        "-o",
        tmp_path / "r.json",
    )
    assert not list(tmp_path.glob(".*"))


def test_names_that_are_not_utf_8_are_written_out_on_the_page(gathered, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "render", lambda report: "caf\udce9")
    writing.write(gathered, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_bytes() == b"caf\\udce9"


def test_options_of_a_study_need_its_name(hostile, refused):
    assert "options of a study need its name" in refused(
        "report", hostile.family.path, "--seeds", "1"
    )


def test_a_missing_extra_is_one_line_and_fails_no_training(hostile, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(AnewError, match=r"needs jinja2.*pip install 'anew\[report\]'"):
        page.require("jinja2")
    said = writing.write_after_training(hostile.family, hostile.lineage, hostile.data)
    assert said.startswith("no report: ") and "pip install 'anew[report]'" in said


def test_a_fault_of_the_page_fails_no_training(hostile, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "gather", lambda *given: 1 / 0)
    said = writing.write_after_training(hostile.family, hostile.lineage, hostile.data)
    assert said.startswith("no report: ZeroDivisionError") and "--debug" in said


# After training, studies, notebooks


def test_training_ends_with_its_report(npz, tmp_path, command):
    options = [
        "--data",
        f"npz:{npz}",
        *quick(epochs=2, generations=1),
        "--out",
        tmp_path / "family",
    ]
    done = command("train", *options)
    where = tmp_path / "family" / "reports" / "report.html"
    assert done.strip().splitlines()[-1] == f"report: {where}"
    assert where.stat().st_size > 1e6
    where.unlink()
    assert "report: " not in command("train", *options, "--no-page") and not where.exists()


STUDY = """
title = "Small <b>study</b>"
seeds = [0]
controls = ["Control"]
[data]
source = "npz:{path}"
[training]
epochs = 1
batch_size = 16
[rows]
small = "small_cnn"
[columns.Teacher]
[columns.BAN]
teacher = "Teacher"
[columns.Both]
ensemble = ["Teacher", "BAN"]
[columns.Control]
seed = 5
[published.small]
BAN = 3.5
"""


def test_a_study_opens_the_page(npz, tmp_path, command):
    path = tmp_path / "mine.toml"
    path.write_text(STUDY.format(path=npz))
    done = command("study", "run", path, "--out", tmp_path / "family")
    where = tmp_path / "family" / "reports" / "mine.html"
    assert done.strip().splitlines()[-1] == f"report: {where}"
    parser = Texts()
    parser.feed(where.read_text())
    said = json.loads(command("study", "show", path, tmp_path / "family", "--format", "json"))
    shown = json.loads(command("report", tmp_path / "family", path, "--format", "json"))
    assert shown["study"]["results"] == said and "Small <b>study</b>" in [
        text for _, text in parser.headings
    ]
    (cell,) = [one for one in said["cells"] if one["column"] == "BAN"]
    start = parser.cells.index("BAN")
    assert (
        parser.cells[start + 1] == f"{cell['estimate']['mean']:.2f}"
        and parser.cells[start + 2] == "3.50"
    )
    again = parser.cells.index("BAN", start + 1)
    difference = cell["controls"]["Control"]["difference"]["mean"]
    assert parser.cells[again + 1 : again + 3] == [
        "Control",
        f"{difference:+.2f}".replace("-", "\u2212"),
    ]
    assert "The first is BAN: " in shown["answer"]["sentence"]


def test_a_result_shows_itself_in_a_notebook(hostile, tmp_path):
    text = hostile._repr_html_()
    for row in hostile.scores:
        assert "<td" in text and f"{row.scores.error:.2f}" in text and row.name in text
    assert report.answer_of(hostile.family, hostile.lineage).sentence.replace("'", "&#x27;") in text
    drawn = hostile.plot()
    curves, errors = drawn.axes
    assert curves.get_xlabel() == "epoch" and errors.get_xlabel() == "test error, %"
    np.testing.assert_array_equal(
        curves.lines[0].get_ydata(),
        [
            row["validation_error"]
            for row in hostile.family.folder(hostile.lineage[0].id).read_metrics()
        ],
    )
    where = hostile.report(tmp_path / "mine.html")
    assert "Test picture" in where.read_text()


def test_what_teachers_were_asked_is_recorded(arrays, tmp_path):
    live = train(arrays, tmp_path / "live", generations=1, ask="live")
    record = live.family.folder(live.lineage[1].id).done
    served = record["teacher"]["served"]
    assert record["pictures"] == served and record["teacher"]["asked"] >= served
    stored = train(arrays, tmp_path / "stored", generations=1, ask="table")
    once = stored.family.folder(stored.lineage[1].id).done["teacher"]
    # Without augmentation there is one view: each picture is asked for once, and by the checks.
    assert once["served"] == served and once["asked"] < 0.7 * served
    found = report.gather(stored.family, stored.lineage).networks[-1].cost
    assert (found.asked, found.served, found.saved) == (
        once["asked"],
        served,
        served - once["asked"],
    )


def test_curves_can_be_read_after_the_first_epochs(gathered):
    """The axis of errors ends where the second half is seen; that of losses is logarithmic."""
    first = gathered.shown[0]
    rows = [
        {"epoch": epoch, "validation_error": error, "validation_nll": loss}
        for epoch, error, loss in ((1, 80.0, 3.0), (2, 9.0, 0.2), (3, 2.0, 0.05), (4, 0.0, 0.04))
    ]
    curve = replace(first, curve=tuple(rows))
    errors = sections.learning_curves([curve])
    assert errors.top == 3.0 and errors.bottom(errors.top) < 0
    assert errors.y_label == "validation error, % (axis ends at 3)" and not errors.is_log
    assert errors.csv().count("\n") == 5 and "80" in errors.csv()
    losses = sections.validation_losses([curve])
    assert losses.is_log and losses.top is None
    assert {0.05, 0.1, 1.0, 2.0} <= set(losses.log_ticks())
    flat = replace(first, curve=tuple({**row, "validation_nll": 1.0} for row in rows))
    assert not sections.validation_losses([flat]).is_log
    assert sections.validation_losses([flat]).top is None


def test_charts_of_dots_do_not_lie_on_each_other():
    one = Series("a", ("x", "y"), (1.0, 2.0))
    other = Series("b", ("y", "z"), (1.0, 2.0))
    chart = Chart("c", "C", "dots", "", "", (one, other), "")
    assert (
        chart.names == ("x", "y", "z")
        and chart.is_dodged
        and chart.shift(0) == -chart.shift(1) != 0
    )
    assert not replace(chart, series=(one,)).is_dodged


def test_backticks_are_code_and_nothing_else_is_markup():
    assert page.marked("`anew show` <b> & `x`") == (
        "<code>anew show</code> &lt;b&gt; &amp; <code>x</code>"
    )
    assert page.marked("a ` b") == "a ` b"


def test_minus_signs_are_for_numbers():
    assert page.typeset("-0.5 to -0.3") == "\u22120.5 to \u22120.3"
    assert page.typeset("wide_resnet-28-10, 2020-01-02") == "wide_resnet-28-10, 2020-01-02"


def test_kept_epochs_are_shown_where_the_data_are_at_hand(npz, tmp_path):
    result = train(f"npz:{npz}", tmp_path / "f", generations=1, keep_epochs=1)
    measured = {
        name: report.gather(result.family, result.lineage, data).insight.gradients
        for name, data in (("with", result.data), ("without", AnewError("not at hand")))
    }
    epochs = {name: [one.epoch for one in students] for name, students in measured.items()}
    assert epochs == {"with": [1, 2, 3], "without": [3]}

    charts = {one.name: one for one in insight_sections.gradients(measured["with"]).charts}
    shares, weights = charts["gradient-shares-by-epoch"], charts["weights-by-epoch"]
    pulls = [one.ban for one in measured["with"]]
    assert shares.series[0].x == weights.series[0].x == (1, 2, 3)
    none_makes = [100 * (1 - pull.by_any_weight.value) for pull in pulls]
    assert shares.series[0].y == pytest.approx(none_makes)
    assert all(
        low <= y <= high
        for one in (*shares.series, *weights.series)
        for low, y, high in zip(one.low, one.y, one.high, strict=True)
    )
    assert weights.series[0].y == tuple(pull.ratio_r2_weighted.value for pull in pulls)
    assert weights.series[1].y == tuple(pull.identity_r2_weighted.value for pull in pulls)
    alone = {one.name for one in insight_sections.gradients(measured["without"]).charts}
    assert alone == charts.keys() - {shares.name, weights.name}
