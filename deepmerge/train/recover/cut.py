"""Where the stages front and tail cut the merged network, and the feature that both networks are compared at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deepmerge.graph.costs import layer_macs
from deepmerge.graph.extract import layers_between
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape, infer_shapes
from deepmerge.train.recover import CUT
from deepmerge.train.recover.segments import Segment
from deepmerge.train.shared.losses import WITHOUT_GRADIENT

MOST, LEAST = 0.5, 0.1  # share of the multiplications after a cut
MOST_VALUES = 1 << 17  # numbers at a cut: they are kept for each image


def find_cut(merged: Graph, anchors: set[Blob]) -> str | None:
    """Return the first blob on which everything after it depends alone, with at most half of the work after it.

    It has the same meaning in both networks. Early layers work on large maps, so they take most of an iteration, and a
    cut that is kept makes an iteration two or three times as fast. None if there is no such blob.

    anchors: see segments.find_anchors.
    """
    shapes = infer_shapes(merged)
    costs = {layer: layer_macs(layer, shapes) for layer in merged.layers}
    left = whole = sum(costs.values())
    for layer, alone in _alone(merged):
        left -= costs[layer]
        if alone in anchors and LEAST * whole <= left <= MOST * whole and _size(shapes, alone) <= MOST_VALUES:
            return alone.name
    return None


def stages_at(cut: str | None, merged: Graph, segments: Sequence[Segment]) -> tuple[str, ...]:
    """Return which of the stages front and tail have something to learn: front only if a segment is before the cut."""
    if cut is None:
        return ()
    before, _ = divided_at(cut, merged, segments)
    return CUT if before else ("tail",)


def divided_at(cut: str, merged: Graph, segments: Sequence[Segment]) -> tuple[list[Segment], list[Segment]]:
    """Return the segments before the cut, and those after it."""
    finals = merged.finals
    names = {layer.name for layer in layers_between(merged, merged.inputs, [finals[cut]])}
    before = [segment for segment in segments if names & set(segment.layers)]
    return before, [segment for segment in segments if segment not in before]


def _alone(graph: Graph) -> Iterator[tuple[Layer, Blob | None]]:
    """Yield each layer, and the blob that is all that later layers read of what has been computed by then.

    None if there are several, if it is an input or an output, or if a later layer works on it in place.
    """
    readers = {blob: len(blob.consumers) for layer in graph.layers for blob in layer.tops}
    finals = graph.finals
    outputs, inputs = set(graph.outputs), set(graph.inputs)
    alive = {blob: len(blob.consumers) for blob in inputs}
    ended = False
    for layer in graph.layers:
        for bottom in layer.bottoms:
            alive[bottom] -= 1
        alive |= {top: readers[top] for top in layer.tops}
        ended = ended or bool(outputs & set(layer.tops))
        alive = {blob: count for blob, count in alive.items() if count > 0}
        blob = next(iter(alive), None)
        fits = len(alive) == 1 and not ended and blob not in inputs and finals[blob.name] is blob
        yield layer, blob if fits else None


def find_feature(merged: Graph, anchors: set[Blob]) -> str | None:
    """Return the last blob with height and width that has the same meaning in both networks; None without one.

    It says more about an image than the scores do. anchors: see segments.find_anchors.
    """
    shapes, finals = infer_shapes(merged), merged.finals
    maps = [
        top.name
        for layer in merged.layers
        for top in layer.tops
        if top in anchors and top not in merged.inputs and finals[top.name] is top and _is_map(shapes[top])
        if layer.type not in WITHOUT_GRADIENT
    ]
    return maps[-1] if maps else None


def is_learned(blob: str, cut: str, graph: Graph) -> bool:
    """Return whether layers after the cut that have weights make the blob."""
    start, end = graph.finals[cut], graph.finals[blob]
    before = set(layers_between(graph, graph.inputs, [start]))
    return any(layer.weights for layer in layers_between(graph, [start], [end]) if layer not in before)


def _is_map(shape: Shape | None) -> bool:
    return shape is not None and len(shape) == 4 and shape[2] * shape[3] > 1


def _size(shapes: Mapping[Blob, Shape], blob: Blob) -> int:
    return int(np.prod(shapes[blob][1:], dtype=int))
