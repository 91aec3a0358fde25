"""LRN, BatchNorm, MVN and Softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Layer


def lrn(b: Builder, layer: Layer) -> str:
    """Caffe: lrn_layer.cpp. Both formats divide alpha by the window's size.

    Caffe builds WITHIN_CHANNEL of other layers: x · (1 + alpha · AVE(x²)) ^ −beta, without k. The stride is 1, so no
    window reaches past the pad, and each average is over the whole window.
    """
    x, params = b.of(layer.bottom), layer.params
    if params.norm_region == "ACROSS_CHANNELS":
        return b.op("LRN", x, size=params.local_size, alpha=params.alpha, beta=params.beta, bias=params.k)
    size = params.local_size
    mean = b.op("AveragePool", b.op("Mul", x, x), kernel_shape=[size] * 2, pads=[size // 2] * 4, count_include_pad=1)
    scale = b.op("Add", b.op("Mul", mean, np.float32(params.alpha)), np.float32(1))
    return b.op("Mul", x, b.op("Pow", scale, np.float32(-params.beta)))


def batch_norm(b: Builder, layer: Layer) -> str:
    """Caffe: batch_norm_layer.cpp, with the stored statistics, which are sums and their scale factor."""
    if layer.params.use_global_stats is False:
        text = "use_global_stats is false, so that results depend on the batch"
        raise b.refuse(text, "remove the line for inference")
    factor, eps = float(b.weight(2).reshape(-1)[0]), layer.params.eps
    mean, variance = (b.weight(i).reshape(-1) for i in (0, 1))
    one, zero = np.ones_like(mean), np.zeros_like(mean)
    if layer.params.scale_bias:  # NVCaffe: batch_norm_layer.cpp: means, not sums, and a scale and bias of its own
        one, zero, eps = b.weight(3).reshape(-1), b.weight(4).reshape(-1), max(eps, 1e-5)
    else:
        scale = np.float32(0 if factor == 0 else 1 / factor)
        mean, variance = mean * scale, variance * scale
    return b.op("BatchNormalization", b.of(layer.bottom), one, zero, mean, variance, epsilon=eps)


def mvn(b: Builder, layer: Layer) -> str:
    """Caffe: mvn_layer.cpp: (x − mean) / (deviation + eps); the top has four axes."""
    shape, params = b.shape(layer.bottom), layer.params
    groups = shape[:1] if params.across_channels else (*shape[:1], *(shape[1:2] or (1,)))
    rest = int(np.prod(np.array(shape[len(groups) :], dtype=np.int64)))
    x = b.reshape(b.of(layer.bottom), (*groups, rest))
    y = b.op("Sub", x, b.op("ReduceMean", x, axes=[-1], keepdims=1))
    if params.normalize_variance:
        variance = b.op("ReduceMean", b.op("Mul", y, y), axes=[-1], keepdims=1)
        y = b.op("Div", y, b.op("Add", b.op("Sqrt", variance), np.float32(params.eps)))
    return b.reshape(y, b.shape(layer.top))


def softmax(b: Builder, layer: Layer) -> str:
    """Write Softmax."""
    return b.op("Softmax", b.of(layer.bottom), axis=b.axis(layer.bottom, layer.params.axis))
