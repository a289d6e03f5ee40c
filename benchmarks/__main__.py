"""Run the benchmark: flags, the shared pictures and teachers, the rounds, the tables."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import report, startup
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.rounds import ROOT, Measured, run

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Measure, and write what was asked for."""
    flags = _flags().parse_args()
    chosen = _chosen(flags.only)
    console, load = Console(), os.getloadavg()[0]
    say = Console(stderr=True).print
    with tempfile.TemporaryDirectory(prefix="anew-benchmark-") as place:
        folder = Path(place)
        start: dict[str, float] = {}
        if flags.startup:
            say("startup")
            start = startup.measure(folder)
        models: dict[str, list[Measured]] = {}
        settings: dict[str, Any] = {
            name: getattr(flags, name)
            for name in ("batch_size", "threads", "device", "rounds", "warmup", "steps")
        }
        settings["data"] = flags.data
        if chosen:
            say("reading the pictures, making teachers")
            settings |= _prepare(flags.data, folder, flags.models)
        for model in flags.models if chosen else ():
            setup = {
                "model": model,
                "data": str(folder / "pictures.npz"),
                "teacher": settings["teachers"][model],
                "batch_size": flags.batch_size,
                "threads": flags.threads,
                "device": flags.device,
                "steps": 1 + flags.rounds * (flags.warmup + flags.steps),
            }
            models[model] = run(
                chosen,
                setup,
                folder / model.replace(":", "-").replace("/", "-"),
                Rounds(flags.rounds, flags.warmup, flags.steps),
                lambda text, model=model: say(f"{model}: {text}"),
            )
    settings.pop("teachers", None)
    results = report.collect(
        "python -m benchmarks " + shlex.join(sys.argv[1:]), settings, models, start
    )
    results["machine"]["load_before"] = round(load, 2)
    report.show(results, console)
    if flags.json:
        flags.json.write_text(json.dumps(results, indent=2) + "\n")
    if flags.markdown:
        flags.markdown.write_text(report.markdown(results))


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--data", default="digits", help="a source of anew's, such as parquet:PATH; pictures"
    )
    parser.add_argument("--models", nargs="+", default=["wide_resnet-16-1"], metavar="NAME")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=30, help="timed steps in a round")
    parser.add_argument("--warmup", type=int, default=5, help="steps before those in a round")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--threads", type=int, default=CORES, help="of each contender; all cores by default"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="these contenders (* and ? match): " + ", ".join(_names(CONTENDERS)),
    )
    parser.add_argument("--startup", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser


def _names(contenders: Sequence[Contender]) -> list[str]:
    return [one.name for one in contenders]


def _chosen(only: Sequence[str] | None) -> list[Contender]:
    patterns = only if only is not None else ["*"]
    chosen = [
        one
        for one in CONTENDERS
        if any(fnmatch.fnmatchcase(one.name, pattern) for pattern in patterns)
    ]
    unknown = [pattern for pattern in patterns if not fnmatch.filter(_names(CONTENDERS), pattern)]
    if unknown:
        raise SystemExit(
            f"--only {unknown[0]}: there is no such contender; choose of "
            f"{', '.join(_names(CONTENDERS))}"
        )
    return chosen


def _prepare(data: str, folder: Path, models: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.prepare", data, str(folder), *models]
    return json.loads(
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    )


if __name__ == "__main__":
    main()
