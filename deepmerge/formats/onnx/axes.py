"""Layers that join, cut, copy, order or rename axes, and leave the values unchanged."""

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
