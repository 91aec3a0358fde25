"""BatchNorm goes into the convolution before it, else into the ones behind it, else into a Scale.

Given:   x → Convolution(W, b) → BatchNorm(mean, variance, factor) → y
Result:  x → Convolution(k·W, k·b + t) → y
         k = 1/sqrt(s·variance + eps), t = −s·mean·k, s = 1/factor (0 where the factor is 0)

BN, the layer of segmentation forks, and NVCaffe's BatchNorm of five blobs have a scale and bias in them: y goes on to
gamma·y + beta. The way back leads through MAX pooling (every k is above 0, every gamma, too) and through AVE pooling that does not pad.
Forwards, W' = W·diag(k), b' = b + ΣW·t, only where the convolution does not pad, or t = 0.

Exact: yes, in float64 and stored as float32.
Source: Caffe, NVCaffe, batch_norm_layer.cpp; PSPNet, SegNet, bn_layer.cpp; Jacob et al. (CVPR 2018), section 3.2.
"""

from __future__ import annotations

import numpy as np

from deepmerge.graph.graph import Layer
from deepmerge.kernels import fold
from deepmerge.passes.support.affine import Affine, FoldAffine

# NVCaffe: batch_norm_layer.cpp, LayerSetUp
_NVCAFFE_LEAST_EPS = 1e-5
_ONE = np.ones(1)


class FoldBatchnorm(FoldAffine):
    name = "fold_batchnorm"
    summary = "BatchNorm into the convolution (or inner product) before or behind it"
    types = frozenset(("BatchNorm", "BN"))

    def positive(self, layer):
        return layer.type == "BatchNorm" and not layer.params.scale_bias

    def affine(self, layer, shape):
        if layer.type == "BN":
            return _bn(layer)
        if layer.params.use_global_stats is False:
            return "use_global_stats is false: it normalises by the batch at hand, not by stored statistics"
        if not layer.weights:
            return None
        expected = 5 if layer.params.scale_bias else 3
        if len(layer.weights) != expected:
            whose = "NVCaffe's BatchNorm with scale_bias" if expected == 5 else "BVLC's BatchNorm"
            return f"it has {len(layer.weights)} blobs, and {whose} has {expected}"
        return _nvcaffe(layer) if expected == 5 else fold.batchnorm_affine(*layer.weights, layer.params.eps)


def _nvcaffe(layer: Layer) -> Affine:
    """Its statistics are means, not sums, and its factor is not looked at. NVCaffe: batch_norm_layer.cpp, Forward_cpu."""
    mean, variance, _, scale, bias = layer.weights
    normalised = fold.batchnorm_affine(mean, variance, _ONE, max(layer.params.eps, _NVCAFFE_LEAST_EPS))
    return fold.compose(normalised, (_wide(scale), _wide(bias)))


def _bn(layer: Layer) -> Affine | str | None:
    p = layer.params
    if p.statistics == "batch":
        return "it normalises by the batch at hand, not by stored statistics"
    if p.statistics == "unclear":
        return "bn_param does not say whose it is; give it `frozen: true` or its `eps` if it uses its stored mean and variance"
    if p.axis != 1:
        return f"it works on axis {p.axis}, not on the channels"
    if len(layer.tops) != 1:
        return f"it has {len(layer.tops)} tops, the batch's statistics among them"
    if not layer.weights:
        return None
    expected = 2 if p.statistics == "folded" else 4
    if len(layer.weights) != expected:
        return f"it has {len(layer.weights)} blobs, and by its bn_param it should have {expected}"
    slope, bias, *stored = layer.weights
    after = _wide(slope), _wide(bias)
    return fold.compose(fold.batchnorm_affine(*stored, _ONE, p.eps), after) if stored else after


def _wide(blob: np.ndarray) -> np.ndarray:
    return blob.astype(np.float64).reshape(-1)
