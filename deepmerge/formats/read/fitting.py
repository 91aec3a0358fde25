"""The sizes of square images that a network's first InnerProduct can have been trained on."""

from __future__ import annotations

from math import prod

from deepmerge.errors import GraphError, ReadError
from deepmerge.formats.messages import kind_of
from deepmerge.formats.read.build import build
from deepmerge.formats.read.heads import blobs, leading_to
from deepmerge.formats.read.inputs import input_layer
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.tree import Message

_LARGEST = 4096  # pixels


def fitting_squares(
    blob: str, channels: int, layers: list[Message], stored: list[StoredLayer], file
) -> tuple[str, int, int] | None:
    """Return the first InnerProduct that has weights, and the least and the largest square whose values they fit.

    None if there is none, if none fits, or if other inputs lead to it. More pixels never give fewer values.
    """
    weights = {s.name: s.blobs[0].shape for s in stored if s.blobs and s.blobs[0] is not None}
    at = next((i for i, m in enumerate(layers) if kind_of(m) == "InnerProduct" and m.value("name") in weights), None)
    if at is None:
        return None
    name, param = str(layers[at].value("name")), layers[at].message("inner_product_param")
    transposed = param is not None and str(param.value("transpose")) in ("true", "True", "t", "1")
    shape = weights[name]
    if len(shape) < 2:
        return None
    wanted = shape[-2] if transposed else shape[-1]
    bottom = blobs(layers[at], "bottom")[0]
    front, _ = leading_to(layers[:at], {bottom})

    def values(side: int) -> int:
        """Return how many values the InnerProduct reads of one image; 0 if that is too small for a layer."""
        graph = build("", [input_layer("", {blob: (1, channels, side, side)}), *front], file)
        found = {b.name: s for b, s in infer_shapes(graph, strict=False).items()}[bottom]
        return prod(found[1:]) if found else 0

    try:
        least = _first(lambda side: values(side) >= wanted)
        largest = _first(lambda side: values(side) > wanted) - 1
    except (GraphError, ReadError, KeyError):
        return None
    return (name, least, largest) if least <= largest < _LARGEST else None


def _first(holds) -> int:
    """Return the smallest side from 1 on for which it holds, _LARGEST + 1 if none does."""
    low, high = 1, _LARGEST + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
