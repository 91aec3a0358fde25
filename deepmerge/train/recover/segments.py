"""Which parts of a merged network are recovered, each on its own.

The anchors are blobs with the same name, shape and meaning in both networks. Between them are the segments: the merged
network's layers that an approximate step made or changed, and the layers among them. At its output, a segment should
give what the original has there.

A name means the same value in both networks, since a pass keeps the name of the blob after the layers that it absorbs.
There are two exceptions: blobs inside a merge (a reducer's top, a convolution's before the LRN that it absorbed), and
the top of a BatchNorm or Scale that was folded into later layers. These are not anchors, even with the same shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepmerge.errors import GraphError
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.registry import FOLDS
from deepmerge.train.recover.linear import is_idle_dropout

_TUCKER = "decompose_tucker"


@dataclass(frozen=True)
class Segment:
    """A part of the merged network between anchors.

    name: the steps' names, with the output's name if they made several segments; unique.
    steps: the approximate steps that made or changed its layers, in their order.
    inputs: the anchors that it reads, in the network's order; a network's input is an anchor.
    output: the anchor that it makes, after the last in-place layer.
    layers: the merged network's layers between them, in its order, including those without weights.
    trained: the layers whose weights may change; at most one segment trains a layer.
    """

    name: str
    steps: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    layers: tuple[str, ...]
    trained: tuple[str, ...]


Entries = Sequence[Mapping[str, Any]]


def find_segments(original: Graph, merged: Graph, entries: Entries) -> list[Segment]:
    """Return the segments that approximate steps have made, in the merged network's order.

    entries: report.json's `steps` that led to `merged`. GraphError where no blob after a merged layer is an anchor.
    """
    rough = [entry for entry in entries if not entry["exact"]]
    anchors = find_anchors(original, merged, entries)
    place = {layer: i for i, layer in enumerate(merged.layers)}
    alike = _twins(original, anchors)
    outputs = {_output(merged, layer, anchors, place) for layer in _made_by(merged, rough)}
    segments: list[Segment] = []
    taken: set[str] = set()
    for output in sorted(outputs, key=lambda blob: place[blob.producer]):
        inside = sorted(_between(output, anchors), key=place.__getitem__)
        replaced = {layer.name for layer in _between(alike[output], set(alike.values()))}
        steps = _steps(rough, {layer.name for layer in inside}, replaced)
        trained = [layer.name for layer in inside if layer.name not in taken and _trainable(merged, layer, inside)]
        taken |= set(trained)
        inputs = {b for layer in inside for b in layer.bottoms if b.producer not in inside}
        names = tuple(b.name for b in sorted(inputs, key=lambda blob: place[blob.producer]))
        layers = tuple(layer.name for layer in inside)
        segments.append(Segment("+".join(steps), steps, names, output.name, layers, tuple(trained)))
    return _named_apart(segments)


def _twins(original: Graph, anchors: Iterable[Blob]) -> dict[Blob, Blob]:
    """Return anchor → the original's blob."""
    finals = original.finals
    return {blob: finals[blob.name] for blob in anchors if blob.name in finals}


def find_anchors(original: Graph, merged: Graph, entries: Entries) -> set[Blob]:
    """Return the blobs of `merged` whose name means the same value in `original`, and its inputs."""
    finals = [graph.finals for graph in (original, merged)]
    shapes = [infer_shapes(graph, strict=False) for graph in (original, merged)]
    others = _inside_merges(original, merged, entries) | _folded_forth(original, merged, entries)
    anchors = set(merged.inputs)
    for name, blob in finals[1].items():
        twin = finals[0].get(name)
        if twin is None or twin in others:
            continue
        shape, wanted = shapes[1][blob], shapes[0][twin]
        if shape is not None and wanted is not None and shape[1:] == wanted[1:]:
            anchors.add(blob)
    return anchors


def _inside_merges(original: Graph, merged: Graph, entries: Entries) -> set[Blob]:
    """Return the original's blobs between layers that one step has merged; their names may mean something else now.

    They are followed from each layer with weights. The top of an absorbed LRN or pooling is an anchor, since the
    convolution makes it now.
    """
    alive = {layer.name for layer in merged.layers}
    inside: set[Blob] = set()
    for entry in entries:
        if entry["exact"] or set(entry["passes"]) <= {_TUCKER}:
            continue
        region = {layer for layer in original.layers if layer.name in set(entry["merged"])}
        for layer in region:
            if layer.weights:
                passed, readers = _ahead(layer, region, alive)
                inside |= passed if readers and readers <= region else set()
    return inside


def _ahead(layer: Layer, region: set[Layer], alive: set[str]) -> tuple[set[Blob], set[Layer]]:
    """Return the blobs after a layer, past activations and removed layers, and the layers that end these paths."""
    passed, readers, waiting = set(), set(), list(layer.tops)
    while waiting:
        blob = waiting.pop()
        passed.add(blob)
        for reader in blob.consumers:
            if reader in region or (not reader.kind.activation and reader.name in alive):
                readers.add(reader)
            else:
                waiting += [top for top in reader.tops if top not in passed]
    return passed, readers


def _folded_forth(original: Graph, merged: Graph, entries: Entries) -> set[Blob]:
    """Return the original's blobs made by a BatchNorm or Scale that was, or may have been, folded into later layers."""
    alive = {layer.name for layer in merged.layers}
    gone = {layer for layer in original.layers if layer.weights and layer.name not in alive}
    folded = [entry for entry in entries if entry["exact"] or set(entry["passes"]) & set(FOLDS)]
    changed = {name for entry in folded for name in entry["into"]}
    return {top for layer in gone for top in layer.tops if _remaining_readers(layer, gone) & changed}


def _remaining_readers(layer: Layer, gone: set[Layer]) -> set[str]:
    """Return the names of the first layers after it that remain."""
    names: set[str] = set()
    for reader in (r for top in layer.tops for r in top.consumers):
        names |= _remaining_readers(reader, gone) if reader in gone else {reader.name}
    return names


def _made_by(merged: Graph, rough: Iterable[Mapping[str, Any]]) -> list[Layer]:
    """Return the layers that approximate steps have made or changed and that no later step has removed."""
    names = {name for entry in rough for name in entry["into"]}
    return [layer for layer in merged.layers if layer.name in names]


def _steps(rough: Iterable[Mapping[str, Any]], inside: set[str], replaced: set[str]) -> tuple[str, ...]:
    """Return the steps that made a layer inside, or merged one of the original's that it replaced."""
    names = [e["name"] for e in rough if inside & set(e["into"]) or replaced & set(e["merged"])]
    return tuple(dict.fromkeys(names))


def _output(merged: Graph, layer: Layer, anchors: set[Blob], place: Mapping[Layer, int]) -> Blob:
    """Return the first anchor after the layer, in the network's order."""
    seen, waiting, reached = set(), list(layer.tops), []
    while waiting:
        blob = waiting.pop()
        if blob in anchors:
            reached.append(blob)
        elif blob not in seen:
            seen.add(blob)
            waiting += [top for reader in blob.consumers for top in reader.tops]
    if not reached:
        text = f"no blob after layer {layer.name!r} of network {merged.name!r} matches the original"
        raise GraphError(text, layer=layer.name, remedy="is it a conversion of that network?")
    return min(reached, key=lambda blob: place[blob.producer])


def _between(output: Blob, anchors: set[Blob]) -> set[Layer]:
    """Return the layers from the nearest anchors before the output to it."""
    between: set[Layer] = set()
    waiting = [output.producer]
    while waiting:
        layer = waiting.pop()
        if layer not in between:
            between.add(layer)
            waiting += [b.producer for b in layer.bottoms if b not in anchors]
    return between


def _trainable(merged: Graph, layer: Layer, inside: Sequence[Layer]) -> bool:
    """Return whether the layer has learned weights that no layer outside the segment shares."""
    return bool(layer.weights) and not layer.kind.normalization and set(merged.sharers(layer)) <= set(inside)


def _named_apart(segments: list[Segment]) -> list[Segment]:
    """Add the output's name to segments of the same steps."""
    names = [segment.name for segment in segments]
    return [replace(s, name=f"{s.name}:{s.output}") if names.count(s.name) > 1 else s for s in segments]


# -- the stage refit -----------------------------------------------------------------------------


def find_later_layers(original: Graph, merged: Graph, entries: Entries, segments: Sequence[Segment]) -> list[Segment]:
    """Return a segment for each linear layer that depends on an output of `segments`, in the network's order.

    The stage refit solves them by least squares, as lsq solves any segment. A merged segment's output differs a little
    from the original's; a linear layer after it can compensate a part of that, if it is solved for the original's
    output on the merged network's own input.

    entries: report.json's `steps`. Left out are layers in, or before, the segment of any approximate step, because the
    steps' folders hold what the segments made without them; layers that share weights; and layers for whose output the
    original has no blob.

    References
    ----------
    Zhang et al.: "Accelerating Very Deep Convolutional Networks", TPAMI 2016, section 3.3, asymmetric reconstruction.
    """
    anchors = find_anchors(original, merged, entries)
    every = find_segments(original, merged, entries)
    finals = merged.finals
    touched = _downstream(merged, {finals[segment.output] for segment in segments})
    before = _upstream(merged, {finals[segment.output] for segment in every})
    later = []
    for layer in merged.layers:
        if layer.type not in ("Convolution", "InnerProduct") or not layer.weights or merged.sharers(layer):
            continue
        if layer.bottom not in touched or layer.top in before:
            continue
        output, passed = _activated(layer)
        if finals[output.name] is output and output in anchors:
            layers = (layer.name, *(activation.name for activation in passed))
            later.append(Segment(layer.name, (), (layer.bottom.name,), output.name, layers, (layer.name,)))
    return later


def _downstream(graph: Graph, blobs: set[Blob]) -> set[Blob]:
    """Return these blobs and all that depend on them."""
    blobs = set(blobs)
    for layer in graph.layers:
        if blobs & set(layer.bottoms):
            blobs |= set(layer.tops)
    return blobs


def _upstream(graph: Graph, blobs: set[Blob]) -> set[Blob]:
    """Return these blobs and all that they depend on."""
    blobs = set(blobs)
    for layer in reversed(graph.layers):
        if blobs & set(layer.tops):
            blobs |= set(layer.bottoms)
    return blobs


def _activated(layer: Layer) -> tuple[Blob, list[Layer]]:
    """Return the blob that the layer is solved for, after its activation, and the layers in between."""
    blob, passed = layer.top, []
    while len(blob.consumers) == 1 and _solved_through(blob.consumers[0]):
        passed.append(blob.consumers[0])
        blob = passed[-1].top
    return blob, passed


def _solved_through(layer: Layer) -> bool:
    """Return whether the layer may stand between a layer and the blob that it is solved for."""
    return layer.type in ("ReLU", "PReLU") or is_idle_dropout(layer)
