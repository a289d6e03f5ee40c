"""Who is compared: a line each, with the loop that trains it and what that loop is told.

To add a variant of anew, add a line: its options go to `anew.train` as they are, `training` into
the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Contender:
    """One way to train: `loop` is a module here, `options` what it takes beside the setup that all
    share.

    `variant_of` names the contender that this one is another form of: a ratio to that one takes the
    fastest form. `networks` are trained at once by one step.
    """

    name: str
    title: str
    loop: str
    distil: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    variant_of: str = ""
    networks: int = 1


TWO_WORKERS = {"workers": 2}
SIBLINGS = ("ban+l", "cwtm", "dkpp")

CONTENDERS = (
    Contender("plain-label", "plain PyTorch", "plain", False),
    Contender(
        "plain-label-workers",
        "plain PyTorch, 2 workers",
        "plain",
        False,
        TWO_WORKERS,
        "plain-label",
    ),
    Contender("torchdistill-label", "torchdistill", "torchdistill_box", False),
    Contender(
        "torchdistill-label-workers",
        "torchdistill, 2 workers",
        "torchdistill_box",
        False,
        TWO_WORKERS,
        "torchdistill-label",
    ),
    Contender("anew-label", "anew", "anew_loop", False),
    Contender("plain-distil", "plain PyTorch", "plain", True),
    Contender(
        "plain-distil-workers",
        "plain PyTorch, 2 workers",
        "plain",
        True,
        TWO_WORKERS,
        "plain-distil",
    ),
    Contender(
        "plain-distil-channels_last",
        "plain PyTorch, channels_last by hand",
        "plain",
        True,
        {"memory_format": "channels_last"},
    ),
    Contender("torchdistill-distil", "torchdistill", "torchdistill_box", True),
    Contender(
        "torchdistill-distil-workers",
        "torchdistill, 2 workers",
        "torchdistill_box",
        True,
        TWO_WORKERS,
        "torchdistill-distil",
    ),
    Contender("anew-live", "anew, live teacher", "anew_loop", True, {"ask": "live"}),
    Contender("anew-filling", "anew, table being filled", "anew_loop", True, {"ask": "table"}),
    Contender(
        "anew-stored",
        "anew, table filled before",
        "anew_loop",
        True,
        {"ask": "table", "filled": True},
    ),
    Contender(
        "anew-siblings",
        "anew, 4 siblings, live teacher",
        "anew_loop",
        True,
        {"ask": "live", "siblings": SIBLINGS},
        networks=1 + len(SIBLINGS),
    ),
    Contender(
        "anew-siblings-stored",
        "anew, 4 siblings, table filled before",
        "anew_loop",
        True,
        {"ask": "table", "filled": True, "siblings": SIBLINGS},
        networks=1 + len(SIBLINGS),
    ),
    Contender(
        "anew-compile",
        "anew, live teacher, compiled",
        "anew_loop",
        True,
        {"ask": "live", "training": {"compile": True}},
    ),
    Contender(
        "anew-bfloat16",
        "anew, live teacher, bfloat16",
        "anew_loop",
        True,
        {"ask": "live", "training": {"precision": "bfloat16"}},
    ),
    Contender(
        "anew-stored-bfloat16",
        "anew, table filled before, bfloat16",
        "anew_loop",
        True,
        {"ask": "table", "filled": True, "training": {"precision": "bfloat16"}},
    ),
)

RATIOS = (
    ("anew-label", "plain-label"),
    ("anew-label", "torchdistill-label"),
    ("anew-live", "plain-distil"),
    ("anew-live", "plain-distil-channels_last"),
    ("anew-live", "torchdistill-distil"),
    ("anew-stored", "plain-distil"),
    ("anew-stored", "torchdistill-distil"),
    ("plain-distil", "plain-label"),
    ("torchdistill-distil", "torchdistill-label"),
    ("anew-live", "anew-label"),
    ("anew-filling", "anew-label"),
    ("anew-filling", "anew-live"),
    ("anew-stored", "anew-label"),
    ("anew-siblings", "anew-label"),
    ("anew-siblings-stored", "anew-label"),
    ("anew-compile", "anew-live"),
    ("anew-bfloat16", "anew-live"),
    ("anew-stored-bfloat16", "plain-distil"),
    ("anew-stored-bfloat16", "anew-stored"),
)
"""What is divided by what, in network-pictures a second; of contenders with variants, the fastest.
"""

NOT_RUN = {
    "KD_Lib": (
        "neither installs nor imports with a current torch (0.0.32, the latest; tried 2026-11-24, "
        "Python 3.11). "
        "`pip install KD-Lib` ends in an error: its pins (pip 21.1, torch 1.8.1, torchtext 0.9.1, "
        "transformers 4.6.1, "
        "numpy 1.21.0) cannot be met there, and older versions of it cannot be built. Without its "
        "requirements, beside "
        "torch 2.14.1 and transformers 4.49.0, `from KD_Lib.KD import VanillaKD` fails: it imports "
        "its text models, "
        "they import torchtext.legacy, and the last torchtext, 0.18.0, has no such module and "
        "cannot load its own "
        "library with this torch (OSError: libtorchtext.so)"
    )
}
"""Who should be here and is not, and why."""
