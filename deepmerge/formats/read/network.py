"""Prototxt and caffemodel → Graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deepmerge.errors import ReadError, ShapeError
from deepmerge.formats.read.build import build
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.data_shapes import Known
from deepmerge.formats.read.deploy import derive
from deepmerge.formats.read.fork_shapes import settle_forks
from deepmerge.formats.read.heads import is_data
from deepmerge.formats.read.inputs import (
    Sizes,
    add_unmade,
    checked,
    dummies_as_data,
    refuse_unknown,
    set_sizes,
    state_legacy,
)
from deepmerge.formats.read.naming import name_unnamed, tell_apart, weights_of_unnamed
from deepmerge.formats.read.phase import in_phase
from deepmerge.formats.read.prototxt import read_prototxt
from deepmerge.formats.read.stated import placeholders, take_stated_batch
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.formats.read.upgrade import refuse_mixed, upgrade
from deepmerge.formats.read.validate import validate
from deepmerge.formats.read.weights import attach
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape, check_shared, infer_shapes
from deepmerge.graph.tree import Message
from deepmerge.text import input_option


def read_network(prototxt: str | Path, caffemodel: str | Path | None = None, inputs: Sizes | None = None) -> Graph:
    """Return the TEST-phase network of a deploy or train_val prototxt, with the caffemodel's weights.

    inputs: sizes of inputs by name, which the prototxt does not give, or gives otherwise: (N, C, H, W), or (C, H, W)
    to keep the prototxt's batch. Weights are float32 views on the mapped file; without a caffemodel the layers have
    none. Notes for the user go to `Graph.warnings`. ReadError, GraphError or ShapeError if the files are not a network,
    or do not belong together.
    """
    sizes = checked(inputs)
    tree, typos = todays_tree(state_legacy(_network_in(read_prototxt(prototxt)), sizes), prototxt)
    stored = read_caffemodel(caffemodel) if caffemodel is not None else None
    every = [f.value for f in tree if f.name == "layer"]
    layers, notes = _test_layers(tree, every, stored, sizes, prototxt)
    kept = {id(m) for m in layers}
    layers, twins = tell_apart(layers)
    layers, given = set_sizes(layers, sizes, prototxt)
    graph = build(str(tree.value("name") or ""), layers, prototxt, others=(m for m in every if id(m) not in kept))
    graph.given_inputs = given
    graph.tree = Message([f for f in tree if f.name not in ("name", "layer", "state")])
    graph.train_layers = [m for m in every if id(m) not in kept]
    graph.warnings = typos + notes + twins + graph.warnings
    take_stated_batch(graph, prototxt)
    shapes = shapes_of(graph, prototxt)
    graph.warnings += placeholders(graph, shapes)
    if stored is not None:
        try:
            attach(graph, shapes, weights_of_unnamed(stored, layers))
        except ShapeError as error:
            text = f"{prototxt} with {caffemodel}: {error.reason}"
            raise ShapeError(text, file=prototxt, layer=error.layer, remedy=error.remedy) from None
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
        if not str(layer.value("type") or ""):
            name = str(layer.value("name") or "")
            text = f'layer {name!r} has no type; give it one, such as type: "Convolution"'
            raise ReadError(text, file, layer.line, layer.column)
    return tree, typos + name_unnamed(tree.values("layer"))


def _network_in(tree: Message) -> Message:
    """Return the network inside a solver, the one that it tests if it has two; any other file as it is."""
    if "layer" in tree or "layers" in tree:
        return tree
    inside = (tree.message(name) for name in ("test_net_param", "net_param", "train_net_param"))
    return next((net for net in inside if net is not None), tree)


def _test_layers(
    tree: Message, every: list[Message], stored: list[StoredLayer] | None, sizes: Mapping[str, Shape], file
) -> tuple[list[Message], list[str]]:
    """Return the layers of the TEST phase, a train_val's turned into deploy layers, and notes for the user."""
    state = tree.message("state")
    layers = [m for m in every if in_phase(m, state, file)]
    refuse_unknown(sizes, layers, file)
    layers, sizes = dummies_as_data(add_unmade(layers, sizes), sizes, file)
    if not layers:
        raise ReadError("has no layer for the TEST phase; give the deploy.prototxt", file)
    if not any(is_data(m) for m in layers):
        return layers, []
    return derive(Known(layers, stored or [], sizes, file))


def shapes_of(graph: Graph, file) -> dict[Blob, Shape | None]:
    """Return the blobs' shapes; ShapeError (file:line:column) for the first layer that does not fit.

    Where a fork's rule is in doubt, it is changed, and `graph.warnings` says so.
    """
    try:
        shapes = _settled_shapes(graph)
        check_shared(graph, shapes)
        return shapes
    except ShapeError as error:
        layer = graph.find(error.layer)
        place = f"{file}:{layer.tree.line}:{layer.tree.column}" if layer and layer.tree.line else str(file)
        remedy = _sizes_to_give(layer) if layer is not None and layer.type == "Input" else ""
        raise ShapeError(f"{place}: {error}", file=file, layer=error.layer, remedy=remedy) from None


def _settled_shapes(graph: Graph) -> dict[Blob, Shape | None]:
    """Infer the shapes, with other rules of forks where the first ones do not fit."""
    try:
        return infer_shapes(graph)
    except ShapeError:
        graph.warnings += settle_forks(graph)
        return infer_shapes(graph)


def _sizes_to_give(layer: Layer) -> str:
    """Return which sizes an Input lacks, as options; "" if none."""
    stated = list(layer.params.shape) * (len(layer.tops) if len(layer.params.shape) == 1 else 1)
    lacking = [(top.name, shape) for top, shape in zip(layer.tops, stated, strict=False) if any(n < 1 for n in shape)]
    options = [input_option(name, [n if n > 0 else None for n in shape]) for name, shape in lacking]
    return f"give its size: {' '.join(options)}" if options else ""
