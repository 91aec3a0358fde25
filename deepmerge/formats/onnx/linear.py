"""InnerProduct, Embed, Scale and Bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Blob, Layer


def inner_product(b: Builder, layer: Layer) -> str:
    """Caffe: inner_product_layer.cpp: the axes from `axis` on, flattened, times the weights."""
    params, bottom = layer.params, layer.bottom
    axis = b.axis(bottom, params.axis)
    if axis == 0:
        b.sizes(bottom)
    weights = b.weight(0)
    weights = b.constant(weights.reshape(weights.shape[-2:]), "weights")
    biases = [b.constant(b.weight(1).reshape(-1), "bias")] if params.bias_term else []
    x = b.of(bottom)
    if axis != 1 or len(b.shape(bottom)) != 2:
        x = b.op("Flatten", x, axis=axis)
    y = b.op("Gemm", x, weights, *biases, transB=None if params.transpose else 1)
    return y if axis == 1 else b.reshape(y, b.shape(layer.top))


def embed(b: Builder, layer: Layer) -> str:
    """Caffe: embed_layer.cpp: a row of the weights for each index, plus the bias."""
    weights = b.weight(0)
    y = b.op(
        "Gather", b.constant(weights.reshape(weights.shape[-2:]), "weights"), b.integers(b.of(layer.bottom)), axis=0
    )
    return b.op("Add", y, b.weight(1).reshape(-1)) if layer.params.bias_term else y


def scale(b: Builder, layer: Layer) -> str:
    """Caffe: scale_layer.cpp. The factors are learned, or the second bottom; `axis` is where they start."""
    learned = len(layer.bottoms) == 1
    y = b.op("Mul", b.of(layer.bottom), _learned(b, layer, 0) if learned else _given(b, layer))
    if not layer.params.bias_term:
        return y
    return b.op("Add", y, _learned(b, layer, 1) if learned else _beside(b, layer, 0))


def bias(b: Builder, layer: Layer) -> str:
    """Caffe: bias_layer.cpp."""
    return b.op("Add", b.of(layer.bottom), _learned(b, layer, 0) if len(layer.bottoms) == 1 else _given(b, layer))


def _learned(b: Builder, layer: Layer, index: int) -> np.ndarray:
    """Return a learned blob in a shape that broadcasts over the first bottom."""
    params, bottom = layer.params, layer.bottom
    axis, rank = b.axis(bottom, params.axis), len(b.shape(bottom))
    count = rank - axis if params.num_axes == -1 else params.num_axes
    covered = (b.sizes(bottom) if axis == 0 and count else b.shape(bottom))[axis : axis + count]
    return b.weight(index).reshape(*covered, *[1] * (rank - axis - count))


def _given(b: Builder, layer: Layer) -> str:
    """Return the second bottom in a shape that broadcasts over the first."""
    trailing = _trailing(b, layer, layer.bottoms[1])
    other = b.of(layer.bottoms[1])
    return b.reshape(other, (*b.shape(layer.bottoms[1]), *[1] * trailing)) if trailing else other


def _beside(b: Builder, layer: Layer, index: int) -> np.ndarray:
    """Return a learned blob of the second bottom's shape, in a shape that broadcasts over the first."""
    second = layer.bottoms[1]
    return b.weight(index).reshape(*b.sizes(second), *[1] * _trailing(b, layer, second))


def _trailing(b: Builder, layer: Layer, second: Blob) -> int:
    """Return how many axes of the first bottom come after those that the second one covers."""
    rank, covered = len(b.shape(layer.bottom)), len(b.shape(second))
    return rank - covered - b.axis(layer.bottom, layer.params.axis) if covered else 0
