"""Looking along chains of layers: who feeds whom, with nobody else listening."""

from __future__ import annotations

from deepmerge.graph import params as typed
from deepmerge.graph.graph import Blob, Graph, Layer

# Elementwise functions of one input, none of which mixes places or channels
ACTIVATIONS = frozenset("ReLU PReLU ELU Sigmoid TanH Swish Clip".split())
LINEAR = frozenset(("Convolution", "Deconvolution", "InnerProduct"))


def only_reader(blob: Blob) -> Layer | None:
    """The one layer that reads the blob, once; None where there are more, or none (an output)."""
    return blob.consumers[0] if len(blob.consumers) == 1 else None


def alone(blob: Blob) -> bool:
    """Whether the blob has exactly one reader."""
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


def forward_over_activations(blob: Blob) -> tuple[list[Layer], Blob]:
    """The activations behind a blob, as long as each is the only reader, and the blob behind them."""
    passed: list[Layer] = []
    reader = only_reader(blob)
    while reader is not None and reader.type in ACTIVATIONS:
        passed.append(reader)
        blob = reader.top
        reader = only_reader(blob)
    return passed, blob


def in_order(graph: Graph, layers) -> tuple[Layer, ...]:
    """The layers in the network's order, each once."""
    chosen = set(layers)
    return tuple(layer for layer in graph.layers if layer in chosen)


def shared(graph: Graph, layer: Layer) -> str:
    """Why the layer's weights may not change: "" or the name of a sharer."""
    others = graph.sharers(layer)
    return f"its weights are shared with {others[0].name!r}" if others else ""


def is_plain_1x1(layer: Layer) -> bool:
    """A 1x1 convolution with stride 1, no pad, group 1."""
    p = layer.params
    return layer.type == "Convolution" and p.kernel == (1, 1) and p.stride == (1, 1) and p.pad == (0, 0) and p.group == 1


def same_size(conv: typed.Convolution) -> bool:
    """An odd kernel, padded so that its middle tap lies on the output's own place."""
    return all(
        kernel % 2 == 1 and pad * 2 == dilation * (kernel - 1)
        for kernel, pad, dilation in zip(conv.kernel, conv.pad, conv.dilation, strict=True)
    )
