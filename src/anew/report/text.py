"""The part of a report that is about language models: the answer, and where a generation gains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor

from anew.core.text import generations_in_words
from anew.data.sources.text import END
from anew.evaluation import language, statistics
from anew.evaluation.language import Said
from anew.evaluation.statistics import Difference
from anew.report import headline
from anew.report.content import Answer, Comparison, Guess, Sentence, TextPart, WordGroup

LogP = Sequence[Float64[Tensor, "tokens"]]
"""log p of each token of the test text, by generation, oldest first."""
RANKS = (10, 100, 1000, 10_000, 100_000)
"""Where groups of words end, by their rank in the training text."""
SENTENCES = 3
"""How many sentences are shown that the last generation gains most, and loses most."""
LIKELIEST = 5
_MOST_WORDS = 60


def answer(lineages: Sequence[LogP], first: str, compared: Sequence[tuple[int, ...]]) -> Answer:
    """Return the answer for a lineage and its replicas, the lineage itself first.

    Comparisons of perplexities are paired by seed if there are replicas, else over blocks of the
    test text. `first` is what generation 0 is, in words; `compared` what is compared with it.
    """
    own = lineages[0]
    tokens = len(own[0])
    perplexity = language.perplexity(own[0])
    if len(own) == 1:
        sentence = (
            f"Generation 0, {first}, has a test perplexity of {perplexity:.2f}; it has no finished "
            "student to compare with."
        )
        return Answer(sentence, f"On {tokens:,} test tokens, each predicted once.")

    judged = statistics.judge([_difference(lineages, chosen) for chosen in compared])
    comparisons = tuple(
        Comparison(
            generations_in_words(chosen), chosen, one.difference, one.corrected_p, one.verdict
        )
        for chosen, one in zip(compared, judged, strict=True)
    )
    last, mean = comparisons[len(own) - 2], comparisons[len(own) - 1]
    against = f"generation 0 ({perplexity:.2f}), {first}"
    said = headline.sentence(last, mean, against, "a test perplexity", "")
    how = "One seed. ±: half of the 95 % interval (bootstrap over blocks of the test text)"
    if len(lineages) > 1:
        how = f"{len(lineages)} seeds. ±: half of the 95 % interval (Student's t), paired by seed"
    basis = (
        f"{tokens:,} test tokens, each predicted once. {how}; p-values are corrected for all "
        f"{len(comparisons)} comparisons below (Holm)."
    )
    return Answer(said, basis, comparisons)


def _difference(lineages: Sequence[LogP], chosen: Sequence[int]) -> Difference:
    pairs = [
        (language.ensemble_log_p([log_p[one] for one in chosen]), log_p[0]) for log_p in lineages
    ]
    if len(pairs) == 1:
        ours, theirs = pairs[0]
        return statistics.over_blocks(-ours.numpy(), -theirs.numpy(), language.BLOCK)
    ours, theirs = ([language.perplexity(pair[side]) for pair in pairs] for side in (0, 1))
    return statistics.over_seeds(ours, theirs)


def part_of(said: Sequence[Said], vocabulary: Sequence[str]) -> TextPart:
    """Return where generations gain, from what they say of the test text."""
    if len(said) < 2:
        return TextPart()
    labels = said[0].labels.numpy()
    log_p = np.stack([one.log_p.numpy() for one in said])
    gains = log_p[1:] - log_p[0]

    sentences = _sentences(labels, vocabulary)
    totals = np.array([gains[-1][start:end].sum() for start, end in sentences])
    order: list[int] = np.argsort(totals, kind="stable").tolist()
    lost = [place for place in order[:SENTENCES] if totals[place] < 0]
    gained = [place for place in order[::-1][:SENTENCES] if totals[place] > 0]

    def shown(places: Sequence[int]) -> tuple[Sentence, ...]:
        return tuple(
            _sentence(said, vocabulary, place + 1, sentences[place], gains[-1]) for place in places
        )

    return TextPart(_groups(labels, gains, len(vocabulary)), shown(gained), shown(lost))


def _groups(
    labels: NDArray[np.int64], gains: NDArray[np.float64], vocabulary: int
) -> tuple[WordGroup, ...]:
    """Return groups of words by rank: a word's number is its rank, less one."""
    groups: list[WordGroup] = []
    first = 0
    for end in (*(rank for rank in RANKS if rank < vocabulary), vocabulary):
        inside = (labels >= first) & (labels < end)
        if inside.any():
            name = f"words {first + 1:,} to {end:,} by frequency"
            means = tuple(float(one[inside].mean()) for one in gains)
            groups.append(WordGroup(name, float(inside.mean()), means))
        first = end
    return tuple(groups)


def _sentences(labels: NDArray[np.int64], vocabulary: Sequence[str]) -> list[tuple[int, int]]:
    """Return where each line of the text begins and ends, its `<eos>` included."""
    number = vocabulary.index(END) if END in vocabulary else -1
    ends = [int(place) + 1 for place in np.flatnonzero(labels == number)]
    if not ends or ends[-1] < len(labels):
        ends.append(len(labels))
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _sentence(
    said: Sequence[Said],
    vocabulary: Sequence[str],
    line: int,
    ends: tuple[int, int],
    gain: NDArray[np.float64],
) -> Sentence:
    start, end = ends
    total = float(gain[start:end].sum())
    within = gain[start:end]
    place = start + int(np.argmax(within) if total > 0 else np.argmin(within))
    labels: list[int] = said[0].labels[start:end].tolist()
    words = [vocabulary[number] for number in labels]

    guesses: list[Guess] = []
    for generation, one in enumerate(said):
        numbers: list[int] = one.words[place, :LIKELIEST].tolist()
        shares: list[float] = one.word_log_p[place, :LIKELIEST].double().exp().tolist()
        named = tuple(
            (vocabulary[number], share) for number, share in zip(numbers, shares, strict=True)
        )
        guesses.append(Guess(generation, named, math.exp(one.log_p[place].item())))
    before, after = words[: place - start], words[place - start + 1 :]
    return Sentence(
        line,
        " ".join(before[-_MOST_WORDS:]),
        words[place - start],
        " ".join(after[:_MOST_WORDS]),
        total,
        tuple(guesses),
    )
