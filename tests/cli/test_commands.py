"""The command line: what each command prints, and one line, with nothing written, for whatever a
user can mend.
"""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import anew
from anew.cli import main, terminal
from anew.cli.study_choice import AS_IT_IS
from anew.core import fields, files
from anew.core.recipe import Recipe
from anew.core.settings import read_settings
from anew.evaluation import evaluate_lineage
from anew.family import FORMAT, Family
from anew.studies import STUDIES
from anew.studies.controls import with_controls
from anew.studies.scales import scaled
from commands import call, contents, good, seal
from conftest import QUICK, quick
from forks import Forked

COMMANDS = ("train", "evaluate", "insight", "predict", "show", "report", "verify", "models", "data")


@pytest.fixture
def wrong(tmp_path, monkeypatch):
    """Run what must be refused, in a folder of its own: one line, code 2, no file made or changed;
    return the line.
    """
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        before = contents(tmp_path)
        done = call(*arguments)
        assert (done.code, done.out) == (2, ""), done
        assert (
            done.err.startswith("anew: ") and done.err.count("\n") == 1 and done.err.endswith("\n")
        ), done.err
        assert contents(tmp_path) == before
        return done.err

    return run


@pytest.fixture(scope="module", autouse=True)
def wide_terminal():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory, arrays):
    """A folder with the small problem, and what `anew train` said about it."""
    folder = tmp_path_factory.mktemp("commands")
    np.savez(folder / "small.npz", x=arrays[0], y=arrays[1])
    for number in range(5):
        Image.fromarray(arrays[0][number]).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(place):
    return call(
        "train",
        "--data",
        f"npz:{place / 'small.npz'}",
        "--out",
        place / "family",
        "--threads",
        "1",
        *QUICK,
    )


@pytest.fixture(scope="module")
def family(place, trained):
    assert trained.code == 0, trained.err
    return place / "family"


@pytest.fixture
def copied(family, tmp_path):
    """A copy of the family, for harm."""
    return Path(shutil.copytree(family, tmp_path / "copied"))


def ids(family):
    return [spec.id for (lineage,) in [Family.open(Path(family)).lineages()] for spec in lineage]


# What is there


def loaded_modules(process, *arguments, code=0):
    """Run a command as a process, and return what it said and the modules that it loaded."""
    done = process(*arguments, check=code, PYTHONPROFILEIMPORTTIME="1")
    lines = done.stderr.splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "cyclopts" in loaded
    return done.stdout + "\n".join(
        line for line in lines if not line.startswith("import time:")
    ), loaded


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--version"], 0, [anew.__version__]),
        (["--help"], 0, [*COMMANDS, "--debug"]),
        ([], 0, COMMANDS),
        (
            ["train", "--help"],
            0,
            ["--learning-rate", "--save-minutes", "--model.options KEY=VALUE", "--teacher "],
        ),
        (["train", "--epochs", "-1"], 2, ["training.epochs must be"]),
        (["study", "run", "--help"], 0, ["--scale", "--controls", "--force"]),
        (["trian"], 2, ["trian"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_and_mistakes_are_answered_without_torch(process, arguments, code, says):
    text, loaded = loaded_modules(process, *arguments, code=code)
    assert all(word in text for word in says)
    assert not loaded & {"torch", "numpy", "torchvision", "sklearn"}


def test_importing_anew_does_not_import_torch():
    script = (
        "import sys, anew; print(anew.AnewError, anew.__version__); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


CHOOSING = (
    "--scale",
    "--seeds",
    "--rows",
    "--columns",
    "--controls",
    "--data",
    "--root",
    "--epochs",
    "--limit",
)


def test_study_run_and_show_choose_by_the_same_options_and_say_the_same_of_them():
    helps = [good("study", command, "--help").splitlines() for command in ("run", "show")]
    said = [[line for line in lines if line.startswith("│ --")] for lines in helps]
    run, show = ({line.split()[1]: line.split()[2:] for line in lines} for lines in said)
    assert {option: run[option] for option in CHOOSING} == {
        option: show[option] for option in CHOOSING
    }
    where = {"--on", "--jobs", "--scripts", "--gpus-per-network", "--ray-address", "--track"}
    large = {"--storage", "--workers", "--cache-budget", "--ask", "--disk-budget", "--save-minutes"}
    assert run.keys() - set(CHOOSING) - where - large == {
        "--out",
        "--device",
        "--threads",
        "--force",
        "--keep-epochs",
        "--page",
        "--format",
        "--json",
    }
    assert show.keys() - set(CHOOSING) == {"--format", "--json"}
    assert all(len(words) > 3 for words in run.values())


@pytest.mark.parametrize("command", [["run"], ["show", "family"]], ids=["run", "show"])
def test_what_is_chosen_is_the_study_and_nothing_chosen_is_the_study_as_it_is(command):
    name, *rest = command
    given = "--scale tiny --seeds 3 4 --rows DenseNet-80-80 --columns Teacher BAN --controls"
    more = "--data fashion-mnist --root r --epochs 7 --limit 300"

    def chosen(*options):
        _, bound, _ = main.app.parse_args(["study", name, "table2", *rest, *options])
        return bound.arguments.get("choice", AS_IT_IS).of(bound.arguments["name"])

    assert chosen() == scaled(STUDIES["table2"], "full")
    tiny = with_controls(scaled(STUDIES["table2"], "tiny")).only(
        ("DenseNet-80-80",), ("Teacher", "BAN")
    )
    assert chosen(*given.split(), *more.split()) == replace(
        tiny,
        seeds=(3, 4),
        data=replace(tiny.data, source="fashion-mnist", root="r", limit=300),
        training=replace(tiny.training, epochs=7),
    )
    with pytest.raises(
        anew.AnewError, match=r"epochs must be a whole number, got '1\.5'; set --epochs"
    ):
        chosen("--epochs", "1.5")


def test_models_are_listed_and_counted():
    listed = good("models")
    assert "wide_resnet-28-10" in listed and "36,479,194" in listed and "timm:NAME" in listed
    # 36.5 million: Zagoruyko and Komodakis 2016, table 4.
    assert good("models", "wide_resnet-28-10", "--classes", "100").startswith(
        "wide_resnet-28-10: 36,536,884 parameters"
    )
    assert "mlp" in good("models", "--input", "20") and "lenet" not in good(
        "models", "--input", "20"
    )


def test_data_is_listed_and_described():
    assert all(
        kind in good("data") for kind in ("digits", "fashion-mnist", "parquet:PATH", "npz:PATH")
    )
    described = good("data", "digits")
    assert "1,797 training examples" in described and "1x8x8 uint8" in described
    assert "10 classes: 0, 1, 2" in described and "fingerprint: " in described


# What train prints and keeps


def best_by_validation(family):
    """The generation of the least validation loss, from the metrics of the last epochs."""
    losses = {}
    for spec in Family.open(family).specs().values():
        rows = Family.open(family).folder(spec.id).read_metrics()
        losses[spec.generation] = rows[-1]["validation_nll"]
    return min(losses, key=losses.get)


def test_quiet_prints_the_results_alone(copied, place):
    done = call("train", "--data", f"npz:{place / 'small.npz'}", "--out", copied, "--quiet", *QUICK)
    assert done.err == "" and "ensemble 0-2" in done.out


def test_train_prints_the_table_on_stdout_and_progress_on_stderr(trained, family):
    lines = trained.out.splitlines()
    assert lines[0].strip() == "test, 48 examples"
    assert [line.split("  ")[0] for line in lines[2:8]] == [
        "generation 0",
        "generation 1",
        "generation 2",
        "ensemble 0-1",
        "ensemble 1-2",
        "ensemble 0-2",
    ]
    assert lines[-1] == f"family: {family}"
    best = best_by_validation(family)
    assert lines[8].startswith("answer: ")
    assert lines[9].startswith(f"network to use: generation {best} (the lowest validation loss, ")
    assert lines[9].endswith("weights.safetensors") and Path(lines[9].split(", ")[-1]).is_file()
    assert all(line.startswith("next: anew ") for line in lines[10:13])
    for said in (
        "generations 2; seed 0",
        "generation 2 (small_cnn, ban)",
        "epoch 3/3",
        "the teacher's gradient is ",
    ):
        assert said in trained.err and said not in trained.out
    assert "generation 0  label" not in trained.err


def test_the_same_command_again_finds_everything_trained(trained, family, copied, place):
    again = call("train", "--data", f"npz:{place / 'small.npz'}", "--out", copied, *QUICK)
    assert again.err.count("found, already trained") == 3
    assert again.out.splitlines()[:9] == trained.out.splitlines()[:9]
    assert contents(copied).keys() == {
        copied / path.relative_to(family) for path in contents(family)
    }


def test_a_recipe_and_the_flags_it_stands_for_give_the_same_networks(family, place, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'generations = 2\ndata = "npz:{place / "small.npz"}"\n[model]\noptions = {{ width = 16 '
        f"}}\n"
        "[training]\nepochs = 3\nbatch_size = 16\n"
    )
    assert call("train", "--recipe", recipe, "--out", tmp_path / "toml").code == 0
    assert ids(tmp_path / "toml") == ids(family)
    # Flags go over the recipe.
    assert (
        call(
            "train",
            "--recipe",
            recipe,
            "--out",
            tmp_path / "over",
            "--generations",
            "0",
            "--seed",
            "1",
        ).code
        == 0
    )
    assert [spec.seed for (spec,) in Family.open(tmp_path / "over").lineages()] == [1]


def test_a_log_names_the_recipe_in_two_lines_and_says_where_it_is(trained, family, place):
    first, second = trained.err.partition("generation 0 (")[0].splitlines()
    assert (
        first
        == f"model small_cnn; data npz:{place / 'small.npz'}; objective ban; generations 2; seed 0"
    )
    path = second.removeprefix("all settings of a network: ").partition(", and ")[0]
    for name in ids(family):
        assert (
            json.loads(Path(path.replace("ID", name)).read_text())["training"]["learning_rate"]
            == 0.1
        )
        assert '"learning_rate": 0.1' in good(
            *second.partition("`anew ")[2].rstrip("`").replace("ID", name).split()
        )


def test_a_log_names_what_else_a_recipe_asks_for():
    recipe, _ = read_settings(
        None, {"siblings": "cwtm,dkpp", "sibling_seeds": "4,5", "teacher_model": {"name": "mlp"}}
    )
    first, _ = terminal.recipe_in_words(recipe, Path("f")).splitlines()
    assert (
        first
        == "model small_cnn; data digits; teacher mlp; objective ban, cwtm, dkpp; generations 3; "
        "seed 0, 4, 5"
    )
    given, _ = read_settings(None, {"teacher": "t.safetensors"})
    assert "; teacher t.safetensors; " in terminal.recipe_in_words(given, Path("f"))


@pytest.mark.skipif(os.name != "posix", reason="asks for a pseudo-terminal")
def test_with_verbose_the_whole_recipe_is_printed_and_is_one_of_the_same_networks(
    copied, family, place, tmp_path
):
    import pty
    import tty

    controller, its_terminal = pty.openpty()
    tty.setraw(its_terminal)
    arguments = ["--data", f"npz:{place / 'small.npz'}", "--out", copied, "--verbose", *QUICK]

    def in_a_terminal():
        os.close(controller)
        os.dup2(its_terminal, 2)
        os.close(its_terminal)
        os.environ["TERM"] = "xterm"
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        main.main(["train", *map(str, arguments)])

    process = Forked(in_a_terminal)
    os.close(its_terminal)
    said = b""
    # A terminal that nobody writes to any more is an error to its reader.
    with contextlib.suppress(OSError):
        while piece := os.read(controller, 4096):
            said += piece
    os.close(controller)
    process.communicate()
    assert process.returncode == 0, said
    printed, found, _ = said.decode().partition("generation 0 (")
    assert found and "learning_rate = 0.1" in printed
    (tmp_path / "printed.toml").write_text(printed)
    assert (
        call("train", "--recipe", tmp_path / "printed.toml", "--out", tmp_path / "again").code == 0
    )
    assert ids(tmp_path / "again") == ids(family)


# What is read from a family


def independent_scores(family, members, split):
    """Error, NLL and Brier score of the mean of networks' probabilities, in NumPy, from the stored
    logits.
    """
    probabilities = []
    for name in members:
        tensors = safetensors.torch.load_file(family / "networks" / name / "outputs.safetensors")
        logits, labels = (
            tensors[f"{split}.last"].numpy().astype(np.float64),
            tensors[f"{split}.labels"].numpy(),
        )
        powers = np.exp(logits - logits.max(1, keepdims=True))
        probabilities.append(powers / powers.sum(1, keepdims=True))
    mean = np.mean(probabilities, axis=0)
    each = np.arange(len(labels))
    return {
        "error": 100 * np.mean(mean.argmax(1) != labels),
        "nll": -np.mean(np.log(mean[each, labels])),
        "brier": np.mean(((mean - np.eye(mean.shape[1])[labels]) ** 2).sum(1)),
        "examples": len(labels),
    }


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("subsets", [False, True])
def test_evaluate_equals_an_independent_computation(family, split, subsets):
    (found,) = json.loads(
        good("evaluate", family, "--json", "--split", split, *["--all-subsets"] * subsets)
    )
    assert found["lineage"] == ids(family) and found["split"] == split
    expected = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)]
    if subsets:
        expected.insert(4, (0, 2))
    assert [tuple(row["generations"]) for row in found["rows"]] == expected
    for row in found["rows"]:
        members = [found["lineage"][generation] for generation in row["generations"]]
        assert row["ids"] == members
        scores = independent_scores(family, members, split)
        assert {name: row[name] for name in scores} == pytest.approx(scores, rel=1e-9, abs=1e-12)


def test_evaluate_prints_the_table_of_train(trained, family):
    heading, *table = good("evaluate", family).splitlines()
    assert heading.startswith("small_cnn, seed 0, ban: ")
    assert table[:8] == trained.out.splitlines()[:8]
    assert table[8].startswith("NLL: mean negative log-likelihood")
    assert "ensemble 0,2" in good("evaluate", family, "--all-subsets")


GENERATIONS = {"last": (2,), "all": (0, 1, 2), "1": (1,), "0-1": (0, 1), "0,2": (0, 2)}


@pytest.fixture(scope="module")
def result(family):
    opened = Family.open(family)
    (lineage,) = opened.lineages()
    return anew.Result(opened, lineage, evaluate_lineage(opened, lineage))


@pytest.mark.parametrize("generations", GENERATIONS)
def test_predict_gives_the_mean_of_the_chosen_generations(
    family, place, result, arrays, generations
):
    pictures = [place / f"{number}.png" for number in range(5)]
    found = json.loads(
        good("predict", family, *pictures, "--generations", generations, "--format", "json")
    )
    probabilities = np.array(
        [[one["probabilities"][name] for name in ("0", "1", "2")] for one in found]
    )
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-9)
    # A batch of five and a batch of more may differ in float32's last bits.
    expected = result.predict(arrays[0][:5], GENERATIONS[generations]).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert [one["picture"] for one in found] == list(map(str, pictures))
    assert [one["class"] for one in found] == [str(row.argmax()) for row in expected]


def test_predict_prints_tables_and_csv(family, place):
    pictures = [place / f"{number}.png" for number in range(2)]
    (rows, table) = (
        good("predict", family, *pictures, "--top", "2", "--format", form).splitlines()
        for form in ("csv", "table")
    )
    found = list(csv.DictReader(rows))
    assert [(row["picture"], row["rank"]) for row in found] == [
        (str(one), rank) for one in pictures for rank in "12"
    ]
    assert all(
        float(one["probability"]) >= float(two["probability"])
        for one, two in [found[:2], found[2:]]
    )
    words = " ".join(" ".join(table).split())
    assert all(f"{row['rank']} {row['class']} {row['probability']}" in words for row in found)


def test_an_option_may_be_given_by_the_environment_and_the_command_line_overrides_it(
    family, monkeypatch, wrong
):
    monkeypatch.setenv("ANEW_EVALUATE_FORMAT", "csv")
    monkeypatch.setenv("ANEW_TRAIN_EPOCHS", "-3")
    assert good("evaluate", family).startswith("lineage,name,")
    assert not good("evaluate", family, "--format", "table").startswith("lineage,")
    assert "training.epochs" in wrong("train") and "got '-3'" in wrong("train")
    assert "got '-4'" in wrong("train", "--epochs", "-4")


def test_evaluate_prints_the_same_numbers_as_csv_and_as_json(family):
    rows = list(csv.DictReader(good("evaluate", family, "--format", "csv").splitlines()))
    (entry,) = json.loads(good("evaluate", family, "--json"))
    assert [float(row["nll"]) for row in rows] == [row["nll"] for row in entry["rows"]]
    assert [row["generations"] for row in rows] == [
        " ".join(map(str, row["generations"])) for row in entry["rows"]
    ]
    assert {row["lineage"] for row in rows} == {entry["lineage"][-1]}
    assert good("evaluate", family, "--json") == good("evaluate", family, "--format", "json")


WITH_RESULTS = [
    *(command.__name__ for command in main.COMMANDS),
    *(f"study {name}" for name in ("list", "plan", "run", "show")),
]


@pytest.mark.parametrize("name", WITH_RESULTS)
def test_every_command_with_a_result_has_the_same_two_options_for_its_format(name):
    lines = good(*name.split(), "--help").splitlines()
    said = {word: line for line in lines for word in line.strip("│* ").split()[:1]}
    assert "Short for --format json." in said["--json"]
    # No command has a name of its own for the networks or for the family.
    assert "--format" in said and not {"--lineage", "--family"} & said.keys()


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        ("data", {"data", "what"}),
        ("data npz:PLACE/small.npz", {"source", "training_examples", "classes", "fingerprint"}),
        ("models", {"model", "parameters", "what"}),
        ("models mlp", {"model", "parameters", "input", "classes", "notes"}),
        ("evaluate FAMILY", {"lineage", "model", "objective", "seed", "split", "rows"}),
        ("show FAMILY", {"spec", "record", "epochs"}),
        ("report FAMILY", {"format", "what", "family", "answer", "lineage", "networks", "rows"}),
        ("report FAMILY -o OUT/page.json", {"report"}),
        ("insight FAMILY", {"format", "split", "gradients", "dark_knowledge", "calibration"}),
        ("predict FAMILY PLACE/0.png", {"picture", "probabilities"}),
        ("export FAMILY -o OUT/m.safetensors", {"export", "bytes", "largest_difference"}),
        ("verify FAMILY", {"networks", "target_caches", "unfinished", "wrong"}),
        ("advise FAMILY", {"facts", "advice"}),
        ("study list", {"study", "rows", "columns", "title"}),
        ("study plan table2 --scale tiny --rate 1000 --out OUT/none", {"study", "lines", "groups"}),
    ],
)
def test_json_stands_alone_on_standard_output(family, place, tmp_path, arguments, keys):
    places = {"FAMILY": family, "PLACE": place, "OUT": tmp_path}
    for name, path in places.items():
        arguments = arguments.replace(name, str(path))
    done = call(*arguments.split(), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out, parse_constant=pytest.fail)
    assert keys <= (found[0] if isinstance(found, list) else found).keys()


def test_a_trained_lineage_as_json_is_what_evaluate_prints_of_it(copied, place):
    data = f"npz:{place / 'small.npz'}"
    done = call("train", "--data", data, "--out", copied, "--threads", "1", *QUICK, "--json")
    told = json.loads(done.out)
    (entry,) = json.loads(good("evaluate", copied, "--json"))
    assert (told["lineage"], told["rows"]) == (entry["lineage"], entry["rows"])
    assert told["family"] == str(copied) and len(told["next"]) == 3


def test_rows_are_printed_as_csv_and_as_markdown_with_the_same_numbers(family):
    rows = list(csv.DictReader(good("models", "--format", "csv").splitlines()))
    told = json.loads(good("models", "--json"))
    assert [int(row["parameters"]) for row in rows] == [one["parameters"] for one in told]
    head, rule, *body = good("evaluate", family, "--format", "markdown").splitlines()
    assert head.startswith("| lineage | ") and rule.count("---") == head.count("|") - 1
    assert len(body) == len(json.loads(good("evaluate", family, "--json"))[0]["rows"])


def test_verify_says_in_json_what_is_damaged_and_fails(copied):
    (folder, *_) = Family.open(copied).folders()
    folder.weights.write_bytes(b"other")
    done = call("verify", copied, "--json")
    assert done.code == 2 and done.err.startswith("anew: ")
    (line,) = json.loads(done.out)["wrong"]
    assert str(folder.weights) in line


def test_evaluate_scores_one_lineage_of_several(copied, place):
    arguments = ["train", "--data", f"npz:{place / 'small.npz'}", "--out", copied, "--threads", "1"]
    assert call(*arguments, *quick(1, 0), "--seed", "5").code == 0
    ends = [entry["lineage"][-1] for entry in json.loads(good("evaluate", copied, "--json"))]
    assert len(ends) == 2
    (entry,) = json.loads(good("evaluate", copied, "--json", "--network", ends[1]))
    assert entry["lineage"][-1] == ends[1]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_shell_completes_commands_options_and_their_values(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    # It looks for the shell that it runs in, unless one is named.
    assert call("--install-completion", "--shell", "bash").code == 0
    (script,) = (path for path in tmp_path.rglob("anew") if path.is_file())
    assert str(script) in (tmp_path / ".bashrc").read_text()

    words = ("tr", "study sh", "train --epo", "evaluate --format m")
    asks = " ".join(
        f"COMP_WORDS=(anew {one}); COMP_CWORD={len(one.split())}; COMPREPLY=(); _anew; "
        'echo "${COMPREPLY[*]}";'
        for one in words
    )
    said = subprocess.run(
        ["bash", "-c", f". {script}; {asks}"], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["train", "show", "--epochs", "markdown"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_finds_the_script_which_names_every_option(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZDOTDIR", str(tmp_path))
    (tmp_path / ".zshrc").write_text("autoload -Uz compinit\ncompinit -u\n")
    assert call("--install-completion", "--shell", "zsh").code == 0
    said = subprocess.run(
        ["zsh", "-i", "-c", "print -r -- $_comps[anew]"], capture_output=True, text=True, check=True
    )
    assert said.stdout.split()[-1] == "_cyclopts_anew"
    (script,) = tmp_path.rglob("_cyclopts_anew")
    assert subprocess.run(["zsh", "-n", script]).returncode == 0
    flags = {option.flag for option in fields.options(Recipe)}
    named = script.read_text().partition("        train)")[2].partition("        watch)")[0]
    assert len(flags) > 50 and all(f"{flag}[" in named for flag in flags)


@pytest.mark.parametrize("value", ["x", "1.5", "-1"])
def test_a_wrong_number_of_generations_is_told_of_auto(value):
    line = call("train", "--generations", value).err
    assert line.startswith("anew: generations must be a whole number >= 0 and <= 1,000, or auto, ")


def test_show_draws_the_tree_and_the_learning_curves(family):
    shown = good("show", family)
    for generation, name in enumerate(ids(family)):
        assert f"{'    ' * generation}└── {name}  generation {generation} (" in shown
    assert shown.splitlines()[0] == f"{family}  small_cnn, seed 0"
    assert (
        shown.count("test error") == 3 and "validation error, % (digits mark generations)" in shown
    )


def test_show_prints_one_network_whole(family):
    name = ids(family)[1]
    shown = json.loads(good("show", family, name[:6], "--json"))
    assert shown["spec"]["id"] == name and shown["spec"]["teachers"] == [ids(family)[0]]
    assert shown["spec"]["training"]["batch_size"] == 16
    assert shown["record"]["checks"]["signal"] > 0 and shown["record"]["test"]["examples"] == 48
    assert [row["epoch"] for row in shown["epochs"]] == [1, 2, 3]
    assert (
        shown
        == json.loads(good("show", family, "--format", "json"))[sorted(ids(family)).index(name)]
    )


def test_show_prints_one_networks_results_epochs_and_settings_as_tables(family):
    name = ids(family)[1]
    told = json.loads(good("show", family, name, "--json"))
    words = " ".join(good("show", family, name).split())
    test, last = told["record"]["test"], told["epochs"][-1]
    assert f"test error % {test['error']:.2f} test NLL {test['nll']:.4f}" in words
    assert f" 3 {last['train_loss']:.4f} {last['train_error']:.2f} " in words
    assert "training.batch_size 16" in words and f"learned from {ids(family)[0]}" in words
    assert "{" not in words


def test_late_epochs_can_be_told_apart_in_the_learning_curves():
    late = [3.0, 2.0, 1.0, 2.0, 1.0, 3.0, 2.0, 1.0, 3.0]
    drawn = terminal.curves([("0", [90.0, *late])], "error").splitlines()
    assert drawn[0] == "error; ^ is above the axis"
    assert drawn[1].startswith("     3.000 |^") and drawn[12].startswith("     1.000 |")
    assert [line.count("0") for line in (drawn[1][12:], drawn[12][12:])] == [3, 3]
    # What never lies above is no news.
    assert terminal.curves([("0", late)], "error").splitlines()[0] == "error"


def test_verify_finds_one_changed_byte(copied, wrong):
    assert "OK: 3 networks and 2 target caches, all hashes match" in good("verify", copied)
    path = copied / "networks" / ids(copied)[1] / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said = wrong("verify", copied)
    assert "1 of its files" in said and f"{path}: has changed since it was written" in said


def test_a_family_works_wherever_it_is_copied(family, copied, place, monkeypatch):
    monkeypatch.chdir(copied.parent)
    for arguments in ([], ["--json"], ["--all-subsets", "--split", "validation"]):
        assert good("evaluate", "copied", *arguments) == good("evaluate", family, *arguments)
    assert good("verify", "copied").startswith("copied: OK: 3 networks")
    assert good("predict", "copied", place / "0.png") == good("predict", family, place / "0.png")


def test_a_reader_that_goes_away_is_no_error(family):
    for arguments in (["--help"], ["evaluate", str(family), "--json"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "anew", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # As at home: what is printed waits in a buffer until the end.
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(timeout=60) in (0, 1)


def test_debug_shows_where_an_error_arose():
    done = call("train", "--epochs", "-1", "--debug")
    assert done.code == 2 and done.err.startswith("Traceback") and "fields.py" in done.err
    assert done.err.splitlines()[-1].startswith("anew: training.epochs must be")
    assert good("data", "--debug") == good("data")


# What is refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--model smal_cnn", "model 'smal_cnn' is not known (did you mean 'small_cnn'?)"),
        ("--teacher-model resnet81", "model 'resnet81' is not known (did you mean 'resnet18'?)"),
        ("--model.options wdith=3", "no option 'wdith' (did you mean 'width'?)"),
        ("--model.options width=0", "option width must be a whole number"),
        ("--model.options width", "model.options must be written key=value"),
        ("--model torch:no_such_thing", "no callable 'no_such_thing'"),
        ("--model no_such_module:Net", "module 'no_such_module' cannot be imported"),
        ("--objective bann", "objective 'bann' is not known (did you mean 'ban'?)"),
        ("--objective.alpha 0.5", "objective 'ban' takes no alpha"),
        ("--objective kd --objective.alpha 3", "objective 'kd': alpha must be >= 0 and <= 2"),
        ("--objektive ban", "--objektive. Did you mean --objective?"),
        ("--epochs", "--epochs requires an argument"),
        ("--epochs 3 --epochs 4", "--epochs specified multiple times"),
        ("stray", "stray"),
        ("--schedule cosin", "did you mean 'cosine'"),
        ("--views crpo", "did you mean 'crop'"),
        ("--data.padding 300", "data.padding must be"),
        ("--data.limit 1", "Unknown option"),
        ("--limit 1", "data.limit must be"),
        ("--model resnet18 --batch-size 1", "batch norm of model 'resnet18' needs more than one"),
        ("--data.mean 1,2,3", "data.mean must be"),
        ("--data.fingerprint 0123", "fingerprint"),
        ("--recipe none.toml", "recipe none.toml: cannot be read"),
        ("--device gpu", "got 'gpu' (did you mean 'cpu'?)"),
        ("--device cuda:x", "device must be one of"),
        ("--device cuda:99", "this machine has no such device"),
        ("--out", "--out requires an argument"),
    ],
)
def test_train_refuses_what_it_does_not_know(wrong, place, arguments, says):
    assert says in wrong(
        "train", "--data", f"npz:{place / 'small.npz'}", "--out", "new", *arguments.split()
    )


def test_students_of_the_labels_alone_are_refused_before_a_family_is_made(wrong, place):
    arguments = ["--data", f"npz:{place / 'small.npz'}", "--out", "new", "--objective", "label"]
    assert "'label' has no teacher" in wrong("train", *arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there(wrong, place, family):
    assert "this machine has no such device; set --device cpu" in wrong(
        "train", "--device", "cuda", "--out", "new"
    )
    assert "this machine has no such device" in wrong(
        "predict", family, place / "0.png", "--device", "cuda"
    )


WHOLE = {
    "epochs": "training.epochs",
    "batch-size": "training.batch_size",
    "generations": "generations",
    "seed": "seed",
}
BAD_NUMBERS = [
    *(
        (option, value)
        for option in WHOLE
        for value in ("-1", "99999999999999999999999", "many", "1.5", "nan", "")
    ),
    ("batch-size", "0"),
    *(("learning-rate", value) for value in ("-0.1", "0", "1e9", "nan", "inf", "fast", "")),
    *(("threads", value) for value in ("-1", "0", "99999999999999999999999", "1.5", "many")),
    *(("save-minutes", value) for value in ("-1", "0", "1e300", "nan", "inf", "soon")),
]


@pytest.mark.parametrize(("option", "value"), BAD_NUMBERS, ids=lambda value: value or "empty")
def test_train_refuses_numbers_that_make_no_sense(wrong, option, value):
    # Were the number let through, it would be the data that is not known.
    said = wrong("train", "--data", "nothing", "--out", "new", f"--{option}", value)
    assert f"--{option}" in said
    if option in WHOLE:
        assert (
            f"anew: {WHOLE[option]} must be a whole number >= " in said and f"got '{value}'" in said
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = 3", "recipe r.toml: unknown key 'epochs'"),
        ("[trainig]\nepochs = 3", "unknown key 'trainig' (did you mean 'training'?)"),
        ("[training]\nepoch = 3", "unknown key 'training.epoch' (did you mean 'epochs'?)"),
        ("[training]\nepochs = '3x'", "training.epochs must be a whole number"),
        ("generations = [1]", "generations must be a whole number"),
        ("seed = = 1", "is not TOML"),
        ("model = 3", "model.name must be a text"),
        ("model.options = 3", "model.options must be a table, got 3"),
        ("model.options = [[3, 4]]", "model.options must be written key=value"),
        ("[teacher_model]\noptions = 1979-05-27", "teacher_model.options must be a table, got"),
        ("\udcff", "is not TOML"),
    ],
)
def test_train_refuses_a_wrong_recipe(wrong, tmp_path, text, says):
    (tmp_path / "r.toml").write_text(text, errors="surrogateescape")
    assert says in wrong("train", "--recipe", "r.toml", "--out", "new")


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("/proc/x", "/proc/x: cannot be made"),
        ("file", "file: is a file, and a family is a folder"),
        ("file/deeper", "file/deeper: cannot be made (Not a directory)"),
        ("full", "full: is a folder with other files"),
        ("closed/new", "closed/new: cannot be made (Permission denied)"),
        ("x" * 300, "File name too long"),
    ],
    ids=lambda value: value[:20],
)
def test_train_refuses_a_place_where_no_family_can_be(wrong, place, tmp_path, out, says):
    if out.startswith("closed") and os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    (tmp_path / "closed").mkdir(mode=0o500)
    assert says in wrong("train", "--data", f"npz:{place / 'small.npz'}", "--out", out)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("frobnicate", 'Unknown command "frobnicate"'),
        ("evaluat x", "Did you mean"),
        ("evaluate FAMILY --split train", "--split"),
        ("evaluate FAMILY --jsn", "Did you mean --json?"),
        ("evaluate FAMILY FAMILY", "Unused"),
        ("show FAMILY zzz", "no network with an id that starts with 'zzz'"),
        *(
            (f"{command} nowhere", "nowhere: is no family")
            for command in ("evaluate", "show", "verify")
        ),
        *(
            (command, f"`anew {command}` needs a family's folder, such as `anew {command} family`")
            for command in ("evaluate", "show", "verify", "predict")
        ),
        ("models no_such_model", "model 'no_such_model' is not known"),
        ("models wide_resnet-29-1", "wide_resnet-29-1"),
        *(
            (f"models --input {text}", "input must be")
            for text in ("3x3", "x", "0x8x8", "-1", "3x8x999999999999")
        ),
        *(
            (f"models --classes {text}", "classes")
            for text in ("1", "-5", "many", "99999999999999999999")
        ),
        ("models mlp --input 3x999999x999999", "lower --input"),
        ("data digit", "data 'digit' is not known (did you mean 'digits'?)"),
        ("data npz", "names no place; write npz:PATH"),
        ("data npz:nowhere.npz", "there is nothing at nowhere.npz"),
    ],
)
def test_commands_refuse_what_is_not_there(wrong, family, arguments, says):
    assert says in wrong(*(str(family) if one == "FAMILY" else one for one in arguments.split()))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("wide.png", "wide.png: is 9x8 pixels, but the networks take 8x8"),
        ("text.png", "text.png: is not a readable picture"),
        ("cut.png", "cut.png: is a damaged picture"),
        ("good.png nowhere.png", "nowhere.png: is not there"),
        ("empty", "empty: holds no picture files"),
        ("", "no picture was given"),
        *(
            (f"good.png --generations {text}", f"got '{text}'; set --generations")
            for text in (
                "3",
                "-1",
                "2-0",
                "0-1-2",
                "0,0",
                "0,",
                "first",
                "99999999999",
                "0-99999999999999",
            )
        ),
        *((f"good.png --top {text}", "--top") for text in ("0", "-1", "x", "1.5")),
        ("good.png --format xml", "--format"),
        ("good.png --network zzz", "no network with an id that starts with 'zzz'"),
        ("good.png --device gpu", "device must be one of"),
    ],
)
def test_predict_refuses_what_is_no_picture_or_no_choice(
    wrong, family, place, tmp_path, arguments, says
):
    shutil.copy(place / "0.png", tmp_path / "good.png")
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "wide.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    assert says in wrong("predict", family, *arguments.split())


def test_predict_takes_folders_and_names_what_it_cannot_read(family, place, tmp_path, command):
    inner = tmp_path / "some" / "deeper"
    inner.mkdir(parents=True)
    for number in (2, 0):
        shutil.copy(place / f"{number}.png", inner / f"{number}.png")
    (inner / "1.png").write_text("no picture")
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(inner / "wide.png")
    (inner / "notes.txt").write_text("passed over")
    done = command("predict", family, tmp_path / "some", "--format", "csv", "--top", "1", check=2)
    rows = list(csv.DictReader(done.out.splitlines()))
    assert [Path(row["picture"]).name for row in rows] == ["0.png", "2.png"]
    alone = csv.DictReader(
        good("predict", family, place / "0.png", "--format", "csv", "--top", "1").splitlines()
    )
    assert next(alone)["probability"] == rows[0]["probability"]
    assert done.err.startswith("anew: 2 of 4 files cannot be read: ")
    assert "1.png: is not a readable picture" in done.err and "wide.png: is 9x8" in done.err


def test_of_several_lineages_predict_wants_one_named(copied, place, wrong):
    arguments = [
        "--data",
        f"npz:{place / 'small.npz'}",
        "--out",
        copied,
        *QUICK,
        "--objective",
        "ban+l",
    ]
    assert call("train", *arguments).code == 0
    ends = [lineage[-1].id for lineage in Family.open(copied).lineages()]
    said = wrong("predict", copied, place / "0.png")
    assert "holds 2 lineages; choose one with --network" in said and all(
        end in said for end in ends
    )
    one, other = (good("predict", copied, place / "0.png", "--network", end[:8]) for end in ends)
    assert one != other
    assert len(json.loads(good("evaluate", copied, "--json"))) == 2


def test_a_family_of_a_newer_anew(copied, place, wrong):
    (copied / "family.json").write_text(json.dumps({"format": FORMAT + 1}))
    for arguments in (
        *(
            ["evaluate", copied],
            ["show", copied],
            ["verify", copied],
            ["predict", copied, place / "0.png"],
        ),
        ["train", "--data", f"npz:{place / 'small.npz'}", "--out", copied],
    ):
        assert "was written by a newer anew" in wrong(*arguments)


HARMS = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "noise": lambda content: bytes(range(256)) * 4,
    "list": lambda content: b"[1, 2]",
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("spec.json", ["evaluate", "show", "verify", "predict"]),
        ("done.json", ["show", "verify"]),
        ("outputs.safetensors", ["evaluate", "verify"]),
        ("weights.safetensors", ["verify", "predict"]),
    ],
)
def test_a_damaged_file_is_named(copied, place, wrong, name, commands, harm):
    path = copied / "networks" / ids(copied)[2] / name
    path.write_bytes(HARMS[harm](path.read_bytes()))
    for command in commands:
        pictures = [place / "0.png"] if command == "predict" else []
        assert str(path) in wrong(command, copied, *pictures)


@pytest.mark.parametrize(
    ("name", "harm", "command"),
    [
        ("done.json", lambda content: b"{}", "show"),
        ("done.json", lambda content: b'{"files": 3}', "verify"),
        ("metrics.jsonl", HARMS["cut"], "show"),
    ],
)
def test_a_damaged_record_is_named(copied, wrong, name, harm, command):
    path = copied / "networks" / ids(copied)[2] / name
    path.write_bytes(harm(path.read_bytes()))
    assert str(path) in wrong(command, copied)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("seed", "x"),
        ("teachers", ["gone"]),
        ("model", 3),
        ("training", {"epochs": -1}),
        ("weights", None),
    ],
)
def test_a_spec_that_was_edited_is_named(copied, wrong, key, value):
    path = copied / "networks" / ids(copied)[2] / "spec.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    for command in ("evaluate", "show", "verify"):
        wrong(command, copied)


@pytest.mark.parametrize(
    "tensors", [{}, {"test.last": torch.zeros(48, 3)}, {"test.labels": torch.zeros(48)}], ids=len
)
def test_outputs_without_their_tensors_are_named(copied, wrong, tensors):
    path = copied / "networks" / ids(copied)[2] / "outputs.safetensors"
    safetensors.torch.save_file(tensors, path)
    assert f"{path}: has " in wrong("evaluate", copied)
    seal(path.parent)
    assert f"{path}: holds no outputs of the test examples" in wrong("evaluate", copied)


@pytest.mark.parametrize(
    "changed",
    [
        {"test.labels": torch.full((48,), 3)},
        {"test.labels": torch.full((48,), -1)},
        {"test.labels": torch.full((48,), 2**62)},
        {"test.labels": torch.zeros(48)},
        {"test.labels": torch.zeros(47, dtype=torch.int64)},
        {"test.last": torch.zeros(48, 3, dtype=torch.int32)},
        {"test.last": torch.tensor(1.0)},
    ],
    ids=str,
)
def test_outputs_whose_labels_are_no_classes_are_named(copied, wrong, changed):
    path = copied / "networks" / ids(copied)[2] / "outputs.safetensors"
    tensors, header = files.read_tensors(path)
    files.write_tensors(path, {**tensors, **changed}, header)
    seal(path.parent)
    for command in ("evaluate", "insight"):
        said = wrong(command, copied)
        assert f"{path}: its test labels" in said


def strict(text):
    """Return the value of a JSON text, as programs read it that know no NaN."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_outputs_that_are_not_finite_are_null_in_json_and_dashes_in_tables(copied):
    path = copied / "networks" / ids(copied)[2] / "outputs.safetensors"
    tensors, header = files.read_tensors(path)
    files.write_tensors(path, {**tensors, "test.last": tensors["test.last"] * torch.inf}, header)
    seal(path.parent)
    rows = strict(good("evaluate", copied, "--json"))[0]["rows"]
    assert [row["nll"] for row in rows if 2 in row["generations"]] == [None] * 3
    assert all(row["nll"] > 0 for row in rows if 2 not in row["generations"])
    strict(good("insight", copied, "--format", "json"))
    (line,) = [line for line in good("evaluate", copied).splitlines() if "generation 2" in line]
    assert line.split()[-3:] == ["-"] * 3
    assert "nan" not in good("insight", copied)


def test_a_network_whose_weights_are_too_large_is_predicted_in_json_and_shown(copied, place):
    folder = copied / "networks" / ids(copied)[2]
    tensors, header = files.read_tensors(folder / "weights.safetensors")
    huge = {
        name: torch.full_like(value, 3e38) if value.is_floating_point() else value
        for name, value in tensors.items()
    }
    files.write_tensors(folder / "weights.safetensors", huge, header)
    # As version 0.1 wrote it: nothing tells these weights from those that were trained.
    record = json.loads((folder / "done.json").read_text())
    del record["probe"]
    (folder / "done.json").write_text(json.dumps(record))
    seal(folder)
    (said,) = strict(good("predict", copied, place / "0.png", "--format", "json"))
    assert set(said["probabilities"].values()) == {None}
    line = good("predict", copied, place / "0.png", "--format", "csv").splitlines()[1]
    assert line.endswith(",-")

    record = json.loads((folder / "done.json").read_text())
    record["test"] |= {"error": None, "nll": float("nan")}
    (folder / "done.json").write_text(json.dumps(record))
    seal(folder)
    assert "test error - %" in good("show", copied)
    assert '"nll": null' in good("show", copied, folder.name, "--json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", 3),
        ("model", {"name": "nothing"}),
        ("input_shape", "x"),
        ("classes", []),
        ("mean", []),
        ("mean", [float("nan")]),
        ("std", ["x"]),
        ("std", [0.0]),
        ("std", [float("inf")]),
        ("input_shape", [float("inf"), 8, 8]),
    ],
)
def test_weights_with_a_damaged_header_are_named(copied, place, wrong, key, value):
    path = copied / "networks" / ids(copied)[2] / "weights.safetensors"
    tensors, header = files.read_tensors(path)
    files.write_tensors(path, tensors, {**header, key: value})
    assert f"{path}: has " in wrong("predict", copied, place / "0.png")
    seal(path.parent)
    said = wrong("predict", copied, place / "0.png")
    assert str(path) in said or "'nothing'" in said
    files.write_tensors(path, tensors, {name: one for name, one in header.items() if name != key})
    seal(path.parent)
    assert f"{path}: has no '{key}' in its header" in wrong("predict", copied, place / "0.png")


@pytest.mark.parametrize(
    ("key", "value"),
    [("test", None), ("test", {}), ("test", {"error": "x"}), ("checks", []), ("teacher", [1])],
)
def test_a_record_without_its_results_is_named(copied, wrong, key, value):
    path = copied / "networks" / ids(copied)[2] / "done.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, key: value}))
    seal(path.parent)
    for command in ("show", "evaluate", "insight", "verify"):
        assert f"{path}: is damaged (no " in wrong(command, copied)


def test_subsets_of_very_many_generations_are_refused(copied, wrong, monkeypatch):
    monkeypatch.setattr("anew.evaluation.scoring.SUBSETS_UP_TO", 2)
    assert "have 2^3 subsets" in wrong("evaluate", copied, "--all-subsets")


def test_a_family_with_no_finished_network(copied, place, wrong):
    for path in copied.glob("networks/*/done.json"):
        path.unlink()
    assert "holds no finished network" in wrong("evaluate", copied)
    assert "holds no finished network" in wrong("predict", copied, place / "0.png")
    name = next(Family.open(copied).folders()).id
    assert "is not finished" in wrong("predict", copied, place / "0.png", "--network", name)
    assert good("show", copied).count("not finished") == 3


def test_no_validation_split_no_scores_of_it(place, tmp_path, wrong):
    arguments = [
        "--generations",
        "0",
        "--epochs",
        "1",
        "--data.validation",
        "0",
        "--out",
        tmp_path / "none",
    ]
    done = call("train", "--data", f"npz:{place / 'small.npz'}", *arguments)
    assert done.code == 0, done.err
    assert "no validation split was held out" in wrong("evaluate", "none", "--split", "validation")
    (row,) = json.loads(good("evaluate", "none", "--json"))[0]["rows"]
    assert row["name"] == "generation 0"
