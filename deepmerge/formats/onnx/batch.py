"""Whether the network runs at any batch size, and which first axes grow with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from deepmerge.errors import EngineError, ShapeError
from deepmerge.graph.graph import Blob, Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.text import input_option

# A shape. If its first size is None, it grows with the batch.
Dims = tuple[int | None, ...]


def free_inputs(graph: Graph, shapes: dict[Blob, tuple[int, ...]]) -> list[Blob]:
    """Return the inputs whose first axis is the batch: those of two axes or more, if all have the same first size."""
    inputs = [blob for blob in graph.inputs if len(shapes[blob]) > 1]
    return inputs if len({shapes[blob][0] for blob in inputs}) == 1 else []


def known_shapes(graph: Graph) -> dict[Blob, tuple[int, ...]]:
    """Return each blob's shape. EngineError if one is not known, ShapeError if the layers do not fit together."""
    shapes = infer_shapes(graph)
    for blob, shape in shapes.items():
        if shape is None:
            layer = blob.producer
            remedy = f"give it: {input_option(blob.name)}"
            if layer.type != "Input":
                remedy = "use --engine caffe with a Caffe build that supports this layer"
            text = f"layer {layer.name!r} ({layer.type}): the shape of top {blob.name!r} is not known"
            raise EngineError(text, layer=layer.name, remedy=remedy)
    return shapes


def free_dims(graph: Graph, shapes: dict[Blob, tuple[int, ...]]) -> dict[Blob, Dims] | None:
    """Return `shapes` with None for each first size that grows with the batch.

    None if the network runs at its declared batch only: with one image more its layers would not fit together (a
    Reshape to a fixed size), or another axis would grow.
    """
    inputs = free_inputs(graph, shapes)
    if not inputs:
        return None
    try:
        larger = infer_shapes(with_firsts(graph, {blob.name: shapes[blob][0] + 1 for blob in inputs}))
    except ShapeError:
        return None
    dims: dict[Blob, Dims] = {}
    for (blob, shape), other in zip(shapes.items(), larger.values(), strict=True):
        if len(other) != len(shape) or other[1:] != shape[1:]:
            return None
        dims[blob] = (None, *shape[1:]) if other[:1] != shape[:1] else shape
    return dims


def with_firsts(graph: Graph, firsts: Mapping[str, int]) -> Graph:
    """Return a copy of the network in which these inputs have another first size."""
    twin = graph.copy()
    for layer in twin.layers:
        if layer.type != "Input":
            continue
        shapes = layer.params.shape if len(layer.params.shape) > 1 else layer.params.shape * len(layer.tops)
        new = tuple((firsts.get(top.name, s[0]), *s[1:]) if s else s for top, s in zip(layer.tops, shapes, strict=True))
        layer.params = dataclasses.replace(layer.params, shape=new)
    return twin
