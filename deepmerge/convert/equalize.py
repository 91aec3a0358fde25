"""Channels between two linear layers, scaled to one range, so that int8 has enough levels for each.

int8 has one range for a blob. Where a layer was decomposed, no activation is between its parts, and one channel may be
a thousand times as large as another, which then gets no levels. Dividing a channel by a number after the first layer,
and multiplying by it in the next one, changes nothing but the rounding.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019; here with the
ranges of images. GoogLeNet, chosen for a speed-up of 3 and recovered, has the same best class as in float32 for 76.7 %
of 150 images without it, and for all with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import numpy as np

from deepmerge.engines.ort import OrtEngine
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.passes.support.base import possible
from deepmerge.passes.support.chains import check_own_weights
from deepmerge.passes.support.weights import group_of

BATCHES = 8  # to measure the ranges on


def equalized(graph: Graph, batches: Iterable[np.ndarray]) -> Graph:
    """Return the network with the channels between its linear layers scaled: the same function, up to rounding.

    batches: float32 (N, …), of its only input. EngineError if ONNX Runtime cannot run the network.
    """
    made = graph.copy()
    pairs = list(_pairs(made))
    ranges = _ranges(made, [first.top for first, _ in pairs], batches) if pairs else {}
    for first, second in pairs:
        _scale(first, second, ranges[first.top])
    return made


def _pairs(graph: Graph) -> Iterator[tuple[Layer, Layer]]:
    """Yield layers with weights of which the second alone reads what the first makes, with nothing between."""
    finals, outputs = graph.finals, set(graph.outputs)
    for first in graph.layers:
        if not _is_linear(graph, first) or first.top in outputs or finals[first.top.name] is not first.top:
            continue
        readers = first.top.consumers
        if len(readers) != 1 or readers[0].type != first.type or not _is_linear(graph, readers[0]):
            continue
        if group_of(readers[0]) == 1 and readers[0].weights[0].shape[1] == first.weights[0].shape[0]:
            yield first, readers[0]


def _is_linear(graph: Graph, layer: Layer) -> bool:
    """Return whether the layer has weights (outputs, inputs, …) of its own, on axis 1 of one bottom."""
    if layer.type not in ("Convolution", "InnerProduct") or not layer.weights:
        return False
    plain = layer.type == "Convolution" or not layer.params.transpose
    return plain and possible(check_own_weights, graph, layer)


def _ranges(graph: Graph, blobs: list[Blob], batches: Iterable[np.ndarray]) -> Mapping[Blob, np.ndarray]:
    """Return the greatest absolute value of each channel of the blobs on the first batches."""
    ranges: dict[Blob, np.ndarray] = {}
    with OrtEngine().load(graph) as session:
        (fed,) = session.inputs
        for batch in islice(batches, BATCHES):
            values = session.forward({fed: batch}, [blob.name for blob in blobs])
            for blob in blobs:
                value = np.abs(values[blob.name])
                greatest = value.max(axis=tuple(axis for axis in range(value.ndim) if axis != 1))
                ranges[blob] = np.maximum(ranges.get(blob, 0), greatest)
    return ranges


def _scale(first: Layer, second: Layer, ranges: np.ndarray) -> None:
    """Give all channels between the layers the range 1; those that are always 0 stay."""
    scale = np.where(ranges > 0, ranges, 1).astype(np.float64)
    first.weights = [(blob / scale.reshape(-1, *[1] * (blob.ndim - 1))).astype(np.float32) for blob in first.weights]
    weight, *rest = second.weights
    second.weights = [(weight * scale.reshape(-1, *[1] * (weight.ndim - 2))).astype(np.float32), *rest]
