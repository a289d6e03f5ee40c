"""What a training ends with: the answer, the network to use and where its file is, what to do next.

The network is chosen on validation; test examples choose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anew import evaluation
from anew.core.spec import Spec
from anew.evaluation import Row, language
from anew.family import Family
from anew.report.gathering import answer_of


def closing(
    family: Family, chosen: Sequence[Spec], rows: Sequence[Row], *, validated: bool
) -> list[str]:
    """Return the closing lines for a finished lineage, oldest generation first, and its scores.

    `validated` says whether the data have validation examples, on which the network is chosen.
    Raises `AnewError` if a file of the family is damaged.
    """
    generation, why = to_use(family, chosen, validated=validated)
    path = family.path
    which = "" if generation == len(chosen) - 1 else f" --generations {generation}"
    commands = [
        f"anew predict {path}{which} FILE ...",
        f"anew export {path}{which} -o model.onnx",
        f"anew insight {path}",
    ]
    if language.is_language_model(family.folder(chosen[0].id)):
        commands = [f'anew predict {path}{which} --text "..."', f"anew sample {path}{which}"]

    # Networks without test examples have no answer.
    answer = answer_of(family, chosen).sentence if rows else ""
    weights = Path(path) / family.folder(chosen[generation].id).weights.relative_to(family.path)
    return [
        *([f"answer: {answer}"] if answer else []),
        f"network to use: generation {generation} ({why}), {weights}",
        *("next: " + command for command in commands),
    ]


def to_use(family: Family, chosen: Sequence[Spec], *, validated: bool) -> tuple[int, str]:
    """Return the generation to use as a single network, and why: it has the least validation loss.

    Without validation examples it is the last.
    """
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
