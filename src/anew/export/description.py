"""What stands in an exported file beside the numbers: all that its user needs to know."""

from __future__ import annotations

from typing import Any

from anew.core import fields
from anew.core.version import __version__
from anew.data.signature import Signature
from anew.data.units import units_in_words
from anew.evaluation.predictor import Predictor
from anew.export.comparison import input_dtype
from anew.export.target import MARK

LAYOUTS = {"picture": "NCHW", "vector": "NF", "tokens": "NT"}
INPUTS = {"picture": "pictures", "vector": "vectors", "tokens": "tokens"}
"""The name of a graph's input, by kind."""
OUTPUT = "probabilities"


def describe(predictor: Predictor) -> dict[str, Any]:
    """Return the metadata of an exported file, by key: values that JSON can hold."""
    signature = predictor.signature
    networks = [
        {"id": origin.id, "generation": origin.generation, "model": fields.write(member.spec)}
        for member, origin in zip(predictor.members, predictor.origins, strict=True)
    ]

    described: dict[str, Any] = {
        "about": f"{MARK} {__version__}",
        "classes": list(signature.classes),
        "input": describe_input(signature),
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": ["batch", *signature.output_shape],
            "of": "one network" if len(networks) == 1 else f"the mean of {len(networks)} networks",
        },
        "networks": networks,
    }
    if predictor.calibrated.examples:
        described |= predictor.calibrated.to_json()
    return described


def describe_input(signature: Signature) -> dict[str, Any]:
    """Return what goes into an exported graph: type, layout, units, size and how to get there."""
    assert signature.kind is not None, "a signature knows its kind"
    described: dict[str, Any] = {
        "name": INPUTS[signature.kind],
        "dtype": str(input_dtype(signature)).removeprefix("torch."),
        "layout": LAYOUTS[signature.kind],
        "shape": ["batch", *signature.input_shape],
    }
    if signature.kind != "tokens":
        described["normalisation"] = {"mean": signature.mean, "std": signature.std}
    if not signature.is_picture:
        return described

    assert signature.units is not None, "a signature knows its units"
    channels, height, width = signature.input_shape
    described["units"] = units_in_words(signature.units)
    described["channels"] = {1: "grey", 3: "red, green, blue", 4: "RGBA"}.get(channels, channels)
    # Pictures that came in the network's size are not resized.
    described["resize"] = None
    if signature.kept_size is not None:
        described["resize"] = {
            "cover": list(signature.kept_size),
            "filter": "bilinear with antialias",
            "cut_middle": [height, width],
        }
    return described
