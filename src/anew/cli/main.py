"""The command line: the application, its commands, and what an error prints.

Every command is a plain function. An error that a user can correct is one line on standard error
and exit code 2. Results go to standard output, progress to standard error. Commands import torch
inside, so that help and errors take no seconds.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence

import cyclopts
from cyclopts import App

from anew.cli.catalogue import data, models
from anew.cli.family import evaluate, insight, predict, show, verify
from anew.cli.report import report
from anew.cli.study import study
from anew.cli.train import bench, train
from anew.core import memory
from anew.core.errors import AnewError
from anew.core.version import __version__

app = App(
    name="anew",
    help="Train neural networks anew: generation after generation, each taught by the one before, "
    "and their average.",
    version=__version__,
    help_format="plaintext",
    # `main` answers Ctrl-C itself.
    suppress_keyboard_interrupt=False,
    help_epilogue="Any command takes --debug, which shows where in the code an error arose.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process.

    The exit code is 0, 2 after an error that the user can correct, or 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    words = [word for word in given if word != "--debug"]

    try:
        app(
            words,
            exit_on_error=False,
            print_error=False,
            result_action="return_none",
        )
        # If the reader of the output has gone, flushing fails here, where that is handled.
        sys.stdout.flush()

    except AnewError as error:
        _end(str(error), error.exit_code, debug)
    except cyclopts.CycloptsError as error:
        _end(" ".join(str(error).split()) + " `anew --help` lists the commands.", 2, debug)
    except (MemoryError, RuntimeError) as error:
        refused = memory.refusal(error)
        if refused is None:
            raise
        _end(str(refused), refused.exit_code, debug)
    except KeyboardInterrupt:
        _end(
            "stopped at once; what was saved is whole, the same command goes on from there",
            130,
            debug,
        )
    except BrokenPipeError:
        # The reader of the output has seen enough. Python flushes again when it ends; that must not
        # fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(
            f"{where}cannot be used ({error.strerror or error}); check the path and its "
            "permissions",
            2,
            debug,
        )


def _end(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"anew: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


_COMMANDS: tuple[Callable[..., None], ...] = (
    train,
    evaluate,
    insight,
    predict,
    show,
    report,
    verify,
    bench,
    models,
    data,
)
for _command in _COMMANDS:
    app.command(_command)
app.command(study)
