"""Sizes that a prototxt states and that are not those it runs with: a single image, a placeholder of 1×1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deepmerge.formats.messages import stated_batch
from deepmerge.formats.read.heads import is_data
from deepmerge.formats.read.inputs import shape_message
from deepmerge.formats.read.phase import in_phase
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape, first_misfit
from deepmerge.graph.tree import Field, Message
from deepmerge.text import input_option


def take_stated_batch(graph: Graph, file) -> None:
    """Give the Inputs that were data layers these layers' own batch, if a Reshape does not fit a single image."""
    data = [m for m in graph.train_layers if is_data(m) and in_phase(m, None, file)]
    batches = {str(m.value("name")): size for m in data if (size := stated_batch(m))}
    before = {x: x.params for x in graph.layers if x.type == "Input" and x.name in batches}
    if graph.given_inputs or not before:
        return
    misfit = first_misfit(graph)
    if misfit is None or misfit.type != "Reshape":
        return
    for layer, params in before.items():
        layer.params = replace(params, shape=tuple((batches[layer.name], *shape[1:]) for shape in params.shape))
    if first_misfit(graph) is not None:
        for layer, params in before.items():
            layer.params = params
        return
    for layer in before:
        layer.read_params = layer.params
        shapes = [Field("shape", shape_message(shape)) for shape in layer.params.shape]
        layer.tree.set("input_param", Message(shapes))
        text = f"layer {misfit.name!r} does not fit a single image, so the batch of {layer.name!r} is kept"
        graph.warnings.append(f"{text}: {batches[layer.name]}")


def placeholders(graph: Graph, shapes: Mapping[Blob, Shape | None]) -> list[str]:
    """Return a line for each image input that is stated as 1×1 and read through larger windows.

    OpenPose's files state such sizes; the real one is given at run time.
    """
    notes = []
    for blob in graph.inputs:
        shape = shapes[blob] or ()
        if len(shape) != 4 or shape[2:] != (1, 1) or blob.name in graph.given_inputs:
            continue
        windows = (x for x in graph.layers if _is_window(x) and (shapes[x.bottom] or ())[2:] == (1, 1))
        if (layer := next(windows, None)) is not None:
            text = f"input {blob.name!r} is 1×1, smaller than the window of layer {layer.name!r}"
            option = input_option(blob.name, (*shape[:2], None, None))
            notes.append(f"{text}: a placeholder for a size that is given at run time; give its size: {option}")
    return notes


def _is_window(layer: Layer) -> bool:
    known = layer.type in ("Convolution", "Pooling") and layer.params is not None
    return known and max(layer.params.kernel_h, layer.params.kernel_w) > 1
