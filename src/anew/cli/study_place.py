"""Where a study runs: options of `anew study run`, and the executor that they choose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from anew.cli.options import WHOLE
from anew.core.errors import AnewError

if TYPE_CHECKING:
    from anew.core.execution import Execution
    from anew.studies import Study, StudyData
    from anew.training.launch.workers import ExecutorFactory


@Parameter(name="*")
@dataclass(frozen=True)
class Place:
    """Where the networks of a study are trained."""

    on: Annotated[
        Literal["here", "ray", "slurm-script"],
        Parameter(
            help="Where to train: on this machine, or on a Ray cluster; slurm-script only "
            "writes scripts for SLURM."
        ),
    ] = "here"
    jobs: Annotated[
        int | None,
        WHOLE,
        Parameter(
            help="Groups of networks that are trained at once, each with its own --threads. "
            "Default: 1 here; on Ray as many as fit."
        ),
    ] = None
    ray_address: Annotated[
        str,
        Parameter(
            help="The cluster's host:port, or auto for the cluster of this machine. Default: "
            "Ray on this machine alone."
        ),
    ] = ""
    gpus_per_network: Annotated[
        float | None,
        Parameter(
            help="On Ray, the share of a GPU for a group of siblings, such as 0.25. In SLURM "
            "scripts, the number of GPUs, with a torchrun process for each."
        ),
    ] = None
    scripts: Annotated[Path, Parameter(help="The folder for the SLURM scripts.")] = Path("slurm")

    @property
    def jobs_here(self) -> int:
        """The number of groups trained at once, unless Ray decides it."""
        return 1 if self.jobs is None else self.jobs

    def check_sound(self) -> None:
        """Raise `AnewError` if an option of one place is given for another."""
        if self.ray_address and self.on != "ray":
            raise AnewError(
                f"ray-address '{self.ray_address}': has no use with --on {self.on}; set --on ray, "
                "or drop it"
            )

        if self.gpus_per_network is not None and self.on == "here":
            raise AnewError(
                "gpus-per-network: has no use with --on here; set --device, or --on ray"
            )

        if self.on == "slurm-script" and (self.gpus_per_network or 0) % 1:
            raise AnewError(
                f"gpus-per-network must be a whole number for SLURM, got "
                f"{self.gpus_per_network:g}; set --gpus-per-network"
            )

    def executor(self, execution: Execution) -> tuple[Execution, ExecutorFactory]:
        """Return this process's own execution, and what opens the executor of the place."""
        if self.on == "ray":
            from anew.training.launch import ray

            # What needs a device runs elsewhere; this process must have none.
            cluster = ray.Cluster(self.ray_address, self.jobs, self.gpus_per_network)
            return replace(execution, device="cpu"), ray.executor(cluster, execution)
        from anew.training.launch import local

        return replace(execution, jobs=self.jobs_here), local.executor

    def write_scripts(self, study: Study, out: Path, execution: Execution, data: StudyData) -> None:
        """Write the scripts for SLURM and print how to submit them."""
        from anew.studies.running import write_slurm_scripts
        from anew.training.launch.slurm import Scripts

        scripts = Scripts(study.name, study.title, self.scripts, int(self.gpus_per_network or 0))
        written = write_slurm_scripts(
            study, out, replace(execution, jobs=self.jobs_here), scripts, data
        )
        if not written:
            print(f"nothing to do: {out} holds all networks of study '{study.name}'")
            return

        *arrays, submit = written
        print(f"{len(arrays)} array jobs, one for each generation: {', '.join(map(str, arrays))}")
        print(
            f"submit them to SLURM: bash {submit} --partition NAME --time HOURS:00:00   (options "
            "are sbatch's)"
        )
        print(
            f"their logs are written beside them. Then: `anew study show {out}`. Running it "
            "again is safe"
        )


HERE = Place()
