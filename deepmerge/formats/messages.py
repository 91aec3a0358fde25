"""Reading and renaming the layer messages of a train_val network."""

from __future__ import annotations

from collections.abc import Iterable

from deepmerge.graph.tree import Message, Quoted


def kind_of(layer: Message) -> str:
    """Return the layer's type."""
    return str(layer.value("type"))


def stated_batch(layer: Message) -> int:
    """Return the data layer's batch_size, 0 if it gives no number."""
    sizes = [str(f.value.value("batch_size")) for f in layer if isinstance(f.value, Message)]
    return next((int(size) for size in sizes if size.isascii() and size.isdigit() and len(size) < 19), 0)


def tops_of(layers: Iterable[Message]) -> list[str]:
    """Return the names of the blobs that the layers make, in order."""
    return [str(top) for m in layers for top in m.values("top")]


def read_by(layers: Iterable[Message]) -> set[str]:
    """Return the names of the blobs that the layers read."""
    return {str(bottom) for m in layers for bottom in m.values("bottom")}


def is_source(layer: Message) -> bool:
    """Return whether the layer has tops and no bottom, as data layers do."""
    return "bottom" not in layer and "top" in layer


def runs_in(layer: Message, phase: str) -> bool:
    """Return whether the layer's include and exclude rules keep it in the phase, apart from levels and stages."""
    includes, excludes = layer.values("include"), layer.values("exclude")
    if includes:
        return any(rule.value("phase") in (None, phase) for rule in includes)
    return not any(rule.value("phase") == phase for rule in excludes)


def renamed(layer: Message, old: str, new: str) -> Message:
    """Return a copy of the layer in which the blob `old` is called `new`."""
    copy = layer.copy()
    for key in ("bottom", "top"):
        if key in copy:
            copy.set(key, *(Quoted(new if v == old else v) for v in copy.values(key)))
    return copy
