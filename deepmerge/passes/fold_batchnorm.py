"""BatchNorm goes into the convolution before it, else into the ones after it, else into a Scale.

Given:   x → Convolution(W, b) → BatchNorm(mean, variance, factor) → y
Result:  x → Convolution(k·W, k·b + t) → y
         k = 1/sqrt(s·variance + eps), t = −s·mean·k, s = 1/factor (0 where the factor is 0)

The BN of segmentation forks and NVCaffe's BatchNorm of five blobs also scale and shift: gamma·y + beta.
Folding backwards crosses MAX pooling where no factor is negative (k never is), AVE pooling without pad, and a Concat
of channels that nothing else reads; layers that share their weights fold together.
Folding forwards gives W' = W·diag(k), b' = b + ΣW·t; only where the convolution does not pad, or t = 0.

Exact: yes, computed in float64 and stored as float32.
Source: Caffe, NVCaffe, batch_norm_layer.cpp; PSPNet, SegNet, bn_layer.cpp; Jacob et al. (CVPR 2018), section 3.2.
"""

from __future__ import annotations

import numpy as np

from deepmerge.graph.graph import Layer
from deepmerge.kernels import fold
from deepmerge.passes.support.affine import Affine, FoldAffine
from deepmerge.passes.support.base import Refused

# NVCaffe: batch_norm_layer.cpp, LayerSetUp
_NVCAFFE_LEAST_EPS = 1e-5
_ONE = np.ones(1)


class FoldBatchnorm(FoldAffine):
    """Fold BatchNorm into the convolution (or inner product) before or after it."""

    name = "fold_batchnorm"
    types = frozenset(("BatchNorm", "BN"))

    def positive(self, layer):
        """Return whether the layer only normalises: its k is 1/sqrt(…)."""
        return layer.type == "BatchNorm" and not layer.params.scale_bias

    def affine(self, layer, shape):
        """Return the map of the stored statistics."""
        if layer.type == "BN":
            return _bn(layer)
        if layer.params.use_global_stats is False:
            raise Refused(
                layer, "use_global_stats is false: it normalises by the current batch, not by stored statistics"
            )
        if not layer.weights:
            return None
        expected = 5 if layer.params.scale_bias else 3
        if len(layer.weights) != expected:
            whose = "NVCaffe's BatchNorm with scale_bias" if expected == 5 else "BVLC's BatchNorm"
            raise Refused(layer, f"it has {len(layer.weights)} blobs, and {whose} has {expected}")
        return _nvcaffe(layer) if expected == 5 else fold.batchnorm_affine(*layer.weights, layer.params.eps)


def _nvcaffe(layer: Layer) -> Affine:
    """Return the map of NVCaffe's BatchNorm with scale_bias.

    Its statistics are means, not sums, and its factor is not used. Source: NVCaffe, batch_norm_layer.cpp, Forward_cpu.
    """
    mean, variance, _, scale, bias = layer.weights
    normalised = fold.batchnorm_affine(mean, variance, _ONE, max(layer.params.eps, _NVCAFFE_LEAST_EPS))
    return fold.compose(normalised, (_wide(scale), _wide(bias)))


def _bn(layer: Layer) -> Affine | None:
    """Return the map of a BN layer."""
    p = layer.params
    if p.statistics == "batch":
        raise Refused(layer, "it normalises by the current batch, not by stored statistics")
    if p.statistics == "unclear":
        fix = "give it `frozen: true` or its `eps` if it uses its stored mean and variance"
        raise Refused(layer, f"bn_param does not show which fork it is from; {fix}")
    if p.axis != 1:
        raise Refused(layer, f"it works on axis {p.axis}, not on the channels")
    if len(layer.tops) != 1:
        raise Refused(layer, f"it has {len(layer.tops)} tops, the batch's statistics among them")
    if not layer.weights:
        return None
    expected = 2 if p.statistics == "folded" else 4
    if len(layer.weights) != expected:
        raise Refused(layer, f"it has {len(layer.weights)} blobs, and by its bn_param it should have {expected}")
    slope, bias, *stored = layer.weights
    after = _wide(slope), _wide(bias)
    return fold.compose(fold.batchnorm_affine(*stored, _ONE, p.eps), after) if stored else after


def _wide(blob: np.ndarray) -> np.ndarray:
    return blob.astype(np.float64).reshape(-1)
