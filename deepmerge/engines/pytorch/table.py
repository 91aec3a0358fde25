"""OPERATIONS: the function that computes the tops of each layer type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepmerge.engines.pytorch import axes, elementwise, forks, linear, losses, normalise, sources, windows
from deepmerge.errors import EngineError

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer

OPERATIONS: dict[str, Callable] = {
    "Input": sources.given,
    "AbsVal": elementwise.plain(torch.abs),
    "ArgMax": axes.argmax,
    "BNLL": elementwise.plain(F.softplus),
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
    "Flatten": axes.flatten,
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
    "Sigmoid": elementwise.plain(torch.sigmoid),
    "Silence": axes.silence,
    "Slice": axes.slice_,
    "Softmax": normalise.softmax,
    "Split": axes.split,
    "Swish": elementwise.swish,
    "TanH": elementwise.plain(torch.tanh),
    "Threshold": elementwise.threshold,
    "Tile": axes.tile,
}

# Layers of Caffe's forks
OPERATIONS |= {
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

# For training
OPERATIONS |= {
    "Accuracy": losses.accuracy,
    "ContrastiveLoss": losses.contrastive_loss,
    "EuclideanLoss": losses.euclidean_loss,
    "HingeLoss": losses.hinge_loss,
    "InfogainLoss": losses.infogain_loss,
    "MultinomialLogisticLoss": losses.multinomial_loss,
    "SigmoidCrossEntropyLoss": losses.sigmoid_loss,
    "SoftmaxWithLoss": losses.softmax_loss,
}

# The same, but in the bottom's memory: for bottoms that no other layer reads
OVERWRITING: dict[str, Callable] = {"ReLU": elementwise.relu_in_place}


def lacks(layer: Layer) -> bool:
    """Return whether layers like this one cannot be run at all."""
    return layer.params is None or layer.type not in OPERATIONS


def refusal(layer: Layer) -> EngineError:
    """Return the error that a layer cannot be run."""
    reason, remedy = "engine 'torch' does not have this type", "leave the layer out, or use --engine caffe"
    if layer.params is None:
        reason = "the type is not known, so engine 'torch' cannot run it"
        remedy = "use --engine caffe with a Caffe build that supports this layer"
    return EngineError(f"layer {layer.name!r} ({layer.type}): {reason}", layer=layer.name, remedy=remedy)
