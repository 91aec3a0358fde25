"""Shape inference: Caffe's Reshape, layer by layer, and whether the weights fit."""

from __future__ import annotations

from math import prod

from deepmerge.errors import ShapeError
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shape_errors import Shape, misfit, needs_blob

Memo = dict[Layer, tuple]  # a layer's parameters, bottoms' shapes and number of tops, and the tops' shapes


def infer_shapes(
    graph: Graph, strict: bool = True, batch: int | None = None, memo: Memo | None = None
) -> dict[Blob, Shape | None]:
    """Return the shape of every blob; None where it cannot be known, as after a layer of an unknown type.

    batch: replaces the first axis of every Input top that has two or more axes.
    strict: raise ShapeError for the first layer that does not fit; otherwise its tops are None, too.
    memo: the caller's dict, empty at first. With it, inferring a slightly changed graph again is cheap: a layer's rule
    is used only if its parameters or its bottoms' shapes have changed.
    """
    shapes: dict[Blob, Shape | None] = {}
    for layer in graph.layers:
        bottoms = [shapes.get(bottom) for bottom in layer.bottoms]
        try:
            tops = top_shapes(layer, bottoms) if memo is None else _remembered(layer, bottoms, memo)
        except ShapeError:
            if strict:
                raise
            tops = [None] * len(layer.tops)
        if batch is not None and layer.type == "Input":
            tops = [(batch, *top[1:]) if top is not None and len(top) > 1 else top for top in tops]
        shapes.update(zip(layer.tops, tops, strict=True))
    return shapes


def _remembered(layer: Layer, bottoms: list[Shape | None], memo: Memo) -> list[Shape | None]:
    """Return `top_shapes`, from the memo if the layer has not changed."""
    known = memo.get(layer)
    if known is None or known[0] is not layer.params or known[1] != bottoms or known[2] != len(layer.tops):
        known = memo[layer] = (layer.params, bottoms, len(layer.tops), top_shapes(layer, bottoms))
    return known[3]


def top_shapes(layer: Layer, bottoms: list[Shape | None]) -> list[Shape | None]:
    """Return the shapes of one layer's tops; ShapeError if its bottoms and parameters do not fit."""
    rule = layer.kind.shape
    if rule is None or layer.params is None:
        return [None] * len(layer.tops)
    _check_counts(layer)
    if None in bottoms:
        return [None] * len(layer.tops)
    tops = rule(layer, bottoms)
    for blob, shape in zip(layer.tops, tops, strict=True):
        if shape is not None:
            needs_blob(layer, blob.name, shape)
    return tops


def _check_counts(layer: Layer) -> None:
    """Caffe: layer.hpp, CheckBlobCounts."""
    counts = (("bottom", layer.bottoms, layer.kind.bottoms), ("top", layer.tops, layer.kind.tops))
    for field, blobs, (least, most) in counts:
        if len(blobs) < least or (most is not None and len(blobs) > most):
            limit = f"{least} or more" if most is None else f"{least} to {most}"
            raise misfit(layer, field, str(least) if least == most else limit, len(blobs))


def expected_weights(layer: Layer, bottom_shapes: list[Shape | None]) -> list[Shape] | None:
    """Return the shapes of the layer's weight blobs, in Caffe's order and axes; [] for a layer that has none.

    None where that cannot be known: a type that deepmerge does not know, or bottoms without a shape.
    ShapeError where parameters and bottoms do not fit.
    """
    if layer.params is None:
        return None
    rule = layer.kind.weights
    if rule is None:
        return []
    if None in bottom_shapes:
        return None
    return rule(layer, bottom_shapes)


def fits(found: Shape, expected: Shape) -> bool:
    """Return whether a stored blob of this shape may be loaded where `expected` is needed.

    Files from before N-d blobs give every blob four axes, with ones in front: (1, 1, N, C) for the weights of an
    InnerProduct, (1, 1, 1, N) for a bias. Caffe: blob.cpp, ShapeEquals.
    """
    found, expected = tuple(found), tuple(expected)
    return found == expected or (len(found) == 4 > len(expected) and found == (1,) * (4 - len(expected)) + expected)


def check_weights(graph: Graph, shapes: dict[Blob, Shape | None]) -> None:
    """Raise ShapeError for a layer whose weights are not those that Caffe expects. Layers without weights pass."""
    for layer in graph.layers:
        if layer.weights:
            _check_layer(layer, expected_weights(layer, [shapes.get(bottom) for bottom in layer.bottoms]))


def check_shared(graph: Graph, shapes: dict[Blob, Shape | None]) -> None:
    """Raise ShapeError where two layers share a weight blob by name and need it in different shapes.

    With `share_mode: PERMISSIVE` the same number of values is enough. Caffe: net.cpp, AppendParam.
    """
    owners: dict[str, tuple[Layer, Shape]] = {}
    for layer in graph.layers:
        if not layer.shared_names:
            continue
        expected = expected_weights(layer, [shapes.get(bottom) for bottom in layer.bottoms]) or []
        for index, shape in enumerate(expected):
            if not (name := layer.blob_name(index)):
                continue
            owner, owned = owners.setdefault(name, (layer, shape))
            permissive = str(layer.param_specs[index].value("share_mode") or "") == "PERMISSIVE"
            if (prod(owned) != prod(shape)) if permissive else (owned != shape):
                whose = f"{owned}, the shape of {name!r} in layer {owner.name!r} ({owner.type}), which shares it"
                raise misfit(layer, f"weight blob {index}", whose, f"{shape}; give one of them a name of its own")


def _check_layer(layer: Layer, expected: list[Shape] | None) -> None:
    if expected is None:
        return
    if len(layer.weights) != len(expected):
        fork = ", as NVCaffe stores them" if layer.type == "BatchNorm" and len(layer.weights) == 5 else ""
        raise misfit(
            layer, "weights", _blobs(expected), f"{_blobs([w.shape for w in layer.weights])}{fork}; {_QUESTION}"
        )
    for index, (found, shape) in enumerate(zip(layer.weights, expected, strict=True)):
        if found.shape != shape:
            raise misfit(layer, f"weight blob {index}", shape, f"{found.shape}; {_QUESTION}")


_QUESTION = "does the caffemodel belong to this prototxt?"


def _blobs(shapes: list[Shape]) -> str:
    return f"{len(shapes)} blob{'s' * (len(shapes) != 1)}" + (f" {', '.join(map(str, shapes))}" if shapes else "")
