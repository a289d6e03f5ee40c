"""A graph as an archive of torch.export, and what it answers when it is loaded again."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram

from anew.export.comparison import Ask
from anew.export.graph import quiet

DESCRIPTION = "anew.json"
"""The name of the description among the archive's extra files."""


def archive_bytes(program: ExportedProgram, described: Mapping[str, Any]) -> bytes:
    """Return a graph as a `.pt2` file, with its description as JSON among its extra files."""
    content = io.BytesIO()
    with quiet():
        text = json.dumps(dict(described))
        torch.export.save(program, content, extra_files={DESCRIPTION: text})
    return content.getvalue()


def asking(content: bytes) -> Ask:
    """Return the module of an archive that was written just now."""
    with quiet():
        return torch.export.load(io.BytesIO(content)).module()
