"""Layers of Caffe's forks whose formula is public; see graph/params_forks.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Layer


def relu6(b: Builder, layer: Layer) -> str:
    """MobileNet-YOLO: relu6_layer.cpp: min(max(x, 0) + negative_slope · min(x, 0), 6)."""
    x, slope = b.of(layer.bottom), layer.params.negative_slope
    if slope == 0:
        return b.op("Clip", x, np.float32(0), np.float32(6))
    return b.op("Min", b.op("LeakyRelu", x, alpha=slope), np.float32(6))


def axpy(b: Builder, layer: Layer) -> str:
    """SENet: axpy_layer.cpp: a · x + y, a number for each channel."""
    factor, x, y = layer.bottoms
    a, dims, rank = b.of(factor), b.shape(factor)[:2], len(b.shape(x))
    if len(b.shape(factor)) != rank:
        a = b.reshape(a, (*dims, *[1] * (rank - 2)))
    return b.op("Add", b.op("Mul", a, b.of(x)), b.of(y))


def bn(b: Builder, layer: Layer) -> str:
    """PSPNet's, yjxiong's and SegNet's bn_layer.cpp, with stored statistics."""
    params, shape = layer.params, b.shape(layer.bottom)
    count = {"folded": 2, "stored": 4}.get(params.statistics)
    if count is None or len(layer.tops) != 1:
        raise b.refuse("bn_param does not say that it uses stored statistics, so that results depend on the batch")
    slope, bias, *stored = (b.weight(i).reshape(-1).astype(np.float64) for i in range(count))
    if stored:
        slope = slope / np.sqrt(stored[1] + params.eps)
        bias = bias - slope * stored[0]
    wide = (-1, *[1] * (len(shape) - params.axis - 1))
    return b.op("Add", b.op("Mul", b.of(layer.bottom), slope.reshape(wide)), bias.reshape(wide))


def normalize(b: Builder, layer: Layer) -> str:
    """SSD: normalize_layer.cpp: by the root of (the sum of squares + eps), then a scale."""
    x, rank = b.of(layer.bottom), len(b.shape(layer.bottom))
    axes = np.arange(1, rank if layer.params.across_spatial else 2)
    squares = b.op("ReduceSum", b.op("Mul", x, x), axes, keepdims=1)
    norm = b.op("Sqrt", b.op("Add", squares, np.float32(layer.params.eps)))
    return b.op("Mul", b.op("Div", x, norm), b.weight(0).reshape(-1, *[1] * (rank - 2)))


def interp(b: Builder, layer: Layer) -> str:
    """DeepLab: interp.cpp, caffe_cpu_interp2: bilinear, with aligned corners. Negative pads cut first."""
    params, size = layer.params, b.shape(layer.top)[2:]
    if params.interp_type != "bilinear":
        raise b.refuse(
            f"interp_type {params.interp_type!r} cannot be written as ONNX",
            "use --engine caffe with a Caffe build that supports this layer",
        )
    x, (height, width) = b.of(layer.bottom), b.shape(layer.bottom)[2:]
    if params.pad_beg or params.pad_end:
        ends = np.array([height, width]) + params.pad_end
        x = b.op("Slice", x, np.array([-params.pad_beg] * 2), ends, np.array([2, 3]))
    sizes = b.op("Concat", b.op("Slice", b.op("Shape", x), np.array([0]), np.array([2])), np.array(size), axis=0)
    return b.op("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode="align_corners")


def upsample(b: Builder, layer: Layer) -> str:
    """MobileNet-YOLO: upsample_layer.cpp: each value scale × scale times. With a mask (SegNet) it is another layer."""
    if len(layer.bottoms) > 1:
        raise b.refuse(
            "unpooling by a mask cannot be written as ONNX",
            "use --engine caffe with a Caffe build that supports this layer",
        )
    rank, scale = len(b.shape(layer.bottom)), layer.params.scale or 1
    scales = np.array([1] * (rank - 2) + [scale] * 2, np.float32)
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return b.op("Resize", b.of(layer.bottom), "", scales, **how)


def reorg(b: Builder, layer: Layer) -> str:
    """MobileNet-YOLO: reorg_layer.hpp, darknet's order: read over the bottom's own shape, not over the top's.

    Each way (channels/s², height·s, width·s) meets (s·s·channels/s², height, width).
    """
    (batch, channels, height, width), s = b.shape(layer.bottom), layer.params.stride
    rest = channels // s**2
    if layer.params.reverse:
        x = b.reshape(b.of(layer.bottom), (batch, s, s, rest, height, width))
        x = b.op("Transpose", x, perm=[0, 3, 4, 1, 5, 2])
    else:
        x = b.reshape(b.of(layer.bottom), (batch, rest, height, s, width, s))
        x = b.op("Transpose", x, perm=[0, 3, 5, 1, 2, 4])
    return b.reshape(x, b.shape(layer.top))


def shuffle_channel(b: Builder, layer: Layer) -> str:
    """ShuffleNet: shuffle_channel_layer.cpp: channels as a group × rest matrix, transposed."""
    (batch, channels, *rest), group = b.shape(layer.bottom), layer.params.group
    x = b.reshape(b.of(layer.bottom), (batch, group, channels // group, *rest))
    x = b.op("Transpose", x, perm=[0, 2, 1, *range(3, 3 + len(rest))])
    return b.reshape(x, b.shape(layer.top))


def crop_center(b: Builder, layer: Layer) -> str:
    """waifu2x: crop_center_layer.cpp."""
    cut = np.array(layer.params.crop_size)
    axes = np.flatnonzero(cut)
    if not len(axes):
        return b.of(layer.bottom)
    if cut[0]:
        b.sizes(layer.bottom)
    ends = cut[axes] + np.array([b.shape(layer.top)[axis] for axis in axes])
    return b.op("Slice", b.of(layer.bottom), cut[axes], ends, axes)
