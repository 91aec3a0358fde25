"""train_val layers → a deploy network: data layers become Input, losses become what they predict."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from deepmerge.errors import ReadError
from deepmerge.formats.read.forks import image_size
from deepmerge.formats.read.heads import PREDICTS, blobs, heads_of, is_data, kind_of, leading_to, left_out, main_losses
from deepmerge.formats.read.params import read_params
from deepmerge.formats.read.scalars import Reader
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.graph.types import TYPES, UNKNOWN

_MAX_DATA = 100  # data layers that one network reads
# With these, besides the elementwise types, a top has as many channels as the bottom
_SAME_CHANNELS = ("LRN", "MVN", "Pooling", "Split")
ChannelsOf = Callable[[str, tuple[int, int]], "int | None"]


def derive(layers: list[Message], channels_of: ChannelsOf, file) -> tuple[list[Message], list[str]]:
    """Return the deploy layers of a TEST-phase list, and notes for the user.

    Layers are kept that lead to a prediction: to the bottom of a main loss, or to an output that needs no label.
    channels_of: (blob, (height, width)) → the number of channels that the weights expect in a data blob, or None.
    ReadError if nothing says how large the images are.
    """
    losses = main_losses(layers, file)
    kept, wanted = leading_to(layers, heads_of(layers, losses))
    if not kept:
        raise ReadError("has data layers, but neither a loss nor an output after them; give the deploy.prototxt", file)
    taken = {str(m.value("name")) for m in kept} | wanted
    keep, predict = {id(m) for m in kept}, _without_prediction(losses, kept)
    sources = sum(is_data(m) and bool(wanted & set(blobs(m, "top"))) for m in layers)
    if sources > _MAX_DATA:
        raise ReadError(f"reads {sources} data layers, more than {_MAX_DATA}; give the deploy.prototxt", file)
    notes: list[str] = []
    made: list[Message] = []
    for layer in layers:
        if is_data(layer) and wanted & set(blobs(layer, "top")):
            made.append(_input(layer, wanted, channels_of, file, notes))
        elif id(layer) in keep:
            made.append(layer)
        elif id(layer) in predict:
            made.append(_prediction(layer, taken))
            taken.add(str(made[-1].value("name")))
    lost = left_out(layers, kept)
    if lost:
        notes.append(f"left out of the deploy network, as they lead to no main output: {', '.join(lost)}")
    return made, notes


def channels_of(blob: str, size: tuple[int, int], layers: list[Message], stored: list[StoredLayer], file) -> int | None:
    """Return the channels of `blob` by the weights of the first layer that has any; None if none has.

    size: (height, width) of the images in `blob`.
    """
    weights = {s.name: s.blobs[0].shape for s in stored if s.blobs and s.blobs[0] is not None}
    same = {blob}
    for layer in layers:
        if not same & set(layer.values("bottom")):
            continue
        kind, shape = str(layer.value("type")), weights.get(str(layer.value("name")), ())
        if kind == "Convolution" and len(shape) == 4:
            return shape[1] * read_params(kind, layer, file, name_of(layer)).group
        if kind == "Deconvolution" and len(shape) == 4:
            return shape[0]
        elementwise = TYPES.get(kind, UNKNOWN).elementwise
        if elementwise and shape and shape[-1] > 1:
            return shape[-1]
        if kind == "InnerProduct" and len(shape) > 1 and blob in layer.values("bottom") and shape[-1] % prod(size) == 0:
            return shape[-1] // prod(size)
        if elementwise or kind in _SAME_CHANNELS:
            same.update(layer.values("top"))
    return None


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


def _input(layer: Message, wanted: set[str], channels_of: ChannelsOf, file, notes: list[str]) -> Message:
    """Return the Input layer that replaces a data layer: one image of the size that the network is tested with."""
    image, *others = blobs(layer, "top")
    extra = next((top for top in others if top in wanted), None)
    if extra:
        text = f"does not say which shape {extra!r} has, and the network reads it; give the deploy.prototxt"
        raise ReadError(f"{name_of(layer)} {text}", file, layer.line, layer.column)
    size = _height_width(layer, file)
    channels = channels_of(image, size) or _declared_channels(layer, file)
    if channels is None:
        channels = 3
        notes.append(f"{name_of(layer)} does not say how many channels its images have; 3 are assumed")
    made = Message([], layer.line, layer.column)
    for key, value in (("name", str(layer.value("name"))), ("type", "Input"), ("top", image)):
        made.add(key, Quoted(value))
    shape = Message([Field("dim", Token(size)) for size in (1, channels, *size)])
    made.add("input_param", Message([Field("shape", shape)]))
    return made


def _reader(layer: Message, name: str, type_name: str, file) -> Reader:
    return Reader(layer.message(name), type_name, file, f"{name_of(layer)}, {name}")


def _declared_channels(layer: Message, file) -> int | None:
    """Return the number of channels that a data layer's fields give, or None."""
    transform = _reader(layer, "transform_param", "TransformationParameter", file)
    memory = _reader(layer, "memory_data_param", "MemoryDataParameter", file)
    image = _reader(layer, "image_data_param", "ImageDataParameter", file)
    if memory.one("channels"):
        return memory.one("channels")
    if transform.one("force_gray") or (kind_of(layer) == "ImageData" and not image.one("is_color")):
        return 1
    if transform.one("force_color") or kind_of(layer) == "ImageData":
        return 3
    means = transform.all("mean_value")
    return len(means) if len(means) > 1 else None  # a single one may stand for all channels


def _height_width(layer: Message, file) -> tuple[int, int]:
    """Return the height and width of a data layer's images; ReadError if it does not say."""
    crop = _reader(layer, "transform_param", "TransformationParameter", file).one("crop_size")
    if crop:
        return crop, crop
    if size := image_size(layer, file, name_of(layer)):
        return size
    image = _reader(layer, "image_data_param", "ImageDataParameter", file)
    memory = _reader(layer, "memory_data_param", "MemoryDataParameter", file)
    for reader, names in ((image, ("new_height", "new_width")), (memory, ("height", "width"))):
        if all(reader.one(name) for name in names):
            return tuple(reader.one(name) for name in names)
    text = "does not say how large its images are (no crop_size, no new_height and new_width); give the deploy.prototxt"
    raise ReadError(f"{name_of(layer)} {text}", file, layer.line, layer.column)
