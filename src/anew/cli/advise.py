"""`anew advise`: what would probably help, from what is known of a run or of data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from anew.cli.options import AS_RECORDED, AS_TABLE, Moved, Printed
from anew.cli.printing import print_json
from anew.cli.streams import Terminal
from anew.core.errors import AnewError

NOTHING = (
    "Nothing stands out. docs/when-it-helps.md has our measurements by situation; compare any "
    "gain with a label-only network of the same compute."
)


def advise(
    what: Annotated[str, Parameter(help="A family's folder, or a data set such as folder:PATH.")],
    /,
    *,
    network: Annotated[
        str,
        Parameter(
            help="Use generation 0 of the lineage that ends at this network (the start of its id)."
        ),
    ] = "",
    moved: Moved = AS_RECORDED,
    printed: Printed = AS_TABLE,
) -> None:
    """Suggest up to three changes that would probably help, each with its reason and evidence.

    For a family they come from generation 0's validation loss, training error and calibration; for
    a language model from its training and validation perplexities; for a data set from its classes
    and number of labelled examples. Nothing is trained, and the test set is not used.
    """
    from anew.core.spec import DataSpec
    from anew.data.sources import open_source
    from anew.evaluation import advice
    from anew.family import Family, generation_0

    if Path(what).is_dir():
        family = Family.open(Path(what))
        spec = generation_0(family, network)
        if spec.weights:
            raise AnewError(
                f"advise: network {spec.id} is a given network, whose training is unknown; give "
                "the data set instead"
            )
        facts = advice.facts_of(family, spec)
    else:
        root = str(moved.root) if moved.root is not None else DataSpec().root
        source = open_source(DataSpec(source=what, root=root))
        if source.is_text:
            raise AnewError(
                "advise: a text needs a trained network for advice; train one with `anew train "
                f"--data {what}` and give its family"
            )
        facts = advice.facts_of_labels(source.train.labels, len(source.classes))

    found = advice.advise(facts)
    if printed.is_json:
        print_json({"facts": facts, "advice": found})
        return
    console = Terminal()
    for one in found:
        console.say(one.in_words())
    if not found:
        console.say(NOTHING)
