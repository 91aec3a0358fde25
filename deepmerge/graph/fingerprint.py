"""Digests of a network: of its structure and its weights, and of its weights alone."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Any

import numpy as np

from deepmerge.graph.graph import Graph
from deepmerge.graph.params import Params
from deepmerge.graph.tree import Message


def fingerprint(graph: Graph) -> str:
    """Return a digest that is the same for the same network with the same weights."""
    digest = hashlib.sha256()
    for layer in graph.layers:
        ends = [blob.name for blob in layer.bottoms], [blob.name for blob in layer.tops]
        told = layer.name, layer.type, _given(layer.params), ends
        if layer.params is None or layer.type == "DummyData" or layer.unknown_fields:  # its text says more
            told += (_plain(layer.tree),)
        digest.update(repr(told).encode("utf-8", "surrogateescape"))
        for array in layer.weights:
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def weights_digest(graph: Graph) -> str:
    """Return the SHA-256 of all weights and of the names of their layers, in hexadecimal."""
    found = hashlib.sha256()
    for layer in graph.layers:
        for array in layer.weights:
            found.update(f"{layer.name}\0{array.shape}\0".encode("utf-8", "surrogateescape"))
            found.update(array.tobytes())
    return found.hexdigest()


def _given(params: Params | None) -> list[tuple[str, Any]] | None:
    """Return the fields that are not at their defaults: one that is added later changes no network's digest."""
    if params is None:
        return None
    return [(one.name, value) for one in fields(params) if (value := getattr(params, one.name)) != one.default]


def _plain(tree: Message) -> list[tuple[str, Any]]:
    """Return the fields without their places in the file."""
    return [(field.name, _plain(field.value) if isinstance(field.value, Message) else field.value) for field in tree]
