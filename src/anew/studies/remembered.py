"""The studies that a family was trained for, with their options: FAMILY/studies/NAME.json.

So a table is shown again without the options of the run. A study of a user's own is kept with its
text, since its file may lie elsewhere later. What is read is checked like any foreign file, runs no
code and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from anew import models
from anew.core import files
from anew.core.errors import AnewError
from anew.core.parsing import parse_toml
from anew.family import Family
from anew.studies.paper import STUDIES
from anew.studies.study import Study
from anew.studies.toml import study_from

FORMAT = 1
_TEXTS, _NUMBERS = ("scale", "data", "root"), ("epochs", "limit")


@dataclass(frozen=True)
class Remembered:
    """A study as it was run last: its name, the text of its file if it has one, its options."""

    name: str
    toml: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """By name, without those that were not given: `scale`, `seeds`, `rows`, `columns`, ..."""

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> Remembered:
        """Return a study that a user names, built in or by its file, with the options given."""
        if not name.endswith(".toml"):
            return cls(name, "", options)
        path = Path(name)
        return cls(path.stem, path.read_text(encoding="utf-8"), options)

    def study(self, family: Family) -> str | Study:
        """Return the name of a study that is built in, or the study that was kept as a text.

        Raises `AnewError` if the text is no study, or names a model of somebody's own code: a file
        in a family may not choose what is run.
        """
        if not self.toml:
            return self.name
        path = _path(family, self.name)
        try:
            written = parse_toml(self.toml)
        except ValueError as error:
            raise _damaged(path, f"its text is not TOML: {error}") from error
        study = study_from(written, self.name, f"study {path}")

        built = [*study.rows.values(), *(column.model for column in study.columns.values())]
        own = [one.name for one in built if one is not None and models.is_own_code(one.name)]
        if own:
            raise AnewError(
                f"{path}: names the code '{own[0]}', which is not run from a family's file; give "
                f"the study's own file, `anew study show FILE.toml {family.path}`"
            )
        return replace(study, data=study.data.at())


def remember(family: Family, ran: Remembered) -> None:
    """Keep which study a family is trained for, in place of an earlier run of the same name.

    Raises `AnewError` if it cannot be written.
    """
    path = _path(family, ran.name)
    files.check_no_link(path.parent)
    record = {"format": FORMAT, "study": ran.name, "toml": ran.toml, "options": dict(ran.options)}
    try:
        if files.read_json(path) == record:
            return
    except AnewError:
        # It is not there, or damaged: it is written anew.
        pass
    files.write_json(path, record)


def names(family: Family) -> list[str]:
    """Return the names of the studies that a family was trained for."""
    return sorted(path.stem for path in (family.path / "studies").glob("*.json"))


def recall(family: Family, name: str) -> Remembered | None:
    """Return a study as it was run last, or None if the family knows none of that name.

    Raises `AnewError` if its file is damaged or forged.
    """
    path = _path(family, name)
    if not path.exists():
        return None
    written = files.read_json(path)
    if written.get("format") != FORMAT:
        raise AnewError(
            f"{path}: has format {written.get('format')!r}, this anew reads {FORMAT}; upgrade "
            "anew, or move the file away and give the study's options"
        )

    toml, options = written.get("toml"), written.get("options")
    if written.get("study") != name or not isinstance(toml, str) or not isinstance(options, dict):
        raise _damaged(path, "no study, text and options of that name")
    if not toml and name not in STUDIES:
        raise _damaged(path, f"'{name}' is no study that is built in, and has no text")
    checked = cast("dict[str, Any]", options)
    for key, value in checked.items():
        if not _is_option(key, value):
            raise _damaged(path, f"'{key}' is no option, or has no such value")
    return Remembered(name, toml, checked)


def _path(family: Family, name: str) -> Path:
    return family.path / "studies" / f"{name}.json"


def _is_option(key: str, value: object) -> bool:
    """Return whether a name and a value are those of an option; ranges are checked where used."""
    if key in _TEXTS:
        return isinstance(value, str)
    if key in _NUMBERS:
        return type(value) is int
    if key == "controls":
        return isinstance(value, bool)
    kinds = {"seeds": int, "rows": str, "columns": str}
    if key not in kinds or not isinstance(value, list):
        return False
    return all(type(one) is kinds[key] for one in cast("list[object]", value))


def _damaged(path: Path, why: str) -> AnewError:
    return AnewError(
        f"{path}: is damaged ({why}); move it away, and give the study's name and its options"
    )
