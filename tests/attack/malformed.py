"""Damaged and impossible files and values, drawn from a seed, for the commands that read them.

What must come: success with the answer that the undamaged file gives, or one line and exit code 2.
Where the damage has right hashes, or is in what a user brings, any answer will do that is no
traceback, no hang, and no control characters.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attack import child, forging, mutate, tiny
from attack.cases import Case, Outcome, judge
from attack.faults import Fault
from attack.mutate import Dice
from attack.tiny import Reference

FINISHED = (
    "family.json",
    "spec.json",
    "done.json",
    "metrics.jsonl",
    "weights.safetensors",
    "best.safetensors",
    "epoch-1.safetensors",
    "outputs.safetensors",
)
STOPPED = ("state/state.safetensors", "metrics.jsonl", "spec.json", "lock")
STORE = ("header.json", "rows.u16", "filled.u8")
PICTURES = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
DATA_SECONDS = 20.0


@dataclass(frozen=True)
class Fixtures:
    """What is copied and damaged."""

    reference: Reference
    place: Path
    answers: dict[str, str]
    """What commands print of the undamaged family, by their first words."""

    @property
    def stopped(self) -> Path:
        return self.place / "stopped"

    @property
    def student(self) -> str:
        return forging.networks(self.reference.family)[-1].name


def cases(reference: Reference, work: Path, seed: int, count: int) -> list[Case]:
    """Return the attacks; what each damages is drawn by its number."""
    fixtures = _prepare(reference, work / "fixtures")
    made: list[Case] = []
    for number in range(count):
        dice = random.Random(f"{seed} malformed {number}")
        name, attack = dice.choices(
            [(name, attack) for name, (attack, _) in TARGETS.items()],
            [weight for _, weight in TARGETS.values()],
        )[0]
        made.append(
            Case("malformed", number, name, _bound(attack, fixtures, dice), f"malformed {name}")
        )
    return made


def _bound(attack: Any, fixtures: Fixtures, dice: Dice) -> Callable[[Path], Outcome]:
    def run(place: Path) -> Outcome:
        canary, here = place / "canary", place / "here"
        for folder in (canary, here):
            folder.mkdir()
        (canary / "thesis.tex").write_text("years of work")
        os.chdir(here)
        wrong = attack(fixtures, dice, place)
        if wrong is None and tiny.seal_of(canary).keys() != {"thesis.tex"}:
            return Outcome("wrong place", "the canary has changed")
        if wrong is None and any(here.iterdir()):
            return Outcome("wrong place", f"{[path.name for path in here.iterdir()]} are new")
        return wrong or Outcome()

    return run


def _prepare(reference: Reference, place: Path) -> Fixtures:
    place.mkdir()
    (place / "a.png").write_bytes(forging.picture())
    fixtures = Fixtures(reference, place, {})
    family = fixtures.stopped
    kept = [n for n, (_, path) in enumerate(reference.changes) if "epoch-1" in path]
    at = kept[-1] + 25
    tiny.run(tiny.train(reference.data, family), place / "outputs", Fault("kill", at), family)
    # Within the second epoch, with a line of metrics of the first.
    students = [path.parent for path in family.glob("networks/*/state")]
    assert len(students) == 2 and all((folder / "metrics.jsonl").exists() for folder in students)
    for command in _readers(fixtures, reference.family):
        ending = child.anew(*command, folder=place / "outputs")
        assert ending.code == 0, (command, ending.err)
        fixtures.answers[_words(command)] = _plain(ending.out, reference.family)
    return fixtures


def _readers(fixtures: Fixtures, family: Path) -> list[list[object]]:
    """Return the commands that read a finished family and always answer the same."""
    student = fixtures.student
    return [
        ["verify", family],
        ["show", family],
        ["show", family, student],
        ["evaluate", family, "--json"],
        ["evaluate", family, "--split", "validation"],
        ["predict", family, fixtures.place / "a.png", "--network", student, "--format", "json"],
        ["predict", family, fixtures.place / "a.png", "--network", student, "--generations", "all"],
        ["insight", family, "--network", student, "--format", "json"],
        tiny.train(fixtures.reference.data, family),
    ]


def _words(command: Sequence[object]) -> str:
    return " ".join(str(word) for word in [command[0], *command[2:]] if "/" not in str(word))


def _plain(text: str, family: Path) -> str:
    return text.replace(str(family), "FAMILY")


def _change(dice: Dice, path: Path) -> str:
    """Damage a file, knowing its format or not; return how."""
    if dice.random() < 0.06:
        return mutate.damage_place(dice, path)
    content = path.read_bytes()
    how, damaged = mutate.damage_bytes(dice, content)
    structured = dice.random() < 0.5
    if structured and path.suffix == ".json":
        how, value = mutate.damage_json(dice, json.loads(content))
        damaged = mutate.write_json(value)
    elif structured and path.suffix == ".jsonl":
        lines = content.splitlines()
        number = dice.randrange(len(lines))
        how, value = mutate.damage_json(dice, json.loads(lines[number]))
        lines[number] = mutate.write_json(value)
        damaged = b"\n".join(lines) + b"\n"
    elif path.suffix == ".safetensors" and dice.random() < 0.6:
        how, damaged = dice.choice([_change_header, _change_numbers])(dice, path)
    if damaged == content:
        how, damaged = mutate.damage_bytes(dice, content)
    path.write_bytes(damaged)
    return how


def _change_numbers(dice: Dice, path: Path) -> tuple[str, bytes]:
    """Return a safetensors file in which numbers of a tensor are far from what they were."""
    header, tensors = forging.read_header(path)
    name = dice.choice([name for name in header if name != "__metadata__"])
    start, end = header[name]["data_offsets"]
    size = {"F32": 4, "I64": 8}.get(header[name]["dtype"], 1)
    damaged = bytearray(tensors)
    for _ in range(dice.choice([1, 20])):
        # The highest bit but one of a number: of a float, it is the highest of the exponent.
        damaged[start + size * dice.randrange(max(1, (end - start) // size)) + size - 1] ^= 0x40
    content = path.read_bytes()
    return f"numbers of {name}", content[: len(content) - len(tensors)] + bytes(damaged)


def _change_header(dice: Dice, path: Path) -> tuple[str, bytes]:
    """Return a safetensors file with a value of its header, or of anew's in it, changed."""
    header, tensors = forging.read_header(path)
    if dice.random() < 0.6:
        about = json.loads(header["__metadata__"]["anew"])
        how, about = mutate.damage_json(dice, about)
        header["__metadata__"]["anew"] = mutate.write_json(about).decode("utf-8", "replace")
        text = json.dumps(header).encode()
    else:
        how, header = mutate.damage_json(dice, header)
        text = mutate.write_json(header)
    length = len(text) if dice.random() < 0.9 else dice.choice([0, 1, 2**40, 2**63, 2**64 - 1])
    return f"header: {how}", struct.pack("<Q", length) + text + tensors


def _finished(fixtures: Fixtures, dice: Dice, place: Path, sealed: bool) -> Outcome | None:
    family = tiny.same_family(fixtures.reference, place / "family")
    name = dice.choice(FINISHED)
    folder = family if name == "family.json" else dice.choice(forging.networks(family))
    path = folder / name
    before = path.read_bytes()
    how = f"{name}: {_change(dice, path)}"
    if sealed:
        try:
            forging.reseal(folder)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
            how += ", not sealed"
    seal = tiny.seal_of(family)

    commands = _readers(fixtures, family)
    drawn = [commands[0], *dice.sample(commands[1:], 3)]
    if dice.random() < 0.1:
        drawn.append(["report", family, "-o", place / "r.html"])
    for command in drawn:
        outcome = _read(fixtures, family, command, place, sealed)
        if outcome is not None:
            return Outcome(outcome.how, f"`{command[0]}` of {how}: {outcome.detail}")
        harmless = sealed or _means_the_same(name, before, path)
        if command[0] == "verify" and not harmless and _verified(family, place):
            return Outcome("silent acceptance", f"`verify` of {how}")
    after = tiny.seal_of(family)
    changed = [name for name in seal | after if seal.get(name) != after.get(name)]
    changed = [one for one in changed if not one.startswith("reports")]
    return Outcome("changed files", f"{how}: {changed[:3]}") if changed else None


def _verified(family: Path, place: Path) -> bool:
    return child.anew("verify", family, folder=place / "outputs").code == 0


def _means_the_same(name: str, before: bytes, path: Path) -> bool:
    if name == "family.json":
        # It holds a number and a sentence; neither is sealed, and a wrong number is refused.
        return True
    if name != "done.json":
        return False
    try:
        return json.loads(before) == json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False


def _read(
    fixtures: Fixtures, family: Path, command: list[object], place: Path, sealed: bool
) -> Outcome | None:
    """Run a command that reads; its answer is the undamaged family's, or it refuses in one line."""
    ending = child.anew(*command, folder=place / "outputs")
    wrong = judge(ending)
    if wrong is not None:
        return wrong
    if "--json" in command or "json" in command:
        try:
            if ending.code == 0:
                json.loads(ending.out, parse_constant=_no_number)
        except ValueError as error:
            return Outcome("invalid JSON", str(error))
    expected = fixtures.answers.get(_words(command))
    if ending.code != 0 or sealed or expected is None or _plain(ending.out, family) == expected:
        return None
    return Outcome("silent acceptance", "another answer, exit code 0")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def damaged(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage a file of a finished network."""
    return _finished(fixtures, dice, place, sealed=False)


def sealed(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage a file of a finished network, and write the right hash into its record."""
    return _finished(fixtures, dice, place, sealed=True)


def stopped(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage a file of a network at work; the same command refuses, or ends with the same bits."""
    family = place / "family"
    shutil.copytree(fixtures.stopped, family)
    folder = dice.choice([path.parent for path in sorted(family.glob("networks/*/state"))])
    path = folder / dice.choice(STOPPED)
    how = f"{path.name}: {_change(dice, path)}"
    return _goes_on(fixtures, family, place, how)


def store(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage the stored targets that new students learn from."""
    family = tiny.same_family(fixtures.reference, place / "family")
    for folder in forging.networks(family)[1:]:
        shutil.rmtree(folder)
    (folder,) = family.glob("teachers/*/*")
    path = folder / dice.choice(STORE)
    how = f"{path.name}: {_change(dice, path)}"
    verified = judge(child.anew("verify", family, folder=place / "outputs"))
    if verified is not None:
        return Outcome(verified.how, f"`verify` of {how}: {verified.detail}")
    return _goes_on(fixtures, family, place, how, ignored="teachers/*/set-aside-*")


def _goes_on(
    fixtures: Fixtures, family: Path, place: Path, how: str, ignored: str = ""
) -> Outcome | None:
    """Give the command of the run again; what `ignored` matches it may leave behind."""
    ending = child.anew(*tiny.train(fixtures.reference.data, family), folder=place / "outputs")
    wrong = judge(ending)
    if wrong is not None:
        return Outcome(wrong.how, f"`train` after {how}: {wrong.detail}")
    if ending.code != 0:
        return None
    # Damaged targets are set aside, never removed: somebody may want to look at them.
    for kept in family.glob(ignored) if ignored else ():
        shutil.rmtree(kept)
    other = fixtures.reference.compare(family)
    if other is None:
        return None
    # What was damaged before, such as a file that nobody reads, is no harm of the training.
    return Outcome("silent acceptance", f"`train` after {how}: {other.how} {other.detail}")


def given(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage weights that are given by --teacher, as a file or as a network of another family."""
    family = tiny.same_family(fixtures.reference, place / "family")
    folder = forging.networks(family)[0]
    how = _change(dice, folder / "weights.safetensors")
    teacher = str(folder / "weights.safetensors")
    if dice.random() < 0.3:
        try:
            forging.reseal(folder)
        except OSError:
            how += ", not sealed"
        teacher = f"{family}:{folder.name}"
    command = tiny.train(fixtures.reference.data, place / "other", "--teacher", teacher)
    wrong = judge(child.anew(*command, folder=place / "outputs"))
    return wrong and Outcome(wrong.how, f"{how}: {wrong.detail}")


RECIPE = """generations = 1
seed = 3
teacher = ""
sibling_seeds = [1]
[model]
name = "small_cnn"
[model.options]
width = 4
[data]
source = "npz:{data}"
validation = 0.1
[training]
epochs = 1
batch_size = 32
learning_rate = 0.1
weight_decay = 0.0001
optimizer = "sgd"
schedule = "cosine"
[objective]
name = "kd"
temperature = 2.0
alpha = 0.5
"""


def recipe(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage a recipe."""
    text = RECIPE.format(data=fixtures.reference.data).replace('teacher = ""\n', "")
    how, content = mutate.damage_toml(dice, text)
    path = place / "recipe.toml"
    path.write_bytes(content)
    ending = child.anew(
        "train", "--recipe", path, "--out", place / "family", "--epochs", "1", "--force",
        "--device", "cpu", "--threads", "1", "--no-page", folder=place / "outputs",
    )  # fmt: skip
    wrong = judge(ending, starts=True)
    return wrong and Outcome(wrong.how, f"{how}: {wrong.detail}")


STUDY = """title = "A study"
seeds = [0, 1]
reference = "Teacher"
[data]
source = "npz:{data}"
[training]
epochs = 2
batch_size = 32
[rows]
small = "small_cnn"
wide = {{ name = "small_cnn", options = {{ width = 8 }} }}
[columns.Teacher]
[columns.BAN]
teacher = "Teacher"
objective = "ban"
[columns.KD]
teacher = "Teacher"
objective = {{ name = "kd", temperature = 2.0 }}
[columns.Both]
ensemble = ["Teacher", "BAN"]
"""


def study(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage a study of one's own."""
    text = STUDY.format(data=fixtures.reference.data).replace('reference = "Teacher"\n', "")
    how, content = mutate.damage_toml(dice, text)
    path = place / "study.toml"
    path.write_bytes(content)
    form = dice.choice(["table", "markdown", "csv", "latex", "json"])
    for command in (
        ["study", "plan", path, "--rate", "1000"],
        ["study", "show", path, fixtures.reference.family, "--format", form],
    ):
        ending = child.anew(*command, folder=place / "outputs")
        wrong = judge(ending)
        if wrong is not None:
            return Outcome(wrong.how, f"`study {command[1]}` {how}: {wrong.detail}")
    return None


def _data(source: str, how: str, place: Path) -> Outcome | None:
    ending = child.anew("data", source, folder=place / "outputs")
    wrong = judge(ending)
    return wrong and Outcome(wrong.how, f"{how}: {wrong.detail}")


def npz(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage an npz file, or write arrays that are no examples."""
    path = place / "x.npz"
    if dice.random() < 0.4:
        forging.write_npz(path, classes=np.array(["a", "b"]))
        how, content = mutate.damage_bytes(dice, path.read_bytes())
        path.write_bytes(content)
    else:
        name, value = dice.choice(_odd_arrays())
        key = dice.choice(["x", "y", "classes", "x_test", "y_test", "x_train"])
        how = f"{key} is {name}"
        forging.write_npz(path, **{key: value})
    return _data(f"npz:{path}", how, place)


def _odd_arrays() -> list[tuple[str, np.ndarray]]:
    return [
        ("a number", np.array(3)),
        ("empty", np.zeros(0)),
        ("empty pictures", np.zeros((0, 8, 8))),
        ("NaN", np.full((24, 8, 8), np.nan)),
        ("infinite", np.full(24, np.inf)),
        ("negative", np.full(24, -1)),
        ("large", np.full(24, 2**62)),
        ("uint64", np.full(24, 2**64 - 1, np.uint64)),
        ("complex", np.zeros((24, 8, 8), complex)),
        ("bool", np.zeros((24, 8, 8), bool)),
        ("texts", np.array(["a"] * 24)),
        ("bytes", np.array([b"\xff"] * 24)),
        ("dates", np.array(["2020-01-01"] * 24, "M8[D]")),
        ("a structure", np.zeros(24, [("a", "u1"), ("b", "f4")])),
        ("void", np.zeros(24, "V4")),
        ("half floats", np.zeros((24, 8, 8), np.float16)),
        ("long doubles", np.zeros((24, 8, 8), np.longdouble)),
        ("5 axes", np.zeros((24, 1, 1, 8, 8), np.uint8)),
        ("30 axes", np.zeros((24, *[1] * 29), np.uint8)),
        ("9 channels", np.zeros((24, 9, 8, 8), np.uint8)),
        ("of no pixels", np.zeros((24, 0, 8), np.uint8)),
        ("one example", np.zeros((1, 8, 8), np.uint8)),
        ("column labels", np.zeros((24, 1), np.int64)),
        ("one-hot labels", np.eye(24)),
        ("half labels", np.arange(24) / 2),
        ("one class", np.zeros(24, np.int64)),
        ("a gap", np.arange(24) * 2),
        ("names with escapes", np.array(["\x1b[2J", "\x9b"])),
        ("names with surrogates", np.array(["\ud800", "b"])),
        ("names twice", np.array(["a", "a"])),
        ("numbers for names", np.array([1.5, 2.5])),
        ("many names", np.array([str(n) for n in range(5000)])),
        ("a long name", np.array(["n" * 100_000, "b"])),
        ("big-endian", np.zeros((24, 8, 8), ">f4")),
        ("in Fortran's order", np.asfortranarray(np.zeros((24, 8, 8), np.uint8))),
        ("int16 pictures", np.full((24, 8, 8), 3000, np.int16)),
        ("floats beyond float32", np.full((24, 8, 8), 1e300)),
    ]


def idx(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage a file of the MNIST layout, or its header."""
    raw = forging.write_idx(place / "idx") / "MNIST" / "raw"
    path = dice.choice(sorted(raw.iterdir()))
    if dice.random() < 0.5:
        how, content = mutate.damage_bytes(dice, path.read_bytes())
    else:
        sizes = [dice.choice([0, 1, 8, 40, 2**31, 2**32 - 1]) for _ in range(dice.randrange(5))]
        kind = dice.choice([8, 9, 11, 12, 13, 14, 0, 255])
        content = bytes([0, 0, kind, len(sizes)]) + b"".join(struct.pack(">I", n) for n in sizes)
        content += dice.randbytes(dice.choice([0, 40, 2560]))
        how = f"header {kind} {sizes}"
    path.write_bytes(content)
    return _data(f"mnist:{place / 'idx'}", f"{path.name}: {how}", place)


def cifar(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage a pickle of the CIFAR layout, or put other objects in it."""
    good = {b"data": np.zeros((10, 3072), np.uint8), b"labels": list(range(10))}
    names = {b"label_names": [f"class {n}".encode() for n in range(10)]}
    odd: list[Any] = [
        None, 3, [], {}, b"", "x", [1, 2], [[1], [2, 3]], [None] * 10, ["a"] * 10, [1.5] * 10,
        [-1] * 10, [10**30] * 10, [True] * 10, list(range(9)), [b"\xff\x1b[2J"] * 10, [b"a"] * 10,
        ["\x9b"] * 10, np.zeros(10), np.zeros((10, 3071), np.uint8), np.zeros((10, 3072), float),
        np.zeros(3072, np.uint8), np.zeros((0, 3072), np.uint8), [list(range(2000))] * 2, {b"a": 1},
        [{}] * 10, [float("nan")] * 10,
    ]  # fmt: skip
    do = dice.choice(["bytes", "data", "labels", "label_names", "whole", "deep"])
    value = dice.choice(odd)
    how = f"{do} {str(value)[:40]!r}"
    batch: Any = {**good, do.encode(): value} if do in ("data", "labels") else good
    meta: Any = {b"label_names": value} if do == "label_names" else names
    if do == "whole":
        batch, meta = dice.choice([(value, names), (good, value)])
    root = forging.write_cifar(place / "cifar", meta=meta, batch=batch)
    folder = root / "cifar-10-batches-py"
    path = dice.choice([folder / "batches.meta", folder / "data_batch_1"])
    if do == "bytes":
        how, content = mutate.damage_bytes(dice, path.read_bytes())
        path.write_bytes(content)
    elif do == "deep":
        depth = dice.choice([500, 5000, 100_000])
        path.write_bytes(b"\x80\x02" + b"(" * depth + b"l" * depth + b".")
        how = f"{depth} lists deep"
    return _data(f"cifar10:{root}", f"{path.name}: {how}", place)


def parquet(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage a Parquet file, or write columns that are no pictures."""
    import pyarrow
    import pyarrow.parquet

    path = forging.write_parquet(place / "p" / "train.parquet")
    if dice.random() < 0.5:
        how, content = mutate.damage_bytes(dice, path.read_bytes())
        path.write_bytes(content)
        return _data(f"parquet:{path.parent}", how, place)
    images: list[Any] = [{"bytes": forging.picture(value=n + 1)} for n in range(24)]
    labels: list[Any] = [n % 2 for n in range(24)]
    do = dice.choice(["labels", "images", "names", "columns"])
    names: Any = ["a", "b"]
    odd: list[Any] = [
        pyarrow.array([2**64 - 1] * 24, pyarrow.uint64()), [2**62] * 24, [-1] * 24, [None] * 24,
        ["a"] * 24, [1.5] * 24, [True] * 24, [[1]] * 24, [b"\xff"] * 24, [{"bytes": None}] * 24,
        [{"bytes": b""}] * 24, [{"bytes": b"x"}] * 24, [{"path": "/etc/passwd"}] * 24,
        [forging.picture()] * 23 + [forging.picture(size=(9, 8))],
    ]  # fmt: skip
    value = dice.choice(odd)
    how = f"{do} {str(value)[:40]!r}"
    if do == "labels":
        labels = value
    elif do == "images":
        images = value
    elif do == "names":
        names = mutate.nasty(dice)
        how = f"names {str(names)[:40]!r}"
    table = pyarrow.table({"image": images, "label": labels})
    if do == "columns":
        chosen = dice.choice(
            [["image"], ["label"], ["image", "label", "label"], ["image", "image", "label"]]
        )
        table = pyarrow.table([table[name] for name in chosen], names=chosen)
        how = f"columns {chosen}"
    metadata = mutate.write_json({"info": {"features": {"label": {"names": names}}}})
    if dice.random() < 0.2:
        _, metadata = mutate.damage_bytes(dice, metadata)
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": metadata}), path)
    return _data(f"parquet:{path.parent}", how, place)


def pictures(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Damage a picture among others, and one to be predicted."""
    form = dice.choice(PICTURES)
    how, content = mutate.damage_bytes(dice, forging.picture(form))
    how = f"{form}: {how}"
    root = forging.write_folder_data(place / "f")
    (root / "a" / "0.png").write_bytes(content)
    wrong = _data(f"folder:{root}", how, place)
    if wrong is not None:
        return wrong
    command = [
        "predict",
        fixtures.reference.family,
        root / "a" / "0.png",
        "--network",
        fixtures.student,
    ]
    wrong = judge(child.anew(*command, folder=place / "outputs"))
    return wrong and Outcome(wrong.how, f"`predict` {how}: {wrong.detail}")


def arguments(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Give values to the command line that are not expected."""
    family = fixtures.reference.family
    data = f"npz:{fixtures.reference.data}"
    quick = ["train", "--data", data, "--epochs", "1", "--generations", "1", "--batch-size", "32",
             "--force", "--device", "cpu", "--threads", "1", "--no-page", "--out", place / "o",
             "--model", "small_cnn"]  # fmt: skip
    options = [
        "--out",
        "--recipe",
        "--device",
        "--threads",
        "--save-minutes",
        "--ask",
        "--disk-budget",
        "--trust",
        "--jobs",
        "--keep-epochs",
        "--model",
        "--model.options",
        "--data",
        "--data.seed",
        "--data.root",
        "--limit",
        "--epochs",
        "--batch-size",
        "--learning-rate",
        "--generations",
        "--seed",
        "--siblings",
        "--sibling-seeds",
        "--teacher",
        "--teacher-model",
        "--objective",
        "--objective.temperature",
        "--objective.alpha",
        "--label-smoothing",
    ]
    commands: list[list[object]] = [
        *([[*quick, dice.choice(options), mutate.argument(dice)]] * 5),
        ["show", family, mutate.argument(dice)],
        [dice.choice(["show", "verify", "evaluate", "report"]), mutate.argument(dice)],
        ["evaluate", family, "--split", mutate.argument(dice)],
        ["predict", family, mutate.argument(dice), "--network", fixtures.student],
        ["predict", family, fixtures.place / "a.png", "--network", fixtures.student,
         dice.choice(["--generations", "--top", "--format", "--device"]), mutate.argument(dice)],
        ["insight", family, "--network", fixtures.student,
         dice.choice(["--split", "--examples", "--format", "--threads"]), mutate.argument(dice)],
        ["models", mutate.argument(dice)],
        ["models", "mlp", dice.choice(["--input", "--classes"]), mutate.argument(dice)],
        ["data", mutate.argument(dice)],
        ["study", "plan", "table2", "--scale", "tiny", "--rate", "1000",
         dice.choice(["--rows", "--columns", "--seeds", "--epochs", "--limit", "--workers"]),
         mutate.argument(dice)],
        ["study", "show", mutate.argument(dice), family],
        [mutate.argument(dice), mutate.argument(dice)],
    ]  # fmt: skip
    command = dice.choice(commands)

    def elsewhere() -> None:
        (place / "cwd").mkdir()
        os.chdir(place / "cwd")

    ending = child.anew(*command, folder=place / "outputs", before=elsewhere)
    wrong = judge(ending, starts=True)
    if wrong is None:
        return None
    said = " ".join(str(word)[:30] for word in [command[0], *command[-2:]])
    return Outcome(wrong.how, f"{said!r}: {wrong.detail}")


def lines(fixtures: Fixtures, dice: Dice, place: Path) -> Outcome | None:
    """Pickles of the least size, of opcodes drawn by chance."""
    codes = (
        b"(){}]l.dtsauebNIJKMGUXBSVTCc\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8e\x93\x94\x95Rob0i2q"
    )
    root = forging.write_cifar(place / "cifar")
    path = root / "cifar-10-batches-py" / dice.choice(["batches.meta", "data_batch_1"])
    start = pickle.dumps({b"label_names": [b"a"]}, 2)[: dice.randrange(20)]
    path.write_bytes(start + bytes(dice.choice(codes) for _ in range(dice.randrange(60))) + b".")
    return _data(f"cifar10:{root}", f"{path.name}: opcodes", place)


TARGETS: dict[str, tuple[Any, int]] = {
    "a finished network": (damaged, 400),
    "a finished network, sealed again": (sealed, 260),
    "a network at work": (stopped, 200),
    "stored targets": (store, 120),
    "a given teacher": (given, 120),
    "recipes": (recipe, 200),
    "studies": (study, 120),
    "npz": (npz, 120),
    "IDX": (idx, 80),
    "CIFAR pickles": (cifar, 100),
    "random pickles": (lines, 40),
    "Parquet": (parquet, 80),
    "pictures": (pictures, 100),
    "the command line": (arguments, 160),
}
"""What is damaged, and how often of 2,100."""
