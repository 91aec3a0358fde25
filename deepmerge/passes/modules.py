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
from deepmerge.passes.chains import ACTIVATIONS, alone, is_plain_1x1, same_size, shared

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
    layers: list[Layer] = []
    while alone(blob) and blob.producer.type in ACTIVATIONS | {"Convolution", "Pooling"}:
        layers.insert(0, blob.producer)
        blob = blob.producer.bottom
    chain = tuple(layers)
    convs = [layer for layer in chain if layer.type == "Convolution"]
    kept = next((layer for layer in chain if layer.name in keep or layer.type in keep), None)
    if kept is not None:
        return Branch("other", chain, blob, reason=f"{kept.name!r} is to be kept")
    for layer in chain:
        if reason := shared(graph, layer):
            return Branch("other", chain, blob, reason=f"{layer.name!r}: {reason}")
    kind = _kind(chain, convs)
    if kind == "other":
        names = " → ".join(layer.name for layer in chain if layer.type not in ACTIVATIONS) or blob.name
        return Branch("other", chain, blob, reason=f"the branch {names} has no form that merges")
    return Branch(kind, chain, blob, convs[-1], convs[0] if kind == "reduced" else None)


def _kind(chain: tuple[Layer, ...], convs: list[Layer]) -> Kind:
    shape = [layer.type for layer in chain if layer.type not in ACTIVATIONS]
    if any(layer.weights or layer.type == "PReLU" for layer in chain if layer.type in ACTIVATIONS) or not chain:
        return "other"
    if shape == ["Convolution"]:
        if is_plain_1x1(convs[0]):
            return "point"
        return "plain" if _is_host(convs[0]) else "other"
    if shape == ["Convolution", "Convolution"] and is_plain_1x1(convs[0]) and _is_host(convs[1]):
        return "reduced"
    if shape == ["Pooling", "Convolution"] and is_plain_1x1(convs[0]) and chain[0].type == "Pooling" and len(chain[0].tops) == 1:
        return "pooled" if chain[0].params.stride == (1, 1) and not chain[0].params.global_pooling else "other"
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
    if all(kind == "Clip" or (kind == "ReLU" and params.negative_slope == 0) for kind, params in through):
        return ""
    return f"the activation {through[0][0]} behind {host.reducer.name!r} is not idempotent"


def assign(branches: list[Branch], guests: set[str]) -> tuple[dict[int, tuple[list[int], list[int]]], list[tuple[Branch, str]]]:
    """Which guests go into which host: {host's place: (guests before it, guests behind it)}, and the refused.

    A guest joins the nearest host with nothing but other guests of that host between, so that the
    Concat's channels keep their order.
    """
    hosts = {i: ([], []) for i, b in enumerate(branches) if b.hosts}
    refused = []
    for i, guest in enumerate(branches):
        if guest.kind not in guests:
            continue
        near = sorted((abs(i - h), h) for h in hosts)
        reason = "the module has no kxk branch" if not near else ""
        for _, h in near:
            reason = obstacle(branches[h], guest) or _between(branches, guests, i, h)
            if not reason:
                hosts[h][0 if i < h else 1].append(i)
                break
        if reason:
            refused.append((guest, reason))
    for h, (before, behind) in hosts.items():  # a refused guest between would break the order
        bad = {i for i, b in enumerate(branches) for g, _ in refused if g is b}
        hosts[h] = ([i for i in before if not bad & set(range(i, h))], [i for i in behind if not bad & set(range(h, i))])
    return {h: pair for h, pair in hosts.items() if pair[0] or pair[1]}, refused


def _between(branches: list[Branch], guests: set[str], i: int, h: int) -> str:
    for j in range(min(i, h) + 1, max(i, h)):
        if branches[j].kind not in guests:
            return "another branch stands between it and the kxk branch in the Concat's order"
    return ""
