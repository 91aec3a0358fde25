"""What a fine-tuning is asked to do: the job, and its stages in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepmerge.data import ImageWishes
from deepmerge.data.loader import CACHE_BYTES
from deepmerge.errors import PlanError, ReadError
from deepmerge.formats.read.inputs import Sizes
from deepmerge.formats.read.solver import NetSource, Solver, read_solver
from deepmerge.formats.read.weights import Weights
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.out.read import Converted, Pair, StepFolder
from deepmerge.plan.recipe import Step
from deepmerge.plan.select import Candidate, select
from deepmerge.text import input_option


@dataclass(frozen=True)
class Job:
    """One fine-tuning, with the options of the command line.

    folder: OUT, which `convert` or `recover` wrote. out: OUT2, the folder to write. data, test_data: the images' SPECs.
    solver: fields that override those of every solver, as text. steps: see `plan_stages`. minutes: limit for all stages
    together. stop_after: minutes until this run pauses with a checkpoint. precision: fp32, bf16, or auto for the faster
    one that is accurate enough. limit: number of training images to use.
    shuffle: whether to shuffle them. vary: whether to shift them at random. seed: None for the solver's random_seed.
    distill: kl or mse, None for no teacher. original: the teacher's files, if not those that report.json names.
    cache_bytes: limit for decoded images kept in memory. inputs: sizes of the networks' inputs.
    """

    folder: Path
    out: Path
    data: str
    test_data: str | None = None
    solver: dict[str, str] = field(default_factory=dict)
    steps: str | None = None
    minutes: float | None = None
    stop_after: float | None = None
    batch_size: int | None = None
    limit: int | None = None
    shuffle: bool = True
    vary: bool = False
    seed: int | None = None
    engine: str = "torch"
    device: str = "cpu"
    threads: int | None = None
    precision: str = "auto"
    distill: str | None = None
    distill_weight: float = 1.0
    temperature: float = 2.0
    original: tuple[Path, Path] | None = None
    wishes: ImageWishes = field(default_factory=ImageWishes)
    strict: bool = False
    force: bool = False
    checkpoint_seconds: float = 60.0
    cache_bytes: int = CACHE_BYTES
    inputs: Sizes = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One network and its solver.

    name: the step's name, "" for the final network. folder: where it is in OUT, relative to OUT. solver: None for a
    step that is not trained: it gets the weights of the step before it and its own new layers. first: whether it starts
    from its own weights alone.
    """

    name: str
    folder: Path
    pair: Pair
    new_layers: Path | None = None
    solver: Solver | None = None
    first: bool = True

    def starts_from(self, before: Path | None) -> list[Path | Weights]:
        """Return the weights to load, later ones overriding. before: the previous stage's caffemodel."""
        if self.first or before is None or self.new_layers is None:
            return [self.pair.stored()]
        return [self.pair.stored(), before, self.new_layers]

    def image_shape(self, deploy: Graph) -> tuple[int, ...]:
        """Return the shape of the network's input without the batch axis; ReadError where it is not one image."""
        file = self.pair.prototxt
        if len(deploy.inputs) != 1:
            names = ", ".join(blob.name for blob in deploy.inputs)
            raise ReadError(f"has {len(deploy.inputs)} inputs ({names}), and only images can be fed", file)
        (blob,) = deploy.inputs
        shape = infer_shapes(deploy, strict=False)[blob]
        if shape is None:
            raise ReadError(f"the input {blob.name!r} has no shape", file, remedy=f"give it: {input_option(blob.name)}")
        return tuple(shape[1:])


def _solver(file: Path, overrides: Mapping[str, str], roots: Sequence[Path] = ()) -> Solver:
    """Return the solver of a stage, which starts from OUT's weights; see read_solver."""
    solver = read_solver(file, overrides, roots)
    if solver.weights:
        raise ReadError("`weights` has no effect: training starts from the folder's own", file, remedy="leave it out")
    return solver


def solver_tests(solver: Solver) -> Sequence[tuple[NetSource, int]]:
    """Return a solver's tests: networks and test_iter; without any, its training network, and 0 for all images."""
    return solver.tests or ((solver.train, 0),)


def plan_stages(converted: Converted, steps: str | None, overrides: Mapping[str, str]) -> list[Stage]:
    """Return the stages in order.

    steps: names and ranges of steps, separated by commas, or `all`; None for the final network at once.
    overrides: fields of every solver. ReadError for an invalid solver, PlanError for an unknown step.
    """
    if steps is None:
        solver = _solver(converted.final.prototxt.with_name("solver.prototxt"), overrides)
        return [Stage("", Path(), converted.final, solver=solver)]
    if not converted.steps:
        raise PlanError(
            f"{converted.folder} has no approximate step to fine-tune",
            remedy="leave --steps out to fine-tune the final network",
        )
    chosen = _chosen(converted.steps, steps)
    if not chosen:
        raise PlanError(f"--steps {steps!r} names no step", remedy="leave it out to fine-tune the final network")
    begin = next(index for index, step in enumerate(converted.steps) if step.name in chosen)
    stages = []
    for index, step in enumerate(converted.steps[begin:]):
        path, home = step.folder / "solver.prototxt", step.folder.relative_to(converted.folder)
        solver = _solver(path, overrides, [converted.folder]) if step.name in chosen else None
        stages.append(Stage(step.name, home, step.pair, step.new_layers, solver, first=index == 0))
    return stages


def _chosen(steps: Sequence[StepFolder], words: str) -> set[str]:
    """Return the names of the steps that --steps asks for."""
    known = [Candidate(Step(step.name, (), (step.name,))) for step in steps]
    return {name for candidate in select(known, words) for name in candidate.layers}
