"""`anew export`: a network or an ensemble as one file that works without anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from anew.cli.options import (
    AS_TABLE,
    THE_LAST,
    Calibrate,
    Chosen,
    Printed,
    execution_from,
    takes_execution,
)
from anew.cli.printing import print_json
from anew.cli.streams import Terminal
from anew.core.text import in_bytes

if TYPE_CHECKING:
    from anew.export import Exported


@takes_execution("trust")
def export(
    family: Annotated[
        Path,
        Parameter(
            help="The family's folder, written by `anew train --out`, or the safetensors file "
            "of one network."
        ),
    ],
    /,
    *,
    out: Annotated[
        Path,
        Parameter(
            name=["--out", "-o"],
            help="The file to write. Its suffix gives the format: .onnx, .pt2 (torch.export), "
            "or .safetensors (the state dict of one network).",
        ),
    ],
    chosen: Chosen = THE_LAST,
    calibrate: Calibrate = False,
    printed: Printed = AS_TABLE,
    **given: Any,
) -> None:
    """Write a generation or an ensemble to one file that works without anew: from stored pictures
    to probabilities, with the class names.

    The file's outputs are checked against anew's before it gets its name. To load it, see
    docs/use-it-elsewhere.md.
    """
    from anew.evaluation import predictor
    from anew.export import check_target
    from anew.export import export as write

    # What cannot be written is said before a network is loaded.
    target = check_target(out)
    execution = execution_from(given)
    loaded = predictor.load(
        family,
        chosen.generations,
        network=chosen.network,
        calibrate=calibrate,
        trust=execution.trust,
    )
    exported = write(loaded, target)
    if printed.is_json:
        print_json(
            {
                "export": str(exported.path),
                "bytes": exported.size,
                "largest_difference": exported.difference,
                "described": exported.described,
                "lines": exported.lines,
            }
        )
    else:
        _print(exported)


def _print(exported: Exported) -> None:
    """Print what was written and how it is used."""
    described = exported.described
    shape = ", ".join(["N", *map(str, described["input"]["shape"][1:])])
    units = described["input"].get("units", "in their own units")

    console = Terminal()
    console.say(f"file: {exported.path} ({in_bytes(exported.size)}), {described['output']['of']}")
    console.say(
        f"input: {described['input']['dtype']} {described['input']['name']} ({shape}), {units}"
    )
    console.say(f"output: probabilities of {len(described['classes'])} classes")
    console.say(f"largest difference from the probabilities in anew: {exported.difference:.1e}")

    if "temperature" in described:
        fitted = described["temperature"]
        console.say(
            f"temperature {fitted['value']:.4g}, fitted on {fitted['examples']:,} validation "
            "examples, is part of the file"
        )
    if exported.lines:
        console.say("loaded by:")
    for line in exported.lines:
        # These are copied: a terminal breaks them nowhere.
        print(f"  {line}")
