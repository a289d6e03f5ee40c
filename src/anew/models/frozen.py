"""Parts of a model that a student copies from its teacher and never trains."""

from __future__ import annotations

from torch import Tensor, nn

from anew.core import randomness
from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import ModelSpec, Spec
from anew.data.signature import Signature
from anew.models.building import outline_for


def check_frozen(spec: Spec, signature: Signature) -> None:
    """Raise `AnewError` if student and teacher differ in what a spec freezes.

    Only the outlines of both models are built.
    """
    if spec.frozen:
        student = outline(spec.model, signature)
        teacher = outline(spec.teachers[0].model, signature)
        frozen_tensors(spec, student, teacher)


def outline(spec: ModelSpec, signature: Signature) -> nn.Module:
    """Return a model for its parameters' names and shapes, without touching torch's generator."""
    with randomness.torch_generator(0):
        return outline_for(signature, spec.name, dict(spec.options))


def frozen_tensors(spec: Spec, student: nn.Module, teacher: nn.Module) -> dict[str, Tensor]:
    """Return the teacher's tensors that a student copies, by their names in the state dict.

    Raises `AnewError` if a part is not in both models alike, or if nothing is left to train.
    """
    student_name, teacher_name = spec.model.name, spec.teachers[0].model.name
    copied: dict[str, Tensor] = {}
    for part in spec.frozen:
        own = _state_of_part(student_name, student, part)
        theirs = _state_of_part(teacher_name, teacher, part)
        for key in sorted(own.keys() | theirs.keys()):
            own_shape, their_shape = _shape_in(own, key), _shape_in(theirs, key)
            if own_shape != their_shape:
                raise AnewError(
                    f"frozen: '{key}' has shape {own_shape} in student '{student_name}' and "
                    f"{their_shape} in teacher '{teacher_name}', so it cannot be copied; choose "
                    f"another student, or do not freeze '{part}'"
                )
        copied |= theirs

    frozen = tuple(f"{part}." for part in spec.frozen)
    if all(name.startswith(frozen) for name, _ in student.named_parameters()):
        raise AnewError(
            f"frozen: nothing of model '{student_name}' is left to train; freeze less of it"
        )
    return copied


def _state_of_part(name: str, model: nn.Module, part: str) -> dict[str, Tensor]:
    """Return the tensors of a part of a model, by their names in the whole model."""
    try:
        # "" names the model itself, which is no part of it.
        module = model.get_submodule(part) if part else None
    except AttributeError:
        module = None
    if module is None:
        known = [child for child, _ in model.named_children()]
        raise AnewError(
            f"frozen: model '{name}' has no part '{part}'{did_you_mean(part, known)}; it has: "
            f"{', '.join(known)}"
        )
    return {f"{part}.{key}": value for key, value in module.state_dict().items()}


def _shape_in(tensors: dict[str, Tensor], key: str) -> tuple[int, ...] | str:
    return tuple(tensors[key].shape) if key in tensors else "none"
