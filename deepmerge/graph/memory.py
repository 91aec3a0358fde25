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
    buffers = _Buffers()
    peak = 0
    for step, layer in enumerate(graph.layers):
        taken: set[Blob] = set()
        for index, top in enumerate(layer.tops):
            size = size_of(shapes.get(top))
            found = buffers.reusable(layer, index, (size, step), taken)
            first = top if found is None else found
            buffers.hold(top, first, size, last[top])
            taken.add(first)
        peak = max(peak, buffers.total)
        buffers.release(step)
    return peak


class _Buffers:
    """The buffers that are held at a step. A buffer is known by the first blob that was put into it."""

    def __init__(self) -> None:
        self.total = 0
        self._first: dict[Blob, Blob] = {}
        self._held: dict[Blob, tuple[int, int]] = {}  # first blob → bytes, last step that reads it
        self._ends: dict[int, list[Blob]] = {}  # step → first blobs that may end with it

    def reusable(self, layer: Layer, index: int, size_and_step: tuple[int, int], taken: set[Blob]) -> Blob | None:
        """Return the bottom's buffer that a top may be written into, or None if it needs a new one."""
        if layer.kind.view and layer.bottoms:
            return self._first.get(layer.bottom)
        if in_place(layer, index):
            return self._first.get(layer.bottoms[index])
        if not layer.kind.elementwise:
            return None
        firsts = [self._first.get(bottom) for bottom in layer.bottoms]
        free = (b for b in firsts if b is not None and b not in taken and self._held[b] == size_and_step)
        return next(free, None)

    def hold(self, blob: Blob, first: Blob, size: int, until: int) -> None:
        """Put a blob into a buffer that is needed up to the step `until`."""
        held, end = self._held.get(first, (0, -1))
        self._first[blob] = first
        self._held[first] = max(size, held), max(until, end)
        self._ends.setdefault(max(until, end), []).append(first)
        self.total += max(size, held) - held

    def release(self, step: int) -> None:
        """Free the buffers that no later step needs."""
        for first in self._ends.pop(step, ()):
            if first in self._held and self._held[first][1] == step:
                self.total -= self._held.pop(first)[0]


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
