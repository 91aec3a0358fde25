"""train_val.prototxt: the network with data, loss and accuracy layers; new layers learn faster than old ones."""

from __future__ import annotations

from collections.abc import Callable

from deepmerge.formats.messages import is_source, kind_of, read_by, renamed, tops_of
from deepmerge.formats.write.layers import blob_names, layer_message
from deepmerge.formats.write.losses import has_loss, idle_predictions, make_losses
from deepmerge.formats.write.prototxt import message
from deepmerge.formats.write.train_data import Front, TrainData, make_front, own_layers
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.tree import Field, Message, Quoted

__all__ = ["NEW_RATES", "OLD_RATES", "TrainData", "train_val"]

# (lr_mult, decay_mult) of weights and bias, as the paper fine-tunes: new layers learn 10 times as fast
NEW_RATES = ((10, 1), (20, 0))
OLD_RATES = ((1, 1), (2, 0))


def train_val(graph: Graph, is_new: Callable[[Layer], bool], data: TrainData) -> tuple[Message, Front]:
    """Return the train_val network and its data layers. Their notes also list the layers that had to be left out.

    is_new: whether a layer learns at the rate of new layers.
    """
    names = blob_names(graph)
    own = own_layers(graph, names)
    front = make_front(graph, names, own, data)
    rest = [m for m in own if not is_source(m)]
    if not has_loss(own):
        rest += make_losses(graph, names, front.label, front.notes)
    left_out = idle_predictions(graph, names, rest)
    layers = [layer for layer in graph.layers if layer.type != "Input" and layer not in left_out]
    body = [_with_rates(layer, names, is_new(layer)) for layer in layers]
    made = Message()
    if graph.name:
        made.add("name", Quoted(graph.name))
    made.fields += graph.tree.fields
    made.fields += [Field("layer", m) for m in _joined(front.layers + body, rest, front.notes)]
    return made, front


def _with_rates(layer: Layer, names: dict[Blob, str], new: bool) -> Message:
    """Return the layer's message with learning rates. Old layers keep the rates that the user gave them."""
    made = layer_message(layer, names)
    if layer.type == "BatchNorm" or not layer.weights:
        return made  # Caffe itself keeps BatchNorm's statistics from learning
    given = list(layer.param_specs)
    if given and not new:
        return made
    rates = NEW_RATES if new else OLD_RATES
    specs = [message(lr_mult=lr, decay_mult=decay) for lr, decay in rates[: len(layer.weights)]]
    for spec, old in zip(specs, given, strict=False):
        spec.fields[:0] = [f for f in old if f.name not in ("lr_mult", "decay_mult")]
    made.remove("param")
    place = 1 + max(i for i, f in enumerate(made.fields) if f.name in ("name", "type", "bottom", "top"))
    made.fields[place:place] = [Field("param", spec) for spec in specs]
    return made


def _joined(layers: list[Message], rest: list[Message], notes: list[str]) -> list[Message]:
    """Return `layers` with the training layers where they can run: in-place ones after the layer of their blob."""
    made = list(layers)
    read, own = read_by(rest), set(tops_of(layers))
    for extra in rest:
        makers = {top: i for i, m in enumerate(made) for top in tops_of([m])}
        bottoms, tops = sorted(read_by([extra])), tops_of([extra])
        reason = _obstacle(bottoms, tops, makers, own)
        if reason:
            notes.append(f"train_val.prototxt leaves out layer {str(extra.value('name'))!r}: {reason}")
            continue
        if kind_of(extra) == "Dropout" and len(tops) == 1 and tops[0] not in read | makers.keys():
            extra = renamed(extra, tops[0], bottoms[0])  # in the deploy network its readers read its bottom
            tops = bottoms
        if len(tops) == 1 and bottoms == tops:
            made.insert(makers[tops[0]] + 1, extra)
        else:
            made.append(extra)
    return made


def _obstacle(bottoms: list[str], tops: list[str], makers: dict[str, int], own: set[str]) -> str:
    """Return why a training layer no longer fits the network; "" if it does. own: the network's blobs."""
    for bottom in bottoms:
        if bottom not in makers:
            return f"its bottom {bottom!r} was merged away"
    for top in tops:
        if top in own and top not in bottoms:
            return f"its top {top!r} is made by the network itself"
    return ""
