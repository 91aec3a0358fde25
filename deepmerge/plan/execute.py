"""Running a recipe on a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from deepmerge.errors import PlanError
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import KeptShapes
from deepmerge.passes.registry import make
from deepmerge.passes.support.base import Applied, Change, Options, Refusal, first_match, run
from deepmerge.plan.calibration import Calibration, measured
from deepmerge.plan.recipe import Recipe, Step, options_for
from deepmerge.text import did_you_mean


@dataclass
class StepResult:
    """What a step did."""

    step: Step
    changes: list[Change] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether all changes were exact."""
        return all(change.exact for change in self.changes)

    @property
    def merged(self) -> list[str]:
        """The layers of the network before the step that were merged or changed; each once, in order."""
        made: set[str] = set()
        names: list[str] = []
        for change in self.changes:
            names += [name for name in change.merged if name not in made]
            made |= {name for name in change.into if name not in names}
        return list(dict.fromkeys(names))

    @property
    def into(self) -> list[str]:
        """The layers that are new or changed after the step; each once, in order."""
        alive: dict[str, None] = {}
        for change in self.changes:
            for name in change.merged:
                alive.pop(name, None)
            alive |= dict.fromkeys(change.into)
        return list(alive)


def run_recipe(
    graph: Graph,
    recipe: Recipe,
    cleanup: list[Change] | None = None,
    begin: Callable[[Step], None] = lambda step: None,
    calibration: Calibration | None = None,
) -> Iterator[tuple[int, StepResult]]:
    """Run the recipe and yield each step's number (from 1) and result as soon as it is done.

    The order is cleanup, exact steps, cleanup again, approximate steps. cleanup: collects the changes of cleanup.
    begin: called before each step. calibration: see run_step.
    """
    cleanup = [] if cleanup is None else cleanup
    shapes = KeptShapes(graph)
    cleanup += run_cleanup(graph, recipe, shapes).changes
    for exact in (True, False):
        for index, step in enumerate(recipe.steps, 1):
            if step.exact == exact:
                begin(step)
                yield index, run_step(graph, step, recipe.options(), shapes, calibration)
        if exact:
            cleanup += run_cleanup(graph, recipe, shapes).changes


def run_cleanup(graph: Graph, recipe: Recipe, shapes: KeptShapes | None = None) -> Applied:
    """Run the recipe's cleanup passes over the whole network, until nothing is left to do.

    shapes: the graph's, which the caller may keep.
    """
    return run(make(recipe.cleanup, recipe.options()), graph, shapes)


def run_step(
    graph: Graph,
    step: Step,
    common: Options | None = None,
    shapes: KeptShapes | None = None,
    calibration: Calibration | None = None,
) -> StepResult:
    """Offer each of the step's layers to each of its passes, in order, until no pass has anything left to do.

    Layers that an approximate step makes or changes get its name as `Layer.step`.

    common: the options that hold in all steps (Recipe.options). shapes: the graph's, which the caller may keep from
    step to step. calibration: the images of a step that was planned with some; they run through the graph as it is now.

    PlanError, with the pass's reason, if a layer of the step does not exist or no pass takes it; the graph may then
    have changed.
    """
    names = tuple(dict.fromkeys(step.layers))
    for name in names:
        _there(graph, step, name)
    passes = make(step.passes, measured(graph, step, options_for(step, common or Options()), calibration))
    mark = "" if step.exact else step.name
    result, refusals = StepResult(step), {}
    shapes = (KeptShapes(graph) if shapes is None else shapes).refresh()
    passes = [one.prepare(graph, names, shapes) for one in passes]
    progress = True
    while progress:
        progress = False
        for name in names:
            layer = graph.find(name)
            if layer is None:
                continue
            refused: list[Refusal] = []
            taken = first_match(passes, graph, layer, shapes, refused)
            if taken is not None:
                one, match = taken
                result.changes.append(one.apply(graph, match, mark))
                shapes.refresh()
                progress = True
            elif refused:
                refusals[name] = refused[0]
    _all_done(result, refusals)
    return result


def _there(graph: Graph, step: Step, name: str) -> None:
    if graph.find(name) is None:
        names = [layer.name for layer in graph.layers]
        missing = f"{step.title}: the network {graph.name!r} has no layer {name!r} at this point"
        raise PlanError(missing, layer=name, remedy=did_you_mean(name, names))


def _all_done(result: StepResult, refusals: dict[str, Refusal]) -> None:
    """Raise PlanError for a layer of the step that no pass took, and for an exact step that was not exact."""
    step = result.step
    done = {name for change in result.changes for name in (change.layer, *change.merged)}
    for name in step.layers:
        if name not in done:
            refusal = refusals.get(name)
            why = f"{refusal.pass_name} refuses {name!r}: {refusal.reason}" if refusal else _nothing(name, step)
            raise PlanError(f"{step.title} cannot be done: {why}", layer=name)
    if step.exact and not result.exact:
        change = next(change for change in result.changes if not change.exact)
        rough = f"{change.pass_name} at {change.layer!r} is not exact"
        raise PlanError(f"{step.title} says exact = true, but {rough}", remedy="write exact = false")


def _nothing(name: str, step: Step) -> str:
    do = "does" if len(step.passes) == 1 else "do"
    return f"{' and '.join(step.passes)} {do} not apply to {name!r}; remove it from the step"
