"""Networks for the names and shapes of their parameters alone: no memory, no first weights."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWS = frozenset({"normal_", "uniform_", "trunc_normal_", "bernoulli_"})


@contextmanager
def outlined() -> Generator[None]:
    """Build what is built within on torch's meta device, without drawing first weights.

    There is nothing to draw into, and the first drawing there loads torch's compiler: seconds.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else named["tensor"]
        if getattr(func, "__name__", "") in _DRAWS:
            return args[0]
        return func(*args, **named)
