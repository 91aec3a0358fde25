"""Layers by step: conv1, conv2, inception_3a … as `plan` calls them, from the structure."""

from __future__ import annotations

from deepmerge.graph.graph import Graph, Layer
from deepmerge.plan.names import step_names
from deepmerge.plan.regions import regions


def groups(graph: Graph) -> dict[str, str]:
    """Return the step's name of each layer; Inputs are in no step.

    Steps are the network's regions: a convolution with the layers after it, or a module. Neighbours whose tensor layers
    have the same name up to a slash (conv2/3x3_reduce, conv2/3x3) make one step.
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
    """Return the names that a step is called after: its tensor layers', if it has any."""
    return [layer.name for layer in group if layer.kind.tensor] or [layer.name for layer in group]


def _head(group: list[Layer]) -> str:
    """Return what all tensor layers' names have before a slash; "" if they differ, or have no slash."""
    heads = {name.partition("/")[0] if "/" in name else "" for name in _named(group)}
    return heads.pop() if len(heads) == 1 else ""
