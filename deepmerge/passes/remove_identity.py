"""Layers that pass their bottom on unchanged are taken out.

Given:   x → Power(power 1, scale 1, shift 0) | Split | Pooling 1x1 | Concat of one | … → y
Result:  x → readers of y

Exact: yes, the layer computes y = x.
Source: Caffe, power_layer.cpp, split_layer.cpp, pooling_layer.cpp, concat_layer.cpp, slice_layer.cpp.
"""

from __future__ import annotations

from deepmerge.graph.graph import Layer
from deepmerge.passes.support.base import Match, Pass, Refused, Shapes
from deepmerge.passes.support.chains import alone, is_idempotent


class RemoveIdentity(Pass):
    """Remove layers that pass their bottom on unchanged (Split, Power 1·x+0, 1x1 pooling, Concat of one)."""

    name = "remove_identity"
    exact = True
    types = frozenset(("Split", "Power", "Pooling", "Concat", "ReLU", "ReLU6", "Flatten", "Slice", "ShuffleChannel"))

    def match(self, graph, layer, shapes):
        """Return a match for an identity, unless an output of the network would lose its name."""
        if len(layer.bottoms) != 1 or not _is_identity(layer, shapes):
            return None
        if all(top.consumers for top in layer.tops):
            return Match(layer, (layer,), ())
        if len(layer.tops) == 1 and alone(layer.bottom) and layer.bottom.producer.type != "Input":
            return Match(layer, (layer,), ())  # the layer before it makes the output
        raise Refused(layer, "its top is an output of the network")

    def rewrite(self, graph, match):
        """Take the layer out; its readers read its bottom."""
        layer = match.layer
        if len(layer.tops) == 1:
            graph.bypass(layer)
        else:
            for top in layer.tops:
                graph.rewire(top, layer.bottom)
            graph.remove(layer)
        return []


def _is_identity(layer: Layer, shapes: Shapes) -> bool:
    p = layer.params
    if layer.type == "Split":
        return True
    if len(layer.tops) != 1:
        return False
    if layer.type in ("Concat", "Slice"):
        return True
    if layer.type == "Power":
        return (p.power, p.scale, p.shift) == (1.0, 1.0, 0.0)
    if layer.type == "Pooling":
        window = (p.kernel, p.stride, p.pad) == ((1, 1), (1, 1), (0, 0))
        return window and not p.global_pooling and p.pool in ("MAX", "AVE")
    if layer.type in ("ReLU", "ReLU6"):  # relu(relu(x)) = relu(x), relu(relu6(x)) = relu6(x)
        before = layer.bottom.producer
        same = before.type == layer.type or (layer.type, before.type) == ("ReLU", "ReLU6")
        return same and all(is_idempotent(one.type, one.params) for one in (layer, before))
    shape = shapes.get(layer.bottom)
    if layer.type == "ShuffleChannel":
        return p.group == 1 or (shape is not None and p.group == shape[1])
    return shape is not None and shape == shapes[layer.top]  # Flatten
