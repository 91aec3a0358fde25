"""Convolution, Deconvolution and Im2col, over any number of spatial axes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.graph.shape_windows import window_axes

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
