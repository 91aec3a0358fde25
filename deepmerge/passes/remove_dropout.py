"""Dropout is taken out; train_val.prototxt keeps it.

Given:   x → Dropout → y
Result:  x → readers of y

Exact: yes. At TEST time Dropout passes its bottom on (it scales during training). Forks' that do more are left alone.
Source: Caffe, caffe-fast-rcnn, caffe-segnet, dropout_layer.cpp, Forward_cpu.
"""

from __future__ import annotations

from deepmerge.graph.graph import Layer
from deepmerge.graph.tree import Field, Message, Quoted
from deepmerge.passes.support.base import Match, Pass, Refused
from deepmerge.passes.support.chains import alone


class RemoveDropout(Pass):
    """Remove Dropout, which does nothing at TEST time (train_val.prototxt keeps it)."""

    name = "remove_dropout"
    exact = True
    types = frozenset(("Dropout",))

    def match(self, graph, layer, shapes):
        """Return a match unless it changes values, or an output of the network would lose its name."""
        p = layer.params
        if p.sample_weights_test:
            raise Refused(layer, "with sample_weights_test it drops values in TEST, too")
        if not p.scale_train:
            raise Refused(layer, f"with scale_train: false it multiplies by {1 - p.dropout_ratio:g} in TEST")
        if layer.top.consumers or _absorbed(layer):
            return Match(layer, (layer,), ())
        reason = f"its top {layer.top.name!r} is an output of the network, and its bottom is an input or read by others"
        raise Refused(layer, reason)

    def rewrite(self, graph, match):
        """Take Dropout out, and keep it among the training layers."""
        layer = match.layer
        blob = layer.top if _absorbed(layer) else layer.bottom
        graph.bypass(layer)
        message = Message()
        for key, value in (("name", layer.name), ("type", "Dropout"), ("bottom", blob.name), ("top", blob.name)):
            message.add(key, Quoted(value))
        message.fields += [Field(f.name, f.value) for f in layer.tree]
        graph.train_layers.append(message)
        return []


def _absorbed(layer: Layer) -> bool:
    """Return whether the layer before it will produce its top (see Graph.bypass)."""
    return alone(layer.bottom) and layer.bottom.producer.type != "Input"
