"""Where examples come from: one module for each kind of source, and the table of their names."""

from anew.data.sources.datasets import from_dataset
from anew.data.sources.memory import from_arrays
from anew.data.sources.registry import SOURCES, SourceKind, load, open_source
from anew.data.sources.source import Contents, MissingDataError, Source

__all__ = [
    "SOURCES",
    "Contents",
    "MissingDataError",
    "Source",
    "SourceKind",
    "from_arrays",
    "from_dataset",
    "load",
    "open_source",
]
