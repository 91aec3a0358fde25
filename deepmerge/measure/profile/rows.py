"""A profile's layers summed up: by layer, by type or by step, networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OTHER = "(the engine's own)"  # what an engine does that is no layer of the network


def keys(entry: dict[str, Any], by: str) -> dict[str, float]:
    """Key → seconds (the sum of the layers' medians), in the order of running; types by time, longest first."""
    sums: dict[str, float] = {}
    for layer in entry.get("layers") or ():
        key = layer["name"] if by == "layer" else layer[by] or OTHER
        sums[key] = sums.get(key, 0.0) + layer["seconds"]["median"]
    return dict(sorted(sums.items(), key=lambda item: -item[1])) if by == "type" else sums


def side_by_side(entries: Sequence[dict[str, Any]], by: str) -> list[tuple[str, list[float | None]]]:
    """(key, each entry's seconds or None): the first entry's keys in its order, the others' where their neighbours are."""
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
    """Key → whether its layers are tensor layers; None where some are and some are not."""
    found: dict[str, bool | None] = {}
    for entry in entries:
        for layer in entry.get("layers") or ():
            key = layer["name"] if by == "layer" else layer[by] or OTHER
            found[key] = layer["tensor"] if found.get(key, layer["tensor"]) == layer["tensor"] else None
    return found
