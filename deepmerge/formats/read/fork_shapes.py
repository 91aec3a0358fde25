"""Shapes after layers of Caffe's forks, where forks differ: the rule that fits the layers after them, or none.

A layer type may come from several forks, which compute its size in different ways. Where the rule that deepmerge knows
makes a later layer fail, the rule is in doubt, not the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.params_forks import Interp
from deepmerge.graph.shapes import first_misfit


def settle_forks(graph: Graph) -> list[str]:
    """Change rules of fork layers until the network's shapes fit; return a note for each layer in doubt.

    A layer whose size no rule gives loses its parameters, so that it passes through as one of an unknown type does.
    Nothing changes where that does not mend the error.
    """
    notes: list[str] = []
    while (misfit := first_misfit(graph)) is not None and (note := _settled(graph, misfit)):
        notes.append(note)
    return notes


def _settled(graph: Graph, misfit: Layer) -> str:
    """Change the nearest fork layer that leads to `misfit` such that it fits; return a note, "" if none can."""
    for layer in _doubtful(misfit):
        before = layer.params, layer.read_params
        for params, note in _other_rules(layer, misfit):
            layer.params = layer.read_params = params
            if first_misfit(graph) not in (misfit, layer):
                return f"layer {layer.name!r} ({layer.type}): {note}"
        layer.params, layer.read_params = before
    return ""


def _other_rules(layer: Layer, misfit: Layer) -> Iterator[tuple[Interp | None, str]]:
    """Yield parameters to try, with what to say about them; None leaves the shape unknown."""
    whose = f"{misfit.name!r} ({misfit.type})"
    if isinstance(layer.params, Interp) and layer.params.zoom_factor is not None:
        zoomed = replace(layer.params, zoom_rule="times")
        yield zoomed, f"DeepLab's size does not fit {whose}; taken is zoom_factor times the bottom's"
    yield None, f"forks differ in its size, and the rule known here does not fit {whose}; it is passed through as it is"


def _doubtful(misfit: Layer) -> Iterator[Layer]:
    """Yield the fork layers without weights before `misfit`, the nearest first.

    What its own rule refuses is a wrong value in every fork.
    """
    waiting, seen = [misfit], {misfit}
    while waiting:
        layer = waiting.pop(0)
        if layer is not misfit and layer.kind.fork and layer.kind.weights is None and layer.params is not None:
            yield layer
        for bottom in layer.bottoms:
            if bottom.producer not in seen:
                seen.add(bottom.producer)
                waiting.append(bottom.producer)
