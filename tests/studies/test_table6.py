"""Table 6: language models as a study, its scales, its table and its plan."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from anew.core.callbacks import Callback
from anew.core.execution import Execution
from anew.core.spec import DataSpec, ModelSpec
from anew.data import Contents, sizes
from anew.data.sources import SOURCES, open_source
from anew.evaluation import language, statistics
from anew.family import Family
from anew.models.language import CharacterLSTM
from anew.studies import choosing, rendering
from anew.studies.choosing import Changes
from anew.studies.paper import STUDIES
from anew.studies.planning.footprint import footprint_of
from anew.studies.results import collect
from anew.studies.running import StudyData, run
from texts import write

COLUMNS = ("Teacher", "BAN+L", "BAN")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "f"
    changes = Changes(seeds=[0], rows=["LSTM"], data={"limit": 3000}, epochs=1)
    study = choosing.choose("table6", "tiny", changes)
    data = StudyData(study)
    assert run(study, out, Execution("cpu", 1, force=True), Callback(), data) == {}
    return study, Family.open(out), data


def test_cells_are_perplexities_of_stored_tokens(done):
    study, family, data = done
    results = collect(study, family, data)
    assert [cell.column for cell in results.cells] == list(COLUMNS)
    for cell in results.cells:
        (spec,) = study.cell("LSTM", cell.column, 0, data(0))
        said = {
            split: language.read_said(family.folder(spec.id), split)
            for split in ("test", "validation")
        }
        wanted = {split: np.exp(-one.log_p.numpy().mean()) for split, one in said.items()}
        assert cell.errors[0] == pytest.approx(wanted["test"], rel=1e-12)
        assert cell.validation.mean == pytest.approx(wanted["validation"], rel=1e-12)
    teacher, student = results.cells[0], results.cells[1]
    difference = student.comparison.difference
    assert difference.mean == pytest.approx(student.errors[0] - teacher.errors[0], rel=1e-9)
    assert difference.test == "bootstrap over blocks of the test text"


def test_tables_say_perplexity(done):
    results = collect(*done)
    columns = rendering.columns(results)
    assert "perplexity" in columns
    assert "error %" not in columns
    assert all(len(line) == len(columns) for line in rendering.lines(results))
    names, narrow = rendering.for_terminal(results)
    assert names[1] == "perplexity"
    assert {"published", "validation"} <= set(names)
    assert all(len(line) == len(names) for line in narrow)
    assert "perplexity: on the test tokens, after the last epoch" in rendering.markdown(results)
    assert rendering.as_csv(results).count("perplexity") >= 2
    assert "71.87" in rendering.markdown(results)
    assert "75.11" in rendering.markdown(results)


def test_over_seeds_perplexities_are_paired(done):
    study, _, _ = done
    assert study.is_text
    difference = statistics.over_seeds([100.0, 110.0, 95.0], [101.0, 112.0, 95.5])
    assert difference.mean == pytest.approx(-3.5 / 3)


def test_the_paper_s_settings_of_each_row():
    study = STUDIES["table6"]
    data = DataSpec(source="ptb", fingerprint="f", views="none")
    lstm, cnn = (study.spec(row, "BAN+L", 1, data) for row in study.rows)
    assert (lstm.training.batch_size, cnn.training.batch_size) == (32, 20)
    assert (lstm.training.learning_rate, cnn.training.learning_rate) == (35, 70)
    assert (lstm.training.schedule, cnn.training.schedule) == ("plateau", "stall")
    assert (lstm.training.drop, cnn.training.drop) == (0.25, 0.5)
    assert (lstm.training.epochs, lstm.training.momentum, lstm.training.weight_decay) == (40, 0, 0)
    assert (lstm.model.name, cnn.model.name) == ("lstm-2-1500", "char_lstm-2-650")
    assert lstm.objective.name == "ban+l"
    few = choosing.choose("table6", "small", Changes(epochs=2))
    assert {few.training_of(row).epochs for row in few.rows} == {2}


def test_the_treebank_is_planned_by_its_known_sizes():
    contents = SOURCES["ptb"].contents
    count = sizes(contents, DataSpec(source="ptb"))
    assert count.training // 32 == 829
    assert count.training // 20 == 1327
    assert sizes(contents, DataSpec(source="ptb", limit=200_000)).training == 199_999 // 35
    rows = STUDIES["table6"].rows
    counted = footprint_of(rows["LSTM"], contents)
    assert counted.parameters == 51_034_000
    # 102 million operations a token, but for what is no product of matrices.
    assert counted.flops == pytest.approx(35 * 102e6, rel=0.01)

    kim = footprint_of(rows["CNN-LSTM"], contents)
    assert kim.parameters == 19_373_165
    widths = [(width, min(200, 50 * width)) for width in range(1, 8)]
    convolutions = sum(15 * width * filters * (21 - width + 1) for width, filters in widths)
    highway, lstm = 4 * 1100**2, 4 * 650 * (1100 + 650) + 4 * 650 * (650 + 650)
    assert kim.flops == 35 * 2 * (convolutions + highway + lstm + 650 * 10_000)


def counted_by_torch(model, tokens):
    """What torch's own counter says of a model that runs on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # oneDNN's recurrent layers are one operation, which the counter does not know.
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            model.eval()(tokens)
    return counter.get_total_flops()


def test_reading_by_characters_is_counted_as_it_runs():
    words = ("<eos>", "<unk>", "ant", "bee", "electroencephalography", "dog", "gnu", "hen")
    contents = Contents(100, 10, (8,), 8, "none", positions=(8,), words=words)
    counted = footprint_of(ModelSpec("char_lstm-1-16"), contents)
    model = CharacterLSTM(words, 1, 16)
    # Each word once, in another order than the vocabulary's.
    assert counted.flops == counted_by_torch(model, torch.arange(8).flip(0)[None])
    short = replace(contents, words=("<eos>", "<unk>", *"abcdef"))
    assert footprint_of(ModelSpec("char_lstm-1-16"), short).flops < counted.flops


def test_a_text_at_hand_is_planned_with_its_words(tmp_path):
    source = open_source(DataSpec(source=write(tmp_path)))
    assert source.contents.words == tuple(source.classes)


class Own(torch.nn.Module):
    """A user's own recurrent network, which is built on the CPU."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.words = torch.nn.Embedding(classes, 6)
        self.lstm = torch.nn.LSTM(6, 10, batch_first=True)
        self.classifier = torch.nn.Linear(10, classes)

    def forward(self, tokens):
        return self.classifier(self.lstm(self.words(tokens))[0])


def test_a_user_s_own_lstm_is_counted():
    contents = Contents(100, 10, (8,), 30, "none", positions=(8,))
    counted = footprint_of(ModelSpec(f"{__name__}:Own"), contents)
    assert counted.flops == 8 * 2 * (4 * 10 * (6 + 10) + 10 * 30)


def test_controls_of_a_text_leave_out_what_it_has_not():
    study = choosing.choose("table6", "tiny", Changes(controls=True))
    assert not any("shuffled" in name for name in study.columns)
    assert "Teacher again" in study.columns
    assert math.isclose(study.columns["Teacher, 2x epochs"].epochs, 2)


@pytest.mark.parametrize("scale", ["tiny", "small", "full"])
def test_every_scale_is_planned(command, scale, tmp_path):
    done = command(
        "study", "plan", "table6", "--scale", scale, "--rate", 1000, "--root", tmp_path, check=0
    )
    assert "train: 18 networks" in done.out
    assert ".." not in done.out
