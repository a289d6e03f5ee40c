"""The folder of one network: what lies where, and whether it is whole.

spec.json             everything that decides the weights; teachers by id
weights.safetensors   the weights at the last epoch, with what is needed to use them
best.safetensors      the weights of the epoch that validation picked, if that was asked for
epoch-<n>.safetensors the weights after n epochs, of each epoch that was to be kept but the last
metrics.jsonl         one line an epoch
outputs.safetensors   logits and labels of the validation and the test examples
state/                what a resumed run needs; removed at the end
done.json             written last: results, environment, and the hash of every file
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from anew.core import files
from anew.core.errors import AnewError
from anew.core.spec import Spec

FORMAT = 1
"""Of a family's files; a newer anew may write a higher one."""
# About how long a line of metrics and `done.json` are.
_METRICS_LINE_BYTES = 200
_RESULTS_BYTES = 1200


@dataclass(frozen=True)
class NetworkFolder:
    """The files of one network; its parts are read when asked for."""

    path: Path

    @property
    def id(self) -> str:
        """The id of the network's spec, the folder's name."""
        return self.path.name

    @property
    def spec_file(self) -> Path:
        """The spec, with its teachers by id."""
        return self.path / "spec.json"

    @property
    def weights(self) -> Path:
        """The weights at the last epoch."""
        return self.path / "weights.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the epoch that validation picked."""
        return self.path / "best.safetensors"

    def at_epoch(self, epoch: int) -> Path:
        """The weights after so many epochs, if they were kept."""
        return self.path / f"epoch-{epoch}.safetensors"

    def kept_epochs(self) -> list[int]:
        """Return the epochs whose weights were kept, in order.

        The last epoch is not among them: its weights are `weights`.
        """
        numbers = [
            path.stem.removeprefix("epoch-") for path in self.path.glob("epoch-*.safetensors")
        ]
        return sorted(int(number) for number in numbers if number.isdecimal())

    @property
    def metrics(self) -> Path:
        """One line of JSON an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def outputs(self) -> Path:
        """Logits and labels of the validation and the test examples."""
        return self.path / "outputs.safetensors"

    @property
    def state(self) -> Path:
        """The resumable state."""
        return self.path / "state" / "state.safetensors"

    @property
    def done_file(self) -> Path:
        """The record of the results, written last: a network with this file is finished."""
        return self.path / "done.json"

    @property
    def is_done(self) -> bool:
        """Whether the network is trained to its end and all its files are written."""
        return self.done_file.exists()

    def check_done(self) -> None:
        """Raise `AnewError` if the network is not trained to its end."""
        if not self.is_done:
            raise AnewError(
                f"{self.path}: is not trained to its end; finish it with its own command first"
            )

    @cached_property
    def done(self) -> dict[str, Any]:
        """What was recorded at the end: results, checks, environment, hashes.

        Raises `AnewError` if the record is damaged.
        """
        record = files.read_json(self.done_file)
        recorded = record.get("files")
        if not isinstance(recorded, dict) or not all(
            isinstance(file, dict) and {"sha256", "bytes"} <= file.keys()
            for file in recorded.values()
        ):
            raise AnewError(
                f"{self.done_file}: is damaged (no hashes of files); restore it from a copy"
            )
        return record

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the rows of the metrics file, one an epoch.

        Raises `AnewError` if the file is damaged.
        """
        if not self.metrics.exists():
            return []

        lines = self.metrics.read_bytes().split(b"\n")
        # While a network is trained, the last line may be half-written. A resumed run replaces it.
        last = lines.pop()
        try:
            if last and self.is_done:
                raise ValueError("its last line is cut off")
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise AnewError(
                f"{self.metrics}: is damaged ({error}); restore it from a copy"
            ) from error

    def sweep(self) -> None:
        """Remove half-written files that a killed process left."""
        for folder in (self.path, self.state.parent):
            for path in folder.glob(".*.tmp"):
                path.unlink()

    def finish(self, record: dict[str, Any]) -> None:
        """Mark the network as finished: hash its files, write `done.json`, remove the state.

        The state goes last, so that a run that is killed in between can be resumed.
        """
        kept = [self.at_epoch(epoch) for epoch in self.kept_epochs()]
        candidates = (self.spec_file, self.weights, self.best, *kept, self.metrics, self.outputs)
        hashes = {
            path.name: {"sha256": files.sha256(path), "bytes": path.stat().st_size}
            for path in candidates
            if path.exists()
        }

        whole = {"format": FORMAT, **record, "files": hashes}
        files.write_json(self.done_file, {**whole, "sha256": files.sha256_of_json(whole)})
        self.clear_state()

    def clear_state(self) -> None:
        """Remove the resumable state."""
        if self.state.parent.exists():
            for path in self.state.parent.iterdir():
                path.unlink()
            self.state.parent.rmdir()

    def verify(self) -> list[str]:
        """Return what is wrong with a finished network's files, a line each.

        A file is wrong if it is missing, or if its size or its content changed. Empty if all files
        are as they were written.
        """
        wrong: list[str] = []
        signed = {name: value for name, value in self.done.items() if name != "sha256"}
        if self.done.get("sha256") != files.sha256_of_json(signed):
            wrong.append(f"{self.done_file}: has changed since it was written (its hash differs)")

        for name, recorded in self.done["files"].items():
            path = self.path / name
            if not path.exists():
                wrong.append(f"{path}: is missing")
            elif path.stat().st_size != recorded["bytes"]:
                wrong.append(
                    f"{path}: has {path.stat().st_size:,} bytes, {recorded['bytes']:,} were written"
                )
            elif files.sha256(path) != recorded["sha256"]:
                wrong.append(f"{path}: has changed since it was written (its hash differs)")
        return wrong


def write_spec(folder: NetworkFolder, spec: Spec) -> None:
    """Write a network's spec into its folder, with its teachers by id."""
    files.write_json(folder.spec_file, _spec_record(spec))


def records_bytes(spec: Spec) -> int:
    """Return the size of a finished network's records: spec, metrics and results.

    The spec's is exact, the others' are about right: their length depends on the numbers in them.
    """
    written = len(json.dumps(_spec_record(spec), indent=1)) + 1
    return written + _RESULTS_BYTES + spec.training.epochs * _METRICS_LINE_BYTES


def _spec_record(spec: Spec) -> dict[str, Any]:
    return {"format": FORMAT, "id": spec.id, **spec.to_json()}
