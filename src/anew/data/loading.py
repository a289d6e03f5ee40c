"""From a data description to the examples that it means."""

from __future__ import annotations

from anew.core.spec import DataSpec
from anew.data.sources import open_source
from anew.data.split import Data, prepare
from anew.data.storage import Storage


def load_data(spec: DataSpec, storage: Storage | None = None) -> Data:
    """Read the examples of a data spec and split them.

    Pictures in files are held in memory or on the disk, as `storage` says.
    """
    source = open_source(spec, storage)
    if storage is not None:
        for note in source.notes:
            storage.log(f"data: {note}")
    return prepare(source, spec)
