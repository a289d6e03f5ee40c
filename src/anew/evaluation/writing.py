"""What language models write: the next words of a text with their probabilities, and samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anew.core import randomness
from anew.core.errors import AnewError
from anew.data.sources.text import END, UNKNOWN
from anew.models.language import State
from anew.models.network import Network
from anew.objectives import mean_of_teachers

MOST_WORDS = 100_000


@dataclass(frozen=True)
class NextWords:
    """The distribution of the word that follows a text."""

    words: tuple[str, ...]
    """The text as the networks read it, with `<unk>` for what they do not know."""
    ranked: tuple[tuple[str, float], ...]
    """The whole vocabulary with its probabilities, the likeliest first."""

    def to_json(self, top: int) -> dict[str, Any]:
        """Return it as `anew predict --text --format json` prints it."""
        likely = [{"word": word, "probability": share} for word, share in self.ranked[:top]]
        return {"text": " ".join(self.words), "next": likely}


class Writers:
    """Language models that read a text together: the mean of their probabilities."""

    def __init__(self, networks: Sequence[Network]) -> None:
        """Take networks of one vocabulary; raise `AnewError` if they have none, or several."""
        self.networks = [network.eval() for network in networks]
        signature = networks[0].signature
        if signature.kind != "tokens" or not signature.positions:
            raise AnewError(
                f"predict: the networks take {signature.in_words()}, not text; give picture files"
            )
        if any(one.signature.classes != signature.classes for one in networks):
            raise AnewError(
                "predict: the networks have different vocabularies; choose fewer --generations"
            )

        self.vocabulary = signature.classes
        self._numbers = {word: number for number, word in enumerate(self.vocabulary)}
        self._reach = signature.input_shape[0]
        self.reads_characters = _are_characters(self.vocabulary)

    def tokens(self, text: str) -> list[int]:
        """Return the numbers of a text's tokens, behind an `<eos>`.

        Raises `AnewError` for a word that is not known if there is no `<unk>`.
        """
        words = list(text.strip()) if self.reads_characters else text.split()
        numbers = [self._numbers[END]]
        for word in words:
            number = self._numbers.get(word, self._numbers.get(UNKNOWN))
            if number is None:
                raise AnewError(
                    f"predict: '{word}' is not in the vocabulary, which has no {UNKNOWN}; write "
                    "words of the training text"
                )
            numbers.append(number)
        return numbers

    @torch.inference_mode()
    def after(self, text: str) -> NextWords:
        """Return the distribution of the word after a text."""
        numbers = self.tokens(text)
        log_p, _ = self._read(numbers, None)
        order = log_p.argsort(descending=True, stable=True)
        shares = log_p.exp()
        ranked = tuple((self.vocabulary[one], float(shares[one])) for one in order.tolist())
        return NextWords(tuple(self.vocabulary[one] for one in numbers[1:]), ranked)

    @torch.inference_mode()
    def sample(self, text: str, count: int, seed: int, temperature: float = 1.0) -> str:
        """Return `count` words that follow a text, drawn at random; <eos> becomes a line's end."""
        stream = randomness.key(seed, "sample")
        drawn = randomness.uniform(stream, torch.arange(count)).double()
        numbers, states = self.tokens(text), None
        written: list[int] = []
        log_p, states = self._read(numbers, states)
        for place in range(count):
            shares = (log_p / temperature).softmax(-1).cumsum(-1)
            chosen = int(torch.searchsorted(shares, drawn[place] * shares[-1]).item())
            written.append(min(chosen, len(self.vocabulary) - 1))
            log_p, states = self._read([*numbers, *written] if not states else written[-1:], states)
        return self._joined(written)

    def _read(
        self, numbers: Sequence[int], states: list[State] | None
    ) -> tuple[Float[Tensor, "vocabulary"], list[State]]:
        """Return log-probabilities of the next word, float64, and the networks' states.

        The states are none if a network has none: then it sees no more than a window.
        """
        device = self.networks[0].mean.device
        ids = torch.tensor([list(numbers)], device=device)
        following: list[State] = []
        answers: list[Tensor] = []
        for place, network in enumerate(self.networks):
            if network.has_state:
                state = network.start(1) if states is None else states[place]
                logits, state = network(ids, state)
                following.append(state)
            else:
                logits = network(_last(ids, self._reach))
            answers.append(logits[0, -1].double().cpu())
        whole = mean_of_teachers(torch.stack(answers)).log_softmax(-1)
        return whole, following if len(following) == len(self.networks) else []

    def _joined(self, numbers: Sequence[int]) -> str:
        words = ["\n" if one == self._numbers[END] else self.vocabulary[one] for one in numbers]
        if self.reads_characters:
            return "".join(words)
        return " ".join(words).replace(" \n ", "\n").replace(" \n", "\n").replace("\n ", "\n")


def _are_characters(vocabulary: Sequence[str]) -> bool:
    return all(len(word) == 1 for word in vocabulary if word not in (END, UNKNOWN))


def _last(ids: Tensor, reach: int) -> Tensor:
    """Return the last tokens, as many as a window has; models without a state take no other."""
    missing = reach - ids.shape[1]
    if missing > 0:
        return torch.cat([ids[:, :1].expand(1, missing), ids], dim=1)
    return ids[:, -reach:]
