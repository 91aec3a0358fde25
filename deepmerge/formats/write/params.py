"""Typed parameters → the `*_param` message. Only the fields that a pass has changed are rewritten.

The others (fillers, engine, fields of a fork) stay as they were read.
"""

from __future__ import annotations

import dataclasses

from deepmerge.formats.write.prototxt import message, scalar
from deepmerge.graph import params as typed
from deepmerge.graph.graph import Layer
from deepmerge.graph.tree import Message, Token
from deepmerge.targets.conventions import two_valued

# property → (spelling for both axes, spellings per axis, default)
_WINDOWS = {
    "kernel": ("kernel_size", ("kernel_h", "kernel_w"), None),
    "stride": ("stride", ("stride_h", "stride_w"), 1),
    "pad": ("pad", ("pad_h", "pad_w"), 0),
}
# dataclass fields that the format spells otherwise: see _windows, _dilation, _rounding, _shapes
_SPELLED_APART = {f"{stem}_{axis}" for stem in ("kernel", "stride", "pad", "dilation") for axis in ("h", "w", "nd")}
_SPELLED_APART |= {"ceil", "shape"}
_OLD_SPELLINGS = {typed.Concat: {"axis": "concat_dim"}, typed.Slice: {"axis": "slice_dim"}}


def layer_fields(layer: Layer) -> Message:
    """Return the layer's fields with its current parameters: layer.tree itself if nothing has changed."""
    if layer.params is None or layer.params == layer.read_params or not layer.params.FIELD:
        return layer.tree
    name = layer.params.FIELD
    tree = layer.tree.copy()
    block = _updated(tree.message(name) or Message(), layer.params, layer.read_params)
    tree.set(name, block)
    if not block.fields:
        tree.remove(name)
    return tree


def with_axis_windows(layer: Layer) -> Message:
    """Return the layer's fields, with a field for each axis where one field gives a window two values that differ."""
    tree, stems = layer_fields(layer), [stem for stem, (both, *_) in _WINDOWS.items() if both in two_valued(layer)]
    if not stems:
        return tree
    tree = tree.copy()
    block = tree.message(layer.params.FIELD)
    for stem in stems:
        both, each, _ = _WINDOWS[stem]
        place = next((i for i, field in enumerate(block.fields) if field.name == both), None)
        if place is not None:  # else a pass has changed the window, and it is written in another way
            block.remove(both)
            block.fields[place:place] = message(**dict(zip(each, getattr(layer.params, stem), strict=True))).fields
    tree.set(layer.params.FIELD, block)
    return tree


def _updated(block: Message, new: typed.Params, old: typed.Params | None) -> Message:
    """Return `block` with what differs between old and new; all of `new` if old is None or of another type."""
    block = Message(list(block.fields))
    if type(old) is not type(new):
        old = None
    for field in dataclasses.fields(new):
        value = getattr(new, field.name)
        if field.name in _SPELLED_APART or (old is not None and value == getattr(old, field.name)):
            continue
        block.remove(*filter(None, [_OLD_SPELLINGS.get(type(new), {}).get(field.name)]))
        if value == field.default:
            block.remove(field.name)
        else:
            block.set(field.name, *map(scalar, value if isinstance(value, tuple) else [value]))
    if isinstance(new, typed.Window):
        _windows(block, new, old)
    if isinstance(new, typed.Im2col):
        _dilation(block, new, old)
    if isinstance(new, typed.Pooling):
        _rounding(block, new, old)
    if hasattr(new, "shape"):
        _shapes(block, new, old)
    return block


def _windows(block: Message, new: typed.Window, old: typed.Window | None) -> None:
    """Replace the fields of windows: by one field if both axes are equal, else by one for each axis."""
    for stem, (both, each, default) in _WINDOWS.items():
        pair = getattr(new, stem)
        if old is not None and getattr(old, stem) == pair:
            continue
        place = next((i for i, f in enumerate(block.fields) if f.name in (both, *each)), len(block.fields))
        block.remove(both, *each)
        if pair in ((default, default), (0, 0)):
            continue
        made = {both: pair[0]} if pair[0] == pair[1] else dict(zip(each, pair, strict=True))
        block.fields[place:place] = message(**made).fields


def _dilation(block: Message, new: typed.Im2col, old: typed.Im2col | None) -> None:
    """Write `dilation`, a repeated field: one value for all axes, or one for each axis."""
    if old is not None and old.dilation == new.dilation:
        return
    block.remove("hole", "hole_h", "hole_w")  # DeepLab's spelling
    sizes = new.dilation[:1] if new.dilation_h == new.dilation_w else new.dilation
    block.set("dilation", *(map(scalar, sizes) if new.dilation != (1, 1) else ()))


def _rounding(block: Message, new: typed.Pooling, old: typed.Pooling | None) -> None:
    if old is not None and old.ceil == new.ceil:
        return
    block.remove("round_mode", "ceil_mode")
    if not new.ceil:
        block.set("round_mode", Token("FLOOR"))


def _shapes(block: Message, new: typed.Params, old: typed.Params | None) -> None:
    if old is not None and old.shape == new.shape:
        return
    block.remove("num", "channels", "height", "width")  # DummyData's older spelling
    several = isinstance(new, typed.Input | typed.DummyData)
    block.set("shape", *(message(dim=list(dims)) for dims in (new.shape if several else (new.shape,))))
