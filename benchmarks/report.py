"""What was measured, as JSON, on the terminal, and as a page for the documentation."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import NOT_RUN
from benchmarks.rounds import ROOT, Measured, ratios

PACKAGES = ("anew", "torch", "torchvision", "torchdistill", "numpy", "pillow")
MIB = 2**20


def collect(
    command: str,
    settings: Mapping[str, Any],
    models: Mapping[str, Sequence[Measured]],
    startup: Mapping[str, float],
) -> dict[str, Any]:
    """Return everything that a reader needs to judge the numbers, ready for JSON."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
        "commit": _commit(),
        "settings": dict(settings),
        "models": {model: _model(measured) for model, measured in models.items()},
        "startup_seconds": dict(startup),
        "not_run": NOT_RUN,
    }


def _model(measured: Sequence[Measured]) -> dict[str, Any]:
    return {
        "contenders": [
            {
                "name": one.contender.name,
                "title": one.contender.title,
                "task": "distillation" if one.contender.distil else "label-only",
                "networks": one.contender.networks,
                **(
                    {"error": one.error}
                    if one.error
                    else {"images_per_second": one.median, "rounds": one.rates}
                ),
                "peak_rss_mib": round(one.peak_rss / MIB),
            }
            for one in measured
        ],
        "ratios": [
            {"what": one.what, "by": one.by, "median": one.median, "rounds": one.rounds}
            for one in ratios(measured)
        ],
    }


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print the tables."""
    for title, header, rows in _tables(results):
        table = Table(*header, title=title, title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for name, why in _not_run(results):
        console.print(f"not run: {name}: {why}", soft_wrap=True, highlight=False)


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables as a page of their own."""
    machine, settings = results["machine"], results["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"Measured {results['date']} by `{results['command']}`",
        f"on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}; {versions}; "
        f"commit {results['commit']}.",
        "",
        f"{settings['data']}: {settings['pictures']} pictures {settings['shape']}; batch "
        f"{settings['batch_size']}, "
        f"{settings['threads']} threads, device {settings['device']}; medians of "
        f"{settings['rounds']} interleaved "
        f"rounds of {settings['steps']} steps after {settings['warmup']} of warm-up. Load of the "
        f"machine (1 minute) "
        f"before: {machine['load_before']}.",
    ]
    for title, header, rows in _tables(results):
        lines += [
            "",
            f"**{title}**",
            "",
            _row(header),
            _row(["---", *("---:" for _ in header[1:])]),
        ]
        lines += [_row(row) for row in rows]
    lines += ["", "Not run:", ""]
    lines += [f"- {name}: {why}" for name, why in _not_run(results)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _tables(results: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    tables: list[tuple[str, list[str], list[list[str]]]] = []
    for model, found in results["models"].items():
        ran = [one for one in found["contenders"] if "error" not in one]
        rates = [
            [
                f"{one['task']}: {one['title']}",
                f"{one['images_per_second']:.0f}",
                f"{min(one['rounds']):.0f} to {max(one['rounds']):.0f}",
                f"{one['peak_rss_mib']}",
            ]
            for one in ran
        ]
        header = ["", "pictures/s", "lowest to highest", "peak RSS, MiB"]
        tables.append((f"{model}: how fast", header, rates))
        quotients = [
            [
                f"{one['what']} / {one['by']}",
                f"{one['median']:.2f}",
                f"{min(one['rounds']):.2f} to {max(one['rounds']):.2f}",
            ]
            for one in found["ratios"]
        ]
        tables.append((f"{model}: ratios", ["", "median", "lowest to highest"], quotients))
    if results["startup_seconds"]:
        rows = [[what, f"{seconds:.2f}"] for what, seconds in results["startup_seconds"].items()]
        tables.append(("Starting", ["", "seconds (median of 5)"], rows))
    return tables


def _not_run(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    failed = {
        f"{one['name']} ({model})": one["error"]
        for model, found in results["models"].items()
        for one in found["contenders"]
        if "error" in one
    }
    return [*results["not_run"].items(), *failed.items()]


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(terse=True),
    }


def _cpu() -> str:
    """Return the processor's name; Linux alone tells it in a file."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the commit that was measured, marked where files differ from it."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
