"""Commands in the documentation: the command line accepts all, the page of ten minutes is run."""

import re
import shlex
from pathlib import Path

import cyclopts
import numpy as np
import pytest
from PIL import Image

from anew.cli.main import app
from commands import call
from test_docs import PAGES, ROOT

PAGES_OF_COMMANDS = [*PAGES, ROOT / "CONTRIBUTING.md"]
BLOCK = re.compile(r"^```(?:text|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(anew [^`\n]*)`")


def commands_of(text: str) -> list[list[str]]:
    """Return the words after `anew` of every command in the page's blocks; dots stand for more."""
    found = []
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s(?:&&|\|)\s", line.strip().removeprefix("$ ")):
                if part.startswith("anew "):
                    words = shlex.split(part, comments=True)[1:]
                    found.append([word for word in words if word != "..."])
    return found


def parse(words: list[str]) -> None:
    app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES_OF_COMMANDS, ids=lambda page: page.name)
def test_commands_in_blocks_are_accepted(page: Path) -> None:
    for words in commands_of(page.read_text(encoding="utf-8")):
        parse(words)


@pytest.mark.parametrize("page", PAGES_OF_COMMANDS, ids=lambda page: page.name)
def test_commands_in_sentences_are_accepted(page: Path) -> None:
    for command in INLINE.findall(ANY_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        words = [word for word in shlex.split(command)[1:] if word != "..."]
        try:
            parse(words)
        # A sentence may name a command or an option without what follows it.
        except cyclopts.MissingArgumentError:
            continue


def test_a_wrong_option_would_be_seen() -> None:
    (words,) = commands_of("```text\n$ anew train ... --epoch 3   # a comment\n```\n")
    assert words == ["train", "--epoch", "3"]
    with pytest.raises(cyclopts.CycloptsError):
        parse(words)


def test_the_ten_minutes_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    _write_photographs(tmp_path)
    page = (ROOT / "docs" / "ten-minutes.md").read_text(encoding="utf-8")
    commands = commands_of(page)
    assert " ".join(words[0] for words in commands) == (
        "data train show evaluate predict predict export export train compare"
    )

    outputs = [_run(words) for words in commands]
    assert "3 classes: cat, dog, horse" in outputs[0]
    assert "ensemble 0-2" in outputs[3]
    assert "new/1.jpg" in outputs[4]
    assert "torch" in outputs[6]
    for name in ("sheet.png", "model.safetensors", "model.onnx", "runs/photos/reports/report.html"):
        assert (tmp_path / name).stat().st_size > 0


def _write_photographs(folder: Path) -> None:
    """Write pictures of two sizes: a class is a colour, which every third picture denies."""
    random = np.random.default_rng(0)
    for channel, (place, number) in enumerate(
        [("photos/cat", 18), ("photos/dog", 18), ("photos/horse", 18), ("new", 2)]
    ):
        (folder / place).mkdir(parents=True)
        for index in range(number):
            pixels = random.integers(0, 60, size=(*((90, 70), (60, 80))[index % 2], 3))
            pixels[..., (channel + (index % 3 == 0)) % 3] += 180
            Image.fromarray(pixels.astype(np.uint8)).save(folder / place / f"{index}.jpg")


def _run(words: list[str]) -> str:
    """Run a command of the page with one epoch, small batches, and small pictures at their rate."""
    fewer = {"--epochs": "1", "--batch-size": "8", "--data.size": "16", "--learning-rate": "0.1"}
    words = [fewer.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    files = [
        name
        for word in words
        for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]
    done = call(*files, *["--page"] * (words[0] == "train"))
    assert done.code == 0, (files, done.err)
    return done.out
