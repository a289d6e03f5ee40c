"""Scripts for SLURM: an array job a generation, a group of siblings a task, each generation after the one before.

A folder of scripts is:

    generation-0.sh ...   an array job each; a task trains its networks with `anew study train`
    submit.sh             hands them to `sbatch`, chained

A generation begins when the one before has ended, however that went: a network that failed takes its students with it
and nothing else.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from anew import storage
from anew.errors import AnewError
from anew.execution import Execution
from anew.family import Family
from anew.scheduling import spread
from anew.spec import Spec
from anew.studies.running import StudyData, demanded, siblings
from anew.studies.study import Study

SECONDS_TO_SAVE = 120
"""How long before its time is up SLURM asks a task to save and stop."""

ARRAY = """\
#!/bin/bash
# {title}: generation {generation}, {tasks} groups of siblings, a task each. submit.sh hands this to SLURM.
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
# {title}: hands the generations to SLURM, each after the one before. What is given goes on to sbatch, as in
#     bash {submit} --partition gpu --time 8:00:00
# Again, it trains what is missing.
set -euo pipefail
job=$(sbatch --parsable "$@" {first})
{others}echo "handed to SLURM; the last job is ${{job%%;*}}"
"""


def write_scripts(
    study: Study, out: Path, how: Execution, folder: Path, gpus: int = 0, data: StudyData | None = None
) -> list[Path]:
    """Write scripts that train what a study needs and the family at `out` does not hold; returns them, submit.sh last.

    The family is made, with the spec of each network. `how.jobs` is into how many parts at least a generation is cut,
    `how.threads` (1 where not given) each part's threads, `gpus` its GPUs: with several, `torchrun` starts a process
    for each. Nothing is written where all is trained. Raises `AnewError` where the study cannot run.
    """
    if not 0 <= gpus <= 1024:
        raise AnewError(f"gpus-per-network must be a whole number >= 0, got {gpus}; set --gpus-per-network")
    data = data or StudyData(study)
    specs = demanded(study, data, out, how)
    family = Family.create(out)
    missing = [spec for spec in specs if not family.begin(spec).is_done]
    storage.ensure_folder(folder)
    for old in folder.glob("generation-*.sh"):
        # Of another study, or of a time when more was missing: submit.sh must not seem to belong to it.
        old.unlink()
    scripts: list[Path] = []
    title = " ".join(study.title.split())
    for generation, groups in _generations(missing):
        parts = spread(groups, how.jobs)
        script = folder / f"generation-{generation}.sh"
        text = ARRAY.format(
            title=title,
            generation=generation,
            tasks=len(parts),
            name="anew-" + re.sub(r"[^\w.-]", "-", study.name),
            last=len(parts) - 1,
            cpus=(how.threads or 1) * max(1, gpus),
            gpus=f"#SBATCH --gres=gpu:{gpus}\n" if gpus else "",
            logs=shlex.quote(str(folder.resolve() / f"generation-{generation}-%a.log")),
            seconds=SECONDS_TO_SAVE,
            networks="\n".join(f'"{" ".join(spec.id for spec in part)}"' for part in parts),
            here=shlex.quote(str(Path.cwd())),
            command=_command(study, out, how, gpus),
        )
        storage.write_bytes(script, text.encode())
        scripts.append(script)
    if not scripts:
        return []
    submit = folder / "submit.sh"
    first, *others = (shlex.quote(str(script.resolve())) for script in scripts)
    chained = [f'job=$(sbatch --parsable --dependency=afterany:"${{job%%;*}}" "$@" {script})\n' for script in others]
    text = SUBMIT.format(title=title, submit=shlex.quote(str(submit)), first=first, others="".join(chained))
    storage.write_bytes(submit, text.encode())
    return [*scripts, submit]


def _generations(specs: Sequence[Spec]) -> Iterator[tuple[int, list[list[Spec]]]]:
    """Yield each generation with its groups of siblings, oldest first."""
    for generation, groups in groupby(siblings(specs), key=lambda group: group[0].generation):
        yield generation, list(groups)


def _command(study: Study, out: Path, how: Execution, gpus: int) -> str:
    """Return what a task runs, in the shell's words."""
    python = [sys.executable, "-m"]
    several = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus), "-m"] if gpus > 1 else []
    given = {
        "--data": study.data.source,
        "--root": study.data.root,
        "--device": "cuda" if gpus and how.device == "auto" else how.device,
        "--threads": how.threads or 1,
        # Two machines that fill one table of a teacher's answers see each other's writes late.
        "--ask": "live" if how.ask == "auto" else how.ask,
    }
    options = [str(text) for pair in given.items() for text in pair] + (["--force"] if how.force else [])
    words = [*python, *several, "anew", "study", "train", str(out.resolve())]
    return f"{shlex.join(words)} ${{networks[SLURM_ARRAY_TASK_ID]}} {shlex.join(options)}"
