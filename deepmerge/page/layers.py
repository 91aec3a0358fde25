"""What the page says of each layer of a network: type, settings, shapes, weights, costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from math import prod

from deepmerge.graph.costs import layer_costs, shapes_of_one, weight_shapes
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.memory import FLOAT
from deepmerge.graph.tree import Message
from deepmerge.names import for_terminal
from deepmerge.plan.groups import groups, head

_LONGEST = 200  # characters of one setting
_MOST = 16  # settings of a layer whose type is not known


@dataclass(frozen=True)
class Fact:
    """A layer as the page shows it; equal where nothing that can be seen has changed.

    settings: what differs from Caffe's defaults, `name value`. tops: shapes for one image. bytes: of the tops, float32.
    weights: the learned blobs' shapes. group: the part of the network that it belongs to.
    """

    name: str
    type: str
    tensor: bool
    group: str
    settings: tuple[str, ...]
    tops: tuple[str, ...]
    weights: tuple[str, ...]
    params: int
    macs: int
    bytes: int
    weight_bytes: int


def facts(graph: Graph) -> list[Fact]:
    """Return a Fact for each layer, in the graph's order."""
    shapes = shapes_of_one(graph)
    steps = groups(graph)
    made = []
    for layer, cost in zip(graph.layers, layer_costs(graph, shapes), strict=True):
        weights = weight_shapes(layer, shapes)
        made.append(
            Fact(
                layer.name,
                layer.type,
                cost.tensor,
                steps.get(layer.name) or head(layer.name),
                tuple(settings(layer)),
                tuple(size(shape) for shape in cost.tops),
                tuple(size(shape) for shape in weights),
                cost.params,
                cost.macs,
                cost.bytes,
                FLOAT * sum(prod(shape) for shape in weights),
            )
        )
    return made


def reads(graph: Graph) -> list[list[int]]:
    """For each layer the places of the layers whose tops it reads, each once."""
    place = {layer: index for index, layer in enumerate(graph.layers)}
    return [list(dict.fromkeys(place[bottom.producer] for bottom in layer.bottoms)) for layer in graph.layers]


def size(shape: tuple[int, ...] | None) -> str:
    """`64×112×112`; the batch axis of one image is left out. "?" where a shape is not known."""
    if shape is None:
        return "?"
    axes = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    return "×".join(map(str, axes)) or "1"


def settings(layer: Layer) -> Iterator[str]:
    """Return the layer's parameters that are not the defaults; height and width as one."""
    if layer.params is None:
        yield from list(_of_tree(layer.tree))[:_MOST]
        return
    values = {field.name: getattr(layer.params, field.name) for field in fields(layer.params)}
    defaults = {field.name: field.default for field in fields(layer.params) if field.default is not MISSING}
    for name, value in values.items():
        stem, _, axis = name.rpartition("_")
        if axis in "hw" and f"{stem}_h" in values and f"{stem}_w" in values:
            if axis == "h" and any(values[f"{stem}_{a}"] != defaults.get(f"{stem}_{a}") for a in "hw"):
                yield f"{stem} {value}×{values[f'{stem}_w']}"
        elif name not in defaults or value != defaults[name]:
            yield _short(f"{name} {_value(value)}")


def _of_tree(message: Message) -> Iterator[str]:
    for field in message:
        if isinstance(field.value, Message) and field.name.endswith("_param"):
            for inner in field.value:
                yield _short(f"{inner.name} {'{…}' if isinstance(inner.value, Message) else inner.value}")


def _value(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join("×".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in value)
    return str(value)


def _short(text: str) -> str:
    return for_terminal(text, _LONGEST)
