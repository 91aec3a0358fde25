"""Errors and checks that the shape rules share."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from deepmerge.errors import ShapeError

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer

Shape = tuple[int, ...]

INT_MAX = 2**31 - 1
MAX_AXES = 32  # Caffe: blob.hpp, kMaxBlobAxes


def misfit(layer: Layer, field: str, expected: object, found: object) -> ShapeError:
    """Return the error to raise for a layer whose `field` does not fit what it reads."""
    text = f"layer {layer.name!r} ({layer.type}): {field}: expected {expected}, found {found}"
    return ShapeError(text, layer=layer.name)


def reads(layer: Layer, index: int = 0) -> str:
    """Return the name of a bottom in messages."""
    return f"bottom {layer.bottoms[index].name!r}"


def axis_of(layer: Layer, axis: int, shape: Shape, field: str = "axis") -> int:
    """Return `axis` counted from the front; a negative one counts from the end. Caffe: blob.hpp, CanonicalAxisIndex."""
    if not -len(shape) <= axis < len(shape):
        raise misfit(layer, field, f"one of the {len(shape)} axes of {reads(layer)} {shape}", axis)
    return axis % len(shape)


def needs_axes(layer: Layer, shape: Shape, count: int = 4) -> None:
    """Raise ShapeError unless the shape has `count` axes. Caffe's image layers take exactly four."""
    if len(shape) != count:
        names = " (batch, channels, height, width)" if count == 4 else ""
        raise misfit(layer, reads(layer), f"{count} axes{names}", f"{len(shape)}: {shape}")


def needs_equal(layer: Layer, bottoms: list[Shape]) -> None:
    """Raise ShapeError unless all bottoms have the same shape."""
    for index, shape in enumerate(bottoms[1:], 1):
        if shape != bottoms[0]:
            raise misfit(layer, reads(layer, index), f"{bottoms[0]}, the shape of {reads(layer)}", shape)


def needs_blob(layer: Layer, name: str, shape: Shape) -> None:
    """Raise ShapeError for a shape that no blob can have. Caffe: blob.cpp, Reshape (which also takes sizes of 0)."""
    if len(shape) > MAX_AXES:
        raise misfit(layer, f"top {name!r}", f"at most {MAX_AXES} axes", len(shape))
    if any(size < 1 for size in shape):
        raise misfit(layer, f"top {name!r}", "sizes of 1 or more", shape)
    if prod(shape) > INT_MAX:
        raise misfit(layer, f"top {name!r}", f"at most {INT_MAX:,} values", f"{prod(shape):,} in {shape}")
