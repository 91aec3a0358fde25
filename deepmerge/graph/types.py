"""TYPES: what deepmerge knows about each layer type, one record a type.

What needs a file format or an engine is in a table there, keyed by the type's name: how a message is read
(formats/read/params), how a layer is written as ONNX (formats/onnx/table) or run by PyTorch (engines/pytorch/table).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepmerge.graph import params as p
from deepmerge.graph import params_forks as forks
from deepmerge.graph import shape_axes as axes
from deepmerge.graph import shape_forks, shape_windows, weight_rules
from deepmerge.graph import shape_rules as rules
from deepmerge.graph.shape_errors import Shape

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer

MANY = None
ONE = (1, 1)
ANY = (1, MANY)


@dataclass(frozen=True, kw_only=True)
class LayerType:
    """What holds for every layer of a type. The defaults are those of an unknown type.

    params: the class of its parameters; its FIELD is the message that holds them.
    shape: (layer, bottom shapes) → the shape of each top, None where only a run shows it.
    bottoms, tops: how many it takes, (least, most); MANY is no limit.
    weights: (layer, bottom shapes) → the shapes of its weight blobs, None where they cannot be known.
    statistics: the indices of weight blobs that hold statistics; no gradient changes them.
    bias: the index of the weight blob that is added to the values.
    fed: whether a second bottom takes the place of the first weight blob; see Layer.role.
    fillers: for each weight blob the field that names its filler ("" if it has none), and the value without one. The
    last holds for all further blobs.
    typical: constants for the first weight blobs, where a network without weights is filled to be timed.
    """

    params: type[p.Params] | None = None
    shape: Callable[[Layer, list[Shape]], list[Shape | None]] | None = None
    bottoms: tuple[int, int | None] = ONE
    tops: tuple[int, int | None] = ONE
    weights: Callable[[Layer, list[Shape]], list[Shape] | None] | None = None
    statistics: tuple[int, ...] = ()
    bias: int | None = None
    fed: bool = False
    fillers: tuple[tuple[str, float], ...] = (("weight_filler", 0.0), ("bias_filler", 0.0))
    typical: tuple[float, ...] = ()

    fork: str = ""  # whose rule the shape follows, "" for BVLC's; other forks may give other layers the same name
    tensor: bool = False  # DeepRebirth: it multiplies by learned tensors; others only move and reshape numbers
    linear: bool = False  # each weight is used once for each position; its multiply-adds are counted
    convolution: bool = False
    depthwise: bool = False  # a Convolution with one group for each channel
    activation: bool = False
    normalization: bool = False  # its weights scale by statistics; recovery does not train them
    elementwise: bool = False  # value by value, so that the top may be written over the bottom
    in_place: bool = False  # Caffe runs it with top == bottom
    view: bool = False  # its tops are the bottom's numbers in the same order: no buffer of their own
    shares_memory: bool = False  # its top may be its bottom's memory (Concat of one bottom, Slice into one top)


UNKNOWN = LayerType()


def _elementwise(params: type[p.Params], activation: bool = False, **facts) -> LayerType:
    """Return a type that Caffe runs in place, value by value."""
    return LayerType(
        **({"params": params, "shape": rules.same, "elementwise": True, "in_place": True} | facts),
        activation=activation,
    )


def _convolution(params: type[p.Params], shape: Callable, **facts) -> LayerType:
    return LayerType(
        params=params,
        shape=shape,
        bottoms=ANY,
        tops=ANY,
        weights=weight_rules.convolution,
        bias=1,
        tensor=True,
        linear=True,
        **facts,
    )


def _loss(params: type[p.Params], shape: Callable, bottoms: tuple[int, int] = (2, 2), most_tops: int = 1) -> LayerType:
    return LayerType(params=params, shape=shape, bottoms=bottoms, tops=(0, most_tops))


def _view(params: type[p.Params], shape: Callable, **facts) -> LayerType:
    return LayerType(params=params, shape=shape, view=True, shares_memory=True, **facts)


def _recurrent(most_bottoms: int, most_tops: int) -> LayerType:
    return LayerType(
        params=p.Recurrent,
        shape=rules.recurrent,
        bottoms=(2, most_bottoms),
        tops=(1, most_tops),
        weights=weight_rules.recurrent,
        tensor=True,
    )


_DEPTHWISE = _convolution(
    forks.DepthwiseConvolution,
    shape_forks.depthwise,
    fork="yonghenglh6, farmingyard: depthwise_conv_layer",
    convolution=True,
    depthwise=True,
)
# How many detections there are is known after the run only
_DETECTIONS = LayerType(
    params=p.Plain, shape=shape_forks.unknown, bottoms=ANY, tops=ANY, fork="SSD: detection_output_layer"
)

TYPES: dict[str, LayerType] = {
    "AbsVal": _elementwise(p.Plain, in_place=False),  # Caffe refuses to run it in place
    "Accuracy": LayerType(params=p.Accuracy, shape=rules.accuracy, bottoms=(2, 2), tops=(1, 2)),
    "ArgMax": LayerType(params=p.ArgMax, shape=axes.argmax),
    "Axpy": LayerType(params=forks.Axpy, shape=shape_forks.axpy, bottoms=(3, 3), fork="SENet: axpy_layer"),
    "BN": LayerType(
        params=forks.BN,
        shape=shape_forks.bn,
        tops=(1, 3),
        weights=weight_rules.bn,
        statistics=(2, 3),
        typical=(1.0, 0.0, 0.0, 1.0),
        fork="SegNet, PSPNet: bn_layer",
        normalization=True,
        in_place=True,
    ),
    "BNLL": _elementwise(p.Plain),
    "BatchNorm": _elementwise(
        p.BatchNorm,
        shape=rules.channels_second,
        weights=weight_rules.batch_norm,
        statistics=(0, 1, 2),  # mean, variance, factor; after them NVCaffe's learned scale and bias
        fillers=(("", 0.0),),
        typical=(0.0, 1.0, 1.0, 1.0, 0.0),
        normalization=True,
    ),
    "BatchReindex": LayerType(params=p.Plain, shape=axes.batch_reindex, bottoms=(2, 2)),
    "Bias": _elementwise(
        p.Bias,
        shape=rules.scale,
        bottoms=(1, 2),
        weights=weight_rules.bias,
        bias=0,
        fed=True,
        fillers=(("filler", 0.0),),
        typical=(0.0,),
    ),
    "Clip": _elementwise(p.Clip, activation=True),
    "Concat": LayerType(params=p.Concat, shape=axes.concat, bottoms=ANY, shares_memory=True),
    "ContrastiveLoss": _loss(p.ContrastiveLoss, rules.contrastive_loss, (3, 3)),
    "Convolution": _convolution(p.Convolution, shape_windows.convolution, convolution=True),
    "ConvolutionDepthwise": _DEPTHWISE,
    "Crop": LayerType(params=p.Crop, shape=axes.crop, bottoms=(2, 2)),
    "CropCenter": LayerType(params=forks.CropCenter, shape=shape_forks.crop_center, fork="waifu2x: crop_center_layer"),
    "Deconvolution": _convolution(p.Deconvolution, shape_windows.deconvolution),
    "DepthwiseConvolution": _DEPTHWISE,
    "DetectionOutput": _DETECTIONS,
    "Dropout": _elementwise(p.Dropout),
    "DummyData": LayerType(params=p.DummyData, shape=rules.dummy_data, bottoms=(0, 0), tops=ANY),
    "ELU": _elementwise(p.ELU, activation=True),
    # Not in place: Caffe's overwrites what it still needs
    "Eltwise": _elementwise(p.Eltwise, shape=axes.eltwise, bottoms=(2, MANY), in_place=False),
    "Embed": LayerType(params=p.Embed, shape=rules.embed, weights=weight_rules.embed, tensor=True),
    "EuclideanLoss": _loss(p.Plain, rules.equal_counts),
    "Exp": _elementwise(p.Exp),
    "Flatten": _view(p.Flatten, axes.flatten),
    "HingeLoss": _loss(p.HingeLoss, rules.one_label_each),
    "Im2col": LayerType(params=p.Im2col, shape=shape_windows.im2col),
    "InfogainLoss": _loss(p.InfogainLoss, rules.infogain_loss, (2, 3), most_tops=2),
    "InnerProduct": LayerType(
        params=p.InnerProduct,
        shape=rules.inner_product,
        weights=weight_rules.inner_product,
        bias=1,
        tensor=True,
        linear=True,
    ),
    "Input": LayerType(params=p.Input, shape=rules.given, bottoms=(0, 0), tops=ANY),
    "Interp": LayerType(
        params=forks.Interp, shape=shape_forks.interp, bottoms=(1, 2), fork="DeepLab, PSPNet: interp_layer"
    ),
    "LRN": LayerType(params=p.LRN, shape=rules.lrn, normalization=True),
    "LSTM": _recurrent(5, 3),
    "LSTMUnit": LayerType(params=p.Plain, shape=rules.lstm_unit, bottoms=(3, 3), tops=(2, 2)),
    "Log": _elementwise(p.Log),
    "MVN": LayerType(params=p.MVN, shape=rules.mvn, normalization=True),
    "MultinomialLogisticLoss": _loss(p.Plain, rules.one_label_each),
    "Normalize": LayerType(
        params=forks.Normalize,
        shape=rules.channels_second,
        weights=weight_rules.per_channel,
        fillers=(("scale_filler", 1.0),),
        fork="SSD: normalize_layer",
        normalization=True,
        in_place=True,
    ),
    "PReLU": _elementwise(
        p.PReLU,
        activation=True,
        shape=rules.channels_second,
        weights=weight_rules.per_channel,
        fillers=(("filler", 0.25),),
        typical=(0.25,),
    ),
    "Parameter": LayerType(
        params=p.Parameter, shape=rules.parameter, bottoms=(0, 0), weights=weight_rules.parameter, fillers=(("", 0.0),)
    ),
    "Permute": LayerType(params=p.Permute, shape=axes.permute),
    "Pooling": LayerType(params=p.Pooling, shape=shape_windows.pooling, tops=(1, 2)),
    "Power": _elementwise(p.Power),
    "PriorBox": LayerType(
        params=forks.PriorBox, shape=shape_forks.prior_box, bottoms=(1, 2), fork="SSD: prior_box_layer"
    ),
    "RNN": _recurrent(4, 2),
    "ReLU": _elementwise(p.ReLU, activation=True),
    "ReLU6": LayerType(params=forks.ReLU6, shape=rules.same, fork="relu6_layer", activation=True, in_place=True),
    "Reduction": LayerType(params=p.Reduction, shape=axes.reduction),
    "Reorg": LayerType(params=forks.Reorg, shape=shape_forks.reorg, fork="MobileNet-YOLO: reorg_layer"),
    "Reshape": _view(p.Reshape, axes.reshape),
    "SPP": LayerType(params=p.SPP, shape=shape_windows.spp),
    "Scale": _elementwise(
        p.Scale,
        shape=rules.scale,
        bottoms=(1, 2),
        weights=weight_rules.scale,
        bias=1,
        fed=True,
        fillers=(("filler", 1.0), ("bias_filler", 0.0)),
        typical=(1.0, 0.0),
    ),
    "ShuffleChannel": LayerType(
        params=forks.ShuffleChannel, shape=shape_forks.shuffle_channel, fork="ShuffleNet: shuffle_channel_layer"
    ),
    "Sigmoid": _elementwise(p.Plain, activation=True),
    "SigmoidCrossEntropyLoss": _loss(p.SigmoidCrossEntropyLoss, rules.equal_counts),
    "Silence": LayerType(params=p.Plain, shape=rules.same, bottoms=ANY, tops=(0, 0)),
    "Slice": LayerType(params=p.Slice, shape=axes.slice_, tops=ANY, shares_memory=True),
    "Softmax": LayerType(params=p.Softmax, shape=rules.softmax, in_place=True),
    "SoftmaxWithLoss": _loss(p.SoftmaxWithLoss, rules.softmax_loss, most_tops=2),
    "Split": _view(p.Plain, rules.same, tops=ANY),
    "Swish": _elementwise(p.Swish, activation=True),
    "TanH": _elementwise(p.Plain, activation=True),
    "Threshold": _elementwise(p.Threshold),
    "Tile": LayerType(params=p.Tile, shape=axes.tile),
    "Upsample": LayerType(
        params=forks.Upsample, shape=shape_forks.upsample, bottoms=(1, 2), fork="SegNet, MobileNet-YOLO: upsample_layer"
    ),
    "YoloDetectionOutput": _DETECTIONS,
    "Yolov3DetectionOutput": _DETECTIONS,
}
