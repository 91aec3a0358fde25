"""Networks without weights, in which passes compute nothing: to try steps out, or to count what they save."""

from __future__ import annotations

from deepmerge.graph.costs import shapes_of_one
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import expected_weights
from deepmerge.graph.tree import Message


def without_weights(graph: Graph) -> None:
    """Take the weights out of the convolutions and InnerProducts."""
    for layer in graph.layers:
        if layer.kind.convolution or layer.type == "InnerProduct":
            layer.weights = []


def shapes_say_weights(graph: Graph) -> bool:
    """Return whether costs are the same without the weights.

    Costs are those of one image. Where a Reshape is for another batch, layers after it only seem to have other weights.
    """
    shapes = shapes_of_one(graph)
    return all(
        [array.shape for array in layer.weights] == expected_weights(layer, [shapes.get(b) for b in layer.bottoms])
        for layer in graph.layers
        if layer.weights and (layer.kind.convolution or layer.type == "InnerProduct")
    )


def sketch(graph: Graph) -> Graph:
    """Return a copy without weights and without the fields that no pass looks at: it is cheap to copy."""
    copy = graph.copy()
    without_weights(copy)
    for layer in copy.layers:
        layer.tree = Message()
    return copy
