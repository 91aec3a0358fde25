"""Layers by step: conv1, conv2, inception_3a … as `plan` calls them, from the structure and the layers' names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from deepmerge.graph.graph import Graph, Layer
from deepmerge.plan.regions import regions
from deepmerge.text import unused

# --steps splits at commas and strips its words
_BREAKS = re.compile(r"[,\s\x00-\x1f\x7f]+")
RESERVED = frozenset({"all", "int8"})  # --steps all is every step; tables have rows of both names


def head(name: str) -> str:
    """Return the part before the slash, else before the underscore, else all of it: conv1, inception_3a, res2a."""
    for mark in "/_":
        if mark in name:
            return name.split(mark, 1)[0] or name
    return name


def step_names(groups: Sequence[Sequence[str]], taken: Collection[str] = ()) -> list[str]:
    """Return a name for each group of layer names: the head that most of them have.

    Groups that would share a name get the full names of their first layers, and a number if even that is taken (by
    another group or in `taken`). Each name is one word for --steps. Names only label the groups: nothing depends on
    them.
    """
    common = [_label(Counter(map(head, group)).most_common(1)[0][0]) for group in groups]
    counts = Counter(common)
    names: list[str] = []
    used = {*RESERVED, *taken}
    for name, group in zip(common, groups, strict=True):
        names.append(unused(name if counts[name] == 1 else _label(group[0]), used))
        used.add(names[-1])
    return names


def _label(name: str) -> str:
    return _BREAKS.sub("_", name) or "step"


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
