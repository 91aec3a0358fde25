"""OUT2: a copy of OUT with the recovered weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from deepmerge.formats.read.weights import load_weights
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted, StepFolder
from deepmerge.out.rewrite import Retrained, rewrite
from deepmerge.train.recover.segments import Segment
from deepmerge.train.recover.solver_files import write_solvers
from deepmerge.train.shared.int8 import renew_int8

Weights = Mapping[str, list[np.ndarray]]


def weights_of(graph: Graph) -> dict[str, list[np.ndarray]]:
    """Return layer name → its learned blobs."""
    return {layer.name: list(layer.weights) for layer in graph.layers if layer.weights}


def arrays_of(weights: Weights, kind: str) -> dict[str, np.ndarray]:
    """Return the weights as the arrays of a checkpoint."""
    return {f"{kind}/{i}/{name}": array for name, arrays in weights.items() for i, array in enumerate(arrays)}


def weights_in(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, list[np.ndarray]]:
    """Return the weights from a checkpoint's arrays, in which a layer's blobs are in order."""
    weights: dict[str, list[np.ndarray]] = {}
    for key, array in arrays.items():
        if key.startswith(f"{kind}/"):
            weights.setdefault(key.split("/", 2)[2], []).append(array)
    return weights


def write_recovered(
    converted: Converted,
    stage: Path,
    final: Graph,
    reached: Weights,
    segments: Sequence[Segment],
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """Write everything of OUT into the folder `stage`, with new weights, and return its report.

    final: the recovered network. reached: the weights after the stages that go segment by segment; the steps' folders
    get those. {} if there were no such stages. report: the new report.json.
    """
    order = {entry["name"]: entry["index"] for entry in converted.approximate}  # an exact step may have the same name
    steps = converted.steps if reached else []
    networks = (_step(step, reached, segments, order) for step in steps)
    made = renew_int8(converted, stage, final, report)
    rewrite(converted, stage, chain([Retrained(final, converted.final)], networks), made)
    new = {name for entry in converted.approximate for name in entry["into"]}
    for home in (converted.folder, *(step.folder for step in steps)) if new else ():
        write_solvers(stage / home.relative_to(converted.folder), new)
    return made


def _step(step: StepFolder, reached: Weights, segments: Sequence[Segment], order: Mapping[str, int]) -> Retrained:
    """Give the network up to one step the weights of the segments that this step and those before it have made."""
    mine: dict[str, list[np.ndarray]] = {}
    own: set[str] = set()
    for segment in segments:
        last = max(order[name] for name in segment.steps)
        if last <= step.index:
            mine |= {name: reached[name] for name in segment.trained}
        if last == step.index:
            own |= set(segment.trained)
    graph = step.pair.read()
    load_weights(graph, mine, misfits="skip")
    return Retrained(graph, step.pair, step.new_layers, own)
