"""Scale and Bias go into the convolution before them, else into the ones behind, else into a Scale.

Given:   x → Convolution(W, b) → Scale(gamma, beta) → y
Result:  x → Convolution(gamma·W, gamma·b + beta) → y

By channel (axis 1, num_axes 1) or by one scalar; a second bottom is data, never folded. The way back
leads through MAX pooling where no gamma is negative, and through AVE pooling that does not pad.

Exact: yes, in float64 and stored as float32.
Source: Caffe, scale_layer.cpp, bias_layer.cpp.
"""

from __future__ import annotations

import numpy as np

from deepmerge.passes.support.affine import FoldAffine, by_channel


class FoldScale(FoldAffine):
    name = "fold_scale"
    summary = "Scale and Bias into the convolution (or inner product) before or behind them"
    types = frozenset(("Scale", "Bias"))

    def affine(self, layer, shape):
        p = layer.params
        if p.num_axes != 0 and not by_channel(layer, shape):
            return f"it works on axis {p.axis} with num_axes {p.num_axes}, not channel by channel"
        if not layer.weights:
            return None
        if shape is None or len(shape) < 2:
            return "the number of channels is not known here"
        values = [np.broadcast_to(w.astype(np.float64).reshape(-1), shape[1:2]) for w in layer.weights]
        if layer.type == "Bias":
            return np.ones(shape[1]), values[0]
        return values[0], values[1] if len(values) > 1 else np.zeros(shape[1])
