"""Transformations among a V1 data layer's own fields → `transform_param`. Caffe: UpgradeNetDataTransformation."""

from __future__ import annotations

from deepmerge.formats.read.legacy.v1 import enum_name
from deepmerge.graph.tree import Field, Message, Quoted

_PARAMS = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}
_MOVED = ("scale", "mean_file", "crop_size", "mirror")


def move_transforms(net: Message) -> Message:
    """Return the network with scale, mean_file, crop_size and mirror in `transform_param`.

    They win over the fields that are there already. As in Caffe, if one layer has such fields, all data layers get both
    messages.
    """
    if not any(f.name in _MOVED for layer in net.values("layers") for f in _own(layer)):
        return net
    fields = [Field("layers", _moved(f.value), f.line, f.column) if f.name == "layers" else f for f in net]
    return Message(fields, net.line, net.column)


def _param(layer: Message) -> str:
    kind = layer.value("type")
    if isinstance(kind, Quoted):  # of a V0 type that Caffe does not know
        return ""
    return _PARAMS.get(enum_name(str(kind or "")), "")


def _own(layer: Message) -> Message:
    """Return the parameters of a data layer; an empty message for all others."""
    return layer.message(_param(layer)) or Message([], layer.line, layer.column)


def _moved(layer: Message) -> Message:
    name = _param(layer)
    if not name:
        return layer
    own, transform = _own(layer), layer.message("transform_param") or Message([], layer.line, layer.column)
    moved = [f for f in own if f.name in _MOVED]
    over = {f.name for f in moved}
    new = Message(list(layer.fields), layer.line, layer.column)
    new.set(name, Message([f for f in own if f.name not in _MOVED], own.line, own.column))
    new.set(
        "transform_param",
        Message([f for f in transform if f.name not in over] + moved, transform.line, transform.column),
    )
    return new
