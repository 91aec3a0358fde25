"""A digest of a network: its structure and its weights."""

from __future__ import annotations

import hashlib

import numpy as np

from deepmerge.graph.graph import Graph


def fingerprint(graph: Graph) -> str:
    """Return a digest that is the same for the same network with the same weights."""
    digest = hashlib.sha256()
    for layer in graph.layers:
        ends = [blob.name for blob in layer.bottoms], [blob.name for blob in layer.tops]
        digest.update(repr((layer.name, layer.type, layer.params, ends)).encode("utf-8", "surrogateescape"))
        for array in layer.weights:
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
