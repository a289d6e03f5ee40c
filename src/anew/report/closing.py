"""What a training ends with: the answer, the network to use, where its file is, what is next."""

from __future__ import annotations

from collections.abc import Sequence

from anew.core.spec import Spec
from anew.evaluation import Row
from anew.family import Family
from anew.report import using
from anew.report.gathering import answer_of


def closing(
    family: Family, chosen: Sequence[Spec], rows: Sequence[Row], *, validated: bool
) -> list[str]:
    """Return the closing lines for a finished lineage, oldest generation first, and its scores.

    `validated` says whether the data have validation examples, on which the network is chosen.
    Raises `AnewError` if a file of the family is damaged.
    """
    use = using.to_use(family, chosen, validated=validated)
    # Networks without test examples have no answer.
    answer = answer_of(family, chosen).sentence if rows else ""
    return [
        *([f"answer: {answer}"] if answer else []),
        f"network to use: generation {use.generation} ({use.why}), {family.path / use.file}",
        *("next: " + command for command in using.commands(use, str(family.path))),
    ]
