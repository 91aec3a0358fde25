"""Which stretches of a merged network are to be recovered, each on its own.

Both networks have blobs of one name, shape and meaning: the anchors. Between them lie the segments, the merged network's
layers that an approximate step made or changed with those that stand among them. What a segment makes of its inputs
ought to be what the original has at its output.

A name means the same value in both, as passes keep the name of the blob behind what they absorb. But for two kinds:
what lies inside a merge (a reducer's top, a convolution's before the LRN that went into it), and what a BatchNorm or
Scale made that went into the layers behind it. These are no anchors, even where name and shape are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepmerge.errors import GraphError
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import infer_shapes

# Weights that are statistics or settings, not learned: nothing is to train them.
STATISTICS = frozenset(("BatchNorm", "BN", "Normalize"))
_TUCKER = "decompose_tucker"


@dataclass(frozen=True)
class Segment:
    """A stretch of the merged network between anchors.

    name: the steps' names, with the output's where they made several segments; no two are alike.
    steps: the approximate steps that have a hand in it, in their order.
    inputs: the anchors that it reads, in the network's order; a network's input is an anchor.
    output: the anchor that it makes, as the last layer in place leaves it.
    layers: the merged network's layers between them, in its order, those without weights included.
    trained: those of them whose weights may change; a layer is trained by one segment at most.
    """

    name: str
    steps: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    layers: tuple[str, ...]
    trained: tuple[str, ...]


Entries = Sequence[Mapping[str, Any]]


def find_segments(original: Graph, merged: Graph, entries: Entries) -> list[Segment]:
    """The segments of `merged` that approximate steps have made, in its order.

    entries: report.json's `steps`, those that `merged` has behind it.
    GraphError where behind a merged layer no blob is found that the original has, too.
    """
    rough = [entry for entry in entries if not entry["exact"]]
    anchors = find_anchors(original, merged, entries)
    place = {layer: i for i, layer in enumerate(merged.layers)}
    alike = _twins(original, anchors)
    outputs = {_output(merged, layer, anchors, place) for layer in _made_by(merged, rough)}
    found: list[Segment] = []
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
        found.append(Segment("+".join(steps), steps, names, output.name, layers, tuple(trained)))
    return _named_apart(found)


def _twins(original: Graph, anchors: Iterable[Blob]) -> dict[Blob, Blob]:
    """Anchor → the original's blob."""
    finals = {blob.name: blob for blob in original.blobs}
    return {blob: finals[blob.name] for blob in anchors if blob.name in finals}


def find_anchors(original: Graph, merged: Graph, entries: Entries) -> set[Blob]:
    """The blobs of `merged` whose name means the same value in `original`, and its inputs."""
    finals = [{blob.name: blob for blob in graph.blobs} for graph in (original, merged)]
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
    """The original's blobs between layers that one step has merged: what a name there means now is the step's affair.

    They are followed from each layer with weights. What an absorbed LRN or pooling made is an anchor, since the
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
    """The blobs from a layer's tops on over activations and layers that are gone, and the layers that end the way."""
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
    """The original's blobs that a BatchNorm or Scale made which has gone into the layers behind it, or may have."""
    alive = {layer.name for layer in merged.layers}
    gone = {layer for layer in original.layers if layer.weights and layer.name not in alive}
    changed = {name for entry in entries if entry["exact"] for name in entry["into"]}
    return {top for layer in gone for top in layer.tops if _readers_behind(layer, gone) & changed}


def _readers_behind(layer: Layer, gone: set[Layer]) -> set[str]:
    """The names of the first layers behind that are still there."""
    names: set[str] = set()
    for reader in (r for top in layer.tops for r in top.consumers):
        names |= _readers_behind(reader, gone) if reader in gone else {reader.name}
    return names


def _made_by(merged: Graph, rough: Iterable[Mapping[str, Any]]) -> list[Layer]:
    """The layers that approximate steps have made or changed, but for those that a later step has taken apart."""
    names = {name for entry in rough for name in entry["into"]}
    return [layer for layer in merged.layers if layer.name in names]


def _steps(rough: Iterable[Mapping[str, Any]], inside: set[str], replaced: set[str]) -> tuple[str, ...]:
    """The steps that made one of the merged network's layers inside, or merged one of the original's in their place."""
    names = [e["name"] for e in rough if inside & set(e["into"]) or replaced & set(e["merged"])]
    return tuple(dict.fromkeys(names))


def _output(merged: Graph, layer: Layer, anchors: set[Blob], place: Mapping[Layer, int]) -> Blob:
    """The first anchor behind the layer, in the network's order."""
    seen, waiting, found = set(), list(layer.tops), []
    while waiting:
        blob = waiting.pop()
        if blob in anchors:
            found.append(blob)
        elif blob not in seen:
            seen.add(blob)
            waiting += [top for reader in blob.consumers for top in reader.tops]
    if not found:
        text = f"behind layer {layer.name!r} network {merged.name!r} has no blob of the original's"
        raise GraphError(f"{text}; is it a conversion of that network?")
    return min(found, key=lambda blob: place[blob.producer])


def _between(output: Blob, anchors: set[Blob]) -> set[Layer]:
    """The layers from the nearest anchors before it to the output."""
    found: set[Layer] = set()
    waiting = [output.producer]
    while waiting:
        layer = waiting.pop()
        if layer not in found:
            found.add(layer)
            waiting += [b.producer for b in layer.bottoms if b not in anchors]
    return found


def _trainable(merged: Graph, layer: Layer, inside: Sequence[Layer]) -> bool:
    """Whether the layer has learned weights that nobody outside of the segment uses."""
    return bool(layer.weights) and layer.type not in STATISTICS and set(merged.sharers(layer)) <= set(inside)


def _named_apart(segments: list[Segment]) -> list[Segment]:
    """Segments of the same steps get their output's name, too."""
    names = [segment.name for segment in segments]
    return [replace(s, name=f"{s.name}:{s.output}") if names.count(s.name) > 1 else s for s in segments]
