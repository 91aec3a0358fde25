"""Bytes of activations: as Caffe counts them, each blob once, and the peak of a planner that reuses buffers."""

from __future__ import annotations

from math import prod

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shape_errors import Shape
from deepmerge.graph.tokens import number

FLOAT = 4  # bytes

Shapes = dict[Blob, "Shape | None"]


def activation_bytes(graph: Graph, shapes: Shapes) -> dict[str, int]:
    """Return the bytes of all blobs, float32, in the batch of `shapes`; a blob of unknown shape counts 0.

    caffe: what Caffe logs as "Memory required for data": every top of every layer, in-place ones again, and one top for
    each reader of a blob that has several, since Caffe adds a Split after it (net.cpp, insert_splits.cpp).
    unique: every distinct blob once; in-place tops and the tops of Splits are their bottoms.
    planned: the peak of live bytes in the order of the layers, if each works in place wherever no later layer needs
    what it overwrites; buffers inside layers (im2col) are not counted.
    """
    return {
        "caffe": sum(_with_splits(layer, shapes) for layer in graph.layers),
        "unique": sum(_own(layer, shapes) for layer in graph.layers),
        "planned": planned_bytes(graph, shapes),
    }


def size_of(shape: Shape | None) -> int:
    """Return the bytes of a blob."""
    return 0 if shape is None else FLOAT * prod(shape)


def in_place(layer: Layer, index: int) -> bool:
    """Return whether the file runs the layer in place: the top has the name of the bottom at the same index."""
    return index < len(layer.bottoms) and layer.bottoms[index].name == layer.tops[index].name


def _with_splits(layer: Layer, shapes: Shapes) -> int:
    if layer.type == "SoftmaxWithLoss" and not layer.tops:
        return FLOAT  # Caffe gives a loss without a top one of its own
    weights = layer.tree.values("loss_weight")
    total = 0
    for index, top in enumerate(layer.tops):
        readers = len(top.consumers) + (index < len(weights) and number(weights[index]) != 0)
        total += size_of(shapes.get(top)) * (1 + readers * (readers > 1))
    return total


def _own(layer: Layer, shapes: Shapes) -> int:
    if layer.type == "Split":
        return 0
    return sum(size_of(shapes.get(top)) for index, top in enumerate(layer.tops) if not in_place(layer, index))


def planned_bytes(graph: Graph, shapes: Shapes) -> int:
    """Return the most bytes held while any layer runs. Network outputs are held to the end."""
    last = _last_uses(graph)
    buffers: dict[Blob, Blob] = {}  # blob → the first blob of its buffer
    live: dict[Blob, tuple[int, int]] = {}  # first blob → bytes, last use
    ends: dict[int, list[Blob]] = {}  # step → the first blobs of buffers that may end with it
    peak = total = 0
    for step, layer in enumerate(graph.layers):
        taken: set[Blob] = set()
        for index, top in enumerate(layer.tops):
            size = size_of(shapes.get(top))
            home = _home(layer, index, size, buffers, live, step, taken)
            buffers[top] = top if home is None else home
            held, until = (0, -1) if home is None else live[home]
            live[buffers[top]] = max(size, held), max(until, last[top])
            total += max(size, held) - held
            ends.setdefault(max(until, last[top]), []).append(buffers[top])
            taken.add(buffers[top])
        peak = max(peak, total)
        for blob in ends.pop(step, ()):
            if blob in live and live[blob][1] == step:
                total -= live.pop(blob)[0]
    return peak


def _home(layer: Layer, index: int, size: int, buffers: dict, live: dict, step: int, taken: set[Blob]) -> Blob | None:
    """Return the bottom's buffer that the top may be written into, or None if it needs a new one."""
    if layer.kind.view and layer.bottoms:
        return buffers.get(layer.bottom)
    if in_place(layer, index):
        return buffers.get(layer.bottoms[index])
    if not layer.kind.elementwise:
        return None
    for bottom in layer.bottoms:
        home = buffers.get(bottom)
        if home is not None and home not in taken and live[home] == (size, step):
            return home
    return None


def _last_uses(graph: Graph) -> dict[Blob, int]:
    """Return the last step that reads each blob or a view of it; the number of layers for outputs."""
    steps = {layer: step for step, layer in enumerate(graph.layers)}
    last: dict[Blob, int] = {}
    for layer in reversed(graph.layers):
        for top in layer.tops:
            uses = [len(graph.layers)] if not top.consumers else [steps[reader] for reader in top.consumers]
            uses += [last[view] for reader in top.consumers if reader.kind.view for view in reader.tops]
            last[top] = max(uses)
    return last
