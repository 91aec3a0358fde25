"""Carrying out a recipe on a graph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deepmerge.errors import PlanError
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.base import Applied, Change, Options, Refusal, run
from deepmerge.passes.registry import make
from deepmerge.plan.recipe import Recipe, Step, options_for


@dataclass
class StepResult:
    """What a step did: its layers before, the layers that took them up."""

    step: Step
    changes: list[Change] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        return all(change.exact for change in self.changes)

    @property
    def merged(self) -> list[str]:
        """Layers of the network as it was before the step, each once, in order."""
        made: set[str] = set()
        names: list[str] = []
        for change in self.changes:
            names += [name for name in change.merged if name not in made]
            made |= {name for name in change.into if name not in names}
        return list(dict.fromkeys(names))

    @property
    def into(self) -> list[str]:
        """Layers that are new or changed behind the step, each once, in order."""
        names = [name for change in self.changes for name in change.into]
        gone = {name for i, change in enumerate(self.changes) for name in change.merged if not any(name in c.into for c in self.changes[i:])}
        return [name for name in dict.fromkeys(names) if name not in gone]


def run_cleanup(graph: Graph, recipe: Recipe) -> Applied:
    """The recipe's exact passes over the whole network, until nothing is left to do."""
    return run(make(recipe.cleanup, Options(keep=frozenset(recipe.keep))), graph)


def run_step(graph: Graph, step: Step, keep: tuple[str, ...] = (), mark: str = "") -> StepResult:
    """One step: each of its layers is offered to each of its passes, in order, until none takes any.

    PlanError if a layer that the step names cannot be merged (any more), with the pass's reason.
    """
    result = StepResult(step)
    passes = make(step.passes, options_for(step, keep))
    refusals: dict[str, Refusal] = {}
    progress = True
    while progress:
        progress = False
        for name in step.layers:
            for one in passes:
                change = _try(graph, one, name, "" if step.exact else mark or step.name, refusals)
                if change is not None:
                    result.changes.append(change)
                    progress = True
                    break
    left = [refusals[name] for name in step.layers if name in refusals]
    if not result.changes or left:
        reason = f"{left[0].pass_name} refuses {left[0].layer!r}: {left[0].reason}" if left else f"none of {', '.join(step.passes)} applies to its layers"
        raise PlanError(f"step {step.name!r} cannot be done: {reason}")
    return result


def _try(graph: Graph, one, name: str, mark: str, refusals: dict[str, Refusal]) -> Change | None:
    layer = next((layer for layer in graph.layers if layer.name == name and layer.type in one.types), None)
    if layer is None:
        return None
    found = one.look(graph, layer, infer_shapes(graph))
    if found is None:
        return None
    if isinstance(found, Refusal):
        refusals[name] = found
        return None
    refusals.pop(name, None)
    return one.apply(graph, found, mark)


def joined(steps: list[Step], name: str) -> Step:
    """Several steps as one."""
    first = steps[0]
    return replace(
        first,
        name=name,
        passes=tuple(dict.fromkeys(p for s in steps for p in s.passes)),
        layers=tuple(dict.fromkeys(layer for s in steps for layer in s.layers)),
        options={k: v for s in steps for k, v in s.options.items()},
    )
