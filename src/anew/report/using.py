"""Which network of a lineage to use, and where its file is.

It is chosen on validation; test examples choose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from anew import evaluation
from anew.core.spec import Spec
from anew.evaluation import Row, language
from anew.family import Family
from anew.report.content import Use


def to_use(family: Family, chosen: Sequence[Spec], *, validated: bool) -> Use:
    """Return the network to use of a finished lineage, oldest generation first: it has the least
    validation loss. Without validation examples it is the last.

    `validated` says whether the networks were evaluated on validation examples.
    """
    generation, why = _generation(family, chosen, validated=validated)
    folder = family.folder(chosen[generation].id)
    return Use(
        generation=generation,
        is_last=generation == len(chosen) - 1,
        id=chosen[generation].id,
        why=why,
        file=str(PurePosixPath(folder.weights.relative_to(family.path))),
        is_language_model=language.is_language_model(folder),
        lineage=chosen[-1].id if len(family.lineages(gaps=True)) > 1 else "",
    )


def commands(use: Use, family: str) -> list[str]:
    """Return what can be done next with a network of the family in this folder, as commands."""
    lineage = f" --network {use.lineage}" if use.lineage else ""
    which = lineage if use.is_last else f"{lineage} --generations {use.generation}"
    if use.is_language_model:
        return [f'anew predict {family}{which} --text "..."', f"anew sample {family}{which}"]
    return [
        f"anew predict {family}{which} FILE ...",
        f"anew export {family}{which} -o model.onnx",
        f"anew insight {family}{lineage}",
    ]


def _generation(family: Family, chosen: Sequence[Spec], *, validated: bool) -> tuple[int, str]:
    if len(chosen) == 1:
        return 0, "the only one"
    if not validated:
        return len(chosen) - 1, "the last: there are no validation scores to choose by"
    rows = evaluation.evaluate_lineage(family, chosen, "validation")
    singles = [row for row in rows if not row.is_ensemble]
    best = min(singles, key=_loss)
    return best.generations[0], f"the lowest validation loss, {best.scores.nll:.4f}"


def _loss(row: Row) -> float:
    return row.scores.nll
