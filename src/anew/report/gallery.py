"""Which test pictures a page shows: flips and disagreements first, then in an order drawn by a key,
never by hand.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64, Num
from PIL import Image
from torch import Tensor

from anew.core import randomness
from anew.core.errors import AnewError
from anew.data import Examples
from anew.report.content import Gallery, Picture

MOST = 200
KINDS = {
    "lost": "right at first, wrong at last",
    "won": "wrong at first, right at last",
    "disagreement": "the generations disagree otherwise",
    "wrong": "all agree and are wrong",
    "right": "all agree and are right",
}
"""The kinds of pictures, those shown first in front."""
_PLACES = {"lost": 60, "won": 60, "disagreement": 40, "wrong": 20, "right": 20}
"""How many of each are shown where there are enough; what one kind leaves goes to the first that
has more.
"""


def choose(
    examples: Examples,
    outputs: Sequence[Float[Tensor, "examples classes"]],
    labels: Int64[Tensor, "examples"],
    most: int = MOST,
) -> Gallery:
    """Return at most so many of the test pictures, with the outputs of every generation.

    Kind by kind as `KINDS` lists them, of each so many as it has places for, within it in the order
    of the stream `("gallery",)`. `AnewError` where the examples are not those that the outputs are
    of, or are no pictures.
    """
    if examples.kind != "picture":
        kinds = "vectors" if examples.kind == "vector" else "tokens"
        raise AnewError(f"the test examples are {kinds}, not pictures")
    if not torch.equal(examples.labels, labels):
        raise AnewError(
            "the test examples at hand are not those that the networks were evaluated on"
        )
    predicted = torch.stack([logits.argmax(-1) for logits in outputs])
    kinds = [
        _kind(column, label)
        for column, label in zip(predicted.T.tolist(), labels.tolist(), strict=True)
    ]
    counts = Counter(kinds)
    drawn = randomness.order(randomness.key(0, "gallery"), len(labels)).tolist()
    by_kind = {kind: [index for index in drawn if kinds[index] == kind] for kind in KINDS}
    places = _share(counts, most)
    chosen = [index for kind in KINDS for index in by_kind[kind][: places[kind]]]
    probabilities = torch.stack([logits.double().softmax(-1) for logits in outputs], dim=1)
    inputs = examples.show(slice(None))
    low, high = _range(inputs)
    pictures = tuple(
        Picture(
            index=index,
            label=int(labels[index]),
            png=png(inputs[index], low, high),
            probabilities=tuple(
                tuple(round(value, 5) for value in generation)
                for generation in probabilities[index].tolist()
            ),
            predicted=tuple(predicted[:, index].tolist()),
            kind=kinds[index],
        )
        for index in chosen
    )
    rule = (
        f"{len(pictures):,} of the {len(labels):,} test pictures: flips first, then other "
        f"disagreements, then what all "
        "get wrong or right, in an order drawn once by a fixed key."
    )
    return Gallery(pictures, rule, {kind: counts[kind] for kind in KINDS})


def png(picture: Num[Tensor, "channels height width"], low: float, high: float) -> bytes:
    """Return a picture as PNG: grey for one channel, the first three as colors otherwise; `low` is
    black.
    """
    shown = picture[:3] if len(picture) >= 3 else picture[:1]
    if shown.dtype != torch.uint8:
        shown = (
            ((shown.double() - low) / ((high - low) or 1.0) * 255)
            .round()
            .clamp(0, 255)
            .to(torch.uint8)
        )
    pixels = shown[0].numpy() if len(shown) == 1 else shown.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(pixels)
    if max(image.size) > 96:
        # Large pictures would make a page of many megabytes; a card shows them at this size.
        image.thumbnail((96, 96))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _share(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Return how many pictures of each kind are shown, at most so many in all."""
    total = sum(_PLACES.values())
    places = {kind: min(counts[kind], _PLACES[kind] * most // total) for kind in KINDS}
    for kind in KINDS:
        places[kind] += min(counts[kind] - places[kind], most - sum(places.values()))
    return places


def _range(inputs: Tensor) -> tuple[float, float]:
    if inputs.dtype == torch.uint8 or not inputs.numel():
        return 0.0, 255.0
    return float(inputs.min()), float(inputs.max())


def _kind(predicted: Sequence[int], label: int) -> str:
    first, last = predicted[0] == label, predicted[-1] == label
    if first != last:
        return "lost" if first else "won"
    if len(set(predicted)) > 1:
        return "disagreement"
    return "right" if last else "wrong"
