"""Where examples come from: one module for each kind of source, and the table of their names."""

from anew.data.sources.hugging_face import from_hugging_face, is_hugging_face
from anew.data.sources.memory import from_arrays
from anew.data.sources.registry import SOURCES, SourceKind, load, open_source
from anew.data.sources.source import Contents, MissingDataError, Reading, Source
from anew.data.sources.torch_datasets import from_dataset, from_datasets

__all__ = [
    "SOURCES",
    "Contents",
    "MissingDataError",
    "Reading",
    "Source",
    "SourceKind",
    "from_arrays",
    "from_dataset",
    "from_datasets",
    "from_hugging_face",
    "is_hugging_face",
    "load",
    "open_source",
]
