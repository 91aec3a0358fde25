"""Layers that join, cut, copy, order or rename axes, and those that reduce one: Reduction and ArgMax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Layer


def reshape(b: Builder, layer: Layer) -> str:
    """Write Reshape or Flatten: a reshape to the top's shape."""
    return b.reshape(b.of(layer.bottom), b.shape(layer.top))


def split(b: Builder, layer: Layer) -> list[str]:
    """Write Split: a copy for each top."""
    return [b.op("Identity", b.of(layer.bottom)) for _ in layer.tops]


def silence(_b: Builder, _layer: Layer) -> list[str]:
    """Write Silence: nothing."""
    return []


def concat(b: Builder, layer: Layer) -> str:
    """Write Concat."""
    return b.op("Concat", *(b.of(blob) for blob in layer.bottoms), axis=b.axis(layer.bottom, layer.params.axis))


def slice_(b: Builder, layer: Layer) -> list[str]:
    """Write Slice. One that cuts the batch needs its size."""
    axis = b.axis(layer.bottom, layer.params.axis)
    shapes = [b.sizes(top) if axis == 0 else b.shape(top) for top in layer.tops]
    if len(layer.tops) == 1:
        return [b.of(layer.bottom)]
    return b.op("Split", b.of(layer.bottom), np.array([s[axis] for s in shapes]), outputs=len(layer.tops), axis=axis)


def crop(b: Builder, layer: Layer) -> str:
    """Caffe: crop_layer.cpp: one offset for all axes from `axis` on, or one for each."""
    axis = b.axis(layer.bottom, layer.params.axis)
    if axis == 0:
        b.sizes(layer.bottom), b.sizes(layer.top)
    cut = np.arange(axis, len(b.shape(layer.bottom)))
    starts = np.broadcast_to(np.array(layer.params.offset or (0,)), cut.shape)
    ends = starts + np.array(b.shape(layer.top)[axis:])
    return b.op("Slice", b.of(layer.bottom), starts, ends, cut)


def tile(b: Builder, layer: Layer) -> str:
    """Write Tile."""
    repeats = np.ones(len(b.shape(layer.bottom)), np.int64)
    repeats[layer.params.axis] = layer.params.tiles
    return b.op("Tile", b.of(layer.bottom), repeats)


def permute(b: Builder, layer: Layer) -> str:
    """SSD: permute_layer.cpp. Axes that `order` leaves out follow in their own order."""
    order = list(layer.params.order)
    order += [axis for axis in range(len(b.shape(layer.bottom))) if axis not in order]
    return b.op("Transpose", b.of(layer.bottom), perm=order)


def batch_reindex(b: Builder, layer: Layer) -> str:
    """Write BatchReindex."""
    x, index = layer.bottoms
    return b.op("Gather", b.of(x), b.integers(b.of(index)), axis=0)


_REDUCE = {"ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}


def reduction(b: Builder, layer: Layer) -> str:
    """Caffe: reduction_layer.cpp: the axes from `axis` on become one value, times coeff."""
    params, x = layer.params, b.of(layer.bottom)
    axes = list(range(b.axis(layer.bottom, params.axis), len(b.shape(layer.bottom))))
    if params.operation not in ("SUM", *_REDUCE):
        raise b.refuse(f"operation {params.operation} cannot be written as ONNX")
    if params.operation == "SUM":
        y = b.op("ReduceSum", x, np.array(axes), keepdims=0)
    else:
        y = b.op(_REDUCE[params.operation], x, axes=axes, keepdims=0)
    return y if params.coeff == 1 else b.op("Mul", y, np.float32(params.coeff))


def argmax(b: Builder, layer: Layer) -> str:
    """Caffe: argmax_layer.cpp. It sorts (value, index) downwards: the last of equal values comes first."""
    params, bottom = layer.params, layer.bottom
    if params.axis is not None:
        values, indices = _largest(b, b.of(bottom), b.axis(bottom, params.axis), layer)
        return values if params.out_max_val else indices
    values, indices = _largest(b, b.op("Flatten", b.of(bottom), axis=1), 1, layer)
    both = b.op("Concat", indices, values, axis=1) if params.out_max_val else indices
    return b.reshape(both, b.shape(layer.top))


def _largest(b: Builder, x: str, axis: int, layer: Layer) -> tuple[str, str]:
    """Write the top_k values along an axis and their indices as float32. TopK takes the first of equals: reverse x."""
    shape = b.shape(layer.bottom)
    if axis == 0:
        shape = b.sizes(layer.bottom)
    size = shape[axis] if layer.params.axis is not None else int(np.prod(np.array(shape[1:], dtype=np.int64)))
    backwards = b.op("Gather", x, np.arange(size)[::-1], axis=axis)
    values, indices = b.op("TopK", backwards, np.array([layer.params.top_k]), outputs=2, axis=axis)
    return values, b.floats(b.op("Sub", np.int64(size - 1), indices))
