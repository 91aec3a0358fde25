"""The part of a network that a layer belongs to, as people call it: conv1, inception_3a, res2a."""

from __future__ import annotations

from deepmerge.graph.graph import Graph
from deepmerge.plan.names import head


def groups(graph: Graph) -> list[str]:
    """A group for each layer, in the graph's order.

    A tensor layer's is the head of its name. Another layer's is its own head where tensor layers have that too
    (inception_3a/relu_1x1); otherwise that of the layer it reads, so that bn_conv1 and pool1 go with conv1. Groups
    label a drawing; nothing depends on them.
    """
    heads = {head(layer.name) for layer in graph.layers if layer.kind.tensor}
    made: dict[str, str] = {}
    for layer in graph.layers:
        own = head(layer.name)
        if own not in heads and layer.bottoms and layer.bottom.producer.type != "Input":
            own = made[layer.bottom.producer.name]
        made[layer.name] = own
    return [made[layer.name] for layer in graph.layers]
