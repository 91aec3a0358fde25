"""BatchNorm goes into the convolution before it, else into the ones behind it, else into a Scale.

Given:   x → Convolution(W, b) → BatchNorm(mean, variance, factor) → y
Result:  x → Convolution(k·W, k·b + t) → y
         k = 1/sqrt(s·variance + eps), t = −s·mean·k, s = 1/factor (0 where the factor is 0)

The way back leads through MAX pooling (every k is above 0) and through AVE pooling that does not pad.
Forwards, W' = W·diag(k), b' = b + ΣW·t, only where the convolution does not pad, or t = 0.

Exact: yes, in float64 and stored as float32.
Source: Caffe, batch_norm_layer.cpp; Jacob et al. (CVPR 2018), section 3.2.
"""

from __future__ import annotations

from deepmerge.kernels import fold
from deepmerge.passes.affine import FoldAffine


class FoldBatchnorm(FoldAffine):
    name = "fold_batchnorm"
    summary = "BatchNorm into the convolution (or inner product) before or behind it"
    types = frozenset(("BatchNorm",))
    positive = True

    def affine(self, layer, shape):
        if layer.params.use_global_stats is False:
            return "use_global_stats is false: it normalises by the batch at hand, not by stored statistics"
        if not layer.weights:
            return None
        if len(layer.weights) != 3:
            fork = " (as NVCaffe's, which holds its scale and bias too)" if len(layer.weights) == 5 else ""
            return f"it has {len(layer.weights)} blobs{fork}, and BVLC's BatchNorm has 3"
        return fold.batchnorm_affine(*layer.weights, layer.params.eps)
