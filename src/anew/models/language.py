"""Language models: LSTMs over words, over words' characters, and a small transformer.

All take numbers of tokens (B, T) and a state, and return logits (B, T, V) and the next state. A
state is a tuple of tensors whose first axis is the batch; `start(B)` is that before a text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

State = tuple[Tensor, ...]
Answer = tuple[Float[Tensor, "batch steps vocabulary"], State]
_SMALL = 0.1
_KIM = 0.05
# Kim et al.'s one-character stand-ins for the two tokens that are no words.
_STAND_INS = {"<unk>": "|", "<eos>": "+"}
_PAD, _START, _END = 0, 1, 2


class StackedLSTM(nn.Module):
    """LSTM layers with dropout before the first, between them and behind the last.

    Each is an `nn.LSTM` of its own: one of several layers keeps, with cuDNN, a dropout state that
    seeding does not reach. A state is h and c of each layer, (B, H).
    """

    def __init__(self, inputs: int, layers: int, units: int, dropout: float, first: float) -> None:
        """`first` is the dropout of what goes into the first layer."""
        super().__init__()
        sizes = [inputs, *[units] * (layers - 1)]
        self.layers = nn.ModuleList(nn.LSTM(size, units, batch_first=True) for size in sizes)
        self.before = nn.Dropout(first)
        self.after = nn.Dropout(dropout)
        self.units = units

    def start(self, count: int) -> State:
        """Return the state before a text: zeros."""
        weight = next(self.parameters())
        return (weight.new_zeros(count, self.units),) * (2 * len(self.layers))

    def forward(self, x: Float[Tensor, "batch steps inputs"], state: State) -> Answer:
        """Return the last layer's outputs (B, T, H), after dropout, and the next state."""
        x = self.before(x)
        following: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            # Autocast may have made the inputs half as wide as a state, which is kept whole.
            hidden, cell = (one[None].to(x.dtype) for one in state[2 * number : 2 * number + 2])
            x, (hidden, cell) = layer(x, (hidden, cell))
            following += [hidden[0].float(), cell[0].float()]
            x = self.after(x)
        return x, tuple(following)


class WordLSTM(nn.Module):
    """An LSTM over words (Zaremba et al. 2014), its softmax tied to the embedding.

    V H + L (8 H^2 + 8 H) + V parameters if it is tied: 51,034,000 for 10,000 words, 2 layers of
    1,500 units.
    """

    def __init__(
        self, vocabulary: int, layers: int, units: int, dropout: float = 0.2, tied: int = 1
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, units)
        self.lstm = StackedLSTM(units, layers, units, dropout, first=dropout)
        self.classifier = nn.Linear(units, vocabulary)
        nn.init.uniform_(self.embedding.weight, -_SMALL, _SMALL)
        nn.init.uniform_(self.classifier.weight, -_SMALL, _SMALL)
        nn.init.zeros_(self.classifier.bias)
        if tied:
            self.classifier.weight = self.embedding.weight

    def start(self, count: int) -> State:
        """Return the state before a text."""
        return self.lstm.start(count)

    def forward(self, tokens: Int64[Tensor, "batch steps"], state: State | None = None) -> Answer:
        """Return logits (B, T, V) and the next state; before a text if none is given."""
        state = self.start(len(tokens)) if state is None else state
        outputs, following = self.lstm(self.embedding(tokens), state)
        return self.classifier(outputs), following


@dataclass(frozen=True)
class CharacterSizes:
    """The sizes of a network over words' characters; the defaults are Kim et al.'s large one."""

    characters: int = 15
    """The length of a character's embedding."""
    widths: int = 7
    """The convolutions have widths 1 to this."""
    filters: int = 50
    """One of width w has w times as many filters,"""
    most_filters: int = 200
    """but no more than this."""
    highway: int = 2
    """The number of highway layers."""
    dropout: float = 0.5

    @property
    def features(self) -> tuple[int, ...]:
        """The number of filters of each width."""
        widths = range(1, self.widths + 1)
        return tuple(min(self.most_filters, self.filters * width) for width in widths)


class CharacterLSTM(nn.Module):
    """An LSTM whose inputs are words' characters and whose outputs are words (Kim et al. 2016).

    Characters are embedded, convolved with tanh, and the maximum over places goes through highway
    layers. There is no dropout between these and the first LSTM.
    """

    def __init__(
        self, words: Sequence[str], layers: int, units: int, sizes: CharacterSizes | None = None
    ) -> None:
        super().__init__()
        sizes = sizes or CharacterSizes()
        spellings, characters = spell(words, least=sizes.widths)
        self.spellings: Tensor
        self.register_buffer("spellings", spellings, persistent=False)
        self.characters = nn.Embedding(characters, sizes.characters, padding_idx=_PAD)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(sizes.characters, filters, width)
            for width, filters in enumerate(sizes.features, 1)
        )
        features = sum(sizes.features)
        self.highway = nn.ModuleList(Highway(features) for _ in range(sizes.highway))
        self.lstm = StackedLSTM(features, layers, units, sizes.dropout, first=0.0)
        self.classifier = nn.Linear(units, len(words))

        for parameter in self.parameters():
            nn.init.uniform_(parameter, -_KIM, _KIM)
        with torch.no_grad():
            self.characters.weight[_PAD].zero_()

    def start(self, count: int) -> State:
        """Return the state before a text."""
        return self.lstm.start(count)

    def forward(self, tokens: Int64[Tensor, "batch steps"], state: State | None = None) -> Answer:
        """Return logits (B, T, V) and the next state; before a text if none is given."""
        state = self.start(len(tokens)) if state is None else state
        outputs, following = self.lstm(self.embed(tokens), state)
        return self.classifier(outputs), following

    def embed(self, tokens: Int64[Tensor, "batch steps"]) -> Float[Tensor, "batch steps features"]:
        """Return the features of words, computed once for each that occurs."""
        if tokens.is_meta:
            # Where only operations are counted, nobody knows which words are the same.
            return self._features(tokens.flatten()).unflatten(0, tokens.shape)
        distinct, places = tokens.unique(return_inverse=True)
        return self._features(distinct)[places]

    def _features(self, distinct: Int64[Tensor, "words"]) -> Float[Tensor, "words features"]:
        letters = self.characters(self.spellings[distinct]).transpose(1, 2)
        maxima = [convolve(letters).amax(-1) for convolve in self.convolutions]
        features = torch.tanh(torch.cat(maxima, dim=-1))
        for layer in self.highway:
            features = layer(features)
        return features


class Highway(nn.Module):
    """A highway layer (Srivastava et al. 2015): t relu(A x + a) + (1 - t) x.

    The gate t = sigmoid(B x + b - 2) starts nearly closed.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.transform, self.gate = nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, x: Float[Tensor, "words size"]) -> Float[Tensor, "words size"]:
        """Return the layer's outputs."""
        share = torch.sigmoid(self.gate(x) - 2)
        return share * F.relu(self.transform(x)) + (1 - share) * x


def spell(words: Sequence[str], least: int = 1) -> tuple[Int64[Tensor, "words places"], int]:
    """Return words as rows of numbers of characters, and how many numbers there are.

    A row is a start, the characters, an end, and padding (0) up to the longest word's row, or to
    `least` places. `<unk>` and `<eos>` are one character each.
    """
    spelled = [_STAND_INS.get(word, word) for word in words]
    numbers = {
        letter: _END + 1 + place for place, letter in enumerate(sorted(set("".join(spelled))))
    }
    places = max(least, 2 + max(map(len, spelled)))
    rows = torch.full((len(words), places), _PAD, dtype=torch.int64)
    for row, word in zip(rows, spelled, strict=True):
        letters = [_START, *(numbers[letter] for letter in word), _END]
        row[: len(letters)] = torch.tensor(letters)
    return rows, len(numbers) + _END + 1


@dataclass(frozen=True)
class TransformerSizes:
    """The sizes of a transformer but for layers and width."""

    heads: int = 0
    """Heads of attention; one for 32 of the width if 0."""
    context: int = 64
    """How many tokens a layer's attention reaches, the one that asks among them."""
    dropout: float = 0.1

    def heads_of(self, width: int) -> int:
        """Return the number of heads of a network of this width."""
        return self.heads or max(1, width // 32)


class Transformer(nn.Module):
    """A decoder with pre-norm blocks, rotary positions (Su et al. 2021) and a tied softmax.

    Attention reaches `context` tokens back, over the window's start too: the state is the keys and
    values of the tokens before it (Dai et al. 2019), which get no gradient. Positions are relative,
    so that what it says of a token does not depend on where windows begin.
    """

    def __init__(
        self, vocabulary: int, layers: int, width: int, sizes: TransformerSizes | None = None
    ) -> None:
        super().__init__()
        sizes = sizes or TransformerSizes()
        self.heads, self.kept = sizes.heads_of(width), sizes.context - 1
        self.embedding = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(sizes.dropout)
        self.blocks = nn.ModuleList(Block(width, self.heads, sizes.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def start(self, count: int) -> State:
        """Return the state before a text: nothing to look back at.

        How many of the kept places are filled (B,), then keys and values of each block.
        """
        weight = self.embedding.weight
        size = weight.shape[1] // self.heads
        filled = torch.zeros(count, dtype=torch.int64, device=weight.device)
        kept = weight.new_zeros(count, self.heads, self.kept, size)
        return (filled, *[kept] * (2 * len(self.blocks)))

    def forward(self, tokens: Int64[Tensor, "batch steps"], state: State | None = None) -> Answer:
        """Return logits (B, T, V) and the next state; before a text if none is given."""
        filled, *kept = self.start(len(tokens)) if state is None else state
        mask = self.reaches(filled, tokens.shape[1])
        x = self.dropout(self.embedding(tokens))
        following: list[Tensor] = [(filled + tokens.shape[1]).clamp_max(self.kept)]
        for number, block in enumerate(self.blocks):
            x, keys, values = block(x, kept[2 * number], kept[2 * number + 1], mask)
            first = keys.shape[2] - self.kept
            following += [keys[:, :, first:].float(), values[:, :, first:].float()]
        return F.linear(self.norm(x), self.embedding.weight), tuple(following)

    def reaches(
        self, filled: Int64[Tensor, "batch"], steps: int
    ) -> Bool[Tensor, "batch 1 steps places"]:
        """Return which of the kept places and of the window's tokens each token sees."""
        asking = torch.arange(steps, device=filled.device)[:, None]
        places = torch.arange(self.kept + steps, device=filled.device)
        near = (places >= asking) & (places <= asking + self.kept)
        return near & (places >= self.kept - filled[:, None, None, None])


class Block(nn.Module):
    """A block of a transformer: attention and a perceptron, each behind a norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = nn.Linear(width, 3 * width, bias=False)
        self.answer = nn.Linear(width, width, bias=False)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.ask, self.answer, self.wide, self.narrow):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(
        self, x: Float[Tensor, "batch steps width"], keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the block's outputs, and all keys and values, the kept ones first."""
        parts = self.ask(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries = parts[0]
        keys = torch.cat([keys.to(queries.dtype), parts[1]], dim=2)
        values = torch.cat([values.to(queries.dtype), parts[2]], dim=2)

        first = keys.shape[2] - queries.shape[2]
        attended = F.scaled_dot_product_attention(
            rotate(queries, first), rotate(keys, 0), values, attn_mask=mask
        )
        x = x + self.dropout(self.answer(attended.transpose(1, 2).flatten(2)))
        inner = self.narrow(F.gelu(self.wide(self.norm2(x))))
        return x + self.dropout(inner), keys, values


def rotate(
    x: Float[Tensor, "batch heads steps size"], first: int
) -> Float[Tensor, "batch heads steps size"]:
    """Return queries or keys turned by their positions, `first` and the following ones.

    The product of two depends on the difference of their positions alone (Su et al. 2021).
    """
    half = x.shape[-1] // 2
    places = torch.arange(first, first + x.shape[2], device=x.device, dtype=torch.float32)
    speeds = torch.exp(torch.arange(half, device=x.device) * (-math.log(10_000) / half))
    angles = places[:, None] * speeds
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    one, other = x[..., :half], x[..., half:]
    return torch.cat([one * cosine - other * sine, one * sine + other * cosine], dim=-1)
