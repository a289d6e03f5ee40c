"""Unlabelled examples that students learn on beside the labelled ones, from the teacher alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Num
from torch import Tensor

from anew.core import files, randomness
from anew.core.errors import AnewError
from anew.core.spec import DataSpec
from anew.core.text import counted
from anew.data.copies import digests
from anew.data.examples import NO_LABEL, Chosen, Examples, Resident
from anew.data.pictures import Form, read_picture
from anew.data.sources import open_source
from anew.data.sources.arrays import as_inputs
from anew.data.sources.folder import is_picture
from anew.data.split import Data
from anew.data.storage import Storage

_ARRAYS = ("x_unlabelled", "x", "x_train", "train_images", "images", "arr_0")
_NAMED = 3


def with_unlabelled(data: Data, spec: DataSpec, storage: Storage | None = None) -> Data:
    """Return the data with the unlabelled examples of `spec` after the labelled ones.

    `data` are the labelled ones. Examples that occur among those for training or validation are
    left out; of the others `spec.unlabelled_limit` are drawn by the data's seed. The statistics of
    the inputs stay those of the labelled ones. The description has the fingerprint of what was
    added.

    Raises `AnewError` if the source cannot be read, if its examples have another size or type, if
    some occur in the test set, if none is left, or if they have another fingerprint than the
    description's.
    """
    name = spec.unlabelled
    if data.views.mixes or data.spec.balance == "sampling":
        raise AnewError(
            "data.unlabelled: mixup, cutmix and --data.balance need a label for each example; "
            "drop mixup and cutmix from --views, or --data.balance"
        )
    inputs = _read(spec, data, storage)
    first = _inputs(data.training, spec.source)
    if inputs.shape[1:] != first.shape[1:]:
        raise AnewError(
            f"data.unlabelled: '{name}' has examples of {_in_words(inputs)}, the labelled ones are "
            f"of {_in_words(first)}; give others, or one --data.size for both"
        )
    if inputs.dtype != first.dtype:
        raise AnewError(
            f"data.unlabelled: '{name}' holds {inputs.dtype}, the labelled ones {first.dtype}; "
            "give both in the same units"
        )

    notices = list(data.notices)
    kept, known = _kept(inputs, data, spec)
    if known:
        notices.append(
            f"{counted(known, 'unlabelled example')} that occur among the labelled ones, or in "
            "the test set, are skipped"
        )
    if spec.unlabelled_limit is not None and spec.unlabelled_limit < len(kept):
        stream = randomness.key(spec.seed, "unlabelled limit")
        drawn = randomness.order(stream, len(kept))[: spec.unlabelled_limit]
        kept = kept[drawn.sort().values]
    added = inputs[kept]

    fingerprint = _fingerprint(added)
    if spec.unlabelled_fingerprint not in ("", fingerprint):
        raise AnewError(
            f"data.unlabelled: '{name}' has the fingerprint {fingerprint}, not "
            f"{spec.unlabelled_fingerprint}: its content differs; restore it, or drop "
            "--data.unlabelled-fingerprint"
        )
    notices.append(
        f"{counted(len(added), 'unlabelled example')} beside {len(data.training):,} labelled ones: "
        "an epoch of a student shows all of them"
    )
    described = replace(
        data.spec,
        unlabelled=name,
        unlabelled_limit=spec.unlabelled_limit,
        unlabelled_fingerprint=fingerprint,
        skip_test_examples=spec.skip_test_examples,
    )
    training = _joined(data.training, added)
    return replace(data, training=training, spec=described, notices=tuple(notices), places=None)


def labelled_part(examples: Examples) -> Examples:
    """Return the examples that have a label: all, unless unlabelled ones were added."""
    labelled = examples.labels != NO_LABEL
    if bool(labelled.all()):
        return examples
    return examples.take(labelled.nonzero().flatten())


def _read(spec: DataSpec, data: Data, storage: Storage | None) -> Num[Tensor, "examples ..."]:
    """Return all inputs of the unlabelled source, in memory."""
    kind, _, place = spec.unlabelled.partition(":")
    if kind == "folder" and place:
        return _pictures(Path(place).expanduser(), spec, data)
    if kind == "npz" and place:
        return _array(Path(place).expanduser())

    named = replace(spec.labelled_only, source=spec.unlabelled, fingerprint="")
    train = open_source(named, storage).settled().train
    if train.labels.ndim > 1:
        raise AnewError(
            f"data.unlabelled: '{spec.unlabelled}' has a label at each position; give pictures or "
            "vectors"
        )
    return _inputs(train, spec.unlabelled)


def _inputs(examples: Examples, name: str) -> Num[Tensor, "examples ..."]:
    """Return all inputs as they are kept, of which views may show a part."""
    if not isinstance(examples, Resident | Chosen):
        raise AnewError(
            f"data.unlabelled: '{name}' is read from the disk during training; with unlabelled "
            "examples all must be in memory: set --storage memory"
        )
    return examples.inputs


def _pictures(folder: Path, spec: DataSpec, data: Data) -> Tensor:
    """Return all pictures below a folder, in the order of their paths."""
    if not folder.is_dir():
        raise AnewError(f"data.unlabelled: there is no folder {folder}; check the path")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and is_picture(path.name))
    if not paths:
        raise AnewError(f"data.unlabelled: {folder} holds no pictures; give another folder")

    form = Form(spec.kept_size, data.input_shape[0], spec.shown_size)
    pictures = [read_picture(path, form) for path in paths]
    sizes = {tuple(picture.shape[1:]) for picture in pictures}
    if len(sizes) > 1:
        raise AnewError(
            f"data.unlabelled: pictures of {folder} have {len(sizes)} sizes, such as "
            f"{' and '.join(f'{w}x{h}' for h, w in sorted(sizes)[:2])}; set --data.size"
        )
    return torch.stack(pictures)


def _array(path: Path) -> Tensor:
    """Return the inputs of an archive of arrays, with labels or without."""
    files.check_regular(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            name = next((one for one in _ARRAYS if one in archive.files), None)
            array = archive[name] if name is not None else None
    except (OSError, ValueError) as error:
        raise AnewError(
            f"data.unlabelled: {path} cannot be read as arrays ({error}); save them with "
            "numpy.savez"
        ) from error

    if array is None:
        raise AnewError(
            f"data.unlabelled: {path} holds none of the arrays {', '.join(_ARRAYS)}; name it "
            "x_unlabelled"
        )
    return as_inputs(array, str(path))


def _kept(inputs: Tensor, data: Data, spec: DataSpec) -> tuple[Tensor, int]:
    """Return the places of new examples, and how many were left out."""
    new = digests(inputs)
    in_test = set(_digests_of(data.test))
    tested = [place for place, digest in enumerate(new) if digest in in_test]
    if tested and not spec.skip_test_examples:
        places = ", ".join(map(str, tested[:_NAMED])) + (", ..." if len(tested) > _NAMED else "")
        raise AnewError(
            f"data.unlabelled: {len(tested):,} of {len(new):,} examples of '{spec.unlabelled}' "
            f"occur in the test set (rows {places}), which nothing may learn from; leave them out "
            "with --data.skip-test-examples"
        )

    known = in_test.union(*(_digests_of(one) for one in (data.training, data.validation)))
    kept = [place for place, digest in enumerate(new) if digest not in known]
    if not kept:
        raise AnewError(
            f"data.unlabelled: no example of '{spec.unlabelled}' is left that is not among the "
            "labelled or the test examples; give others"
        )
    return torch.tensor(kept), len(new) - len(kept)


def _digests_of(examples: Examples) -> list[bytes]:
    return digests(_inputs(examples, "data")) if len(examples) else []


def _fingerprint(inputs: Tensor) -> str:
    digest = hashlib.sha256(f"{inputs.dtype} {tuple(inputs.shape)}".encode())
    for row in digests(inputs):
        digest.update(row)
    return digest.hexdigest()[:16]


def _joined(labelled: Examples, added: Tensor) -> Examples:
    inputs = torch.cat([_inputs(labelled, "data"), added])
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.full((len(added),), NO_LABEL, dtype=torch.int64)
    return Resident(inputs, torch.cat([labelled.labels, labels]), labelled.views)


def _in_words(inputs: Tensor) -> str:
    shape: Sequence[int] = inputs.shape[1:]
    return "x".join(map(str, shape))
