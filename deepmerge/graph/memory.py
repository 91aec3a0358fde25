"""Bytes of activations: as Caffe counts them, each blob once, and the peak of a planner that reuses buffers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, prod
from typing import NamedTuple

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
        "caffe": sum(bytes_with_splits(layer, shapes) for layer in graph.layers),
        "unique": sum(distinct_bytes(layer, shapes) for layer in graph.layers),
        "planned": planned_bytes(graph, shapes),
    }


def size_of(shape: Shape | None) -> int:
    """Return the bytes of a blob."""
    return 0 if shape is None else FLOAT * prod(shape)


def in_place(layer: Layer, index: int) -> bool:
    """Return whether the file runs the layer in place: the top has the name of the bottom at the same index."""
    return index < len(layer.bottoms) and layer.bottoms[index].name == layer.tops[index].name


def bytes_with_splits(layer: Layer, shapes: Shapes) -> int:
    """Return the bytes of a layer's tops, and of their copies for several readers, as Caffe counts them."""
    if layer.type == "SoftmaxWithLoss" and not layer.tops:
        return FLOAT  # Caffe gives a loss without a top one of its own
    weights = layer.tree.values("loss_weight")
    total = 0
    for index, top in enumerate(layer.tops):
        readers = len(top.consumers) + (index < len(weights) and number(weights[index]) != 0)
        total += size_of(shapes.get(top)) * (1 + readers * (readers > 1))
    return total


def distinct_bytes(layer: Layer, shapes: Shapes) -> int:
    """Return the bytes of a layer's tops that are not its bottoms."""
    if layer.type == "Split":
        return 0
    return sum(size_of(shapes.get(top)) for index, top in enumerate(layer.tops) if not in_place(layer, index))


def planned_bytes(graph: Graph, shapes: Shapes) -> int:
    """Return the most bytes held while any layer runs. Network outputs are held to the end."""
    return Planner(graph, shapes).peak()


@dataclass(eq=False)
class _Buffer:
    """Bytes that are held up to the layer `until`; None: to the end."""

    size: int
    until: Layer | None


class _Held(NamedTuple):
    """What is held between two layers: each blob with the number of its buffer, and the buffers' sizes and ends."""

    blobs: tuple[tuple[Blob, int], ...] = ()
    buffers: tuple[tuple[int, Layer | None], ...] = ()


@dataclass(eq=False)
class _Segment:
    """Some neighbouring layers: what is held before them and after them, and the most bytes held among them."""

    layers: list[Layer]
    before: _Held = _Held()
    after: _Held = _Held()
    peak: int = 0


class Planner:
    """The peak of live bytes, kept while the graph is edited.

    The layers are cut into segments. What a segment needs depends only on its layers and on what is held before it, so
    that after an edit few segments are planned again: those of the changed layers, and the ones after them until what
    is held is what it was.
    """

    def __init__(self, graph: Graph, shapes: Shapes):
        self._graph, self._shapes = graph, shapes
        self._segments = [_Segment(graph.layers[at : at + _LENGTH]) for at in range(0, len(graph.layers), _LENGTH)]
        self._place = {layer: i for i, segment in enumerate(self._segments) for layer in segment.layers}
        self._last: dict[Blob, Layer | None] = {}  # the last layer that reads a blob or a view of it; None: the end
        self._due = set(range(len(self._segments)))

    def update(self, layers: Iterable[Layer]) -> None:
        """Take note of layers that were added, removed or changed, or whose tops have other sizes or readers."""
        layers = dict.fromkeys(layers)
        for layer in layers:
            if layer in self._place:
                self._due.add(self._place[layer])
                if layer not in self._graph:
                    self._segments[self._place.pop(layer)].layers.remove(layer)
        for layer in self._graph.in_order(layer for layer in layers if layer not in self._place):
            index = self._graph.index(layer)
            before = self._graph.layers[index - 1] if index else None
            place = self._place[layer] = self._place[before] if before is not None else 0
            members = self._segments[place].layers
            members.insert(members.index(before) + 1 if before is not None else 0, layer)
            self._due.add(place)

    def peak(self) -> int:
        """Return the most bytes held while any layer runs."""
        for place in range(max(self._due, default=-1), -1, -1):
            if place in self._due:
                self._find_last_uses(self._segments[place])
        first = min(self._due, default=len(self._segments))
        held = self._segments[first - 1].after if first else _Held()
        for place in range(first, len(self._segments)):
            segment = self._segments[place]
            if place in self._due or segment.before != held:
                segment.before = held
                self._plan(segment)
            held = segment.after
        self._due.clear()
        return max((segment.peak for segment in self._segments), default=0)

    def _find_last_uses(self, segment: _Segment) -> None:
        for layer in reversed(segment.layers):
            for top in layer.tops:
                uses: list[Layer | None] = list(top.consumers) or [None]
                uses += [self._last[view] for reader in top.consumers if reader.kind.view for view in reader.tops]
                last = max(uses, key=self._key)
                if layer.kind.view and (top not in self._last or self._last[top] is not last):
                    self._due |= {self._place[bottom.producer] for bottom in layer.bottoms}
                self._last[top] = last

    def _key(self, layer: Layer | None) -> float:
        return inf if layer is None else self._graph.key(layer)

    def _plan(self, segment: _Segment) -> None:
        """Run through a segment, from what is held before it to what is held after it."""
        buffers = [_Buffer(*buffer) for buffer in segment.before.buffers]
        where = {blob: buffers[number] for blob, number in segment.before.blobs}
        ends: dict[Layer | None, list[_Buffer]] = {}
        for buffer in buffers:
            ends.setdefault(buffer.until, []).append(buffer)
        total = sum(buffer.size for buffer in buffers)
        segment.peak = 0
        for layer in segment.layers:
            taken: list[_Buffer] = []
            for index, top in enumerate(layer.tops):
                size, last = size_of(self._shapes.get(top)), self._last[top]
                buffer = _reusable(layer, index, size, where, taken) or _Buffer(0, last)
                total += max(size - buffer.size, 0)
                buffer.size, buffer.until = max(size, buffer.size), max(last, buffer.until, key=self._key)
                ends.setdefault(buffer.until, []).append(buffer)
                where[top] = buffer
                taken.append(buffer)
            segment.peak = max(segment.peak, total)
            for buffer in dict.fromkeys(ends.pop(layer, ())):
                total -= buffer.size if buffer.until is layer else 0
        segment.after = self._held(where, segment.layers[-1]) if segment.layers else segment.before

    def _held(self, where: dict[Blob, _Buffer], layer: Layer) -> _Held:
        """Return what is still needed after a layer."""
        end = self._key(layer)
        left = {blob: buffer for blob, buffer in where.items() if self._key(self._last[blob]) > end}
        numbers = {buffer: number for number, buffer in enumerate(dict.fromkeys(left.values()))}
        blobs = tuple((blob, numbers[buffer]) for blob, buffer in left.items())
        return _Held(blobs, tuple((buffer.size, buffer.until) for buffer in numbers))


def _reusable(layer: Layer, index: int, size: int, where: dict[Blob, _Buffer], taken: list[_Buffer]) -> _Buffer | None:
    """Return the bottom's buffer that a top may be written into, or None if it needs a new one."""
    if layer.kind.view and layer.bottoms:
        return where.get(layer.bottom)
    if in_place(layer, index):
        return where.get(layer.bottoms[index])
    if not layer.kind.elementwise:
        return None
    buffers = [where.get(bottom) for bottom in layer.bottoms]
    free = (b for b in buffers if b is not None and b not in taken and (b.size, b.until) == (size, layer))
    return next(free, None)


_LENGTH = 64  # layers in a segment
