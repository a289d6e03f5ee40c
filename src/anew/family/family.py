"""The folder of trained networks: what lies where, who descends from whom, and whether it is whole.

family/
  family.json                format version
  networks/<id>/             one folder a network, named by its spec's id
    spec.json                everything that decides its weights; teachers by id weights.safetensors
    the weights at the last epoch, with what is needed to use them in the header best.safetensors
    the weights of the epoch that validation picked, where that was asked for epoch-<n>.safetensors
    the weights after n epochs, of every epoch that was to be kept but the last metrics.jsonl
    one line an epoch outputs.safetensors      logits and labels of the validation and the test
    examples state/                   what a resumed run needs; gone when done done.json
    written last: results, environment, and the hash of every file
  teachers/<id>/             stored targets
  reports/
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from anew.core import files as storage
from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import Spec

FORMAT = 1


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
        """The weights after so many epochs, where they were kept."""
        return self.path / f"epoch-{epoch}.safetensors"

    def kept_epochs(self) -> list[int]:
        """Return the epochs whose weights were kept, in order; the last epoch's are `weights` and
        not among them.
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
        """What a resumed run needs."""
        return self.path / "state" / "state.safetensors"

    @property
    def done_file(self) -> Path:
        """Written last: a network is finished when it is there."""
        return self.path / "done.json"

    @property
    def is_done(self) -> bool:
        """Whether the network is trained to its end and all its files are written."""
        return self.done_file.exists()

    def check_done(self) -> None:
        """Raise `AnewError` where the network is not trained to its end."""
        if not self.is_done:
            raise AnewError(
                f"{self.path}: is not trained to its end; finish it with its own command first"
            )

    @cached_property
    def done(self) -> dict[str, Any]:
        """What was recorded at the end: results, checks, environment, hashes; `AnewError` where it
        is damaged.
        """
        record = storage.read_json(self.done_file)
        files = record.get("files")
        if not isinstance(files, dict) or not all(
            isinstance(one, dict) and {"sha256", "bytes"} <= one.keys() for one in files.values()
        ):
            raise AnewError(
                f"{self.done_file}: is damaged (no hashes of files); restore it from a copy"
            )
        return record

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the rows of the metrics file, one an epoch; `AnewError` where it is damaged."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_bytes().split(b"\n")
        # The last line of a network that is being trained may be half-written; it will be written
        # again.
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
        """Remove what a process that was killed while writing left half-written."""
        for folder in (self.path, self.state.parent):
            for path in folder.glob(".*.tmp"):
                path.unlink()

    def finish(self, record: dict[str, Any]) -> None:
        """Mark the network done: hash its files, write `done.json`, and only then drop what
        resuming needed.
        """
        kept = [self.at_epoch(epoch) for epoch in self.kept_epochs()]
        candidates = (self.spec_file, self.weights, self.best, *kept, self.metrics, self.outputs)
        files = [path for path in candidates if path.exists()]
        hashes = {
            path.name: {"sha256": storage.sha256(path), "bytes": path.stat().st_size}
            for path in files
        }
        whole = {"format": FORMAT, **record, "files": hashes}
        storage.write_json(self.done_file, {**whole, "sha256": storage.sha256_of_json(whole)})
        self.clear_state()

    def clear_state(self) -> None:
        """Remove the resumable state, as after the network is done."""
        if self.state.parent.exists():
            for path in self.state.parent.iterdir():
                path.unlink()
            self.state.parent.rmdir()

    def verify(self) -> list[str]:
        """Return what is wrong with a finished network's files: missing, changed in size, changed
        in content.
        """
        wrong: list[str] = []
        if self.done.get("sha256") != storage.sha256_of_json(
            {name: value for name, value in self.done.items() if name != "sha256"}
        ):
            wrong.append(f"{self.done_file}: has changed since it was written (its hash differs)")
        for name, recorded in self.done["files"].items():
            path = self.path / name
            if not path.exists():
                wrong.append(f"{path}: is missing")
            elif path.stat().st_size != recorded["bytes"]:
                wrong.append(
                    f"{path}: has {path.stat().st_size:,} bytes, {recorded['bytes']:,} were written"
                )
            elif storage.sha256(path) != recorded["sha256"]:
                wrong.append(f"{path}: has changed since it was written (its hash differs)")
        return wrong


class Family:
    """A folder of networks, keyed by the ids of their specs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Family:
        """Open an existing family; `AnewError` where there is none or a newer anew wrote it."""
        if not (path / "family.json").exists():
            raise AnewError(
                f"{path}: is no family (no family.json there); give the folder that `anew train "
                f"--out` wrote"
            )
        family = cls(path)
        family._check_format()
        return family

    @classmethod
    def create(cls, path: Path) -> Family:
        """Open a family, or make one in a new or empty folder; `AnewError` where other things lie
        there.
        """
        if (path / "family.json").exists():
            return cls.open(path)
        if path.exists() and not path.is_dir():
            raise AnewError(f"{path}: is a file, and a family is a folder; give another --out")
        try:
            occupied = path.exists() and any(path.iterdir())
        except OSError as error:
            raise AnewError(
                f"{path}: cannot be read ({error.strerror}); give another --out"
            ) from error
        if occupied:
            raise AnewError(
                f"{path}: is a folder with other things in it and no family; give another --out"
            )
        storage.write_json(
            path / "family.json", {"format": FORMAT, "what": "a family of networks trained by anew"}
        )
        return cls(path)

    def _check_format(self) -> None:
        written = storage.read_json(self.path / "family.json").get("format")
        if not isinstance(written, int):
            raise AnewError(
                f"{self.path / 'family.json'}: names no format version; restore it from a copy"
            )
        if written > FORMAT:
            raise AnewError(
                f"{self.path}: was written by a newer anew (format {written}, this one reads up to "
                f"{FORMAT}); "
                "upgrade anew"
            )

    @property
    def stores(self) -> Path:
        """The folder of stored targets, by teacher."""
        return self.path / "teachers"

    def folder(self, network_id: str) -> NetworkFolder:
        """Return the folder of a network, whether or not it exists yet."""
        return NetworkFolder(self.path / "networks" / network_id)

    def folders(self) -> Iterator[NetworkFolder]:
        """Yield the folder of every network that was begun, in the order of their ids."""
        networks = self.path / "networks"
        for path in sorted(networks.iterdir()) if networks.exists() else ():
            if (path / "spec.json").exists():
                yield NetworkFolder(path)

    def find(self, start: str) -> NetworkFolder:
        """Return the one network whose id starts with the given text; `AnewError` where none or
        several do.
        """
        ids = [folder.id for folder in self.folders()]
        found = [network_id for network_id in ids if network_id.startswith(start)]
        if len(found) != 1 or not start:
            what = f"{len(found)} networks" if found else "no network"
            raise AnewError(
                f"{self.path}: {what} with an id that starts with "
                f"'{start}'{did_you_mean(start, ids)}; "
                f"ids there: {', '.join(ids) or 'none'}"
            )
        return self.folder(found[0])

    def begin(self, spec: Spec) -> NetworkFolder:
        """Write a network's spec, where it is not there yet, and return its folder."""
        folder = self.folder(spec.id)
        if not folder.spec_file.exists():
            storage.write_json(
                folder.spec_file, {"format": FORMAT, "id": spec.id, **spec.to_json()}
            )
        return folder

    def spec(self, network_id: str) -> Spec:
        """Read a spec and its teachers' specs; `AnewError` where a file is damaged or a teacher is
        missing.
        """
        path = self.folder(network_id).spec_file
        written = storage.read_json(path)
        try:
            teachers = tuple(self.spec(teacher) for teacher in written["teachers"])
            spec = Spec.from_json(written, teachers)
        except (KeyError, TypeError, AttributeError) as error:
            raise AnewError(f"{path}: is damaged (no {error}); restore it from a copy") from error
        if spec.id != network_id:
            raise AnewError(
                f"{path}: describes network {spec.id}, not {network_id}; restore it from a copy"
            )
        return spec

    def lineage_to(self, start: str) -> tuple[Spec, ...]:
        """Return the lineage that ends at the network whose id starts so; `AnewError` where that is
        not finished.
        """
        folder = self.find(start)
        folder.check_done()
        return self.spec(folder.id).lineage

    def lineages(self) -> list[tuple[Spec, ...]]:
        """Return every chain of finished networks from the labels to one that taught no other,
        oldest first.
        """
        specs = [self.spec(folder.id) for folder in self.folders() if folder.is_done]
        taught = {teacher.id for spec in specs for teacher in spec.teachers}
        return [spec.lineage for spec in specs if spec.id not in taught]

    def verify(self) -> tuple[int, list[str]]:
        """Re-hash everything: the number of finished networks looked at, and what is wrong, a line
        each.
        """
        wrong: list[str] = []
        checked = 0
        for folder in self.folders():
            try:
                self.spec(folder.id)
                if folder.is_done:
                    checked += 1
                    wrong += folder.verify()
            except AnewError as error:
                wrong.append(str(error))
        return checked, wrong
