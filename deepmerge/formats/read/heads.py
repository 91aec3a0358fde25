"""The predictions of a train_val network, and the layers that lead to them."""

from __future__ import annotations

from collections.abc import Iterable

from deepmerge.formats.messages import kind_of
from deepmerge.formats.read.scalars import Reader
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.tree import Message
from deepmerge.graph.types import TYPES

PREDICTS = {"SoftmaxWithLoss": "Softmax", "SigmoidCrossEntropyLoss": "Sigmoid"}
TRANSFORMING = ("Data", "ImageData", "MemoryData", "WindowData")  # data layers that follow transform_param
_SCORES = ("Accuracy", "Evaluate")  # SSD has a DetectionEvaluate


def blobs(layer: Message, end: str) -> list[str]:
    """Return the names of the layer's blobs; `end` is "bottom" or "top"."""
    return [str(v) for v in layer.values(end)]


def is_data(layer: Message) -> bool:
    """Return whether a layer reads a data set: it has no bottom, and its type is not one that deepmerge knows."""
    return "bottom" not in layer and kind_of(layer) not in TYPES


def judges(layer: Message) -> bool:
    """Return whether a layer measures how good the network is: a loss or an accuracy.

    A Python layer says so by its class; any layer of an unknown type by a loss_weight.
    """
    if "bottom" not in layer:
        return False
    kind = kind_of(layer)
    if kind == "Python" and (param := layer.message("python_param")):
        kind = str(param.value("layer")).removesuffix("Layer")
    return kind.endswith(("Loss", *_SCORES)) or (kind_of(layer) not in TYPES and "loss_weight" in layer)


def main_losses(layers: list[Message], file) -> list[Message]:
    """Return the losses of the largest weight; the others belong to auxiliary heads."""
    losses = [m for m in layers if judges(m) and not kind_of(m).endswith(_SCORES)]
    weights = [(Reader(m, "LayerParameter", file, name_of(m)).all("loss_weight") or [1.0])[0] for m in losses]
    largest = max(weights, default=0.0)
    return [m for m, weight in zip(losses, weights, strict=True) if weight == largest]


def heads_of(layers: list[Message], losses: list[Message]) -> set[str]:
    """Return the predictions: what the losses judge, and outputs that need no label; else what Accuracy judges."""
    sources = {top for m in layers if is_data(m) for top in blobs(m, "top")}
    made = _made_from(layers, _images(layers)) - sources
    clean = made - _made_from(layers, _labels(layers))
    heads = {blob for loss in losses for blob in _predicted(loss, made, clean)} | set(_outputs(layers))
    return heads or {blobs(m, "bottom")[0] for m in layers if judges(m)} or _last(layers, clean)


def leading_to(layers: list[Message], heads: set[str]) -> tuple[list[Message], set[str]]:
    """Return the layers that the heads need, without data layers, and all of their blobs."""
    kept: list[Message] = []
    wanted = set(heads)
    for layer in reversed(layers):
        if not is_data(layer) and not judges(layer) and wanted & set(blobs(layer, "top")):
            kept.append(layer)
            wanted.update(blobs(layer, "bottom"))
    return kept[::-1], wanted


def left_out(layers: list[Message], kept: list[Message]) -> list[str]:
    """Return the names of layers that compute something from the images and are not kept."""
    ids = {id(m) for m in kept}
    later = _made_from(layers, _images(layers))
    rest = [m for m in layers if id(m) not in ids and not judges(m) and "top" in m]
    return [str(m.value("name")) for m in rest if later & set(blobs(m, "bottom"))]


def _predicted(loss: Message, made: set[str], clean: set[str]) -> list[str]:
    """Return the bottoms of a loss that the network has `made`; the others are labels, or made with them.

    That is the first one, except that a EuclideanLoss takes its two in any order, and a ContrastiveLoss has two.
    clean: what is made without labels.
    """
    bottoms = blobs(loss, "bottom")
    if kind_of(loss) in PREDICTS:
        return bottoms[:1]
    return [b for b in bottoms if b in clean] or [b for b in bottoms if b in made][:1] or bottoms[:1]


def _last(layers: list[Message], clean: set[str]) -> set[str]:
    """Return the blobs of `clean` that only layers with labels, or a Silence, read."""
    rest = set(clean)
    for layer in layers:
        ends = set(blobs(layer, "bottom"))
        if kind_of(layer) != "Silence" and ends & clean and clean.issuperset(blobs(layer, "top")):
            rest -= ends - set(blobs(layer, "top"))
    return rest


def _images(layers: list[Message]) -> set[str]:
    """Return the first top of each data layer; the second one is a label in Caffe's data layers."""
    return {blobs(m, "top")[0] for m in layers if is_data(m) and "top" in m}


def _labels(layers: list[Message]) -> set[str]:
    """Return all other tops of data layers."""
    return {top for m in layers if is_data(m) for top in blobs(m, "top")[1:]}


def _made_from(layers: list[Message], start: Iterable[str]) -> set[str]:
    """Return these blobs and all that are made from them."""
    found = set(start)
    for layer in layers:
        if found & set(blobs(layer, "bottom")):
            found.update(blobs(layer, "top"))
    return found


def _outputs(layers: list[Message]) -> list[str]:
    """Return the blobs that no layer reads and that are made from images without a label."""
    fit = _made_from(layers, _images(layers)) - _made_from(layers, _labels(layers))
    read = {b for m in layers for b in set(blobs(m, "bottom")) - set(blobs(m, "top"))}  # not in place
    tops = [t for m in layers if not is_data(m) and not judges(m) for t in blobs(m, "top")]
    return [top for top in tops if top in fit and top not in read]
