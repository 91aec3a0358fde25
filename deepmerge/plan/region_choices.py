"""What could be done to each region of a network: leave it, merge it in one of several ways, decompose it.

The passes say which options make a difference at a match (`Pass.offers`); the choices are their combinations. Nothing
here measures anything: deepmerge/choose does, and picks one choice for each region.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from deepmerge.errors import PlanError
from deepmerge.graph.costs import layer_macs
from deepmerge.graph.extract import extracted, layers_between
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape, infer_shapes
from deepmerge.passes.decompose_tucker import DecomposeTucker, Known, decomposable, offered
from deepmerge.passes.registry import make
from deepmerge.passes.support.base import Options, first_match
from deepmerge.plan.candidates import step_options
from deepmerge.plan.execute import run_step
from deepmerge.plan.groups import step_names
from deepmerge.plan.recipe import Step
from deepmerge.plan.regions import regions
from deepmerge.plan.sketch import sketch
from deepmerge.text import unused

LEAVE = "leave"  # the label of the choice that changes nothing
_TUCKER = DecomposeTucker.name


@dataclass(frozen=True)
class Choice:
    """One way to change a region. label: unique in its region. steps: what to run, in order; none leaves it."""

    label: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Region:
    """A part of the network that begins and ends at blobs that no choice changes.

    name: unique. inputs: the names of the blobs that it reads. output: that of the only blob that later layers read.
    layers: the names of its layers. choices: the first one leaves it as it is.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    layers: tuple[str, ...]
    choices: tuple[Choice, ...]

    def find(self, label: str) -> Choice | None:
        """Return the choice of this label, None if there is none."""
        return next((choice for choice in self.choices if choice.label == label), None)


def find_regions(graph: Graph, steps: Sequence[Step], options: Options) -> list[Region]:
    """Return the regions with more than one choice, in the network's order.

    graph: the network after its exact steps, with weights; it is not changed. steps: the approximate steps that may be
    taken (`find_candidates`). options: those that hold in all steps.
    """
    search = _Search(graph, options)
    found = [one for layers, inside in search.groups(steps) if (one := search.region(layers, inside)) is not None]
    names = step_names([region.layers for region in found])
    named: list[Region] = []
    taken = dict.fromkeys(names)
    for region, name in zip(found, names, strict=True):
        del taken[name]
        named.append(replace(search.named(region, name, taken), name=name))
        taken |= dict.fromkeys([name, *(step.name for choice in named[-1].choices for step in choice.steps)])
    return named


class _Search:
    """The search for choices in one network."""

    def __init__(self, graph: Graph, options: Options):
        self.graph, self.options = graph, options
        self.finals = graph.finals
        self.shapes = infer_shapes(graph)

    def groups(self, steps: Sequence[Step]) -> list[tuple[list[Layer], list[Step]]]:
        """Return the network's regions, each with the steps in it; those that one step touches are one region."""
        number = regions(self.graph)
        parent = {n: n for n in number.values()}

        def root(n: int) -> int:
            while parent[n] != n:
                n = parent[n]
            return n

        bare, places = sketch(self.graph), []
        for step in steps:
            copy = bare.copy()
            merged = run_step(copy, step, self.options).merged
            touched = sorted({root(number[self.graph.layer(name)]) for name in (*merged, *step.layers)})
            parent |= dict.fromkeys(touched, touched[0])
            places.append(touched[0])
        layers: dict[int, list[Layer]] = {}
        for layer, n in number.items():
            if layer.type != "Input":
                layers.setdefault(root(n), []).append(layer)
        inside: dict[int, list[Step]] = {}
        for step, place in zip(steps, places, strict=True):
            inside.setdefault(root(place), []).append(step)
        return [(found, inside.get(n, [])) for n, found in sorted(layers.items())]

    def region(self, layers: list[Layer], steps: list[Step]) -> Region | None:
        """Return the region of these layers; None if it has several outputs, or only one choice."""
        own = set(layers)
        inputs = list(dict.fromkeys(b for layer in layers for b in layer.bottoms if b.producer not in own))
        outputs = [top for layer in layers for top in layer.tops if not top.consumers or set(top.consumers) - own]
        ends = [*inputs, *outputs]
        if len(outputs) != 1 or any(self.finals[blob.name] is not blob for blob in ends):
            return None
        names = tuple(layer.name for layer in layers)
        bare = Region("", tuple(blob.name for blob in inputs), outputs[0].name, names, (Choice(LEAVE),))
        choices = _Choices(part_of(self.graph, bare, self.shapes), bare, self.options).all(steps)
        return replace(bare, choices=choices) if len(choices) > 1 else None

    @staticmethod
    def named(region: Region, name: str, taken: dict[str, None]) -> Region:
        """Return the region with its steps called after it. taken: the names of other regions and their steps."""
        choices = []
        for choice in region.choices:
            named: dict[str, Step] = {}
            for step in choice.steps:
                on_top = step.passes == (_TUCKER,) and len(choice.steps) > 1
                own = unused(f"{name}_tucker" if on_top else name, ChainMap(named, taken))
                named[own] = replace(step, name=own)
            choices.append(Choice(choice.label, tuple(named.values())))
        return replace(region, choices=tuple(choices))


class _Choices:
    """The search for one region's choices. graph: the region as a network of its own."""

    def __init__(self, graph: Graph, region: Region, options: Options):
        self.graph, self.region, self.options = graph, region, options
        self.bare = sketch(graph)
        self.ranks: Known = {}

    def all(self, steps: list[Step]) -> tuple[Choice, ...]:
        """Return the choices that differ in structure and need no more MACs than the region as it is."""
        ways = self._structures(steps)
        plain = [way for way in ways if all(map(_is_usual, way.steps))]
        return (*ways, *(choice for way in plain for choice in self._decomposed(way)))

    def _structures(self, steps: list[Step]) -> list[Choice]:
        """Return leaving it and merging it, in each way that is new and no more work."""
        seen, found, most = set(), [], None
        for choice in (Choice(LEAVE), *self._merges(steps)):
            try:
                structure, macs = self._outcome(choice)
            except PlanError:  # no pass takes it with these options
                continue
            most = macs if most is None else most
            if macs <= most and structure not in seen:
                seen.add(structure)
                found.append(choice)
        return found

    def _merges(self, steps: list[Step]) -> Iterator[Choice]:
        if not steps:
            return
        head, *rest = steps
        for prefix in self._prefixes(head):
            for options, label in self._settings(prefix):
                changed = [replace(one, options=one.options | options, exact=False) for one in (prefix, *rest)]
                yield Choice(label, tuple(_fitting(one) for one in changed))

    def _prefixes(self, step: Step) -> Iterator[Step]:
        """Yield the step with its first layer, its first two, … all; a module's step is taken as it is."""
        if any(self.graph.layer(name).type == "Concat" for name in step.layers):
            yield step
            return
        for count in range(len(step.layers), 0, -1):
            layers = step.layers[:count]
            types = {self.graph.layer(name).type for name in layers}
            passes = tuple(p.name for p in make(step.passes, self.options) if p.types & types)
            yield replace(step, layers=layers, passes=passes)

    def _settings(self, step: Step) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield each combination of the options that the passes offer for the step's layers, and its label."""
        offered = self._offers(step)
        types = [self.graph.layer(name).type for name in step.layers]
        merged = "" if "Concat" in types else f"absorb {'+'.join(types)}"
        for values in product(*offered.values()):
            options = dict(zip(offered, values, strict=True))
            words = [merged, *(f"{key} {_word(value)}" for key, value in options.items())]
            yield options, ", ".join(filter(None, words)) or "merge"

    def _offers(self, step: Step) -> dict[str, Sequence[Any]]:
        """Return what the passes offer where they match the step's layers, one after the other."""
        copy, offered = self.bare.copy(), {}
        passes = make(step.passes, replace(self.options, costly=True))
        for name in step.layers:
            layer = copy.find(name)
            taken = layer and first_match(passes, copy, layer, infer_shapes(copy))
            if taken:
                offered |= taken[0].offers(taken[1])
                taken[0].apply(copy, taken[1])
        return offered

    def _decomposed(self, way: Choice) -> Iterator[Choice]:
        """Yield the choice with the region's layers decomposed, at each rank that Tucker offers."""
        graph = self.graph.copy()
        try:
            for step in way.steps:
                run_step(graph, step, self.options)
        except PlanError:
            return
        shapes = infer_shapes(graph)
        able = decomposable(graph, shapes, self.options.keep)
        seen = set()
        for rank, given in offered(able, self.options, self.ranks):
            options = replace(self.options, rank=rank, ranks=given | self.options.ranks)
            one = DecomposeTucker(options)
            found = {layer.name: match.plan.ranks for layer in able if (match := one.look(graph, layer, shapes))}
            if found and (ranks := tuple(found.items())) not in seen:
                seen.add(ranks)
                named = {name: tuple(plan.as_list) for name, plan in ranks}  # fitting changes what energies would say
                how = step_options((_TUCKER,), replace(options, ranks=named))
                step = Step("", (_TUCKER,), tuple(found), options=how)
                label = f"rank {rank}" if way.label == LEAVE else f"{way.label}, rank {rank}"
                yield Choice(label, (*way.steps, step))

    def _outcome(self, choice: Choice) -> tuple[tuple, int]:
        """Return the region's structure after a choice, and its MACs."""
        graph = self.bare.copy()
        for step in choice.steps:
            run_step(graph, step, self.options)
        shapes = infer_shapes(graph)
        structure = tuple((layer.type, layer.params, tuple(b.name for b in layer.bottoms)) for layer in graph.layers)
        return structure, sum(layer_macs(layer, shapes) for layer in graph.layers)


def part_of(graph: Graph, region: Region, shapes: Mapping[Blob, Shape]) -> Graph:
    """Return the region as a network of its own, from a graph that may be changed there."""
    inputs, output = ends_of(graph, region)
    return extracted(region.name or graph.name, layers_between(graph, inputs, [output]), inputs, shapes)[0]


def ends_of(graph: Graph, region: Region) -> tuple[list[Blob], Blob]:
    """Return the region's inputs and its output in a graph."""
    finals = graph.finals
    return [finals[name] for name in region.inputs], finals[region.output]


def _is_usual(step: Step) -> bool:
    """Return whether a step has the usual width and kernel; only these merges are also offered with Tucker on top."""
    usual = Options()
    return all(step.options.get(key, getattr(usual, key)) == getattr(usual, key) for key in ("width", "kernel"))


def _fitting(step: Step) -> Step:
    """Return the step with the options that its passes use."""
    used = step_options(step.passes, Options())
    return replace(step, options={key: value for key, value in step.options.items() if key in used})


def _word(value: Any) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value)
