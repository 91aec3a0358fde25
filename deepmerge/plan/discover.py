"""Finding a plan: what the structure of a network allows, step by step."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace

from deepmerge.errors import PlanError
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.base import Applied, Change, Match, Options, Pass, Refusal, run
from deepmerge.passes.chains import ACTIVATIONS, only_reader
from deepmerge.passes.registry import CLEANUP, FOLDS, make
from deepmerge.plan.execute import run_step
from deepmerge.plan.names import step_names
from deepmerge.plan.recipe import Recipe, Step
from deepmerge.plan.regions import regions
from deepmerge.plan.select import Candidate, select

_ABSORBERS = {"lrn": "merge_lrn", "pooling": "merge_pooling", "branches": "merge_branches"}


@dataclass(frozen=True)
class Wishes:
    """What the command line asks of a plan."""

    exact: bool = False
    steps: str = "all"
    tucker: bool = False
    options: Options = field(default_factory=Options)


@dataclass
class Plan:
    """A recipe, and what was found on the way: the refusals, and the steps that cost more than they save."""

    recipe: Recipe
    cleanup: list[Change] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)


def make_plan(graph: Graph, wishes: Wishes) -> Plan:
    """The plan for a network; the graph is not changed. PlanError for names that it does not have."""
    _check_keep(graph, wishes.options.keep)
    work = graph.copy()
    keep = tuple(sorted(wishes.options.keep))
    cleaned = run(make(CLEANUP, wishes.options), work)
    folds, fold_refusals = _folds(work, wishes.options)
    cleaned.changes += run(make(CLEANUP, wishes.options), work).changes
    plan = Plan(Recipe(graph.name, CLEANUP, keep), cleaned.changes)
    plan.refusals = [r for r in cleaned.refusals if r.pass_name != "compose_convolutions"] + fold_refusals
    groups = _approximate(work, wishes, plan.refusals)
    chosen = select(groups, wishes.steps)
    plan.candidates = groups
    steps = folds + chosen
    if wishes.tucker:
        steps += _tucker(work, chosen, wishes, keep, plan.refusals)
    plan.recipe = replace(plan.recipe, steps=tuple(steps))
    return plan


def _check_keep(graph: Graph, keep) -> None:
    known = sorted({layer.name for layer in graph.layers} | {layer.type for layer in graph.layers})
    for name in sorted(keep):
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "give a layer's name or type"
            raise PlanError(f"--keep: the network {graph.name!r} has no layer or type {name!r}; {hint}")


def _folds(work: Graph, options: Options) -> tuple[list[Step], list[Refusal]]:
    """Fold all that folds, and the changes as steps, one for each region of the network."""
    region = {layer.name: number for layer, number in regions(work).items()}
    applied: Applied = run(make(FOLDS, options), work)
    groups: dict[int, list[Change]] = {}
    for change in applied.changes:
        groups.setdefault(region[change.layer], []).append(change)
    ordered = [groups[number] for number in sorted(groups)]
    names = step_names([[name for c in group for name in c.into] for group in ordered])
    steps = [Step(name, FOLDS, tuple(c.layer for c in group), exact=True) for name, group in zip(names, ordered, strict=True)]
    return steps, applied.refusals


def _approximate(work: Graph, wishes: Wishes, refusals: list[Refusal]) -> list[Candidate]:
    """Every approximate step that the structure allows (with --exact: exact embeddings, if asked for)."""
    if wishes.exact:
        names = ["embed_branches"] if wishes.options.width == "full" else []
    else:
        names = [_ABSORBERS[word] for word in ("lrn", "pooling", "branches") if word in wishes.options.absorb]
    rough = _without_weights(work)
    found: list[tuple[list[str], Step, str]] = []
    passes = make(names, wishes.options)
    for name in [layer.name for layer in rough.layers if layer.type in ("Convolution", "Concat")]:
        layer = next((x for x in rough.layers if x.name == name), None)
        if layer is not None:
            _look_at(rough, layer, passes, wishes.options, found, refusals)
    refusals += _what_remains(rough, passes)
    titles = step_names([merged for merged, _, _ in found])
    return [Candidate(replace(step, name=title), costly) for title, (_, step, costly) in zip(titles, found, strict=True)]


def _look_at(rough: Graph, layer: Layer, passes: list[Pass], options: Options, found: list, refusals: list[Refusal]) -> None:
    """Add the step that begins at a layer, if there is one, and carry it out on the rough graph."""
    if layer.type == "Concat":
        targets, costly = _module(rough, layer, passes, refusals)
    else:
        targets, costly = _chain(rough, layer, passes), ""
    if not targets:
        return
    used = tuple(p.name for p in passes if any(t.type in p.types for t in targets))
    step = Step(layer.name, used, tuple(t.name for t in targets), options=_step_options(used, options))
    if costly:
        match = next(p for p in make(used, replace(options, costly=True))).look(rough, layer, infer_shapes(rough))
        merged = [m.name for m in match.merged if m.type == "Convolution"]
    else:
        convs = {x.name for x in rough.layers if x.type == "Convolution"}
        result = run_step(rough, step, tuple(options.keep))
        merged = [name for name in result.merged if name in convs]
        step = replace(step, exact=result.exact)
    if not costly or layer.type == "Concat":
        found.append((merged, replace(step, exact=False) if costly else step, costly))


def _chain(rough: Graph, conv: Layer, passes: list[Pass]) -> list[Layer]:
    """The LRN and pooling layers behind a convolution that go into it, one after the other."""
    trial = rough.copy()
    here = trial.layer(conv.name)
    names: list[str] = []
    reader = _behind(here)
    while reader is not None:
        match = next((m for m in (p.look(trial, reader, infer_shapes(trial)) for p in passes) if isinstance(m, Match)), None)
        if match is None:
            break
        names.append(reader.name)
        next(p for p in passes if reader.type in p.types).apply(trial, match)
        reader = _behind(here)
    return [rough.layer(name) for name in names]


def _behind(conv: Layer) -> Layer | None:
    """The LRN or pooling behind a convolution and its activations."""
    reader = only_reader(conv.top)
    while reader is not None and reader.type in ACTIVATIONS:
        reader = only_reader(reader.top)
    return reader if reader is not None and reader.type in ("LRN", "Pooling") else None


def _module(rough: Graph, concat: Layer, passes: list[Pass], refusals: list[Refusal]) -> tuple[list[Layer], str]:
    for one in passes:
        answer = one.look(rough, concat, infer_shapes(rough))
        if isinstance(answer, Match):
            return [concat], ""
        if isinstance(answer, Refusal) and answer.costly:
            refusals.append(answer)
            return [concat], answer.reason
    return [], ""


def _what_remains(rough: Graph, passes: list[Pass]) -> list[Refusal]:
    """Why the layers that are still there were not merged."""
    shapes = infer_shapes(rough)
    answers = [p.look(rough, layer, shapes) for layer in rough.layers for p in passes]
    return [a for a in answers if isinstance(a, Refusal) and not a.costly]


def _without_weights(graph: Graph) -> Graph:
    """A copy for trying things out, in which no pass has weights to compute."""
    copy = graph.copy()
    for layer in copy.layers:
        if layer.type in ("Convolution", "InnerProduct"):
            layer.weights = []
    return copy


def _step_options(passes: tuple[str, ...], options: Options) -> dict:
    """The options that matter to these passes, for the recipe."""
    relevant = {
        "merge_lrn": ("init",),
        "merge_pooling": ("kernel", "init"),
        "merge_branches": ("width", "kernel", "init", "absorb"),
        "embed_branches": (),
        "decompose_tucker": ("rank",),
    }
    keys = [key for name in passes for key in relevant[name]]
    return {key: list(v) if isinstance(v := getattr(options, key), tuple) else v for key in dict.fromkeys(keys)}


def _tucker(work: Graph, chosen: list[Step], wishes: Wishes, keep, refusals: list[Refusal]) -> list[Step]:
    """One last step that decomposes what the steps before it leave."""
    for step in chosen:
        run_step(work, step, keep)
    (one,) = make(("decompose_tucker",), wishes.options)
    shapes = infer_shapes(work)
    answers = {layer.name: one.look(work, layer, shapes) for layer in work.layers}
    refusals += [a for a in answers.values() if isinstance(a, Refusal)]
    names = tuple(name for name, a in answers.items() if isinstance(a, Match))
    if not names:
        return []
    return [Step("tucker", (one.name,), names, options=_step_options((one.name,), wishes.options))]
