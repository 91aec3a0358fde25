"""Calibration images, as plans and steps see them: what a graph makes of them, as moments, layer by layer."""

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
    """Images to look at. about: which ones, as a recipe says it: the same text, the same values in the network's input."""

    about: str

    def moments(self, graph: Graph, names: Collection[str]) -> Mapping[str, Moments]:
        """What these layers, which decompose_tucker could decompose, are fed in the graph as it is."""
        ...


def measured(graph: Graph, step: Step, options: Options, calibration: Calibration | None) -> Options:
    """The options with the moments of the step's layers, if the step was planned with calibration images.

    PlanError where there are none now. Where they are others, the graph is given a warning.
    """
    if not options.calibration:
        return options
    if calibration is None:
        raise PlanError(
            f"{step.title} was made with calibration images ({options.calibration}); give them with --calibration,"
            " or take its 'calibration' out, and the same ranks are used without them"
        )
    if calibration.about != options.calibration:
        found = f"these are others ({calibration.about})"
        graph.warnings.append(
            f"{step.title} was made with calibration images ({options.calibration}); {found}, and so its weights differ"
        )
    able = decomposable(graph, infer_shapes(graph), options.keep)
    return replace(
        options, moments=calibration.moments(graph, [layer.name for layer in able if layer.name in step.layers])
    )
