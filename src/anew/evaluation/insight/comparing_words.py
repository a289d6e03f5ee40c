"""Networks side by side, and lineages over seeds, as tables with notes on their columns."""

from __future__ import annotations

from anew.evaluation.insight.comparing import Compared, Comparison
from anew.evaluation.insight.seeds import SeedsInsight
from anew.evaluation.insight.wording import (
    Section,
    gradients_table,
    number,
    permuted_table,
    share,
    weights_table,
)
from anew.evaluation.statistics import Interval


def heading(found: Comparison) -> str:
    """Return which networks are compared, on which examples, and what intervals are of."""
    return f"{found.described}, on {found.examples:,} {found.split} examples; {_intervals(found)}"


def sections(found: Comparison) -> list[Section]:
    """Return the tables of a comparison, in reading order."""
    tables = [_alike(found)] if found.what == "similarity" else [_kept(found), _beside(found)]
    if found.groups is not None:
        tables.append(_inside(found))
    if found.people_entropy is not None:
        tables.append(_people(found, found.people_entropy))
    return tables


def _intervals(found: Comparison) -> str:
    seeds = len(found.teachers)
    if seeds > 1:
        return f"in brackets Student's 95 % interval over {seeds} seeds"
    return "in brackets the bootstrap's 95 % interval over them"


def _kept(found: Comparison) -> Section:
    rows = [
        [
            one.name,
            number(one.kept.error, 2),
            number(one.kept.confidence, 1),
            number(one.kept.same_class, 1),
            number(one.kept.kl, 3),
            number(one.kept.sureness, 2),
            number(one.kept.right_class, 2),
        ]
        for one in found.networks
        if one.kept is not None
    ]

    return Section(
        "What each kept of its teacher's outputs",
        "Error and confidence in percent; same class: examples with the same prediction, in "
        "percent; KL of the student from its teacher, in nats. Sureness: the correlation, over "
        "examples, of both largest probabilities (CWTM's weights); right class: that of both "
        "probabilities of the right class (equation 9's). Permuted: the targets of DKPP.",
        ("", "error", "confidence", "same class", "KL", "sureness", "right class"),
        rows,
    )


def _beside(found: Comparison) -> Section:
    rows = [
        [
            one.name,
            number(one.kept.kl_beside, 3),
            number(one.kept.same_second, 1),
            number(one.kept.rank, 2),
            number(one.kept.similarity, 2),
            number(one.kept.covariance, 2),
            number(one.alike.errors, 2),
        ]
        for one in found.networks
        if one.kept is not None
    ]

    return Section(
        "What each kept of its dark knowledge",
        "Without the class that the teacher predicts, scaled to sum 1: KL in nats; same second: "
        "the same class is likeliest, in percent of the examples; order: mean of Spearman's rank "
        "correlation over examples. Alike classes: Spearman's correlation, over pairs of "
        "classes, of the probability beside a prediction. Covariance: Pearson's correlation, "
        "over pairs of classes, of the outputs' covariance. Like own errors: alike classes, "
        "compared with the network's own errors.",
        ("", "KL beside", "same second", "order", "alike classes", "covariance", "like own errors"),
        rows,
    )


def _alike(found: Comparison) -> Section:
    has_people = found.people_entropy is not None
    rows: list[list[str]] = []
    for one in found.networks:
        if one.inside is None and one.kept is None and not one.ids[0]:
            continue
        row = [one.name, number(one.alike.errors, 2)]
        row += [number(one.alike.people, 2)] if has_people else []
        kept = one.kept
        row += [number(kept.similarity, 2), number(kept.covariance, 2)] if kept else ["-", "-"]
        rows.append(row)

    return Section(
        "Which classes are alike",
        "Spearman's rank correlation, over pairs of classes, of the probability beside the "
        "prediction: with the network's own errors"
        + (", with people's answers beside their first choice" if has_people else "")
        + ", and with the teacher's; then Pearson's of the outputs' covariance with the teacher's.",
        ("", "its errors", *(["people"] if has_people else []), "its teacher", "covariance"),
        rows,
    )


def _inside(found: Comparison) -> Section:
    groups = found.groups or ()
    rows: list[list[str]] = []
    for one in found.networks:
        inside = one.inside
        if inside is not None:
            change = one.inside_change.share if one.inside_change is not None else None
            rows.append(
                [
                    one.name,
                    number(inside.doubt, 1),
                    number(inside.share, 1),
                    number(inside.chance, 1),
                    number(inside.errors, 1),
                    _change(change, 1),
                ]
            )

    return Section(
        f"Does the doubt stay inside the group? ({len(set(groups))} groups of "
        f"{len(groups)} classes)",
        "In percent. Doubt: the mean probability beside the prediction. Inside: the share of it "
        "on classes of the predicted class's group; by chance: that share if it were spread "
        "evenly. Errors inside: the share of errors within the right class's group. Change: "
        "inside less the teacher's (of an ensemble, generation 0's), in points.",
        ("", "doubt", "inside", "by chance", "errors inside", "change"),
        rows,
    )


def _people(found: Comparison, entropy: float) -> Section:
    rows: list[list[str]] = []
    for one in found.networks:
        near = one.people
        if near is not None:
            change = one.people_change
            rows.append(
                [
                    one.name,
                    number(near.kl, 3),
                    number(near.kl_even, 3),
                    number(near.first, 1),
                    number(near.second, 1),
                    number(near.rank, 3),
                    number(one.alike.people, 2),
                    _change(change.kl if change is not None else None, 3),
                    nearer(one),
                    _change(change.rank if change is not None else None, 3),
                ]
            )

    return Section(
        "How near are they to people?",
        "KL from people's shares, in nats (cross-entropy is KL and people's entropy, "
        f"{entropy:.3f}, together); then with the probability beside the prediction spread "
        "evenly: the increase is the worth of its dark knowledge. First: agreement with people's "
        "first choice, in percent. On examples where people disagree: second, agreement with "
        "their second choice, in percent; order, Spearman's rank correlation of the other "
        "classes. Alike: similarity of classes, compared with people's. Changes: less the "
        "teacher's (of an ensemble, generation 0's); nearer, farther: the interval of KL's "
        "excludes 0. Plain labels are infinitely far, because some people chose another class. "
        "Labels with the best smoothing, chosen on these examples, know the right class.",
        (
            "",
            "KL",
            "spread evenly",
            "first",
            "second",
            "order",
            "alike",
            "change of KL",
            "so it is",
            "change of order",
        ),
        rows,
    )


def nearer(one: Compared) -> str:
    """Return whether a network is nearer to people than its teacher, by the interval of KL's."""
    if one.people_change is None:
        return "-"
    change = one.people_change.kl
    if change.high < 0:
        return "nearer"
    return "farther" if change.low > 0 else "not shown"


def _change(change: Interval | None, digits: int) -> str:
    return "-" if change is None else number(change, digits)


def seeds_heading(found: SeedsInsight) -> str:
    """Return which lineages were looked at, and on which examples."""
    last = found.lineages[0][-1]
    seeds = ", ".join(map(str, found.seeds))
    split = "training" if found.split == "train" else found.split
    return (
        f"{last.model}, {last.objective}, generations 0 to {last.generation}, seeds {seeds}, each "
        f"on {found.examples:,} {split} examples; in brackets Student's 95 % interval over "
        f"{len(found.seeds)} seeds"
    )


def seeds_sections(found: SeedsInsight) -> list[Section]:
    """Return the tables of lineages over seeds that have rows, in reading order."""
    tables = [
        gradients_table(found.gradients),
        weights_table(found.gradients),
        permuted_table(found.gradients),
        _sureness(found),
        _pairs(found),
        _scores(found),
    ]
    return [section for section in tables if section.rows]


def _sureness(found: SeedsInsight) -> Section:
    rows = [
        [
            f"generation {one.generation}",
            share(one.confidence),
            share(one.correct),
            number(one.dark_entropy, 3),
            number(one.agreement, 2),
            number(one.agreement_permuted, 2),
            number(one.covariance_kept, 2),
        ]
        for one in found.sureness
    ]

    return Section(
        "Confidence, and the probability beside the prediction",
        "Confidence and the right class's probability in percent; entropy, in nats, of the "
        "probability beside the prediction. Like the errors: Spearman's rank correlation, over "
        "pairs of classes, of the probability beside the prediction with the errors; then the "
        "same after DKPP's permutation, and Pearson's of the outputs' covariance before and "
        "after it.",
        (
            "",
            "confidence",
            "right class",
            "beside the answer",
            "like the errors",
            "permuted",
            "covariance kept",
        ),
        rows,
    )


def _pairs(found: SeedsInsight) -> Section:
    rows = [
        [
            f"generation {one.generation}",
            number(one.same_class, 1),
            number(one.kl, 3),
            number(one.lost, 2),
            number(one.won, 2),
        ]
        for one in found.pairs
    ]

    return Section(
        "Students beside their teachers",
        "Same class: the same prediction, in percent of the examples; KL of the student from its "
        "teacher, in nats; lost: right by the teacher and wrong by the student, in percent of "
        "the examples; won: the reverse.",
        ("", "same class", "KL", "lost", "won"),
        rows,
    )


def _scores(found: SeedsInsight) -> Section:
    rows = [
        [
            one.name,
            number(one.error, 2),
            number(one.change, 2),
            number(one.nll, 4),
            number(one.ece, 2),
        ]
        for one in found.scores
    ]

    return Section(
        "Scores",
        "Error and ECE (15 bins of equal width) in percent; change: the error less generation 0's, "
        "paired by seed, in percentage points.",
        ("", "error", "change", "NLL", "ECE"),
        rows,
    )
