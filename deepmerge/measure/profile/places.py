"""What timed layers are: type, step, and whether they are tensor layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepmerge.graph.graph import Graph
from deepmerge.graph.types import TYPES, UNKNOWN
from deepmerge.plan.groups import groups


@dataclass(frozen=True)
class Place:
    """What a timed layer is: its type, its step, whether it is a tensor layer."""

    type: str
    group: str
    tensor: bool


def places(graph: Graph) -> Mapping[str, Place]:
    """Return the place of each timed layer, the Splits that Caffe puts after a blob with several readers included.

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
    """Return the place of a timed layer; what an engine added by itself is in no step."""
    return known.get(name) or Place(type, "", TYPES.get(type, UNKNOWN).tensor)
