"""train_val layers → a deploy network: data layers become Input, losses become what they predict."""

from __future__ import annotations

from collections.abc import Mapping

from deepmerge.errors import ReadError
from deepmerge.formats.messages import kind_of
from deepmerge.formats.read.data_shapes import Known, data_shapes
from deepmerge.formats.read.heads import PREDICTS, blobs, heads_of, is_data, leading_to, left_out, main_losses
from deepmerge.formats.read.inputs import input_layer
from deepmerge.graph.shape_errors import Shape
from deepmerge.graph.tree import Message, Quoted
from deepmerge.text import unused

_MAX_DATA = 100  # data layers that one network reads


def derive(known: Known) -> tuple[list[Message], list[str]]:
    """Return the deploy layers of the TEST phase, and notes for the user.

    Layers are kept that lead to a prediction: to the bottom of a main loss, or to an output that needs no label.
    ReadError if nothing says how large the images are.
    """
    layers, file, notes = known.layers, known.file, known.notes
    losses = main_losses(layers, file)
    kept, wanted = leading_to(layers, heads_of(layers, losses))
    if not kept:
        raise ReadError("has data layers, but neither a loss nor an output after them; give the deploy.prototxt", file)
    taken = {str(m.value("name")) for m in kept} | wanted
    keep, predict = {id(m) for m in kept}, _without_prediction(losses, kept)
    sources = sum(is_data(m) and bool(wanted & set(blobs(m, "top"))) for m in layers)
    if sources > _MAX_DATA:
        raise ReadError(f"reads {sources} data layers, more than {_MAX_DATA}; give the deploy.prototxt", file)
    made: list[Message] = []
    for layer in layers:
        if is_data(layer) and (tops := [top for top in blobs(layer, "top") if top in wanted]):
            made += _inputs(layer, data_shapes(layer, tops, known), taken)
        elif id(layer) in keep:
            made.append(layer)
        elif id(layer) in predict:
            made.append(_prediction(layer, taken))
            taken.add(str(made[-1].value("name")))
    lost = left_out(layers, kept)
    if lost:
        notes.append(f"left out of the deploy network, as they lead to no main output: {', '.join(lost)}")
    return made, notes


def _inputs(layer: Message, shapes: Mapping[str, Shape | None], taken: set[str]) -> list[Message]:
    """Return the Input layers that replace a data layer; each top without a shape has one of its own."""
    name, sized = str(layer.value("name")), {top: shape for top, shape in shapes.items() if shape is not None}
    made = [input_layer(name, sized, layer.line, layer.column)] if sized else []
    for top in (top for top in shapes if top not in sized):
        own = unused(f"{name}/{top}", taken)
        taken.add(own)
        made.append(input_layer(own, {top: None}, layer.line, layer.column))
    return made


def _without_prediction(losses: list[Message], kept: list[Message]) -> set[int]:
    """Return the ids of losses for whose bottom no kept layer makes the prediction."""
    there = {(kind_of(m), *blobs(m, "bottom")) for m in kept if kind_of(m) in PREDICTS.values()}
    wanting = [(m, PREDICTS[kind_of(m)]) for m in losses if kind_of(m) in PREDICTS]
    return {id(m) for m, kind in wanting if (kind, blobs(m, "bottom")[0]) not in there}


def _prediction(loss: Message, taken: set[str]) -> Message:
    """Return the layer whose output the loss judges, called `prob` if that name is free."""
    name = "prob" if "prob" not in taken else f"{loss.value('name')}/prob"
    made = Message([], loss.line, loss.column)
    ends = (("bottom", blobs(loss, "bottom")[0]), ("top", name))
    for key, value in (("name", name), ("type", PREDICTS[kind_of(loss)]), *ends):
        made.add(key, Quoted(value))
    made.fields += [f for f in loss if f.name == "softmax_param"]
    return made
