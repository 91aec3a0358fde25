"""Layer messages → Graph, blobs joined by name as Caffe joins them (net.cpp, AppendTop and AppendBottom)."""

from __future__ import annotations

from collections.abc import Iterable

from deepmerge.errors import GraphError
from deepmerge.formats.read.forks import unknown_fields
from deepmerge.formats.read.params import read_params
from deepmerge.formats.read.phase import left_out_maker
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.tree import Message
from deepmerge.graph.types import TYPES
from deepmerge.text import count, input_option, nearest

_MAX_HINTS = 1000  # a file with more unknown types has no misspellings
# Fields that a Layer has as attributes, or that are not needed once the phase is chosen
_NOT_KEPT = frozenset(("name", "type", "bottom", "top", "param", "blobs", "include", "exclude", "phase"))


def build(name: str, messages: list[Message], file, phase: str = "TEST", others: Iterable[Message] = ()) -> Graph:
    """Return the graph of these layers, in their order.

    phase: the one that they were chosen for; others: the file's layers that were not chosen. Both are for messages.
    ReadError or GraphError (file:line:column) if a layer is not complete, or does not fit the ones before it.
    """
    graph = Graph(name)
    current: dict[str, Blob] = {}
    names: set[str] = set()
    for message in messages:
        layer = _layer(message, file)
        if layer.name in names:
            raise _error(message, file, "has the name of a layer before it; weights go by name, so rename one")
        names.add(layer.name)
        for bottom in map(str, message.values("bottom")):
            if bottom not in current:
                left_out = left_out_maker(bottom, others)
                hint = left_out if left_out and current else left_out + _hint(bottom, current)
                text = f"reads {bottom!r}, which no layer before it makes in the {phase} phase{hint}"
                raise _error(message, file, text)
            layer.bottoms.append(current[bottom])
        flags, ends = len(message.values("propagate_down")), len(layer.bottoms)
        if flags not in (0, ends):
            text = f"has {flags} propagate_down for {count(ends, 'bottom')}; give one for each, or none"
            raise _error(message, file, text)
        layer.tops = _tops(layer, current, message, file)
        graph.insert(layer)
        _check_overwritten(layer, message, file)
        current |= {top.name: top for top in layer.tops}
        if layer.params is None:
            graph.warnings.append(_unknown_type(layer, len(graph.warnings) < _MAX_HINTS))
    return graph


def _error(message: Message, file, text: str) -> GraphError:
    where = f"{file}:{message.line}:{message.column}"
    return GraphError(f"{where}: {name_of(message)} {text}", file=file, layer=str(message.value("name")))


def _layer(message: Message, file) -> Layer:
    layer = Layer(str(message.value("name")), str(message.value("type")))
    layer.params = layer.read_params = read_params(layer.type, message, file, name_of(message))
    layer.unknown_fields = unknown_fields(layer.params.FIELD, message) if layer.params is not None else ()
    layer.param_specs = message.values("param")
    layer.tree = Message([f for f in message if f.name not in _NOT_KEPT], message.line, message.column)
    return layer


def _hint(name: str, current: dict[str, Blob]) -> str:
    if not current:
        return f"; if it is an input, give its size: {input_option(name, (1, 3, None, None))}"
    near = nearest(name, current, 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _tops(layer: Layer, current: dict[str, Blob], message: Message, file) -> list[Blob]:
    tops: dict[str, Blob] = {}
    for index, name in enumerate(str(t) for t in message.values("top")):
        in_place = index < len(layer.bottoms) and layer.bottoms[index].name == name
        if name in tops:
            raise _error(message, file, f"makes {name!r} twice; give each top its own name")
        if name in current and not in_place:
            other = current[name].producer.name
            raise _error(message, file, f"makes {name!r}, as layer {other!r} does; give its top another name")
        tops[name] = Blob(name)
    return list(tops.values())


def _check_overwritten(layer: Layer, message: Message, file) -> None:
    """Raise for a layer that overwrites a blob that another layer reads; Caffe says "produced by multiple sources"."""
    tops = {top.name for top in layer.tops}
    for blob in layer.bottoms:
        if len(blob.consumers) > 1 and blob.name in tops:
            other = next((c.name for c in blob.consumers if c is not layer), layer.name)
            text = f"overwrites {blob.name!r} in place, but {other!r} reads it too; give its top another name"
            raise _error(message, file, text)


def _unknown_type(layer: Layer, hints: bool) -> str:
    if layer.type in TYPES:
        text = f"has {layer.kind.params.FIELD} fields that are not those of the {layer.type} known here"
        return f"layer {layer.name!r} {text}, and is passed through as it is"
    near = nearest(layer.type, TYPES, 1, 0.8) if hints else []
    # ROIPooling is a type of its own, and no misspelling
    hint = f"; did you mean {near[0]!r}?" if near and not layer.type.endswith(near[0]) else ""
    return f"layer {layer.name!r} has the unknown type {layer.type!r}, and is passed through as it is{hint}"
