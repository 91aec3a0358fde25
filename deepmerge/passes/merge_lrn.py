"""LRN goes into the convolution before it.

Given:   x → Convolution → [ReLU] → LRN(k) → y
Result:  x → Convolution(k^−beta · W, k^−beta · b) → [ReLU] → y

Exact: no. LRN divides by (k + alpha/n · Σx²)^beta; what is left without the sum is the constant k^−beta
(1 at Caffe's k = 1). Recovery makes the convolution learn the rest.
Source: Li et al., DeepRebirth (AAAI 2018), streamline merging; Caffe, lrn_layer.cpp.
"""

from __future__ import annotations

from deepmerge.kernels.xavier import xavier
from deepmerge.passes.base import Match, Pass
from deepmerge.passes.chains import back_over_activations, shared


class MergeLrn(Pass):
    name = "merge_lrn"
    exact = False
    summary = "LRN into the convolution before it"
    types = frozenset(("LRN",))

    def match(self, graph, layer, shapes):
        conv, between, reason = back_over_activations(layer.bottom)
        if reason:
            return self.refuse(layer, reason)
        if conv is None or conv.type != "Convolution":
            return self.refuse(layer, f"{conv.name!r} ({conv.type}), not a convolution, stands before it")
        if reason := shared(graph, conv):
            return self.refuse(layer, f"{conv.name!r}: {reason}")
        return Match(layer, (conv, layer), (conv,), exact=False)

    def rewrite(self, graph, match):
        conv, layer = match.merged
        p = layer.params
        factor = 1.0 if p.norm_region == "WITHIN_CHANNEL" else p.k**-p.beta
        if conv.weights and factor != 1.0:
            conv.weights = [(w * factor).astype(w.dtype) for w in conv.weights]
        if conv.weights and self.options.init == "xavier":
            conv.weights = [xavier(conv.weights[0].shape), *conv.weights[1:]]
        graph.bypass(layer)
        return [conv]
