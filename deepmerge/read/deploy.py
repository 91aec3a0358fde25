"""A deploy network out of a train_val one: data layers become Input, losses become what they predict."""

from __future__ import annotations

from collections.abc import Callable

from deepmerge.errors import ReadError
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.read.scalars import Reader

_SOURCES = {"Input", "Parameter", "DummyData"}  # layers without bottoms that a deploy net may hold
_PREDICTS = {"SoftmaxWithLoss": "Softmax", "SigmoidCrossEntropyLoss": "Sigmoid"}


def is_data(layer: Message) -> bool:
    """A layer that reads a data set: no bottom, and not one of the types that need no files."""
    return "bottom" not in layer and str(layer.value("type")) not in _SOURCES


def derive(layers: list[Message], channels_of: Callable[[str], int | None], file) -> tuple[list[Message], list[str]]:
    """The deploy layers of a TEST-phase list, and what to tell the user.

    `channels_of(blob)` gives the number of channels that the weights of the blob's reader expect.
    """
    made: list[Message] = []
    notes: list[str] = []
    labels: set[str] = set()
    losses: list[tuple[str, float]] = []
    for layer in layers:
        bottoms, tops = ([str(v) for v in layer.values(n)] for n in ("bottom", "top"))
        kind = str(layer.value("type"))
        if is_data(layer):
            made.append(_input(layer, tops[0], channels_of, file))
            labels.update(tops[1:])
        elif labels & set(bottoms) or kind == "Accuracy" or kind.endswith("Loss"):
            if bottoms and kind in _PREDICTS and bottoms[0] not in labels:
                made.append(_prediction(layer, _PREDICTS[kind], bottoms[0], {str(m.value("name")) for m in made}))
                losses.append((str(made[-1].value("top")), _loss_weight(layer, file)))
            labels.update(tops)
        else:
            made.append(layer)
    if losses:
        made = _main_heads(made, losses, notes)
    return made, notes


def _loss_weight(layer: Message, file) -> float:
    weights = Reader(layer, "LayerParameter", file, f"layer {layer.value('name')!r}").all("loss_weight")
    return weights[0] if weights else 1.0


def _prediction(layer: Message, kind: str, bottom: str, taken: set[str]) -> Message:
    name = "prob" if "prob" not in taken else f"{layer.value('name')}/prob"
    made = Message([], layer.line, layer.column)
    for key, value in (("name", name), ("type", kind), ("bottom", bottom), ("top", name)):
        made.add(key, Quoted(value))
    made.fields += [f for f in layer if f.name == "softmax_param"]
    return made


def _main_heads(layers: list[Message], losses: list[tuple[str, float]], notes: list[str]) -> list[Message]:
    """Only what leads to the heads of the largest loss weight: auxiliary heads do not go to users."""
    largest = max(weight for _, weight in losses)
    wanted = {top for top, weight in losses if weight == largest}
    kept: list[Message] = []
    for layer in reversed(layers):
        if wanted & {str(t) for t in layer.values("top")}:
            kept.append(layer)
            wanted |= {str(b) for b in layer.values("bottom")}
    gone = [str(m.value("name")) for m in layers if not any(m is k for k in kept)]
    if gone:
        notes.append(f"left out of the deploy network, as they lead to no main output: {', '.join(gone)}")
    return kept[::-1]


def _input(layer: Message, top: str, channels_of, file) -> Message:
    where = f"layer {layer.value('name')!r} ({layer.value('type')})"
    size = _height_width(layer, file, where)
    transform = Reader(layer.message("transform_param"), "TransformationParameter", file, where)
    channels = channels_of(top)
    if channels is None:
        channels = 1 if transform.one("force_gray") else len(transform.all("mean_value")) or 3
    made = Message([], layer.line, layer.column)
    made.add("name", Quoted(str(layer.value("name"))))
    made.add("type", Quoted("Input"))
    made.add("top", Quoted(top))
    shape = Message([Field("dim", Token(d)) for d in (1, channels, *size)])
    made.add("input_param", Message([Field("shape", shape)]))
    return made


def _height_width(layer: Message, file, where: str) -> tuple[int, int]:
    transform = Reader(layer.message("transform_param"), "TransformationParameter", file, where)
    crop = transform.one("crop_size")
    if crop:
        return crop, crop
    image = Reader(layer.message("image_data_param"), "ImageDataParameter", file, where)
    memory = Reader(layer.message("memory_data_param"), "MemoryDataParameter", file, where)
    for reader, names in ((image, ("new_height", "new_width")), (memory, ("height", "width"))):
        if all(reader.one(name) for name in names):
            return tuple(reader.one(name) for name in names)
    raise ReadError(
        f"{where} does not say how large its images are (no crop_size, no new_height/new_width); give the deploy.prototxt",
        file, layer.line, layer.column,
    )  # fmt: skip
