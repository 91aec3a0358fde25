"""Spellings of deploy.prototxt that toolchains for embedded devices need. The network computes the same.

distinct-tops   each layer's top has the layer's name, and no layer runs in place (Huawei's ATC). If a layer has several
                tops, all their names differ. An Input layer gets its top's name, so that inputs keep their names.
legacy-input    `input` and `input_shape` fields instead of Input layers, also in the caffemodel (old Caffe, OpenCV 3).
axis-windows    kernel_h and kernel_w, stride_h …, where kernel_size has two values, which TPU-MLIR reads as (w, h).
group-depthwise ConvolutionDepthwise and DepthwiseConvolution as Convolution with one group for each channel.
global-stats    BatchNorm says use_global_stats: true, which is Caffe's default in the TEST phase.

Targets (deepmerge/targets) name the styles that they need.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace

from deepmerge.errors import EmitError
from deepmerge.formats import AXIS_WINDOWS, DISTINCT_TOPS, GLOBAL_STATS, GROUP_DEPTHWISE, LEGACY_INPUT
from deepmerge.formats.write.layers import network_tree
from deepmerge.formats.write.params import with_axis_windows
from deepmerge.formats.write.prototxt import message
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.params import Convolution
from deepmerge.graph.tree import Field, Message, Quoted
from deepmerge.text import input_option, unused


def styled(graph: Graph, style: Collection[str]) -> Graph:
    """Return the graph as that style has its layers and blobs: a copy, or `graph` itself if nothing changes."""
    chosen = [rewrite for name, rewrite in _REWRITES.items() if name in style]
    made = graph.copy() if chosen else graph
    for rewrite in chosen:
        rewrite(made)
    return made


def _distinct_tops(made: Graph) -> None:
    _name_inputs(made)
    used = {layer.name for layer in made.layers}
    for layer in made.layers:
        for top in layer.tops:
            made.rename(top, layer.name if len(layer.tops) == 1 else unused(top.name, used))
            used.add(top.name)


def _axis_windows(made: Graph) -> None:
    for layer in made.layers:
        layer.tree, layer.read_params = with_axis_windows(layer), layer.params


def _group_depthwise(made: Graph) -> None:
    for layer in made.layers:
        if layer.kind.depthwise and layer.params is not None:
            layer.type, layer.params = "Convolution", Convolution(**asdict(layer.params))
            if layer.read_params is not None:  # group is written even where the file had it
                layer.read_params = replace(Convolution(**asdict(layer.read_params)), group=0)


def _global_stats(made: Graph) -> None:
    for layer in made.layers:
        if layer.type == "BatchNorm" and layer.params is not None and layer.params.use_global_stats is None:
            layer.params = replace(layer.params, use_global_stats=True)


_REWRITES = {
    GROUP_DEPTHWISE: _group_depthwise,
    AXIS_WINDOWS: _axis_windows,
    GLOBAL_STATS: _global_stats,
    DISTINCT_TOPS: _distinct_tops,
}


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
        text = f"layer {layer.name!r} (Input) has no shape, which --style {LEGACY_INPUT} needs"
        sizes = " ".join(input_option(top.name) for top in layer.tops)
        raise EmitError(text, layer=layer.name, remedy=f"give it: {sizes}")
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
            raise EmitError(text, layer=name, remedy=f"leave {DISTINCT_TOPS} out")
        seen.update(tops)
