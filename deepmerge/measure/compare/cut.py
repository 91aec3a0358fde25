"""Leave out what an engine cannot run at a network's end, and say which blobs stand for the outputs that are lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from deepmerge.graph import Blob, Graph, Layer
from deepmerge.text import listed


@dataclass(frozen=True)
class Cut:
    """A network without the layers that an engine cannot run, and without those that need them.

    stands_for: blob that is now an output → the outputs of the whole network that need it. notes: for each output that
    is lost, a line about which blobs stand for it, and why.
    """

    graph: Graph
    stands_for: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def cut(graph: Graph, lacks: Callable[[Layer], bool], engine: str) -> Cut:
    """Return what is left of the network for an engine that lacks some layers.

    The network stays whole if no output would be left, or if a layer whose weights passes may change would go: what is
    left would say little about the network. The engine itself then says what it cannot run.
    """
    causes = [layer for layer in graph.layers if lacks(layer)]
    gone = set(causes)
    for layer in graph.layers:  # in running order
        if any(bottom.producer in gone for bottom in layer.bottoms):
            gone.add(layer)
    ends = [blob for blob in graph.blobs if blob.producer.type != "Input" and blob.producer not in gone]
    ends = [blob for blob in ends if gone.issuperset(blob.consumers)]
    if not gone or not ends or any(layer.weights and layer.params is not None for layer in gone):
        return Cut(graph)
    twin = graph.copy()
    for layer in [twin.layers[index] for index, layer in enumerate(graph.layers) if layer in gone][::-1]:
        twin.remove(layer)
    made = Cut(twin)
    for output in (blob for blob in graph.outputs if blob.producer in gone):
        needed = _needed(output, gone)
        standing = [end.name for end in ends if end in needed]
        for name in standing:
            made.stands_for.setdefault(name, []).append(output.name)
        types = listed(list(dict.fromkeys(layer.type for layer in causes if not needed.isdisjoint(layer.tops))))
        made.notes.append(_note(output.name, standing, f"engine {engine!r} cannot run layers of type {types}"))
    return made


def _needed(output: Blob, gone: set[Layer]) -> set[Blob]:
    """Return the output, and the blobs that the layers which are gone need for it."""
    needed, todo = {output}, [output]
    while todo:
        blob = todo.pop()
        new = [bottom for bottom in blob.producer.bottoms if blob.producer in gone and bottom not in needed]
        needed.update(new)
        todo += new
    return needed


def _note(output: str, standing: list[str], why: str) -> str:
    if not standing:
        return f"output {output!r} is not compared: {why}"
    verb = "stands" if len(standing) == 1 else "stand"
    return f"{listed([repr(name) for name in standing])} {verb} for output {output!r}: {why}"
