"""Two convolutions with nothing between them become one, where that is no more work.

Given:   x → Convolution 1x1 → Convolution kxk → y     (or kxk, then 1x1)
Result:  x → Convolution kxk → y

Exact: yes, in float64, stored as float32: where the second pads, the first must have no bias (its bias
would stand in the padding too).
Source: Ding et al., Diverse Branch Block (CVPR 2021), transform III.
"""

from __future__ import annotations

from dataclasses import replace

from deepmerge.graph.costs import layer_macs
from deepmerge.kernels.compose import compose_convolutions
from deepmerge.passes.support.base import Match, Pass
from deepmerge.passes.support.chains import alone, fixed
from deepmerge.passes.support.weights import bias_of, declare_bias, set_weights


class ComposeConvolutions(Pass):
    name = "compose_convolutions"
    exact = True
    summary = "a 1x1 and a kxk convolution with nothing between them into one, where that is no more work"
    types = frozenset(("Convolution",))

    def match(self, graph, layer, shapes):
        first = layer.bottom.producer
        if first.type != "Convolution":
            return None
        out, inside = shapes.get(layer.top), shapes.get(first.bottom)
        if out is None or inside is None or len(out) != 4:
            return None
        if reason := _obstacle(graph, first, layer):
            return self.refuse(layer, f"not composed with {first.name!r}: {reason}")
        a, b = first.params, layer.params
        before = layer_macs(first, shapes) + layer_macs(layer, shapes)
        after = a.kernel_h * a.kernel_w * b.kernel_h * b.kernel_w * inside[1] * out[1] * out[2] * out[3]
        if after > before:
            reason = f"one convolution in place of it and {first.name!r} would need {after:,} MACs, not {before:,}"
            return self.refuse(layer, reason)
        return Match(layer, (first, layer), (layer,))

    def rewrite(self, graph, match):
        first, second = match.merged
        a, b = first.params, second.params
        window = a if _is_point(b) else b
        second.params = replace(
            b,
            kernel_h=window.kernel_h, kernel_w=window.kernel_w, pad_h=window.pad_h, pad_w=window.pad_w,
            dilation_h=window.dilation_h, dilation_w=window.dilation_w,
            stride_h=a.stride_h * b.stride_h, stride_w=a.stride_w * b.stride_w,
        )  # fmt: skip
        if first.weights and second.weights:
            weights = first.weights[0], bias_of(first), second.weights[0], bias_of(second)
            set_weights(second, *compose_convolutions(*weights))
        elif a.bias_term:
            declare_bias(second)
        graph.rewire(first.top, first.bottom)
        graph.remove(first)
        return [second]


def _obstacle(graph, first, second) -> str:
    """Why the two are no single convolution: "" if they are."""
    a, b = first.params, second.params
    if not alone(first.top):
        return f"{first.top.name!r} has other readers"
    if a.group != 1 or b.group != 1:
        return "one of them has groups"
    if not _is_point(b):
        if not _is_point(a):
            return "neither is 1x1 without pad"
        if a.stride != (1, 1):
            return "the 1x1 before it has a stride"
        if b.pad != (0, 0) and a.bias_term:
            return "the second pads, and the first has a bias"
    return fixed(graph, first) or fixed(graph, second)


def _is_point(params) -> bool:
    """A 1x1 without pad: whatever its stride, it sees one place of its bottom."""
    return params.kernel == (1, 1) and params.pad == (0, 0)
