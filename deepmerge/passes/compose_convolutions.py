"""Two convolutions with nothing between them become one, where that does not take more work.

Given:   x → Convolution 1x1 → Convolution kxk → y     (or kxk, then 1x1)
Result:  x → Convolution kxk → y

Exact: yes, computed in float64 and stored as float32. Where the second pads, the first must not have a bias,
since its bias would have to be in the padding too.
Source: Ding et al., Diverse Branch Block (CVPR 2021), transform III.
"""

from __future__ import annotations

from dataclasses import replace

from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.params import Convolution
from deepmerge.kernels.compose import compose_convolutions
from deepmerge.passes.support.base import Match, Pass, Refused
from deepmerge.passes.support.chains import alone, check_own_weights
from deepmerge.passes.support.weights import bias_of, declare_bias, set_weights


class ComposeConvolutions(Pass):
    """Compose a 1x1 and a kxk convolution with nothing between them into one, where that does not take more work."""

    name = "compose_convolutions"
    exact = True
    types = frozenset(("Convolution",))

    def match(self, graph, layer, shapes):
        """Look for a convolution right before this one."""
        first = layer.bottom.producer
        if first.type != "Convolution":
            return None
        out, inside = shapes.get(layer.top), shapes.get(first.bottom)
        if out is None or inside is None or len(out) != 4:
            return None
        _check(graph, first, layer)
        a, b = first.params, layer.params
        before = layer_macs(first, shapes) + layer_macs(layer, shapes)
        after = a.kernel_h * a.kernel_w * b.kernel_h * b.kernel_w * inside[1] * out[1] * out[2] * out[3]
        if after > before:
            both = f"one convolution instead of it and {first.name!r}"
            raise Refused(layer, f"{both} would need {after:,} MACs, not {before:,}")
        return Match(layer, (first, layer), (layer,))

    def rewrite(self, graph, match):
        """Give the second convolution the weights of both and take the first one out."""
        first, second = match.merged
        a, b = first.params, second.params
        window = a if _is_point(b) else b
        second.params = replace(
            b,
            kernel_h=window.kernel_h,
            kernel_w=window.kernel_w,
            pad_h=window.pad_h,
            pad_w=window.pad_w,
            dilation_h=window.dilation_h,
            dilation_w=window.dilation_w,
            stride_h=a.stride_h * b.stride_h,
            stride_w=a.stride_w * b.stride_w,
        )
        if first.weights and second.weights:
            weights = first.weights[0], bias_of(first), second.weights[0], bias_of(second)
            set_weights(second, *compose_convolutions(*weights))
        elif a.bias_term:
            declare_bias(second)
        graph.rewire(first.top, first.bottom)
        graph.remove(first)
        return [second]


def _check(graph: Graph, first: Layer, second: Layer) -> None:
    """Raise Refused unless the two are the same as one convolution."""
    a, b = first.params, second.params
    if not alone(first.top):
        raise Refused(second, f"{first.top.name!r} has other readers")
    if a.group != 1 or b.group != 1:
        raise Refused(second, f"it or {first.name!r} has groups")
    if not _is_point(b):
        if not _is_point(a):
            raise Refused(second, f"neither it nor {first.name!r} is 1x1 without pad")
        if a.stride != (1, 1):
            raise Refused(second, f"the 1x1 before it, {first.name!r}, has a stride")
        if b.pad != (0, 0) and a.bias_term:
            raise Refused(second, f"it pads, and {first.name!r} before it has a bias")
    check_own_weights(graph, first)
    check_own_weights(graph, second)


def _is_point(params: Convolution) -> bool:
    """Return whether it is 1x1 without pad, and so reads one place of its bottom, whatever its stride is."""
    return params.kernel == (1, 1) and params.pad == (0, 0)
