"""What a pass is: match, which only looks, and rewrite, which changes the graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from deepmerge.errors import PassError
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.kernels.moments import Moments

Shapes = dict[Blob, tuple[int, ...] | None]


@dataclass(frozen=True)
class Options:
    """How passes work, where there is a choice (the command line's words; see `deepmerge convert --help`)."""

    width: float | str = 0.5  # reducers in merged branches, or "full"
    kernel: str = "keep"  # or "cover"
    init: str = "trained"  # or "xavier"
    rank: str = "energy:0.85"  # or vbmf, ratio:0.5, macs:0.5
    ranks: Mapping[str, Sequence[int]] = field(
        default_factory=dict, hash=False
    )  # layer → its ranks, which go before `rank`
    calibration: str = ""  # what images the moments come from, as recipes say it; "" for none
    moments: Mapping[str, Moments] = field(default_factory=dict, compare=False, repr=False)  # layer → of what it is fed
    absorb: tuple[str, ...] = ("lrn", "pooling", "branches")
    keep: frozenset[str] = frozenset()  # layers, by name or type, that are left alone
    costly: bool = False  # merge even where the MACs rise


@dataclass(frozen=True)
class Match:
    """What a pass would do at a layer.

    merged: the layers that go into others or change, in the network's order (activations apart).
    into: the layers that take them up. plan: what `rewrite` needs to know.
    """

    layer: Layer
    merged: tuple[Layer, ...]
    into: tuple[Layer, ...]
    plan: Any = None
    exact: bool = True


@dataclass(frozen=True)
class Refusal:
    """Why a pass leaves a layer alone."""

    pass_name: str
    layer: str
    reason: str
    costly: bool = False  # it could be done, but the MACs would rise


@dataclass(frozen=True)
class Change:
    """What a pass did: names only, since the layers may be gone. `made` are the layers that are new or changed."""

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
    """Base of all passes. `types` are the layer types that it looks at; `name` is its file's name."""

    name: ClassVar[str]
    exact: ClassVar[bool]
    summary: ClassVar[str]
    types: ClassVar[frozenset[str]]

    def __init__(self, options: Options | None = None):
        self.options = options or Options()

    def prepare(self, graph: Graph, names: Collection[str], shapes: Shapes) -> None:
        """Look at all layers of a step together, where what is done to one depends on the others; before `look`."""

    def match(self, graph: Graph, layer: Layer, shapes: Shapes) -> Match | Refusal | None:
        """What would be done at `layer`; a Refusal with the reason; None where the layer is none of its business."""
        raise NotImplementedError

    def rewrite(self, graph: Graph, match: Match) -> list[Layer]:
        """Carry the match out and return the layers that are new or changed."""
        raise NotImplementedError

    def refuse(self, layer: Layer, reason: str) -> Refusal:
        return Refusal(self.name, layer.name, reason)

    def look(self, graph: Graph, layer: Layer, shapes: Shapes) -> Match | Refusal | None:
        """`match`, with the layers and types of `Options.keep` left alone, and those whose parameters are not known."""
        if layer.type not in self.types or layer.params is None:
            return None
        found = self.match(graph, layer, shapes)
        if isinstance(found, Match):
            kept = [m for m in (found.layer, *found.merged, *found.into) if {m.name, m.type} & self.options.keep]
            if kept:
                return self.refuse(layer, f"{kept[0].name!r} ({kept[0].type}) is to be kept")
        return found

    def apply(self, graph: Graph, match: Match, step: str = "") -> Change:
        """Carry a match out; layers that it makes or changes are marked as the step's."""
        target, merged = match.layer.name, tuple(m.name for m in match.merged)
        made = self.rewrite(graph, match)
        for layer in made:
            layer.step, layer.made_by = step or layer.step, self.name
            for array in layer.weights:
                if not np.isfinite(array).all():
                    reason = f"layer {layer.name!r} would get weights that are no numbers"
                    raise PassError(f"{self.name}: {reason}; keep it with --keep {layer.name}")
        return Change(self.name, target, match.exact, merged, tuple(m.name for m in made or match.into))


def run(passes: list[Pass], graph: Graph, only: Collection[str] | None = None) -> Applied:
    """Apply passes, in order, over and over until none finds anything more to do.

    only: names of the layers to look at (all, where None). Refusals are those of the last round.
    """
    applied = Applied()
    memo: dict = {}
    while True:
        applied.refusals = []
        before = len(applied.changes)
        for one in passes:
            _sweep(one, graph, only, applied, memo)
        if len(applied.changes) == before:
            return applied


def _sweep(one: Pass, graph: Graph, only: Collection[str] | None, applied: Applied, memo: dict) -> None:
    candidates = [layer for layer in graph.layers if layer.type in one.types and (only is None or layer.name in only)]
    shapes = infer_shapes(graph, memo=memo) if candidates else {}
    for layer in candidates:
        if layer not in graph.layers:
            continue
        found = one.look(graph, layer, shapes)
        if isinstance(found, Refusal):
            applied.refusals.append(found)
        elif found is not None:
            applied.changes.append(one.apply(graph, found))
            shapes = infer_shapes(graph, memo=memo)
