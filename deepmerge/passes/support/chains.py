"""Looking along chains of layers: which layer feeds which, and whether anything else reads it."""

from __future__ import annotations

from deepmerge.graph import params as typed
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.passes.support.base import Refused, Shapes


def only_reader(blob: Blob) -> Layer | None:
    """Return the only layer that reads the blob, once; None where there are more readers, or none (an output)."""
    return blob.consumers[0] if alone(blob) else None


def alone(blob: Blob) -> bool:
    """Return whether the blob has exactly one reader, which reads it once."""
    return len(blob.consumers) == 1


def back_over_activations(blob: Blob) -> tuple[Blob, list[Layer]]:
    """Return the blob that the activations before `blob` start from, and these activations in order.

    The walk ends at a blob with several readers, and at the first layer that is not an activation.
    """
    passed: list[Layer] = []
    while alone(blob) and blob.producer.kind.activation:
        passed.insert(0, blob.producer)
        blob = blob.producer.bottom
    return blob, passed


def check_absorber(graph: Graph, layer: Layer, blob: Blob) -> None:
    """Raise Refused unless `blob` comes from a convolution that can take `layer`'s work over.

    blob: what `layer` reads, or what the activations before it start from.
    """
    if not alone(blob):
        raise Refused(layer, f"{blob.name!r} has other readers")
    conv = blob.producer
    if not conv.kind.convolution:
        raise Refused(layer, f"{conv.name!r} ({conv.type}), not a convolution, comes before it")
    if conv.params is None:
        raise Refused(layer, f"the parameters of {conv.name!r} ({conv.type}) are not known")
    check_own_weights(graph, conv)


def check_own_weights(graph: Graph, layer: Layer, shared: bool = False) -> None:
    """Raise Refused where the layer's weights must not change.

    That is where another layer shares them (ParamSpec names; `shared` allows it), where the layer itself uses them
    on several bottoms, and where its channels are not on axis 1.
    """
    if not shared and (others := graph.sharers(layer)):
        raise Refused(layer, f"its weights are shared with {others[0].name!r}")
    if len(layer.bottoms) != 1:
        raise Refused(layer, f"its weights work on {len(layer.bottoms)} bottoms at once")
    if layer.kind.linear and layer.params.axis != 1:
        raise Refused(layer, f"it works on axis {layer.params.axis}, not 1")


def is_idempotent(kind: str, params: typed.Params | None) -> bool:
    """Return whether an activation does not change its own output: f(f(x)) = f(x)."""
    return kind == "Clip" or (kind in ("ReLU", "ReLU6") and params is not None and params.negative_slope == 0)


def is_plain_1x1(layer: Layer) -> bool:
    """Return whether the layer is a 1x1 convolution with stride 1, no pad and one group."""
    p = layer.params
    return layer.type == "Convolution" and (p.kernel, p.stride, p.pad, p.group) == ((1, 1), (1, 1), (0, 0), 1)


def same_size(conv: typed.Convolution) -> bool:
    """Return whether the kernel is odd, and padded so that its middle tap is at the output's own place."""
    return all(
        kernel % 2 == 1 and pad * 2 == dilation * (kernel - 1)
        for kernel, pad, dilation in zip(conv.kernel, conv.pad, conv.dilation, strict=True)
    )


def empty_window(pool: Layer, shapes: Shapes) -> bool:
    """Return whether a window of the pooling lies outside of the image, as happens with a stride above the kernel.

    Caffe then gives a constant (−FLT_MAX, 0 or NaN), which no layer can be moved across. True where the shapes
    are not known.
    """
    bottom, top = shapes.get(pool.bottom), shapes.get(pool.top)
    if bottom is None or top is None:
        return True
    p = pool.params
    windows = zip(bottom[2:], top[2:], p.stride, p.pad, strict=True)
    return any((out - 1) * stride - pad >= size for size, out, stride, pad in windows)
