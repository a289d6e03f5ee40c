"""Checkpoints as people have them: from a path to tensors by name.

A checkpoint is a file, or a folder that other tools wrote: shards with an index, or what
`save_pretrained` makes. Weights often lie in a table of the file, beside an optimizer and counters;
`FILE:KEY` names the table, as in `deit.pth:model_ema`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError, did_you_mean
from anew.models import containers

Tensors = dict[str, Tensor]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]

MOST_LEVELS = 4
"""How deep in a file its weights are looked for."""
# In a folder of weights, the names that libraries give, those that hold whole weights first.
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "weights.safetensors",
)
_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".tar")
# What lies beside weights and is none.
_NO_WEIGHTS = ("optim", "sched", "scaler", "random_states", "rng", "training_args", "loops", "amp")
# Where training scripts note the names of the classes, in their order or by name.
_CLASS_LISTS = ("classes", "class_names", "CLASSES", "label_names", "labels")
_CLASS_NUMBERS = ("class_to_idx", "label2id")
_CLASS_NAMES = ("idx_to_class", "id2label", "names")
# Files beside the weights that tell how pictures are normalised: where in them, and by which names.
_NORMALISATIONS = (
    ("preprocessor_config.json", "", ("image_mean", "image_std")),
    ("config.json", "pretrained_cfg", ("mean", "std")),
)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    path: Path
    """What was named: its file, or the folder of its files."""
    file: Path
    """The file of its weights, or the index of its shards."""
    tables: dict[str, Tensors]
    """Its tables of tensors, by the key that leads to them: "" if the file is one itself."""
    header: dict[str, Any] = field(default_factory=dict[str, Any])
    """The header of a network that anew saved; {} of all others."""
    beside: tuple[str, ...] = ()
    """What else lies at its top, such as `optimizer`."""
    classes: tuple[str, ...] = ()
    """The names of its classes, if it tells them."""
    normalisation: Normalisation | None = None
    """Mean and deviation of its pictures, for pictures in 0..1, if files beside it tell them."""
    is_safetensors: bool = False
    """Whether it is a single safetensors file, which is known by the hash of its bytes."""

    @property
    def tensors(self) -> Tensors:
        """The tensors of its only table."""
        (tensors,) = self.tables.values()
        return tensors

    def said(self, key: str) -> list[str]:
        """Return what is to be said of where its weights were found, when a table was taken."""
        table = next((place for place in self.tables if place and key.startswith(place)), "")
        others = [place for place in self.tables if place not in ("", table)] + list(self.beside)
        if not table or not others:
            return []
        return [f"its weights are under '{table}' (other entries: {', '.join(others[:8])})"]


def locate(named: str) -> tuple[Path, str] | None:
    """Return the path of a checkpoint and the key in it that a text names; None if it names none.

    It is a file, a folder with weights, or either with `:KEY` behind it.
    """
    if not named:
        return None
    place, colon, key = named.rpartition(":")
    for path, inner in ((Path(named), ""), (Path(place), key)):
        if (inner or path == Path(named)) and (path.is_file() or _holds_weights(path)):
            return path, inner
        if not colon:
            break
    return None


def read(path: Path, key: str = "") -> Checkpoint:
    """Read a checkpoint; with a key only the tensors that it leads to.

    Nothing in it is run. Raises `AnewError` if it cannot be read, holds no tensors, or none below
    the key.
    """
    index = _index_of(path)
    file = index or (_file_in(path) if path.is_dir() else path)

    if index is not None:
        content = containers.Content(_read_shards(index), {}, is_safetensors=False)
    else:
        content = containers.read(file)
    loaded, header = content.value, content.header

    found = {place: tensors for place, tensors in _tables(loaded) if tensors}
    if not found and not header:
        raise AnewError(f"{path}: {_what_it_holds(loaded)}; give the weights of a network")
    if key:
        found = {key: _below(key, found, path)}
    return Checkpoint(
        path,
        file,
        found,
        header,
        beside=_beside(loaded, found),
        classes=_classes(loaded) or _classes_of_config(path),
        normalisation=_normalisation_of_folder(path),
        is_safetensors=content.is_safetensors and not key,
    )


def _holds_weights(path: Path) -> bool:
    """Whether a folder is one of weights, and no family and no network of one."""
    if not path.is_dir() or (path / "family.json").exists() or path.parent.name == "networks":
        return False
    return _index_of(path) is not None or bool(_weight_files(path))


def _weight_files(folder: Path) -> list[Path]:
    """Return the files in a folder that may be weights."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in _SUFFIXES and path.is_file() and not path.name.startswith(_NO_WEIGHTS)
    ]


def _file_in(folder: Path) -> Path:
    """Return the file with the weights in a folder; raise `AnewError` if there are several."""
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    found = _weight_files(folder)
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:6]) or "none"
        raise AnewError(
            f"{folder}: holds {len(found)} files that may be the weights ({names}); name one of "
            "them"
        )
    return found[0]


def _index_of(path: Path) -> Path | None:
    """Return the index of weights that are cut into several files, None if they are not."""
    if path.is_dir():
        indexes = [path / name for name in _INDEXES]
        others = sorted(path.glob("*.index.json"))
        return next((index for index in (*indexes, *others) if index.is_file()), None)
    return path if path.name.endswith(".index.json") else None


def _read_shards(index: Path) -> Tensors:
    """Read the files that an index names and return their tensors together."""
    content = files.read_json(index)
    named: Any = content.get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise AnewError(
            f"{index}: is no index of shards (no 'weight_map' from tensors to files); restore it "
            "from a copy"
        )

    places = cast("dict[str, str]", named)
    tensors: Tensors = {}
    for name in sorted(set(places.values())):
        # An index may come from anywhere, and must not choose which files are opened.
        if name != Path(name).name or name in ("", ".", "..") or "\\" in name:
            raise AnewError(
                f"{index}: names the file {name!r}, but an index may only name files beside it; "
                "restore it from a copy"
            )
        shard = index.with_name(name)
        if not shard.is_file():
            raise AnewError(f"{index}: its file {name} is missing; download all of its files")
        loaded = containers.read(shard).value
        if not _is_table(loaded):
            raise AnewError(f"{shard}: is no shard of weights; download all files of {index} again")
        own = {tensor for tensor, place in places.items() if place == name}
        tensors |= {key: value for key, value in loaded.items() if key in own}

    missing = sorted(places.keys() - tensors.keys())
    if missing:
        raise AnewError(
            f"{index}: {len(missing)} of its tensors, such as '{missing[0]}', are not in the "
            "files that it names; download all of its files again"
        )
    return tensors


def _is_table(value: object) -> bool:
    """Whether a value is tensors by name, and nothing else."""
    if not isinstance(value, Mapping):
        return False
    return all(isinstance(one, Tensor) for one in cast("Mapping[Any, object]", value).values())


def _tables(value: object, key: str = "", level: int = 0) -> Iterator[tuple[str, Tensors]]:
    """Yield the tables of tensors in what a file holds, with the keys that lead to them."""
    if not isinstance(value, Mapping) or level > MOST_LEVELS:
        return
    inside = {
        name: one
        for name, one in cast("Mapping[object, object]", value).items()
        if isinstance(name, str)
    }
    tensors = {name: one for name, one in inside.items() if isinstance(one, Tensor)}
    yield key, tensors
    for name, one in inside.items():
        if not name.lower().startswith(_NO_WEIGHTS):
            yield from _tables(one, f"{key}.{name}" if key else name, level + 1)


def _below(key: str, tables: Mapping[str, Tensors], path: Path) -> Tensors:
    """Return the tensors below a key: a table's, or those of a table whose names start with it."""
    whole = {
        f"{place}.{name}" if place else name: tensor
        for place, tensors in tables.items()
        for name, tensor in tensors.items()
    }

    start = key.rstrip(".") + "."
    below = {
        name.removeprefix(start): value for name, value in whole.items() if name.startswith(start)
    }
    if not below:
        known = sorted(place for place, tensors in tables.items() if place and tensors)
        known = known or sorted({name.partition(".")[0] for name in whole})
        raise AnewError(
            f"{path}: has no weights under '{key}'{did_you_mean(key, known)}; there are: "
            f"{', '.join(known[:12])}"
        )
    return below


def _beside(loaded: object, tables: Mapping[str, Tensors]) -> tuple[str, ...]:
    """Return the names at the top of a file that lead to no table of tensors."""
    if not isinstance(loaded, Mapping) or not any(tables):
        return ()
    tops = {key.partition(".")[0] for key in tables}
    names = cast("Mapping[object, object]", loaded)
    return tuple(name for name in names if isinstance(name, str) and name not in tops)


def _what_it_holds(loaded: object) -> str:
    """Return in words what a file without weights holds."""
    if not isinstance(loaded, Mapping):
        return f"holds a {type(loaded).__name__} and no state dict"
    names = [str(name) for name in cast("Mapping[object, object]", loaded)]
    if "param_groups" in names or any(name.lower().startswith("optim") for name in names):
        return f"holds the state of an optimizer and no weights ({', '.join(names[:6])})"
    shown = ", ".join(names[:6]) or "nothing at all"
    values = list(cast("Mapping[object, object]", loaded).values())
    if values and all(isinstance(value, containers.StandIn) for value in values):
        return f"holds NumPy's arrays or objects in place of tensors ({shown}): torch.from_numpy"
    return f"holds no weights ({shown})"


def _classes(loaded: object, level: int = 0) -> tuple[str, ...]:
    """Return the names of the classes that a file tells beside its weights; () if it does not."""
    if not isinstance(loaded, Mapping) or level > 2:
        return ()
    values = cast("Mapping[object, object]", loaded)
    for name in _CLASS_LISTS:
        listed = values.get(name)
        if isinstance(listed, list | tuple) and listed:
            names = cast("list[object]", list(cast("Any", listed)))
            if all(isinstance(one, str) for one in names):
                return tuple(map(str, names))

    for name in _CLASS_NUMBERS:
        numbered = _in_order({place: one for one, place in _items(values.get(name))})
        if numbered:
            return numbered
    for name in _CLASS_NAMES:
        named = _in_order(dict(_items(values.get(name))))
        if named:
            return named

    inner = (values.get(name) for name in ("meta", "dataset_meta", "hyper_parameters", "config"))
    return next(filter(None, (_classes(one, level + 1) for one in inner)), ())


def _items(value: object) -> list[tuple[object, object]]:
    return (
        list(cast("Mapping[object, object]", value).items()) if isinstance(value, Mapping) else []
    )


def _in_order(names: Mapping[object, object]) -> tuple[str, ...]:
    """Return names in the order of their numbers, 0 to C - 1; () if that is not what they have."""
    numbers: dict[int, str] = {}
    for number, name in names.items():
        is_number = isinstance(number, int) or (isinstance(number, str) and number.isdecimal())
        if not is_number or not isinstance(name, str):
            return ()
        numbers[int(cast("int | str", number))] = name
    if sorted(numbers) != list(range(len(numbers))):
        return ()
    return tuple(numbers[number] for number in range(len(numbers)))


def _classes_of_config(path: Path) -> tuple[str, ...]:
    """Return the names of the classes in a folder's `config.json`; () if there are none.

    `LABEL_0`, `LABEL_1` and so on are what a library writes where nobody named them.
    """
    config = path / "config.json"
    if not path.is_dir() or not config.is_file():
        return ()
    content = files.read_json(config)
    classes = _classes(content) or _classes(content.get("pretrained_cfg"))
    is_unnamed = classes == tuple(f"LABEL_{number}" for number in range(len(classes)))
    return () if is_unnamed else classes


def _normalisation_of_folder(path: Path) -> Normalisation | None:
    """Return the mean and deviation that files beside the weights tell, None if none does.

    They are those of `preprocessor_config.json` (Transformers), or of the `pretrained_cfg` in
    `config.json` (timm). Pictures that are brought to another range than 0..1 first are left out.
    """
    if not path.is_dir():
        return None
    for name, within, keys in _NORMALISATIONS:
        if not (path / name).is_file():
            continue
        content: Any = files.read_json(path / name)
        content = content.get(within) if within else content
        if not isinstance(content, Mapping):
            continue

        values = cast("Mapping[str, Any]", content)
        scale = values.get("rescale_factor", 1 / 255)
        scaled = values.get("do_rescale", True) is True and isinstance(scale, int | float)
        if not scaled or abs(255 * scale - 1) > 1e-3:
            return None
        if values.get("do_normalize", True) is False:
            return (0.0,), (1.0,)

        mean, std = (_fractions(values.get(key)) for key in keys)
        if mean and std and len(mean) == len(std) and min(std) > 0:
            return mean, std
    return None


def _fractions(values: object) -> tuple[float, ...]:
    """Return a list of numbers from 0 to 1 as a tuple, () if it is none."""
    listed = cast("list[object]", values) if isinstance(values, list) else []
    numbers = [float(one) for one in listed if isinstance(one, int | float)]
    is_whole = len(numbers) == len(listed) and all(0 <= one <= 1 for one in numbers)
    return tuple(numbers) if is_whole else ()
