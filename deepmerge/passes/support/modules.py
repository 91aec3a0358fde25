"""Inception-like modules: parallel branches from one blob into one Concat, recognised by their structure.

             ┌ 1x1 ─────────────────┐   point
entry blob ──┼ 1x1 → kxk ───────────┼─ Concat     reduced (a host)
             ├ kxk ─────────────────┤   plain (a host)
             └ pooling → 1x1 ───────┘   pooled
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deepmerge.graph import params as typed
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.passes.support.base import Refused, possible
from deepmerge.passes.support.chains import (
    alone,
    check_own_weights,
    is_idempotent,
    is_plain_1x1,
    same_size,
)

Kind = Literal["point", "pooled", "reduced", "plain", "other"]
Signature = tuple[tuple[str, typed.Params], ...]  # the activations after a convolution


@dataclass(frozen=True)
class Branch:
    """One branch, from the entry blob to the Concat. `entry`: the blob that it starts from."""

    kind: Kind
    layers: tuple[Layer, ...]
    entry: Blob
    conv: Layer | None = None
    reducer: Layer | None = None

    @property
    def activations(self) -> Signature:
        """The activations after the last convolution."""
        return _after(self.layers, self.conv)

    @property
    def reducer_activations(self) -> Signature:
        """The activations after the reducer."""
        return _after(self.layers, self.reducer) if self.reducer else ()

    @property
    def hosts(self) -> bool:
        """Whether other branches can be merged into it."""
        return self.kind in ("reduced", "plain")

    @property
    def merged_layers(self) -> tuple[Layer, ...]:
        """The layers that a report names: all except the activations."""
        return tuple(layer for layer in self.layers if not layer.kind.activation)


def branches_of(graph: Graph, concat: Layer, keep: frozenset[str] = frozenset()) -> list[Branch]:
    """Return the Concat's branches, in its order. A branch with a layer (or layer type) of `keep` is "other"."""
    return [_branch(graph, blob, keep) for blob in concat.bottoms]


def _branch(graph: Graph, blob: Blob, keep: frozenset[str]) -> Branch:
    chain: list[Layer] = []
    while alone(blob) and (blob.producer.kind.activation or blob.producer.type in ("Convolution", "Pooling")):
        chain.insert(0, blob.producer)
        blob = blob.producer.bottom
    layers = tuple(chain)
    convs = [layer for layer in layers if layer.type == "Convolution"]
    free = all(not {layer.name, layer.type} & keep and possible(check_own_weights, graph, layer) for layer in layers)
    kind = _kind(layers, convs) if free else "other"
    if kind == "other":
        return Branch(kind, layers, blob)
    return Branch(kind, layers, blob, convs[-1], convs[0] if kind == "reduced" else None)


def _kind(layers: tuple[Layer, ...], convs: list[Layer]) -> Kind:
    """Return the branch's kind by its layers, from the entry on. Activations come after convolutions only."""
    shape = [layer.type for layer in layers if not layer.kind.activation]
    if not layers or layers[0].kind.activation:
        return "other"
    if any(layer.type == "PReLU" or layer.params is None for layer in layers):  # slopes of its own, or unknown ones
        return "other"
    if shape == ["Convolution"] and is_plain_1x1(convs[0]):
        return "point"
    if shape == ["Convolution"] and _is_host(convs[0]):
        return "plain"
    if shape == ["Convolution", "Convolution"] and is_plain_1x1(convs[0]) and _is_host(convs[1]):
        return "reduced"
    if shape == ["Pooling", "Convolution"] and layers[1] is convs[0] and is_plain_1x1(convs[0]):
        pool = layers[0]
        plain = pool.params.stride == (1, 1) and not pool.params.global_pooling and len(pool.tops) == 1
        return "pooled" if plain else "other"
    return "other"


def _is_host(conv: Layer) -> bool:
    p = conv.params
    return p.kernel != (1, 1) and p.stride == (1, 1) and p.group == 1 and same_size(p)


def _after(layers: tuple[Layer, ...], conv: Layer) -> Signature:
    found = []
    for layer in layers[layers.index(conv) + 1 :]:
        if not layer.kind.activation:
            break
        found.append((layer.type, layer.params))
    return tuple(found)


def check_passes_through(host: Branch, guest: Branch) -> None:
    """Raise Refused unless a 1x1 guest's output passes through the host's activations unchanged."""
    if guest.activations != host.activations:
        raise Refused(guest.conv, f"it and {host.conv.name!r} are followed by different activations")
    through = host.reducer_activations
    if not through:
        return
    if through != guest.activations:
        raise Refused(guest.conv, f"it and {host.reducer.name!r} are followed by different activations")
    if not all(is_idempotent(*activation) for activation in through):
        raise Refused(host.reducer, f"the activation {through[0][0]} after it is not idempotent")


def assign(
    branches: list[Branch], guests: set[str], across: bool = True
) -> tuple[dict[int, tuple[list[int], list[int]]], list[Refused]]:
    """Return which guests go into which host, {host: (guests before it, guests after it)}, and what is refused.

    Numbers are places in the Concat's order. A guest joins the nearest host that can take it; one with only guests
    between the two comes first, since the Concat's channels then keep their order by themselves.

    guests: the kinds that may be merged. across: whether a guest may join a host on the other side of a branch that
    stays.
    """
    hosts: dict[int, tuple[list[int], list[int]]] = {}
    refused: list[Refused] = []
    for i, guest in enumerate(branches):
        if guest.kind in guests:
            try:
                host = _host_for(branches, guests, i, across)
                hosts.setdefault(host, ([], []))[i > host].append(i)
            except Refused as error:
                refused.append(error)
    return hosts, refused


def _host_for(branches: list[Branch], guests: set[str], i: int, across: bool) -> int:
    """Return the place of the host for guest `i`; else raise what keeps it from the first choice."""

    def choice(place: int) -> tuple[bool, int, int]:
        between = {branches[j].kind for j in range(min(i, place) + 1, max(i, place))}
        return not between <= guests, abs(i - place), place

    refused = None
    for beyond, _, place in sorted(choice(place) for place, branch in enumerate(branches) if branch.hosts):
        try:
            check_passes_through(branches[place], branches[i])
            if beyond and not across:
                raise Refused(branches[i].conv, "a branch that stays is between it and the kxk branch")
            return place
        except Refused as error:
            refused = refused or error
    raise refused or Refused(branches[i].conv, "the module has no kxk branch")


def pieces(places: list[int]) -> list[list[int]]:
    """Return the places as runs of neighbours: [0, 2, 3] → [[0], [2, 3]]."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs
