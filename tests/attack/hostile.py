"""Files that somebody made to run code, to write or delete elsewhere, or to deceive a reader.

Each attack has a canary: a folder that must stay as it is, and in which code that runs leaves a
file.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import signal
import struct
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from attack import child, forging, tiny
from attack.cases import Case, Outcome, judge
from attack.faults import Fault
from attack.tiny import Reference

ESCAPE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\x7f\u202e"
"""A name that changes a terminal's title and colour, and turns around what follows."""
FORMULA = '=HYPERLINK("http://x.example","y")'
BOMB = 1 << 30
"""Bytes of memory that a file of kilobytes must not take."""

Attack = Callable[["Stage"], Outcome | None]
ATTACKS: list[tuple[str, Attack]] = []


class Stage:
    """Where an attack takes place: a copy of the family, a canary, and commands."""

    def __init__(self, reference: Reference, place: Path) -> None:
        self.reference, self.place = reference, place
        self.family = tiny.same_family(reference, place / "family")
        self.canary = place / "canary"
        self.canary.mkdir()
        (self.canary / "thesis.tex").write_text("years of work")
        (self.canary / "state.safetensors").write_text("a file of another program")
        (self.canary / ".x.1.tmp").write_text("also of another program")
        self.hacked = self.canary / "hacked"
        self.before = tiny.seal_of(self.canary)
        self.picture = place / "a.png"
        self.picture.write_bytes(forging.picture())

    @property
    def teacher(self) -> Path:
        return forging.networks(self.family)[0]

    @property
    def student(self) -> Path:
        return forging.networks(self.family)[-1]

    def anew(self, *arguments: object, before: Callable[[], None] | None = None) -> child.Ending:
        return child.anew(*arguments, folder=self.place / "outputs", before=before)

    def refused(self, *arguments: object) -> Outcome | None:
        """Run a command that must be refused."""
        return self.withstood(*arguments, code=2)

    def withstood(
        self, *arguments: object, code: int | None = None, before: Callable[[], None] | None = None
    ) -> Outcome | None:
        """Run a command that must end well; return what is wrong with it or with the canary."""
        ending = self.anew(*arguments, before=before)
        what = f"`{' '.join(str(one) for one in arguments[:2])}`"
        wrong = judge(ending)
        if self.hacked.exists():
            return Outcome("code ran", what)
        if tiny.seal_of(self.canary) != self.before:
            return Outcome("wrong place", f"{what} changed the canary")
        if wrong is not None:
            return Outcome(wrong.how, f"{what}: {wrong.detail}")
        if ending.peak - BASE > BOMB:
            return Outcome("memory", f"{what} took {(ending.peak - BASE) >> 20:,} MB")
        if code is not None and ending.code != code:
            said = (ending.err.strip() or ending.out.strip()).splitlines()
            return Outcome("accepted", f"{what} exit {ending.code}: {said[-1] if said else ''}")
        return None


BASE = 700 << 20
"""Bytes of memory that a command takes by itself, about."""


def cases(reference: Reference) -> list[Case]:
    """Return the attacks, each on a copy of the family."""

    def staged(attack: Attack) -> Callable[[Path], Outcome]:
        return lambda place: attack(Stage(reference, place)) or Outcome()

    return [Case("hostile", n, title, staged(run)) for n, (title, run) in enumerate(ATTACKS)]


def attack(title: str) -> Callable[[Attack], Attack]:
    def add(run: Attack) -> Attack:
        ATTACKS.append((title, run))
        return run

    return add


def first(outcomes: Iterable[Outcome | None]) -> Outcome | None:
    return next((outcome for outcome in outcomes if outcome is not None), None)


# Files that run code.


@attack("a CIFAR archive whose pickle runs code")
def _(stage: Stage) -> Outcome | None:
    place = forging.write_cifar(stage.place / "cifar", meta=forging.Runs(stage.hacked))
    return stage.refused("data", f"cifar10:{place}")


@attack("a CIFAR archive with an object hidden in an array's type")
def _(stage: Stage) -> Outcome | None:
    kind = np.dtype([("a", "O")])
    state = kind.__reduce__()[2]
    hidden = _Call(np.dtype, ("V8", False, True), (*state[:-1], 0))
    frombuffer = np.zeros(1, np.uint8).__reduce_ex__(5)[0]
    array = _Call(frombuffer, (b"A" * 80, hidden, (10,), "C"))
    place = forging.write_cifar(stage.place / "cifar", meta={b"label_names": array})
    return stage.refused("data", f"cifar10:{place}")


@attack("a CIFAR archive whose object array has too few objects")
def _(stage: Stage) -> Outcome | None:
    reconstruct = np.zeros(1, np.uint8).__reduce__()[0]
    state = (1, (10,), np.dtype("O"), False, ["a"])
    array = _Call(reconstruct, (np.ndarray, (0,), b"b"), state)
    place = forging.write_cifar(stage.place / "cifar", meta={b"label_names": array})
    return stage.refused("data", f"cifar10:{place}")


class _Call:
    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


@attack("a received family whose data is a hostile CIFAR archive")
def _(stage: Stage) -> Outcome | None:
    forging.write_cifar(stage.family / "cifar", meta=forging.Runs(stage.hacked))
    for folder in forging.networks(stage.family):
        spec = json.loads((folder / "spec.json").read_text())
        spec["data"]["source"] = f"cifar10:{stage.family}/cifar"
        (folder / "spec.json").write_text(json.dumps(spec))
        forging.reseal(folder)
    return first(
        [
            stage.withstood("report", stage.family, "-o", stage.place / "r.html"),
            stage.withstood("insight", stage.family, "--split", "train"),
        ]
    )


@attack("a stored spec that names torch.hub:load, trained by `study train`")
def _(stage: Stage) -> Outcome | None:
    repository = stage.place / "repository"
    repository.mkdir()
    (repository / "hubconf.py").write_text(
        forging.HACK.format(place=str(stage.hacked)) + "def m(**k): raise SystemError\n"
    )
    options = {"repo_or_dir": str(repository), "model": "m", "source": "local"}
    network = _begin(stage, "torch.hub:load", options)
    return stage.refused("study", "train", stage.family, network)


@attack("a stored spec that names a module beside the user, trained by `study train`")
def _(stage: Stage) -> Outcome | None:
    (stage.place / "planted_model.py").write_text(
        forging.HACK.format(place=str(stage.hacked)) + "def build(**k): raise SystemError\n"
    )
    network = _begin(stage, "planted_model:build", {})
    return stage.withstood(
        "study", "train", stage.family, network, code=2, before=lambda: _stand_in(stage.place)
    )


def _begin(stage: Stage, model: str, options: dict[str, Any]) -> str:
    """Write the spec of a network into the family, under its right id, in a child."""

    def write() -> str:
        from anew.family import Family

        family = Family.open(stage.family)
        spec = family.spec(stage.teacher.name)
        named = dataclasses.replace(spec.model, name=model, options=tuple(options.items()))
        return family.begin(dataclasses.replace(spec, model=named)).id

    ending = child.fork(write, stage.place / "outputs")
    assert ending.value, ending.err
    return ending.value


def _stand_in(place: Path) -> None:
    """Be in a folder, and import from it, as `python -m anew` does."""
    import sys

    os.chdir(place)
    sys.path.insert(0, str(place))


HEADERS: list[tuple[str, dict[str, Any]]] = [
    ("torch.hub:load", {"repo_or_dir": "REPOSITORY", "model": "m", "source": "local"}),
    ("os:system", {}),
    ("planted_model:build", {}),
    ("planted_package.planted_model:build", {}),
    ("timm:resnet10t", {"checkpoint_path": "PICKLE"}),
    ("timm:resnet10t", {"pretrained": True}),
    ("timm:resnet10t", {"pretrained_cfg": {"file": "PICKLE"}}),
    ("timm:resnet10t", {"pretrained_cfg_overlay": {"file": "PICKLE"}}),
    ("timm:resnet10t", {"cache_dir": "CANARY"}),
    ("timm:hf-hub:someone/something", {}),
    ("timm:local-dir:CANARY", {}),
    ("torchvision:resnet18", {"weights": "DEFAULT"}),
    ("torchvision:resnet18", {"weights_backbone": "PICKLE"}),
    ("torchvision:../../x", {}),
    ("timm:", {}),
    ("builtins:exec", {"source": "1"}),
]


def _with_header(name: str, options: dict[str, Any]) -> Attack:
    def run(stage: Stage) -> Outcome | None:
        package = stage.place / "planted_package"
        package.mkdir()
        code = forging.HACK.format(place=str(stage.hacked))
        for place in ("hubconf.py", "planted_model.py"):
            (stage.place / place).write_text(code)
            (package / place).write_text(code)
        poison = stage.place / "poison.pth"
        poison.write_bytes(pickle.dumps(forging.Runs(stage.hacked)))
        words = {
            "REPOSITORY": str(stage.place),
            "PICKLE": str(poison),
            "CANARY": str(stage.canary),
        }
        text = json.dumps(options)
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        model = {"name": name.replace("CANARY", str(stage.canary)), "options": json.loads(text)}
        for folder in forging.networks(stage.family):
            forging.change_header(
                folder / "weights.safetensors", lambda about: about.update(model=model)
            )
        weights = stage.teacher / "weights.safetensors"
        train = tiny.train(stage.reference.data, stage.place / "other", "--teacher", str(weights))
        return first(
            stage.withstood(*command, code=2, before=lambda: _stand_in(stage.place))
            for command in (
                ["predict", stage.family, stage.picture, "--network", stage.student.name],
                train,
            )
        )

    return run


for _name, _options in HEADERS:
    ATTACKS.append(
        (f"weights whose header names {_name} {_options}", _with_header(_name, _options))
    )


@attack("weights that are a pickle")
def _(stage: Stage) -> Outcome | None:
    poison = pickle.dumps(forging.Runs(stage.hacked))
    for folder in forging.networks(stage.family):
        for name in ("weights.safetensors", "outputs.safetensors", "best.safetensors"):
            (folder / name).write_bytes(poison)
        forging.reseal(folder)
    weights = str(stage.teacher / "weights.safetensors")
    train = tiny.train(stage.reference.data, stage.place / "other", "--teacher", weights)
    return first(
        stage.refused(*command)
        for command in (
            ["predict", stage.family, stage.picture, "--network", stage.student.name],
            ["evaluate", stage.family],
            train,
        )
    )


@attack("pickled objects in an npz file")
def _(stage: Stage) -> Outcome | None:
    objects = np.array([forging.Runs(stage.hacked)], object)
    path = forging.write_npz(stage.place / "x.npz", classes=objects)
    return stage.refused("data", f"npz:{path}")


@attack("PostScript as a picture")
def _(stage: Stage) -> Outcome | None:
    tools = stage.place / "tools"
    tools.mkdir()
    for name in ("gs", "gswin64c", "ghostscript"):
        (tools / name).write_text(f"#!/bin/sh\ntouch {stage.hacked}\nexit 1\n")
        (tools / name).chmod(0o755)
    path = os.environ["PATH"]
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    place = forging.write_folder_data(stage.place / "pictures")
    (place / "a" / "0.png").write_bytes(script)
    parquet = forging.write_parquet(stage.place / "p" / "train.parquet", images=[script] * 24)
    stage.picture.write_bytes(script)

    def with_tools() -> None:
        os.environ["PATH"] = f"{tools}:{path}"

    return first(
        stage.withstood(*command, code=2, before=with_tools)
        for command in (
            ["data", f"folder:{place}"],
            ["data", f"parquet:{parquet.parent}"],
            ["predict", stage.family, stage.picture, "--network", stage.student.name],
        )
    )


# Names and links that lead elsewhere.


def _planting(name: str) -> Attack:
    def run(stage: Stage) -> Outcome | None:
        target = name.replace("CANARY", str(stage.canary))
        planted = stage.teacher / target
        if not planted.exists():
            planted.parent.mkdir(parents=True, exist_ok=True)
            planted.write_text("planted")
        content = planted.read_bytes()
        record = json.loads((stage.teacher / "done.json").read_text())
        record["files"][target] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
        forging.write_record(stage.teacher / "done.json", record)
        out = stage.place / "deep" / "deeper" / "out"
        before = {str(path) for path in stage.place.rglob("*")}
        wrong = stage.withstood(
            *tiny.train(
                stage.reference.data, out, "--teacher", f"{stage.family}:{stage.teacher.name}"
            )
        )
        if wrong is not None:
            return wrong
        after = {str(path) for path in stage.place.rglob("*")}
        strange = [
            path
            for path in after - before
            if not path.startswith((f"{out}/", f"{stage.place}/outputs"))
            and Path(path) not in (out, *out.parents)
        ]
        if strange:
            return Outcome("wrong place", f"wrote {strange[0]}")
        inside = [path for path in out.rglob("*") if path.is_file() and _strange(path, out)]
        return Outcome("wrong place", f"planted {inside[0]}") if inside else None

    return run


def _strange(path: Path, out: Path) -> bool:
    known = re.compile(
        r"family\.json|networks/\.lock-guard|teachers/.*|reports/.*|networks/[0-9a-f]{16}/"
        r"(spec\.json|done\.json|metrics\.jsonl|(weights|best|outputs|epoch-\d+)\.safetensors)"
    )
    return not known.fullmatch(str(path.relative_to(out)))


for _name in (
    "../../../planted.py",
    "../../../../planted.py",
    "../planted.py",
    "planted.py",
    ".bashrc",
    "sub/planted.py",
    "lock",
    "state/state.safetensors",
    "CANARY/../planted.py",
):
    ATTACKS.append((f"a record that lists the file {_name}, copied by --teacher", _planting(_name)))


@attack("state/ is a link, of a finished network")
def _(stage: Stage) -> Outcome | None:
    for folder in forging.networks(stage.family):
        (folder / "state").symlink_to(stage.canary)
    return stage.withstood(*tiny.train(stage.reference.data, stage.family))


def _stopped(stage: Stage, at: int = 170) -> Path:
    """Put a family that died in the midst of its students in the place of the finished one."""
    shutil.rmtree(stage.family)
    tiny.run(
        tiny.train(stage.reference.data, stage.family),
        stage.place / "outputs",
        Fault("kill", at),
        stage.family,
    )
    return next(path.parent for path in stage.family.glob("networks/*/state"))


@attack("state/ is a link, of a network at work")
def _(stage: Stage) -> Outcome | None:
    folder = _stopped(stage)
    (stage.canary / "state.safetensors").unlink()
    shutil.move(folder / "state" / "state.safetensors", stage.canary)
    shutil.rmtree(folder / "state")
    (folder / "state").symlink_to(stage.canary)
    kept = {"thesis.tex", ".x.1.tmp"}
    ending = stage.anew(*tiny.train(stage.reference.data, stage.family))
    wrong = judge(ending)
    if wrong is not None:
        return wrong
    if not kept <= {path.name for path in stage.canary.iterdir()}:
        return Outcome("wrong place", "a user's files beside the linked state are gone")
    return None


def _linked(name: str) -> Attack:
    def run(stage: Stage) -> Outcome | None:
        folder = _stopped(stage)
        stage.before = tiny.seal_of(stage.canary)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(stage.canary / "thesis.tex")
        return stage.withstood(*tiny.train(stage.reference.data, stage.family))

    return run


for _name in (
    "metrics.jsonl",
    "weights.safetensors",
    "outputs.safetensors",
    "best.safetensors",
    "epoch-1.safetensors",
    "lock",
    "spec.json",
    "state/state.safetensors",
):
    ATTACKS.append((f"{_name} is a link, of a network at work", _linked(_name)))


def _linked_folder(name: str) -> Attack:
    def run(stage: Stage) -> Outcome | None:
        _stopped(stage)
        place = next(iter(stage.family.glob(name)))
        shutil.rmtree(place)
        place.symlink_to(stage.canary)
        return first(
            [
                stage.withstood(*tiny.train(stage.reference.data, stage.family)),
                stage.withstood("verify", stage.family),
                stage.withstood("show", stage.family),
            ]
        )

    return run


for _name in ("teachers", "teachers/*", "teachers/*/*", "networks"):
    ATTACKS.append((f"{_name} is a link to somebody's folder", _linked_folder(_name)))


@attack("files of a store are links")
def _(stage: Stage) -> Outcome | None:
    for folder in forging.networks(stage.family)[1:]:
        shutil.rmtree(folder)
    (store,) = stage.family.glob("teachers/*/*")
    for name in ("rows.u16", "filled.u8", ".lock"):
        kept = stage.canary / name
        kept.write_bytes(bytes((store / name).stat().st_size))
        (store / name).unlink()
        (store / name).symlink_to(kept)
    stage.before = tiny.seal_of(stage.canary)
    return stage.withstood(*tiny.train(stage.reference.data, stage.family))


# Texts that deceive a terminal or a spreadsheet.


def _named_data(stage: Stage, name: str) -> list[str]:
    """Return sources of data whose classes have a name."""
    npz = forging.write_npz(stage.place / "n.npz", classes=np.array(["a", name]))
    parquet = forging.write_parquet(stage.place / "p" / "train.parquet", ("a", name))
    folder = forging.write_folder_data(stage.place / "f", ("a", name.replace("/", "-")))
    return [f"npz:{npz}", f"parquet:{parquet.parent}", f"folder:{folder}"]


@attack("escapes in names of classes: data")
def _(stage: Stage) -> Outcome | None:
    return first(stage.withstood("data", source) for source in _named_data(stage, ESCAPE))


def _family_of(stage: Stage, classes: tuple[str, ...]) -> Path:
    """Train a tiny family whose classes have names."""
    path = forging.write_npz(stage.place / "named.npz", classes=np.array(classes))
    out = stage.place / "named"
    ending = stage.anew(*tiny.train(path, out))
    assert ending.code == 0, ending.err
    return out


@attack("escapes in names of classes: predict, insight, report")
def _(stage: Stage) -> Outcome | None:
    out = _family_of(stage, ("a", ESCAPE))
    network = forging.networks(out)[-1].name
    named = stage.place / f"{ESCAPE}.png"
    named.write_bytes(forging.picture())
    return first(
        stage.withstood(*command)
        for command in (
            *(
                ["predict", out, stage.picture, "--network", network, "--format", form]
                for form in ("table", "csv", "json")
            ),
            *(
                ["insight", out, "--network", network, "--format", form]
                for form in ("table", "markdown", "json")
            ),
            ["report", out, "-o", stage.place / "r.html"],
            *(
                ["predict", out, named, "--network", network, "--format", form]
                for form in ("table", "csv", "json")
            ),
        )
    )


@attack("escapes in what a user gives: every message")
def _(stage: Stage) -> Outcome | None:
    text = ESCAPE
    return first(
        stage.withstood(*command)
        for command in (
            ["show", stage.place / text],
            ["show", stage.family, text],
            ["verify", stage.place / text],
            ["evaluate", stage.place / text],
            ["predict", stage.family, text, "--network", stage.student.name],
            ["predict", stage.family, stage.picture, "--network", text],
            ["predict", stage.family, stage.picture, "--generations", text],
            ["models", text],
            ["models", "mlp", "--input", text],
            ["data", text],
            ["data", f"npz:{text}"],
            ["study", "show", text, stage.family],
            ["study", "plan", "table2", "--rows", text],
            ["report", stage.family, text],
            ["train", "--model", text, "--out", stage.place / "o"],
            ["train", "--objective", text, "--out", stage.place / "o"],
            ["train", "--teacher", text, "--out", stage.place / "o"],
            ["train", "--recipe", text, "--out", stage.place / "o"],
            ["train", "--device", text, "--out", stage.place / "o"],
            ["train", f"--{text}", "1"],
            [text],
        )
    )


@attack("escapes in a path to a family")
def _(stage: Stage) -> Outcome | None:
    place = stage.place / f"family {ESCAPE}"
    shutil.copytree(stage.family, place)
    return first(
        stage.withstood(*command)
        for command in (
            ["show", place],
            ["verify", place],
            ["evaluate", place],
            ["insight", place, "--network", stage.student.name],
            ["report", place, "-o", stage.place / "r.html"],
            tiny.train(stage.reference.data, place),
        )
    )


STUDY = """
title = {title}
seeds = [0]
[data]
source = {source}
[training]
epochs = 2
batch_size = 32
[rows]
{row} = "small_cnn"
[columns.Teacher]
[columns.{column}]
teacher = "Teacher"
objective = "ban"
"""


def _study(stage: Stage, name: str) -> Path:
    path = stage.place / "study.toml"
    quoted = json.dumps(name).replace("\x7f", "\\u007f")
    source = json.dumps(f"npz:{stage.reference.data}")
    path.write_text(STUDY.format(title=quoted, source=source, row=quoted, column=quoted))
    return path


@attack("escapes in a study")
def _(stage: Stage) -> Outcome | None:
    path = _study(stage, ESCAPE)
    forms = ("table", "markdown", "csv", "latex", "json")
    return first(
        [
            stage.withstood("study", "plan", path, "--rate", "1000"),
            *(stage.withstood("study", "show", path, stage.family, "--format", f) for f in forms),
        ]
    )


@attack("escapes in keys and values of a recipe")
def _(stage: Stage) -> Outcome | None:
    path = stage.place / "recipe.toml"
    name = json.dumps(ESCAPE).replace("\x7f", "\\u007f")
    outcomes = []
    for text in (
        f"{name} = 1",
        f"[model]\nname = {name}",
        f"[model]\n{name} = 1",
        f"[data]\nsource = {name}",
        f"[model.options]\n{name} = {name}",
        f"[training]\noptimizer = {name}",
        f"teacher = {name}",
    ):
        path.write_text(text)
        outcomes.append(stage.refused("train", "--recipe", path, "--out", stage.place / "o"))
    return first(outcomes)


def _formulas(text: str) -> Outcome | None:
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(cell):
                return Outcome("formula", repr(cell))
    return None


def _is_number(text: str) -> bool:
    """Return whether a cell is a number, an interval of two, or the dash for none."""
    if text == "-":
        return True
    try:
        for word in text.split(" to "):
            float(word)
    except ValueError:
        return False
    return True


@attack("formulas in names of classes and files: predict as CSV")
def _(stage: Stage) -> Outcome | None:
    out = _family_of(stage, ("a", FORMULA))
    named = stage.place / "=cmd|calc.png"
    named.write_bytes(forging.picture())
    ending = stage.anew(
        "predict",
        out,
        "=cmd|calc.png",
        "--format",
        "csv",
        "--network",
        forging.networks(out)[-1].name,
        before=lambda: os.chdir(stage.place),
    )
    wrong = judge(ending)
    if wrong is None and ending.code:
        return Outcome("refused", ending.err)
    return wrong or _formulas(ending.out)


@attack("formulas in a study as CSV")
def _(stage: Stage) -> Outcome | None:
    ending = stage.anew("study", "show", _study(stage, FORMULA), stage.family, "--format", "csv")
    return judge(ending) or _formulas(ending.out)


@attack("formulas in a report's CSV files")
def _(stage: Stage) -> Outcome | None:
    out = _family_of(stage, ("a", FORMULA))
    page = stage.place / "r.html"
    wrong = stage.withstood("report", out, "-o", page)
    if wrong is not None:
        return wrong
    found = re.search(r'[\[{:,]\s*"(=HYPERLINK[^"]*\\")', page.read_text())
    files = list(stage.place.rglob("*.csv"))
    return first(_formulas(path.read_text()) for path in files) or (
        Outcome("formula", "in the data of the page") if found and "text/csv" in found[0] else None
    )


@attack("HTML in names of classes, files and paths: report")
def _(stage: Stage) -> Outcome | None:
    tag = "</script><script>alert(71)</script><img src=x onerror=alert(72)>"
    out = _family_of(stage, ("a", tag))
    page = stage.place / "r.html"
    wrong = stage.withstood("report", out, "-o", page)
    if wrong is not None:
        return wrong
    text = page.read_text()
    for sign in ("<script>alert(71)", "<img src=x onerror"):
        if sign in text:
            return Outcome("HTML", f"{sign} is in the page")
    return None


# Bombs, and what a machine cannot hold.


@attack("a small npz file that becomes gigabytes")
def _(stage: Stage) -> Outcome | None:
    path = stage.place / "bomb.npz"
    _write_bomb(path, {"x": (2_000_000_000,), "y": (3, 3)})
    return stage.refused("data", f"npz:{path}")


@attack("an npz file whose headers ask for terabytes")
def _(stage: Stage) -> Outcome | None:
    path = stage.place / "bomb.npz"
    _write_bomb(path, {"x": (10**13,), "y": (10**13,)}, whole=False)
    return stage.refused("data", f"npz:{path}")


def _write_bomb(path: Path, shapes: dict[str, tuple[int, ...]], whole: bool = True) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, shape in shapes.items():
            header = io.BytesIO()
            described = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(header, described)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                file.write(header.getvalue())
                left = int(np.prod(shape)) if whole else 1000
                zeros = bytes(1 << 24)
                while left > 0:
                    file.write(zeros[:left])
                    left -= len(zeros)


@attack("a small gzipped IDX file that becomes gigabytes")
def _(stage: Stage) -> Outcome | None:
    place = forging.write_idx(stage.place / "idx")
    images = place / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.unlink()
    with gzip.open(f"{images}.gz", "wb", compresslevel=1) as file:
        file.write(bytes([0, 0, 8, 3]) + struct.pack(">III", 40, 8, 8))
        for _ in range(180):
            file.write(bytes(1 << 24))
    return stage.refused("data", f"mnist:{place}")


@attack("many small PNG files that become gigabytes")
def _(stage: Stage) -> Outcome | None:
    place = forging.write_folder_data(stage.place / "f")
    for number in range(24):
        name = "ab"[number % 2]
        (place / name / f"big{number}.png").write_bytes(forging.picture(size=(9000, 9000)))
    return stage.refused("data", f"folder:{place}")


@attack("a Parquet file of one picture of 80 million pixels a row")
def _(stage: Stage) -> Outcome | None:
    images = [forging.picture(size=(9000, 9000))] * 24
    path = forging.write_parquet(stage.place / "p" / "train.parquet", images=images)
    return stage.withstood("data", f"parquet:{path.parent}", code=2)


@attack("a Parquet file that says it has 10^9 rows")
def _(stage: Stage) -> Outcome | None:
    import pyarrow
    import pyarrow.parquet

    place = stage.place / "p"
    place.mkdir()
    labels = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(np.zeros(40_000_000, np.int8)), pyarrow.array([forging.picture()])
    )
    table = pyarrow.table({"image": labels, "label": pyarrow.array(np.zeros(40_000_000, np.int8))})
    pyarrow.parquet.write_table(table, place / "train.parquet")
    return stage.withstood("data", f"parquet:{place}", code=2)


def _too_large(*more: str) -> Attack:
    def run(stage: Stage) -> Outcome | None:
        out = stage.place / "other"
        return stage.refused(*tiny.train(stage.reference.data, out, *more))

    return run


for _more in (
    ("--model", "mlp", "--model.options", "width=40000"),
    ("--model", "small_cnn", "--model.options", "width=3000"),
    (
        "--model",
        "wide_resnet-28-100",
    ),
    ("--batch-size", "1000000000"),
    ("--model.options", "width=1000000000000"),
):
    ATTACKS.append((f"more than memory holds: {' '.join(_more)}", _too_large(*_more)))


# Mistakes and accidents around a run.


@attack("stdout is closed")
def _(stage: Stage) -> Outcome | None:
    return first(
        stage.withstood(*command, code=0, before=_close_stdout)
        for command in (
            ["models"],
            ["show", stage.family],
            ["verify", stage.family],
            tiny.train(stage.reference.data, stage.place / "other"),
        )
    )


def _close_stdout() -> None:
    import sys

    os.close(1)
    sys.stdout = None  # type: ignore[assignment]


@attack("stderr is a full disk")
def _(stage: Stage) -> Outcome | None:
    out = stage.place / "other"

    def full() -> None:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
        child.open_streams()

    ending = stage.anew(*tiny.train(stage.reference.data, out), before=full)
    if ending.code != 0:
        return Outcome("ended the training", f"exit {ending.code}, signal {ending.signal}")
    return tiny.goes_on(stage.reference, out, stage.place)


@attack("stdout is a full disk")
def _(stage: Stage) -> Outcome | None:
    out = stage.place / "other"

    def full() -> None:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        child.open_streams()

    ending = stage.anew(*tiny.train(stage.reference.data, out), before=full)
    return judge(ending) or tiny.goes_on(stage.reference, out, stage.place)


def _signalled(number: signal.Signals) -> Attack:
    def run(stage: Stage) -> Outcome | None:
        out = stage.place / "other"
        command = tiny.train(stage.reference.data, out)
        running = tiny.start(command, stage.place / "outputs", Fault("stop", 150), out)
        if not running.wait_until_stopped():
            return Outcome("not stopped")
        running.send(number)
        running.send(signal.SIGCONT)
        ending = running.wait()
        code = ending.value[0] if ending.value else ending.code
        if code != 130 or "saved" not in ending.err:
            return Outcome("did not save", f"exit {code}, signal {ending.signal}")
        return tiny.goes_on(stage.reference, out, stage.place)

    return run


for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    ATTACKS.append((f"{_number.name} during training", _signalled(_number)))


@attack("named pipes in a family and among pictures")
def _(stage: Stage) -> Outcome | None:
    place = forging.write_folder_data(stage.place / "f")
    os.mkfifo(place / "a" / "pipe.png")
    os.mkfifo(stage.student / "best.safetensors.x")
    (stage.student / "metrics.jsonl").unlink()
    os.mkfifo(stage.student / "metrics.jsonl")
    return first(
        stage.withstood(*command)
        for command in (
            ["data", f"folder:{place}"],
            ["show", stage.family],
            ["verify", stage.family],
            ["report", stage.family, "-o", stage.place / "r.html"],
        )
    )


@attack("named pipes in the places of files of a network at work")
def _(stage: Stage) -> Outcome | None:
    folder = _stopped(stage)
    for name in ("metrics.jsonl", "state/state.safetensors"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    return stage.withstood(*tiny.train(stage.reference.data, stage.family))


@attack("names that are not UTF-8")
def _(stage: Stage) -> Outcome | None:
    name = os.fsdecode(b"\xe9t\xe9")
    out, pictures = stage.place / name, stage.place / "f"
    forging.write_folder_data(pictures, ("a", name))
    shutil.copytree(stage.family, out)
    network = stage.student.name
    picture = stage.place / f"{name}.png"
    shutil.copy(stage.picture, picture)
    return first(
        stage.withstood(*command)
        for command in (
            ["show", out],
            ["verify", out],
            ["evaluate", out, "--json"],
            ["report", out, "-o", stage.place / "r.html"],
            ["report", out],
            ["data", f"folder:{pictures}"],
            ["predict", out, picture, "--network", network],
            ["predict", out, picture, "--network", network, "--format", "json"],
            ["predict", out, picture, "--network", network, "--format", "csv"],
            [
                "train",
                "--data",
                f"folder:{pictures}",
                "--epochs",
                "1",
                "--batch-size",
                "8",
                "--generations",
                "1",
                "--force",
                "--out",
                stage.place / "o",
                "--device",
                "cpu",
            ],
        )
    )


@attack("files of another kind in a family's folders")
def _(stage: Stage) -> Outcome | None:
    networks = stage.family / "networks"
    (networks / "notes.txt").write_text("mine")
    (networks / "backup").mkdir()
    (networks / "link").symlink_to(stage.canary)
    (stage.student / "notes.txt").write_text("mine")
    (stage.family / "teachers" / "notes.txt").write_text("mine")
    seal = {"networks/notes.txt", "networks/backup", "teachers/notes.txt"}
    wrong = first(
        stage.withstood(*command)
        for command in (
            ["show", stage.family],
            ["verify", stage.family],
            ["evaluate", stage.family],
            tiny.train(stage.reference.data, stage.family),
        )
    )
    if wrong is None and not all((stage.family / name).exists() for name in seal):
        return Outcome("wrong place", "a user's files are gone")
    return wrong


# Numbers that are none.


def _header_value(key: str, value: object) -> Attack:
    def run(stage: Stage) -> Outcome | None:
        for folder in forging.networks(stage.family):
            forging.change_header(
                folder / "weights.safetensors", lambda about: about.update({key: value})
            )
        network = stage.student.name
        weights = str(stage.teacher / "weights.safetensors")
        return first(
            stage.refused(*command)
            for command in (
                ["predict", stage.family, stage.picture, "--network", network],
                tiny.train(stage.reference.data, stage.place / "o", "--teacher", weights),
            )
        )

    return run


for _key, _value in (
    ("std", [0.0]),
    ("std", [-1.0]),
    ("std", [float("nan")]),
    ("std", [float("inf")]),
    ("std", [1e-40]),
    ("std", []),
    ("std", [1.0] * 5),
    ("mean", [float("nan")]),
    ("mean", [float("-inf")]),
    ("mean", ["0"]),
    ("mean", None),
    ("input_shape", [float("inf"), 8, 8]),
    ("input_shape", [1, 8, 10**12]),
    ("input_shape", [1, -8, 8]),
    ("input_shape", []),
    ("input_shape", [True, 8, 8]),
    ("classes", []),
    ("classes", ["a", "a", "a"]),
    ("classes", [1, 2, 3]),
    ("classes", "abc"),
    ("model", None),
    ("model", {"name": "small_cnn", "options": {"width": 10**12}}),
):
    ATTACKS.append((f"weights whose {_key} is {_value}", _header_value(_key, _value)))


def _tensors_of(kind: str) -> Attack:
    def run(stage: Stage) -> Outcome | None:
        header, tensors = forging.read_header(stage.teacher / "weights.safetensors")
        header.pop("__metadata__")
        parts: list[bytes] = []
        end = 0
        for about in header.values():
            start, stop = about["data_offsets"]
            values = np.frombuffer(tensors[start:stop], np.float32)
            if about["dtype"] == "F32":
                if kind == "nan":
                    values = np.full_like(values, np.nan)
                else:
                    values = values.astype({"I64": np.int64, "C64": np.complex64}[kind])
                    about["dtype"] = kind
                content = values.tobytes()
            else:
                content = tensors[start:stop]
            about["data_offsets"] = [end, end + len(content)]
            end += len(content)
            parts.append(content)
        given = stage.place / "given.safetensors"
        forging.write_header(given, header, b"".join(parts))
        out = stage.place / "other"
        command = tiny.train(stage.reference.data, out, "--teacher", str(given))
        return stage.refused(*[one for one in command if one != "--force"])

    return run


for _kind in ("I64", "C64", "nan"):
    ATTACKS.append((f"--teacher FILE of {_kind} numbers", _tensors_of(_kind)))


@attack("JSON of outputs that are not finite")
def _(stage: Stage) -> Outcome | None:
    for folder in forging.networks(stage.family):
        header, tensors = forging.read_header(folder / "outputs.safetensors")
        changed = bytearray(tensors)
        for name, about in header.items():
            if name.endswith((".last", ".best")):
                start, end = about["data_offsets"]
                values = np.full((end - start) // 4, np.inf, np.float32)
                values[::3] = 3e38
                changed[start:end] = values.tobytes()
        forging.write_header(folder / "outputs.safetensors", header, bytes(changed))
        forging.reseal(folder)
    for command in (
        ["evaluate", stage.family, "--json"],
        ["insight", stage.family, "--network", stage.student.name, "--format", "json"],
    ):
        ending = stage.anew(*command)
        wrong = judge(ending)
        if wrong is not None:
            return wrong
        if ending.code == 0:
            try:
                json.loads(ending.out, parse_constant=_no_number)
            except ValueError as error:
                return Outcome("invalid JSON", f"{command[0]}: {error}")
    return None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


@attack("a network that is its own teacher")
def _(stage: Stage) -> Outcome | None:
    spec = json.loads((stage.student / "spec.json").read_text())
    spec["teachers"] = [stage.student.name]
    (stage.student / "spec.json").write_text(json.dumps(spec))
    forging.reseal(stage.student)
    return first(
        stage.refused(command, stage.family) for command in ("show", "verify", "evaluate", "report")
    )


@attack("networks that teach each other")
def _(stage: Stage) -> Outcome | None:
    one, other = forging.networks(stage.family)[-2:]
    for folder, teacher in ((one, other), (other, one)):
        spec = json.loads((folder / "spec.json").read_text())
        spec["teachers"] = [teacher.name]
        (folder / "spec.json").write_text(json.dumps(spec))
        forging.reseal(folder)
    return first(
        stage.refused(command, stage.family) for command in ("show", "verify", "evaluate", "report")
    )
