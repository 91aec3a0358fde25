"""Inception-like modules: parallel branches from one blob into one Concat, recognised by structure.

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
from deepmerge.passes.support.chains import ACTIVATIONS, alone, fixed, is_idempotent, is_plain_1x1, same_size

Kind = Literal["point", "pooled", "reduced", "plain", "other"]
Signature = tuple[tuple[str, typed.Params], ...]  # the activations behind a convolution


@dataclass(frozen=True)
class Branch:
    """One branch, from the entry blob to the Concat. `reason` says why it is "other"."""

    kind: Kind
    layers: tuple[Layer, ...]
    entry: Blob
    conv: Layer | None = None
    reducer: Layer | None = None
    reason: str = ""

    @property
    def activations(self) -> Signature:
        return _behind(self.layers, self.conv)

    @property
    def reducer_activations(self) -> Signature:
        return _behind(self.layers, self.reducer) if self.reducer else ()

    @property
    def hosts(self) -> bool:
        return self.kind in ("reduced", "plain")

    @property
    def merged_layers(self) -> tuple[Layer, ...]:
        """What a report names: all but the activations."""
        return tuple(layer for layer in self.layers if layer.type not in ACTIVATIONS)


def branches_of(graph: Graph, concat: Layer, keep: frozenset[str] = frozenset()) -> list[Branch]:
    """The Concat's branches, in its order. A branch with a layer (or layer type) of `keep` is "other"."""
    return [_branch(graph, blob, keep) for blob in concat.bottoms]


def _branch(graph: Graph, blob: Blob, keep: frozenset[str]) -> Branch:
    chain: list[Layer] = []
    while alone(blob) and blob.producer.type in ACTIVATIONS | {"Convolution", "Pooling"}:
        chain.insert(0, blob.producer)
        blob = blob.producer.bottom
    layers = tuple(chain)
    for layer in layers:
        if {layer.name, layer.type} & keep:
            return Branch("other", layers, blob, reason=f"{layer.name!r} is to be kept")
        if reason := fixed(graph, layer):
            return Branch("other", layers, blob, reason=f"{layer.name!r}: {reason}")
    convs = [layer for layer in layers if layer.type == "Convolution"]
    kind = _kind(layers, convs)
    if kind == "other":
        names = " → ".join(layer.name for layer in layers if layer.type not in ACTIVATIONS) or blob.name
        return Branch("other", layers, blob, reason=f"the branch {names} has no form that merges")
    return Branch(kind, layers, blob, convs[-1], convs[0] if kind == "reduced" else None)


def _kind(layers: tuple[Layer, ...], convs: list[Layer]) -> Kind:
    """What the branch is by its layers, from the entry on; activations stand behind convolutions only."""
    shape = [layer.type for layer in layers if layer.type not in ACTIVATIONS]
    if not layers or layers[0].type in ACTIVATIONS:
        return "other"
    if any(layer.type == "PReLU" or layer.params is None for layer in layers):  # one's own slopes, or unknown ones
        return "other"
    if shape == ["Convolution"]:
        return "point" if is_plain_1x1(convs[0]) else "plain" if _is_host(convs[0]) else "other"
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


def _behind(layers: tuple[Layer, ...], conv: Layer) -> Signature:
    found = []
    for layer in layers[layers.index(conv) + 1 :]:
        if layer.type not in ACTIVATIONS:
            break
        found.append((layer.type, layer.params))
    return tuple(found)


def obstacle(host: Branch, guest: Branch) -> str:
    """Why a 1x1 guest's output cannot pass through the host's activations unchanged: "" if it can."""
    if guest.activations != host.activations:
        return f"{guest.conv.name!r} and {host.conv.name!r} have different activations behind them"
    through = host.reducer_activations
    if not through:
        return ""
    if through != guest.activations:
        return f"{guest.conv.name!r} and {host.reducer.name!r} have different activations behind them"
    if all(is_idempotent(*activation) for activation in through):
        return ""
    return f"the activation {through[0][0]} behind {host.reducer.name!r} is not idempotent"


def assign(branches: list[Branch], guests: set[str]) -> tuple[dict[int, tuple[list[int], list[int]]], list[str]]:
    """Which guests go into which host: {host's place: (guests before it, guests behind it)}, and the refusals.

    guests: the kinds that may be merged. A guest joins the nearest host that can take it, if nothing but
    guests of the same host stand between, so that the Concat's channels keep their order.
    """
    places = [i for i, branch in enumerate(branches) if branch.hosts]
    target: dict[int, int] = {}
    refused: list[str] = []
    for i, guest in enumerate(branches):
        if guest.kind not in guests:
            continue
        reasons = []
        for host in sorted(places, key=lambda h: (abs(i - h), h)):
            reasons.append(obstacle(branches[host], guest) or _between(branches, guests, i, host))
            if not reasons[-1]:
                target[i] = host
                break
        else:
            refused.append(reasons[0] if reasons else "the module has no kxk branch")
    hosts: dict[int, tuple[list[int], list[int]]] = {}
    for i, host in target.items():
        if all(target.get(j) == host for j in range(min(i, host) + 1, max(i, host))):
            hosts.setdefault(host, ([], []))[i > host].append(i)
        else:
            refused.append(_IN_BETWEEN.format(branches[i].conv.name))
    return hosts, refused


_IN_BETWEEN = "another branch stands between {!r} and the kxk branch in the Concat's order"


def _between(branches: list[Branch], guests: set[str], i: int, host: int) -> str:
    kinds = {branches[j].kind for j in range(min(i, host) + 1, max(i, host))}
    return "" if kinds <= guests else _IN_BETWEEN.format(branches[i].conv.name)
