"""A trained network from its folder, compared with what it answered when it was trained.

Its file holds weights. Code that has changed since, or random numbers that are no part of the
weights, make another network of them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError
from anew.core.spec import DataSpec
from anew.core.version import __version__
from anew.data import Data
from anew.data.windows import Windows
from anew.evaluation import language
from anew.evaluation.outputs import read_outputs
from anew.family import NetworkFolder
from anew.models import answers, is_own_code, saving
from anew.models.network import Network

TOLERANCE = 0.02
"""The largest difference, as `answers.difference` measures it, that another machine or another
library makes by rounding; a hundredth of it is usual."""
COMPARED_EXAMPLES = 16
COMPARED_TOKENS = 200
SAME_LOG_P = 1e-4
# A probe of more numbers would make a record that nobody can read.
_MOST_NUMBERS = 20_000
_DIGITS = 7


def load_network(
    folder: NetworkFolder,
    trusted: Collection[str] = (),
    *,
    data: Data | None = None,
    learned: DataSpec | None = None,
) -> Network:
    """Load a finished network, and compare its answers with those that were stored.

    With the `data` at hand that it `learned` from, these are the answers to some held-out examples;
    else those to inputs that are random numbers, if the network was trained by an anew that kept
    them. Raises `AnewError` if it answers otherwise, or as `saving.load` does.
    """
    network = saving.load(folder.sound_weights, trusted)
    if data is not None and learned is not None and data.spec.is_same(learned):
        _compare_held_out(network, folder, data)
    else:
        compare_probe(network, folder.done, str(folder.path))
    return network


def probe_record(network: Network) -> dict[str, Any]:
    """Return the part of a network's record that holds its answers to `answers.probe_inputs`.

    Empty where they would be too many numbers, or are not numbers at all.
    """
    if answers.PROBES * torch.Size(network.signature.output_shape).numel() > _MOST_NUMBERS:
        return {}
    logits = answers.ask(network, answers.probe_inputs(network.signature)).clamp(-1e4, 1e4)
    if bool(logits.isnan().any()):
        return {}
    return {"probe": " ".join(f"{number:.{_DIGITS}g}" for number in logits.flatten().tolist())}


def compare_probe(network: Network, record: dict[str, Any], name: str) -> None:
    """Compare a network's answers with those of its record, if it has them.

    Raises `AnewError` if they differ, or if the record's are damaged.
    """
    recorded = record.get("probe")
    if recorded is None:
        return
    shape = (answers.PROBES, *network.signature.output_shape)
    try:
        before = torch.tensor([float(number) for number in recorded.split()]).view(shape)
    except (AttributeError, ValueError, RuntimeError) as error:
        raise AnewError(
            f"{name}: the answers in its record are damaged; restore it from a copy"
        ) from error

    inputs = answers.probe_inputs(network.signature)
    _check_same(network, inputs, before, name, record)


def compare_with_record(network: Network, path: Path) -> None:
    """Compare a network with its record, if its file still lies beside that.

    Raises `AnewError` if it answers otherwise than when it was trained.
    """
    folder = NetworkFolder(path.parent)
    if path.name != folder.weights.name or not folder.is_done:
        return
    try:
        record = folder.done
    except AnewError:
        # A record of something else, or a damaged one: the file is what is given, and it is whole.
        return
    if record["files"].get(path.name, {}).get("sha256") == files.sha256(path):
        compare_probe(network, record, str(path))


def _compare_held_out(network: Network, folder: NetworkFolder, data: Data) -> None:
    """Compare a network's answers to some held-out examples with those that are stored."""
    split = "validation" if len(data.validation) else "test"
    examples = data.validation if len(data.validation) else data.test
    if not len(examples):
        # Nothing was held out, so nothing is stored; the record has answers to the probe.
        compare_probe(network, folder.done, str(folder.path))
        return
    if isinstance(examples, Windows):
        _compare_text(network, folder, split, examples)
        return
    stored, _ = read_outputs(folder, split)
    if len(stored) != len(examples):
        raise AnewError(
            f"{folder.outputs}: holds outputs of {len(stored):,} {split} examples, the data have "
            f"{len(examples):,}; restore it from a copy"
        )

    some = min(len(stored), COMPARED_EXAMPLES)
    places = torch.arange(some) * len(stored) // some
    before, inputs = stored[places], examples.show(places)
    _check_same(network, inputs, before, str(folder.path), folder.done)


def _compare_text(network: Network, folder: NetworkFolder, split: str, text: Windows) -> None:
    """Compare what a language model says of the first tokens of a text with what is stored."""
    before = language.read_said(folder, split)
    if len(before.labels) != text.predictions:
        raise AnewError(
            f"{folder.outputs}: holds outputs of {len(before.labels):,} {split} tokens, the data "
            f"have {text.predictions:,}; restore it from a copy"
        )
    begin = Windows.of(text.text[: COMPARED_TOKENS + 1].cpu(), text.steps)
    device = network.mean.device
    now = language.read_through(network, begin, device)
    apart = (now.log_p - before.log_p[: len(now.log_p)]).abs().mean().item()
    if apart <= TOLERANCE:
        return

    again = language.read_through(network, begin, device)
    is_random = bool((again.log_p - now.log_p).abs().mean() > SAME_LOG_P)
    cause = _cause(network, folder.done, is_random=is_random)
    raise AnewError(
        f"{folder.path}: network '{network.spec.name}' has other outputs than when it was "
        f"trained (its log-probabilities differ by {apart:.2g} nats): {cause}"
    )


def _check_same(
    network: Network,
    inputs: Tensor,
    before: Float[Tensor, "some *positions classes"],
    name: str,
    record: dict[str, Any],
) -> None:
    """Raise `AnewError`, with the likely cause, if a network answers otherwise than before."""
    apart = answers.difference(before, answers.ask(network, inputs))
    if apart <= TOLERANCE:
        return

    is_random = answers.differs_from_itself(network, inputs) > answers.SAME
    raise AnewError(
        f"{name}: network '{network.spec.name}' has other outputs than when it was trained (by "
        f"{100 * apart:.0f} % of its logits' size): {_cause(network, record, is_random=is_random)}"
    )


def _cause(network: Network, record: dict[str, Any], *, is_random: bool) -> str:
    if is_random:
        return "it draws random numbers in evaluation mode; train it again without them"
    if is_own_code(network.spec.name):
        return (
            "its code has changed since, or it holds random numbers outside its weights (make "
            "them a buffer); restore its code, or train it again with another --out"
        )

    environments = record.get("environments") or [{}]
    changed = [
        f"{library} {before} -> {now}"
        for library, now in (("torch", torch.__version__), ("anew", __version__))
        if (before := environments[-1].get(library)) not in (None, now)
    ]
    versions = f" ({', '.join(changed)})" if changed else ""
    return (
        f"the library that builds it has changed{versions}; use that version, or train it again "
        "with another --out"
    )
