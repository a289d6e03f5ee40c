"""Where examples come from, how they are split and augmented, and how they become batches."""

from anew.data.batches import Batch, Batches
from anew.data.epoch_views import EpochViews
from anew.data.examples import Examples, Resident
from anew.data.sources import (
    Contents,
    MissingDataError,
    Reading,
    Source,
    from_arrays,
    from_dataset,
    from_datasets,
    from_hugging_face,
    is_hugging_face,
    load,
    open_source,
)
from anew.data.sources.arrays import as_inputs
from anew.data.split import Data, Sizes, prepare, sizes
from anew.data.views import Views

__all__ = [
    "Batch",
    "Batches",
    "Contents",
    "Data",
    "EpochViews",
    "Examples",
    "MissingDataError",
    "Reading",
    "Resident",
    "Sizes",
    "Source",
    "Views",
    "as_inputs",
    "from_arrays",
    "from_dataset",
    "from_datasets",
    "from_hugging_face",
    "is_hugging_face",
    "load",
    "open_source",
    "prepare",
    "sizes",
]
