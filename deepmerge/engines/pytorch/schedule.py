"""Schedule: the layers to run for the wanted blobs, given the fed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from deepmerge.errors import EngineError
from deepmerge.text import did_you_mean

if TYPE_CHECKING:
    from deepmerge.engines.pytorch.step import Step
    from deepmerge.graph.graph import Blob, Graph, Layer


class Turn(NamedTuple):
    """One layer's turn. dead: the blobs that no later layer needs."""

    step: Step
    run: Callable
    bottoms: tuple[Blob, ...]
    tops: tuple[Blob, ...]
    dead: tuple[Blob, ...]


class Schedule(NamedTuple):
    """The turns of a forward. fed, wanted: the blobs of the names, in the order of the names."""

    fed: tuple[Blob, ...]
    wanted: tuple[Blob, ...]
    turns: tuple[Turn, ...]


class Names:
    """Finds blobs by name. A name is the last version after layers in place; a fed input is its first version."""

    def __init__(self, graph: Graph):
        self.last = graph.finals
        self.fed = self.last | {blob.name: blob for blob in graph.inputs}

    def find(self, names: Sequence[str], fed: bool = False) -> tuple[Blob, ...]:
        """Return the blobs of these names. EngineError for an unknown one."""
        known = self.fed if fed else self.last
        for name in names:
            if name not in known:
                raise EngineError(f"the network has no blob {name!r}", remedy=did_you_mean(name, known))
        return tuple(known[name] for name in names)


def make_schedule(
    steps: Mapping[Layer, Step], fed: tuple[Blob, ...], wanted: tuple[Blob, ...], order: Sequence[Layer]
) -> Schedule:
    """Return what to run, in `order`. EngineError for an input that is needed and not fed."""
    needed = _needed(fed, wanted)
    layers = [layer for layer in order if layer in needed]
    readers: dict[Blob, list[Layer]] = {}
    for layer in layers:
        for blob in layer.bottoms:
            readers.setdefault(blob, []).append(layer)
    last = {blob: found[-1] for blob, found in readers.items()}
    turns = []
    for layer in layers:
        step, keep = steps[layer], {*fed, *wanted}
        ends = [blob for blob in dict.fromkeys(layer.bottoms) if last[blob] is layer and blob not in wanted]
        ends += [blob for blob in layer.tops if blob not in readers and blob not in wanted]
        alone = len(layer.bottoms) == 1 and len(readers[layer.bottom]) == 1 and layer.bottom not in keep
        mine = alone and _is_fresh(layer.bottom.producer)
        run = step.overwrite if mine and step.overwrite else step.run
        turns.append(Turn(step, run, tuple(layer.bottoms), tuple(layer.tops), tuple(ends)))
    return Schedule(fed, wanted, tuple(turns))


def _needed(fed: tuple[Blob, ...], wanted: tuple[Blob, ...]) -> set[Layer]:
    """Return the layers between the fed blobs and the wanted ones."""
    given, needed = set(fed), set()
    open_ = [blob for blob in wanted if blob not in given]
    while open_:
        layer = open_.pop().producer
        if layer.type == "Input":
            names = ", ".join(repr(top.name) for top in layer.tops if top not in given)
            raise EngineError(f"input {names} gets no values")
        if layer not in needed:
            needed.add(layer)
            open_ += [blob for blob in layer.bottoms if blob not in given]
    return needed


def _is_fresh(layer: Layer) -> bool:
    """Return whether the layer's one top has memory of its own, which the layer's backward does not read again."""
    return (layer.kind.linear or layer.type == "BatchNorm") and len(layer.tops) == 1
