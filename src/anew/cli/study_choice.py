"""Which study is meant: the options that change it, and those that a family keeps of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from anew.cli.options import WHOLE
from anew.cli.printing import notify
from anew.core.errors import AnewError

if TYPE_CHECKING:
    from anew.family import Family
    from anew.studies import Study

_SEVERAL = Parameter(negative_iterable=(), consume_multiple=True)


@Parameter(name="*")
@dataclass(frozen=True)
class Choice:
    """The changes to a study before it is trained or shown.

    The same options mean the same networks. `anew study run` keeps them in the family, and what
    shows a study takes them from there.
    """

    scale: Annotated[
        str | None,
        Parameter(
            help="Scale of the paper's studies: tiny (digits, minutes), small (CIFAR-10, hours "
            "on a CPU) or full."
        ),
    ] = None
    seeds: Annotated[
        list[int] | None,
        _SEVERAL,
        Parameter(help="Seeds. Default: the study's own (0 1 2)."),
    ] = None
    rows: Annotated[list[str] | None, _SEVERAL, Parameter(help="Only these rows.")] = None
    columns: Annotated[
        list[str] | None,
        _SEVERAL,
        Parameter(help="Only these columns; their teachers are trained too."),
    ] = None
    controls: Annotated[
        bool | None,
        Parameter(
            help="Add the controls as columns: label-only networks with other seeds, with the "
            "same total compute, and averaged.",
        ),
    ] = None
    data: Annotated[
        str | None, Parameter(help="Data set instead of the study's own, such as parquet:PATH.")
    ] = None
    root: Annotated[Path | None, Parameter(help="The folder of torchvision's data sets.")] = None
    epochs: Annotated[
        int | None, WHOLE, Parameter(help="Number of epochs instead of the study's own.")
    ] = None
    limit: Annotated[int | None, WHOLE, Parameter(help="At most this many training examples.")] = (
        None
    )

    @property
    def given(self) -> dict[str, Any]:
        """The options that were given, by name, as a family keeps them."""
        values = {
            "scale": self.scale,
            "seeds": self.seeds,
            "rows": self.rows,
            "columns": self.columns,
            "controls": self.controls,
            "data": self.data,
            "root": None if self.root is None else str(self.root),
            "epochs": self.epochs,
            "limit": self.limit,
        }
        return {name: value for name, value in values.items() if value not in (None, [])}

    def over(self, options: Mapping[str, Any]) -> Choice:
        """Return this choice with what it leaves open from other options."""
        values = {**options, **self.given}
        if "root" in values:
            values["root"] = Path(values["root"])
        return Choice(**values)

    def of(self, name: str | Study) -> Study:
        """Return the study of a name or a TOML file with the chosen changes.

        Raises `AnewError` if the study is unknown or a change does not fit it.
        """
        from anew import studies

        data = {
            "source": self.data,
            "root": None if self.root is None else str(self.root),
            "limit": self.limit,
        }
        changes = studies.Changes(
            seeds=self.seeds or (),
            rows=self.rows or (),
            columns=self.columns or (),
            controls=bool(self.controls),
            data=data,
            epochs=self.epochs,
        )
        return studies.choose(name, self.scale, changes)


AS_IT_IS = Choice()
"""No option given: the study as it is written."""


def as_run(family: Family, name: str, choice: Choice) -> Study:
    """Return a study as it was run last in a family, with the options given here over those.

    A study that the family does not know is as it is written. Which options come from the run is
    said on standard error. Raises `AnewError` as `Choice.of` does, or for a damaged file.
    """
    from anew.studies import STUDIES, remembered

    is_file = name.endswith(".toml")
    ran = remembered.recall(family, Path(name).stem if is_file else name)
    is_other = ran is None or bool(ran.toml) != (is_file or name not in STUDIES)
    if ran is None or is_other:
        return choice.of(name)

    kept = {key: value for key, value in ran.options.items() if key not in choice.given}
    if kept:
        notify([f"options of the last run: {_in_flags(kept)}; options given here override these"])
    return choice.over(ran.options).of(name if is_file else ran.study(family))


def only_study(family: Family) -> str:
    """Return the name of the only study that a family was trained for; `AnewError` if it has not
    one.
    """
    from anew.studies import remembered

    names = remembered.names(family)
    if len(names) != 1:
        what = "does not record which study it was trained for"
        if names:
            what = f"was trained for {len(names)} studies ({', '.join(names)})"
        raise AnewError(
            f"{family.path}: {what}; name it, as in "
            f"`anew study show {names[0] if names else 'table2'} {family.path}`"
        )
    return names[0]


def _in_flags(options: Mapping[str, Any]) -> str:
    """Return options as they are written on a command line."""
    words: list[str] = []
    for name, value in options.items():
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name}")
        elif isinstance(value, list):
            words.append(" ".join([f"--{name}", *(str(one) for one in value)]))
        else:
            words.append(f"--{name} {value}")
    return " ".join(words)
