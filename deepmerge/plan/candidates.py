"""Finding the approximate steps that a network's structure allows, and what each would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Graph, Layer, News
from deepmerge.graph.shapes import KeptShapes
from deepmerge.passes.registry import PASSES, make
from deepmerge.passes.support.base import Options, Pass, Refusal, first_match
from deepmerge.passes.support.chains import only_reader
from deepmerge.plan.execute import StepResult, run_step
from deepmerge.plan.groups import step_names
from deepmerge.plan.recipe import Step
from deepmerge.plan.select import Candidate
from deepmerge.plan.sketch import sketch

_ONLY_IF_GIVEN = ("calibration", "ranks", "channels")


def find_candidates(graph: Graph, names: Sequence[str], options: Options) -> tuple[list[Candidate], list[Refusal]]:
    """Return the steps that the passes of these names could take, in the network's order, and the refusals.

    A step is a convolution with the LRN and pooling after it, or a module's Concat with its branches. One that
    would raise the MACs is costly, and is also among the refusals. The graph is not changed.
    """
    search = _Search(sketch(graph), make(names, replace(options, costly=True)), options)
    for name in [layer.name for layer in search.graph.layers if layer.kind.convolution or layer.type == "Concat"]:
        search.look_at(name)
    refusals = search.refusals()
    found = []
    for one, title in zip(search.found, step_names([one.convolutions for one in search.found]), strict=True):
        found.append(Candidate(replace(one.step, name=title), one.costly))
        if one.costly:
            reason = f"{one.costly}; --steps {title} merges it anyway"
            refusals.append(Refusal(one.step.passes[0], one.step.layers[-1], reason, costly=True))
    return found, refusals


def step_options(passes: Sequence[str], options: Options) -> dict:
    """Return the options that these passes use, for the recipe."""
    kept = {key: getattr(options, key) for name in passes for key in PASSES[name].uses}
    return {key: value for key, value in kept.items() if key not in _ONLY_IF_GIVEN or value}


@dataclass(frozen=True)
class _Found:
    """A step that has no name yet, the convolutions that it merges, and why it is costly ("" if it is not)."""

    step: Step
    convolutions: list[str]
    costly: str


class _Search:
    """The search for steps. graph: the network after all steps found so far, except the costly ones."""

    def __init__(self, graph: Graph, passes: list[Pass], options: Options):
        self.graph, self.passes, self.options = graph, passes, options
        self.found: list[_Found] = []
        self._shapes = KeptShapes(graph)
        self._news = News(self._shapes.journal)
        self._known: dict[str, tuple[Layer, int]] = {}  # each layer and its MACs, by name

    def look_at(self, name: str) -> None:
        """Add the step that begins at a convolution or Concat of this name, if there is one."""
        layer = self.graph.find(name)
        if layer is None:
            return
        targets = self._module(layer) if layer.type == "Concat" else self._chain(layer)
        if not targets:
            return
        used = tuple(p.name for p in self.passes if any(t.type in p.types for t in targets))
        step = Step(name, used, tuple(t.name for t in targets), options=step_options(used, self.options))
        self._look_around()
        with self.graph.trial() as trial:
            result = run_step(self.graph, step, self.options, self._shapes)
            costly = self._more_work(result)
            trial.kept = not costly
        convolutions = [merged for merged in result.merged if self._known[merged][0].kind.convolution]
        self.found.append(_Found(replace(step, exact=result.exact), convolutions, costly))

    def _module(self, concat: Layer) -> list[Layer]:
        shapes = self._shapes.refresh()
        return [concat] if any(one.look(self.graph, concat, shapes) for one in self.passes) else []

    def _chain(self, conv: Layer) -> list[Layer]:
        """Return the LRN and pooling layers after a convolution that can be merged into it, one after the other."""
        found: list[Layer] = []
        with self.graph.trial():
            while (reader := _after(conv)) is not None:
                taken = first_match(self.passes, self.graph, reader, self._shapes.refresh())
                if taken is None:
                    break
                found.append(reader)
                taken[0].apply(self.graph, taken[1])
        return found

    def _look_around(self) -> None:
        """Note the layers that have changed, and their MACs."""
        self._shapes.refresh()
        for layer in filter(self.graph.__contains__, self._news.look()):
            self._known[layer.name] = layer, layer_macs(layer, self._shapes)

    def _more_work(self, result: StepResult) -> str:
        """Return how many more MACs a step's layers need for one image than before: "" if they need no more."""
        had = sum(self._known[name][1] for name in result.merged)
        needs = sum(layer_macs(self.graph.layer(name), self._shapes) for name in result.into)
        return f"its layers would need {needs:,} MACs, not {had:,}" if needs > had else ""

    def refusals(self) -> list[Refusal]:
        """Return why the layers that are left were not merged."""
        shapes = self._shapes.refresh()
        refusals: list[Refusal] = []
        for layer in self.graph.layers:
            for one in self.passes:
                one.look(self.graph, layer, shapes, refusals)
        return refusals


def _after(conv: Layer) -> Layer | None:
    """Return the LRN or pooling after a convolution and its activations."""
    reader = only_reader(conv.top) if conv.tops else None  # layers of unknown types may have none
    while reader is not None and reader.kind.activation:
        reader = only_reader(reader.top)
    return reader if reader is not None and reader.type in ("LRN", "Pooling") else None
