"""The stage refit: which layers it solves anew, by least squares, because their inputs are not quite what they were.

What a merged segment makes differs a little from what the original has there. The layers behind it were trained on the
original's values; each of them that is linear can make up for a part of the difference, if it is solved for the original's
output on the merged network's own input. For that each is a segment of its own, which lsq.py solves as any other.

The idea: Zhang et al., Accelerating Very Deep Convolutional Networks (TPAMI 2016), section 3.3, asymmetric reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.train.recover.segments import Entries, Segment, find_anchors, find_segments

_BEHIND = frozenset(("ReLU", "PReLU", "Dropout"))  # what may stand between a layer and the blob that it is solved for


def find_behind(original: Graph, merged: Graph, entries: Entries, segments: Sequence[Segment]) -> list[Segment]:
    """A segment for each linear layer that reads, at any distance, what `segments` have made, in the network's order.

    entries: report.json's `steps`. Layers of any approximate step's segment are left out, and layers that lie before one: the
    steps' folders hold what the segments made without them. So are layers that share weights, and those for whose output
    the original has no blob.
    """
    anchors = find_anchors(original, merged, entries)
    every = find_segments(original, merged, entries)
    finals = {blob.name: blob for blob in merged.blobs}
    touched = _downstream(merged, {finals[segment.output] for segment in segments})
    before = _upstream(merged, {finals[segment.output] for segment in every})
    found = []
    for layer in merged.layers:
        if layer.type not in ("Convolution", "InnerProduct") or not layer.weights or merged.sharers(layer):
            continue
        if layer.bottom not in touched or layer.top in before:
            continue
        output, passed = _output(layer)
        if finals[output.name] is output and output in anchors:
            layers = tuple(one.name for one in (layer, *passed))
            found.append(Segment(layer.name, (), (layer.bottom.name,), output.name, layers, (layer.name,)))
    return found


def _downstream(graph: Graph, blobs: set[Blob]) -> set[Blob]:
    """These, and all blobs that depend on them."""
    found = set(blobs)
    for layer in graph.layers:
        if found & set(layer.bottoms):
            found |= set(layer.tops)
    return found


def _upstream(graph: Graph, blobs: set[Blob]) -> set[Blob]:
    """These, and all blobs that they depend on."""
    found = set(blobs)
    for layer in reversed(graph.layers):
        if found & set(layer.tops):
            found |= set(layer.bottoms)
    return found


def _output(layer: Layer) -> tuple[Blob, list[Layer]]:
    """The blob that the layer is solved for, behind its activation, and the layers on the way."""
    blob, passed = layer.top, []
    while len(blob.consumers) == 1 and blob.consumers[0].type in _BEHIND:
        passed.append(blob.consumers[0])
        blob = passed[-1].top
    return blob, passed
