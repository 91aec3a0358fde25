"""The costs of a network for one image in float32: parameters, multiply-adds, stored bytes, bytes of activations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

from deepmerge.errors import ShapeError
from deepmerge.graph.graph import Blob, Graph, Layer, News
from deepmerge.graph.memory import FLOAT, Planner, activation_bytes, bytes_with_splits, distinct_bytes, size_of
from deepmerge.graph.shape_errors import Shape
from deepmerge.graph.shapes import KeptShapes, expected_weights, infer_shapes

Shapes = dict[Blob, "Shape | None"]


@dataclass(frozen=True)
class LayerCost:
    """One row of `layer_costs`. bytes: the size of the layer's tops."""

    name: str
    type: str
    tensor: bool
    tops: tuple[Shape | None, ...]
    params: int
    macs: int
    bytes: int


def non_tensor_share(graph: Graph) -> float:
    """Return the share of non-tensor layers among all layers except Inputs, 0 to 1."""
    layers = _without_inputs(graph)
    return sum(not layer.kind.tensor for layer in layers) / len(layers) if layers else 0.0


def shapes_of_one(graph: Graph) -> Shapes:
    """Return the shapes of all blobs for one image.

    A network that fixes its batch size in the middle (in a Reshape) does not take one image: its shapes are inferred
    with the declared batch, and first axes of that size are cut to 1. Raises ShapeError like infer_shapes.
    """
    try:
        return infer_shapes(graph, batch=1)
    except ShapeError:
        shapes = infer_shapes(graph)
    batches = {shape[0] for shape in (shapes[blob] for blob in graph.inputs) if shape is not None and len(shape) > 1}
    return {b: (1, *s[1:]) if s is not None and len(s) > 1 and s[0] in batches else s for b, s in shapes.items()}


def weight_shapes(layer: Layer, shapes: Shapes) -> list[Shape]:
    """Return the shapes of the layer's weight blobs, or of those that Caffe would make if it has none yet."""
    if layer.weights:
        return [weight.shape for weight in layer.weights]
    return expected_weights(layer, [shapes.get(bottom) for bottom in layer.bottoms]) or []


def param_count(graph: Graph, shapes: Shapes | None = None) -> int:
    """Return how many numbers training learns. Statistics are not counted, and shared blobs are counted once."""
    shapes = infer_shapes(graph) if shapes is None else shapes
    seen: set[str] = set()
    return sum(_params(layer, shapes, seen) for layer in graph.layers)


def _params(layer: Layer, shapes: Shapes, seen: set[str]) -> int:
    """Return the layer's share of the parameters; `seen` collects the names of shared blobs."""
    total = 0
    for index, shape in enumerate(weight_shapes(layer, shapes)):
        if index in layer.kind.statistics:
            continue
        name = layer.blob_name(index)
        if name not in seen:
            total += prod(shape)
        if name:
            seen.add(name)
    return total


def storage_bytes(graph: Graph, shapes: Shapes | None = None) -> int:
    """Return the bytes of all weights in a caffemodel, which has statistics, and shared blobs with every sharer."""
    shapes = infer_shapes(graph) if shapes is None else shapes
    return FLOAT * sum(prod(shape) for layer in graph.layers for shape in weight_shapes(layer, shapes))


def macs(graph: Graph, shapes: Shapes) -> int:
    """Return the multiply-adds of all linear layers (convolutions and InnerProducts) for one image."""
    return sum(layer_macs(layer, shapes) for layer in graph.layers)


def layer_macs(layer: Layer, shapes: Shapes) -> int:
    """Return one layer's multiply-adds for one image, without the bias; 0 for a type that is not linear.

    Every weight is used once for each position: of the top (Convolution), of the bottom (Deconvolution), or for each
    vector (InnerProduct). Windows that reach into the padding count in full, as Caffe computes them.
    """
    if not layer.kind.linear or layer.params is None:
        return 0
    weights = weight_shapes(layer, shapes)
    bottoms = [shapes.get(bottom) for bottom in layer.bottoms]
    tops = [shapes.get(top) for top in layer.tops]
    if not weights or None in bottoms or None in tops:
        return 0
    shape = bottoms[0] if layer.type == "Deconvolution" else tops[0]
    axis = layer.params.axis % len(bottoms[0])
    positions = prod(shape[1:axis]) * prod(shape[axis + 1 :])
    return prod(weights[0]) * positions * len(tops)


def layer_costs(graph: Graph, shapes: Shapes | None = None) -> list[LayerCost]:
    """Return one row for each layer, Inputs included. Shared parameters count for the first layer that has them."""
    shapes = shapes_of_one(graph) if shapes is None else shapes
    seen: set[str] = set()
    return [
        LayerCost(
            layer.name,
            layer.type,
            layer.kind.tensor,
            tuple(shapes.get(top) for top in layer.tops),
            _params(layer, shapes, seen),
            layer_macs(layer, shapes),
            sum(size_of(shapes.get(top)) for top in layer.tops),
        )
        for layer in graph.layers
    ]


def not_counted(layer: Layer, shapes: Shapes) -> list[str]:
    """Return which figures lack the layer, since a shape or its type is not known: parameters, MACs, activations."""
    bottoms, tops = ([shapes.get(blob) for blob in blobs] for blobs in (layer.bottoms, layer.tops))
    lacking = []
    if not layer.weights and expected_weights(layer, bottoms) is None:
        lacking.append("parameters")
    if layer.params is None or (layer.kind.linear and None in (*bottoms, *tops)):
        lacking.append("MACs")
    return lacking + ["activations"] * (None in tops)


def summary(graph: Graph, shapes: Shapes | None = None) -> dict:
    """Return the figures of report.json's `before` and `after`. Inputs do not count as layers.

    shapes: `shapes_of_one(graph)`, if the caller has it.
    """
    shapes = shapes_of_one(graph) if shapes is None else shapes
    layers = _without_inputs(graph)
    return {
        "layers": len(layers),
        "layer_types": dict(sorted(Counter(layer.type for layer in layers).items())),
        "params": param_count(graph, shapes),
        "macs": macs(graph, shapes),
        "storage_bytes": storage_bytes(graph, shapes),
        "activation_bytes": activation_bytes(graph, shapes),
    }


class KeptCosts:
    """The figures of `summary`, kept while the graph is edited."""

    def __init__(self, graph: Graph):
        self._graph, self._shapes = graph, KeptShapes(graph, batch=1)
        self._news = News(self._shapes.journal)
        self._planner = Planner(graph, self._shapes)
        self._rows: dict[Layer, _Row] = {}
        self._types: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._shared: dict[str, dict[tuple[Layer, int], int]] = {}  # the sizes of shared blobs, by name and place

    def summary(self) -> dict:
        """Return `summary` of the graph as it is now."""
        try:
            self._shapes.refresh()
        except ShapeError:  # it does not take one image: see shapes_of_one
            return summary(self._graph)
        news = self._news.look()
        self._planner.update(news)
        for layer in news:
            if layer in self._rows:
                self._add(layer, self._rows.pop(layer), -1)
            if layer in self._graph:
                self._rows[layer] = _row(layer, self._shapes)
                self._add(layer, self._rows[layer], 1)
        sums, types = self._sums, {name: number for name, number in sorted(self._types.items()) if number}
        kinds = {"caffe": sums["caffe"], "unique": sums["unique"], "planned": self._planner.peak()}
        return {
            "layers": sum(types.values()),
            "layer_types": types,
            "params": sums["params"] + sum(map(self._first, self._shared.values())),
            "macs": sums["macs"],
            "storage_bytes": sums["storage"],
            "activation_bytes": kinds,
        }

    def _add(self, layer: Layer, row: _Row, sign: int) -> None:
        """Add a layer's figures to the sums, or take them away."""
        if row.type != "Input":
            self._types[row.type] += sign
        for name, figure in row.figures.items():
            self._sums[name] += sign * figure
        for (name, index), size in row.shared.items():
            if sign > 0:
                self._shared.setdefault(name, {})[layer, index] = size
            else:
                del self._shared[name][layer, index]

    def _first(self, sizes: dict[tuple[Layer, int], int]) -> int:
        """Return the size of the first of the blobs that share a name."""
        return sizes[min(sizes, key=lambda place: (self._graph.key(place[0]), place[1]))] if sizes else 0


@dataclass(frozen=True)
class _Row:
    """What one layer adds to the summary. shared: the sizes of blobs by ParamSpec name and number."""

    type: str
    figures: dict[str, int]
    shared: dict[tuple[str, int], int]


def _row(layer: Layer, shapes: Shapes) -> _Row:
    weights = [prod(shape) for shape in weight_shapes(layer, shapes)]
    learned = {i: size for i, size in enumerate(weights) if i not in layer.kind.statistics}
    shared = {(name, i): size for i, size in learned.items() if (name := layer.blob_name(i))}
    figures = {
        "params": sum(learned.values()) - sum(shared.values()),
        "macs": layer_macs(layer, shapes),
        "storage": FLOAT * sum(weights),
        "caffe": bytes_with_splits(layer, shapes),
        "unique": distinct_bytes(layer, shapes),
    }
    return _Row(layer.type, figures, shared)


def _without_inputs(graph: Graph) -> list[Layer]:
    return [layer for layer in graph.layers if layer.type != "Input"]
