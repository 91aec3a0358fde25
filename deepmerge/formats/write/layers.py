"""Graph → layer messages: names, bottoms, tops and parameters. Layers that ran in place still do."""

from __future__ import annotations

from deepmerge.formats.write.params import layer_fields
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.tree import Field, Message, Quoted
from deepmerge.text import unused


def blob_names(graph: Graph) -> dict[Blob, str]:
    """Return a name for each blob. Versions of a blob share it if the layer between them runs in place.

    The last version keeps the name, so that outputs keep theirs. Others become `name_1`, `name_2`, …
    """
    names: dict[Blob, str] = {}
    used: set[str] = set()
    taken = {blob.name for blob in graph.blobs}
    for blob in reversed(graph.blobs):
        name = blob.name
        if name in used:
            name = _shared_name(blob, names) or unused(name, taken, first=1)
            taken.add(name)
        names[blob] = name
        used.add(name)
    return names


def _shared_name(blob: Blob, names: dict[Blob, str]) -> str | None:
    """Return the name of the blob's next version, if the layer between them is the only reader and runs in place."""
    if len(blob.consumers) != 1 or _shares_memory(blob):
        return None
    reader = blob.consumers[0]
    at = reader.bottoms.index(blob)
    able = reader.kind.in_place or reader.params is None
    if not able or at >= len(reader.tops) or reader.tops[at].name != blob.name:
        return None
    return names[reader.tops[at]]


def _shares_memory(blob: Blob) -> bool:
    """Return whether overwriting `blob` would overwrite a blob that other layers read, as some types share memory.

    Caffe: ShareData in split_layer.cpp, flatten_layer.cpp, reshape_layer.cpp, concat_layer.cpp, slice_layer.cpp.
    """
    layer = blob.producer
    while layer.kind.shares_memory and len(layer.bottoms) == 1 and (layer.type != "Slice" or len(layer.tops) == 1):
        if len(layer.bottom.consumers) > 1 or len(layer.tops) > 1:
            return True
        layer = layer.bottom.producer
    return False


def layer_message(layer: Layer, names: dict[Blob, str]) -> Message:
    """Return the `layer { … }` message with its ParamSpecs, without weights."""
    made = Message()
    made.add("name", Quoted(layer.name))
    made.add("type", Quoted(layer.type))
    for blob in layer.bottoms:
        made.add("bottom", Quoted(names[blob]))
    for blob in layer.tops:
        made.add("top", Quoted(names[blob]))
    made.fields += [Field("param", spec) for spec in layer.param_specs]
    made.fields += layer_fields(layer).fields
    return made


def network_tree(graph: Graph) -> Message:
    """Return the network as the tree of a deploy prototxt."""
    names = blob_names(graph)
    made = Message()
    if graph.name:
        made.add("name", Quoted(graph.name))
    made.fields += graph.tree.fields
    for layer in graph.layers:
        made.add("layer", layer_message(layer, names))
    return made
