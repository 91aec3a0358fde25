"""Loss and accuracy layers of a train_val network that has none of its own."""

from __future__ import annotations

from deepmerge.formats.messages import kind_of, read_by
from deepmerge.formats.write.prototxt import message
from deepmerge.graph import shape_forks
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.tree import Message, Quoted, Token
from deepmerge.text import unused

_PREDICTIONS = frozenset(("Softmax", "Sigmoid"))


def has_loss(layers: list[Message]) -> bool:
    """Return whether one of the layers is a loss, by its type or its loss_weight."""
    return any(kind_of(m).endswith("Loss") or "loss_weight" in m for m in layers)


def idle_predictions(graph: Graph, names: dict[Blob, str], readers: list[Message]) -> set[Layer]:
    """Return the layers at the network's end that compute probabilities and that none of `readers` reads."""
    read = read_by(readers)
    return {layer for layer in _ends(graph) if not read & {names[t] for t in layer.tops}}


def _ends(graph: Graph) -> list[Layer]:
    """Return the last layers of the network that turn scores into probabilities."""
    outputs = set(graph.outputs)
    return [layer for layer in graph.layers if layer.type in _PREDICTIONS and outputs.issuperset(layer.tops)]


def no_loss_fits(graph: Graph) -> str:
    """Return why no loss can judge the network's last output; "" if one can.

    Only a run shows how many detections there are, so that no labels can stand beside them.
    """
    end = _last(graph)
    if end is None:
        return f"network {graph.name!r} has no output"
    if end.kind.shape is not shape_forks.unknown:
        return ""
    return f"no loss fits {end.tops[-1].name!r}, the output of a {end.type}"


def _last(graph: Graph) -> Layer | None:
    """Return the layer whose output training would judge; None if no layer makes an output."""
    made = [blob.producer for blob in graph.outputs if blob.producer.type != "Input"]
    return next(reversed(_ends(graph) or made), None)


def make_losses(graph: Graph, names: dict[Blob, str], label: str, notes: list[str]) -> list[Message]:
    """Return SoftmaxWithLoss and Accuracy layers on the bottom of the last Softmax, or on the last output.

    notes: gets a line for each thing that the user should know.
    """
    end = _last(graph)
    scores = end.bottom if end.type in _PREDICTIONS else end.tops[-1]
    shape = infer_shapes(graph, strict=False).get(scores)
    about = f"train_val.prototxt has a loss on {scores.name!r}"
    if len(graph.outputs) > 1:
        notes.append(f"{about} alone, of {len(graph.outputs)} outputs; add the others, or give --train-val")
    if shape is None:
        notes.append(
            f"{about}, the output of a {end.type}, whose shape is not known; unless these are scores, give --train-val"
        )
    elif len(shape) == 4 and shape[2] * shape[3] > 1:
        notes.append(f"{about}, which needs {shape[2]}x{shape[3]} labels for each image; give --train-val")
    bottoms = [Quoted(names[scores]), Quoted(label)]
    top = Quoted(unused("loss", names.values()))
    if end.type == "Sigmoid":
        return [message(name=top, type=Quoted("SigmoidCrossEntropyLoss"), bottom=bottoms, top=top)]
    axis = end.params.axis if end.type == "Softmax" else 1
    other = None if axis == 1 else axis
    param = None if other is None else message(axis=axis)
    loss = message(name=top, type=Quoted("SoftmaxWithLoss"), bottom=bottoms, top=top, softmax_param=param)
    classes = shape[axis] if shape is not None and len(shape) > 1 else 0
    return [loss] + [_accuracy(k, bottoms, names, other) for k in (1, 5) if classes > k]


def _accuracy(k: int, bottoms: list[Quoted], names: dict[Blob, str], axis: int | None) -> Message:
    top = Quoted(unused(f"accuracy/top-{k}", names.values()))
    return message(
        name=top,
        type=Quoted("Accuracy"),
        bottom=bottoms,
        top=top,
        include=message(phase=Token("TEST")),
        accuracy_param=message(top_k=k, axis=axis),
    )
