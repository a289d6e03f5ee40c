"""`anew adopt`: take a checkpoint from elsewhere into a family, as one of its networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from anew.cli.options import DEFAULT_FAMILY, settings_from, takes_model_and_data
from anew.cli.streams import Terminal


@takes_model_and_data()
def adopt(
    checkpoint: Annotated[
        str,
        Parameter(
            help="A file or folder of weights: safetensors, torch.save, shards with an index, or "
            "what save_pretrained wrote; with :KEY behind it for a part of it."
        ),
    ],
    /,
    *,
    out: Annotated[Path, Parameter(help="The family's folder; made where missing.")] = (
        DEFAULT_FAMILY
    ),
    **given: Any,
) -> None:
    """Take a checkpoint from elsewhere into a family, with its outputs on the data, so that
    evaluate, predict, insight, report and --teacher work on it.

    Its id is the one that `anew train --teacher` gives it on the same data. Nothing is trained.
    """
    recipe, execution = settings_from(None, given)
    from anew.cli import terminal
    from anew.core.errors import AnewError
    from anew.data.loading import load_data
    from anew.data.storage import Storage
    from anew.training import lineage
    from anew.training.pretrained import own_model

    own = own_model(checkpoint, execution.trust)
    if own is not None:
        recipe = replace(recipe, model=own)
    elif given.get("model__name") is None:
        raise AnewError(
            f"adopt: {checkpoint} does not say of which model its weights are; name it with --model"
        )

    recipe = replace(recipe, teacher=(checkpoint,), generations=0)
    with terminal.watching(Terminal(stderr=True), "", several=False) as watcher:
        data = load_data(recipe.data, Storage.of(execution, watcher.log))
        adopted = lineage.train_lineage(recipe, data, out, execution, watcher)

    output = Terminal()
    output.print(terminal.scores_table(adopted.rows, "test"))
    place = f"network: {out}:{adopted.lineage[-1].id}"
    output.print(place, markup=False, highlight=False, soft_wrap=True)
