"""V0 layers (`layers { layer { type: "conv" } bottom: "data" }`) → V1 layers. Caffe: UpgradeV0LayerParameter."""

from __future__ import annotations

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read.legacy.padding import remove_padding_layers
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.tree import Field, Message, Quoted, Token

TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
# V0 type → V1's message for its parameters, and which of V0's fields go there
PARAMS = {
    "conv": ("convolution_param", "num_output biasterm weight_filler bias_filler pad kernelsize group stride"),
    "innerproduct": ("inner_product_param", "num_output biasterm weight_filler bias_filler"),
    "pool": ("pooling_param", "pad kernelsize stride pool"),
    "dropout": ("dropout_param", "dropout_ratio"),
    "lrn": ("lrn_param", "local_size alpha beta k"),
    "concat": ("concat_param", "concat_dim"),
    "data": ("data_param", "source batchsize rand_skip"),
    "images": ("image_data_param", "source batchsize rand_skip shuffle_images new_height new_width"),
    "hdf5_data": ("hdf5_data_param", "source batchsize"),
    "window_data": (
        "window_data_param",
        "source batchsize det_fg_threshold det_bg_threshold det_fg_fraction det_context_pad det_crop_mode",
    ),
    "infogain_loss": ("infogain_loss_param", "source"),
}
TRANSFORM = ("scale", "meanfile", "cropsize", "mirror")  # of any type, and go to transform_param
RENAMED = {
    "biasterm": "bias_term",
    "kernelsize": "kernel_size",
    "batchsize": "batch_size",
    "cropsize": "crop_size",
    "meanfile": "mean_file",
    "shuffle_images": "shuffle",
    "det_fg_threshold": "fg_threshold",
    "det_bg_threshold": "bg_threshold",
    "det_fg_fraction": "fg_fraction",
    "det_context_pad": "context_pad",
    "det_crop_mode": "crop_mode",
}
_SAME = ("name", "blobs", "blobs_lr", "weight_decay")
_NET = ("name", "layers", "input", "input_dim", "force_backward")  # what Caffe keeps of the network's own fields


def is_v0(net: Message) -> bool:
    """Return whether a network of `layers` is in V0 form: for Caffe it is if any layer is."""
    return any("layer" in layers for layers in net.values("layers"))


def upgrade_v0(net: Message, file, warnings: list[str]) -> Message:
    """Return the network with V1 layers, and with padding layers merged into the layers after them.

    warnings: gets a line for each field that Caffe leaves out, and for each unknown type.
    ReadError (file:line:column) for a V1 layer among them, and for a padding layer that cannot be removed.
    """
    for layers in net.values("layers"):
        if "layer" not in layers:
            text = (
                "is a V1 layer among V0 ones (`layers { layer { … } }`), and Caffe would lose it; write all in one form"
            )
            raise ReadError(f"{name_of(layers)} {text}", file, layers.line, layers.column)
    lost = [f.name for f in net if f.name in schema.fields("NetParameter") and f.name not in _NET]
    if lost:
        warnings.append(f"left out, as a V0 network has no such fields: {', '.join(dict.fromkeys(lost))}")
    net = remove_padding_layers(net, file)
    fields = [_upgraded(f, warnings) if f.name == "layers" else f for f in net if f.name not in lost]
    return Message(fields, net.line, net.column)


def _upgraded(layers: Field, warnings: list[str]) -> Field:
    shell: Message = layers.value
    inner = shell.message("layer")
    new = Message(_layer(inner, warnings), shell.line, shell.column)
    known = schema.fields("V1LayerParameter")
    for field in shell:
        if field.name in ("bottom", "top") or field.name not in known:
            new.fields.append(field)
        elif field.name != "layer":
            warnings.append(_left_out(inner, field))
    return Field("layers", new, layers.line, layers.column)


def _layer(inner: Message, warnings: list[str]) -> list[Field]:
    kind = str(inner.value("type") or "")
    message, own = PARAMS.get(kind, ("", ""))
    own = own.split()
    new = Message()
    for field in inner:
        if field.name == "type":
            new.fields.append(Field("type", _type(kind), field.line, field.column))
        elif field.name in own:
            _put(new, message, field)
        elif field.name in TRANSFORM:
            _put(new, "transform_param", field)
        elif _stays(field.name, kind):
            new.fields.append(field)
        else:
            warnings.append(_left_out(inner, field))
    return new.fields


def _type(kind: str) -> Token | Quoted:
    return Token(TYPES[kind]) if kind in TYPES else Quoted(kind)


def _put(layer: Message, message: str, field: Field) -> None:
    """Put the field into this message of the layer, under the name that it has there."""
    into = layer.message(message)
    if into is None:
        into = Message([], field.line, field.column)
        layer.fields.append(Field(message, into, field.line, field.column))
    into.fields.append(Field(RENAMED.get(field.name, field.name), field.value, field.line, field.column))


def _stays(name: str, kind: str) -> bool:
    """Return whether a field has the same name in V1, or is unknown (a fork's)."""
    if name == "hdf5_output_param":
        return kind == "hdf5_output"
    return name in _SAME or name not in schema.fields("V0LayerParameter")


def _left_out(layer: Message, field: Field) -> str:
    return f"{name_of(layer)}: {field.name!r} is left out, as by Caffe: V0 layers of this type have no such field"
