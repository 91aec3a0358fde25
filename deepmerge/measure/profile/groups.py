"""Layers by step: conv1, conv2, inception_3a … as `plan` calls them, from the structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.types import TYPES, UNKNOWN
from deepmerge.plan.names import step_names
from deepmerge.plan.regions import regions


@dataclass(frozen=True)
class Place:
    """What a timed layer is: its type, its step, whether it is a tensor layer."""

    type: str
    group: str
    tensor: bool


def groups(graph: Graph) -> dict[str, str]:
    """Layer → its step's name; Inputs are in none.

    Steps are the network's regions: a convolution with the layers behind it, or a module. Neighbours whose tensor layers'
    names are alike up to a slash (conv2/3x3_reduce, conv2/3x3) make one step.
    """
    stretches: dict[int, list[Layer]] = {}
    for layer, number in regions(graph).items():
        if layer.type != "Input":
            stretches.setdefault(number, []).append(layer)
    found: list[list[Layer]] = []
    for _, stretch in sorted(stretches.items()):
        if found and _head(stretch) and _head(found[-1]) == _head(stretch):
            found[-1].extend(stretch)
        else:
            found.append(list(stretch))
    names = step_names([_named(group) for group in found])
    return {layer.name: name for group, name in zip(found, names, strict=True) for layer in group}


def _named(group: list[Layer]) -> list[str]:
    """The names that name a step: its tensor layers', if it has any."""
    return [layer.name for layer in group if layer.kind.tensor] or [layer.name for layer in group]


def _head(group: list[Layer]) -> str:
    """What all tensor layers' names have before a slash; "" where they differ, or have none."""
    heads = {name.partition("/")[0] if "/" in name else "" for name in _named(group)}
    return heads.pop() if len(heads) == 1 else ""


def places(graph: Graph) -> Mapping[str, Place]:
    """Timed layer → its place: every layer's, and those of the Splits that Caffe puts behind a blob with several readers.

    Source: Caffe, insert_splits.cpp, SplitLayerName: BLOB_LAYER_INDEX_split.
    """
    step = groups(graph)
    found = {layer.name: Place(layer.type, step.get(layer.name, ""), layer.kind.tensor) for layer in graph.layers}
    for layer in graph.layers:
        for index, top in enumerate(layer.tops):
            split = f"{top.name}_{layer.name}_{index}_split"
            found.setdefault(split, Place("Split", step.get(layer.name, ""), False))
    return found


def place_of(name: str, type: str, known: Mapping[str, Place]) -> Place:
    """A timed layer's place; what an engine made by itself is in no step."""
    return known.get(name) or Place(type, "", TYPES.get(type, UNKNOWN).tensor)
