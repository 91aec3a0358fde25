"""model-int8.onnx: the final network in int8, calibrated on every other image and compared on the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmerge.convert.calibrate import CalibrationImages
from deepmerge.convert.equalize import equalized
from deepmerge.engines.ort import OrtEngine
from deepmerge.engines.quantize import quantize
from deepmerge.errors import EmitError
from deepmerge.graph.graph import Graph
from deepmerge.out.write import Settings
from deepmerge.plan.recipe import check_keep


def require_images(images: CalibrationImages | None) -> None:
    """Raise EmitError if there are no images to calibrate on, or too few."""
    if images is None:
        raise EmitError("onnx-int8 needs images to calibrate on", remedy="give them with --calibration SPEC")
    if images.images < 2:
        text = "onnx-int8 calibrates on every other image and compares on the rest, and there is one alone"
        raise EmitError(f"{images.spec}: {text}", remedy="give more")


def write_int8(graph: Graph, file: Path, images: CalibrationImages, settings: Settings) -> dict[str, Any]:
    """Write the network in int8, and return what report.json says about it.

    Keys: method, keep (names of layers or types), calibrated, held_out (numbers of images), outputs (a list of name,
    top1: the share of held-out images with the same best class, None without classes; error: the difference's root
    mean square, as a share of the output's).
    PlanError if `keep` names no layer; EngineError if ONNX Runtime cannot quantize the network.
    """
    from deepmerge.formats.onnx import write_model

    check_keep(settings.int8_keep, graph, "--int8-keep")
    keep = {layer.name for layer in graph.layers if {layer.name, layer.type} & set(settings.int8_keep)}
    count = sum(1 for _ in images.half(0, graph))
    even = equalized(graph, (batch for batch, _ in images.half(0, graph)))
    feeds = ({graph.inputs[0].name: batch} for batch, _ in images.half(0, graph))
    write_model(quantize(even, feeds, count, settings.int8_method, keep, settings.onnx_lrn), file)
    calibrated = (images.images + 1) // 2
    about = {"method": settings.int8_method, "keep": list(settings.int8_keep), "calibrated": calibrated}
    return about | {"held_out": images.images - calibrated, "outputs": _compare(graph, file, images)}


def _compare(graph: Graph, file: Path, images: CalibrationImages) -> list[dict[str, Any]]:
    """Return how far the outputs of the file are from the network's, on the held-out images."""
    engine = OrtEngine()
    with engine.load(graph) as exact, engine.load_onnx(file, graph) as rough:
        found = {name: _Apart() for name in exact.outputs if name in rough.outputs}
        (fed,) = exact.inputs
        for batch, count in images.half(1, graph):
            values, others = (session.forward({fed: batch}, list(found)) for session in (exact, rough))
            for name, apart in found.items():
                apart.add(values[name][:count], others[name][:count])
    return [{"name": name, **apart.entry()} for name, apart in found.items()]


@dataclass
class _Apart:
    """How far one output is from another, gathered batch by batch. ranked: whether it has classes."""

    images: int = 0
    same: int = 0
    squares: float = 0.0
    total: float = 0.0
    ranked: bool = True

    def add(self, value: np.ndarray, other: np.ndarray) -> None:
        rows, others = (array.reshape(len(array), -1).astype(np.float64) for array in (value, other))
        self.ranked = value.ndim > 1 and rows.shape[1] == value.shape[1] > 1
        self.images += len(rows)
        self.same += int((rows.argmax(1) == others.argmax(1)).sum())
        self.squares += float(((rows - others) ** 2).sum())
        self.total += float((rows**2).sum())

    def entry(self) -> dict[str, Any]:
        error = math.sqrt(self.squares / self.total) if self.total else float(self.squares > 0)
        top1 = self.same / self.images if self.ranked else None
        return {"top1": top1, "error": float(f"{error:.3g}") if math.isfinite(error) else None}
