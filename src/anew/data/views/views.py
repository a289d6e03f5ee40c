"""Augmentation as a pure function of the data's seed, the epoch and the example's number.

A view has a number, and everything random in it is a function of that number. Crops and flips of
whole pictures are few, so their numbers count them, 0..161 for crop with padding 4 and flip; other
views have numbers of 63 bits, which hardly ever occur twice.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.core import randomness
from anew.core.errors import AnewError
from anew.core.spec import VIEWS, DataSpec
from anew.data.signature import Kind
from anew.data.views import colour, erasing, mixing, operations, resizing
from anew.data.views.boxes import Boxes
from anew.data.views.mixing import Mixture
from anew.data.views.moves import Moves, Size, centre

FRESH = "fresh"
"""The part that is a torch data set's own random transforms, applied where its items are read."""
_COUNTED = frozenset({"crop", "flip"})
_OF_COLOUR = frozenset({"trivial", "rand", "colour"})
_PARTS_OF = {
    "crop_area": ("resized-crop",),
    "rand_operations": ("rand",),
    "rand_magnitude": ("rand",),
    "colour": ("colour",),
    "erase": ("erase",),
    "mix_alpha": mixing.PARTS,
}
_NUMBERS = (1 << 63) - 1


@dataclass(frozen=True)
class Views:
    """The views of a picture: crops, flips, other changes, or only the picture itself."""

    kind: str = "none"
    """The parts, joined by `+`, of those in `anew.core.spec.VIEWS`; or none."""
    padding: int = 4
    """How many pixels a crop moves at most, where pictures are shown as large as they are kept."""
    padding_mode: str = "zero"
    """What a crop shows beyond the edge: "zero" is black (0, before any normalisation), "reflect"
    the picture mirrored without repeating its edge, as Wide-ResNet's authors did."""
    crop_area: float = 0.08
    """The smallest share of a picture that a resized crop shows."""
    rand_operations: int = 2
    """How many of RandAugment's operations change a picture."""
    rand_magnitude: int = 9
    """How strong they are, 0..30."""
    colour: float = 0.4
    """The most that brightness, contrast and saturation change, as a share."""
    erase: float = 0.25
    """The share of pictures that lose a rectangle."""
    mix_alpha: float = 1.0
    """Mixup and cutmix draw their shares from Beta(alpha, alpha)."""
    size: Size | None = None
    """The size (H, W) in which pictures are shown, where they are kept larger; None otherwise."""

    @classmethod
    def of(cls, spec: DataSpec) -> Views:
        """Return the views that a data spec asks for; its views are known already."""
        assert spec.views is not None, "a spec's data is described as it was found"
        given = {
            field.name: getattr(spec, field.name)
            for field in fields(cls)
            if field.name not in ("kind", "size")
        }
        return cls(spec.views, size=spec.cut_size, **given)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts in the order in which they are applied; none for the picture itself."""
        return VIEWS.of(self.kind)

    @property
    def without_fresh(self) -> str:
        """The kind of what is done to a torch data set's item after it was read."""
        return "+".join(part for part in self.parts if part != FRESH) or "none"

    @property
    def is_countable(self) -> bool:
        """Whether a picture has few enough views that a number counts them."""
        moves_within = self.size is not None and "crop" in self.parts
        return _COUNTED.issuperset(self.parts) and not moves_within

    @property
    def mixes(self) -> bool:
        """Whether a picture is mixed with the next one of its epoch."""
        return not set(mixing.PARTS).isdisjoint(self.parts)

    @property
    def crops(self) -> int:
        """The number of places that a crop can take."""
        return (2 * self.padding + 1) ** 2 if "crop" in self.parts else 1

    @property
    def count(self) -> int:
        """The number of distinct views of one picture: 162 for crop with padding 4 and flip."""
        assert self.is_countable, "these views have numbers of 63 bits"
        return self.crops * (2 if "flip" in self.parts else 1)

    def shown(self, kept: Size) -> Size:
        """Return the size (H, W) in which a picture that is kept in another one is shown."""
        return self.size or kept

    def check(
        self, kind: Kind, input_shape: tuple[int, ...], positions: tuple[int, ...] = ()
    ) -> None:
        """Raise `AnewError` if examples of this kind and shape (C, H, W) have no such views.

        `positions` is the shape of one example's labels, () for one label.
        """
        if self.without_fresh != "none" and kind != "picture":
            raise AnewError(
                f"data: views '{self.kind}' need pictures, but the examples have shape "
                f"{input_shape}; set --views none"
            )
        for one, other in (("crop", "resized-crop"), ("trivial", "rand")):
            if {one, other} <= set(self.parts):
                raise AnewError(
                    f"data: views '{self.kind}' have both {one} and {other}; drop one of them from "
                    "--views"
                )
        if not _OF_COLOUR.isdisjoint(self.parts) and input_shape[0] not in (1, 3):
            raise AnewError(
                f"data: views '{self.kind}' need grey or RGB pictures, and these have "
                f"{input_shape[0]} channels; drop trivial, rand and colour from --views"
            )

        if self.mixes and positions:
            raise AnewError(
                f"data: views '{self.kind}' mix examples of one label, and these have "
                f"{positions} labels each; drop mixup and cutmix from --views"
            )
        if self.size is not None and (
            self.size[0] > input_shape[1] or self.size[1] > input_shape[2]
        ):
            raise AnewError(
                f"data: views '{self.kind}' show {self.size[0]}x{self.size[1]} of pictures of "
                f"{input_shape[1]}x{input_shape[2]}; lower --data.size"
            )
        self._check_options()

        reflects = "crop" in self.parts and self.padding_mode == "reflect"
        if reflects and self.padding >= min(input_shape[1:]):
            raise AnewError(
                f"data: padding {self.padding} with reflection needs pictures larger than that, "
                f"got {input_shape[1]}x{input_shape[2]}; lower --data.padding"
            )

    def check_unmixed(self) -> None:
        """Raise `AnewError` if views mix pictures: they are no function of one example's view."""
        if self.mixes:
            raise AnewError(
                f"data: views '{self.kind}' mix each picture with the next of its epoch, so that "
                "no single example has them; take whole batches of an epoch, or drop mixup and "
                "cutmix from --views"
            )

    def check_units(self, units: str, *, whole: bool) -> None:
        """Raise `AnewError` if pictures in these units have no such views; `whole`: of bytes."""
        if not _OF_COLOUR.isdisjoint(self.parts) and not whole and units != "unit":
            raise AnewError(
                f"data: views '{self.kind}' need bytes or floats in 0..1, and these are other "
                "floats; give the pictures as bytes, or drop trivial, rand and colour from --views"
            )

    def _check_options(self) -> None:
        """Raise `AnewError` if something is set that belongs to another part of views."""
        for field in fields(self):
            if field.name in ("kind", "size"):
                continue
            parts = _PARTS_OF.get(field.name, self.parts)
            is_default = getattr(self, field.name) == field.default
            if not is_default and not set(parts) & set(self.parts):
                # Version 0.1 took a padding beside views without a crop, and refused it only alone.
                wanted = " or ".join(parts or ("crop",))
                raise AnewError(
                    f"data.{field.name} is for views with {wanted}, and these are '{self.kind}'; "
                    f"drop --data.{field.name.replace('_', '-')}, or add {wanted} to --views"
                )

    def draw(
        self, seed: int, epoch: int, indices: Int64[Tensor, "batch"]
    ) -> Int64[Tensor, "batch"]:
        """Return the number of each example's view in an epoch, drawn uniformly from all."""
        stream = randomness.key(seed, "view", epoch)
        if self.is_countable:
            return randomness.below(stream, indices, self.count)
        return randomness.bits(stream, indices) & _NUMBERS

    def show(
        self,
        pictures: Num[Tensor, "examples ..."],
        indices: Int64[Tensor, "batch"],
        numbers: Int64[Tensor, "batch"],
    ) -> Num[Tensor, "batch ..."]:
        """Return the given views of the given examples, dtype unchanged.

        `pictures` (N, C, H, W) give (B, C, H, W) of the shown size in channels_last memory. A view
        depends on its number and its picture alone, whatever the others are.
        """
        if self.kind == "none" and self.size is None:
            return pictures.index_select(0, indices)
        shown = self._placed(pictures, indices, numbers)

        if "trivial" in self.parts:
            shown = operations.trivial(shown, numbers)
        if "rand" in self.parts:
            shown = operations.rand(shown, numbers, self.rand_operations, self.rand_magnitude)
        if "colour" in self.parts:
            shown = colour.jitter(shown, numbers, self.colour)
        if "erase" in self.parts:
            shown = erasing.erase(shown, numbers, self.erase)
        return shown

    def mixture(self, numbers: Int64[Tensor, "batch"], shown: Size) -> Mixture:
        """Return how views (H, W) of the given numbers are mixed with others; `show` mixes none."""
        kinds = [part for part in mixing.PARTS if part in self.parts]
        return mixing.draw(kinds, self.mix_alpha, numbers, shown)

    def still(self, pictures: Num[Tensor, "chosen ..."]) -> Num[Tensor, "chosen ..."]:
        """Return pictures (B, C, H, W) as evaluation shows them: the middle, where kept larger."""
        middle = self.middle((pictures.shape[-2], pictures.shape[-1]))
        if middle is None:
            return pictures
        top, left, height, width = middle
        return pictures[..., top : top + height, left : left + width]

    def middle(self, kept: Size) -> tuple[int, int, int, int] | None:
        """Return the rectangle of a kept picture (H, W) that evaluation shows: first row, first
        column, height, width. None for all.
        """
        if self.size in (None, kept):
            return None
        return (*centre(kept, self.size), *self.size)

    def seen(self, numbers: Int64[Tensor, "batch"], kept: Size) -> Boxes | None:
        """Return the rectangle of a kept picture (H, W) that each view is made of; None for all."""
        if "resized-crop" in self.parts:
            return resizing.draw(numbers, self.crop_area, kept)
        if self.size in (None, kept):
            return None
        moves, numbers = self._moves(numbers, kept)
        return moves.within(numbers, kept)

    def _moves(self, numbers: Tensor, kept: Size) -> tuple[Moves, Tensor]:
        """Return the crops and flips of a picture (H, W), and their numbers of views' numbers."""
        moves = Moves(
            "crop" in self.parts, "flip" in self.parts, self.padding, self.padding_mode, self.size
        )
        if not self.is_countable:
            stream = randomness.key("crop and flip")
            numbers = randomness.below(stream, numbers, moves.count(kept))
        return moves, numbers

    def _placed(self, pictures: Tensor, indices: Tensor, numbers: Tensor) -> Tensor:
        """Return crops and flips of pictures, in the shown size."""
        kept = (pictures.shape[-2], pictures.shape[-1])
        if "resized-crop" in self.parts:
            flips = torch.zeros_like(numbers, dtype=torch.bool)
            if "flip" in self.parts:
                flips = randomness.below(randomness.key("flip"), numbers, 2).bool()
            crops = resizing.draw(numbers, self.crop_area, kept)
            return resizing.show(pictures, indices, crops, flips, self.shown(kept))

        moves, numbers = self._moves(numbers, kept)
        return moves.show(pictures, indices, numbers)
