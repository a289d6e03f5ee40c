"""Small texts that many tests share: a made-up language whose next word follows from the last."""

import os
import random
from pathlib import Path

import pytest

PTB = Path(os.environ.get("ANEW_PTB", "ptb.zip"))
"""Where the Penn Treebank lies: its text is not for a repository."""
WORDS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"]


def sentences(count, seed=0):
    """Return lines of words; each word is followed by one of two."""
    dice = random.Random(seed)
    lines = []
    for _ in range(count):
        place = dice.randrange(len(WORDS))
        line = [WORDS[place]]
        for _ in range(dice.randrange(3, 9)):
            place = (3 * place + dice.choice((1, 1, 1, 2))) % len(WORDS)
            line.append(WORDS[place])
        lines.append(" ".join(line))
    return lines


def write(folder, train=60, held_out=15):
    """Write the three files of a text into a folder, and return the name of the source."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate(
        (("train", train), ("valid", held_out), ("test", held_out))
    ):
        lines = sentences(count, seed)
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return f"text:{folder}"


def ptb():
    """Return the Penn Treebank's source, or skip the test."""
    if not PTB.exists():
        pytest.skip("needs the Penn Treebank's zip, named by ANEW_PTB")
    return f"text:{PTB}"
