"""Teachers that were given in Python: a module as it is, or any callable."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Num
from torch import Tensor, nn

from anew.core import files, randomness
from anew.core.errors import AnewError, in_one_line
from anew.core.recipe import Recipe
from anew.core.spec import ModelSpec
from anew.data import Data
from anew.models import network
from anew.models.answers import ask
from anew.models.network import Network
from anew.models.saving import IN_MEMORY
from anew.teachers.encoding import Encoding

Asked = Callable[[Tensor], Any]
"""Takes inputs (B, ...) as the data have them, float32, and returns logits or probabilities."""
SAMPLE = 64


class _Asks(nn.Module):
    """A callable in the place of a model."""

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self._asked = asked

    def forward(self, inputs: Num[Tensor, "batch ..."]) -> Tensor:
        """Return what the callable answers, as float32 on the inputs' device."""
        return torch.as_tensor(self._asked(inputs), dtype=torch.float32, device=inputs.device)


def names_of(given: object) -> tuple[Any, dict[str, Any]]:
    """Return a setting `teacher` with names in place of modules and callables, and these by name.

    Raises `AnewError` for anything that is neither, nor a text, a path or a list of such.
    """
    objects: dict[str, Any] = {}

    def named(one: Any) -> Any:
        if not callable(one) or isinstance(one, type):
            return one
        kind = type(one).__name__ if isinstance(one, nn.Module) else getattr(one, "__name__", "")
        name = f"{kind or type(one).__name__}{IN_MEMORY}"
        while name in objects:
            name = f"another {name}"
        objects[name] = one
        return name

    if isinstance(given, list | tuple):
        return [named(one) for one in given], objects
    return named(given), objects


def network_of(given: Any, name: str, recipe: Recipe, data: Data) -> tuple[Network, str]:
    """Return a module or a callable as a network, and the hash by which it is known.

    A module is copied as it is. If it is the recipe's teacher model, or the students', it can be
    built again like any other, and else not: the family then keeps its weights and its outputs. A
    callable is known by its answers to some training examples. Raises `AnewError` if it fails, or
    answers with other classes.
    """
    if isinstance(given, Network):
        state = given.model.state_dict()
        return given, files.sha256_of_json(
            {"module": files.sha256_as_file(state), "model": given.spec.name}
        )

    if isinstance(given, nn.Module):
        try:
            model = copy.deepcopy(given)
        except Exception as error:
            raise AnewError(
                f"teacher '{name}': cannot be copied ({in_one_line(error)}); give its state dict"
            ) from error
        spec = _buildable(model, recipe, data) or ModelSpec(name)
        found = Network(model, spec, data.signature)
        _check_answers(found, name, data)
        about = {"module": files.sha256_as_file(model.state_dict()), "class": type(model).__name__}
        return found, files.sha256_of_json(about)

    # It sees inputs in their own units: whatever it is, it prepares them by itself.
    channels = len(data.signature.mean)
    plain = replace(data.signature, mean=(0.0,) * channels, std=(1.0,) * channels)
    found = Network(_Asks(given), ModelSpec(name), plain)
    answers = _check_answers(found, name, data)
    words = Encoding(len(data.classes)).encode(answers)
    return found, files.sha256_of_json({"callable": name, "answers": words.flatten().tolist()})


def _buildable(model: nn.Module, recipe: Recipe, data: Data) -> ModelSpec | None:
    """Return the recipe's model of which a module is one, None if it is of another kind."""
    spec = recipe.teacher_model or recipe.model
    built = network.build_empty(spec, data.signature).model
    own, theirs = model.state_dict(), built.state_dict()
    is_same = type(model) is type(built) and own.keys() == theirs.keys()
    is_same = is_same and all(own[key].shape == theirs[key].shape for key in own)
    return spec if is_same and repr(model) == repr(built) else None


def _check_answers(found: Network, name: str, data: Data) -> Tensor:
    """Return a teacher's answers to some training examples (N, C), float32.

    Raises `AnewError` if it fails, or if they are no numbers for each class.
    """
    order = randomness.order(randomness.key("asked for its name"), len(data.training))
    inputs = data.training.show(order[:SAMPLE].sort().values)
    try:
        answers = ask(found, inputs)
    # What a user's own code raises may be anything.
    except Exception as error:
        raise AnewError(
            f"teacher '{name}': fails on examples of the data ({in_one_line(error)}); it is called "
            f"with inputs {tuple(inputs.shape)}, float32"
        ) from error

    wanted = (len(inputs), *data.signature.output_shape)
    if tuple(answers.shape) != wanted:
        raise AnewError(
            f"teacher '{name}': its outputs have shape {tuple(answers.shape)} for {len(inputs)} "
            f"examples, and the data have {len(data.classes)} classes, {wanted}; give a teacher "
            "of the same classes"
        )
    return answers


def check_jobs(objects: Mapping[str, Any], networks: Mapping[str, Network], jobs: int) -> None:
    """Raise `AnewError` if teachers that cannot be built again are to teach in other processes."""
    if jobs > 1 and networks:
        raise AnewError(
            f"teacher '{next(iter(objects))}': exists only in this process, and {jobs} workers "
            "cannot build it; set jobs=1, or give a file of its weights"
        )
