"""train_val.prototxt: the network with data, loss and accuracy, new layers learning faster than old ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deepmerge.emit.data_layers import Source, data_layer
from deepmerge.emit.layers import blob_names, layer_message
from deepmerge.emit.prototxt import message
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.tree import Field, Message, Quoted, Token

# (lr_mult, decay_mult) of weights and bias, as the paper fine-tunes: what is new learns 10 times as fast
NEW_RATES = ((10, 1), (20, 0))
OLD_RATES = ((1, 1), (2, 0))
_PREDICTIONS = frozenset(("Softmax", "Sigmoid"))


@dataclass(frozen=True)
class TrainData:
    """Where the train_val's images come from if the network brings no data layers of its own."""

    train: Source | None = None
    test: Source | None = None
    batch_size: int = 32


def train_val_tree(graph: Graph, is_new: Callable[[Layer], bool], data: TrainData) -> tuple[Message, list[str]]:
    """The train_val network, and what had to be left out of it (one line each)."""
    names = blob_names(graph)
    own = list(graph.train_layers)
    has_loss = any(str(m.value("type")).endswith("Loss") for m in own)
    notes: list[str] = []
    sources = [m for m in own if "bottom" not in m and "top" in m]
    heads = [] if has_loss else _losses(graph, names, notes)
    replaced = _predictions(graph) if has_loss or heads else set()
    body = [_with_rates(layer, names, is_new(layer)) for layer in graph.layers if layer.type != "Input" and layer not in replaced]
    if any(_feeds(m, graph, names) for m in sources):
        front = [_renamed(m, graph, names) for m in sources]
    else:
        front = _data_layers(graph, names, data) + sources
    rest = [m for m in own if not any(m is s for s in sources)] + heads
    made = Message()
    if graph.name:
        made.add("name", Quoted(graph.name))
    made.fields += graph.tree.fields
    made.fields += [Field("layer", m) for m in _joined(front + body, rest, notes)]
    return made, notes


def _with_rates(layer: Layer, names: dict[Blob, str], new: bool) -> Message:
    """The layer's message with learning rates; those that the user gave to an old layer stay."""
    made = layer_message(layer, names)
    if layer.type == "BatchNorm" or not layer.weights:
        return made
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


def _predictions(graph: Graph) -> set[Layer]:
    """The layers that only turn scores into probabilities, at the network's very end."""
    outputs = set(graph.outputs)
    return {layer for layer in graph.layers if layer.type in _PREDICTIONS and outputs.issuperset(layer.tops)}


def _losses(graph: Graph, names: dict[Blob, str], notes: list[str]) -> list[Message]:
    """SoftmaxWithLoss and Accuracy on the scores: on what the last Softmax reads, else on the last output."""
    ends = [layer for layer in graph.layers if layer in _predictions(graph)] or [b.producer for b in graph.outputs]
    end = ends[-1]
    scores = end.bottom if end.type in _PREDICTIONS else end.tops[-1]
    if len(graph.outputs) > 1:
        notes.append(f"train_val.prototxt has a loss on {scores.name!r} alone, of {len(graph.outputs)} outputs; add the others, or give --train-val")
    shape = infer_shapes(graph, strict=False).get(scores)
    bottoms = [Quoted(names[scores]), Quoted("label")]
    axis = end.params.axis if end.type == "Softmax" and end.params.axis != 1 else None
    kind = "SigmoidCrossEntropyLoss" if end.type == "Sigmoid" else "SoftmaxWithLoss"
    loss = message(name=Quoted("loss"), type=Quoted(kind), bottom=bottoms, top=Quoted("loss"))
    if axis is not None and kind == "SoftmaxWithLoss":
        loss.add("softmax_param", message(axis=axis))
    heads = [loss]
    if kind == "SoftmaxWithLoss" and shape is not None and len(shape) > 1:
        for k in (1, 5):
            if shape[1] > k:
                heads.append(
                    message(name=Quoted(f"accuracy/top-{k}"), type=Quoted("Accuracy"), bottom=bottoms, top=Quoted(f"accuracy/top-{k}"),
                            include=message(phase=Token("TEST")), accuracy_param=message(top_k=k))
                )  # fmt: skip
    return heads


def _data_layers(graph: Graph, names: dict[Blob, str], data: TrainData) -> list[Message]:
    shapes = infer_shapes(graph, strict=False)
    blob = graph.inputs[0]
    tops = (names[blob], "label")
    pairs = (("TRAIN", data.train), ("TEST", data.test))
    return [data_layer(phase, tops, shapes[blob], source, data.batch_size) for phase, source in pairs]


def _feeds(source: Message, graph: Graph, names: dict[Blob, str]) -> bool:
    """Whether a layer without bottoms is what the deploy network's Input stands for."""
    return str(source.value("type")) not in ("Input", "DummyData", "Parameter") or bool(
        {names[b] for b in graph.inputs} & {str(t) for t in source.values("top")}
    )


def _renamed(source: Message, graph: Graph, names: dict[Blob, str]) -> Message:
    """A data layer whose first top is called as the deploy network's only input."""
    tops = [str(t) for t in source.values("top")]
    inputs = [names[b] for b in graph.inputs]
    if len(inputs) != 1 or set(tops) & set(inputs) or str(source.value("type")) in ("DummyData", "Parameter"):
        return source
    copy = source.copy()
    copy.set("top", Quoted(inputs[0]), *(Quoted(t) for t in tops[1:]))
    return copy


def _joined(layers: list[Message], rest: list[Message], notes: list[str]) -> list[Message]:
    """`layers` with the training layers put where they can run: in-place ones behind their blob's maker."""
    made = list(layers)
    for extra in rest:
        bottoms, tops = ([str(v) for v in extra.values(n)] for n in ("bottom", "top"))
        makers = {str(t): i for i, m in enumerate(made) for t in m.values("top")}
        missing = [b for b in bottoms if b not in makers]
        if missing:
            notes.append(f"train_val.prototxt leaves out layer {str(extra.value('name'))!r}: its bottom {missing[0]!r} was merged away")
        elif len(bottoms) == 1 and bottoms == tops:
            made.insert(makers[bottoms[0]] + 1, extra)
        else:
            made.append(extra)
    return made
