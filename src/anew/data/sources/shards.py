"""Which of the Parquet files in a folder are of which split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from anew.core.errors import AnewError
from anew.data.kept import some_of
from anew.data.sources.layout_names import (
    SPLITS,
    SplitName,
    is_of_system,
    split_called,
    split_of_shard,
)

Shards = dict[SplitName, list[Path]]


def find_shards(name: str, place: Path) -> tuple[Shards, list[str]]:
    """Return the Parquet files of each split, and what is to be said of others.

    They lie in the folder itself, in its data/, in a folder for each split, or one level deeper; a
    single file is a training set. Raises `AnewError` if there is none for training.
    """
    if not place.is_dir():
        _check_suffix(name, [place])
        return {"train": [place]}, []

    inside = _folders(place)
    first = [place, *(path for path in inside if path.name == "data")]
    for base in (*first, *(path for path in inside if path.name != "data")):
        shards = _by_name(base) or _by_folder(base)
        if shards:
            used = {path for paths in shards.values() for path in paths}
            others = [path.name for path in _parquet_files(base) if path not in used]
            notes = [f"files of no split are passed over: {some_of(others)}"] if others else []
            if base != place:
                notes.append(f"the files lie in {base}")
            return shards, notes

    files = [file for folder in (place, *inside) for file in _parquet_files(folder)]
    if len(files) == 1:
        return {"train": files}, [f"{files[0].name} is taken for the training set"]
    if files:
        raise AnewError(
            f"data '{name}': none of the Parquet files in {files[0].parent} "
            f"({some_of([file.name for file in files])}) is called train*.parquet; rename those "
            "of the training set, or give one file"
        )
    _check_suffix(name, (file for folder in (place, *inside) for file in folder.iterdir()))
    raise AnewError(f"data '{name}': there is no train*.parquet in {place}; check the path")


def _by_name(folder: Path) -> Shards:
    """Return files such as train-00000-of-00002.parquet by split; none without a training file."""
    files = _parquet_files(folder)
    found: Shards = {
        split: [file for file in files if split_of_shard(file.stem) == split] for split in SPLITS
    }
    for split in ("train", "test"):
        found[split] = found[split] or [file for file in files if file.name.startswith(split)]
    return {split: paths for split, paths in found.items() if paths} if found["train"] else {}


def _by_folder(folder: Path) -> Shards:
    """Return the files in train/, test/ and validation/; none without a training file."""
    found: Shards = {}
    for inner in _folders(folder):
        split, files = split_called(inner.name), _parquet_files(inner)
        if split is not None and files:
            found.setdefault(split, []).extend(files)
    return {split: found[split] for split in SPLITS if split in found} if "train" in found else {}


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.parquet") if not is_of_system(file.name))


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not is_of_system(path.name))


def _check_suffix(name: str, files: Iterable[Path]) -> None:
    """Raise `AnewError` for Arrow files, with the way to Parquet."""
    arrow = next((file for file in files if file.suffix == ".arrow"), None)
    if arrow is not None:
        raise AnewError(
            f"data '{name}': {arrow} is an Arrow file of save_to_disk, no Parquet file; give "
            f"hf:{name.partition(':')[2]} (pip install 'anew[hf]'), or write it with "
            " datasets.load_from_disk(FOLDER)['train'].to_parquet('train.parquet'), each split "
            "into a file of its own"
        )
