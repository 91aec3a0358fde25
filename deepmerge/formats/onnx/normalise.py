"""LRN, BatchNorm, MVN and Softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepmerge.formats import OPERATOR

if TYPE_CHECKING:
    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Layer


def lrn(b: Builder, layer: Layer) -> str:
    """Caffe: lrn_layer.cpp. Both formats divide alpha by the window's size.

    LRN over channels is written out: ONNX Runtime's own LRN takes 8 to 18 times as long, most of it in powers. Sums of
    shifted copies take the least time, or nearly so, at all sizes: a 1×1 convolution with a band matrix multiplies
    with zeros (192 channels of 56×56: 3.5 ms, the sums 2.0), and an AveragePool along the channels leaves the cache
    (there 11 ms).

    Caffe builds WITHIN_CHANNEL of other layers: x · (1 + alpha · AVE(x²)) ^ −beta, without k. The stride is 1, so no
    window reaches past the pad, and each average is over the whole window.
    """
    x, params = b.of(layer.bottom), layer.params
    if params.norm_region == "ACROSS_CHANNELS":
        if b.lrn == OPERATOR:
            return b.op("LRN", x, size=params.local_size, alpha=params.alpha, beta=params.beta, bias=params.k)
        return _across_channels(b, layer)
    size = params.local_size
    mean = b.op("AveragePool", b.op("Mul", x, x), kernel_shape=[size] * 2, pads=[size // 2] * 4, count_include_pad=1)
    scale = b.op("Add", b.op("Mul", mean, np.float32(params.alpha)), np.float32(1))
    return _divided(b, x, scale, params.beta)


def _across_channels(b: Builder, layer: Layer) -> str:
    """Write x · (k + Σ alpha/n · x²) ^ −beta, the sum over the n nearest channels, those beyond the ends being 0.

    As in Caffe, alpha/n comes before the sum: nothing overflows that does not overflow in Caffe.
    """
    shape, params = b.shape(layer.bottom), layer.params
    channels, positions = shape[1], int(np.prod(shape[2:], dtype=np.int64))
    x = b.reshape(b.of(layer.bottom), (shape[0], channels, positions))
    total = b.op("Mul", b.op("Mul", x, x), np.float32(params.alpha / params.local_size))
    side = min(params.local_size // 2, channels - 1)
    if side:
        padded = b.op("Pad", total, np.array([0, side, 0] * 2))
        sums = _neighbours(b, padded, channels + 2 * side, side)
        before, after = (_channels(b, sums, first, channels) for first in (0, side + 1))
        total = b.op("Add", b.op("Add", before, total), after)
    scale = b.op("Add", total, np.float32(params.k))
    return b.reshape(_divided(b, x, scale, params.beta), shape)


def _neighbours(b: Builder, x: str, channels: int, width: int) -> str:
    """Write the sums of each `width` neighbouring channels of x, by doubling: channels − width + 1 of them."""
    if width == 1:
        return x
    first = width - 1 if width % 2 else width // 2
    sums, count = _neighbours(b, x, channels, first), channels - width + 1
    return b.op("Add", _channels(b, sums, 0, count), _channels(b, x if width % 2 else sums, first, count))


def _channels(b: Builder, x: str, first: int, count: int) -> str:
    """Write a Slice: `count` channels of x from `first` on."""
    return b.op("Slice", x, np.array([first]), np.array([first + count]), np.array([1]))


def _divided(b: Builder, x: str, scale: str, beta: float) -> str:
    """Write x · scale ^ −beta. If beta is a sum of 1, 1/2, 1/4, 1/8 and 1/16, square roots take the place of Pow."""
    if not (0 < beta < 2 and (beta * 16).is_integer()):
        return b.op("Mul", x, b.op("Pow", scale, np.float32(-beta)))
    power, root, exponent = "", scale, 1.0
    while beta:
        if beta >= exponent:
            power, beta = b.op("Mul", power, root) if power else root, beta - exponent
        if beta:
            root, exponent = b.op("Sqrt", root), exponent / 2
    return b.op("Div", x, power)


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
