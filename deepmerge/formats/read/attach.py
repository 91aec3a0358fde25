"""A caffemodel's weights → the graph's layers, by name. Caffe: net.cpp, CopyTrainedLayersFrom."""

from __future__ import annotations

import numpy as np

from deepmerge.errors import ShapeError
from deepmerge.formats.read.differences import differences
from deepmerge.formats.read.forks import batch_norm_blobs
from deepmerge.formats.read.scalars import near
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.shapes import Shape, expected_weights, fits


def attach(graph: Graph, shapes: dict, stored: list[StoredLayer]) -> None:
    """Give each layer the blobs that are stored under its name, in the shapes that Caffe gives them.

    shapes: blob → shape. ShapeError for a layer that needs weights and finds none, and for a name that is stored twice.
    What the caffemodel has and the network has not, or has otherwise, goes to `graph.warnings`.
    """
    by_name = _by_name(stored)
    missing, counts = [], {}
    for layer in graph.layers:
        found = by_name.pop(layer.name, None)
        blobs = batch_norm_blobs(layer, found.blobs) if found else []
        expected = expected_weights(layer, [shapes[b] for b in layer.bottoms])
        layer.weights = _in_shape(blobs, expected)
        counts[layer] = len(expected or ())
        if expected and not layer.weights:
            missing.append(layer)
    graph.warnings += differences(graph, stored)
    _share(graph, counts)
    for layer in missing:
        if not layer.weights:
            raise _missing(layer, by_name)
    if by_name:
        names = list(by_name)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        text = f"the caffemodel also has weights for {', '.join(names[:5])}{more}, which the network does not use"
        graph.warnings.append(text)


def _by_name(stored: list[StoredLayer]) -> dict[str, StoredLayer]:
    """The layers that have weights. Of two twins of different phases, the one of the TEST phase."""
    found: dict[str, StoredLayer] = {}
    for layer in stored:
        if not layer.blobs:
            continue
        twin = found.get(layer.name)
        if twin and twin.phase == layer.phase:
            text = "as weights go by name, one would be lost: rename one, here and in the prototxt"
            raise ShapeError(f"two layers have weights and the name {layer.name!r}; {text}")
        if twin is None or layer.phase == "TEST":
            found[layer.name] = layer
    return found


def _in_shape(blobs: list[np.ndarray], expected: list[Shape] | None) -> list[np.ndarray]:
    """Old files give every blob four axes, with ones in front. Caffe: blob.cpp, ShapeEquals."""
    if expected is None or len(expected) != len(blobs):
        return list(blobs)
    pairs = zip(blobs, expected, strict=True)
    return [blob.reshape(shape) if blob is not None and fits(blob.shape, shape) else blob for blob, shape in pairs]


def _share(graph: Graph, counts: dict[Layer, int]) -> None:
    """Layers that share weights through ParamSpec names get the same arrays: the last ones stored, as in Caffe.

    counts: how many blobs each layer wants; where fewer are stored, the rest are those that it shares (HDF5).
    """
    named: dict[str, np.ndarray] = {}
    for layer in graph.layers:
        pairs = zip(_spec_names(layer), layer.weights, strict=False)
        named |= {name: array for name, array in pairs if name and array is not None}
    for layer in graph.layers:
        names = _spec_names(layer)
        if names and not layer.weights and all(name in named for name in names):
            layer.weights = [named[name] for name in names]
        _fill(layer, names, named, counts[layer])
        for index, name in enumerate(names[: len(layer.weights)]):
            if name and named[name].shape == layer.weights[index].shape:
                layer.weights[index] = named[name]


def _fill(layer: Layer, names: list[str], named: dict[str, np.ndarray], count: int) -> None:
    """Put the shared blobs where the file has left them out; ShapeError where there is none to share."""
    for index in range(len(layer.weights), min(count, len(names)) if layer.weights else 0):
        if names[index] not in named:
            break
        layer.weights.append(named[names[index]])
    for index, array in enumerate(layer.weights):
        if array is None and (index >= len(names) or names[index] not in named):
            text = f"has no weight blob {index} in the file, and shares none that has; do the files belong together?"
            raise ShapeError(f"layer {layer.name!r} ({layer.type}) {text}")
        layer.weights[index] = named[names[index]] if array is None else array


def _spec_names(layer: Layer) -> list[str]:
    return [layer.blob_name(index) for index in range(len(layer.param_specs))]


def _missing(layer: Layer, by_name: dict[str, StoredLayer]) -> ShapeError:
    typo = near(layer.name, by_name, 0.6)
    hint = f" (it has some for {typo!r})" if typo else ""
    text = f"needs weights, and the caffemodel has none of that name{hint}; do the files belong together?"
    return ShapeError(f"layer {layer.name!r} ({layer.type}) {text}")
