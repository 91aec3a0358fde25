"""Scale and Bias go into the convolution before them, else into the ones behind, else into a Scale.

Given:   x → Convolution(W, b) → Scale(gamma, beta) → y
Result:  x → Convolution(gamma·W, gamma·b + beta) → y

Per channel (axis 1, num_axes 1) or by one scalar; a second bottom is data, never folded.

Exact: yes, in float64 and stored as float32.
Source: Caffe, scale_layer.cpp, bias_layer.cpp.
"""

from __future__ import annotations

import numpy as np

from deepmerge.passes.affine import FoldAffine


class FoldScale(FoldAffine):
    name = "fold_scale"
    summary = "Scale and Bias into the convolution (or inner product) before or behind them"
    types = frozenset(("Scale", "Bias"))

    def affine(self, layer, channels):
        p = layer.params
        if not (p.num_axes == 0 or (p.axis == 1 and p.num_axes == 1)):
            return f"it works on axis {p.axis} with num_axes {p.num_axes}, not channel by channel"
        if not layer.weights:
            return None
        if channels is None:
            return "the number of channels is not known here"
        values = [np.broadcast_to(w.astype(np.float64).reshape(-1), (channels,)) for w in layer.weights]
        if layer.type == "Bias":
            return np.ones(channels), values[0]
        return values[0], values[1] if len(values) > 1 else np.zeros(channels)
