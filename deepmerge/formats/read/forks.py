"""Forks' messages, read by name: their fields with kinds and defaults.

Forks give the same numbers to different fields, so these are not in the schema (proto/caffe.proto), and are never
written into a caffemodel. Only the fields that shapes and passes need are here; all others stay in the tree.
Sources: the caffe.proto of weiliu89/caffe (ssd), hszhao/PSPNet, yjxiong/caffe, TimoSaemann/caffe-segnet-cudnn5,
eric612/MobileNet-YOLO, farmingyard/ShuffleNet, lltcggie/caffe, rbgirshick/caffe-fast-rcnn, alexgkendall/caffe-segnet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deepmerge.formats import schema
from deepmerge.formats.read.scalars import Reader
from deepmerge.formats.schema import Default, Field, Kind
from deepmerge.graph.graph import Layer
from deepmerge.graph.tree import Message


def _field(name: str, kind: Kind, default: Default | None = None, repeated: bool = False) -> Field:
    return Field(name, 0, kind, repeated, False, default, None)


def _message(*fields: Field) -> Mapping[str, Field]:
    return {field.name: field for field in fields}


MESSAGES: dict[str, Mapping[str, Field]] = {
    "bn_param": _message(
        _field("eps", "float", 1e-5),
        _field("var_eps", "float", 1e-10),
        _field("axis", "int", 1),
        _field("moving_average", "bool", False),
        _field("use_history_in_test", "bool", False),
    ),
    "clip_param": _message(_field("min", "float"), _field("max", "float")),
    "crop_center_param": _message(_field("crop_size", "uint", repeated=True)),
    "interp_param": _message(
        *(_field(name, "int") for name in ("height", "width", "zoom_factor", "shrink_factor")),
        *(_field(name, "int", 0) for name in ("pad_beg", "pad_end")),
        _field("interp_type", "string", "bilinear"),
    ),
    "norm_param": _message(
        _field("across_spatial", "bool", True), _field("channel_shared", "bool", True), _field("eps", "float", 1e-10)
    ),
    "prior_box_param": _message(
        *(_field(name, "float", repeated=True) for name in ("min_size", "max_size", "aspect_ratio")),
        _field("flip", "bool", True),
    ),
    "resize_param": _message(_field("height", "uint", 0), _field("width", "uint", 0)),
    "transform_param": _message(
        _field("crop_h", "uint", 0), _field("crop_w", "uint", 0), _field("resize_param", "message")
    ),
    "relu6_param": _message(_field("negative_slope", "float", 0.0)),
    "reorg_param": _message(_field("stride", "uint"), _field("reverse", "bool", False)),
    "shuffle_channel_param": _message(_field("group", "uint", 1)),
    "upsample_param": _message(
        *(_field(name, "uint") for name in ("scale", "scale_h", "scale_w", "upsample_h", "upsample_w")),
        *(_field(name, "bool", False) for name in ("pad_out_h", "pad_out_w")),
    ),
}

# Further fields that change neither sizes nor values. Any other field means that this is a layer unknown here
_HARMLESS = {
    "interp_param": {"align_corners"},
    "prior_box_param": set("clip variance img_size img_h img_w step step_h step_w offset".split()),
    "reorg_param": set(),
    "upsample_param": set(),
}

_ALGORITHM = {"cudnn_convolution_algo_seeker", "conv_algos_override", "conv_algorithm"}  # NVCaffe's, Intel's
# What forks add to BVLC's messages: fields that are read by name, and those that change nothing in TEST
_ADDED = {
    "batch_norm_param": {"scale_bias", "stats_batch_size"},
    "convolution_param": {"hole", "hole_h", "hole_w", *_ALGORITHM},
    "dropout_param": {"scale_train", "sample_weights_test"},
    "pooling_param": {"ceil_mode"},
}
_DROPOUT = _message(_field("scale_train", "bool", True), _field("sample_weights_test", "bool", False))


def unknown_fields(field: str, layer: Message) -> tuple[str, ...]:
    """Return the fields in BVLC's message `field` that are not known here, and may change what the layer computes.

    Fillers and engines change nothing for trained weights.
    """
    message = schema.fields("LayerParameter").get(field)
    if message is None:
        return ()
    known = schema.fields(message.type_name).keys() | _ADDED.get(field, set()) | {"engine"}
    return tuple(f.name for f in layer.message(field) or () if f.name not in known and not f.name.endswith("_filler"))


def is_another(field: str, layer: Message, block: Message) -> bool:
    """Return whether the message `field` shows that this is another layer than deepmerge knows by that name."""
    if field in _HARMLESS:
        known = MESSAGES[field].keys() | _HARMLESS[field]
        if any(f.name not in known for f in block) or str(block.value("align_corners")).lower() in ("false", "0", "f"):
            return True
    if field != "upsample_param":
        return False
    one_bottom = len(layer.values("bottom")) == 1
    return one_bottom and any(f.name != "scale" for f in block)  # a mask is needed for all else


def has_scale_bias(reader: Reader) -> bool:
    """Return whether a BatchNorm is NVCaffe's, with its own scale and bias. NVCaffe: batch_norm_layer.cpp."""
    said = str(reader.message.value("scale_bias")).lower() in ("true", "1", "t")
    return said or reader.has("scale_filler") or reader.has("bias_filler")


def dropout(reader: Reader) -> dict:
    """Return what a fork's Dropout does in TEST. caffe-fast-rcnn, caffe-segnet: dropout_layer.cpp."""
    fork = Reader(reader.message, _DROPOUT, reader.file, reader.where)
    return {name: fork.one(name) for name in _DROPOUT}


def batch_norm_blobs(layer: Layer, blobs: list[np.ndarray]) -> list[np.ndarray]:
    """Return a layer's stored blobs in Caffe's order.

    A BatchNorm with five blobs is NVCaffe's, whether the prototxt says so or not, and the layer's parameters are set
    to say so. Its blobs become mean, variance, factor, scale and bias, each with one axis; files from NVIDIA's DIGITS
    have the scale and bias first, and the factor last. NVCaffe: net.cpp, CopyTrainedLayersFrom.
    """
    if layer.type != "BatchNorm" or layer.params is None or len(blobs) != 5:
        return blobs
    layer.params = replace(layer.params, scale_bias=True)
    if blobs[4].size == 1 < blobs[0].size:
        blobs = [*blobs[2:], *blobs[:2]]
    return [blob.reshape(-1) for blob in blobs]


def bn(_cls, reader: Reader) -> dict:
    """Return the parameters of a BN; see graph/params_forks.py for the families."""
    has, mode = reader.has, str(reader.message.value("bn_mode") or "").upper()
    values = {"axis": reader.one("axis"), "eps": reader.one("eps")}
    if mode in ("INFERENCE", "1"):
        return values | {"statistics": "folded"}
    if mode:
        return values | {"statistics": "batch"}
    flags = [name for name in ("moving_average", "use_history_in_test") if has(name)]
    if flags:
        stored = any(reader.one(name) for name in flags)
        return values | {"eps": reader.one("var_eps"), "statistics": "stored" if stored else "batch"}
    if any(has(name) for name in ("var_eps", "decay", "scale_filler", "shift_filler")):
        return values | {"eps": reader.one("var_eps"), "statistics": "batch"}
    known = any(has(name) for name in ("frozen", "momentum", "eps", "slope_filler", "bias_filler"))
    return values | {"statistics": "stored" if known else "unclear"}


def image_size(layer: Message, file, where: str) -> tuple[int, int] | None:
    """Return (height, width) of a data layer's images. SSD: data_transformer.cpp (crop_h and crop_w, resize_param)."""
    transform = Reader(layer.message("transform_param"), MESSAGES["transform_param"], file, f"{where}, transform_param")
    resize = Reader(transform.message.message("resize_param"), MESSAGES["resize_param"], file, f"{where}, resize_param")
    for reader, names in ((transform, ("crop_h", "crop_w")), (resize, ("height", "width"))):
        if all(reader.one(name) for name in names):
            return tuple(reader.one(name) for name in names)
    return None


def depthwise(layer: Message, values: dict) -> dict:
    """Set one group for each channel if `group` is left out, and always for ConvolutionDepthwise, which ignores it."""
    block = layer.message("convolution_param") or Message()
    if str(layer.value("type")) == "ConvolutionDepthwise" or "group" not in block:
        values["group"] = values["num_output"]
    return values


def holes(reader: Reader) -> list[int]:
    """Return `hole`, or `hole_h` and `hole_w`: dilation as DeepLab and PSPNet spell it; [] if none is given."""
    given = [name for name in ("hole", "hole_h", "hole_w") if reader.has(name)]
    if given and reader.has("dilation"):
        raise reader.error(f"gives both 'dilation' and {given[0]!r}; keep 'dilation'")
    both = reader.message.value("hole") or "1"
    sizes = [str(reader.message.value(name) or both) for name in ("hole_h", "hole_w")]
    if not all(size.isdecimal() and len(size) < 11 for size in sizes):
        raise reader.error(f"{given[0]!r} needs a whole number, found {', '.join(sizes)}")
    return [int(size) for size in sizes] if given else []
