"""Differences between the network inside a caffemodel and the prototxt's, layer by layer.

The prototxt counts, as in Caffe, which takes weights by name only. Names of blobs do not matter, nor do layers of the
caffemodel that lead to nothing in the prototxt, such as a loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from deepmerge.formats.read.stored import StoredLayer
from deepmerge.graph.graph import Graph

# Types that mostly pass their bottom on in TEST: Caffe adds Splits itself, and deploy networks leave out Dropout
_HANDS_ON = frozenset(("Split", "Dropout", "padding"))
_MAX_WAYS = 64  # from a layer back to those that both files have; with more, it is not compared

# The layer that both files have, or "" for an input, and the types of the layers on the way from it
_Way = tuple[str, tuple[str, ...]]
_Layers = list[tuple[str, str, list, list]]  # name, type, bottoms, tops


def differences(graph: Graph, stored: list[StoredLayer]) -> Iterator[str]:
    """Yield a line for each layer of `graph` that has another type in the caffemodel, or reads other layers."""
    tests = {layer.name for layer in stored if layer.phase == "TEST"}
    theirs = [s for s in stored if s.phase != "TRAIN" or s.name not in tests]
    kinds = {s.name: s.type for s in theirs if s.type}
    common = {layer.name for layer in graph.layers if layer.bottoms} & {s.name for s in theirs if s.bottoms}
    ours = _ways([(x.name, x.type, x.bottoms, x.tops) for x in graph.layers], common)
    other = _ways([(s.name, s.type, s.bottoms, s.tops) for s in theirs], common)
    for layer in graph.layers:
        kind = kinds.get(layer.name, layer.type)
        if kind != layer.type and layer.type != "Input" and not kind.isdigit() and not kind.endswith("Loss"):
            types = f"type {layer.type!r} in the prototxt, which counts, but {kind!r} in the caffemodel"
            yield f"layer {layer.name!r}: {types}"
        here, there = ours.get(layer.name), other.get(layer.name)
        if here and there and here != there and not kind.endswith("Loss"):
            reads = f"reads {_said(here)} in the prototxt, which counts, but {_said(there)} in the caffemodel"
            yield f"layer {layer.name!r}: {reads}"


def _ways(layers: _Layers, common: set[str]) -> dict[str, list[_Way]]:
    """Return, for each common layer, the ways by which its bottoms come to it, if all are known."""
    found: dict[str, list[_Way]] = {}
    ways_to: dict = {}  # blob → the ways to it, None where they are not known
    for name, kind, bottoms, tops in layers:
        known = [ways_to.get(bottom) for bottom in bottoms]
        ways = [way for part in known if part for way in part]
        sound = None not in known and 0 < len(ways) <= _MAX_WAYS
        if name in common:
            found.pop(name, None)  # of two of one name, the last one
            if sound:
                found[name] = ways
            made: list[_Way] | None = [(name, ())]
        elif not bottoms:
            made = [("", ())]
        elif kind in _HANDS_ON:
            made = ways if sound else None
        else:
            made = (
                [(start, (*passed, kind)) for start, passed in ways] if sound and len(ways[0][1]) < _MAX_WAYS else None
            )
        ways_to |= dict.fromkeys(tops, made)
    return found


def _said(ways: list[_Way]) -> str:
    words: Counter[str] = Counter()
    for start, passed in ways:
        word = repr(start) if start else "the input"
        words[f"{word} through {', '.join(passed)}" if passed else word] += 1
    return " and ".join(f"{word} ({number} times)" if number > 1 else word for word, number in words.items())
