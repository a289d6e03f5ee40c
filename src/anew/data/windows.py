"""Windows of a text: its tokens in one or several streams, cut into pieces of one length.

A window is an example: its inputs are T tokens, its labels the token after each. Streams lie side
by side in a batch, so a batch's windows go on where those of the batch before it ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor

from anew.core.errors import AnewError
from anew.data.examples import Indices, Request
from anew.data.signature import Kind
from anew.data.views import Views


@dataclass(frozen=True)
class Windows:
    """A text as examples: windows (T,) of its tokens, numbered stream by stream.

    With B streams of S = N // B tokens, stream b is tokens b S .. (b + 1) S - 1, and its window w
    begins at w T. A stream has (S - 1) // T windows, since its last label is its last token; what
    is left over is in no window.
    """

    text: Int64[Tensor, "tokens"]
    """The numbers of the tokens in the vocabulary, in the text's order."""
    steps: int
    """The length T of a window."""
    starts: Int64[Tensor, "windows"]
    """The place in the text at which each window begins."""
    streams: int = 1

    @classmethod
    def of(cls, text: Int64[Tensor, "tokens"], steps: int) -> Windows:
        """Return the windows of a text in one stream."""
        return cls(text, steps, torch.zeros(0, dtype=torch.int64)).in_streams(1, check=False)

    def in_streams(self, count: int, *, check: bool = True) -> Windows:
        """Return the same text in `count` streams side by side.

        Raises `AnewError` if a stream is too short for one window.
        """
        length = len(self.text) // count
        windows = max(0, (length - 1) // self.steps)
        if check and not windows:
            raise AnewError(
                f"training.batch_size: {len(self.text):,} tokens in {count} streams are fewer than "
                f"one window of {self.steps} and its last label in each; lower --batch-size or "
                "--data.steps"
            )
        first = torch.arange(count, device=self.text.device) * length
        within = torch.arange(windows, device=self.text.device) * self.steps
        return replace(self, starts=(first[:, None] + within).flatten(), streams=count)

    @property
    def order(self) -> Int64[Tensor, "windows"]:
        """The windows' numbers in the order of the text: the first of all streams, then the next.

        A batch of as many windows as there are streams has the same streams always.
        """
        numbers = torch.arange(len(self.starts), device=self.text.device)
        return numbers.view(self.streams, -1).T.flatten()

    @property
    def kind(self) -> Kind:
        """What an example is."""
        return "tokens"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, (T,)."""
        return (self.steps,)

    @property
    def labels(self) -> Int64[Tensor, "windows steps"]:
        """The token that follows each token of each window."""
        return self._labels

    @cached_property
    def _labels(self) -> Tensor:
        return self._at(self.starts + 1)

    @property
    def views(self) -> Views:
        """A text is shown as it is."""
        return Views()

    @property
    def predictions(self) -> int:
        """How many tokens of the text have one before them: those that can be predicted."""
        return max(0, len(self.text) - 1)

    def __len__(self) -> int:
        return len(self.starts)

    def show(
        self, indices: Indices, views: Int64[Tensor, "chosen"] | None = None
    ) -> Int64[Tensor, "chosen steps"]:
        """Return the tokens of windows, (B, T)."""
        return self._at(self.starts[indices])

    def stream(self, requests: Sequence[Request]) -> Iterator[Int64[Tensor, "chosen steps"]]:
        """Yield what `show` returns for each request."""
        return (self.show(*request) for request in requests)

    def take(self, indices: Int64[Tensor, "chosen"]) -> Windows:
        """Return the windows at the given places as one stream, in that order."""
        return replace(self, starts=self.starts[indices], streams=1)

    def with_views(self, views: Views) -> Windows:
        """Return the same windows: a text has no other views."""
        assert views.kind == "none", "a text is shown as it is"
        return self

    def to(self, device: torch.device) -> Windows:
        """Return the same windows in a device's memory."""
        return replace(self, text=self.text.to(device), starts=self.starts.to(device))

    def _at(self, starts: Int64[Tensor, "chosen"]) -> Int64[Tensor, "chosen steps"]:
        return self.text[starts[:, None] + torch.arange(self.steps, device=self.text.device)]
