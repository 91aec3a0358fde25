"""The batch sizes that a network can be run with."""

from __future__ import annotations

from deepmerge.errors import GraphError, ShapeError
from deepmerge.graph.extract import layers_between
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes

UNBIND = "if a Reshape fixes the first `dim`, set it to 0"  # what to do about a network that runs with one batch only


def declared_batch(graph: Graph) -> int:
    """Return the first axis of the first input that has any; 1 without one."""
    shapes = infer_shapes(graph, strict=False)
    return max(1, next((shapes[blob][0] for blob in graph.inputs if shapes[blob]), 1))


def runs_at_any_batch(graph: Graph) -> bool:
    """Return whether one more image changes only the first axis of each output; not so after a fixed Reshape."""
    shapes = infer_shapes(graph, strict=False)
    inputs = [shapes[blob] for blob in graph.inputs]
    if any(shape is None or len(shape) < 2 for shape in inputs) or len({shape[0] for shape in inputs}) != 1:
        return False
    try:
        larger = infer_shapes(graph, batch=inputs[0][0] + 1)
    except ShapeError:
        return False
    outputs = [(shapes[blob], larger[blob]) for blob in graph.outputs]
    return all(a is None or b is None or (b[:1] != a[:1] and b[1:] == a[1:]) for a, b in outputs)


def require_rows(graph: Graph) -> None:
    """Raise a GraphError if an output that is computed from the images does not have rows for each of them."""
    shapes = infer_shapes(graph, strict=False)
    try:
        larger = infer_shapes(graph, batch=declared_batch(graph) + 1)
    except ShapeError:
        bound = f"network {graph.name!r} runs only with a batch of {declared_batch(graph)}"
        raise GraphError(f"{bound}, and this command needs other sizes", remedy=UNBIND) from None
    sizes = [top for layer in graph.layers if layer.type == "PriorBox" for top in layer.tops]  # not of values
    for blob in graph.outputs:
        one, more = shapes[blob], larger[blob]
        computed = any(layer.type == "Input" for layer in layers_between(graph, sizes, [blob]))
        if computed and one and more and (one[0] == more[0] or one[1:] != more[1:]):
            text = f"output {blob.name!r} of network {graph.name!r} does not have a row for each image"
            raise GraphError(text, remedy=UNBIND)
