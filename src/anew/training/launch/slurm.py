"""Scripts for SLURM: an array job a generation, a group of siblings a task, each generation after
the one before.

A folder of scripts is:

    generation-0.sh ...   an array job each; a task trains its networks with `anew study train`
    submit.sh             hands them to `sbatch`, chained

A generation begins when the one before has ended, however that went: a network that failed takes
its students with it and nothing else.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from anew.core import files
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.spec import DataSpec, Spec
from anew.training.launch.scheduler import spread

SECONDS_TO_SAVE = 120
"""How long before its time is up SLURM asks a task to save and stop."""

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
    """What the scripts of a set of networks are called, where they are written, and the GPUs of
    each task.
    """

    name: str
    title: str
    folder: Path
    gpus: int = 0
    """With several, `torchrun` starts a process for each."""

    def __post_init__(self) -> None:
        if not 0 <= self.gpus <= 1024:
            raise AnewError(
                f"gpus-per-network must be a whole number >= 0, got {self.gpus}; set "
                f"--gpus-per-network"
            )


def write_scripts(
    scripts: Scripts, groups: Sequence[list[Spec]], out: Path, execution: Execution, data: DataSpec
) -> list[Path]:
    """Write scripts that train groups of siblings, oldest first, in the family at `out`; returns
    them, submit.sh last.

    `execution.jobs` is the least number of parts that a generation is cut into, `execution.threads`
    (1 where not given) the threads of each part. Nothing is written where there are no groups.
    """
    files.ensure_folder(scripts.folder)
    for old in scripts.folder.glob("generation-*.sh"):
        # Of other networks, or of a time when more were missing: submit.sh must not seem to belong
        # to it.
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
    """Return what a task runs, in the shell's words."""
    gpus = scripts.gpus
    python = [sys.executable, "-m"]
    several = (
        ["torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus), "-m"]
        if gpus > 1
        else []
    )
    given = {
        "--data": data.source,
        "--root": data.root,
        "--device": "cuda" if gpus and execution.device == "auto" else execution.device,
        "--threads": execution.threads or 1,
        # Two machines that fill one table of a teacher's answers see each other's writes late.
        "--ask": "live" if execution.ask == "auto" else execution.ask,
    }
    options = [str(text) for pair in given.items() for text in pair] + (
        ["--force"] if execution.force else []
    )
    words = [*python, *several, "anew", "study", "train", str(out.resolve())]
    return f"{shlex.join(words)} ${{networks[SLURM_ARRAY_TASK_ID]}} {shlex.join(options)}"
