"""Typed parameters → the `*_param` message, rewriting only what a pass has changed.

Whatever else stands in the message (fillers, engine, a fork's fields) stays as it was read.
"""

from __future__ import annotations

import dataclasses

from deepmerge.emit.prototxt import message, scalar
from deepmerge.graph import params as typed
from deepmerge.graph.graph import Layer
from deepmerge.graph.tree import Message

# property → (spelling for both axes, spellings per axis, default)
_WINDOWS = {
    "kernel": ("kernel_size", ("kernel_h", "kernel_w"), None),
    "stride": ("stride", ("stride_h", "stride_w"), 1),
    "pad": ("pad", ("pad_h", "pad_w"), 0),
}


def layer_fields(layer: Layer) -> Message:
    """The layer's own fields with its parameters as they are now (a new tree; the layer is not changed)."""
    if layer.params is None or layer.params == layer.read_params or not layer.params.FIELD:
        return layer.tree
    tree = layer.tree.copy()
    name = layer.params.FIELD
    block = tree.message(name) or Message()
    tree.set(name, _updated(block, layer.params, layer.read_params))
    if not tree.message(name).fields:
        tree.remove(name)
    return tree


def _updated(block: Message, new: typed.Params, old: typed.Params | None) -> Message:
    block = Message(list(block.fields))
    if type(old) is not type(new):
        old = None
    for field in dataclasses.fields(new):
        value = getattr(new, field.name)
        was = getattr(old, field.name) if old is not None else field.default
        if value == was or field.name.endswith("_nd") or field.name in _SPECIAL:
            continue
        if isinstance(value, tuple):
            block.set(field.name, *map(scalar, value))
        elif value == field.default:
            block.remove(field.name)
        else:
            block.set(field.name, scalar(value))
    _windows(block, new, old)
    _shapes(block, new, old)
    return block


_SPECIAL = {f"{stem}_{axis}" for stem in ("kernel", "stride", "pad", "dilation") for axis in "hw"} | {"ceil", "shape"}


def _windows(block: Message, new: typed.Params, old: typed.Params | None) -> None:
    if not isinstance(new, typed.Window):
        return
    for stem, (both, each, default) in _WINDOWS.items():
        pair = getattr(new, stem)
        if old is not None and getattr(old, stem) == pair:
            continue
        block.remove(*each)
        if pair == (default, default) or pair == (0, 0):
            block.remove(both)
        elif pair[0] == pair[1]:
            block.set(both, scalar(pair[0]))
        else:
            place = next((i for i, f in enumerate(block.fields) if f.name == both), len(block.fields))
            block.remove(both)
            block.fields[place:place] = message(**dict(zip(each, pair, strict=True))).fields
    if isinstance(new, typed.Im2col) and (old is None or old.dilation != new.dilation):
        values = {new.dilation_h} if new.dilation_h == new.dilation_w else new.dilation
        block.set("dilation", *(scalar(v) for v in values if new.dilation != (1, 1)))


def _shapes(block: Message, new: typed.Params, old: typed.Params | None) -> None:
    shape = getattr(new, "shape", None)
    if shape is None or (old is not None and old.shape == shape):
        return
    several = isinstance(new, typed.Input | typed.DummyData)
    block.set("shape", *(message(dim=list(dims)) for dims in (shape if several else (shape,))))
