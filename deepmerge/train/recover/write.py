"""OUT2: all that OUT holds, with recovered weights in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.weights import load_weights
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted, StepFolder
from deepmerge.out.report import report_text
from deepmerge.train.recover.segments import Segment

Weights = Mapping[str, list[np.ndarray]]


def weights_of(graph: Graph) -> dict[str, list[np.ndarray]]:
    """Layer name → its learned blobs."""
    return {layer.name: list(layer.weights) for layer in graph.layers if layer.weights}


def arrays_of(weights: Weights, kind: str) -> dict[str, np.ndarray]:
    """The weights as the arrays of a checkpoint."""
    return {f"{kind}/{i}/{name}": array for name, arrays in weights.items() for i, array in enumerate(arrays)}


def weights_in(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, list[np.ndarray]]:
    """The reverse; a layer's blobs are there in their order."""
    found: dict[str, list[np.ndarray]] = {}
    for key, array in arrays.items():
        if key.startswith(f"{kind}/"):
            found.setdefault(key.split("/", 2)[2], []).append(array)
    return found


def write_recovered(
    converted: Converted,
    stage: Path,
    final: Graph,
    reached: Weights,
    segments: Sequence[Segment],
    report: Mapping[str, Any],
) -> None:
    """Everything of OUT into the folder `stage`, with new weights.

    final: the recovered network. reached: the weights as the stages have left them that go segment by segment, which the
    steps' folders get; {} where there was none. report: the new report.json.
    """
    old = shutil.ignore_patterns("report.html")  # a page of what was there before
    shutil.copytree(converted.folder, stage, dirs_exist_ok=True, symlinks=True, ignore=old)
    _rewrite(final, stage / converted.final.caffemodel.name)
    if (stage / "model.onnx").exists():
        from deepmerge.formats.onnx import write_onnx

        write_onnx(final, stage / "model.onnx")
    order = [entry["name"] for entry in converted.entries]
    for step in converted.steps if reached else ():
        _write_step(step, stage / step.folder.relative_to(converted.folder), reached, segments, order)
    (stage / "report.json").write_text(report_text(dict(report)), encoding="utf-8", errors="surrogateescape")


def _write_step(
    step: StepFolder, here: Path, reached: Weights, segments: Sequence[Segment], order: Sequence[str]
) -> None:
    """The network up to one step gets the weights of the segments that this step and those before it have made."""
    mine: dict[str, list[np.ndarray]] = {}
    own: set[str] = set()
    for segment in segments:
        last = max(order.index(name) + 1 for name in segment.steps)
        if last <= step.index:
            mine |= {name: reached[name] for name in segment.trained}
        if last == step.index:
            own |= set(segment.trained)
    graph = step.pair.read()
    load_weights(graph, mine, misfits="skip")
    _rewrite(graph, here / step.pair.caffemodel.name)
    _rewrite(graph, here / step.new_layers.name, own)


def _rewrite(graph: Graph, file: Path, more: Sequence[str] | set[str] = ()) -> None:
    """A caffemodel with the layers that it holds, and `more` of them, as they are in the graph."""
    held = {layer.name for layer in read_caffemodel(file)} | set(more)
    aside = file.with_name(f"{file.name}.new")  # what is read is mapped, and must not change under us
    write_caffemodel(graph, aside, [layer for layer in graph.layers if layer.name in held])
    aside.replace(file)
