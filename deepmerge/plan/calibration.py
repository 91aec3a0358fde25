"""Calibration images as plans and steps see them: the moments of layers' inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Protocol

from deepmerge.errors import PlanError
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.kernels.moments import Moments
from deepmerge.passes.decompose_tucker import decomposable
from deepmerge.passes.support.base import Options
from deepmerge.plan.recipe import Step


class Calibration(Protocol):
    """Calibration images.

    about: which ones, as recipes name them. The same text means the same values in the network's input.
    """

    about: str

    def moments(self, graph: Graph, names: Collection[str]) -> Mapping[str, Moments]:
        """Return the moments of these layers' inputs in the graph as it is now."""
        ...


def measured(graph: Graph, step: Step, options: Options, calibration: Calibration | None) -> Options:
    """Return the options, with the moments of the step's layers if the step was planned with calibration images.

    PlanError if there are no images now. Other images add a warning to the graph.
    """
    if not options.calibration:
        return options
    if calibration is None:
        remedy = "give them with --calibration, or remove its 'calibration' to use the same ranks without them"
        raise PlanError(f"{step.title} was made with calibration images ({options.calibration})", remedy=remedy)
    if calibration.about != options.calibration:
        made = f"{step.title} was made with calibration images ({options.calibration})"
        graph.warnings.append(f"{made}; these are others ({calibration.about}), so its weights differ")
    able = decomposable(graph, infer_shapes(graph), options.keep)
    names = [layer.name for layer in able if layer.name in step.layers]
    return replace(options, moments=calibration.moments(graph, names))
