"""What a pass is: `match`, which only looks, and `rewrite`, which changes the graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from deepmerge.errors import PassError
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import KeptShapes
from deepmerge.kernels.moments import Moments
from deepmerge.names import for_shell
from deepmerge.targets.check import layer_problems
from deepmerge.targets.target import load_target

Shapes = dict[Blob, tuple[int, ...] | None]


@dataclass(frozen=True)
class Options:
    """The choices that users have; their words are the command line's (`deepmerge convert --help`)."""

    width: float | str = 0.5  # of the reducers in merged branches, or "full"
    kernel: str = "keep"  # or "cover"
    init: str = "trained"  # or "xavier"
    rank: str = "energy:0.85"  # or vbmf, ratio:0.5, macs:0.5
    ranks: Mapping[str, Sequence[int]] = field(default_factory=dict, hash=False)  # by layer; they override `rank`
    calibration: str = ""  # the images that the moments come from, as recipes name them; "" for none
    moments: Mapping[str, Moments] = field(default_factory=dict, compare=False, repr=False)  # of layers' inputs
    absorb: tuple[str, ...] = ("lrn", "pooling", "branches")
    channels: Mapping[str, Sequence[int]] = field(default_factory=dict, hash=False)  # which filters a reducer keeps
    keep: frozenset[str] = frozenset()  # names and types of the layers to leave alone
    target: str = ""  # what has to take the layers that are made; "" for anything
    costly: bool = False  # merge even where the MACs rise


@dataclass(frozen=True)
class Match:
    """What a pass would do at a layer.

    merged: the layers that go into others or change, in the network's order, without activations.
    into: the layers that take them up. plan: what `rewrite` needs to know.
    """

    layer: Layer
    merged: tuple[Layer, ...]
    into: tuple[Layer, ...]
    plan: Any = None
    exact: bool = True


class Refused(Exception):  # noqa: N818 (it is an answer, not an error)
    """Raised where a pass cannot do its work; its text says why.

    layer: the layer that the reason is about, which may be a neighbour of the one that the pass looks at.
    costly: the pass could do it, but the MACs would rise.
    """

    def __init__(self, layer: Layer, reason: str, costly: bool = False):
        super().__init__(reason)
        self.layer, self.reason, self.costly = layer, reason, costly

    def seen_from(self, layer: Layer) -> str:
        """Return the reason, with the name of the layer that it is about if that is another one."""
        return self.reason if self.layer is layer else f"{self.layer.name!r}: {self.reason}"


def possible(check: Callable[..., object], *args: Any) -> bool:
    """Return whether a check that raises Refused lets these arguments pass."""
    try:
        check(*args)
    except Refused:
        return False
    return True


@dataclass(frozen=True)
class Refusal:
    """The record of a Refused: why a pass leaves a layer alone."""

    pass_name: str
    layer: str
    reason: str
    costly: bool = False  # the pass could do it, but the MACs would rise


@dataclass(frozen=True)
class Change:
    """What a pass did, by layer names, since the layers may be gone. into: the layers that are new or changed."""

    pass_name: str
    layer: str
    exact: bool
    merged: tuple[str, ...]
    into: tuple[str, ...]


@dataclass
class Applied:
    """The changes and refusals of a run."""

    changes: list[Change] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


class Pass:
    """Base of all passes. The first line of a pass's docstring is its summary.

    name: its file's name. exact: whether the output stays the same. types: the layer types that it looks at.
    uses: the fields of Options that go into a recipe with it.
    """

    name: ClassVar[str]
    exact: ClassVar[bool]
    types: ClassVar[frozenset[str]]
    uses: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: Options | None = None):
        self.options = options or Options()

    @classmethod
    def summary(cls) -> str:
        """Return one line on what the pass does."""
        return (cls.__doc__ or cls.name).splitlines()[0].rstrip(".")

    def prepare(self, graph: Graph, names: Collection[str], shapes: Shapes) -> Pass:
        """Return the pass to use on these layers; for passes that must see all layers of a step at once."""
        return self

    def match(self, graph: Graph, layer: Layer, shapes: Shapes) -> Match | None:
        """Return what the pass would do at `layer`, or None where there is nothing for it; change nothing.

        Raises
        ------
        Refused
            The layer is one for this pass, but something is in the way.
        """
        raise NotImplementedError

    def offers(self, match: Match) -> Mapping[str, Sequence[Any]]:
        """Return the options that make a difference at a match, with the values that are worth a try."""
        return {}

    def rewrite(self, graph: Graph, match: Match) -> list[Layer]:
        """Carry the match out and return the layers that are new or changed."""
        raise NotImplementedError

    def look(self, graph: Graph, layer: Layer, shapes: Shapes, refusals: list[Refusal] | None = None) -> Match | None:
        """Return `match`'s answer, and record in `refusals` why the layer is left alone.

        None, and no refusal, for a layer of another type or one whose parameters are not known. A match is refused if
        it may not touch its layers (see check_touched), or if it makes what `Options.target` does not take.
        """
        if layer.type not in self.types or layer.params is None:
            return None
        try:
            found = self.match(graph, layer, shapes)
            if found is not None:
                self.check_touched(found.layer, (found.layer, *found.merged, *found.into), found.exact)
                self._check_target(graph, found, shapes)
            return found
        except Refused as error:
            if refusals is not None:
                refusals.append(Refusal(self.name, layer.name, error.seen_from(layer), error.costly))
            return None

    def check_touched(self, layer: Layer, touched: Iterable[Layer], exact: bool) -> None:
        """Raise Refused if a layer to touch is one of `Options.keep`.

        If the match is to be exact, also if one has fields that deepmerge does not know.
        """
        for one in touched:
            if {one.name, one.type} & self.options.keep:
                raise Refused(layer, f"{one.name!r} ({one.type}) is kept, as asked")
            if exact and one.unknown_fields:
                unknown = f"{one.params.FIELD} has {one.unknown_fields[0]!r}, which is not known here"
                raise Refused(one, f"its {unknown}, and may change what it computes")

    def _check_target(self, graph: Graph, match: Match, shapes: Shapes) -> None:
        """Raise Refused if the target would not take what the match makes, for a reason that is new; tries it out."""
        if not self.options.target:
            return
        target = load_target(self.options.target)
        kept = shapes if isinstance(shapes, KeptShapes) else KeptShapes(graph).refresh()
        touched = dict.fromkeys((match.layer, *match.merged, *match.into))
        before = {problem.rule for problem in layer_problems(touched, kept, target)}
        there = set(graph.layers)
        with graph.trial():
            made = dict.fromkeys(map(graph.layer, self.apply(graph, match).into))
            made |= dict.fromkeys(layer for layer in graph.layers if layer not in there)  # such as a Slice
            found = layer_problems(made, kept.refresh(), target)
        kept.refresh()
        for problem in found:
            if problem.rule not in before and not problem.only_for:
                raise Refused(match.layer, f"{target.name} would not take {problem.layer!r}: {problem.reason}")

    def apply(self, graph: Graph, match: Match, step: str = "") -> Change:
        """Carry a match out; layers that it makes or changes are marked with the step's name."""
        target, merged = match.layer.name, tuple(m.name for m in match.merged)
        changed = dict.fromkeys((match.layer, *match.merged, *match.into))
        graph.touch(*changed)
        made = self.rewrite(graph, match)
        for layer in made:
            layer.step, layer.made_by = step or layer.step, self.name
            if not all(np.isfinite(array).all() for array in layer.weights):
                raise PassError(
                    f"{self.name}: layer {layer.name!r} would get weights that are not finite",
                    layer=layer.name,
                    remedy=f"keep it with --keep {for_shell(layer.name)}",
                )
        graph.touch(*(changed | dict.fromkeys(made)))
        return Change(self.name, target, match.exact, merged, tuple(m.name for m in made or match.into))


def first_match(
    passes: Sequence[Pass], graph: Graph, layer: Layer, shapes: Shapes, refusals: list[Refusal] | None = None
) -> tuple[Pass, Match] | None:
    """Return the first pass that has something to do at a layer, with its match; None if no pass has."""
    for one in passes:
        match = one.look(graph, layer, shapes, refusals)
        if match is not None:
            return one, match
    return None


def run(passes: list[Pass], graph: Graph, shapes: KeptShapes | None = None) -> Applied:
    """Apply passes, in order, again and again until none finds anything more to do.

    shapes: the graph's, which the caller may keep. The refusals are those of the last round.
    """
    applied = Applied()
    shapes = KeptShapes(graph) if shapes is None else shapes
    while True:
        applied.refusals = []
        before = len(applied.changes)
        for one in passes:
            _sweep(one, graph, applied, shapes)
        if len(applied.changes) == before:
            return applied


def _sweep(one: Pass, graph: Graph, applied: Applied, shapes: KeptShapes) -> None:
    candidates = [layer for layer in graph.layers if layer.type in one.types]
    if candidates:
        shapes.refresh()
    for layer in candidates:
        if layer not in graph:
            continue
        match = one.look(graph, layer, shapes, applied.refusals)
        if match is not None:
            applied.changes.append(one.apply(graph, match))
            shapes.refresh()
