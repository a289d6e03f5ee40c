"""A toy language and a model of it: tokens in, the next token at every position out."""

import torch
from torch import nn

from anew.data import Resident
from anew.data.sources.source import checked_source

WORDS = ("a", "b", "c", "d", "e", "f", "g")
LENGTH = 6


def sentences(count):
    """Return sentences (N, T) and the token after each of theirs (N, T), one in ten at random."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = len(WORDS)
    text = torch.zeros(count, LENGTH + 1, dtype=torch.int64)
    text[:, 0] = torch.randint(vocabulary, (count,), generator=generator)
    noise = torch.randint(vocabulary, text.shape, generator=generator)
    is_noise = torch.rand(text.shape, generator=generator) < 0.1
    for place in range(1, LENGTH + 1):
        following = (3 * text[:, place - 1] + 1) % vocabulary
        text[:, place] = torch.where(is_noise[:, place], noise[:, place], following)
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()


def source(count=120):
    """Return the sentences as a source, whose classes are the vocabulary."""
    return checked_source("language", Resident(*sentences(count)), None, WORDS, "none")


class Model(nn.Module):
    """Tokens (B, T) to the logits of the next ones, (B, T, C), from the word and those before."""

    def __init__(self, input_shape, classes, width=16, dropout=0.1):
        super().__init__()
        assert input_shape == (LENGTH,)
        self.words = nn.Embedding(classes, width)
        self.hidden = nn.Linear(2 * width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * width, classes)

    def forward(self, tokens):
        words = self.words(tokens)
        before = words.cumsum(1) / torch.arange(1, LENGTH + 1).view(1, -1, 1)
        hidden = torch.relu(self.hidden(torch.cat([words, before], dim=-1)))
        return self.classifier(self.dropout(hidden))
