"""Reduction and ArgMax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Layer

_REDUCE = {"ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}


def reduction(b: Builder, layer: Layer) -> str:
    """Caffe: reduction_layer.cpp: the axes from `axis` on become one value, times coeff."""
    params, x = layer.params, b.of(layer.bottom)
    axes = list(range(b.axis(layer.bottom, params.axis), len(b.shape(layer.bottom))))
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
