"""Spellings of deploy.prototxt that toolchains for embedded devices need. The network computes the same.

distinct-tops   each layer's top has the layer's name, and no layer runs in place (Huawei's ATC). If a layer has several
                tops, all their names differ. An Input layer gets its top's name, so that inputs keep their names.
legacy-input    `input` and `input_shape` fields instead of Input layers, also in the caffemodel (old Caffe, OpenCV 3).
"""

from __future__ import annotations

from collections.abc import Collection

from deepmerge.errors import EmitError
from deepmerge.formats import DISTINCT_TOPS, LEGACY_INPUT
from deepmerge.formats.write.layers import network_tree
from deepmerge.formats.write.prototxt import message
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.tree import Field, Message, Quoted
from deepmerge.text import unused


def styled(graph: Graph, style: Collection[str]) -> Graph:
    """Return the graph with its blobs named in that style: a copy, or `graph` itself if nothing changes."""
    if DISTINCT_TOPS not in style:
        return graph
    made = graph.copy()
    _name_inputs(made)
    used = {layer.name for layer in made.layers}
    for layer in made.layers:
        for top in layer.tops:
            made.rename(top, layer.name if len(layer.tops) == 1 else unused(top.name, used))
            used.add(top.name)
    return made


def styled_tree(graph: Graph, style: Collection[str]) -> Message:
    """Return the tree of deploy.prototxt. graph: as `styled` returns it. EmitError for an input without a shape."""
    tree = network_tree(graph)
    if DISTINCT_TOPS in style:
        _check_distinct(tree)
    if LEGACY_INPUT in style:
        fields = [field for layer in graph.layers if layer.type == "Input" for field in _input_fields(layer)]
        rest = [field for field in tree if not _is_input(field)]
        start = next((i for i, field in enumerate(rest) if field.name == "layer"), len(rest))
        tree = Message([*rest[:start], *fields, *rest[start:]])
    return tree


def styled_layers(graph: Graph, style: Collection[str]) -> list[Layer]:
    """Return the layers that the caffemodel holds: those of deploy.prototxt."""
    return [layer for layer in graph.layers if layer.type != "Input" or LEGACY_INPUT not in style]


def _name_inputs(graph: Graph) -> None:
    names = {layer.name for layer in graph.layers}
    for layer in graph.layers:
        if layer.type == "Input" and len(layer.tops) == 1 and layer.top.name not in names:
            graph.rename(layer, layer.top.name)
            names.add(layer.name)


def _is_input(field: Field) -> bool:
    return field.name == "layer" and field.value.value("type") == "Input"


def _input_fields(layer: Layer) -> list[Field]:
    shapes = layer.params.shape
    if not shapes:
        text = f"layer {layer.name!r} has no shape, which --style {LEGACY_INPUT} has to write down"
        raise EmitError(text, layer=layer.name, remedy="give it one")
    shapes = shapes * len(layer.tops) if len(shapes) == 1 else shapes
    pairs = (
        message(input=Quoted(top.name), input_shape=message(dim=list(shape)))
        for top, shape in zip(layer.tops, shapes, strict=True)
    )
    return [field for pair in pairs for field in pair]


def _check_distinct(tree: Message) -> None:
    """Raise EmitError if a top does not have its layer's name, or has another top's."""
    seen: set[str] = set()
    for layer in tree.values("layer"):
        tops = [str(top) for top in layer.values("top")]
        name = str(layer.value("name"))
        if (len(tops) == 1 and tops[0] != name) or seen & set(tops):
            text = f"layer {name!r} cannot be written in the style {DISTINCT_TOPS}: its tops are {', '.join(tops)}"
            raise EmitError(text, layer=name)
        seen.update(tops)
