"""What is fine-tuned, in which order: the final network alone, or the networks of the steps one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepmerge.errors import PlanError
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.solver import Solver, read_solver
from deepmerge.graph.graph import Graph, Layer
from deepmerge.out.read import Converted, Pair, StepFolder
from deepmerge.plan.recipe import Step
from deepmerge.plan.select import Candidate, select


@dataclass(frozen=True)
class Stage:
    """One network and its solver.

    name: of the step, "" for the final network. folder: in which it lies in OUT, relative to OUT. solver: None where the
    step is only carried along: it gets the weights of the step before it, and its own new layers. first: whether it
    starts from its own weights alone.
    """

    name: str
    folder: Path
    pair: Pair
    new_layers: Path | None = None
    solver: Solver | None = None
    first: bool = True

    def starts_from(self, before: Path | None) -> list[Path]:
        """The caffemodels to load, later ones overriding. before: what the stage before this one ended with."""
        later = [] if self.first or before is None or self.new_layers is None else [before, self.new_layers]
        return [self.pair.caffemodel, *later]


def plan_stages(converted: Converted, steps: str | None, overrides: Mapping[str, str]) -> list[Stage]:
    """The stages in order. steps: names and ranges of steps between commas, or `all`; None for the final network at once.

    overrides: of every solver. ReadError where a solver will not do, PlanError for a step that is not there.
    """
    if steps is None:
        solver = read_solver(converted.final.prototxt.with_name("solver.prototxt"), overrides)
        return [Stage("", Path(), converted.final, solver=solver)]
    if not converted.steps:
        raise PlanError(
            f"{converted.folder} has no approximate step to fine-tune; leave --steps out, and the final network is"
        )
    wanted = _wanted(converted.steps, steps)
    begin = next(place for place, step in enumerate(converted.steps) if step.name in wanted)
    stages = []
    for place, step in enumerate(converted.steps[begin:]):
        path, home = step.folder / "solver.prototxt", step.folder.relative_to(converted.folder)
        solver = read_solver(path, overrides, [converted.folder]) if step.name in wanted else None
        stages.append(Stage(step.name, home, step.pair, step.new_layers, solver, first=place == 0))
    return stages


def _wanted(steps: Sequence[StepFolder], words: str) -> set[str]:
    """The names of the steps that the words of --steps ask for."""
    known = [Candidate(Step(step.name, (), (step.name,))) for step in steps]
    return {name for chosen in select(known, words) for name in chosen.layers}


def override_weights(graph: Graph, caffemodel: Path) -> list[Layer]:
    """Give the graph's layers the blobs that a caffemodel has for them by name, where all are shaped alike.

    Returns the layers that have weights and got none. Layers behind a merge may have the name of what they replaced, and
    other shapes: those keep their own.
    """
    stored = {layer.name: layer.blobs for layer in read_caffemodel(caffemodel) if layer.blobs}
    left = []
    for layer in graph.layers:
        blobs = stored.get(layer.name, [])
        if layer.weights and _alike(blobs, layer.weights):
            layer.weights = list(blobs)
        elif layer.weights:
            left.append(layer)
    return left


def _alike(found: Sequence[np.ndarray | None], own: Sequence[np.ndarray]) -> bool:
    shapes = [None if blob is None else blob.shape for blob in found]
    return shapes == [blob.shape for blob in own]
