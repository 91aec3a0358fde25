"""Looking along chains of layers: who feeds whom, with nobody else listening."""

from __future__ import annotations

from deepmerge.graph import params as typed
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params_forks import DEPTHWISE

# Elementwise functions of one input, none of which mixes places or channels
ACTIVATIONS = frozenset("ReLU ReLU6 PReLU ELU Sigmoid TanH Swish Clip".split())
CONVOLUTIONS = frozenset(("Convolution", *DEPTHWISE))
LINEAR = CONVOLUTIONS | {"Deconvolution", "InnerProduct"}


def only_reader(blob: Blob) -> Layer | None:
    """The one layer that reads the blob, once; None where there are more, or none (an output)."""
    return blob.consumers[0] if alone(blob) else None


def alone(blob: Blob) -> bool:
    """Whether the blob has exactly one reader, which reads it once."""
    return len(blob.consumers) == 1


def back_over_activations(blob: Blob) -> tuple[Layer | None, list[Layer], str]:
    """From a blob back to the first layer that is no activation: (that layer, the activations, what is in the way).

    The last is "" where every blob on the way has a single reader.
    """
    passed: list[Layer] = []
    while True:
        if not alone(blob):
            return blob.producer, passed, f"{blob.name!r} has other readers"
        layer = blob.producer
        if layer is None or layer.type not in ACTIVATIONS:
            return layer, passed, ""
        passed.insert(0, layer)
        blob = layer.bottom


def in_order(graph: Graph, layers) -> tuple[Layer, ...]:
    """The layers in the network's order, each once."""
    chosen = set(layers)
    return tuple(layer for layer in graph.layers if layer in chosen)


def fixed(graph: Graph, layer: Layer) -> str:
    """Why the layer's weights may not change: "" if they may.

    They may not where another layer has the same (ParamSpec names), where the layer itself uses them on
    several bottoms, and where its channels do not lie on axis 1.
    """
    if others := graph.sharers(layer):
        return f"its weights are shared with {others[0].name!r}"
    if len(layer.bottoms) != 1:
        return f"its weights work on {len(layer.bottoms)} bottoms at once"
    if layer.type in LINEAR and layer.params.axis != 1:
        return f"it works on axis {layer.params.axis}, not 1"
    return ""


def is_idempotent(kind: str, params: typed.Params | None) -> bool:
    """Whether an activation leaves alone what it has made: f(f(x)) = f(x)."""
    return kind == "Clip" or (kind in ("ReLU", "ReLU6") and params is not None and params.negative_slope == 0)


def is_plain_1x1(layer: Layer) -> bool:
    """A 1x1 convolution with stride 1, no pad, group 1."""
    p = layer.params
    return layer.type == "Convolution" and (p.kernel, p.stride, p.pad, p.group) == ((1, 1), (1, 1), (0, 0), 1)


def same_size(conv: typed.Convolution) -> bool:
    """An odd kernel, padded so that its middle tap lies on the output's own place."""
    return all(
        kernel % 2 == 1 and pad * 2 == dilation * (kernel - 1)
        for kernel, pad, dilation in zip(conv.kernel, conv.pad, conv.dilation, strict=True)
    )


def empty_window(pool: Layer, shapes: dict) -> bool:
    """Whether a window of the pooling lies behind the image, as where the stride is above the kernel.

    Caffe then gives a constant (−FLT_MAX, 0 or NaN), with which nothing commutes. True where the shapes
    are not known.
    """
    bottom, top = shapes.get(pool.bottom), shapes.get(pool.top)
    if bottom is None or top is None:
        return True
    p = pool.params
    windows = zip(bottom[2:], top[2:], p.stride, p.pad, strict=True)
    return any((out - 1) * stride - pad >= size for size, out, stride, pad in windows)
