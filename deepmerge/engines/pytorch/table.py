"""OPERATIONS: the function that computes the tops of each layer type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepmerge.engines.pytorch import (
    accuracy,
    activations,
    arithmetic,
    axes,
    forks,
    linear,
    losses,
    lrn,
    normalise,
    pooling,
    ranking,
    sources,
    windows,
)
from deepmerge.errors import EngineError

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer

OPERATIONS: dict[str, Callable] = {
    "Input": sources.given,
    "AbsVal": activations.plain(torch.abs),
    "ArgMax": ranking.argmax,
    "BNLL": activations.plain(F.softplus),
    "BatchNorm": normalise.batch_norm,
    "BatchReindex": axes.batch_reindex,
    "Bias": linear.bias,
    "Clip": activations.clip,
    "Concat": axes.concat,
    "Convolution": windows.convolution,
    "Crop": axes.crop,
    "Deconvolution": windows.deconvolution,
    "Dropout": activations.dropout,
    "DummyData": sources.dummy_data,
    "ELU": activations.elu,
    "Eltwise": arithmetic.eltwise,
    "Embed": linear.embed,
    "Exp": arithmetic.exp,
    "Flatten": axes.flatten,
    "Im2col": windows.im2col,
    "InnerProduct": linear.inner_product,
    "LRN": lrn.lrn,
    "Log": arithmetic.log,
    "MVN": normalise.mvn,
    "PReLU": activations.prelu,
    "Parameter": sources.parameter,
    "Permute": axes.permute,
    "Pooling": pooling.pooling,
    "Power": arithmetic.power,
    "ReLU": activations.relu,
    "Reduction": ranking.reduction,
    "Reshape": axes.reshape,
    "SPP": pooling.spp,
    "Scale": linear.scale,
    "Sigmoid": activations.plain(torch.sigmoid),
    "Silence": axes.silence,
    "Slice": axes.slice_,
    "Softmax": normalise.softmax,
    "Split": axes.split,
    "Swish": activations.swish,
    "TanH": activations.plain(torch.tanh),
    "Threshold": activations.threshold,
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
    "Accuracy": accuracy.accuracy,
    "ContrastiveLoss": losses.contrastive_loss,
    "EuclideanLoss": losses.euclidean_loss,
    "HingeLoss": losses.hinge_loss,
    "InfogainLoss": losses.infogain_loss,
    "MultinomialLogisticLoss": losses.multinomial_loss,
    "SigmoidCrossEntropyLoss": losses.sigmoid_loss,
    "SoftmaxWithLoss": losses.softmax_loss,
}

# The same, but in the bottom's memory: for bottoms that no other layer reads
OVERWRITING: dict[str, Callable] = {"ReLU": activations.relu_in_place}


def refusal(layer: Layer) -> EngineError:
    """Return the error that a layer cannot be run."""
    reason, remedy = "engine 'torch' does not have this type", "leave the layer out, or use --engine caffe"
    if layer.params is None:
        reason = "the type is not known, so engine 'torch' cannot run it"
        remedy = "use --engine caffe with a Caffe build that supports this layer"
    return EngineError(f"layer {layer.name!r} ({layer.type}): {reason}", layer=layer.name, remedy=remedy)
