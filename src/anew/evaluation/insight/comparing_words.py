"""Networks side by side, and lineages over seeds, as tables with notes on their columns."""

from __future__ import annotations

from anew.evaluation.insight.comparing import Compared, Comparison
from anew.evaluation.insight.seeds import SeedsInsight
from anew.evaluation.insight.wording import (
    DARK_COLUMNS,
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
        return f"in brackets: 95 % intervals (Student's t over {seeds} seeds)"
    return "in brackets: 95 % intervals (bootstrap over these examples)"


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
        "Each student's outputs, compared with its teacher's",
        (
            "error %, confidence %: of the student; confidence is the mean of the largest "
            "probability.",
            "same class %: examples with the same prediction.",
            "KL: divergence of the student's probabilities from the teacher's, in nats.",
            "sureness: correlation, over examples, of the two largest probabilities (cwtm's "
            "weights).",
            "right class: correlation, over examples, of the two probabilities of the right class "
            "(equation 9's weights).",
            "Row 'its outputs, permuted': the targets of dkpp, taken as a student's outputs.",
        ),
        ("", "error %", "confidence %", "same class %", "KL", "sureness", "right class"),
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
        "Each student's dark knowledge, compared with its teacher's",
        (
            "The first three columns compare probabilities without the class that the teacher "
            "predicts, scaled to sum 1.",
            "KL beside: their divergence from the teacher's, in nats.",
            "same second %: examples with the same likeliest class among them.",
            "order: Spearman's rank correlation of them, mean over examples.",
            "alike classes: Spearman's rank correlation, over pairs of classes, of the other "
            "classes' probabilities for each predicted class.",
            "covariance: Pearson's correlation, over pairs of classes, of the outputs' covariance.",
            "like own errors: as alike classes, with the network's own errors instead of the "
            "teacher.",
        ),
        (
            "",
            "KL beside",
            "same second %",
            "order",
            "alike classes",
            "covariance",
            "like own errors",
        ),
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
        "Similarity of classes",
        (
            "its errors: Spearman's rank correlation, over pairs of classes, of the other classes' "
            "probabilities for each predicted class with the network's own errors.",
            *(["people: the same with people's answers."] if has_people else []),
            "its teacher: the same with its teacher's probabilities.",
            "covariance: Pearson's correlation, over pairs of classes, of the outputs' covariance "
            "with its teacher's.",
        ),
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
        f"Doubt inside the groups ({len(set(groups))} groups of {len(groups)} classes)",
        (
            "doubt %: mean probability of all classes except the predicted one.",
            "inside %: the share of it on classes of the predicted class's group.",
            "by chance %: that share if the doubt were spread evenly over all other classes.",
            "errors inside %: the share of errors within the right class's group.",
            "change: of inside, compared with the teacher (an ensemble: with generation 0), in "
            "percentage points.",
        ),
        ("", "doubt %", "inside %", "by chance %", "errors inside %", "change"),
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
        "Distance from people's answers",
        (
            "KL: divergence of the probabilities from people's shares, in nats. Cross-entropy is "
            f"KL plus people's entropy, {entropy:.3f}.",
            "spread evenly: KL if the doubt is spread evenly over the other classes. The increase "
            "is what the dark knowledge is worth.",
            "first %: agreement with people's first choice.",
            "second %: agreement with people's second choice, on examples where people disagree.",
            "order: Spearman's rank correlation of the other classes, on the same examples.",
            "alike: Spearman's rank correlation, over pairs of classes, of the other classes' "
            "probabilities with people's.",
            "change of KL: compared with the teacher (an ensemble: with generation 0).",
            "verdict: nearer or farther if the interval of that change excludes 0.",
            "change of order: as change of KL; above 0 is closer to people.",
            "Row 'labels, best smoothed': label smoothing chosen on these examples; it knows "
            "every right class. The KL of plain labels is infinite.",
        ),
        (
            "",
            "KL",
            "spread evenly",
            "first %",
            "second %",
            "order",
            "alike",
            "change of KL",
            "verdict",
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
        f"on {found.examples:,} {split} examples; in brackets: 95 % intervals (Student's t over "
        f"{len(found.seeds)} seeds)"
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
        "Confidence and dark knowledge",
        (
            "confidence: mean of the largest probability, in percent.",
            "right class: mean probability of the right class, in percent.",
            "entropy of others: of the probabilities of all classes except the predicted one, "
            "scaled to sum 1, in nats.",
            *DARK_COLUMNS,
        ),
        (
            "",
            "confidence",
            "right class",
            "entropy of others",
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
        "Students compared with their teachers",
        (
            "same class %: examples with the same prediction.",
            "KL: divergence of the student's probabilities from its teacher's, in nats.",
            "lost %: examples that the teacher gets right and the student wrong; won %: the "
            "reverse.",
        ),
        ("", "same class %", "KL", "lost %", "won %"),
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
        (
            "change: the error minus generation 0's, paired by seed, in percentage points.",
            "ECE: expected calibration error over 15 bins of equal width.",
        ),
        ("", "error %", "change", "NLL", "ECE %"),
        rows,
    )
