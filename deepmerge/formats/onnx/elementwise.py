"""Activations, Power, Exp, Log and Eltwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Layer


# Layer types that are one ONNX node without parameters. BNLL is log(1 + exp(x)).
PLAIN = {"AbsVal": "Abs", "BNLL": "Softplus", "Sigmoid": "Sigmoid", "TanH": "Tanh"}


def plain(kind: str) -> Callable[[Builder, Layer], str]:
    """Return the function that writes one node of that kind."""

    def write(b: Builder, layer: Layer) -> str:
        return b.op(kind, b.of(layer.bottom))

    return write


def relu(b: Builder, layer: Layer) -> str:
    """Caffe: relu_layer.cpp: max(x, 0) + negative_slope · min(x, 0)."""
    slope = layer.params.negative_slope
    return b.op("LeakyRelu", b.of(layer.bottom), alpha=slope) if slope else b.op("Relu", b.of(layer.bottom))


def prelu(b: Builder, layer: Layer) -> str:
    """Caffe: prelu_layer.cpp: a slope for each channel, or one for all."""
    slope = b.weight(0).reshape(-1, *[1] * (len(b.shape(layer.bottom)) - 2))
    return b.op("PRelu", b.of(layer.bottom), slope)


def elu(b: Builder, layer: Layer) -> str:
    """Write ELU."""
    return b.op("Elu", b.of(layer.bottom), alpha=layer.params.alpha)


def swish(b: Builder, layer: Layer) -> str:
    """Write Swish: x · sigmoid(beta · x)."""
    x, beta = b.of(layer.bottom), layer.params.beta
    return b.op("Mul", x, b.op("Sigmoid", x if beta == 1 else b.op("Mul", x, np.float32(beta))))


def clip(b: Builder, layer: Layer) -> str:
    """Write Clip."""
    return b.op("Clip", b.of(layer.bottom), np.float32(layer.params.min), np.float32(layer.params.max))


def dropout(b: Builder, layer: Layer) -> str:
    """Write Dropout in TEST: the identity; caffe-fast-rcnn's scale_train: false multiplies by the share that stays."""
    x, params = b.of(layer.bottom), layer.params
    if params.sample_weights_test:
        raise b.refuse(
            "sample_weights_test, which drops values in TEST, too, cannot be written as ONNX",
            "use --engine caffe with a Caffe build that supports this layer",
        )
    return b.op("Identity", x) if params.scale_train else b.op("Mul", x, np.float32(1 - params.dropout_ratio))


def threshold(b: Builder, layer: Layer) -> str:
    """Write Threshold: 1 where x > threshold, else 0."""
    return b.floats(b.op("Greater", b.of(layer.bottom), np.float32(layer.params.threshold)))


def affine(b: Builder, x: str, scale: float, shift: float) -> str:
    """Write scale · x + shift, without the parts that do nothing."""
    if scale != 1:
        x = b.op("Mul", x, np.float32(scale))
    if shift != 0:
        x = b.op("Add", x, np.float32(shift))
    return x


def power(b: Builder, layer: Layer) -> str:
    """Caffe: power_layer.cpp: (shift + scale · x) ^ power; a constant where x does not count."""
    x, params = b.of(layer.bottom), layer.params
    if params.power * params.scale == 0:
        value = 1.0 if params.power == 0 else np.float32(params.shift) ** np.float32(params.power)
        return b.op("Expand", np.float32(value), b.op("Shape", x))
    x = affine(b, x, params.scale, params.shift)
    return x if params.power == 1 else b.op("Pow", x, np.float32(params.power))


def exp(b: Builder, layer: Layer) -> str:
    """Caffe: exp_layer.cpp: base ^ (shift + scale · x) = exp(x · scale · log base) · base ^ shift."""
    params = layer.params
    x = b.op("Exp", affine(b, b.of(layer.bottom), params.inner_scale, 0))
    return affine(b, x, params.outer_scale, 0)


def log(b: Builder, layer: Layer) -> str:
    """Caffe: log_layer.cpp: log(shift + scale · x) / log base."""
    params = layer.params
    x = b.op("Log", affine(b, b.of(layer.bottom), params.scale, params.shift))
    return affine(b, x, params.outer_scale, 0)


def eltwise(b: Builder, layer: Layer) -> str:
    """Caffe: eltwise_layer.cpp. SUM has a coefficient for each bottom; bottoms are taken in order."""
    operation, bottoms = layer.params.operation, [b.of(blob) for blob in layer.bottoms]
    if operation == "MAX":
        return b.op("Max", *bottoms)
    if operation == "PROD":
        total = bottoms[0]
        for x in bottoms[1:]:
            total = b.op("Mul", total, x)
        return total
    if operation != "SUM":
        raise b.refuse(f"operation {operation} cannot be written as ONNX")
    coeff = layer.params.coeff or (1.0,) * len(bottoms)
    total = affine(b, bottoms[0], coeff[0], 0)
    for x, c in zip(bottoms[1:], coeff[1:], strict=True):
        total = b.op("Sub", total, x) if c == -1 else b.op("Add", total, affine(b, x, c, 0))
    return total
