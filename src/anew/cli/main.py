"""The command line: the application, its commands, and what an error prints.

Every command is a plain function. An error that a user can correct is one line on standard error
and exit code 2. Results go to standard output, progress to standard error. Commands import torch
inside, so that help and errors take no seconds.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence

import cyclopts
from cyclopts import App

from anew.cli import streams
from anew.cli.adopt import adopt
from anew.cli.advise import advise
from anew.cli.catalogue import data, models
from anew.cli.compare import compare
from anew.cli.export import export
from anew.cli.family import evaluate, predict, sample
from anew.cli.insight import insight
from anew.cli.options import COMMAND, in_paragraphs
from anew.cli.report import report
from anew.cli.show import show, verify
from anew.cli.study import study
from anew.cli.suspects import suspects
from anew.cli.train import bench, train
from anew.cli.watch import watch
from anew.core import memory
from anew.core.errors import AnewError
from anew.core.version import __version__


def _shown_default(default: object) -> str | None:
    """Return an option's default for the help; None if it is off or empty, which says nothing."""
    return None if default in (False, "", None) else str(default)


app = App(
    name="anew",
    help="Train generations of neural networks, each taught by the one before; evaluate, compare, "
    "explain and export them and their ensembles.",
    version=__version__,
    help_format="plaintext",
    # ANEW_TRAIN_EPOCHS=3 is --epochs 3 of `anew train`; the command line overrides it.
    config=cyclopts.config.Env("ANEW_", command=True),
    # Each option's help would name its variable, which follows from the option's name.
    default_parameter=cyclopts.Parameter(show_env_var=False, show_default=_shown_default),
    # `main` answers Ctrl-C itself.
    suppress_keyboard_interrupt=False,
    help_epilogue="Any command takes --debug, which shows where in the code an error arose.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process.

    The exit code is 0, 2 after an error that the user can correct, 130 after Ctrl-C, or 1 after a
    fault of anew itself.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    words = [word for word in given if word != "--debug"]

    COMMAND.set(words)
    with streams.standing_in() as output:
        try:
            code = _run(words, debug=debug) or _delivered(output)
        # A fault of anew itself, whose traceback may hold foreign texts too.
        except Exception:
            traceback.print_exc()
            code = 1
    if code:
        sys.exit(code)


def _run(words: Sequence[str], *, debug: bool) -> int:
    """Run a command, print its error if it has one, and return the exit code."""
    try:
        app(
            words,
            console=streams.Terminal(),
            exit_on_error=False,
            print_error=False,
            result_action="return_none",
        )

    except AnewError as error:
        return _failed(str(error), error.exit_code, debug=debug)
    except cyclopts.MissingArgumentError as error:
        return _failed(_missing(error), 2, debug=debug)
    except cyclopts.CycloptsError as error:
        said = " ".join(str(error).split())
        return _failed(f"{said} `anew --help` lists the commands.", 2, debug=debug)
    except (MemoryError, RuntimeError) as error:
        refused = memory.refusal(error)
        if refused is None:
            raise
        return _failed(str(refused), refused.exit_code, debug=debug)
    except KeyboardInterrupt:
        return _failed(
            "stopped at once; the same command resumes from the last save",
            130,
            debug=debug,
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(
            f"{where}cannot be used ({error.strerror or error}); check the path and its "
            "permissions",
            2,
            debug=debug,
        )
    return 0


def _missing(error: cyclopts.MissingArgumentError) -> str:
    """Return what to give to a command that lacks an argument."""
    command = " ".join(["anew", *(error.command_chain or ())])
    name = error.argument.name if error.argument is not None else "argument"
    if name.startswith("-"):
        return f"{name} requires an argument; see `{command} --help`"
    name = name.lower()
    needs = {"family": ("a family's folder", "family"), "name": ("a study", "table2")}
    what, example = needs.get(name, (f"'{name.upper()}'", name.upper()))
    return f"`{command}` needs {what}, such as `{command} {example}`; see `{command} --help`"


def _delivered(output: streams.Stream) -> int:
    """Return 0 if whoever reads standard output got it all, or has gone; else say it, return 2."""
    output.flush()
    if output.error is None or isinstance(output.error, BrokenPipeError):
        return 0
    why = getattr(output.error, "strerror", None) or output.error
    return _failed(
        f"standard output cannot be written ({why}): the command's output is lost, but "
        "everything that it trained or wrote is intact; free space and run it again",
        2,
        debug=False,
    )


def _failed(message: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    streams.Terminal(stderr=True).say(f"anew: {' '.join(message.split())}")
    return code


EXAMPLES = """\
Examples:
  anew train --data folder:photos --data.size 128 --epochs 60 --out runs/photos
  anew train --data cifar10 --model wide_resnet-28-2 --epochs 200
  anew train --teacher net.pth --teacher-model timm:resnet26 --model resnet18
  anew train --recipe recipe.toml --epochs 100"""

# In the order in which they are used.
COMMANDS: tuple[Callable[..., None], ...] = (
    data,
    models,
    train,
    watch,
    evaluate,
    show,
    report,
    compare,
    insight,
    predict,
    sample,
    export,
    adopt,
    advise,
    suspects,
    verify,
    bench,
)
# cyclopts would call every argument that may be left out ARGS.
USAGES: dict[Callable[..., None], str] = {
    data: "anew data [OPTIONS] [SOURCE]",
    models: "anew models [OPTIONS] [NAME]",
    show: "anew show [OPTIONS] FAMILY [NETWORK]",
    report: "anew report [OPTIONS] FAMILY [STUDY]",
    compare: "anew compare [OPTIONS] FAMILY FAMILY ...",
    predict: "anew predict [OPTIONS] FAMILY [PICTURE ...]",
}
for _place, _command in enumerate(COMMANDS):
    app.command(
        in_paragraphs(_command),
        sort_key=_place,
        usage=f"Usage: {USAGES[_command]}" if _command in USAGES else None,
        **({"help_epilogue": EXAMPLES} if _command is train else {}),
    )
study.sort_key = len(COMMANDS)
app.command(study)
# Writes the script of the user's shell, and a line into its startup file that reads it.
app.register_install_completion_command(
    help="Let the shell complete commands, options and their values.",
    sort_key=len(COMMANDS) + 1,
)
