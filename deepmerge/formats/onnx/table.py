"""WRITERS: the function that writes the nodes of each layer type."""

from __future__ import annotations

from collections.abc import Callable

from deepmerge.errors import EngineError
from deepmerge.formats.onnx import axes, elementwise, forks, linear, normalise, sources, windows
from deepmerge.graph.graph import Layer

WRITERS: dict[str, Callable] = {
    "Input": sources.given,
    "ArgMax": axes.argmax,
    "BatchNorm": normalise.batch_norm,
    "BatchReindex": axes.batch_reindex,
    "Bias": linear.bias,
    "Clip": elementwise.clip,
    "Concat": axes.concat,
    "Convolution": windows.convolution,
    "Crop": axes.crop,
    "Deconvolution": windows.deconvolution,
    "Dropout": elementwise.dropout,
    "DummyData": sources.dummy_data,
    "ELU": elementwise.elu,
    "Eltwise": elementwise.eltwise,
    "Embed": linear.embed,
    "Exp": elementwise.exp,
    "Flatten": axes.reshape,
    "Im2col": windows.im2col,
    "InnerProduct": linear.inner_product,
    "LRN": normalise.lrn,
    "Log": elementwise.log,
    "MVN": normalise.mvn,
    "PReLU": elementwise.prelu,
    "Parameter": sources.parameter,
    "Permute": axes.permute,
    "Pooling": windows.pooling,
    "Power": elementwise.power,
    "ReLU": elementwise.relu,
    "Reduction": axes.reduction,
    "Reshape": axes.reshape,
    "SPP": windows.spp,
    "Scale": linear.scale,
    "Silence": axes.silence,
    "Slice": axes.slice_,
    "Softmax": normalise.softmax,
    "Split": axes.split,
    "Swish": elementwise.swish,
    "Threshold": elementwise.threshold,
    "Tile": axes.tile,
} | {kind: elementwise.plain(node) for kind, node in elementwise.PLAIN.items()}

# Layers of Caffe's forks
WRITERS |= {
    "Axpy": forks.axpy,
    "BN": forks.bn,
    "ConvolutionDepthwise": windows.convolution,
    "CropCenter": forks.crop_center,
    "DepthwiseConvolution": windows.convolution,
    "Interp": forks.interp,
    "Normalize": forks.normalize,
    "ReLU6": forks.relu6,
    "Reorg": forks.reorg,
    "ShuffleChannel": forks.shuffle_channel,
    "Upsample": forks.upsample,
}

_RECURRENT = ("LSTM", "RNN", "LSTMUnit")


def lacks(layer: Layer) -> bool:
    """Return whether layers like this one cannot be written at all."""
    return layer.params is None or layer.type not in WRITERS


def refusal(layer: Layer) -> EngineError:
    """Return the error that a layer cannot be written."""
    reason, remedy = (
        "this type cannot be written as ONNX",
        "leave onnx out of --emit; to run the network, use --engine caffe",
    )
    if layer.type in _RECURRENT:
        reason, remedy = "recurrent layers cannot be written as ONNX", "use --engine caffe"
    elif layer.params is None:
        reason = "the type is not known, so it cannot be written as ONNX"
        remedy = "use --engine caffe with a Caffe build that supports this layer"
    return EngineError(f"layer {layer.name!r} ({layer.type}): {reason}", layer=layer.name, remedy=remedy)
