"""Scripts for SLURM: an array job for each generation, a task for each group of siblings.

A folder of scripts is:

    generation-0.sh ...   the array jobs; a task trains its networks with `anew study train`
    submit.sh             submits them with `sbatch`, each after the one before

A generation begins when the one before has ended, with or without errors: a network that failed
takes its students with it and nothing else.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from anew.core import fields, files
from anew.core.errors import AnewError
from anew.core.execution import TABLE, Execution
from anew.core.spec import DataSpec, Spec
from anew.training.launch.scheduler import spread

SECONDS_TO_SAVE = 120
"""How long before the end of its time SLURM asks a task to save and stop."""

_AS_THEY_ARE = (
    "--keep-epochs",
    "--save-minutes",
    "--disk-budget",
    "--storage",
    "--workers",
    "--cache-budget",
)
"""The options that a task takes as they are given, if they are."""

ARRAY = """\
#!/bin/bash
# {title}: generation {generation}, {tasks} groups of siblings, a task each. submit.sh hands this to
# SLURM.
#SBATCH --job-name={name}-{generation}
#SBATCH --array=0-{last}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={cpus}
{gpus}#SBATCH --output={logs}
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@{seconds}
networks=(
{networks}
)
cd {here} || exit
exec {command}
"""

SUBMIT = """\
#!/bin/bash
# {title}: hands the generations to SLURM, each after the one before. What is given goes on to
# sbatch, as in bash {submit} --partition gpu --time 8:00:00 Again, it trains what is missing.
set -euo pipefail
job=$(sbatch --parsable "$@" {first})
{others}echo "handed to SLURM; the last job is ${{job%%;*}}"
"""


@dataclass(frozen=True)
class Scripts:
    """The names of a set of scripts, the folder they are written to, and the GPUs of each task.

    Raises `AnewError` if the number of GPUs is out of range.
    """

    name: str
    title: str
    folder: Path
    gpus: int = 0
    """With several GPUs, `torchrun` starts a process for each."""

    def __post_init__(self) -> None:
        if not 0 <= self.gpus <= 1024:
            raise AnewError(
                f"gpus-per-network must be a whole number >= 0, got {self.gpus}; set "
                f"--gpus-per-network"
            )


def write_scripts(
    scripts: Scripts, groups: Sequence[list[Spec]], out: Path, execution: Execution, data: DataSpec
) -> list[Path]:
    """Write scripts that train groups of siblings, oldest first, in the family at `out`.

    A generation is cut into at least `execution.jobs` parts; each part has `execution.threads`
    threads, or 1, and has the trust and the trackers of `execution`. Returns the scripts, submit.sh
    last; without groups nothing is written. Raises `AnewError` if the folder cannot be written.
    """
    files.ensure_folder(scripts.folder)
    for old in scripts.folder.glob("generation-*.sh"):
        # An old script is of other networks, or of a time when more were missing; beside the new
        # submit.sh it would mislead.
        old.unlink()

    title = " ".join(scripts.title.split())
    command = _command(scripts, out, execution, data)
    written: list[Path] = []
    for generation, members in groupby(groups, key=lambda group: group[0].generation):
        parts = spread(list(members), execution.jobs)
        script = scripts.folder / f"generation-{generation}.sh"
        text = ARRAY.format(
            title=title,
            generation=generation,
            tasks=len(parts),
            name="anew-" + re.sub(r"[^\w.-]", "-", scripts.name),
            last=len(parts) - 1,
            cpus=(execution.threads or 1) * max(1, scripts.gpus),
            gpus=f"#SBATCH --gres=gpu:{scripts.gpus}\n" if scripts.gpus else "",
            logs=shlex.quote(str(scripts.folder.resolve() / f"generation-{generation}-%a.log")),
            seconds=SECONDS_TO_SAVE,
            networks="\n".join(f'"{" ".join(spec.id for spec in part)}"' for part in parts),
            here=shlex.quote(str(Path.cwd())),
            command=command,
        )
        files.write_bytes(script, text.encode())
        written.append(script)
    if not written:
        return []

    submit = scripts.folder / "submit.sh"
    first, *others = (shlex.quote(str(script.resolve())) for script in written)
    chained = [
        f'job=$(sbatch --parsable --dependency=afterany:"${{job%%;*}}" "$@" {script})\n'
        for script in others
    ]
    text = SUBMIT.format(
        title=title, submit=shlex.quote(str(submit)), first=first, others="".join(chained)
    )
    files.write_bytes(submit, text.encode())
    return [*written, submit]


def _command(scripts: Scripts, out: Path, execution: Execution, data: DataSpec) -> str:
    """Return the command line of a task, quoted for the shell."""
    gpus = scripts.gpus
    start = [sys.executable, "-m"]
    if gpus > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus), "-m"]

    given = {
        "--data": data.source,
        "--root": data.root,
        "--device": "cuda" if gpus and execution.device == "auto" else execution.device,
        "--threads": execution.threads or 1,
        # Two machines that fill one table of a teacher's answers see each other's writes late.
        "--ask": "live" if execution.ask == "auto" else execution.ask,
    }
    options = [str(text) for pair in given.items() for text in pair]
    for name in execution.trust:
        options += ["--trust", name]
    for name in execution.track:
        options += ["--track", name]
    for setting in fields.options(Execution, (TABLE,), execution):
        value, default = setting.default, getattr(Execution, setting.path[-1])
        if setting.flag in _AS_THEY_ARE and value != default:
            options += [setting.flag, str(value)]
    if execution.force:
        options.append("--force")

    words = [*start, "anew", "study", "train", str(out.resolve())]
    return f"{shlex.join(words)} ${{networks[SLURM_ARRAY_TASK_ID]}} {shlex.join(options)}"
