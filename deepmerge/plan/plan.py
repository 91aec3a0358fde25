"""Finding a plan: the steps that the structure of a network allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import KeptShapes, infer_shapes
from deepmerge.passes.decompose_tucker import DecomposeTucker, decomposable
from deepmerge.passes.registry import CLEANUP, FOLDS, make
from deepmerge.passes.support.base import Change, Options, Refusal, run
from deepmerge.plan.calibration import Calibration
from deepmerge.plan.candidates import find_candidates, step_options
from deepmerge.plan.execute import run_cleanup, run_recipe, run_step
from deepmerge.plan.groups import step_names
from deepmerge.plan.recipe import Recipe, Step, check_keep
from deepmerge.plan.regions import regions
from deepmerge.plan.select import Candidate, select
from deepmerge.plan.sketch import sketch
from deepmerge.progress import Progress, silent

_SPEEDUPS = {"join_siblings": "siblings", "split_pooling": "poolings"}  # exact passes and their step names
_ABSORBERS = {"lrn": "merge_lrn", "pooling": "merge_pooling", "branches": "merge_branches"}


@dataclass(frozen=True)
class Wishes:
    """What a user asks of a plan. steps: see `select`. tucker: decompose the layers that the steps leave."""

    exact: bool = False
    steps: str = "all"
    tucker: bool = False
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Plan:
    """A recipe, the refusals, and every approximate step that could be taken.

    choice: how the steps were chosen by measurement, for the report; None if they were not.
    """

    recipe: Recipe
    refusals: tuple[Refusal, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    choice: Mapping[str, Any] | None = None


def make_plan(
    graph: Graph, wishes: Wishes, calibration: Calibration | None = None, progress: Progress = silent
) -> Plan:
    """Return the plan for a network: exact steps, then approximate ones. The graph is not changed.

    calibration: the images that Tucker's ranks are chosen by; without them the weights alone decide. progress: called
    with how many layers Tucker has looked at.
    PlanError for a layer, a step or a target that does not exist.
    """
    check_keep(sorted(wishes.options.keep), graph, "--keep")
    options = wishes.options
    recipe = Recipe(graph.name, CLEANUP, tuple(sorted(options.keep)), (), graph.given_inputs, target=options.target)
    work = graph.copy()
    shapes = KeptShapes(work)
    run_cleanup(work, recipe, shapes)
    exact, refusals = _folds(work, wishes.options, shapes)
    if wishes.exact:
        for name, title in _SPEEDUPS.items():
            step, refused = _speedup(work, name, title, wishes.options, exact, shapes)
            exact += step
            refusals += refused
    # hardly any two convolutions can be composed, so why not is left out
    refusals += [r for r in run_cleanup(work, recipe, shapes).refusals if r.pass_name != "compose_convolutions"]
    candidates, refused = find_candidates(work, _approximate(wishes), wishes.options)
    chosen = select(candidates, wishes.steps, [step.name for step in exact])
    taken = {layer for step in chosen for layer in step.layers}
    refusals += [r for r in refused if not (r.costly and r.layer in taken)]
    steps = exact + sorted(chosen, key=lambda step: not step.exact)
    if wishes.tucker:
        before = replace(recipe, steps=tuple(chosen))
        tucker, refused = _tucker(work, before, wishes, {step.name for step in steps}, calibration, progress)
        steps += tucker
        refusals += refused
    return Plan(replace(recipe, steps=tuple(steps)), tuple(refusals), tuple(candidates))


def _folds(work: Graph, options: Options, shapes: KeptShapes) -> tuple[list[Step], list[Refusal]]:
    """Fold everything that can be folded; return the changes as steps, one for each region of the network."""
    region = {layer.name: number for layer, number in regions(work).items()}
    applied = run(make(FOLDS, options), work, shapes)
    groups: dict[int, list[Change]] = {}
    for change in applied.changes:
        groups.setdefault(region[change.layer], []).append(change)
    ordered = [groups[number] for number in sorted(groups)]
    names = step_names([[name for change in group for name in change.into] for group in ordered])
    layers = [tuple(dict.fromkeys(change.layer for change in group)) for group in ordered]
    steps = [Step(name, FOLDS, group, exact=True) for name, group in zip(names, layers, strict=True)]
    return steps, applied.refusals


def _speedup(
    work: Graph, name: str, title: str, options: Options, before: list[Step], shapes: KeptShapes
) -> tuple[list[Step], list[Refusal]]:
    """Let one exact pass save time where it can, as one step; none with --width full, which needs whole modules."""
    if options.width == "full":
        return [], []
    applied = run(make((name,), options), work, shapes)
    if not applied.changes:
        return [], applied.refusals
    (unique,) = step_names([[title]], {step.name for step in before})
    return [Step(unique, (name,), tuple(c.layer for c in applied.changes), exact=True)], applied.refusals


def split_step(graph: Graph, recipe: Recipe, steps: Sequence[Step], options: Options) -> list[Step]:
    """Return a step that splits the large poolings that none of `steps` merges; none if there are no such poolings.

    graph: the network after the recipe, which has the exact steps. steps: approximate ones, each of which may be taken.
    """
    bare = sketch(graph)
    merged = {name for step in steps for name in run_step(bare.copy(), step, options).merged}
    kept = replace(options, keep=options.keep | merged)
    name = "split_pooling"
    return _speedup(bare, name, _SPEEDUPS[name], kept, list(recipe.steps), KeptShapes(bare))[0]


def _approximate(wishes: Wishes) -> list[str]:
    """Return the names of the passes that find steps; with --exact only that of exact embeddings, if asked for."""
    if wishes.exact:
        return ["embed_branches"] if wishes.options.width == "full" else []
    return [name for word, name in _ABSORBERS.items() if word in wishes.options.absorb]


def _tucker(
    work: Graph,
    chosen: Recipe,
    wishes: Wishes,
    taken: set[str],
    calibration: Calibration | None,
    progress: Progress,
) -> tuple[list[Step], list[Refusal]]:
    """Return a last step that decomposes the layers that are left (none if no layer gains), and the refusals."""
    for _ in run_recipe(work, chosen):
        pass
    shapes, options = infer_shapes(work), wishes.options
    layers = [layer.name for layer in decomposable(work, shapes, options.keep)]
    if calibration is not None:
        options = replace(options, calibration=calibration.about, moments=calibration.moments(work, layers))
    one = DecomposeTucker(options).prepare(work, layers, shapes)
    refusals: list[Refusal] = []
    ranks: dict[str, list[int]] = {}
    for done, layer in enumerate(work.layers):
        progress("tucker", done, len(work.layers))
        match = one.look(work, layer, shapes, refusals)
        if match is not None:
            ranks[layer.name] = match.plan.ranks.as_list
    if not ranks:
        return [], refusals
    kept = step_options((one.name,), options)
    if one.options.ranks or options.calibration:  # the weights alone, layer by layer, do not give these ranks
        kept |= {"ranks": ranks}
    (title,) = step_names([["tucker"]], taken)
    return [Step(title, (one.name,), tuple(ranks), options=kept)], refusals
