"""What reaches the terminal: no foreign control characters, and no failure that ends a command."""

import ast
import io
import os
import pty
import re
import select
import sys
from pathlib import Path

import pytest
from rich.text import Text

import anew
from anew.cli import main, streams, terminal
from anew.cli.streams import Terminal
from commands import call, good

TITLE = "\x1b]0;owned\x07"


class Full(io.StringIO):
    """A stream on a disk that is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.fixture
def standard(monkeypatch):
    """Put streams into the places of the standard ones."""

    def put(out, err):
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)

    return put


def code_of(*arguments):
    try:
        main.main([str(one) for one in arguments])
    except SystemExit as end:
        return end.code
    return 0


def test_what_is_printed_is_cleaned_and_a_bar_of_a_library_begins_its_line_anew(standard):
    out, err = io.StringIO(), io.StringIO()
    standard(out, err)
    with streams.standing_in():
        print(f"a{TITLE}\tb")
        print(f"c{TITLE}", file=sys.stderr)
        sys.stderr.write("\r50 %\x1b")
    assert (sys.stdout, sys.stderr) == (out, err)
    assert out.getvalue() == "a\\u001b]0;owned\\u0007\tb\n"
    assert err.getvalue() == "c\\u001b]0;owned\\u0007\n\r50 %\\u001b"


def test_a_terminal_keeps_its_own_colours_and_cleans_what_it_is_given(standard):
    controller, its_terminal = pty.openpty()
    with open(its_terminal, "w") as out, streams_of(standard, out):
        console = Terminal(force_terminal=True, color_system="standard", width=60)
        console.print(Text(f"name {TITLE}\x9b2J", style="red"))
        console.print(terminal.table([f"a{TITLE}"], [[f"[bold]{TITLE}"]], f"[i]{TITLE}"))
        out.flush()
        said = read_until(controller, "[i]")
    os.close(controller)
    assert "\x1b[31m" in said, "its own colours"
    assert TITLE not in said and "\x07" not in said and "\x9b" not in said
    assert "name \\u001b]0;owned\\u009b2J" in said
    assert "[bold]\\u001b]0;owned\\u0007" in said and "[i]" in said, "texts are no markup"


def read_until(controller, end):
    """What a terminal got, up to the text ``end``: the kernel hands it over in pieces."""
    said = b""
    while end.encode() not in said and select.select([controller], [], [], 10)[0]:
        said += os.read(controller, 4096)
    return said.decode()


def streams_of(standard, out):
    standard(out, io.StringIO())
    return streams.standing_in()


def test_signs_that_an_encoding_lacks_are_written_out(standard):
    raw = io.BytesIO()
    standard(io.TextIOWrapper(raw, "ascii"), io.StringIO())
    with streams.standing_in():
        print("Käse")
    assert raw.getvalue() == b"K\\xe4se\n"


def test_who_closes_standard_output_gets_none_and_the_command_works(standard):
    err = io.StringIO()
    standard(None, err)
    assert code_of("data") == 0 and err.getvalue() == ""
    # One that somebody closed in Python has failed.
    closed = io.StringIO()
    closed.close()
    standard(closed, err)
    assert code_of("data") == 2 and "standard output cannot be written" in err.getvalue()


def test_a_full_standard_output_is_said_in_one_line(standard):
    err = io.StringIO()
    standard(Full(), err)
    assert code_of("data") == 2
    (line,) = err.getvalue().splitlines()
    assert line.startswith("anew: standard output cannot be written (No space left on device)")


def test_a_full_standard_error_ends_no_training(standard, tmp_path):
    out, family = io.StringIO(), tmp_path / "family"
    options = ["--epochs", "1", "--limit", "200", "--model", "small_cnn", "--force"]
    standard(out, Full())
    assert code_of("train", "--out", family, *options, "--generations", "0", "--no-page") == 0
    assert "family:" in out.getvalue()
    standard(io.StringIO(), None)
    assert code_of("verify", family) == 0
    assert code_of("verify", tmp_path) == 2


def test_closed_descriptors_lead_nowhere_so_that_no_file_gets_their_number():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(2)
        streams._open_closed_descriptors()
        with open(os.devnull) as other:
            os.write(writer, bytes([other.fileno() > 2, os.fstat(2).st_rdev == os.makedev(1, 3)]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 2) == b"\x01\x01"
    os.close(reader)
    os.close(writer)


def test_a_message_keeps_no_control_character_of_what_was_given():
    done = call("show", f"no{TITLE}family")
    assert done.code == 2 and "no\\u001b]0;owned\\u0007family" in done.err


def test_help_is_the_same_without_control_characters():
    assert "\x1b" not in good("train", "--help")


def test_only_the_module_of_streams_makes_a_console():
    """Every other would print foreign texts as they are."""
    root = Path(anew.__file__).parent
    makers = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom | ast.Import)
        and "rich.console" in (getattr(node, "module", None), *(name.name for name in node.names))
    ]
    assert makers == ["cli/streams.py"]


@pytest.mark.parametrize("width", [50, 80, 120])
def test_a_listing_keeps_names_whole_and_folds_descriptions(width):
    rows = [["a-long-name-of-a-source", "12", "a description " * 12]]
    console = streams.Terminal(width=width)
    with console.capture() as text:
        console.print(terminal.listing(("name", "count", "what"), rows))
    lines = text.get().splitlines()
    assert lines[1].startswith("a-long-name-of-a-source") and len(lines) > 2
    words = " ".join(" ".join(line.split()) for line in lines)
    assert words.count("description") == 12 and max(map(len, lines)) <= width


PATH = "photos_of_the_summer/cats-and-dogs/with_long_names_of_folders/IMG_20260801_123456789.jpg"


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_tables_fit_and_nothing_is_cut(width, is_terminal):
    columns = ["a row's name", "error %", "a difference to the first", "p (Holm)", "shown"]
    rows = [
        ["small CNN", "", "", "", ""],
        ["  Teacher and BAN", "21.45 +- 63.71", "+50.70 +- 17.70", "0.052", "better"],
        [PATH, "2.00", "-", "-", "-"],
    ]
    console = streams.Terminal(width=width, force_terminal=is_terminal, color_system=None)
    with console.capture() as text:
        terminal.show_table(console, columns, rows[:2], "A title of several words")
    lines = text.get().splitlines()
    assert max(map(len, lines)) <= width
    assert text.get().count("Teacher and BAN") == text.get().count("a row's name")
    assert all(cell in text.get() for row in rows[:2] for cell in row)
    assert {"A", "title", "a", "difference", "(Holm)"} <= set(re.findall(r"\S+", text.get()))

    with console.capture() as text:
        terminal.show_table(console, columns, rows)
    lines = text.get().splitlines()
    assert "…" not in text.get()
    if is_terminal:
        assert max(map(len, lines)) <= width
        firsts = [line.split()[0] for line in lines if line]
        pieces = [first for first in firsts if len(first) > 3 and first in PATH]
        assert "".join(pieces).startswith(PATH), "it is broken, and whole"
        assert all(piece[-1] in "/_.-" or piece.endswith("jpg") for piece in pieces)
    else:
        assert PATH in text.get() and len(lines) == 4, "a log has the whole name in one line"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_line_ends_in_blanks(is_terminal):
    console = streams.Terminal(width=40, force_terminal=is_terminal, color_system=None)
    with console.capture() as text:
        console.note("words that are broken between " * 5)
        console.say("  one line ")
        console.print(terminal.table(["name", "what"], [["a", ""], ["longer", "b"]], "title"))
        console.print("drawn  \n   |   ", end="")
    lines = text.get().split("\n")
    assert all(line == line.rstrip() for line in lines[:-1])
    assert "  one line" in lines and lines[-2:] == ["drawn", "   |   "]


def test_an_error_on_a_terminal_is_broken_between_words(standard, monkeypatch):
    for name, value in {"COLUMNS": "40", "LINES": "24", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    controller, its_terminal = pty.openpty()
    with open(its_terminal, "w") as err:
        standard(io.StringIO(), err)
        code = code_of("evaluate", "no family of this name is here :dog:")
        err.flush()
        said = read_until(controller, "wrote")
    os.close(controller)
    lines = said.splitlines()
    assert code == 2 and len(lines) > 2 and max(map(len, lines)) <= 40
    words = "anew: no family of this name is here :dog:: is no family (it has no family.json);"
    assert " ".join(said.split()).startswith(words)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_line_is_broken_between_a_number_and_its_unit(is_terminal):
    console = streams.Terminal(width=20, force_terminal=is_terminal, color_system=None)
    with console.capture() as capture:
        for words in range(1, 6):
            console.note(f"{'word ' * words}error 3.06 % in 1.2 min for 29.8 kB")
    said = capture.get()
    assert len(said.splitlines()) > 10 and streams._TIED not in said
    for unit in ("%", "min", "kB"):
        assert not any(line.startswith(unit) for line in said.splitlines())
    assert " ".join(said.split()).count("error 3.06 % in 1.2 min for 29.8 kB") == 5
