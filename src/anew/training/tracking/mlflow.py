"""MLflow: an experiment `anew`, in it a run for each network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from anew.training.tracking.callback import Run

EXPERIMENT = "anew"
_ID = "anew.id"
_LONGEST_VALUE = 500


class MLflow:
    """A tracking server or database, such as `http://localhost:5000` or `sqlite:///mlflow.db`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def open(self, run: Run) -> MLflowRun:
        """Open the network's run, found by its tag `anew.id`, or a new one."""
        client: Any = import_module("mlflow").MlflowClient(tracking_uri=self.uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)

        held = client.search_runs([number], f"tags.`{_ID}` = '{run.id}'", max_results=1)
        if held:
            client.update_run(held[0].info.run_id, status="RUNNING")
            return MLflowRun(client, held[0].info.run_id)

        tags = {_ID: run.id, "anew.lineage": run.group}
        created = client.create_run(number, tags=tags, run_name=run.name).info.run_id
        for name, value in run.settings.items():
            client.log_param(created, name, str(value)[:_LONGEST_VALUE])
        return MLflowRun(client, created)


class MLflowRun:
    """A run on an MLflow server."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._id = client, run_id
        history = client.get_metric_history(run_id, "epoch")
        self.last_step: int = max((one.step for one in history), default=0)

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add values at a step."""
        metric = import_module("mlflow.entities").Metric
        now = int(1000 * time.time())
        measured = [metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=measured)

    def close(self) -> None:
        """Mark the run as finished for now."""
        self._client.set_terminated(self._id)
