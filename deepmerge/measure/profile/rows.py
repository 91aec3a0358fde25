"""Sum up a profile's layers: by layer, by type or by step, networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OTHER = "(the engine's own)"  # what an engine does that is not a layer of the network


def keys(entry: dict[str, Any], by: str) -> dict[str, float]:
    """Return each key and its seconds (the sum of the medians), in the order of running; types longest first."""
    sums: dict[str, float] = {}
    for layer in entry.get("layers") or ():
        key = layer["name"] if by == "layer" else layer[by] or OTHER
        sums[key] = sums.get(key, 0.0) + layer["seconds"]["median"]
    return dict(sorted(sums.items(), key=lambda item: -item[1])) if by == "type" else sums


def side_by_side(entries: Sequence[dict[str, Any]], by: str) -> list[tuple[str, list[float | None]]]:
    """Return each key and all entries' seconds: the first entry's keys in order, others next to their neighbours."""
    columns = [keys(entry, by) for entry in entries]
    order: list[str] = []
    for column in columns:
        at = 0
        for key in column:
            if key in order:
                at = order.index(key) + 1
            else:
                order.insert(at, key)
                at += 1
    return [(key, [column.get(key) for column in columns]) for key in order]


def tensor_keys(entries: Sequence[dict[str, Any]], by: str) -> dict[str, bool | None]:
    """Return for each key whether its layers are tensor layers; None if some are and some are not."""
    found: dict[str, bool | None] = {}
    for entry in entries:
        for layer in entry.get("layers") or ():
            key = layer["name"] if by == "layer" else layer[by] or OTHER
            found[key] = layer["tensor"] if found.get(key, layer["tensor"]) == layer["tensor"] else None
    return found
