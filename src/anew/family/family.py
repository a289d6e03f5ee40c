"""A family: the folder of trained networks, keyed by the ids of their specs.

family.json      format version
networks/<id>/   one folder a network, named by its spec's id (see `folder`)
teachers/<id>/   stored targets
starts/          weights that networks start from, by their hash
reports/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from anew.core import files
from anew.core.errors import AnewError, MissingNetworkError, did_you_mean
from anew.core.spec import MissingSpec, Spec
from anew.family.folder import FORMAT, NetworkFolder, spec_record, start_file, write_spec


class Family:
    """A folder of networks, keyed by the ids of their specs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Family:
        """Open an existing family.

        Raises `AnewError` if the folder holds none, or if a newer anew wrote it.
        """
        if not (path / "family.json").exists():
            raise AnewError(
                f"{path}: is no family (it has no family.json); give a folder that `anew train "
                "--out` wrote"
            )
        family = cls(path)
        family._check_format()
        return family

    @classmethod
    def create(cls, path: Path) -> Family:
        """Open a family, or make one in a new or empty folder.

        Raises `AnewError` if the folder holds other things.
        """
        if (path / "family.json").exists():
            return cls.open(path)
        if path.exists() and not path.is_dir():
            raise AnewError(f"{path}: is a file, and a family is a folder; give another --out")

        try:
            # A process that was killed while it made this family left a temporary file.
            occupied = path.exists() and not all(map(_is_half_made, path.iterdir()))
        except OSError as error:
            raise AnewError(
                f"{path}: cannot be read ({error.strerror}); give another --out"
            ) from error
        if occupied:
            raise AnewError(
                f"{path}: is a folder with other files and no family; give another --out"
            )

        files.write_json(
            path / "family.json", {"format": FORMAT, "what": "a family of networks trained by anew"}
        )
        for left in filter(_is_half_made, path.iterdir()):
            # Another process that makes the same family now finds that it is there.
            left.unlink(missing_ok=True)
        return cls(path)

    def _check_format(self) -> None:
        written = files.read_json(self.path / "family.json").get("format")
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

    def start_file(self, start: str) -> Path:
        """The weights that networks start from, by the hash that a spec has."""
        return start_file(self.path, start)

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
        """Return the folder of the network whose id starts with the given text.

        Raises `AnewError` unless exactly one id does.
        """
        ids = [folder.id for folder in self.folders()]
        matching = [network_id for network_id in ids if network_id.startswith(start)]
        if len(matching) != 1 or not start:
            what = f"{len(matching)} networks" if matching else "no network"
            raise AnewError(
                f"{self.path}: {what} with an id that starts with "
                f"'{start}'{did_you_mean(start, ids)}; "
                f"ids there: {', '.join(ids) or 'none'}"
            )
        return self.folder(matching[0])

    def begin(self, spec: Spec) -> NetworkFolder:
        """Return the folder of a network; its spec is written if it is not there or is damaged."""
        folder = self.folder(spec.id)
        self.check_plain(spec.id)
        if not folder.is_done and not _is_written(folder, spec):
            write_spec(folder, spec)
        return folder

    def check_plain(self, network_id: str | None = None) -> None:
        """Raise `AnewError` if a folder that is written into, or a network's, is a link."""
        places = [self.path / "networks", self.stores]
        if self.stores.is_dir() and not self.stores.is_symlink():
            places += self.stores.iterdir()
        if network_id is not None:
            places.append(self.folder(network_id).path)
        for place in places:
            files.check_no_link(place)

    def spec(self, network_id: str, *, gaps: bool = False) -> Spec:
        """Read a spec and its teachers' specs.

        With `gaps` a `MissingSpec` stands for a teacher whose folder is gone. Raises `AnewError` if
        a file is damaged, and `MissingNetworkError` if a teacher is missing.
        """
        return self._read_spec(network_id, {}, gaps=gaps)

    def specs(self, ids: Iterable[str] | None = None, *, gaps: bool = False) -> dict[str, Spec]:
        """Read the specs of networks, by default of all that were begun, each file once.

        Returns them by id, in the order of `ids`. Raises `AnewError` as `spec` does.
        """
        if ids is None:
            ids = [folder.id for folder in self.folders()]
        known: dict[str, Spec] = {}
        return {network_id: self._read_spec(network_id, known, gaps=gaps) for network_id in ids}

    def _read_spec(self, network_id: str, known: dict[str, Spec], *, gaps: bool = False) -> Spec:
        """Read a spec; `known` holds what was read before, and what is read is added to it.

        Raises `AnewError` if a file is damaged, or a network descends from itself.
        """
        if network_id in known:
            return known[network_id]

        # Those on the way wait for their teachers. No recursion: a chain may be of any length.
        way, written = [network_id], dict[str, dict[str, Any]]()
        while way:
            current = way[-1]
            if len(way) > 1 and not self.folder(current).spec_file.exists():
                student = way[-2]
                if not gaps:
                    raise MissingNetworkError(self._says_missing(current, student))
                known[way.pop()] = self._missing_spec(current, student, written[student])
                continue
            if current not in written:
                written[current] = self._read_written(current)
            missing = [one for one in written[current]["teachers"] if one not in known]
            if not missing:
                known[current] = self._spec_of(way.pop(), written[current], known)
            elif missing[0] in written:
                raise AnewError(
                    f"{self.folder(current).spec_file}: names a teacher that descends from it, "
                    f"{missing[0]}; restore it from a copy"
                )
            else:
                way.append(missing[0])
        return known[network_id]

    def _says_missing(self, missing: str, student: str) -> str:
        return (
            f"{self.path}: network {missing}, {student}'s teacher, is missing; the command that "
            "trained it trains it again, with the same bits"
        )

    def _missing_spec(self, missing: str, student: str, written: Mapping[str, Any]) -> MissingSpec:
        """Return what stands for a teacher whose folder is gone."""
        folder = self.folder(student)
        number = folder.done.get("generation", 1) - 1 if folder.is_done else 0
        try:
            return MissingSpec.of(missing, written, max(0, number))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise AnewError(
                f"{folder.spec_file}: is damaged (no {error}); restore it from a copy"
            ) from error

    def missing(self) -> list[str]:
        """Return a line for each network that others learned from and whose folder is gone."""
        return self._missing_among(self.specs(gaps=True).values())

    def _missing_among(self, specs: Iterable[Spec]) -> list[str]:
        lines = {
            teacher.id: self._says_missing(teacher.id, spec.id)
            for spec in specs
            for teacher in spec.teachers
            if teacher.is_missing
        }
        return list(lines.values())

    def _read_written(self, network_id: str) -> dict[str, Any]:
        path = self.folder(network_id).spec_file
        written = files.read_json(path)
        teachers = written.get("teachers")
        names = cast(list[object], teachers) if isinstance(teachers, list) else [None]
        if not all(isinstance(name, str) for name in names):
            raise AnewError(f"{path}: is damaged (no 'teachers'); restore it from a copy")
        return written

    def _spec_of(self, network_id: str, written: dict[str, Any], known: dict[str, Spec]) -> Spec:
        path = self.folder(network_id).spec_file
        teachers = tuple(known[one] for one in written["teachers"])
        try:
            spec = Spec.from_json(written, teachers)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise AnewError(f"{path}: is damaged (no {error}); restore it from a copy") from error
        if spec.id != network_id:
            raise AnewError(
                f"{path}: describes network {spec.id}, not {network_id}; restore it from a copy"
            )
        return spec

    def finished(self, ids: Iterable[str] | None = None, *, gaps: bool = False) -> list[Spec]:
        """Read the specs of the finished networks among `ids`, by default of all, in their order.

        With `gaps` teachers may be missing. Raises `AnewError` as `spec` does.
        """
        if ids is None:
            ids = [folder.id for folder in self.folders()]
        done = [network_id for network_id in ids if self.folder(network_id).is_done]
        return list(self.specs(done, gaps=gaps).values())

    def lineage_to(self, start: str, *, gaps: bool = False) -> tuple[Spec, ...]:
        """Return the lineage that ends at the network whose id starts so.

        With `gaps` networks of it may be missing. Raises `AnewError` unless exactly one id does, or
        if that network is not finished.
        """
        folder = self.find(start)
        folder.check_done()
        return self.spec(folder.id, gaps=gaps).lineage

    def lineages(self, *, gaps: bool = False) -> list[tuple[Spec, ...]]:
        """Return every chain of finished networks, oldest first.

        A chain starts at the labels and ends at a network that taught no other. With `gaps`
        networks of it may be missing.
        """
        specs = [spec for spec in self.finished(gaps=gaps) if not spec.is_soft_labels]
        taught = {teacher.id for spec in specs for teacher in spec.teachers}
        return [spec.lineage for spec in specs if spec.id not in taught]

    def set_aside_damaged(self) -> list[Path]:
        """Set aside each finished network whose files are not as they were written.

        Its command then trains it again. Returns the folders in which the files lie now.
        """
        finished = [folder for folder in self.folders() if folder.is_done]
        return [folder.set_aside() for folder in finished if folder.verify()]

    def verify(self) -> tuple[int, list[str]]:
        """Hash all files again.

        Returns the number of finished networks, and what is wrong, a line each.
        """
        wrong: list[str] = []
        checked = 0
        # Specs that were read are kept; one that is damaged is reported for its students too.
        known: dict[str, Spec] = {}
        for folder in self.folders():
            try:
                self._read_spec(folder.id, known, gaps=True)
                if folder.is_done:
                    checked += 1
                    wrong += folder.verify()
            except AnewError as error:
                wrong.append(str(error))

        # Named by what they hold.
        for path in sorted(self.start_file("").parent.glob("*.safetensors")):
            if files.sha256(path) != path.stem:
                wrong.append(f"{path}: has changed since it was written (its hash differs)")
        return checked, wrong + self._missing_among(known.values())


def _is_written(folder: NetworkFolder, spec: Spec) -> bool:
    """Return whether a folder holds this spec; its teachers' folders are not read for that."""
    try:
        written = files.read_json(folder.spec_file)
        if written["teachers"] != [teacher.id for teacher in spec.teachers]:
            return False
        held = Spec.from_json(written, spec.teachers)
        # The data may lie elsewhere; all else is as anew writes it, and nothing is missing.
        return held.id == spec.id and written == spec_record(held)
    except (AnewError, KeyError, TypeError, AttributeError, ValueError):
        return False


def _is_half_made(path: Path) -> bool:
    return path.name.startswith(".family.json.") and path.name.endswith(".tmp")
