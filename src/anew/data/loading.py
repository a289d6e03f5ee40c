"""From a data description to the examples that it means."""

from __future__ import annotations

from pathlib import Path

from anew.core.spec import DataSpec
from anew.data.sources import load
from anew.data.split import Data, prepare


def load_data(spec: DataSpec) -> Data:
    """Read the examples of a data spec and split them."""
    return prepare(load(spec.source, Path(spec.root), spec.download), spec)
