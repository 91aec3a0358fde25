"""Layers that slide a window: Convolution, Deconvolution, Im2col, Pooling and SPP.

Caffe's rounding is written out; graph/windows.py has the rules.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.graph.shape_windows import window_axes
from deepmerge.graph.windows import Windows, pooling_windows, pyramid_windows

if TYPE_CHECKING:
    from deepmerge.formats.onnx.batch import Dims
    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Blob, Layer


def convolution(b: Builder, layer: Layer) -> list[str]:
    """Caffe: conv_layer.cpp: each bottom has a top of its own, all with the same weights."""
    return _convolved(b, layer, "Conv")


def deconvolution(b: Builder, layer: Layer) -> list[str]:
    """Caffe: deconv_layer.cpp. Weights are (channels, num_output/group, …) in both formats."""
    return _convolved(b, layer, "ConvTranspose")


def _convolved(b: Builder, layer: Layer, kind: str) -> list[str]:
    inputs = [b.constant(b.weight(0), "weights")]
    if layer.params.bias_term:
        inputs.append(b.constant(b.weight(1).reshape(-1), "bias"))
    window = _window(b, layer, layer.bottom)
    pairs = zip(layer.bottoms, layer.tops, strict=True)
    return [_apply(b, layer, kind, bottom, top, inputs, group=layer.params.group, **window) for bottom, top in pairs]


def im2col(b: Builder, layer: Layer) -> str:
    """Caffe: im2col_layer.cpp: a convolution whose filters each pick one value of the window."""
    shape = b.shape(layer.bottom)
    axis = b.axis(layer.bottom, layer.params.axis)
    channels = shape[axis] if axis else b.sizes(layer.bottom)[0]
    window = _window(b, layer, layer.bottom)
    kernel = window["kernel_shape"]
    picks = np.eye(prod(kernel), dtype=np.float32).reshape(prod(kernel), 1, *kernel)
    weights = b.constant(np.tile(picks, (channels, *[1] * (len(kernel) + 1))), "picks")
    return _apply(b, layer, "Conv", layer.bottom, layer.top, [weights], group=channels, **window)


def _window(b: Builder, layer: Layer, bottom: Blob) -> dict[str, list[int]]:
    spatial = len(b.shape(bottom)) - b.axis(bottom, layer.params.axis) - 1
    if not spatial:
        raise b.refuse(f"bottom {bottom.name!r} has no spatial axis", "write it as an InnerProduct")
    kernel, stride, pad, dilation = window_axes(layer, spatial)
    return {"kernel_shape": list(kernel), "strides": list(stride), "pads": [*pad, *pad], "dilations": list(dilation)}


def _apply(b: Builder, layer: Layer, kind: str, bottom: Blob, top: Blob, inputs: list[str], **attributes) -> str:
    """Write the node, with all axes before the channels as one."""
    axis, x = b.axis(bottom, layer.params.axis), b.of(bottom)
    if axis == 1:
        return b.op(kind, x, *inputs, **attributes)
    shape: Dims = b.sizes(bottom) if axis == 0 else b.shape(bottom)
    return b.reshape(b.op(kind, b.reshape(x, (None, *shape[axis:])), *inputs, **attributes), b.shape(top))


_LOWEST = np.finfo(np.float32).min  # -FLT_MAX: what Caffe's MAX starts from


def pooling(b: Builder, layer: Layer) -> str | list[str]:
    """Write MAX, with its mask if there is a second top, or AVE."""
    params, x = layer.params, b.of(layer.bottom)
    if params.pool not in ("MAX", "AVE"):
        raise b.refuse(f"{params.pool} pooling cannot be written as ONNX; Caffe has it in training, and on a GPU, only")
    axes = pooling_windows(params, b.shape(layer.bottom)[2:])
    if params.pool == "AVE":
        return average(b, x, *axes)
    return maximum(b, x, *axes) if len(layer.tops) == 1 else _maximum_and_mask(b, x, *axes)


def spp(b: Builder, layer: Layer) -> str:
    """Caffe: spp_layer.cpp: level i pools with 2^i windows each way; the levels are flattened and joined."""
    if layer.params.pool not in ("MAX", "AVE"):
        raise b.refuse(f"{layer.params.pool} pooling cannot be written as ONNX")
    x, (channels, *size) = b.of(layer.bottom), b.shape(layer.bottom)[1:]
    pool = maximum if layer.params.pool == "MAX" else average
    levels = []
    for level in range(layer.params.pyramid_height):
        axes = pyramid_windows(size, 2**level)
        flat = (b.shape(layer.bottom)[0], channels * axes[0].out * axes[1].out)
        levels.append(b.reshape(pool(b, x, *axes), flat))
    joined = levels[0] if len(levels) == 1 else b.op("Concat", *levels, axis=1)
    return joined if len(levels) > 1 else b.reshape(joined, b.shape(layer.top))


def average(b: Builder, x: str, high: Windows, wide: Windows) -> str:
    """Write AVE pooling."""
    if high.whole and wide.whole:
        return b.op("GlobalAveragePool", x)
    x, window = _padded(b, x, high, wide, 0.0)
    y = b.op("AveragePool", x, count_include_pad=1, **window)
    counted = high.counted[:, None] * wide.counted[None, :]
    if (counted == high.kernel * wide.kernel).all():
        return y
    # ONNX divides by the size of the whole window. 0 / 0 is NaN, as in Caffe.
    with np.errstate(divide="ignore"):
        ratio = np.float32(high.kernel * wide.kernel) / counted.astype(np.float32)
    return b.op("Mul", y, b.constant(ratio[None, None], "divisors"))


def maximum(b: Builder, x: str, high: Windows, wide: Windows) -> str:
    """Write MAX pooling."""
    if high.whole and wide.whole:
        return b.op("GlobalMaxPool", x)
    x, window = _padded(b, x, high, wide, _LOWEST)
    return b.op("MaxPool", x, **window)


def _maximum_and_mask(b: Builder, x: str, high: Windows, wide: Windows) -> list[str]:
    """Write MAX and its mask: h · width + w of each maximum, as a float; −1 for a window outside the image."""
    x, window = _padded(b, x, high, wide, _LOWEST)
    y, index = b.op("MaxPool", x, outputs=2, **window)
    before = [high.pad, wide.pad] if not any(window["pads"]) else [0, 0]
    after = [high.end_pad, wide.end_pad] if not any(window["pads"]) else [0, 0]
    height, width = high.size + before[0] + after[0], wide.size + before[1] + after[1]
    index = b.op("Mod", index, np.int64(height * width))
    if any(before + after):
        row, column = b.op("Div", index, np.int64(width)), b.op("Mod", index, np.int64(width))
        inside = b.op("Mul", b.op("Sub", row, np.int64(before[0])), np.int64(wide.size))
        index = b.op("Add", inside, b.op("Sub", column, np.int64(before[1])))
    found = b.op("Greater", y, np.float32(_LOWEST))
    return [y, b.op("Where", found, b.floats(index), np.float32(-1))]


def _padded(b: Builder, x: str, high: Windows, wide: Windows, value: float) -> tuple[str, dict]:
    """Return x and the pooling node's attributes. Runtimes need pads below the kernel; larger ones get a Pad node."""
    window = {"kernel_shape": [high.kernel, wide.kernel], "strides": [high.stride, wide.stride]}
    pads = [high.pad, wide.pad, high.end_pad, wide.end_pad]
    if high.end_pad < high.kernel and wide.end_pad < wide.kernel:
        return x, {**window, "pads": pads}
    pads = [0, 0, *pads[:2], 0, 0, *pads[2:]]
    return b.op("Pad", x, np.array(pads), np.float32(value)), {**window, "pads": [0] * 4}
