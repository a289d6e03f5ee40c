"""From a data description to the examples that it means."""

from __future__ import annotations

from anew.core.spec import DataSpec
from anew.data.remarks import remarks
from anew.data.sources import Source, open_source
from anew.data.split import Data, prepare
from anew.data.storage import Storage


def load_data(spec: DataSpec, storage: Storage | None = None) -> Data:
    """Read the examples of a data spec and split them.

    Pictures in files are held in memory or on the disk, as `storage` says.
    """
    source = open_source(spec, storage)
    if storage is None:
        return prepare(source, spec)
    return prepare_and_log(source, spec, storage)


def prepare_and_log(source: Source, spec: DataSpec, storage: Storage) -> Data:
    """Split a source's examples, and log what is to be said of them before training."""
    # Before the split, which may be refused: what was read may be why.
    for note in source.notes:
        storage.log(f"data: {note}")
    data = prepare(source, spec)
    for note in remarks(source, data):
        storage.log(f"data: {note}")
    return data
