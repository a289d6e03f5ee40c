"""`anew insight`: what the students of a lineage learned, siblings side by side, and over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from anew.cli.family import FamilyFolder
from anew.cli.options import (
    AS_RECORDED,
    SECTIONS_AS_TABLE,
    WHOLE,
    Moved,
    PrintedSections,
    execution_from,
    takes_execution,
)
from anew.cli.printing import notify, print_json
from anew.cli.streams import Terminal
from anew.core.errors import AnewError

if TYPE_CHECKING:
    from anew.core.spec import Spec
    from anew.evaluation.insight import Insight, Options
    from anew.evaluation.insight.comparing import Comparison
    from anew.evaluation.insight.seeds import SeedsInsight
    from anew.evaluation.insight.wording import Section
    from anew.family import Family


@Parameter(name="*")
@dataclass(frozen=True)
class LookedAt:
    """Which examples are looked at."""

    split: Annotated[
        Literal["test", "validation", "train"],
        Parameter(
            help="Examples: the test set or the validation split (from stored outputs), or the "
            "training examples (runs the networks on them)."
        ),
    ] = "test"
    examples: Annotated[
        int | None,
        WHOLE,
        Parameter(
            help="Use this many examples, drawn at random. Default: all stored ones, or 10,000 "
            "training examples."
        ),
    ] = None


ALL_OF_TEST = LookedAt()
"""All test examples."""


@Parameter(name="*")
@dataclass(frozen=True)
class Compare:
    """What `anew insight` looks at in place of one lineage, and what it is held against."""

    siblings: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Compare the students of one teacher: what each objective kept. Teachers that "
            "differ only in their seeds give means over seeds.",
        ),
    ] = False
    seeds: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Use all finished lineages that differ from this one only in their seeds, with "
            "intervals over seeds.",
        ),
    ] = False
    similarity: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Compare which classes each generation and ensemble (with --siblings, each "
            "student) finds similar with its errors, --groups and --human.",
        ),
    ] = False
    groups: Annotated[
        Path | None,
        Parameter(
            help="Compare with groups of classes, from a file: CSV or text with lines "
            "`class,group` or `group: class, class`, or JSON."
        ),
    ] = None
    human: Annotated[
        str | None,
        Parameter(
            help="Compare with people: FILE or FILE:NAME (.npz, .npy, .parquet, .safetensors) "
            "with counts or probabilities (N, C) of the test examples, in their order."
        ),
    ] = None


ONE_LINEAGE = Compare()
"""One lineage is looked at, by itself."""


@takes_execution("device", "threads", "trust")
def insight(
    family: FamilyFolder,
    /,
    *,
    looked_at: LookedAt = ALL_OF_TEST,
    network: Annotated[
        str,
        Parameter(
            # Its name until version 0.2.
            alias="--lineage",
            help="Use the lineage that ends at this network (the start of its id). Needed if a "
            "family has several lineages. With --siblings, a teacher or a student.",
        ),
    ] = "",
    printed: PrintedSections = SECTIONS_AS_TABLE,
    compare: Compare = ONE_LINEAGE,
    moved: Moved = AS_RECORDED,
    **given: Any,
) -> None:
    """Print what the students learned: gradients, dark knowledge, calibration, classes that got
    worse, similarity of the generations; or compare siblings, seeds, groups of classes and people.
    """
    from anew.evaluation import insight as insights
    from anew.evaluation.insight import comparing_words, wording
    from anew.evaluation.insight.seeds import collect_over_seeds
    from anew.family import Family, choose_lineage
    from anew.training.device import settings

    execution, form = execution_from(given), printed.chosen
    opened = Family.open(family)
    notify(opened.missing())
    if compare.siblings or compare.similarity or compare.groups or compare.human:
        if moved != AS_RECORDED:
            raise AnewError(
                "data: siblings and similarity need only stored outputs; drop --data and --root"
            )
        options = insights.Options(looked_at.split, looked_at.examples)
        compared = _compared(opened, network, options, compare)
        said = comparing_words.heading(compared), comparing_words.sections(compared)
        _print_insight(compared, form, *said)
        return

    chosen = choose_lineage(opened, network, several="alike" if compare.seeds else "refuse")
    with settings(execution) as device:
        options = insights.Options(looked_at.split, looked_at.examples, device, execution.trust)
        if compare.seeds:
            lineages = _replicas(opened, chosen)
            over = collect_over_seeds(opened, lineages, options, source=moved.data, root=moved.root)
            said = comparing_words.seeds_heading(over), comparing_words.seeds_sections(over)
            _print_insight(over, form, *said)
            return
        measured = insights.collect_with_data(
            opened, chosen, options, source=moved.data, root=moved.root
        )
    _print_insight(measured, form, wording.heading(measured), wording.sections(measured))


def _compared(family: Family, end: str, options: Options, compare: Compare) -> Comparison:
    """Return networks side by side: the siblings or the lineages that are meant."""
    from anew.evaluation.insight import comparing
    from anew.family import choose_lineage
    from anew.family.siblings import find_siblings

    against = comparing.Against(compare.groups, compare.human)
    if compare.siblings:
        siblings = find_siblings(family, end, every_seed=compare.seeds or not end)
        return comparing.compare_siblings(family, siblings, options, against)
    chosen = choose_lineage(family, end, several="alike" if compare.seeds else "refuse")
    lineages = _replicas(family, chosen) if compare.seeds else [chosen]
    return comparing.compare_generations(family, lineages, options, against)


def _replicas(family: Family, chosen: Sequence[Spec]) -> list[tuple[Spec, ...]]:
    """Return the lineages that differ in their seeds alone, by their seeds."""
    from anew.family import replicas

    found = replicas(family, chosen)
    if len(found) < 2:
        raise AnewError(
            f"{family.path}: --seeds needs lineages that differ only in their seeds, and there "
            f"is only {chosen[-1].id}; train it with another --seed, or drop --seeds"
        )
    return sorted(found, key=lambda lineage: (lineage[-1].seed, lineage[-1].id))


def _print_insight(
    measured: Insight | Comparison | SeedsInsight,
    form: str,
    heading: str,
    sections: Sequence[Section],
) -> None:
    from anew.evaluation.insight import wording

    if form == "json":
        print_json(measured.to_json())
    elif form == "markdown":
        print(wording.in_markdown(heading, sections, measured.notices))
    else:
        _print_sections(heading, sections)
        for notice in measured.notices:
            Terminal().note(notice)


def _print_sections(heading: str, sections: Sequence[Section]) -> None:
    """Print tables with their notes, folded to the width of the terminal."""
    from anew.cli import terminal

    console = Terminal()
    console.note(heading)
    for section in sections:
        console.print()
        console.note(section.title, style="bold")
        terminal.show_table(console, section.columns, section.rows)
        for line in section.about:
            console.note(line, style="dim")
