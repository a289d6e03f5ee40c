"""The command line: `anew train`, `evaluate`, `insight`, `predict`, `show`, `verify`, `bench`,
`models`, `data`, ...

Every command is a plain function; what a recipe can say becomes an option of `anew train` by
itself. What a user can mend is one line on standard error and exit code 2; results go to standard
output, progress to standard error. Torch comes inside the commands, so that help and mistakes are
answered at once.
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
from anew.core.errors import AnewError
from anew.core.version import __version__

app = App(
    name="anew",
    help="Train neural networks anew: generation after generation, each taught by the one before, "
    "and their average.",
    version=__version__,
    help_format="plaintext",
    # `main` says that what was saved is whole.
    suppress_keyboard_interrupt=False,
    help_epilogue="Any command takes --debug, which shows where in the code an error arose.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process: 0, or 2 with one line for what the user can mend, or 130
    after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        app(
            [one for one in given if one != "--debug"],
            exit_on_error=False,
            print_error=False,
            result_action="return_none",
        )
        # What is still buffered must meet a reader that has gone here, where that is handled.
        sys.stdout.flush()
    except AnewError as error:
        _end(str(error), error.exit_code, debug)
    except cyclopts.CycloptsError as error:
        _end(" ".join(str(error).split()) + " `anew --help` lists what there is.", 2, debug)
    except KeyboardInterrupt:
        _end(
            "stopped at once; what was saved is whole, the same command goes on from there",
            130,
            debug,
        )
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python must not complain about it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(
            f"{where}cannot be used ({error.strerror or error}); check the path and its "
            f"permissions",
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
