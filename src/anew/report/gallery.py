"""Which test pictures a page shows: flips and disagreements first, in an order drawn by a key."""

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
    "lost": "right in the first, wrong in the last generation",
    "won": "wrong in the first, right in the last generation",
    "disagreement": "another disagreement",
    "wrong": "all agree and are wrong",
    "right": "all agree and are right",
}
"""The kinds of pictures, in the order in which they are shown."""
_PLACES = {"lost": 60, "won": 60, "disagreement": 40, "wrong": 20, "right": 20}
"""The most pictures of each kind; places that one kind leaves go to the first that has more."""


def choose(
    examples: Examples,
    outputs: Sequence[Float[Tensor, "examples classes"]],
    labels: Int64[Tensor, "examples"],
    most: int = MOST,
) -> Gallery:
    """Return at most `most` of the test pictures, with the outputs of every generation.

    They come kind by kind as `KINDS` lists them, each with its places, and within a kind in the
    order of the stream `("gallery",)`. Raises `AnewError` if the outputs are of other examples, or
    the examples are no pictures.
    """
    if examples.kind != "picture":
        kinds = "vectors" if examples.kind == "vector" else "tokens"
        raise AnewError(f"the test examples are {kinds}, not pictures")
    if not torch.equal(examples.labels, labels):
        raise AnewError(
            "the test examples available are not those that the networks were evaluated on"
        )

    predicted = torch.stack([logits.argmax(-1) for logits in outputs])
    kinds = [
        _kind(column, label)
        for column, label in zip(predicted.T.tolist(), labels.tolist(), strict=True)
    ]
    counts = Counter(kinds)
    places = _share(counts, most)
    drawn = randomness.order(randomness.key(0, "gallery"), len(labels)).tolist()
    chosen: list[int] = []
    for kind in KINDS:
        of_kind = [index for index in drawn if kinds[index] == kind]
        chosen += of_kind[: places[kind]]

    probabilities = torch.stack([logits.double().softmax(-1) for logits in outputs], dim=1)
    inputs = examples.show(slice(None))
    low, high = _range(inputs)
    pictures = tuple(
        Picture(
            index=index,
            label=int(labels[index]),
            png=png(inputs[index], low, high),
            probabilities=_rounded(probabilities[index]),
            predicted=tuple(predicted[:, index].tolist()),
            kind=kinds[index],
        )
        for index in chosen
    )
    rule = (
        f"{len(pictures):,} of the {len(labels):,} test pictures: first those that became wrong or "
        f"right, then other disagreements, then those that all generations get wrong or right; "
        f"within each group in a fixed random order."
    )
    return Gallery(pictures, rule, {kind: counts[kind] for kind in KINDS})


def _rounded(probabilities: Tensor) -> tuple[tuple[float, ...], ...]:
    """Return probabilities (generations, C) with the digits that a page needs."""
    return tuple(
        tuple(round(value, 5) for value in generation) for generation in probabilities.tolist()
    )


def png(picture: Num[Tensor, "channels height width"], low: float, high: float) -> bytes:
    """Return a picture as PNG, with `low` as black and `high` as white.

    One channel is grey; of three and more, the first three are colors.
    """
    shown = picture[:3] if len(picture) >= 3 else picture[:1]
    if shown.dtype != torch.uint8:
        scaled = (shown.double() - low) / ((high - low) or 1.0) * 255
        shown = scaled.round().clamp(0, 255).to(torch.uint8)
    pixels = shown[0] if len(shown) == 1 else shown.permute(1, 2, 0).contiguous()

    image = Image.fromarray(pixels.numpy())
    if max(image.size) > 96:
        # Large pictures would make a page of many megabytes. A card shows them at this size.
        image.thumbnail((96, 96))

    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _share(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Return how many pictures of each kind are shown, at most `most` in all."""
    total = sum(_PLACES.values())
    places = {kind: min(counts[kind], _PLACES[kind] * most // total) for kind in KINDS}
    for kind in KINDS:
        places[kind] += min(counts[kind] - places[kind], most - sum(places.values()))
    return places


def _range(inputs: Tensor) -> tuple[float, float]:
    """Return the values that are shown as black and white."""
    if inputs.dtype == torch.uint8 or not inputs.numel():
        return 0.0, 255.0
    return float(inputs.min()), float(inputs.max())


def _kind(predicted: Sequence[int], label: int) -> str:
    """Return the kind of a picture by what each generation predicts, oldest first."""
    first, last = predicted[0] == label, predicted[-1] == label
    if first != last:
        return "lost" if first else "won"
    if len(set(predicted)) > 1:
        return "disagreement"
    return "right" if last else "wrong"
