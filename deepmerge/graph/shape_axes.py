"""Shape rules of the layers that join, cut, rename or reduce axes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from deepmerge.graph.shape_errors import Shape, axis_of, misfit, needs_equal, reads

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer


def concat(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: concat_layer.cpp."""
    first = bottoms[0]
    axis = axis_of(layer, layer.params.axis, first)
    for index, shape in enumerate(bottoms[1:], 1):
        if len(shape) != len(first):
            raise misfit(layer, reads(layer, index), f"{len(first)} axes, like {reads(layer)} {first}", shape)
        for i, (found, expected) in enumerate(zip(shape, first, strict=True)):
            if i != axis and found != expected:
                raise misfit(
                    layer,
                    f"axis {i} of {reads(layer, index)}",
                    f"{expected}, like {reads(layer)} {first}",
                    f"{found} in {shape}",
                )
    return [(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1 :])]


def slice_(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: slice_layer.cpp."""
    shape, tops, points = bottoms[0], len(layer.tops), layer.params.slice_point
    axis = axis_of(layer, layer.params.axis, shape)
    size = shape[axis]
    if not points:
        if size % tops:
            raise misfit(layer, "top", f"a number that divides the {size} of axis {axis} of {reads(layer)}", tops)
        points = tuple(size // tops * i for i in range(1, tops))
    if len(points) != tops - 1:
        raise misfit(layer, "slice_point", f"{tops - 1} for {tops} tops", len(points))
    edges = (0, *points, size)
    if any(low >= high for low, high in zip(edges, edges[1:], strict=False)):
        raise misfit(
            layer, "slice_point", f"increasing numbers between 0 and {size}, axis {axis} of {reads(layer)}", points
        )
    return [(*shape[:axis], high - low, *shape[axis + 1 :]) for low, high in zip(edges, edges[1:], strict=False)]


def eltwise(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: eltwise_layer.cpp."""
    params = layer.params
    if params.coeff and len(params.coeff) != len(bottoms):
        raise misfit(layer, "coeff", f"none, or one for each of the {len(bottoms)} bottoms", len(params.coeff))
    if params.coeff and params.operation == "PROD":
        raise misfit(layer, "coeff", "none, as the operation is PROD", len(params.coeff))
    needs_equal(layer, bottoms)
    return [bottoms[0]]


def flatten(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: flatten_layer.cpp. An end_axis just before `axis` inserts an axis of 1."""
    shape = bottoms[0]
    start, end = axis_of(layer, layer.params.axis, shape), axis_of(layer, layer.params.end_axis, shape, "end_axis")
    if start > end + 1:
        raise misfit(layer, "end_axis", f"{start} or more, as axis is {start}", end)
    return [(*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])]


def reshape(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: reshape_layer.cpp."""
    shape, params = bottoms[0], layer.params
    start = params.axis if params.axis >= 0 else len(shape) + params.axis + 1
    end = len(shape) if params.num_axes == -1 else start + params.num_axes
    if not 0 <= start <= len(shape):
        raise misfit(layer, "axis", f"one of the axes of {reads(layer)} {shape}, or the place after them", params.axis)
    if not start <= end <= len(shape):
        raise misfit(
            layer,
            "num_axes",
            f"-1, or 0 to {len(shape) - start} from axis {start} of {reads(layer)} {shape}",
            params.num_axes,
        )
    new = list(params.shape)
    for i, size in enumerate(new):
        if size == 0 and start + i >= len(shape):
            raise misfit(layer, f"shape, dim {i}", f"an axis {start + i} of {reads(layer)} {shape} to copy", "none")
        new[i] = shape[start + i] if size == 0 else size
    if new.count(-1) > 1 or any(size < -1 for size in new):
        raise misfit(layer, "shape", "sizes, 0 to copy, and at most one -1", params.shape)
    inside = prod(shape[start:end])
    if -1 in new:
        rest = -prod(new)
        if inside % rest:
            raise misfit(
                layer, "shape", f"dims that divide the {inside} values of {reads(layer)} {shape}", params.shape
            )
        new[new.index(-1)] = inside // rest
    elif prod(new) != inside:
        raise misfit(
            layer,
            "shape",
            f"dims for the {inside} values of {reads(layer)} {shape}",
            f"{params.shape}, which are {prod(new)}",
        )
    return [(*shape[:start], *new, *shape[end:])]


def tile(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: tile_layer.cpp."""
    shape, tiles = bottoms[0], layer.params.tiles
    axis = axis_of(layer, layer.params.axis, shape)
    if tiles < 1:
        raise misfit(layer, "tiles", "1 or more", tiles)
    return [(*shape[:axis], shape[axis] * tiles, *shape[axis + 1 :])]


def permute(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """SSD: permute_layer.cpp. Axes that `order` leaves out follow in their own order."""
    shape, order = bottoms[0], layer.params.order
    if len(set(order)) != len(order) or any(not 0 <= axis < len(shape) for axis in order):
        raise misfit(layer, "order", f"different axes of {reads(layer)} {shape}", order)
    rest = [axis for axis in range(len(shape)) if axis not in order]
    return [tuple(shape[axis] for axis in (*order, *rest))]


def reduction(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: reduction_layer.cpp."""
    return [bottoms[0][: axis_of(layer, layer.params.axis, bottoms[0])]]


def argmax(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: argmax_layer.cpp. Without an axis: (batch, 1 or 2, top_k)."""
    shape, params = bottoms[0], layer.params
    if not shape:
        raise misfit(layer, reads(layer), "1 axis or more", shape)
    if params.axis is None:
        size, top = prod(shape[1:]), [1] * max(len(shape), 3)
        top[:3] = shape[0], 1 + params.out_max_val, params.top_k
    else:
        axis = axis_of(layer, params.axis, shape)
        size, top = shape[axis], [*shape[:axis], params.top_k, *shape[axis + 1 :]]
    if not 1 <= params.top_k <= size:
        raise misfit(layer, "top_k", f"1 to {size}, the values of {reads(layer)} {shape} to choose from", params.top_k)
    return [tuple(top)]


def crop(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: crop_layer.cpp. The first bottom is cut to the second one's sizes from `axis` on."""
    shape, like, offset = *bottoms, layer.params.offset
    axis = axis_of(layer, layer.params.axis, shape)
    if len(like) != len(shape):
        raise misfit(layer, reads(layer, 1), f"{len(shape)} axes, like {reads(layer)} {shape}", like)
    if len(offset) > 1 and len(offset) != len(shape) - axis:
        raise misfit(
            layer, "offset", f"one number, or one for each of the {len(shape) - axis} axes from {axis} on", offset
        )
    offsets = offset if len(offset) > 1 else (offset or (0,)) * (len(shape) - axis)
    for i, start in enumerate(offsets, axis):
        if start + like[i] > shape[i]:
            raise misfit(
                layer, f"offset on axis {i}", f"at most {shape[i] - like[i]}, to cut {like[i]} out of {shape[i]}", start
            )
    return [(*shape[:axis], *like[axis:])]


def batch_reindex(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: batch_reindex_layer.cpp."""
    shape, index = bottoms
    if len(index) != 1:
        raise misfit(layer, reads(layer, 1), "one axis, of indices into the batch", index)
    return [(*index, *shape[1:])]
