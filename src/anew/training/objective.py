"""A student's objective: its options, the module that it owns, and its terms for a batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from anew import objectives
from anew.core import randomness
from anew.core.errors import AnewError, in_one_line
from anew.core.spec import Spec
from anew.data.batches import Batch
from anew.models.network import Network, Outputs, Runner
from anew.objectives import Context, Shapes, Terms


class StudentObjective:
    """The objective that a spec names, ready to be computed on batches."""

    def __init__(self, spec: Spec, student: Network, teacher: Network | None) -> None:
        """Fill in the options, and build the objective's own module on the student's device.

        `teacher` is the first of the teachers; the module needs the shapes of its features.
        """
        self._objective = objectives.find(spec.objective.name)
        self._options = objectives.fill_options(spec.objective)
        self._data_seed = spec.data.seed
        self.features = self._objective.features_of(spec.model)
        """The names of the student's modules whose outputs `terms` needs."""
        self.module = self._build(spec, student, teacher)
        """The objective's own module; None if it has none."""

    def terms(
        self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: float = 0.0
    ) -> Terms:
        """Return the terms for a whole batch: outputs (B, *positions, C) of student and teacher.

        `progress` is the share of all steps that are done, for options that change over them.
        """
        permutation = None
        if "permutation" in self._objective.needs:
            epoch = batch.epoch if self._options.get("redraw", 1) else None
            permutation = batch.permutation(self._data_seed, student.logits.shape[-1], epoch)

        second = batch.second
        context = Context(
            student.logits,
            batch.labels,
            teacher.logits if teacher is not None else None,
            permutation,
            _at_least_float32(student.features),
            _at_least_float32(teacher.features) if teacher is not None else {},
            self.module,
            batch.weights,
            None if second is None else (second.labels, second.weights),
            progress,
        )
        return self._objective.terms(context, **self._options)

    def state(self) -> dict[str, Tensor]:
        """Return the state dict of the objective's own module; empty if it has none."""
        return self.module.state_dict() if self.module is not None else {}

    def restore(self, state: dict[str, Tensor], path: Path) -> None:
        """Fill the objective's own module with a state that was saved in the file `path`.

        Raises `AnewError` if the state is not this module's.
        """
        if self.module is None:
            return
        try:
            self.module.load_state_dict(state)
        except RuntimeError as error:
            raise AnewError(
                f"{path}: holds another state of objective '{self._objective.name}' "
                f"({in_one_line(error)}); restore it from a copy"
            ) from error

    def _build(self, spec: Spec, student: Network, teacher: Network | None) -> nn.Module | None:
        if self._objective.module is None:
            return None
        assert teacher is not None, "only an objective with a teacher owns a module"
        names = self._objective.features_of(teacher.spec)
        shapes = feature_shapes(student, self.features), feature_shapes(teacher, names)

        # A stream of its own, so that the student's first weights are those of any objective.
        stream = randomness.key(spec.seed, "objective", spec.depth)
        with randomness.torch_generator(stream):
            module = self._objective.module(*shapes)
        return module.to(student.mean.device)


@torch.no_grad()
def feature_shapes(network: Network, names: Sequence[str]) -> Shapes:
    """Return the shapes of a network's features for one example, by the module's name.

    Raises `AnewError` if the network has no such module.
    """
    # On a copy: the hooks that take features stay on a network for good.
    run = Runner(copy.deepcopy(network).eval(), "float32", False, names)
    outputs = run(network.signature.blank(1).to(network.mean.device))
    return {name: tuple(features.shape[1:]) for name, features in outputs.features.items()}


def detached(outputs: Outputs) -> Outputs:
    """Return outputs cut off from their graph, float32, as leaves that take gradients."""

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().float().requires_grad_()

    features = {name: leaf(value) for name, value in outputs.features.items()}
    return Outputs(leaf(outputs.logits), features)


def _at_least_float32(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return features in the precision of the objective's own module; autocast makes bfloat16."""
    return {
        name: value if value.dtype == torch.float64 else value.float()
        for name, value in features.items()
    }
