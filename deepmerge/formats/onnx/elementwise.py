"""Activations: one value in, one value out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepmerge.formats.onnx.builder import Builder
    from deepmerge.graph.graph import Layer

# Layer types that are one ONNX node without parameters. BNLL is log(1 + exp(x)). Dropout does nothing in TEST.
PLAIN = {"AbsVal": "Abs", "BNLL": "Softplus", "Dropout": "Identity", "Sigmoid": "Sigmoid", "TanH": "Tanh"}


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


def threshold(b: Builder, layer: Layer) -> str:
    """Write Threshold: 1 where x > threshold, else 0."""
    return b.floats(b.op("Greater", b.of(layer.bottom), np.float32(layer.params.threshold)))
