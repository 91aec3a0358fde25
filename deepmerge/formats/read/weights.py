"""Stored weights → the layers of a graph, by name. Caffe: net.cpp, CopyTrainedLayersFrom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from deepmerge.errors import ShapeError
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.differences import differences
from deepmerge.formats.read.forks import batch_norm_blobs
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape, check_weights, expected_weights, fits, infer_shapes
from deepmerge.text import listed, nearest

Shapes = Mapping[Blob, "Shape | None"]
Weights = Mapping[str, Sequence["np.ndarray | None"]]


def load_weights(
    graph: Graph,
    source: str | Path | Weights,
    shapes: Shapes | None = None,
    misfits: Literal["error", "skip"] = "error",
) -> list[Layer]:
    """Give the graph's layers the weights stored under their names. Names that the graph does not have are ignored.

    Parameters
    ----------
    graph : Graph
        Its layers get new lists of weights.
    source : path or mapping
        A caffemodel or HDF5 snapshot, or layer name → weight blobs in Caffe's order. A blob is None where the file
        leaves it out because another layer shares it.
    shapes : mapping, optional
        The shape of each of the graph's blobs; inferred if it is not given.
    misfits : {"error", "skip"}
        "error": each layer gets what is stored, and has to need exactly that; layers that share a blob by its
        ParamSpec name get one array, the last one loaded. "skip": only layers that have weights get new ones, and a
        layer whose weights are stored in other shapes than its own keeps its own.

    Returns
    -------
    list of Layer
        The layers that need weights and got none.

    Raises
    ------
    ShapeError
        If `misfits` is "error" and stored weights do not fit a layer, or if two stored layers have the same name.
    """
    if isinstance(source, Mapping):
        if misfits == "skip":
            return _load_alike(graph, source)
        shapes = infer_shapes(graph, strict=False) if shapes is None else shapes
        missing = _load_all(graph, source, shapes)
        check_weights(graph, shapes)
        return missing
    try:
        return load_weights(graph, weights_by_name(read_caffemodel(source)), shapes, misfits)
    except ShapeError as error:
        raise ShapeError(f"{source}: {error.reason}", file=source, layer=error.layer, remedy=error.remedy) from None


def attach(graph: Graph, shapes: Shapes, stored: list[StoredLayer]) -> None:
    """Load a caffemodel's weights into a network that has none.

    Differences between the two networks, and weights that the graph does not use, go to `graph.warnings`.
    ShapeError for a layer that needs weights and finds none, and for weights that do not fit.
    """
    weights = weights_by_name(stored)
    missing = _load_all(graph, weights, shapes)
    graph.warnings += differences(graph, stored)
    own = {layer.name for layer in graph.layers}
    unused = [name for name in weights if name not in own]
    if missing:
        raise _missing(missing[0], unused)
    check_weights(graph, shapes)
    if unused:
        text = f"the caffemodel also has weights for {listed(unused)}, which the network does not use"
        graph.warnings.append(text)


def weights_by_name(stored: list[StoredLayer]) -> dict[str, list[np.ndarray | None]]:
    """Return the weights of the layers that have any; ShapeError for two layers of one name and phase.

    Of two layers of one name in different phases, the one of the TEST phase counts.
    """
    found: dict[str, StoredLayer] = {}
    for layer in stored:
        if not layer.blobs:
            continue
        twin = found.get(layer.name)
        if twin and twin.phase == layer.phase:
            text = "as weights go by name, one would be lost: rename one, here and in the prototxt"
            raise ShapeError(f"two layers have weights and the name {layer.name!r}; {text}", layer=layer.name)
        if twin is None or layer.phase == "TEST":
            found[layer.name] = layer
    return {name: layer.blobs for name, layer in found.items()}


def _load_alike(graph: Graph, weights: Weights) -> list[Layer]:
    """Replace weights by those of the same shapes; return the layers that keep their own."""
    kept = []
    for layer in graph.layers:
        blobs = weights.get(layer.name, ())
        shapes = [None if blob is None else blob.shape for blob in blobs]
        if shapes == [weight.shape for weight in layer.weights]:
            layer.weights = list(blobs)
        elif layer.weights:
            kept.append(layer)
    return kept


def _load_all(graph: Graph, weights: Weights, shapes: Shapes) -> list[Layer]:
    """Give each layer what is stored for it; return the layers that still need weights."""
    counts: dict[Layer, int] = {}
    loaded = []
    for layer in graph.layers:
        blobs = batch_norm_blobs(layer, list(weights.get(layer.name, ())))
        expected = expected_weights(layer, [shapes.get(bottom) for bottom in layer.bottoms])
        counts[layer] = len(expected or ())
        if blobs:
            layer.weights = _in_shape(layer, blobs, expected)
            loaded.append(layer)
    _share(graph, loaded, counts)
    return [layer for layer in graph.layers if counts[layer] and not layer.weights]


def _in_shape(layer: Layer, blobs: list[np.ndarray | None], expected: list[Shape] | None) -> list[np.ndarray | None]:
    """Drop the axes of one that old files put in front. Caffe: blob.cpp, ShapeEquals."""
    if expected is None:
        expected = [() if blob is None else _shape_by_type(layer, index, blob) for index, blob in enumerate(blobs)]
    if len(expected) != len(blobs):
        return blobs
    pairs = zip(blobs, expected, strict=True)
    return [blob.reshape(shape) if blob is not None and fits(blob.shape, shape) else blob for blob, shape in pairs]


def _shape_by_type(layer: Layer, index: int, blob: np.ndarray) -> Shape:
    """Return the last axes of a stored blob, as many as a linear layer has there, whatever it reads; else all."""
    if layer.params is None or not layer.kind.linear:
        return blob.shape
    if index == layer.kind.bias:
        return blob.shape[-1:]
    return blob.shape[-2:] if layer.type == "InnerProduct" else blob.shape


def _share(graph: Graph, loaded: list[Layer], counts: dict[Layer, int]) -> None:
    """Give layers that share blobs by ParamSpec name the same array: the last one loaded, as in Caffe.

    counts: how many blobs each layer needs; an HDF5 snapshot stores a shared blob with one of its layers only.
    """
    named: dict[str, np.ndarray] = {}
    for layer in loaded:
        for index, array in enumerate(layer.weights):
            if array is not None and layer.blob_name(index):
                named[layer.blob_name(index)] = array
    for layer in graph.layers:
        names = [layer.blob_name(index) for index in range(len(layer.param_specs))]
        if names and not layer.weights and all(name in named for name in names):
            layer.weights = [named[name] for name in names]
        if layer.weights:
            _complete(layer, named, counts[layer])
        for index, array in enumerate(layer.weights):
            same = named.get(layer.blob_name(index))
            if same is not None and same.shape == array.shape:
                layer.weights[index] = same


def _complete(layer: Layer, named: dict[str, np.ndarray], count: int) -> None:
    """Add the shared blobs that the file leaves out; ShapeError where no layer has them."""
    for index in range(len(layer.weights), count):
        if layer.blob_name(index) not in named:
            break
        layer.weights.append(named[layer.blob_name(index)])
    for index, array in enumerate(layer.weights):
        if array is not None:
            continue
        if layer.blob_name(index) not in named:
            text = f"has no weight blob {index} in the file, and shares none that has; do the files belong together?"
            raise ShapeError(f"layer {layer.name!r} ({layer.type}) {text}", layer=layer.name)
        layer.weights[index] = named[layer.blob_name(index)]


def _missing(layer: Layer, unused: list[str]) -> ShapeError:
    near = nearest(layer.name, unused, 1, 0.6)
    hint = f" (it has some for {near[0]!r})" if near else ""
    text = f"needs weights, and the caffemodel has none of that name{hint}; do the files belong together?"
    return ShapeError(f"layer {layer.name!r} ({layer.type}) {text}", layer=layer.name)
