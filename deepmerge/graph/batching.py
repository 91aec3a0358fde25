"""In which batches a network can be run."""

from __future__ import annotations

from deepmerge.errors import ShapeError
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes


def declared_batch(graph: Graph) -> int:
    """The first axis of its first input that has any."""
    shapes = infer_shapes(graph, strict=False)
    return max(1, next((shapes[blob][0] for blob in graph.inputs if shapes[blob]), 1))


def runs_at_any_batch(graph: Graph) -> bool:
    """Whether one image more at the inputs is one image more at every output: no Reshape to a fixed size, say."""
    shapes = infer_shapes(graph, strict=False)
    inputs = [shapes[blob] for blob in graph.inputs]
    if any(len(shape) < 2 for shape in inputs) or len({shape[0] for shape in inputs}) != 1:
        return False
    try:
        larger = infer_shapes(graph, batch=inputs[0][0] + 1)
    except ShapeError:
        return False
    outputs = [(shapes[blob], larger[blob]) for blob in graph.outputs]
    return all(a is None or b is None or (b[:1] != a[:1] and b[1:] == a[1:]) for a, b in outputs)
