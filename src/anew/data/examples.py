"""Examples: what training, teachers and evaluation ask of a data set, and the kind in memory.

Whatever implements `Examples` can be trained on. `Resident` holds all inputs as one tensor. Others
may read each example when it is shown, since a view is a pure function of its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.data.signature import Kind
from anew.data.views import Views

PART = 256
COPIED = 0.1
"""The part of the examples of which a copy is made."""
ON_DEVICE = 0.5
"""The part of a device's free memory that examples may take."""
NO_LABEL = -1
"""The label of an unlabelled example among training examples."""
Indices = Int64[Tensor, "chosen"] | slice
Request = tuple[Indices, Int64[Tensor, "chosen"] | None]
"""What `Examples.show` is called with: which examples, and in which views."""


@runtime_checkable
class Examples(Protocol):
    """A set of examples in a fixed order, each with its views."""

    @property
    def labels(self) -> Int64[Tensor, "examples *positions"]:
        """The labels, one for an example or for each of its positions, on the examples' device."""
        ...

    @property
    def kind(self) -> Kind:
        """What an example is: a picture, a vector or tokens."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: (C, H, W), (F,) or (T,)."""
        ...

    @property
    def views(self) -> Views:
        """The views in which the examples can be shown."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def show(
        self, indices: Indices, views: Int64[Tensor, "chosen"] | None = None
    ) -> Num[Tensor, "chosen ..."]:
        """Return inputs (B, ...) as they are stored, in the given views or as they are.

        Pictures are in channels_last memory. The result depends on the arguments alone.
        """
        ...

    def stream(self, requests: Sequence[Request]) -> Iterator[Num[Tensor, "chosen ..."]]:
        """Yield what `show` returns for each request; examples on the disk are read ahead."""
        ...

    def take(self, indices: Int64[Tensor, "chosen"]) -> Examples:
        """Return the examples at the given places, in that order."""
        ...

    def with_views(self, views: Views) -> Examples:
        """Return the same examples with other views."""
        ...

    def to(self, device: torch.device) -> Examples:
        """Return the same examples, shown on a device from now on."""
        ...


@dataclass(frozen=True)
class Resident:
    """Examples in memory.

    Inputs are pictures (N, C, H, W), uint8 or float32, in channels_last memory, vectors (N, F)
    float32, or tokens (N, T) int64; labels are (N,) or (N, T), int64.
    """

    inputs: Num[Tensor, "examples ..."]
    labels: Int64[Tensor, "examples *positions"]
    views: Views = field(default_factory=Views)
    """The views of the examples; only the inputs themselves if not given."""

    @property
    def kind(self) -> Kind:
        """What an example is; int64 inputs are tokens, pictures and vectors have no such dtype."""
        if self.inputs.dtype == torch.int64:
            return "tokens"
        return "picture" if self.inputs.ndim == 4 else "vector"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input as it is shown."""
        shape = tuple(self.inputs.shape[1:])
        return shape if self.views.size is None else (shape[0], *self.views.size)

    def __len__(self) -> int:
        return len(self.labels)

    def show(
        self, indices: Indices, views: Int64[Tensor, "chosen"] | None = None
    ) -> Num[Tensor, "chosen ..."]:
        """Return inputs in the given views by one gather; a slice without views is not copied."""
        if views is None:
            return self.views.still(self.inputs[indices])
        if isinstance(indices, slice):
            indices = torch.arange(len(self), device=self.inputs.device)[indices]
        return self.views.show(self.inputs, indices, views)

    def stream(self, requests: Sequence[Request]) -> Iterator[Num[Tensor, "chosen ..."]]:
        """Yield what `show` returns for each request."""
        return (self.show(*request) for request in requests)

    def take(self, indices: Int64[Tensor, "chosen"]) -> Resident | Chosen:
        """Return the examples at the given places, in that order.

        Of most examples no copy is made: a data set is in memory once.
        """
        if len(indices) > COPIED * len(self):
            return Chosen(self, indices)
        return replace(self, inputs=self.inputs[indices], labels=self.labels[indices])

    def with_views(self, views: Views) -> Resident:
        """Return the same examples with other views."""
        return replace(self, views=views)

    def to(self, device: torch.device) -> Resident:
        """Return the examples in a device's memory; the same tensors if they are there."""
        return replace(self, inputs=self.inputs.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Chosen:
    """Examples chosen from some in memory, without a copy of their inputs."""

    whole: Resident
    places: Int64[Tensor, "chosen"]

    @property
    def inputs(self) -> Num[Tensor, "chosen ..."]:
        """A copy of the inputs."""
        return self.whole.inputs[self.places]

    @property
    def labels(self) -> Int64[Tensor, "chosen *positions"]:
        """The labels."""
        return self._labels

    @cached_property
    def _labels(self) -> Tensor:
        return self.whole.labels[self.places]

    @property
    def kind(self) -> Kind:
        """What an example is."""
        return self.whole.kind

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input as it is shown."""
        return self.whole.input_shape

    @property
    def views(self) -> Views:
        """The views of the examples."""
        return self.whole.views

    def __len__(self) -> int:
        return len(self.places)

    def show(
        self, indices: Indices, views: Int64[Tensor, "chosen"] | None = None
    ) -> Num[Tensor, "chosen ..."]:
        """Return inputs in the given views, or as they are."""
        return self.whole.show(self.places[indices], views)

    def stream(self, requests: Sequence[Request]) -> Iterator[Num[Tensor, "chosen ..."]]:
        """Yield what `show` returns for each request."""
        return (self.show(*request) for request in requests)

    def take(self, indices: Int64[Tensor, "chosen"]) -> Resident | Chosen:
        """Return the examples at the given places, in that order."""
        return self.whole.take(self.places[indices])

    def with_views(self, views: Views) -> Chosen:
        """Return the same examples with other views."""
        return replace(self, whole=self.whole.with_views(views))

    def to(self, device: torch.device) -> Resident | Chosen:
        """Return the examples in a device's memory: there a copy of the chosen ones alone."""
        if device.type == self.places.device.type:
            return self
        return Resident(self.inputs, self.labels, self.views).to(device)


@dataclass(frozen=True)
class OnHost:
    """Examples that stay in the host's memory and are moved to a device when they are shown."""

    held: Resident | Chosen
    device: torch.device

    @property
    def labels(self) -> Int64[Tensor, "examples *positions"]:
        """The labels, on the device."""
        return self._labels

    @cached_property
    def _labels(self) -> Tensor:
        return self.held.labels.to(self.device)

    @property
    def kind(self) -> Kind:
        """What an example is."""
        return self.held.kind

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input as it is shown."""
        return self.held.input_shape

    @property
    def views(self) -> Views:
        """The views of the examples."""
        return self.held.views

    def __len__(self) -> int:
        return len(self.held)

    def show(
        self, indices: Indices, views: Int64[Tensor, "chosen"] | None = None
    ) -> Num[Tensor, "chosen ..."]:
        """Return inputs in the given views, or as they are, on the device."""
        places = indices.cpu() if isinstance(indices, Tensor) else indices
        shown = self.held.show(places, views.cpu() if views is not None else None)
        return moved(shown, self.device)

    def stream(self, requests: Sequence[Request]) -> Iterator[Num[Tensor, "chosen ..."]]:
        """Yield what `show` returns for each request."""
        return (self.show(*request) for request in requests)

    def take(self, indices: Int64[Tensor, "chosen"]) -> OnHost:
        """Return the examples at the given places, in that order."""
        return replace(self, held=self.held.take(indices.cpu()))

    def with_views(self, views: Views) -> OnHost:
        """Return the same examples with other views."""
        return replace(self, held=self.held.with_views(views))

    def to(self, device: torch.device) -> Examples:
        """Return the same examples, shown on another device."""
        return placed(self.held, device)


def in_equal_parts(
    inputs: Num[Tensor, "asked ..."], size: int
) -> Iterator[tuple[Num[Tensor, "size ..."], int]]:
    """Yield inputs in parts of one fixed size, each with how many of it are inputs.

    The last bits of a network may depend on the size of its batch, but not on an example's place.
    The last part is padded with its own first input.
    """
    for part in inputs.split(size):
        padding = size - len(part)
        padded = part
        if padding:
            padded = torch.cat([part, part[:1].expand(padding, *part.shape[1:])])
        yield padded, len(part)


def moved(shown: Num[Tensor, "chosen ..."], device: torch.device) -> Num[Tensor, "chosen ..."]:
    """Return inputs on a device; to a GPU they are copied while it works on others."""
    if device.type == "cuda":
        return shown.pin_memory().to(device, non_blocking=True)
    return shown.to(device)


def on_cpu(request: Request) -> Request:
    """Return a request whose tensors are on the CPU, as other processes take it."""
    indices, views = request
    return (
        indices.cpu() if isinstance(indices, Tensor) else indices,
        views.cpu() if views is not None else None,
    )


def placed(examples: Examples, device: torch.device) -> Examples:
    """Return examples shown on a device: in its memory if they take less than half of what is free.

    What the device cannot hold stays in the host's memory.
    """
    if isinstance(examples, Resident | Chosen) and not _fits(examples, device):
        return OnHost(examples, device)
    return examples.to(device)


def _fits(examples: Resident | Chosen, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    inputs = examples.inputs if isinstance(examples, Resident) else examples.whole.inputs
    each = inputs[0].numel() * inputs.element_size()
    free, _ = torch.cuda.mem_get_info(device)
    return len(examples) * each < ON_DEVICE * free


def in_parts(examples: Examples) -> Iterator[Num[Tensor, "part ..."]]:
    """Yield all inputs in order, as they are stored, a few at a time."""
    ends = range(0, len(examples), PART)
    yield from examples.stream([(slice(at, min(at + PART, len(examples))), None) for at in ends])
