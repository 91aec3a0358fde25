"""Which blobs of two networks are compared, and whether the networks can be compared at all."""

from __future__ import annotations

from dataclasses import dataclass

from deepmerge.errors import GraphError
from deepmerge.graph import Blob, Graph
from deepmerge.graph.shapes import Shape, infer_shapes
from deepmerge.text import input_option


@dataclass(frozen=True)
class Matched:
    """A blob's name in A and its counterpart's in B."""

    a: str
    b: str


def match_inputs(a: Graph, b: Graph) -> dict[str, Shape]:
    """Return A's inputs and their shapes; GraphError if B's inputs have other names or shapes (batch aside)."""
    shapes_a, shapes_b = _input_shapes(a, "A"), _input_shapes(b, "B")
    if shapes_a.keys() != shapes_b.keys():
        raise GraphError(f"the networks cannot be compared: A's inputs are {_names(shapes_a)}, B's {_names(shapes_b)}")
    for name, shape in shapes_a.items():
        if shape[1:] != shapes_b[name][1:] or len(shape) != len(shapes_b[name]):
            raise GraphError(
                f"the networks cannot be compared: input {name!r} is {shape} in A and {shapes_b[name]} in B"
            )
    return shapes_a


def _input_shapes(graph: Graph, which: str) -> dict[str, Shape]:
    shapes = infer_shapes(graph, strict=False)
    for blob in graph.inputs:
        if shapes[blob] is None:
            raise GraphError(
                f"input {blob.name!r} of {which} has no shape", remedy=f"give it: {input_option(blob.name)}"
            )
    if not graph.inputs:
        raise GraphError(f"network {which} has no input; there is nothing to feed it")
    return {blob.name: shapes[blob] for blob in graph.inputs}


def match_outputs(a: Graph, b: Graph) -> tuple[list[Matched], list[str]]:
    """Match the outputs, in A's order, by name, else by position with a warning for each.

    Raises GraphError if one network has more outputs than the other, or their shapes differ.
    """
    outputs_a, outputs_b = ([blob for blob in graph.outputs if blob.producer.type != "Input"] for graph in (a, b))
    if len(outputs_a) != len(outputs_b):
        raise GraphError(
            f"the networks cannot be compared: A has {len(outputs_a)} outputs ({_names(o.name for o in outputs_a)}), "
            f"B {len(outputs_b)} ({_names(o.name for o in outputs_b)})"
        )
    by_name = {blob.name: blob for blob in outputs_b}
    rest = iter([blob for blob in outputs_b if blob.name not in {o.name for o in outputs_a}])
    shapes_a, shapes_b = infer_shapes(a, strict=False), infer_shapes(b, strict=False)
    matched, warnings = [], []
    for blob in outputs_a:
        other = by_name.get(blob.name) or next(rest)
        if other.name != blob.name:
            warnings.append(f"output {blob.name!r} of A is compared with {other.name!r} of B, going by position")
        if not _alike(shapes_a[blob], shapes_b[other]):
            shapes = f"{shapes_a[blob]} in A and {shapes_b[other]} in B"
            raise GraphError(f"the networks cannot be compared: output {blob.name!r} is {shapes}")
        matched.append(Matched(blob.name, other.name))
    return matched, warnings


def match_layers(a: Graph, b: Graph) -> list[Matched]:
    """Return every blob that layers make in both networks under one name and in one shape, in A's order."""
    finals_a, finals_b = _finals(a), _finals(b)
    shapes_a, shapes_b = infer_shapes(a, strict=False), infer_shapes(b, strict=False)
    return [
        Matched(name, name)
        for name, blob in finals_a.items()
        if name in finals_b and shapes_a[blob] is not None and _alike(shapes_a[blob], shapes_b[finals_b[name]])
    ]


def makers(graph: Graph, name: str) -> list[str]:
    """Return the layers that write the blob called `name`, in-place layers included."""
    return [layer.name for layer in graph.layers for top in layer.tops if top.name == name and layer.type != "Input"]


def _finals(graph: Graph) -> dict[str, Blob]:
    """Return each name and the blob that the last layer to write it leaves there; inputs are left out."""
    finals = graph.finals
    return {name: blob for name, blob in finals.items() if blob.producer.type != "Input"}


def _alike(a: Shape | None, b: Shape | None) -> bool:
    """Return whether shapes are equal but for the batch and axes of size 1 at the end; unknown ones may be."""
    if a is None or b is None:
        return True
    return _core(a) == _core(b)


def _core(shape: Shape) -> Shape:
    rest = list(shape[1:])
    while rest and rest[-1] == 1:
        rest.pop()
    return tuple(rest)


def _names(names) -> str:
    return ", ".join(map(repr, names)) or "none"
