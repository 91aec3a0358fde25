"""How many images a run takes: as many as fit into memory, or the batch that a network is bound to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from deepmerge.errors import GraphError
from deepmerge.graph import Graph
from deepmerge.graph.batching import UNBIND, declared_batch, runs_at_any_batch
from deepmerge.graph.memory import activation_bytes
from deepmerge.graph.shapes import infer_shapes

BYTES = 256 << 20  # of activations
MOST = 64  # images that are measured at a time
COMPARED = 8  # images that two networks are compared on at a time


@dataclass(frozen=True)
class Batching:
    """How many images a run takes: exactly `size` if `fixed`, else at most."""

    size: int
    fixed: bool


def fitting_batch(graphs: Sequence[Graph]) -> int:
    """Return how many images a run of each network may take: up to 64, fewer if the activations are large."""
    return _fitting(sum(_activations(graph, "planned") for graph in graphs), MOST)


def common_batching(graphs: Iterable[Graph], all_blobs: bool) -> Batching:
    """Return the batch for a comparison: eight images, fewer if the activations are large; else the declared batch.

    The declared batch is used if a network runs at no other. all_blobs: every blob is looked at, so all are kept.
    Raises GraphError if the networks are bound to different batches.
    """
    graphs = list(graphs)
    fixed = {declared_batch(graph) for graph in graphs if not runs_at_any_batch(graph)}
    if len(fixed) > 1:
        one, other = sorted(fixed)[:2]
        text = f"the networks cannot be compared: one runs only with a batch of {one}, another only with {other}"
        raise GraphError(text, remedy=UNBIND)
    if fixed:
        return Batching(fixed.pop(), True)
    if not all_blobs:
        return Batching(COMPARED, False)
    return Batching(_fitting(max(_activations(graph, "unique") for graph in graphs), COMPARED), False)


def _activations(graph: Graph, how: str) -> int:
    return activation_bytes(graph, infer_shapes(graph, strict=False, batch=1))[how]


def _fitting(each: int, most: int) -> int:
    return int(np.clip(BYTES // max(each, 1), 1, most))
