"""`anew adopt`: take a checkpoint from elsewhere into a family, as one of its networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from anew.cli.options import (
    AS_TABLE,
    DEFAULT_FAMILY,
    Printed,
    settings_from,
    takes_model_and_data,
)
from anew.cli.printing import print_json
from anew.cli.streams import Terminal


@takes_model_and_data()
def adopt(
    checkpoint: Annotated[
        str,
        Parameter(
            help="A file or folder of weights: safetensors, torch.save, shards with an index, "
            "or a save_pretrained folder; with :KEY for a part of it."
        ),
    ],
    /,
    *,
    out: Annotated[Path, Parameter(help="The family's folder; created if missing.")] = (
        DEFAULT_FAMILY
    ),
    printed: Printed = AS_TABLE,
    **given: Any,
) -> None:
    """Add a checkpoint from elsewhere to a family, with its outputs on the data, so that evaluate,
    predict, insight, report and --teacher work on it.

    `anew train --teacher` gives it the same id on the same data. Nothing is trained.
    """
    recipe, execution = settings_from(None, given)
    from anew.cli import terminal
    from anew.core.errors import AnewError
    from anew.data.loading import load_data
    from anew.data.storage import Storage
    from anew.training import lineage
    from anew.training.pretrained import own_model

    own = own_model(checkpoint, execution.trust)
    asked = given.get("model__name")
    if own is not None:
        if asked is not None and recipe.model.name != own.name:
            raise AnewError(
                f"adopt: {checkpoint} says itself that its weights are of {own.name}, and --model "
                f"is {recipe.model.name}; leave out --model"
            )
        recipe = replace(recipe, model=own)
    elif asked is None:
        raise AnewError(f"adopt: {checkpoint} does not name its model; set --model")

    recipe = replace(recipe, teacher=(checkpoint,), generations=0)
    with terminal.watching(Terminal(stderr=True), "", several=False) as watcher:
        data = load_data(recipe.data, Storage.of(execution, watcher.log))
        adopted = lineage.train_lineage(recipe, data, out, execution, watcher)

    network = f"{out}:{adopted.lineage[-1].id}"
    if printed.is_json:
        print_json({"network": network, "rows": [row.to_json() for row in adopted.rows]})
        return
    output = Terminal()
    terminal.show_scores(output, adopted.rows, "test")
    output.say(f"network: {network}")
