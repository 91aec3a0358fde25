"""Shape inference: Caffe's Reshape, layer by layer, and whether the weights fit."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import prod

from deepmerge.errors import ShapeError
from deepmerge.graph.graph import Blob, Graph, Layer, News
from deepmerge.graph.shape_errors import Shape, misfit, needs_blob


def infer_shapes(graph: Graph, strict: bool = True, batch: int | None = None) -> dict[Blob, Shape | None]:
    """Return the shape of every blob; None where it cannot be known, as after a layer of an unknown type.

    batch: replaces the first axis of every Input top that has two or more axes.
    strict: raise ShapeError for the first layer that does not fit; otherwise its tops are None, too.
    """
    shapes: dict[Blob, Shape | None] = {}
    for layer in graph.layers:
        try:
            tops = _tops(layer, shapes, batch)
        except ShapeError:
            if strict:
                raise
            tops = [None] * len(layer.tops)
        shapes.update(zip(layer.tops, tops, strict=True))
    return shapes


class KeptShapes(dict):
    """The shape of every blob, as infer_shapes returns them, kept while the graph is edited.

    journal: the layers whose shapes were inferred, or that were removed, in that order, as in `Graph.journal`.
    """

    def __init__(self, graph: Graph, batch: int | None = None):
        super().__init__()
        self.journal: list[Layer] = []
        self._graph, self._batch = graph, batch
        self._news = News(graph.journal)
        self._due = dict.fromkeys(graph.layers)
        self._tops: dict[Layer, list[Blob]] = {}

    def refresh(self) -> KeptShapes:
        """Infer the shapes that edits since the last time may have changed, and return all.

        ShapeError as from infer_shapes; the next call then goes on with the same layer.
        """
        self._due |= self._news.look()
        for layer in [layer for layer in self._due if layer not in self._graph]:
            del self._due[layer]
            self._forget(layer, ())
            self.journal.append(layer)
        heap = [(self._graph.key(layer), layer) for layer in self._due]
        heapify(heap)
        while heap:
            layer = heappop(heap)[1]
            changed = self._infer(layer)
            del self._due[layer]
            for reader in (reader for top in changed for reader in top.consumers if reader not in self._due):
                self._due[reader] = None
                heappush(heap, (self._graph.key(reader), reader))
        return self

    def _infer(self, layer: Layer) -> list[Blob]:
        """Infer one layer's tops; return those whose shape has changed."""
        found = dict(zip(layer.tops, _tops(layer, self, self._batch), strict=True))
        self._forget(layer, layer.tops)
        changed = [top for top, shape in found.items() if top not in self or self[top] != shape]
        self.update(found)
        self.journal.append(layer)
        return changed

    def _forget(self, layer: Layer, tops: Sequence[Blob]) -> None:
        """Forget blobs that the layer made, but not its present tops and those that another layer makes now."""
        for blob in self._tops.pop(layer, ()):
            if blob not in tops and not (blob.producer in self._graph and blob in blob.producer.tops):
                self.pop(blob, None)
        if tops:
            self._tops[layer] = list(tops)


def _tops(layer: Layer, shapes: dict[Blob, Shape | None], batch: int | None) -> list[Shape | None]:
    """Return the shapes of one layer's tops, in this batch if it is an Input."""
    tops = top_shapes(layer, [shapes.get(bottom) for bottom in layer.bottoms])
    if batch is not None and layer.type == "Input":
        return [(batch, *top[1:]) if top is not None and len(top) > 1 else top for top in tops]
    return tops


def first_misfit(graph: Graph) -> Layer | None:
    """Return the first layer that does not fit what it reads, None if all do."""
    try:
        infer_shapes(graph)
    except ShapeError as error:
        return graph.find(error.layer)
    return None


def top_shapes(layer: Layer, bottoms: list[Shape | None]) -> list[Shape | None]:
    """Return the shapes of one layer's tops; ShapeError if its bottoms and parameters do not fit."""
    rule = layer.kind.shape
    if rule is None or layer.params is None:
        return [None] * len(layer.tops)
    _check_counts(layer)
    if None in bottoms:
        return [None] * len(layer.tops)
    tops = rule(layer, bottoms)
    for blob, shape in zip(layer.tops, tops, strict=True):
        if shape is not None:
            needs_blob(layer, blob.name, shape)
    return tops


def _check_counts(layer: Layer) -> None:
    """Caffe: layer.hpp, CheckBlobCounts."""
    counts = (("bottom", layer.bottoms, layer.kind.bottoms), ("top", layer.tops, layer.kind.tops))
    for field, blobs, (least, most) in counts:
        if len(blobs) < least or (most is not None and len(blobs) > most):
            limit = f"{least} or more" if most is None else f"{least} to {most}"
            raise misfit(layer, field, str(least) if least == most else limit, len(blobs))


def expected_weights(layer: Layer, bottom_shapes: list[Shape | None]) -> list[Shape] | None:
    """Return the shapes of the layer's weight blobs, in Caffe's order and axes; [] for a layer that has none.

    None where that cannot be known: a type that deepmerge does not know, or bottoms without a shape.
    ShapeError where parameters and bottoms do not fit.
    """
    if layer.params is None:
        return None
    rule = layer.kind.weights
    if rule is None:
        return []
    if None in bottom_shapes:
        return None
    return rule(layer, bottom_shapes)


def fits(found: Shape, expected: Shape) -> bool:
    """Return whether a stored blob of this shape may be loaded where `expected` is needed.

    Files from before N-d blobs give every blob four axes, with ones in front: (1, 1, N, C) for the weights of an
    InnerProduct, (1, 1, 1, N) for a bias. Caffe: blob.cpp, ShapeEquals.
    """
    found, expected = tuple(found), tuple(expected)
    return found == expected or (len(found) == 4 > len(expected) and found == (1,) * (4 - len(expected)) + expected)


def check_weights(graph: Graph, shapes: dict[Blob, Shape | None]) -> None:
    """Raise ShapeError for a layer whose weights are not those that Caffe expects. Layers without weights pass."""
    for layer in graph.layers:
        if layer.weights:
            _check_layer(layer, expected_weights(layer, [shapes.get(bottom) for bottom in layer.bottoms]))


def check_shared(graph: Graph, shapes: dict[Blob, Shape | None]) -> None:
    """Raise ShapeError where two layers share a weight blob by name and need it in different shapes.

    With `share_mode: PERMISSIVE` the same number of values is enough. Caffe: net.cpp, AppendParam.
    """
    owners: dict[str, tuple[Layer, Shape]] = {}
    for layer in graph.layers:
        if not layer.shared_names:
            continue
        expected = expected_weights(layer, [shapes.get(bottom) for bottom in layer.bottoms]) or []
        for index, shape in enumerate(expected):
            if not (name := layer.blob_name(index)):
                continue
            owner, owned = owners.setdefault(name, (layer, shape))
            if (prod(owned) != prod(shape)) if layer.is_permissive(index) else (owned != shape):
                whose = f"{owned}, the shape of {name!r} in layer {owner.name!r} ({owner.type}), which shares it"
                raise misfit(layer, f"weight blob {index}", whose, f"{shape}; give one of them a name of its own")


def _check_layer(layer: Layer, expected: list[Shape] | None) -> None:
    if expected is None:
        return
    if len(layer.weights) != len(expected):
        fork = ", as NVCaffe stores them" if layer.type == "BatchNorm" and len(layer.weights) == 5 else ""
        raise misfit(
            layer, "weights", _blobs(expected), f"{_blobs([w.shape for w in layer.weights])}{fork}; {_QUESTION}"
        )
    for index, (found, shape) in enumerate(zip(layer.weights, expected, strict=True)):
        if found.shape != shape:
            raise misfit(layer, f"weight blob {index}", shape, f"{found.shape}; {_QUESTION}")


_QUESTION = "does the caffemodel belong to this prototxt?"


def _blobs(shapes: list[Shape]) -> str:
    return f"{len(shapes)} blob{'s' * (len(shapes) != 1)}" + (f" {', '.join(map(str, shapes))}" if shapes else "")
