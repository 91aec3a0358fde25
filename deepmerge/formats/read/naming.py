"""Names for layers that have none, and for those that have another layer's. Caffe runs both; weights go by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from deepmerge.formats.messages import kind_of
from deepmerge.formats.read.heads import is_data
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.graph.tree import Message, Quoted
from deepmerge.graph.types import TYPES, UNKNOWN
from deepmerge.text import count, listed, unused


def name_unnamed(layers: Sequence[Message]) -> list[str]:
    """Name each layer without a name by its place in the file (`layer3`); return a note for the user, if any."""
    taken = {str(layer.value("name") or "") for layer in layers}
    made = []
    for place, layer in enumerate(layers, 1):
        if not str(layer.value("name") or ""):
            made.append(unused(f"layer{place}", taken))
            taken.add(made[-1])
            layer.set("name", Quoted(made[-1]))
    if not made:
        return []
    return [f"{count(len(made), 'layer')} without a name: called {listed(made)}, by the place in the file"]


def tell_apart(layers: Iterable[Message]) -> tuple[list[Message], list[str]]:
    """Give layers without weights that have the name of a layer before them one of their own, and say so.

    Where one of those that share a name has weights, all keep it: nothing says which of them stored weights are for.
    """
    layers = list(layers)
    names = [str(layer.value("name")) for layer in layers]
    times = Counter(names)
    weighty = {name for name, layer in zip(names, layers, strict=True) if _has_weights(layer)}
    taken, seen, notes = set(names), set(), []
    for place, name in enumerate(names):
        if times[name] > 1 and name not in weighty:
            if name in seen:
                layers[place] = _renamed(layers[place], unused(name, taken))
                new = str(layers[place].value("name"))
                taken.add(new)
                notes.append(f"two layers have the name {name!r}: the later one is called {new!r}")
            seen.add(name)
    return layers, notes


def weights_of_unnamed(stored: list[StoredLayer], layers: Iterable[Message]) -> list[StoredLayer]:
    """Return the stored layers, those without a name under the name of the only unnamed layer that has weights."""
    takers = [str(layer.value("name")) for layer in layers if _made_up(layer) and _has_weights(layer)]
    if len(takers) != 1:
        return stored
    return [replace(layer, name=takers[0]) if not layer.name and layer.blobs else layer for layer in stored]


def _made_up(layer: Message) -> bool:
    """Return whether the layer's name has no place in the file."""
    return all(field.line == 0 for field in layer if field.name == "name")


def _has_weights(layer: Message) -> bool:
    """Return whether the layer may have weights, as one of a type that is not known may."""
    kind = TYPES.get(kind_of(layer), UNKNOWN)
    return not is_data(layer) and (kind is UNKNOWN or kind.weights is not None)


def _renamed(layer: Message, name: str) -> Message:
    made = layer.copy()
    made.set("name", Quoted(name))
    return made
