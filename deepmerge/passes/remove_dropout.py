"""Dropout is taken out; train_val.prototxt gets it back.

Given:   x → Dropout → y
Result:  x → readers of y

Exact: yes; at TEST time Dropout hands on its bottom (it scales while training).
Source: Caffe, dropout_layer.cpp, Forward_cpu.
"""

from __future__ import annotations

from deepmerge.graph.tree import Field, Message, Quoted
from deepmerge.passes.support.base import Match, Pass
from deepmerge.passes.support.chains import alone


class RemoveDropout(Pass):
    name = "remove_dropout"
    exact = True
    summary = "take out Dropout, which does nothing at TEST time (train_val.prototxt keeps it)"
    types = frozenset(("Dropout",))

    def match(self, graph, layer, shapes):
        if layer.top.consumers or _absorbed(layer):
            return Match(layer, (layer,), ())
        reason = f"its top {layer.top.name!r} is an output of the network, and its bottom is an input or read by others"
        return self.refuse(layer, reason)

    def rewrite(self, graph, match):
        layer = match.layer
        blob = layer.top if _absorbed(layer) else layer.bottom
        graph.bypass(layer)
        message = Message()
        for key, value in (("name", layer.name), ("type", "Dropout"), ("bottom", blob.name), ("top", blob.name)):
            message.add(key, Quoted(value))
        message.fields += [Field(f.name, f.value) for f in layer.tree]
        graph.train_layers.append(message)
        return []


def _absorbed(layer) -> bool:
    """Whether the layer before makes the top in the layer's place (see Graph.bypass)."""
    return alone(layer.bottom) and layer.bottom.producer.type != "Input"
