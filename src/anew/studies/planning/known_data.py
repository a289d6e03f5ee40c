"""What is known of a study's data before it is planned: its sizes, and the examples if at hand."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from anew import data as data_sources
from anew.core.spec import DataSpec
from anew.data import Contents, MissingDataError, Resident, Source
from anew.data.signature import Signature
from anew.data.sources import SOURCES
from anew.data.units import filled, find_units
from anew.data.windows import Windows
from anew.family import Family
from anew.studies.study import Study, data_of_seed


@dataclass(frozen=True)
class KnownData:
    """What is known of a study's data."""

    spec: DataSpec
    contents: Contents
    source: Source | None
    """The examples; None if they are not at hand."""
    reading: float
    """Seconds that reading took."""
    notes: tuple[str, ...] = ()

    def described(self, seed: int) -> DataSpec:
        """Return the data's description for a seed of the study."""
        return data_of_seed(self.spec, seed)

    def examples(self) -> Source:
        """Return the examples, or noise of their form."""
        if self.source is not None:
            return self.source
        contents = self.contents
        if contents.positions:
            return self._noise_of_text()
        signature = Signature.of_shape(contents.input_shape, contents.classes)

        def noise(count: int) -> Resident:
            inputs = torch.randint(256, (count, *contents.input_shape), dtype=torch.uint8)
            labels = torch.arange(count) % contents.classes
            return Resident(signature.arrange(inputs), labels)

        return Source(
            noise(contents.training),
            noise(contents.test),
            signature.classes,
            contents.views,
            self.spec.fingerprint,
            validation=noise(contents.validation) if contents.validation else None,
        )

    def _noise_of_text(self) -> Source:
        """Return texts of words at random."""
        contents, (steps,) = self.contents, self.contents.positions

        def noise(windows: int) -> Windows:
            return Windows.of(torch.randint(contents.classes, (windows * steps + 1,)), steps)

        words = contents.words or tuple(map(str, range(contents.classes)))
        return Source(
            noise(contents.training),
            noise(contents.test),
            words,
            contents.views,
            self.spec.fingerprint,
            validation=noise(contents.validation) if contents.validation else None,
        )


def known_data(study: Study, out: Path) -> KnownData:
    """Read a study's data, or take the sizes that every source of its name has.

    Raises `MissingDataError` if the data is not at hand and its sizes are not known.
    """
    spec, started = study.data, time.perf_counter()
    try:
        source = data_sources.open_source(spec)
    except MissingDataError:
        contents = SOURCES[spec.source.partition(":")[0]].contents
        if contents is None:
            raise
        views, fingerprint = spec.views or contents.views, fingerprint_in(spec, out)
        # What is planned by its known sizes is always bytes.
        described, _ = filled(replace(spec, views=views, fingerprint=fingerprint), "bytes")
        note = f"{spec.source} is not available: planned from its known sizes"
        return KnownData(described, contents, None, 0.0, (note,))

    described = replace(spec, views=spec.views or source.views, fingerprint=source.fingerprint)
    asked = source.units if spec.units == "auto" else spec.units
    described, _ = filled(described, find_units(source.train, asked))
    return KnownData(described, source.contents, source, time.perf_counter() - started)


def fingerprint_in(spec: DataSpec, out: Path) -> str:
    """Return the fingerprint of a source as the networks of a family name it.

    It makes the ids of a study's networks known without the data. "" if the family names none, or
    several.
    """
    if spec.fingerprint or not (out / "family.json").exists():
        return spec.fingerprint
    networks = Family.open(out).specs().values()
    known = {one.data.fingerprint for one in networks if one.data.source == spec.source}
    return known.pop() if len(known) == 1 else ""
