"""Networks to take the time of: the structure that steps give, with random weights.

A forward takes as long with any weights. Those that the steps would compute take seconds for each plan.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepmerge.graph.costs import weight_shapes
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.support.base import Options
from deepmerge.plan import Step
from deepmerge.plan.execute import run_step
from deepmerge.plan.sketch import without_weights


def stand_in(graph: Graph, steps: Sequence[Step], options: Options) -> Graph:
    """Return what the steps make of a network, but for the weights of convolutions and InnerProducts.

    graph: after its exact steps; it is not changed. steps: with explicit ranks where they decompose. The same steps
    give the same weights.
    """
    copy = graph.copy()
    without_weights(copy)
    for step in steps:
        run_step(copy, step, options)
    random = np.random.default_rng(0)
    shapes = infer_shapes(copy)
    for layer in copy.layers:
        if not layer.weights:
            layer.weights = [_drawn(shape, random) for shape in weight_shapes(layer, shapes)]
    return copy


def _drawn(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Return weights about as large as those that a training starts from; a bias of 0."""
    if len(shape) < 2:
        return np.zeros(shape, np.float32)
    return random.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)
