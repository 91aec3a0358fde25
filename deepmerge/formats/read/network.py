"""Prototxt and caffemodel → Graph."""

from __future__ import annotations

from pathlib import Path

from deepmerge.errors import ReadError, ShapeError
from deepmerge.formats.read.build import build
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.deploy import channels_of, derive
from deepmerge.formats.read.heads import is_data
from deepmerge.formats.read.phase import in_phase
from deepmerge.formats.read.prototxt import read_prototxt
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.formats.read.upgrade import refuse_mixed, upgrade
from deepmerge.formats.read.validate import validate
from deepmerge.formats.read.weights import attach
from deepmerge.graph.graph import Blob, Graph
from deepmerge.graph.shapes import Shape, infer_shapes
from deepmerge.graph.tree import Message


def read_network(prototxt: str | Path, caffemodel: str | Path | None = None) -> Graph:
    """Return the TEST-phase network of a deploy or train_val prototxt, with the caffemodel's weights.

    Weights are float32 views on the mapped file; without a caffemodel the layers have none. Notes for the user go to
    `Graph.warnings`. ReadError, GraphError or ShapeError if the files are not a network, or do not belong together.
    """
    tree, typos = read_tree(prototxt)
    stored = read_caffemodel(caffemodel) if caffemodel is not None else None
    every = [f.value for f in tree if f.name == "layer"]
    layers, notes = _test_layers(tree, every, stored, prototxt)
    graph = build(str(tree.value("name") or ""), layers, prototxt)
    graph.tree = Message([f for f in tree if f.name not in ("name", "layer", "state")])
    kept = {id(m) for m in layers}
    graph.train_layers = [m for m in every if id(m) not in kept]
    graph.warnings = typos + notes + graph.warnings
    shapes = shapes_of(graph, prototxt)
    if stored is not None:
        try:
            attach(graph, shapes, stored)
        except ShapeError as error:
            raise ShapeError(f"{prototxt} with {caffemodel}: {error}", layer=error.layer) from None
    return graph


def read_train_layers(train_val: str | Path, graph: Graph) -> list[Message]:
    """Return the layers of a train_val.prototxt that `graph` does not have: data, loss, accuracy, auxiliary heads.

    graph: the network as read, before any pass. Layers without learning rates (ParamSpecs) get the train_val's.
    ReadError if the file is not a network's prototxt, or has no data layer.
    """
    tree, _ = read_tree(train_val)
    every = [f.value for f in tree if f.name == "layer"]
    if not any(is_data(m) for m in every):
        text = "has no data layer; --train-val needs the prototxt that the network was trained with"
        raise ReadError(text, train_val)
    own = {layer.name: layer for layer in graph.layers if layer.type != "Input"}
    for message in every:
        layer = own.get(str(message.value("name")))
        if layer is not None and not layer.param_specs:
            layer.param_specs = [spec.copy() for spec in message.values("param")]
    return [m for m in every if str(m.value("name")) not in own and str(m.value("type")) != "Input"]


def read_tree(file: str | Path) -> tuple[Message, list[str]]:
    """Return the tree in today's form, each layer with a name and a type, and a line for each misspelt field."""
    return todays_tree(read_prototxt(file), file)


def todays_tree(tree: Message, file: str | Path) -> tuple[Message, list[str]]:
    """Return what `read_tree` does, for a tree that was read from `file`, which may be a solver's."""
    refuse_mixed(tree, file)
    typos = validate(tree, file)
    tree = upgrade(tree, file, typos)
    for layer in tree.values("layer"):
        name, kind = (str(layer.value(n) or "") for n in ("name", "type"))
        if not kind:
            text = f'layer {name!r} has no type; give it one, such as type: "Convolution"'
            raise ReadError(text, file, layer.line, layer.column)
        if not name:
            text = f"a layer of type {kind!r} has no name; weights go by name, so give it one"
            raise ReadError(text, file, layer.line, layer.column)
    return tree, typos


def _test_layers(
    tree: Message, every: list[Message], stored: list[StoredLayer] | None, file
) -> tuple[list[Message], list[str]]:
    """Return the layers of the TEST phase, a train_val's turned into deploy layers, and notes for the user."""
    state = tree.message("state")
    layers = [m for m in every if in_phase(m, state, file)]
    if not layers:
        raise ReadError("has no layer for the TEST phase; give the deploy.prototxt", file)
    if not any(is_data(m) for m in layers):
        return layers, []
    return derive(layers, lambda blob, size: channels_of(blob, size, layers, stored or [], file), file)


def shapes_of(graph: Graph, file) -> dict[Blob, Shape | None]:
    """Return the blobs' shapes; ShapeError (file:line:column) for the first layer that does not fit."""
    try:
        return infer_shapes(graph)
    except ShapeError as error:
        at = next((layer.tree for layer in graph.layers if layer.name == error.layer), None)
        place = f"{file}:{at.line}:{at.column}" if at and at.line else str(file)
        raise ShapeError(f"{place}: {error}", layer=error.layer) from None
