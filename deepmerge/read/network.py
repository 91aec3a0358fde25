"""Prototxt and caffemodel → Graph."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

from deepmerge import schema
from deepmerge.errors import GraphError, ReadError, ShapeError
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import check_weights, expected_weights, infer_shapes
from deepmerge.graph.tree import Message
from deepmerge.read.caffemodel import StoredLayer, read_caffemodel
from deepmerge.read.deploy import derive, is_data
from deepmerge.read.params import read_params
from deepmerge.read.phase import in_phase
from deepmerge.read.prototxt import read_prototxt
from deepmerge.read.upgrade import state_of, upgrade

_GRAPH_FIELDS = ("name", "type", "bottom", "top", "param", "blobs", "include", "exclude", "phase")


def read_network(prototxt: str | Path, caffemodel: str | Path | None = None) -> Graph:
    """The TEST-phase network of a deploy or train_val prototxt, with the caffemodel's weights.

    Weights are float32 views on the mapped file. Without a caffemodel the layers have none.
    ReadError, GraphError or ShapeError (one line: file, layer, what to do) where the files are not
    a network, or do not belong together. Things worth knowing stand in `Graph.warnings`.
    """
    tree = upgrade(read_prototxt(prototxt), prototxt)
    stored = read_caffemodel(caffemodel) if caffemodel is not None else None
    state = state_of(tree)
    every = [_checked(f.value, prototxt) for f in tree if f.name == "layer"]
    test = [m for m in every if in_phase(m, state, prototxt, _where(m))]
    notes: list[str] = []
    if any(is_data(m) for m in test):
        test, notes = derive(test, lambda blob: _channels(test, blob, stored, prototxt), prototxt)
    graph = Graph(str(tree.value("name") or ""))
    graph.tree = Message([f for f in tree if f.name not in ("name", "layer", "state")])
    graph.train_layers = training_only(every, test)
    graph.warnings = notes
    try:
        build(graph, test, prototxt)
        shapes = infer_shapes(graph)
        if stored is not None:
            attach(graph, shapes, stored)
            check_weights(graph, shapes)
    except (GraphError, ShapeError) as error:
        if str(error).startswith(f"{prototxt}:"):
            raise
        raise type(error)(f"{prototxt if stored is None else f'{prototxt} with {caffemodel}'}: {error}") from None
    graph.warnings += _unknown_layers(graph)
    return graph


def read_train_layers(train_val: str | Path, graph: Graph) -> list[Message]:
    """The layers of a train_val.prototxt that `graph` does not have: data, loss, accuracy, auxiliary heads."""
    tree = upgrade(read_prototxt(train_val), train_val)
    every = [_checked(f.value, train_val) for f in tree if f.name == "layer"]
    if not any(is_data(m) for m in every):
        raise ReadError("has no data layer; --train-val wants the prototxt that the network was trained with", train_val)
    inputs = {layer.name for layer in graph.layers if layer.type == "Input"}
    own = {layer.name for layer in graph.layers} - inputs
    return [m for m in every if str(m.value("name")) not in own and str(m.value("type")) != "Input"]


def training_only(every: list[Message], deploy: list[Message]) -> list[Message]:
    """The messages of `every` that are not among `deploy`'s."""
    kept = {id(m) for m in deploy}
    return [m for m in every if id(m) not in kept]


def _where(layer: Message) -> str:
    return f"layer {str(layer.value('name') or '')!r} ({layer.value('type')})"


def _checked(layer, file) -> Message:
    """The layer message, if it has what every layer needs; unknown fields get a hint."""
    if not isinstance(layer, Message):
        raise ReadError("`layer` wants a message in braces", file)
    if layer.value("type") is None:
        strangers = [f.name for f in layer if f.name not in schema.fields("LayerParameter")]
        hint = f" ({', '.join(strangers)}: not known)" if strangers else ""
        raise ReadError(f"layer {str(layer.value('name') or '')!r} has no type{hint}", file, layer.line, layer.column)
    return layer


def _channels(layers: list[Message], blob: str, stored: list[StoredLayer] | None, file) -> int | None:
    """How many channels the first weighted reader of `blob` wants, from its stored weights."""
    blobs = {s.name: s.blobs for s in stored or ()}
    for message in layers:
        weights = blobs.get(str(message.value("name")))
        if blob in message.values("bottom") and str(message.value("type")) == "Convolution" and weights and weights[0].ndim == 4:
            params = read_params("Convolution", message, file, _where(message))
            return weights[0].shape[1] * params.group
    return None


def build(graph: Graph, messages: list[Message], file) -> None:
    """Fill `graph` with layers from their messages, joining blobs by name as Caffe does (net.cpp, AppendTop)."""
    current: dict[str, Blob] = {}
    names: set[str] = set()
    for message in messages:
        where = _where(message)
        layer = Layer(str(message.value("name") or ""), str(message.value("type")))
        if layer.name in names:
            raise GraphError(f"{file}:{message.line}: two layers are called {layer.name!r} in one phase; weights go by name, so rename one")
        names.add(layer.name)
        layer.params = layer.read_params = read_params(layer.type, message, file, where)
        layer.param_specs = [v for v in message.values("param") if isinstance(v, Message)]
        layer.tree = Message([f for f in message if f.name not in _GRAPH_FIELDS], message.line, message.column)
        for bottom in message.values("bottom"):
            if str(bottom) not in current:
                near = difflib.get_close_matches(str(bottom), current, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise GraphError(f"{file}:{message.line}: {where} reads {str(bottom)!r}, which no layer before it makes{hint}")
            layer.bottoms.append(current[str(bottom)])
        bottoms = [str(b) for b in message.values("bottom")]
        for index, top in enumerate(map(str, message.values("top"))):
            in_place = index < len(bottoms) and bottoms[index] == top
            if top in current and not in_place:
                raise GraphError(f"{file}:{message.line}: {where} makes {top!r}, which layer {current[top].producer.name!r} makes already")
            layer.tops.append(Blob(top))
        graph.insert(layer)
        for blob in layer.bottoms:
            used = [t for t in layer.tops if t.name == blob.name]
            if used and len(blob.consumers) > 1:
                raise GraphError(f"{file}:{message.line}: {where} overwrites {blob.name!r} in place, but {blob.consumers[0].name!r} reads it too")
        current |= {top.name: top for top in layer.tops}


def attach(graph: Graph, shapes: dict, stored: list[StoredLayer]) -> None:
    """Give each layer the blobs that are stored under its name; ShapeError where a layer that needs some has none."""
    by_name = {s.name: s.blobs for s in stored if s.blobs}
    for layer in graph.layers:
        expected = expected_weights(layer, [shapes[b] for b in layer.bottoms])
        layer.weights = by_name.pop(layer.name, [])
        if expected and not layer.weights and not layer.shared_names:
            near = difflib.get_close_matches(layer.name, by_name, 1)
            hint = f"; it has some for {near[0]!r}" if near else ""
            raise ShapeError(f"layer {layer.name!r} ({layer.type}) needs weights, and the caffemodel has none of that name{hint}; do the files belong together?")
        if expected and len(expected) == len(layer.weights):
            layer.weights = [_without_legacy_axes(w, e) for w, e in zip(layer.weights, expected, strict=True)]
    if by_name:
        names = list(by_name)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        graph.warnings.append(f"the caffemodel also has weights for {', '.join(names[:5])}{more}, which the network does not use")


def _without_legacy_axes(array: np.ndarray, expected: tuple[int, ...]) -> np.ndarray:
    """Old files store every blob with four axes: (1, 1, N, C) for an InnerProduct, say. Caffe: blob.cpp, ShapeEquals."""
    lead = array.ndim - len(expected)
    if lead > 0 and array.ndim == 4 and array.shape == (1,) * lead + tuple(expected):
        return array.reshape(expected)
    return array


def _unknown_layers(graph: Graph) -> list[str]:
    notes = [f"layer {layer.name!r} has the unknown type {layer.type!r}; it is passed through as it is" for layer in graph.layers if layer.params is None]
    for layer in graph.layers:
        known = schema.fields("LayerParameter")
        for field in layer.tree:
            near = difflib.get_close_matches(field.name, known, 1, 0.85) if field.name not in known else []
            if near:
                notes.append(f"layer {layer.name!r}: unknown field {field.name!r} is kept as it is; did you mean {near[0]!r}?")
    return notes
