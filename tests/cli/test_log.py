"""The log of a family holds what its trainings said, and never stops one."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from anew import AnewError
from anew.cli import log
from anew.cli.options import COMMAND
from commands import call, contents, good
from conftest import quick
from forks import Forked

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  (.*)")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, arrays):
    folder = tmp_path_factory.mktemp("log")
    np.savez(folder / "small.npz", x=arrays[0], y=arrays[1])
    return folder, call(*train(folder))


def train(folder, *options):
    data = ("--data", f"npz:{folder / 'small.npz'}", "--out", folder / "family", "--threads", "1")
    return ("train", *data, *quick(1, 1), "--force", *options)


@pytest.fixture
def place(trained, tmp_path):
    return Path(shutil.copytree(trained[0], tmp_path / "copied"))


def lines(family):
    return [LINE.fullmatch(line)[1] for line in (family / log.NAME).read_text().splitlines()]


def test_the_log_has_the_command_every_notice_and_the_closing_lines(trained):
    folder, done = trained
    assert done.code == 0, done.err
    command, *said = lines(folder / "family")
    assert command.startswith(f"anew train --data npz:{folder}/small.npz --out ")
    heading = ("model small_cnn;", "all settings of a network:", "  epoch ")
    notices = [line for line in done.err.splitlines() if not line.startswith(heading)]
    closing = done.out[done.out.index("answer: ") :].splitlines()
    assert len(notices) > 4 and len(closing) > 4
    for line in [*notices, *closing]:
        # The log names the seed of each network, also of a single one.
        start = re.match(r"generation \d \(.*?\)", line)
        assert line in said or (start and any(one.startswith(start[0]) for one in said)), line
    assert good("verify", folder / "family").count("OK")


def test_another_training_is_appended(place):
    before = lines(place / "family")
    call(*train(place, "--quiet"))
    after = lines(place / "family")
    assert after[: len(before)] == before
    assert after[len(before)].endswith(f"--quiet --no-page (anew {log.__version__})")
    assert any("found, already trained" in line for line in after[len(before) :])


@pytest.mark.parametrize("error", [AnewError("the disk is full"), KeyboardInterrupt()])
def test_why_a_training_ended_is_in_the_log(tmp_path, error):
    with pytest.raises(type(error)), log.kept(tmp_path) as kept:
        kept._begin()
        raise error
    assert lines(tmp_path)[-1] == f"ended: {str(error) or 'KeyboardInterrupt'}"


@pytest.mark.parametrize("options", [("--objective.name", "none"), ("--epochs", "-1")])
def test_what_is_refused_leaves_no_line_and_no_family(place, options):
    before = contents(place)
    assert call(*train(place, *options)).code == 2
    assert contents(place) == before


def test_names_cannot_write_into_the_log(tmp_path):
    token = COMMAND.set(["train", "--out", "a\x1b[2J\nb", "--track", "mlflow:http://me:pw@host"])
    file = log.LogFile(tmp_path)
    COMMAND.reset(token)
    file._begin()
    file.log("one\x1b]0;owned\x07\ntwo")
    written = (tmp_path / log.NAME).read_text()
    assert "\x1b" not in written and "pw" not in written and "http://...@host" in written
    command, *rest = lines(tmp_path)
    assert command.startswith("anew train --out 'a\\u001b[2J\\u000ab'")
    assert rest == ["one\\u001b]0;owned\\u0007", "two"]


def test_the_log_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "MOST_BYTES", 1000)
    file = log.LogFile(tmp_path)
    file._begin()
    for number in range(100):
        file.log(f"line {number} " + 20 * "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [log.EARLIER, log.NAME]
    assert all(path.stat().st_size < 1200 for path in tmp_path.iterdir())
    assert lines(tmp_path)[-1].startswith("line 99 ")


@pytest.mark.parametrize("obstacle", ["link", "folder", "pipe"])
def test_a_log_that_cannot_be_written_stops_no_training(place, tmp_path, obstacle):
    path, elsewhere = place / "family" / log.NAME, tmp_path / "elsewhere"
    path.unlink()
    elsewhere.write_text("untouched")
    if obstacle == "link":
        path.symlink_to(elsewhere)
    elif obstacle == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    done = call(*train(place))
    assert done.code == 0 and done.err.count("cannot be written") == 1
    assert f"{path}: cannot be written (" in done.err and "training continues" in done.err
    assert elsewhere.read_text() == "untouched"


def test_a_full_disk_under_the_log_is_said_once(tmp_path, monkeypatch, capsys):
    Path(tmp_path / log.NAME).symlink_to("/dev/full")
    monkeypatch.setattr(log.files, "NO_LINK", 0)
    monkeypatch.setattr(log.stat, "S_ISREG", lambda mode: True)
    file = log.LogFile(tmp_path)
    file._begin()
    file.log("more")
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    file = log.LogFile(tmp_path)
    file._begin()
    file.log("of the second process")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("RANK", "0")
    file = log.LogFile(tmp_path)
    file._begin()
    assert list(tmp_path.iterdir()) == [tmp_path / log.NAME]


def test_processes_do_not_cut_each_others_lines(tmp_path):
    def write(name):
        file = log.LogFile(tmp_path)
        file._begin()
        for number in range(200):
            file.log(f"{name} {number} " + 200 * name)

    running = [Forked(lambda name=name: write(name)) for name in "ab"]
    for one in running:
        one.communicate(timeout=60)
    assert len(lines(tmp_path)) == 402
