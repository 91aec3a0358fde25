"""Networks without weights, in which passes compute nothing: to try steps out, or to count what they save."""

from __future__ import annotations

from deepmerge.graph.graph import Graph
from deepmerge.graph.tree import Message


def without_weights(graph: Graph) -> None:
    """Take the weights out of the convolutions and InnerProducts."""
    for layer in graph.layers:
        if layer.kind.convolution or layer.type == "InnerProduct":
            layer.weights = []


def sketch(graph: Graph) -> Graph:
    """Return a copy without weights and without the fields that no pass looks at: it is cheap to copy."""
    copy = graph.copy()
    without_weights(copy)
    for layer in copy.layers:
        layer.tree = Message()
    return copy
