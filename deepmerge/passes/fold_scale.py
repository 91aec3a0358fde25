"""Scale and Bias go into the convolution before them, else into the ones after them, else into a Scale.

Given:   x → Convolution(W, b) → Scale(gamma, beta) → y
Result:  x → Convolution(gamma·W, gamma·b + beta) → y

By channel (axis 1, and further axes only of one value) or by one scalar. A second bottom is data and is never folded.
Folding backwards crosses MAX pooling where no gamma is negative, AVE pooling without pad (or where beta is 0), and a
Concat of channels that nothing else reads; layers that share their weights fold together.

Exact: yes, computed in float64 and stored as float32.
Source: Caffe, scale_layer.cpp, bias_layer.cpp.
"""

from __future__ import annotations

import numpy as np

from deepmerge.passes.support.affine import FoldAffine, by_channel
from deepmerge.passes.support.base import Refused


class FoldScale(FoldAffine):
    """Fold Scale and Bias into the convolution (or inner product) before or after them."""

    name = "fold_scale"
    types = frozenset(("Scale", "Bias"))

    def affine(self, layer, shape):
        """Return gamma and beta as k and t."""
        p = layer.params
        if p.num_axes != 0 and not by_channel(layer, shape):
            raise Refused(layer, f"it works on axis {p.axis} with num_axes {p.num_axes}, not channel by channel")
        if not layer.weights:
            return None
        if p.num_axes == 0 and (shape is None or len(shape) < 2):
            raise Refused(layer, "the number of channels is not known here")
        channels = shape[1] if p.num_axes == 0 else layer.weights[0].size  # by channel, there is a value for each
        values = [np.broadcast_to(w.astype(np.float64).reshape(-1), (channels,)) for w in layer.weights]
        if layer.type == "Bias":
            return np.ones(channels), values[0]
        return values[0], values[1] if len(values) > 1 else np.zeros(channels)
