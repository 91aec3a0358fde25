"""The invariants of a graph as a table: what must hold after reading and after every pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deepmerge.errors import GraphError, ShapeError
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import check_weights, infer_shapes


class Row(NamedTuple):
    """One invariant. detail: what breaks it first; empty where it holds."""

    name: str
    ok: bool
    detail: str


def check(graph: Graph) -> list[Row]:
    """Return every invariant and whether it holds; the ones after a broken one are checked too."""
    return [Row(name, not (detail := find(graph)), detail) for name, find in _INVARIANTS.items()]


def require(graph: Graph) -> None:
    """Raise GraphError for the first invariant that does not hold."""
    for row in check(graph):
        if not row.ok:
            raise GraphError(f"network {graph.name!r} is broken ({row.name}): {row.detail}")


def _bottoms(graph: Graph) -> str:
    made: set[Blob] = set()
    for layer in graph.layers:
        for bottom in layer.bottoms:
            if bottom not in made:
                later = any(bottom in other.tops for other in graph.layers)
                state = "made only after it" if later else "made by no layer"
                return f"{_name(layer)} reads {bottom.name!r}, which is {state}"
        made.update(layer.tops)
    return ""


def _consumers(graph: Graph) -> str:
    reads: dict[Blob, Counter[Layer]] = {blob: Counter() for blob in graph.blobs}
    for layer in graph.layers:
        for bottom in layer.bottoms:
            reads.setdefault(bottom, Counter())[layer] += 1
    for blob, readers in reads.items():
        listed = Counter(blob.consumers)
        for layer in readers | listed:
            if readers[layer] != listed[layer]:
                return f"{_name(layer)} reads {blob.name!r} {readers[layer]} times, listed are {listed[layer]}"
    return ""


def _tops(graph: Graph) -> str:
    seen: set[Blob] = set()
    for layer in graph.layers:
        for top in layer.tops:
            if top in seen:
                return f"{_name(layer)} makes {top.name!r}, which is among the tops already"
            if top.producer is not layer:
                return f"{_name(layer)} makes {top.name!r}, which names {_name(top.producer)} as its producer"
            seen.add(top)
    return ""


def _layer_names(graph: Graph) -> str:
    name, count = max(Counter(layer.name for layer in graph.layers).items(), key=lambda item: item[1], default=("", 0))
    return f"{count} layers are called {name!r}" if count > 1 else ""


def _params(graph: Graph) -> str:
    for layer in graph.layers:
        known = layer.kind.params
        forks = layer.kind.fork or layer.type == "Clip"  # a fork's Clip may have other parameters
        if known is None or (layer.params is None and forks):
            continue
        if not isinstance(layer.params, known):
            return f"{_name(layer)}: parameters: expected {known.__name__}, found {type(layer.params).__name__}"
    return ""


def _weight_values(graph: Graph) -> str:
    for layer in graph.layers:
        for index, weight in enumerate(layer.weights):
            if not isinstance(weight, np.ndarray) or weight.dtype != np.float32:
                found = getattr(weight, "dtype", type(weight).__name__)
                return f"{_name(layer)}: weight blob {index}: expected float32, found {found}"
            if not np.isfinite(weight).all():
                count = int(np.count_nonzero(~np.isfinite(weight)))
                return f"{_name(layer)}: weight blob {index}: {count} of {weight.size} values are not finite"
    return ""


def _shapes(graph: Graph) -> str:
    try:
        infer_shapes(graph)
    except ShapeError as error:
        return str(error)
    return ""


def _weight_shapes(graph: Graph) -> str:
    try:
        check_weights(graph, infer_shapes(graph, strict=False))
    except ShapeError as error:
        return str(error)
    return ""


def _outputs(graph: Graph) -> str:
    return "" if graph.outputs else "no blob is left unread, so the network gives nothing"


def _shared(graph: Graph) -> str:
    owners = graph.shared_weights()
    for layer in graph.layers:
        for index, weight in enumerate(layer.weights):
            owner = owners.get(layer.blob_name(index))
            if owner is None or owner.array is weight:
                continue
            pair = [array.ravel() if layer.is_permissive(index) else array for array in (owner.array, weight)]
            if not np.array_equal(*pair):
                name = layer.blob_name(index)
                return f"{_name(layer)} and {_name(owner.layer)} share {name!r}, and their arrays differ"
    return ""


def _name(layer: Layer | None) -> str:
    return "nobody" if layer is None else f"layer {layer.name!r} ({layer.type})"


_INVARIANTS: dict[str, Callable[[Graph], str]] = {
    "bottoms are made before they are read": _bottoms,
    "readers are listed": _consumers,
    "tops name their producer": _tops,
    "layer names are unique": _layer_names,
    "parameters are typed": _params,
    "shapes fit": _shapes,
    "weights are float32 and finite": _weight_values,
    "weights have Caffe's shapes": _weight_shapes,
    "shared weights are equal": _shared,
    "there is an output": _outputs,
}
