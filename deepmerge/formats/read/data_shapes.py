"""How large the images of a data layer are: what the user says, its fields, its files, and the weights say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from deepmerge.errors import ReadError
from deepmerge.formats.messages import kind_of
from deepmerge.formats.read.data_files import record_shape
from deepmerge.formats.read.fitting import fitting_squares
from deepmerge.formats.read.forks import image_size
from deepmerge.formats.read.heads import TRANSFORMING, blobs, judges
from deepmerge.formats.read.inputs import whole
from deepmerge.formats.read.params import read_params
from deepmerge.formats.read.scalars import Reader
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.shape_errors import Shape
from deepmerge.graph.tree import Message
from deepmerge.graph.types import TYPES, UNKNOWN
from deepmerge.text import input_option

# With these, besides the elementwise types, a top has as many channels as the bottom
_SAME_CHANNELS = ("LRN", "MVN", "Pooling", "Split")


@dataclass(frozen=True)
class Known:
    """What may say how large images are.

    layers: those of the phase. stored: the caffemodel's. sizes: what the user gives, by blob. notes: gets a line for
    each guess.
    """

    layers: list[Message]
    stored: list[StoredLayer]
    sizes: Mapping[str, Shape]
    file: object
    notes: list[str] = field(default_factory=list)


def data_shapes(layer: Message, tops: list[str], known: Known) -> dict[str, Shape | None]:
    """Return the shapes of these tops of a data layer; the first top has one image, the others have what is given.

    None for one of the others that only layers of unknown types read. ReadError if nothing says what a shape is.
    """
    images = blobs(layer, "top")[0]
    found: dict[str, Shape | None] = {}
    lacking: dict[str, tuple[int | None, ...]] = {}
    for top in tops:
        if top in known.sizes:
            found[top] = whole(known.sizes[top])
        elif top != images and (record := record_shape(layer, top, known.file)) and kind_of(layer) == "HDF5Data":
            found[top] = (1, *record[0])
        elif top != images and _unknown_readers(top, known.layers):
            found[top] = None
            text = "does not say which shape {!r} has, and only layers of unknown types read it; give its size: {}"
            known.notes.append(f"{name_of(layer)} {text.format(top, input_option(top))}")
        elif top != images:
            lacking[top] = ()
        elif shape := _images(layer, known):
            found[top] = shape
        else:
            lacking[top] = (1, _channels(layer, None, known) or 3, None, None)
    if lacking:
        raise _unknown(layer, images, lacking, known.file)
    return found


def _images(layer: Message, known: Known) -> Shape | None:
    """Return the shape of one image: by the layer's fields, by a file that it names, or by the weights; else None."""
    size = _height_width(layer, known.file)
    if size is not None and (channels := _channels(layer, size, known)):
        return (1, channels, *size)
    record, path = record_shape(layer, blobs(layer, "top")[0], known.file) or ((), None)
    if size is None and record:
        known.notes.append(f"{name_of(layer)} does not say how large its images are; {path} does: {_times(record)}")
        if len(record) != 3:
            return (1, *record)
        size = record[1:]
    if size is not None:
        channels = _channels(layer, size, known) or (record[0] if len(record) == 3 else _assumed(layer, known))
        return (1, channels, *size)
    return _by_weights(layer, known)


def _by_weights(layer: Message, known: Known) -> Shape | None:
    """Return the shape of one image if the first InnerProduct's weights fit one square alone."""
    declared = _channels(layer, None, known)
    fitting = {}
    for channels in (declared,) if declared else (1, 3):
        found = fitting_squares(blobs(layer, "top")[0], channels, known.layers, known.stored, known.file)
        if found is not None:
            fitting[channels] = found
    if len(fitting) != 1:
        return None
    ((channels, (name, least, largest)),) = fitting.items()
    if least != largest:
        return None
    text = f"does not say how large its images are; {channels}×{least}×{least} is the only square that the weights of"
    known.notes.append(f"{name_of(layer)} {text} {name!r} fit")
    return (1, channels, least, least)


def _times(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _unknown_readers(blob: str, layers: list[Message]) -> bool:
    return all(kind_of(m) not in TYPES or judges(m) for m in layers if blob in blobs(m, "bottom"))


def _unknown(layer: Message, images: str, lacking: Mapping[str, tuple[int | None, ...]], file) -> ReadError:
    fields = " (no crop_size, no new_height and new_width)" if kind_of(layer) in TRANSFORMING else ""
    if list(lacking) == [images]:
        text = f"does not say how large its images are{fields}"
    else:
        names, has, it = " and ".join(map(repr, lacking)), *(("has", "it") if len(lacking) == 1 else ("have", "them"))
        text = f"does not say which shape {names} {has}, and the network reads {it}"
    remedy = f"give its size: {' '.join(input_option(top, shape) for top, shape in lacking.items())}"
    name = str(layer.value("name"))
    return ReadError(f"{name_of(layer)} {text}", file, layer.line, layer.column, layer=name, remedy=remedy)


def channels_of(
    blob: str, size: tuple[int, int] | None, layers: list[Message], stored: list[StoredLayer], file
) -> int | None:
    """Return the channels of `blob` by the weights of the first layer that has any; None if none has.

    size: (height, width) of the images in `blob`; None if it is not known.
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
        direct = size is not None and kind == "InnerProduct" and blob in layer.values("bottom")
        if direct and len(shape) > 1 and shape[-1] % prod(size) == 0:
            return shape[-1] // prod(size)
        if elementwise or kind in _SAME_CHANNELS:
            same.update(layer.values("top"))
    return None


def _channels(layer: Message, size: tuple[int, int] | None, known: Known) -> int | None:
    """Return the channels that the weights, or else the layer's fields, give; None where neither does."""
    by_weights = channels_of(blobs(layer, "top")[0], size, known.layers, known.stored, known.file)
    return by_weights or _declared_channels(layer, known.file)


def _assumed(layer: Message, known: Known) -> int:
    known.notes.append(f"{name_of(layer)} does not say how many channels its images have; 3 are assumed")
    return 3


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


def _height_width(layer: Message, file) -> tuple[int, int] | None:
    """Return the height and width that a data layer's fields give, or None."""
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
    return None
