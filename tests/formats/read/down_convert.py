"""Today's networks as people wrote them years ago: V2 tree → V1 tree → V0 tree, and caffemodels alike. For tests only."""

from __future__ import annotations

import re

from deepmerge.formats import schema
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.graph.tree import Field, Message, Quoted, Token

SPECS = {"name": "param", "share_mode": "blob_share_mode", "lr_mult": "blobs_lr", "decay_mult": "weight_decay"}
SPEC_DEFAULTS = {"name": Quoted(""), "share_mode": Token("STRICT"), "lr_mult": Token("1"), "decay_mult": Token("1")}
TRANSFORMS = ("scale", "mean_file", "crop_size", "mirror")
DATA = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}


class NotThen(ValueError):
    """Something that the older form cannot say."""


def to_v1(net: Message) -> Message:
    """A network of V1 layers, data layers with the fields of their time, Input layers as `input`."""
    new = Message()
    for field in net:
        if field.name != "layer":
            new.fields.append(field)
        elif field.value.value("type") == "Input":
            new.fields += _inputs(field.value)
        else:
            new.add("layers", _v1_layer(field.value))
    return new


def to_v0(net: Message) -> Message:
    """The same network (V2) with V0 layers, where each pad is a padding layer. NotThen where V0 has no words for it."""
    new = Message()
    for field in to_v1(net):
        if field.name == "layers":
            for layer in _v0_layers(field.value):
                new.add("layers", layer)
        elif field.name in ("name", "input", "input_dim"):
            new.fields.append(field)
        else:
            raise NotThen(field.name)
    return new


def stored_v1(layers: list[StoredLayer]) -> bytes:
    """A V1 caffemodel, whose blobs have four axes as all had then."""
    made = [{"name": one.name, "type": _number(one.type), "blobs": _blobs(one)} for one in layers]
    return schema.message_class("NetParameter")(name="v1", input=["data"], layers=made).SerializeToString()


def stored_v0(layers: list[StoredLayer]) -> bytes:
    """A V0 caffemodel."""
    made = [{"layer": {"name": one.name, "type": _v0_type(v1_type(one.type)), "blobs": _blobs(one)}} for one in layers]
    return schema.message_class("NetParameter")(name="v0", input=["data"], layers=made).SerializeToString()


def v1_type(name: str) -> str:
    """InnerProduct → INNER_PRODUCT; what V1 does not know as its forks would have called it."""
    if name == "SoftmaxWithLoss":
        return "SOFTMAX_LOSS"
    plain = {value.replace("_", ""): value for value in schema.enum_values("V1LayerParameter.LayerType")}
    return plain.get(name.upper()) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def _number(name: str) -> int:
    return schema.enum_values("V1LayerParameter.LayerType")[v1_type(name)]


def _blobs(layer: StoredLayer) -> list[dict]:
    axes = ("num", "channels", "height", "width")
    shapes = [(1,) * (4 - blob.ndim) + blob.shape for blob in layer.blobs]
    return [
        {**dict(zip(axes, shape, strict=True)), "data": blob.ravel()}
        for shape, blob in zip(shapes, layer.blobs, strict=True)
    ]


def _inputs(layer: Message) -> list[Field]:
    made = [Field("input", top) for top in layer.values("top")]
    for shape in layer.message("input_param").values("shape"):
        dims = shape.values("dim")
        made += [Field("input_dim", dim) for dim in dims] if len(dims) == 4 else [Field("input_shape", shape)]
    return made


def _v1_layer(layer: Message) -> Message:
    kind = v1_type(str(layer.value("type")))
    new = Message()
    for field in layer:
        if field.name == "type":
            new.add("type", Token(kind))
        elif field.name == "transform_param" and kind in DATA:
            for moved in (f for f in field.value if f.name in TRANSFORMS):
                new.message(DATA[kind]).fields.append(moved) if DATA[kind] in new else new.add(
                    DATA[kind], Message([moved])
                )
            new.add("transform_param", Message([f for f in field.value if f.name not in TRANSFORMS]))
        elif field.name in DATA.values() and field.name in new:
            new.message(field.name).fields += field.value.fields
        elif field.name != "param":
            new.fields.append(
                Field(field.name, field.value.copy() if isinstance(field.value, Message) else field.value)
            )
    return _with_specs(new, layer.values("param"))


def _with_specs(layer: Message, specs: list[Message]) -> Message:
    for name, old in SPECS.items():
        last = max((i for i, spec in enumerate(specs) if name in spec), default=-1)
        for spec in specs[: last + 1]:
            layer.add(old, spec.value(name) or SPEC_DEFAULTS[name])
    return layer


_V0_TYPES = {"CONVOLUTION": "conv", "INNER_PRODUCT": "innerproduct", "POOLING": "pool", "IMAGE_DATA": "images"}
_V0_ONLY = (
    "accuracy bnll concat data dropout euclidean_loss flatten hdf5_data hdf5_output im2col infogain_loss lrn".split()
)
_V0_ONLY += "multinomial_logistic_loss relu sigmoid softmax softmax_loss split tanh window_data".split()
_V0_FIELDS = {
    "kernel_size": "kernelsize",
    "bias_term": "biasterm",
    "batch_size": "batchsize",
    "crop_size": "cropsize",
    "mean_file": "meanfile",
    "shuffle": "shuffle_images",
    **{name: f"det_{name}" for name in ("fg_threshold", "bg_threshold", "fg_fraction", "context_pad", "crop_mode")},
}


def _v0_type(kind: str) -> str:
    name = _V0_TYPES.get(kind, kind.lower())
    if name not in _V0_ONLY and name not in _V0_TYPES.values():
        raise NotThen(kind)
    return name


def _v0_layers(layer: Message) -> list[Message]:
    """A V1 layer as V0: the layer, or a padding layer and the layer."""
    shell, inner = Message(), Message()
    for field in layer:
        if field.name in ("bottom", "top"):
            shell.fields.append(field)
        elif field.name == "type":
            inner.add("type", Quoted(_v0_type(str(field.value))))
        elif field.name in ("name", "blobs_lr", "weight_decay", "hdf5_output_param"):
            inner.fields.append(field)
        elif field.name.endswith("_param") and isinstance(field.value, Message):
            inner.fields += [_v0_field(f) for f in field.value]
        else:
            raise NotThen(field.name)
    pad = inner.value("pad")
    if pad is None:
        return [_shell(inner, shell)]
    inner.remove("pad")
    name = Quoted(f"{inner.value('name')}/pad")
    padding = Message([Field("name", name), Field("type", Quoted("padding")), Field("pad", pad)])
    before = Message([Field("bottom", shell.value("bottom")), Field("top", name)])
    shell.set("bottom", name)
    return [_shell(padding, before), _shell(inner, shell)]


def _v0_field(field: Field) -> Field:
    name = _V0_FIELDS.get(field.name, field.name)
    if name not in schema.fields("V0LayerParameter"):
        raise NotThen(field.name)
    return Field(name, field.value)


def _shell(inner: Message, shell: Message) -> Message:
    return Message([Field("layer", inner), *shell.fields])
