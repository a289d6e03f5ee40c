"""The folder of one network: what lies where, and whether it is whole.

spec.json             everything that decides the weights; teachers by id
weights.safetensors   the weights at the last epoch, with what is needed to use them
best.safetensors      the weights of the epoch that validation picked, if that was asked for
averaged.safetensors  the exponential moving average of the weights, if that was asked for
epoch-<n>.safetensors the weights after n epochs, of each epoch that was to be kept but the last
metrics.jsonl         one line an epoch
outputs.safetensors   logits and labels of the validation and the test examples
state/                what a resumed run needs; removed at the end
done.json             written last: results, environment, and the hash of every file
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from anew.core import files
from anew.core.errors import AnewError
from anew.core.parsing import parse_json
from anew.core.spec import Spec
from anew.core.text import plain
from anew.family.lock import NetworkLock

FORMAT = 1
"""Of a family's files; a newer anew may write a higher one."""
METRICS_LINE_BYTES = 200
"""About how long a line of metrics is."""
# About how long `done.json` is.
_RESULTS_BYTES = 1200
_FILE_NAME = re.compile(
    r"spec\.json|metrics\.jsonl|(weights|best|averaged|outputs|epoch-[0-9]{1,9})\.safetensors"
)
_HALF_WRITTEN = re.compile(
    rf"\.({_FILE_NAME.pattern}|done\.json|lock|state\.safetensors)\.{files.HALF_WRITTEN}"
)
_MEND = (
    "restore it from a copy, or set this network aside with `anew verify FAMILY --set-aside`, "
    "and its command trains it again with the same bits (in {})"
)
# What this process hashed: a file's path, size, time and number on its disk, and its SHA-256.
_HASHES: dict[tuple[str, int, int, int], str] = {}


@dataclass(frozen=True)
class NetworkFolder:
    """The files of one network; its parts are read when asked for."""

    path: Path
    lock: NetworkLock | None = field(default=None, compare=False, repr=False)
    """The lock under which this process trains the network: looked at before each write."""

    @property
    def id(self) -> str:
        """The id of the network's spec, the folder's name."""
        return self.path.name

    @property
    def soft_labels(self) -> str:
        """What the soft labels in this network's place are called: `soft labels (FILE)`."""
        given = self.done.get("given", "") if self.is_done else ""
        return f"soft labels ({given})" if given else "soft labels"

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

    @property
    def averaged(self) -> Path:
        """The exponential moving average of the weights."""
        return self.path / "averaged.safetensors"

    def start_file(self, start: str) -> Path:
        """The weights that networks of the family start from, by the hash that a spec has."""
        return start_file(self.path.parent.parent, start)

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
        # A link that leads nowhere is a damaged record, and no network that is still to be trained.
        return self.done_file.exists() or self.done_file.is_symlink()

    @property
    def finished_at(self) -> float:
        """When the record of the end was written, 0 if it is not there; a copy may be younger."""
        return self.done_file.stat().st_mtime if self.is_done else 0.0

    def check_done(self) -> None:
        """Raise `AnewError` if the network is not trained to its end."""
        if not self.is_done:
            raise AnewError(f"{self.path}: is not finished; finish it with its own command first")

    @cached_property
    def done(self) -> dict[str, Any]:
        """What was recorded at the end: results, checks, environment, hashes.

        Raises `AnewError` if the record is damaged.
        """
        record = files.read_json(self.done_file)
        recorded = record.get("files")
        if not isinstance(recorded, dict) or not all(map(_is_hash, recorded.values())):
            raise AnewError(
                f"{self.done_file}: is damaged (no hashes of files); {_MEND.format(self.path)}"
            )

        # A record may come from elsewhere. Files are copied and opened by these names, so nothing
        # but a network's own files may be named.
        foreign = [name for name in recorded if not _FILE_NAME.fullmatch(name)]
        if foreign:
            raise AnewError(
                f"{self.done_file}: names the file {foreign[0]!r}, which is no file of a "
                f"network; {_MEND.format(self.path)}"
            )
        signed = {name: value for name, value in record.items() if name != "sha256"}
        if record.get("sha256") != files.sha256_of_json(signed):
            raise AnewError(
                f"{self.done_file}: has changed since it was written (its hash differs); "
                f"{_MEND.format(self.path)}"
            )
        missing = _missing_in(record)
        if missing:
            raise AnewError(
                f"{self.done_file}: is damaged (no {missing}); {_MEND.format(self.path)}"
            )
        return record

    def checked(self, path: Path) -> Path:
        """Return one of the network's files after comparing it with its hash.

        Of a network that is not finished, nothing is known yet. A file is hashed once in a process,
        unless it changes. Raises `AnewError` if it is missing or is not as it was written.
        """
        if self.is_done:
            problem = self._problem(path)
            if problem:
                raise AnewError(f"{problem}; {_MEND.format(self.path)}")
        return path

    @property
    def sound_weights(self) -> Path:
        """The weights at the last epoch, compared with their hash: see `checked`."""
        return self.checked(self.weights)

    def _problem(self, path: Path) -> str:
        """Return what is wrong with a file of the finished network, "" if nothing is."""
        recorded = self.done["files"].get(path.name)
        if recorded is None:
            return f"{path}: is not among the files that were recorded"
        try:
            size = path.stat().st_size
            if not path.is_file():
                return f"{path}: is no file"
            if size != recorded["bytes"]:
                return f"{path}: has {size:,} bytes, {recorded['bytes']:,} were written"
            if _hash_of(path) != recorded["sha256"]:
                return f"{path}: has changed since it was written (its hash differs)"
        except FileNotFoundError:
            return f"{path}: is missing"
        return ""

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the rows of the metrics file, one an epoch.

        Raises `AnewError` if the file is damaged.
        """
        # A network that was given, or never trained, has no such file.
        is_recorded = self.is_done and self.metrics.name in self.done["files"]
        if not is_recorded and not self.metrics.exists():
            return []
        files.check_regular(self.checked(self.metrics))

        lines = self.metrics.read_bytes().split(b"\n")
        # While a network is trained, the last line may be half-written. A resumed run replaces it.
        last = lines.pop()
        try:
            if last and self.is_done:
                raise ValueError("its last line is cut off")
            return [parse_json(line.decode()) for line in lines]
        except ValueError as error:
            raise AnewError(
                f"{self.metrics}: is damaged ({error}); {_MEND.format(self.path)}"
            ) from error

    def check_ours(self) -> None:
        """Raise `AnewError` if another process took the network over, as after this one slept."""
        if self.lock is not None:
            self.lock.check()

    def metrics_until(self, end: int, epochs: int) -> bytes:
        """Return the first bytes of the metrics, which hold the rows of so many epochs.

        Version 0.1 saved only how many there were. Raises `AnewError` if they are not sound.
        """
        content = self.metrics.read_bytes()[:end] if self.metrics.is_file() else b""
        try:
            numbers = [json.loads(line)["epoch"] for line in content.splitlines()]
        except (ValueError, KeyError, TypeError, RecursionError):
            numbers = []
        if numbers != list(range(1, epochs + 1)):
            raise AnewError(
                f"{self.metrics}: is damaged, {epochs} epochs were written; restore it from a "
                f"copy, or move {self.state} away: the same command then trains this network "
                "from its start, with the same bits"
            )
        return content

    def restart_metrics(self, content: bytes = b"") -> None:
        """Begin a file of metrics of this process's own, with the rows up to its start.

        A process that slept while this one took the network over may have the old file open: what
        it still writes goes there, and the old file has no name any more.
        """
        self.check_ours()
        if content:
            files.write_bytes(self.metrics, content)
        else:
            self.metrics.unlink(missing_ok=True)

    def write_metrics(self, at: int, row: dict[str, Any]) -> bytes:
        """Write the row of an epoch at byte `at` of the metrics, and return the row's line."""
        return files.write_line(self.metrics, at, row, self.check_ours)

    def sweep(self) -> None:
        """Remove half-written files that a killed process left."""
        self.check_ours()
        for folder in (self.path, self.state.parent):
            # What lies behind a link, and under other names, may be somebody's.
            for path in () if folder.is_symlink() else folder.glob(".*.tmp"):
                if _HALF_WRITTEN.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def finish(self, record: dict[str, Any]) -> None:
        """Mark the network as finished: hash its files, write `done.json`, remove the state.

        The state goes last, so that a run that is killed in between can be resumed.
        """
        kept = [self.at_epoch(epoch) for epoch in self.kept_epochs()]
        weights = (self.weights, self.best, self.averaged, *kept)
        candidates = (self.spec_file, *weights, self.metrics, self.outputs)
        hashes = {
            path.name: {"sha256": files.sha256(path), "bytes": path.stat().st_size}
            for path in candidates
            if path.exists()
        }

        # As it will be read: the hash is of what the file holds.
        whole = plain({"format": FORMAT, **record, "files": hashes})
        self.check_ours()
        files.write_json(self.done_file, {**whole, "sha256": files.sha256_of_json(whole)})
        self.clear_state()

    def clear_state(self) -> None:
        """Remove the resumable state, and nothing else that lies in its folder.

        A user may have linked the folder to a faster disk. Then the link goes, and behind it only
        the state of this very network; what else lies there stays.
        """
        folder = self.state.parent
        if folder.is_symlink():
            if self._is_own_state():
                self.state.unlink()
            folder.unlink()
        elif folder.exists():
            for path in (self.state, *folder.glob(".state.safetensors.*.tmp")):
                path.unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()

    def _is_own_state(self) -> bool:
        try:
            return files.read_tensors(self.state)[1].get("id") == self.id
        except AnewError:
            return False

    def verify(self) -> list[str]:
        """Return what is wrong with a finished network's files, a line each.

        A file is wrong if it is missing, or if its size or its content changed. Empty if all files
        are as they were written.
        """
        try:
            names = list(self.done["files"])
        except AnewError as error:
            return [str(error)]
        # Hashed anew, whatever this process saw before.
        _HASHES.clear()
        return [problem for name in names if (problem := self._problem(self.path / name))]

    def set_aside(self) -> Path:
        """Move a finished network's files away, so that its command trains it again.

        Nothing is removed: they lie in a folder `set-aside-N` of their own from now on, which is
        returned.
        """
        places = (self.path / f"set-aside-{number}" for number in itertools.count(1))
        place = next(place for place in places if not place.exists())
        files.ensure_folder(place)
        files.check_no_link(self.path.parent)
        files.check_no_link(self.path)
        # The record first: without it the network counts as one that is not finished.
        self.done_file.rename(place / self.done_file.name)
        for path in sorted(self.path.iterdir()):
            if _FILE_NAME.fullmatch(path.name) and path != self.spec_file:
                path.rename(place / path.name)
        return place


def start_file(family: Path, start: str) -> Path:
    """Return the file in a family's folder with the weights of a start, by its hash."""
    return family / "starts" / f"{start}.safetensors"


def _is_hash(recorded: object) -> bool:
    if not isinstance(recorded, dict):
        return False
    sha256, size = recorded.get("sha256"), recorded.get("bytes")
    return isinstance(sha256, str) and type(size) is int and size >= 0


def _missing_in(record: Mapping[str, Any]) -> str:
    """Return what a record of results lacks that every reader relies on, "" if nothing.

    A given network has no checks, no teacher and no environments.
    """
    test, teacher = record.get("test"), record.get("teacher")
    # A number that was not finite is null in JSON.
    known = (int, float, type(None))
    if not isinstance(test, dict) or type(test.get("error", "")) not in known:
        return "'test' with its 'error'"
    if not isinstance(record.get("checks", {}), dict):
        return "'checks' by name"
    if not isinstance(record.get("environments", []), list):
        return "list of 'environments'"
    return "" if teacher is None or isinstance(teacher, dict) else "'teacher'"


def _hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, from memory if this process hashed it as it is now."""
    status = path.stat()
    key = (str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ino)
    if key not in _HASHES:
        _HASHES[key] = files.sha256(path)
    return _HASHES[key]


def write_spec(folder: NetworkFolder, spec: Spec) -> None:
    """Write a network's spec into its folder, with its teachers by id."""
    files.write_json(folder.spec_file, spec_record(spec))


def records_bytes(spec: Spec) -> int:
    """Return the size of a finished network's records: spec, metrics and results.

    The spec's is exact, the others' are about right: their length depends on the numbers in them.
    """
    written = len(json.dumps(spec_record(spec), indent=1)) + 1
    return written + _RESULTS_BYTES + spec.training.epochs * METRICS_LINE_BYTES


def spec_record(spec: Spec) -> dict[str, Any]:
    """Return what the file of a spec holds."""
    return {"format": FORMAT, "id": spec.id, **spec.to_json()}
