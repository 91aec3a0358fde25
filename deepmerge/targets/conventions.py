"""How a target wants its files written, by the words that its file uses.

`convert --target` writes files that keep to them; most are styles of formats/write/style.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.params import Window
from deepmerge.text import nearest

Found = Iterator[tuple[str, str, str]]  # layer, its type, what is wrong with it


def _same_layers(graph: Graph, stored: Mapping[str, str] | None) -> Found:
    """Find layers with weights that the caffemodel does not have under the same name and type, case included."""
    for layer in graph.layers if stored is not None else ():
        if not layer.weights:
            continue
        if layer.name not in stored:
            near = nearest(layer.name, stored, most=1)
            hint = f"; it has {near[0]!r}" if near else ""
            yield layer.name, layer.type, f"the caffemodel has no layer of this name{hint}"
        elif stored[layer.name] not in (layer.type, ""):  # HDF5 stores no types
            yield layer.name, layer.type, f"the caffemodel stores it as a {stored[layer.name]}"


def _distinct_tops(graph: Graph, stored: Mapping[str, str] | None) -> Found:
    """Find layers whose only top has another name than the layer, except layers that run in place."""
    for layer in graph.layers:
        in_place = layer.tops and any(bottom.name == layer.top.name for bottom in layer.bottoms)
        if len(layer.tops) == 1 and layer.top.name != layer.name and not in_place:
            yield layer.name, layer.type, f"its top is called {layer.top.name!r}, not as the layer"


def _axis_windows(graph: Graph, stored: Mapping[str, str] | None) -> Found:
    """Find windows that one field gives for both axes with two values that differ."""
    for layer in graph.layers:
        for field in two_valued(layer):
            text = f"{field} has two values, which it reads as width, height; Caffe means height, width"
            yield layer.name, layer.type, text


def _group_depthwise(graph: Graph, stored: Mapping[str, str] | None) -> Found:
    """Find depthwise convolutions of a type of their own."""
    for layer in graph.layers:
        if layer.kind.depthwise:
            yield layer.name, layer.type, "it has to be a Convolution with group"


def _global_stats(graph: Graph, stored: Mapping[str, str] | None) -> Found:
    """Find BatchNorms that do not say use_global_stats."""
    for layer in graph.layers:
        if layer.type == "BatchNorm" and layer.params is not None and layer.params.use_global_stats is None:
            yield layer.name, layer.type, "it has to say use_global_stats: true"


def _no_training(graph: Graph, stored: Mapping[str, str] | None) -> Found:
    """Find layers that only training needs: data, losses, accuracy."""
    for layer in graph.train_layers:
        yield str(layer.value("name")), str(layer.value("type")), "it is a layer of training"


def two_valued(layer: Layer) -> list[str]:
    """Return which of kernel_size, stride and pad the layer's message gives two values that differ.

    More values are for more axes than height and width, and have no other spelling.
    """
    if not isinstance(layer.params, Window) or not layer.params.FIELD:
        return []
    block = layer.tree.message(layer.params.FIELD)
    fields = {} if block is None else {name: block.values(name) for name in _BOTH_AXES}
    return [name for name, values in fields.items() if len(values) == 2 and values[0] != values[1]]


_BOTH_AXES = ("kernel_size", "stride", "pad")
CONVENTIONS: dict[str, Callable[[Graph, Mapping[str, str] | None], Found]] = {
    "same-layers": _same_layers,
    "distinct-tops": _distinct_tops,
    "axis-windows": _axis_windows,
    "group-depthwise": _group_depthwise,
    "global-stats": _global_stats,
    "no-training": _no_training,
}
