"""Parts of a model that a student copies from its teacher and never trains."""

from __future__ import annotations

from torch import Tensor, nn

from anew.core import randomness
from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import ModelSpec, Spec
from anew.data.signature import Signature
from anew.models.building import outline_for


def check_frozen(spec: Spec, signature: Signature) -> None:
    """Raise `AnewError` where what a spec freezes is not in student and teacher alike; nothing is
    built for it.
    """
    if spec.frozen:
        student, teacher = (outline(one.model, signature) for one in (spec, spec.teachers[0]))
        frozen_tensors(spec, student, teacher)


def outline(spec: ModelSpec, signature: Signature) -> nn.Module:
    """Return a model to look at its parameters' names and shapes; nobody else's random numbers are
    drawn for it.
    """
    with randomness.torch_generator(0):
        return outline_for(signature, spec.name, dict(spec.options))


def frozen_tensors(spec: Spec, student: nn.Module, teacher: nn.Module) -> dict[str, Tensor]:
    """Return the teacher's tensors that a student copies; `AnewError` where they do not fit or
    nothing is left.
    """
    copied: dict[str, Tensor] = {}
    names = (spec.model.name, spec.teachers[0].model.name)
    for part in spec.frozen:
        parts: list[dict[str, Tensor]] = []
        for name, model in zip(names, (student, teacher), strict=True):
            try:
                module = model.get_submodule(part) if part else None
            except AttributeError:
                module = None
            if module is None:
                known = [child for child, _ in model.named_children()]
                raise AnewError(
                    f"frozen: model '{name}' has no part '{part}'{did_you_mean(part, known)}; it "
                    f"has: "
                    f"{', '.join(known)}"
                )
            parts.append({f"{part}.{key}": value for key, value in module.state_dict().items()})
        own, theirs = parts
        for key in sorted(own.keys() | theirs.keys()):
            shapes = [tuple(one[key].shape) if key in one else "none" for one in parts]
            if shapes[0] != shapes[1]:
                raise AnewError(
                    f"frozen: '{key}' has shape {shapes[0]} in student '{names[0]}' and "
                    f"{shapes[1]} in teacher "
                    f"'{names[1]}', so it cannot be copied; choose another student, or do not "
                    f"freeze '{part}'"
                )
        copied |= theirs
    frozen = tuple(f"{part}." for part in spec.frozen)
    if all(name.startswith(frozen) for name, _ in student.named_parameters()):
        raise AnewError(
            f"frozen: nothing of model '{names[0]}' is left to train; freeze less of it"
        )
    return copied
