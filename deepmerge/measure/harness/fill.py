"""Random weights for a network that has none, to measure its time; the same every time."""

from __future__ import annotations

from math import prod

import numpy as np

from deepmerge.errors import GraphError
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.shapes import expected_weights, infer_shapes


def fill(graph: Graph, seed: int = 0) -> None:
    """Give every layer without weights random ones that keep activations at about their size.

    Overflow and denormal numbers, which are slow, would make the times unlike a trained network's. Kernels: He et al.
    (2015): normal, variance 2 / fan-in. Raises GraphError for a layer whose blobs are not known.
    """
    shapes = infer_shapes(graph)
    rng = np.random.default_rng(seed)
    shared: dict[str, np.ndarray] = {}
    for layer in graph.layers:
        if layer.weights:
            continue
        expected = expected_weights(layer, [shapes[bottom] for bottom in layer.bottoms])
        if expected is None:
            text = f"layer {layer.name!r} ({layer.type}): its weights' shapes are not known"
            raise GraphError(text, layer=layer.name, remedy="give the network its caffemodel")
        made = []
        for index, shape in enumerate(expected):
            name = layer.blob_name(index)
            array = shared.get(name)
            array = _blob(layer, index, shape, rng) if array is None or array.shape != tuple(shape) else array
            if name:
                shared[name] = array
            made.append(array)
        layer.weights = made


def _blob(layer: Layer, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if index < len(layer.kind.typical):
        return np.full(shape, layer.kind.typical[index], np.float32)
    if len(shape) < 2:
        return np.zeros(shape, np.float32)
    return (rng.standard_normal(shape) * np.sqrt(2 / max(prod(shape[1:]), 1))).astype(np.float32)
