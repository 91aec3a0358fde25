"""Sizes of inputs that the user gives (`--input data=1,3,224,224`), put where a prototxt has none, or others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral

from deepmerge.errors import ReadError
from deepmerge.formats.messages import kind_of
from deepmerge.formats.read.heads import blobs, is_data, judges
from deepmerge.formats.read.params import read_params
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.shape_errors import INT_MAX, MAX_AXES, Shape
from deepmerge.graph.tokens import integer
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.text import did_you_mean, input_option, unused

Sizes = Mapping[str, Sequence[int]]
_IMAGE = 3  # axes of an image: channels, height, width


def checked(sizes: Sizes | None) -> dict[str, Shape]:
    """Return the sizes by the inputs' names; ReadError for one that no blob can have."""
    made = {}
    for name, size in (sizes or {}).items():
        found = tuple(size) if isinstance(size, Iterable) else ()
        if not 0 < len(found) <= MAX_AXES or not all(_is_size(n) for n in found):
            text = f"input {name!r}: {size!r} is not a size; give whole numbers from 1 on, such as (1, 3, 224, 224)"
            raise ReadError(text)
        made[name] = tuple(map(int, found))
    return made


def _is_size(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool) and 0 < number <= INT_MAX


def whole(size: Shape, declared: Shape | None = None) -> Shape:
    """Return the size with a batch: one axis less than the declared shape, or C,H,W without one, keeps the file's."""
    if len(size) == (len(declared) - 1 if declared else _IMAGE):
        return (declared[0] if declared and declared[0] > 0 else 1, *size)
    return size


def state_legacy(net: Message, sizes: Mapping[str, Shape]) -> Message:
    """Return a network whose `input:` fields without sizes have those that the user gives.

    Nothing changes where the prototxt gives all sizes, or where the user does not give those of all.
    """
    names = [str(v) for v in net.values("input")]
    enough = len(net.values("input_shape")) >= len(names) or len(net.values("input_dim")) >= 4 * len(names)
    if enough or not all(name in sizes for name in names):
        return net
    rest = [f for f in net if f.name not in ("input_shape", "input_dim")]
    shapes = [Field("input_shape", shape_message(whole(sizes[name]))) for name in names]
    return Message([*rest, *shapes], net.line, net.column)


def add_unmade(layers: list[Message], sizes: Mapping[str, Shape]) -> list[Message]:
    """Return the layers with an Input in front for each named blob that is read, and that no layer makes before.

    Where losses read labels that nothing makes, as in a train.prototxt with TRAIN data alone, data layers stand in
    front instead, so that the losses can go.
    """
    missing = unmade(layers)
    judged = [blob for blob in missing if all(judges(m) for m in layers if blob in blobs(m, "bottom"))]
    taken = {str(m.value("name")) for m in layers}
    made = []
    for name in (name for name in missing if name in sizes):
        made.append(input_layer(unused(name, taken), {name: whole(sizes[name])}))
        taken.add(str(made[-1].value("name")))
    if made and judged:
        made[0].fields += [Field("top", Quoted(blob)) for blob in judged if blob not in sizes]
        made = [_as_data(m) for m in made]
    return made + layers


def unmade(layers: list[Message]) -> list[str]:
    """Return the blobs that layers read before any layer makes them."""
    made: set[str] = set()
    missing = []
    for layer in layers:
        missing += [blob for blob in blobs(layer, "bottom") if blob not in made]
        made.update(blobs(layer, "bottom"), blobs(layer, "top"))
    return missing


def refuse_unknown(sizes: Mapping[str, Shape], layers: list[Message], file) -> None:
    """Raise ReadError for a name that is no input's: an Input's top, a data layer's, or a blob that no layer makes."""
    sources = [m for m in layers if is_data(m) or kind_of(m) in ("Input", "DummyData")]
    known = dict.fromkeys([*(top for m in sources for top in blobs(m, "top")), *unmade(layers)])
    for name in sizes:
        if name not in known:
            raise _no_input(name, known, file)


def _no_input(name: str, known: Iterable[str], file) -> ReadError:
    return ReadError(f"has no input {name!r}", file, remedy=did_you_mean(name, known))


def dummies_as_data(
    layers: list[Message], sizes: Mapping[str, Shape], file
) -> tuple[list[Message], Mapping[str, Shape]]:
    """Return layers in which DummyData stands for images and labels as data layers of known sizes, and all sizes.

    That is so where nothing else feeds the network, and it has a loss or the user gives a size. Else the layers stay.
    """
    dummies = [m for m in layers if kind_of(m) == "DummyData"]
    named = any(top in sizes for m in dummies for top in blobs(m, "top"))
    if any(is_data(m) or kind_of(m) == "Input" for m in layers) or not (named or any(map(judges, layers))):
        return layers, sizes
    every = dict(sizes)
    for dummy in dummies:
        tops = blobs(dummy, "top")
        stated = read_params("DummyData", dummy, file, name_of(dummy)).shape
        stated = stated * len(tops) if len(stated) == 1 else stated
        for top, shape in zip(tops, stated, strict=False):
            every[top] = whole(sizes[top], shape) if top in sizes else shape
    ids = {id(m) for m in dummies}
    return [_as_data(m) if id(m) in ids else m for m in layers], every


def _as_data(layer: Message) -> Message:
    made = layer.copy()
    made.set("type", Quoted("DataOfKnownSize"))
    return made


def set_sizes(layers: list[Message], sizes: Mapping[str, Shape], file) -> tuple[list[Message], dict[str, Shape]]:
    """Return the layers whose Inputs have the sizes that the user gives, and those sizes with their batch.

    ReadError for a size that nothing reads, and for a missing size beside a given one.
    """
    found: dict[str, Shape] = {}
    made = [_sized(m, sizes, found, file) if kind_of(m) == "Input" and "bottom" not in m else m for m in layers]
    for name in sizes:
        if name not in found:
            raise _no_input(name, (top for m in made if kind_of(m) == "Input" for top in blobs(m, "top")), file)
    return made, {name: found[name] for name in sizes}


def _sized(layer: Message, sizes: Mapping[str, Shape], found: dict[str, Shape], file) -> Message:
    tops = blobs(layer, "top")
    if not set(tops) & set(sizes):
        return layer
    param = layer.message("input_param")
    stated = [_dims(shape) for shape in param.values("shape")] if param else []
    stated = stated * len(tops) if len(stated) == 1 else stated
    shapes = dict(zip(tops, stated, strict=False))
    for top in tops:
        if top in sizes:
            shapes[top] = found[top] = whole(sizes[top], shapes.get(top))
        elif top not in shapes:
            text = f"input {top!r} has no size; give it as well: {input_option(top)}"
            raise ReadError(text, file, layer.line, layer.column, layer=str(layer.value("name")))
    made = layer.copy()
    made.remove("input_param")
    made.add("input_param", Message([Field("shape", shape_message(shapes[top])) for top in tops]))
    return made


def _dims(shape: Message) -> Shape:
    return tuple(integer(str(v)) for v in shape.values("dim"))


def input_layer(name: str, shapes: Mapping[str, Sequence[int] | None], line: int = 0, column: int = 0) -> Message:
    """Return an Input layer with a top for each shape. None: the only shape is not known."""
    made = Message([], line, column)
    made.add("name", Quoted(name))
    made.add("type", Quoted("Input"))
    made.fields += [Field("top", Quoted(top)) for top in shapes]
    stated = [Field("shape", shape_message(shape)) for shape in shapes.values() if shape is not None]
    if stated:
        made.add("input_param", Message(stated))
    return made


def shape_message(sizes: Sequence[int]) -> Message:
    """Return a BlobShape with these sizes."""
    return Message([Field("dim", Token(n)) for n in sizes])
