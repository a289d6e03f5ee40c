"""Where examples come from: one module for each kind of source, and the table of their names."""

from anew.data.sources.registry import (
    SOURCES,
    Contents,
    Kind,
    MissingDataError,
    Source,
    from_arrays,
    from_dataset,
    load,
    read_picture,
)

__all__ = [
    "SOURCES",
    "Contents",
    "Kind",
    "MissingDataError",
    "Source",
    "from_arrays",
    "from_dataset",
    "load",
    "read_picture",
]
