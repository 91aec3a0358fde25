"""What a target would not take of a network, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shape_errors import Shape
from deepmerge.graph.shapes import infer_shapes
from deepmerge.targets.conventions import CONVENTIONS
from deepmerge.targets.measures import Seen, measured
from deepmerge.targets.target import Rule, Target

Shapes = Mapping[Blob, "Shape | None"]


class Problem(NamedTuple):
    """A layer that a target does not take. rule: "type", or the name of a rule or a convention.

    only_for: what the layer cannot be used for; "" if it is not taken at all.
    """

    layer: str
    type: str
    rule: str
    reason: str
    only_for: str = ""

    def entry(self) -> dict[str, str]:
        """Return what JSON says about it."""
        return {key: value for key, value in self._asdict().items() if key != "only_for" or value}


def problems(graph: Graph, target: Target, stored: Mapping[str, str] | None = None) -> list[Problem]:
    """Return what the target would not take of a network as it is in its files, in the network's order.

    stored: the type of each layer in the caffemodel, by name; None without a caffemodel.
    """
    found = layer_problems(graph.layers, infer_shapes(graph, strict=False), target)
    for name in target.conventions:
        found += [Problem(layer, kind, name, why) for layer, kind, why in CONVENTIONS[name](graph, stored)]
    places = {layer.name: place for place, layer in enumerate(graph.layers)}
    return sorted(found, key=lambda problem: places.get(problem.layer, len(places)))


def layer_problems(layers: Iterable[Layer], shapes: Shapes, target: Target) -> list[Problem]:
    """Return the types and values of layers that the target does not take; conventions of writing apart."""
    found = []
    for layer in layers:
        if reason := _type_problem(layer.type, target):
            found.append(Problem(layer.name, layer.type, "type", reason))
        seen = Seen(layer, [shapes.get(b) for b in layer.bottoms], [shapes.get(t) for t in layer.tops])
        for rule in target.rules:
            if layer.type in rule.types and (layer.params is not None or not layer.kind.params):
                found += _broken(rule, seen)
    return found


def _type_problem(kind: str, target: Target) -> str:
    if kind in target.refuses:
        reason = f"it does not take the type {kind}"
    elif target.takes is not None and kind not in target.takes:
        reason = f"{kind} is not among the types that it is known to take"
    else:
        return ""
    return f"{reason}; {target.others}" if target.others else reason


def _broken(rule: Rule, seen: Seen) -> list[Problem]:
    wrong = [value for value in measured(rule.value, seen) if not rule.allows(value)]
    if not wrong:
        return []
    purpose = f" for {rule.only_for}" if rule.only_for else ""
    why = f"; {rule.why}" if rule.why else ""
    reason = f"{rule.value} is {_shown(wrong[0])}; it takes {rule.allowed}{purpose}{why}"
    return [Problem(seen.layer.name, seen.layer.type, rule.name, reason, rule.only_for)]


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:,g}" if isinstance(value, float) else str(value)
