"""Studies: the paper's tables cell by cell, networks trained once, failures that stay where they
are.
"""

import csv
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from anew import AnewError, studies
from anew.core import files
from anew.core import spec as spec_module
from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.recipe import Recipe, lineage_of, override, read_toml
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, TrainingSpec
from anew.core.text import json_text
from anew.family import Family
from anew.studies import STUDIES, Column, Study, StudyData, collect, rendering
from anew.studies.controls import with_controls
from anew.studies.running import siblings
from anew.studies.scales import scaled
from anew.training.lineage import filled
from forks import fork
from runs import finish, saved_steps, weights

CPU = Execution("cpu", 1)
ROOT = Path(__file__).parents[2]
PICTURES = [study for study in STUDIES.values() if not study.is_text]


def on(seed):
    return DataSpec(fingerprint="f", seed=seed)


def learns_from(study, row, column):
    """The chain of columns from a cell's network to the labels, by objective."""
    (spec,) = study.cell(row, column, 0, on(0))
    return [one.objective.name for one in spec.lineage]


# paper.md's tables, written down again.
TABLE2 = {
    "DenseNet-112-33": [18.25, 16.95, 17.68, 17.84, 17.84, 17.61, 17.22, 16.59, 15.77, 15.68],
    "DenseNet-90-60": [17.69, 16.69, 16.93, 17.42, 17.43, 16.62, 16.44, 16.72, 15.39, 15.74],
    "DenseNet-80-80": [17.16, 16.36, 16.50, 17.16, 16.84, 16.26, 16.30, 15.50, 15.46, 15.14],
    "DenseNet-80-120": [16.87, 16.00, 16.41, 17.12, 16.34, 16.13, 16.13, None, 15.13, 14.90],
}


def test_table_2_is_the_papers():
    study = STUDIES["table2"]
    names = ["Teacher", "BAN", "BAN+L", "CWTM", "DKPP", "BAN-1", "BAN-2", "BAN-3", "Ens*2", "Ens*3"]
    assert list(study.columns) == names and list(study.rows) == list(TABLE2)
    for row, figures in TABLE2.items():
        assert [study.published.get((row, name)) for name in names] == figures
        assert study.rows[row].name == row.lower()
    chains = {
        "Teacher": ["label"],
        "BAN": ["label", "ban"],
        "BAN+L": ["label", "ban+l"],
        "CWTM": ["label", "cwtm"],
        "DKPP": ["label", "dkpp"],
        "BAN-1": ["label", "ban"],
        "BAN-2": ["label", "ban", "ban"],
        "BAN-3": ["label", "ban", "ban", "ban"],
    }
    assert {name: learns_from(study, "DenseNet-90-60", name) for name in chains} == chains
    cell = lambda row, name: study.cell(row, name, 0, on(0))  # noqa: E731
    teacher, ban, first, second, third = (
        cell("DenseNet-90-60", name)[0] for name in ("Teacher", "BAN", "BAN-1", "BAN-2", "BAN-3")
    )
    assert ban.teachers == first.teachers == (teacher,) and ban.seed != first.seed
    assert second.teachers == (first,) and third.teachers == (second,)
    assert cell("DenseNet-90-60", "Ens*2") == (first, second)
    assert cell("DenseNet-90-60", "Ens*3") == (first, second, third)
    assert cell("DenseNet-80-120", "BAN-3") == ()
    assert [spec.generation for spec in cell("DenseNet-80-120", "Ens*3")] == [0, 1, 2]


def test_a_study_says_of_its_data_what_a_training_does(command, tmp_path, arrays):
    pictures, labels = arrays
    copied = np.concatenate([pictures, pictures[:9]]), np.concatenate([labels, labels[:9]])
    np.savez(tmp_path / "copied.npz", x=copied[0], y=copied[1])
    study = tmp_path / "study.toml"
    study.write_text(
        '[data]\nsource = "npz:copied.npz"\n[training]\nepochs = 1\nbatch_size = 32\n'
        '[rows]\nsmall = "small_cnn"\n[columns.Teacher]\n'
    )
    ran = command("study", "run", study, "--seeds", 0, "--no-page", "--storage", "disk", check=0)
    trained = command("train", "--data", "npz:copied.npz", "--epochs", 1, "--force", "--no-page")
    said = [line for line in ran.err.splitlines() if line.startswith("data: ")]
    assert said == [line for line in trained.err.splitlines() if line.startswith("data: ")]
    assert "2 of 50 test and 1 of 20 validation examples are also in the tr" in " ".join(said)


def test_tables_1_and_3_and_the_slides_are_the_sources():
    one, three, bonus = (STUDIES[name] for name in ("table1", "table3", "bonus"))
    assert len(one.rows) == 8 and list(one.columns) == ["Teacher", "BAN"]
    assert (
        one.published["Wide-ResNet-28-10", "BAN"] == 3.86
        and one.published["DenseNet-80-120", "Teacher"] == 3.37
    )
    assert one.data.source == "cifar10" and three.data.source == "cifar100"
    assert list(three.columns) == ["Teacher", "BAN", "DenseNet-90-60"]
    (student,) = three.cell("Wide-ResNet-28-2", "DenseNet-90-60", 0, on(0))
    assert (
        student.model.name == "densenet-90-60"
        and student.teachers[0].model.name == "wide_resnet-28-2"
    )
    assert three.published["Wide-ResNet-28-10", "DenseNet-90-60"] == 16.79
    assert bonus.published["ResNet-50", "generation 1"] == pytest.approx(18.60)
    assert bonus.published["ResNet-50", "ensemble (1,2,3)"] == pytest.approx(15.40)
    assert [len(bonus.cell("ResNet-50", name, 0, on(0))) for name in bonus.columns] == [
        1,
        1,
        1,
        2,
        3,
    ]
    assert bonus.data.views == "none" and bonus.training.weight_decay == 0


def test_the_slides_experiment_has_their_settings_and_says_what_was_published():
    bonus = STUDIES["bonus"]
    training, student = bonus.training, bonus.columns["generation 3"]
    assert (training.optimizer, training.learning_rate, training.schedule) == (
        "adamw",
        0.01,
        "constant",
    )
    assert (training.epochs, training.batch_size, training.weight_decay) == (50, 64, 0.0)
    assert student.objective.name == "kd" and student.teacher == "generation 2"
    assert dict(student.objective.options) == {"temperature": 20.0, "alpha": 0.9}
    assert any("no students" in note for note in bonus.notes)


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4", "table5"])
def test_the_papers_training_is_the_papers(name):
    """Furlanello et al. 2018, section 4: the setting of Zagoruyko and Komodakis' code."""
    training, data = STUDIES[name].training, STUDIES[name].data
    assert (training.epochs, training.batch_size, training.learning_rate) == (200, 128, 0.1)
    assert (training.momentum, training.nesterov, training.weight_decay) == (0.9, True, 5e-4)
    assert (training.schedule, training.milestones, training.drop) == ("step", (0.3, 0.6, 0.8), 0.2)
    # Without views of its own a study takes the source's, CIFAR's are crop+flip.
    assert (data.views, data.padding, data.padding_mode) == (None, 4, "reflect")
    assert data.validation == 0 and data.limit is None


def test_wide_resnets_at_full_size_have_dropout_and_others_none():
    for study in PICTURES:
        for spec in study.specs(on):
            name, dropout = spec.model.name, dict(spec.model.options).get("dropout", 0)
            assert dropout == (0.3 if "wide_resnet" in name else 0)


def test_the_recipe_of_the_papers_settings_is_a_row_of_table_1():
    recipe = override(Recipe(), read_toml(ROOT / "examples" / "recipes" / "paper.toml"))
    lineage = lineage_of(filled(recipe), replace(recipe.data, fingerprint="f"))
    (student,) = STUDIES["table1"].cell(
        "Wide-ResNet-28-2", "BAN", 0, replace(STUDIES["table1"].data, fingerprint="f")
    )
    assert lineage[-1].id == student.id and lineage[0].id == student.teachers[0].id


@pytest.mark.parametrize(
    "scale, called", [("tiny", "scikit-learn's digits"), ("small", "CIFAR-10 (10,000 pictures)")]
)
def test_titles_name_the_data_of_the_scale(scale, called):
    for study in PICTURES:
        title = scaled(study, scale).title
        assert called in title and "CIFAR-100" not in title


def test_networks_are_trained_once_however_many_cells_need_them():
    two, three = (STUDIES[name].specs(on) for name in ("table2", "table3"))
    # 7 networks a row and seed, 8 where there is a BAN-3; ensembles need no more.
    assert len(two) == 3 * (3 * 8 + 7) and len({spec.id for spec in two}) == len(two)
    assert len(three) == 3 * 4 * 3
    generations = [spec.generation for spec in two]
    assert generations == sorted(generations)
    one = STUDIES["table1"]
    shared = {spec.id for spec in replace(STUDIES["table3"], data=one.data).specs(on)} & {
        spec.id for spec in one.specs(on)
    }
    assert len(shared) == 3 * 4 * 2


def test_siblings_are_grouped_and_teachers_come_first():
    groups = siblings(STUDIES["table2"].specs(on))
    done = set()
    for group in groups:
        assert len({spec.teachers for spec in group}) == 1
        assert all(teacher.id in done for spec in group for teacher in spec.teachers)
        done |= {spec.id for spec in group}
    # The students of a teacher: BAN, BAN+L, CWTM, DKPP, BAN-1.
    assert sorted(len(group) for group in groups if group[0].generation == 1) == [5] * 12


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", ["tiny", "small"])
def test_scales_keep_the_structure(name, scale):
    whole, small = STUDIES[name], scaled(STUDIES[name], scale)
    assert list(small.rows) == list(whole.rows) and list(small.columns) == list(whole.columns)
    assert [spec.objective for spec in small.specs(on)] == [
        spec.objective for spec in whole.specs(on)
    ]
    assert len(set(small.rows.values())) == len(small.rows)
    assert (
        "Scaled down" in small.notes[-1] and next(iter(small.rows.values())).name in small.notes[-1]
    )


def test_controls_are_columns_like_any_other():
    study = with_controls(STUDIES["table2"])
    data = on(0)
    assert learns_from(study, "DenseNet-90-60", "Teacher again") == ["label"]
    (long,) = study.cell("DenseNet-90-60", "Teacher, 4x epochs", 0, data)
    assert long.training.epochs == 800 and not long.teachers
    members = study.cell("DenseNet-90-60", "4 independent", 0, data)
    assert len({spec.seed for spec in members}) == 4 and not any(spec.teachers for spec in members)
    assert members[0] == study.cell("DenseNet-90-60", "Teacher", 0, data)[0]
    names = [
        "Teacher again",
        "Teacher again (2)",
        "Teacher again (3)",
        "Teacher, 4x epochs",
        "4 independent",
        "labels smoothed by Teacher",
        "Teacher's argmax smoothed",
        "BAN, Teacher shuffled",
        "Teacher untrained",
        "BAN, Teacher untrained",
    ]
    assert list(study.columns) == [*STUDIES["table2"].columns, *names]
    teacher, ban, smoothed, argmax, shuffled, untrained, student = (
        study.cell("DenseNet-90-60", name, 0, data)[0] for name in ("Teacher", "BAN", *names[5:])
    )
    assert smoothed == replace(ban, objective=ObjectiveSpec("teacher-smoothing"))
    assert argmax == replace(ban, objective=ObjectiveSpec("argmax-smoothing"))
    assert shuffled == replace(ban, objective=ObjectiveSpec("ban", shuffled=True))
    assert (untrained.training.epochs, untrained.generation) == (
        0,
        0,
    ) and untrained.seed != teacher.seed
    assert untrained.is_untrained and student == replace(ban, teachers=(untrained,))
    # One pass serves the teacher's students, but those of its shuffled answers have a pass of their
    # own.
    groups = siblings(study.specs(on))
    assert all(len({spec.objective.shuffled for spec in group}) == 1 for group in groups)
    assert sorted(len(group) for group in groups if group[0].generation == 1) == [1] * 24 + [7] * 12


def test_controls_are_known_as_such():
    study = with_controls(STUDIES["table2"])
    assert study.controls == tuple(list(study.columns)[len(STUDIES["table2"].columns) :])
    for control in ("Techer", "Teacher"):
        with pytest.raises(
            AnewError, match=f"control '{control}' is no column beside the reference"
        ):
            replace(SMALL, controls=(control,))


def test_controls_take_the_studys_own_reference_and_leave_its_columns():
    assert "BAN, generation 1 shuffled" in with_controls(STUDIES["bonus"]).columns
    with pytest.raises(
        AnewError, match="has a column '2 independent', a control's name; rename it"
    ):
        with_controls(replace(SMALL, columns={**SMALL.columns, "2 independent": Column()}))


SMALL = Study(
    name="small",
    title="A small question",
    rows={
        "narrow": ModelSpec("small_cnn", (("width", 8),)),
        "wide": ModelSpec("small_cnn", (("width", 16),)),
    },
    columns={
        "Teacher": Column(),
        "BAN": Column("Teacher", ObjectiveSpec("ban")),
        "CWTM": Column("Teacher", ObjectiveSpec("cwtm")),
        "Both": Column(ensemble=("Teacher", "BAN")),
    },
    training=TrainingSpec(epochs=6, batch_size=16),
    seeds=(0, 1),
)


@pytest.fixture
def small(npz):
    return replace(SMALL, data=DataSpec(source=f"npz:{npz}"))


def test_a_study_runs_and_runs_again_in_an_instant(small, tmp_path):
    out = tmp_path / "f"
    assert studies.run(small, out, CPU, Callback()) == {}
    assert len(weights(out)) == 2 * 2 * 3
    before = weights(out)
    started = time.monotonic()
    assert studies.run(small, out, CPU, Callback()) == {}
    assert weights(out) == before and time.monotonic() - started < 20
    results = collect(small, Family.open(out), StudyData(small))
    assert len(results.cells) == 8
    cell = results.cell("wide", "Both")
    members = [small.cell("wide", "Both", 1, StudyData(small)(1))[index] for index in (0, 1)]
    outputs = [files.read_tensors(Family.open(out).folder(spec.id).outputs)[0] for spec in members]
    probabilities = np.mean(
        [np.exp(one["test.last"].double().log_softmax(-1).numpy()) for one in outputs], axis=0
    )
    expected = 100 * (probabilities.argmax(-1) != outputs[0]["test.labels"].numpy()).mean()
    assert cell.errors[1] == pytest.approx(expected)
    assert cell.estimate.mean == pytest.approx(np.mean(list(cell.errors.values())))
    assert (
        results.cell("wide", "Teacher").comparison is None and cell.comparison.difference.count == 2
    )
    assert cell.comparison.corrected_p >= cell.comparison.difference.p and cell.comparison.verdict
    # One seed: compared by example.
    one = replace(small, seeds=(0,))
    comparison = collect(one, Family.open(out), StudyData(one)).cell("wide", "BAN").comparison
    assert "McNemar" in comparison.difference.test
    # One seed of several: not compared in another way than the others.
    more = replace(small, seeds=(0, 99))
    cell = collect(more, Family.open(out), StudyData(more)).cell("wide", "BAN")
    assert cell.missing == {99: "not trained yet"} and cell.comparison is None


def test_all_columns_but_controls_are_compared_with_the_controls(small, arrays, tmp_path):
    out = tmp_path / "f"
    # A third of the labels by lot, so that networks differ in what they get wrong.
    rng, labels = np.random.default_rng(0), arrays[1].copy()
    labels[::3] = rng.integers(0, 3, len(labels[::3]))
    np.savez(tmp_path / "hard.npz", x=arrays[0], y=labels)
    data = DataSpec(source=f"npz:{tmp_path / 'hard.npz'}")
    study = replace(small, data=data, seeds=(0, 1, 2), controls=("CWTM", "Both"))
    assert studies.run(study, out, replace(CPU, force=True), Callback()) == {}
    results = collect(study, Family.open(out), StudyData(study))
    assert results.controls == ["CWTM", "Both"]
    compared = {
        (cell.row, cell.column): dict(cell.controls) for cell in results.cells if cell.controls
    }
    assert list(compared) == [("narrow", "BAN"), ("wide", "BAN")]
    for control in study.controls:
        p_values = []
        for (row, column), found in compared.items():
            ours, theirs = (
                np.array(list(results.cell(row, name).errors.values()))
                for name in (column, control)
            )
            difference = found[control].difference
            assert (
                difference.mean == pytest.approx((ours - theirs).mean()) and difference.count == 3
            )
            expected = stats.ttest_rel(ours, theirs)
            if (ours - theirs).std() > 0:
                assert difference.p == pytest.approx(expected.pvalue)
                assert (difference.low, difference.high) == pytest.approx(
                    expected.confidence_interval(0.95)
                )
            p_values.append(difference.p)
        assert min(p_values) < 0.5, "or the correction would change nothing"
        # Holm of two: the smaller doubled, the larger at least that.
        small_p, large_p = sorted(p_values)
        corrected = sorted(found[control].corrected_p for found in compared.values())
        assert corrected == pytest.approx([min(1, 2 * small_p), max(min(1, 2 * small_p), large_p)])
    # Every format has them all.
    exported = json.loads(json_text(results.to_json()))
    cell = next(one for one in exported["cells"] if (one["row"], one["column"]) == ("wide", "BAN"))
    assert list(cell["controls"]) == ["CWTM", "Both"] and exported["controls"] == ["CWTM", "Both"]
    amount = f"{cell['controls']['Both']['difference']['mean']:+.2f}"
    assert f"| wide | BAN | Both | {amount} |" in rendering.markdown(results)
    (line,) = [
        one
        for one in csv.DictReader(
            line for line in rendering.as_csv(results).splitlines() if not line.startswith("#")
        )
        if (one["row"], one["column"]) == ("wide", "BAN")
    ]
    assert line["difference (Both)"] == amount
    columns, narrow = rendering.controls_for_terminal(results)
    assert columns == ["", "[1] ", "[2] "] and [line[0] for line in narrow] == [
        "narrow",
        "  BAN",
        "wide",
        "  BAN",
    ]
    assert narrow[3][2].startswith(f"{cell['controls']['Both']['difference']['mean']:+.1f}")
    assert "[1] CWTM; [2] Both" in rendering.about_controls(results)


def test_a_failure_takes_its_students_and_nothing_else(small, tmp_path):
    # A weight of 0: the teacher's term does nothing, and a check stops that student.
    broken = replace(
        small,
        seeds=(0,),
        columns={**small.columns, "BAN of BAN": Column("BAN", ObjectiveSpec("ban"))},
    )
    broken = replace(
        broken, exceptions={("narrow", "BAN"): Column("Teacher", ObjectiveSpec.of("kd", alpha=0.0))}
    )
    failed = studies.run(broken, tmp_path / "f", CPU, Callback())
    assert len(failed) == 2
    reasons = sorted(failed.values())
    assert any("gradient of the teacher's term" in why for why in reasons)
    assert any(why.startswith("its teacher failed") for why in reasons)
    results = collect(broken, Family.open(tmp_path / "f"), StudyData(broken), failed)
    assert (
        results.cell("narrow", "BAN").estimate is None
        and "teacher's term" in results.cell("narrow", "BAN").missing[0]
    )
    assert results.cell("narrow", "CWTM").errors and results.cell("wide", "BAN of BAN").errors


STUDY_TOML = """
title = "Does CWTM suffice?"
seeds = [0]
[data]
source = "{source}"
[training]
epochs = 2
batch_size = 16
[rows]
small = "{model}"
[columns.Teacher]
[columns.BAN]
teacher = "Teacher"
objective = "ban"
[columns.Both]
ensemble = ["Teacher", "BAN"]
[published.small]
BAN = 12.5
"""


@pytest.fixture
def question(tmp_path, npz):
    path = tmp_path / "question.toml"
    path.write_text(STUDY_TOML.format(source=f"npz:{npz}", model="small_cnn"))
    return path


def test_a_users_own_study_runs_and_is_shown_in_every_format(command, question, tmp_path):
    options = ("--threads", 1, "--force", "--keep-epochs", 1)
    done = command("study", "run", question, "--out", "f", *options, check=0)
    assert "Does CWTM suffice?" in done.out and "12.50" in done.out
    kept = [folder.kept_epochs() for folder in Family.open(tmp_path / "f").folders()]
    assert kept == [[1], [1]]
    shown = {
        form: command("study", "show", question, "f", "--format", form, check=0).out
        for form in ("table", "markdown", "csv", "latex", "json")
    }
    table = json.loads(shown["json"])
    assert [cell["column"] for cell in table["cells"]] == ["Teacher", "BAN", "Both"]
    assert table["cells"][1]["published"] == 12.5 and table["seeds"] == [0]
    error = f"{table['cells'][1]['errors']['0']:.2f}"
    assert all(error in text for text in shown.values())
    assert shown["markdown"].startswith("| row | column") and r"\begin{tabular}" in shown["latex"]
    assert "npz:" in shown["csv"] and "Holm" in shown["csv"]


def test_a_killed_study_goes_on_to_the_same_bits(question, tmp_path):
    options = ("--threads", 1, "--force", "--seeds", 0, 1)

    def begin(out):
        return fork("study", "run", question, "--out", out, *options)

    finish(begin(tmp_path / "whole"))
    killed = tmp_path / "killed"
    # Where a network has an epoch behind it and one to go, then where the third of four is begun.
    for is_reached in (
        lambda: saved_steps(killed),
        lambda: len(list(killed.glob("networks/*/spec.json"))) >= 3,
    ):
        process = begin(killed)
        while not is_reached():
            assert process.poll() is None, process.errors
            time.sleep(0.002)
        process.kill()
        process.communicate()
    assert len(weights(killed)) < 4
    finish(begin(killed))
    assert weights(killed) == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["table7"], "study 'table7' is not known .did you mean 'table"),
        (["table2", "--scale", "tny"], "scale must be one of .*did you mean 'tiny'"),
        (
            ["table2", "--scale", "tiny", "--columns", "BANL"],
            "has no column 'BANL' .did you mean 'BAN",
        ),
        (["table2", "--scale", "tiny", "--rows", "Dense"], "has no row 'Dense'"),
        (["table2", "--scale", "tiny", "--seeds", 1, 1], "seed 1 is given twice"),
        (["table2", "--scale", "tiny", "--seeds", -1], "seeds must be whole numbers >= 0"),
        (["table2", "--scale", "tiny", "--epochs", 0], "training.epochs must be"),
        (["table2", "--scale", "tiny", "--jobs", 0], "jobs must be a whole number >= 1"),
        (["nowhere.toml"], "cannot be read"),
        (["table2", "--data.root", "x"], "Unknown option"),
        (
            ["table2", "--out", "/proc/f", "--scale", "tiny", "--columns", "Teacher"],
            "cannot be made",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(refused, arguments, says):
    import re

    assert re.search(says, refused("study", "run", *arguments))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("title =", "titel ="), "unknown key 'titel' .did you mean 'title'"),
        (
            ('teacher = "Teacher"', 'teacher = "Techer"'),
            "names the column 'Techer'.*did you mean 'Teacher'",
        ),
        (('teacher = "Teacher"', 'teacher = "BAN"'), "learns from itself"),
        (
            ('teacher = "Teacher"', 'teacher = "Late"\n[columns.Late]\nteacher = "Techer"'),
            "column 'Late': names the column 'Techer'.*did you mean 'Teacher'",
        ),
        (('"Teacher", "BAN"]', '"Teacher", "Both"]'), "names 'Both', which is an ensemble"),
        (('objective = "ban"', 'objective = "label"'), "objective 'label' has no teacher"),
        (('objective = "ban"', 'objectve = "ban"'), "unknown key 'columns.BAN.objectve'"),
        (("seeds = [0]", "seeds = [0, 0]"), "seed 0 is given twice"),
        (("seeds = [0]", 'seeds = "0"'), "seeds must be a list of whole numbers"),
        (
            ("seeds = [0]", 'seeds = [0]\ncontrols = "BAN"'),
            "controls must be a list of columns' names",
        ),
        (
            ("seeds = [0]", 'seeds = [0]\ncontrols = ["BAM"]'),
            "control 'BAM' is no column .*did you mean 'BAN'",
        ),
        (("epochs = 2", "epochs = two"), "is not TOML"),
        (("BAN = 12.5", "BAM = 12.5"), "published.small.BAM must be a number"),
        (("small_cnn", "small_cn"), "model 'small_cn' is not known"),
    ],
)
def test_a_study_file_that_makes_no_sense_is_refused(question, tmp_path, change, says):
    text = question.read_text()
    assert change[0] in text
    question.write_text(text.replace(*change))
    with pytest.raises(AnewError, match=says) as caught:
        studies.run(studies.choose(str(question)), tmp_path / "f", CPU, Callback())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "f").exists()


def test_every_format_says_what_must_be_said(small, tmp_path):
    out = tmp_path / "f"
    Family.create(out)
    results = collect(
        replace(small, notes=("scaled down by me",)), Family.open(out), StudyData(small)
    )
    assert all(
        cell.missing == {0: "not trained yet", 1: "not trained yet"} for cell in results.cells
    )
    for form, render in rendering.FORMATS.items():
        text = render(results)
        assert "scaled down by me" in text and str(small.data.source) in text, form
        assert "Teacher" in text


def test_a_chain_of_columns_costs_an_id_a_network(monkeypatch):
    counted = []
    genuine = spec_module.fields.write
    monkeypatch.setattr(
        spec_module.fields, "write", lambda *args, **kw: counted.append(1) or genuine(*args, **kw)
    )
    data = DataSpec(fingerprint="0" * 16)
    for columns in (60, 120):
        counted.clear()
        chain = {f"G{n}": Column(teacher=f"G{n - 1}" if n else "") for n in range(columns)}
        study = Study("chain", "", {"row": ModelSpec("lenet")}, chain, seeds=(0,), reference="G0")
        specs = study.specs(lambda seed: data)
        assert [spec.generation for spec in specs] == list(range(columns))
        # Four parts of a spec: model, data, training, objective.
        assert len(counted) == 4 * columns
        assert study.cell("row", "G59", 0, data)[0] is specs[59]


def test_an_ensemble_teaches_a_column():
    columns = {
        "Teacher": Column(),
        "BAN1": Column("Teacher"),
        "BAN2": Column("BAN1"),
        "Ens": Column(ensemble=("Teacher", "BAN1", "BAN2")),
        "Student": Column("Ens"),
        "Later": Column("Student"),
    }
    study = Study("s", "S", {"small": ModelSpec("small_cnn")}, columns, seeds=(0,))
    members = study.cell("small", "Ens", 0, on(0))
    (student,) = study.cell("small", "Student", 0, on(0))
    assert student.teachers == members and student.generation == 3
    (later,) = study.cell("small", "Later", 0, on(0))
    assert later.lineage == (*members, student, later)
    # Members that are no column of their own choice are trained all the same.
    assert set(study.only(columns=("Student",)).specs(on)) == {*members, student}
    # A control's compute is that of the student with all its ancestors.
    assert "Teacher, 5x epochs" in with_controls(study).columns


def test_an_ensemble_cannot_teach_its_own_member():
    columns = {
        "Teacher": Column(),
        "Ens": Column(ensemble=("Teacher", "Student")),
        "Student": Column("Ens"),
    }
    with pytest.raises(AnewError, match=r"learns from itself .Student < Student"):
        Study("s", "S", {"small": ModelSpec("small_cnn")}, columns)
