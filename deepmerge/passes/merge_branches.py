"""A module's 1x1 and pooling branches go into its kxk branches; a strided pooling behind it, too.

Given:   x ─┬ 1x1 (n1) ──────────────┐
            ├ 1x1 (r3) → 3x3 (n3) ───┼ Concat → [Pooling, stride 2] → y
            ├ 1x1 (r5) → 5x5 (n5) ───┤
            └ pooling → 1x1 (np) ────┘
Result:  x ─┬ 1x1 (width·r3) → 3x3 (n1 + n3) [stride 2] ┬ Concat → y
            └ 1x1 (width·r5) → 5x5 (n5 + np) [stride 2] ┘

The start is the exact embedding (the reducer carries the 1x1's filters, the kxk gives them identity
centre taps), then the reducer is shrunk to `width` of what it was, keeping what matters most.
A host without a reducer takes the 1x1 as centre taps. Channels keep their order.

Exact: no (yes where nothing is shrunk and no pooling goes: see embed_branches).
Source: Li et al., DeepRebirth (AAAI 2018), branch merging.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.params import Convolution
from deepmerge.kernels.branches import Pair, join, widen
from deepmerge.kernels.shrink import shrink
from deepmerge.kernels.xavier import xavier
from deepmerge.passes.support.base import Match, Pass
from deepmerge.passes.support.chains import in_order, only_reader
from deepmerge.passes.support.modules import Branch, assign, branches_of
from deepmerge.passes.support.streamline import poolable, start, strided
from deepmerge.passes.support.weights import bias_or_zero


@dataclass(frozen=True)
class _Host:
    """A kxk branch and what comes into it. `width`: the reducer's new num_output (0 without a reducer)."""

    branch: Branch
    before: tuple[Branch, ...]
    behind: tuple[Branch, ...]
    width: int
    conv: Convolution

    @property
    def guests(self) -> tuple[Branch, ...]:
        return self.before + self.behind

    @property
    def full_width(self) -> int:
        """The reducer's num_output in the exact embedding."""
        return self.branch.reducer.params.num_output + sum(g.conv.params.num_output for g in self.guests)


@dataclass(frozen=True)
class _Plan:
    hosts: tuple[_Host, ...]
    pool: Layer | None


class MergeBranches(Pass):
    name = "merge_branches"
    exact = False
    summary = "a module's 1x1 and pooling branches (and a strided pooling behind it) into its kxk branches"
    types = frozenset(("Concat",))

    @property
    def guest_kinds(self) -> set[str]:
        return {"point", "pooled"} if "pooling" in self.options.absorb else {"point"}

    def match(self, graph, layer, shapes):
        if layer.params.axis != 1 or len(layer.bottoms) < 2 or len(shapes.get(layer.top) or ()) != 4:
            return None
        branches = branches_of(graph, layer, self.options.keep)
        if not any(b.hosts for b in branches) or not any(b.kind in ("point", "pooled") for b in branches):
            return None
        entry = next(b.entry for b in branches if b.hosts)
        if strays := [b for b in branches if b.kind != "other" and b.entry is not entry]:
            stray = f"{strays[0].conv.name!r} starts at {strays[0].entry.name!r}"
            return self.refuse(layer, f"its branches do not start at one blob: {stray}, others at {entry.name!r}")
        assigned, refused = assign(branches, self.guest_kinds)
        if not assigned:
            return self.refuse(layer, refused[0] if refused else "no branch of it may be merged")
        pool = self._pool_behind(layer, branches, assigned, shapes)
        plan = self._plan(branches, assigned, pool, shapes)
        if plan is None:  # the pooling does not fit, and stays
            plan = self._plan(branches, assigned, None, shapes)
        return self._weigh(graph, layer, plan, shapes)

    def _pool_behind(self, concat: Layer, branches, assigned, shapes) -> Layer | None:
        """The strided pooling that is the Concat's only reader, if hosts are all that will remain of the module."""
        pool = only_reader(concat.top)
        if pool is None or pool.type != "Pooling" or "pooling" not in self.options.absorb:
            return None
        if {pool.name, pool.type} & self.options.keep or poolable(pool, shapes):
            return None
        merged = {i for before, behind in assigned.values() for i in (*before, *behind)}
        return pool if all(b.hosts for i, b in enumerate(branches) if i not in merged) else None

    def _plan(self, branches: list[Branch], assigned, pool: Layer | None, shapes) -> _Plan | None:
        """What becomes of each host; None where the pooling's stride fits one of them not."""
        hosts = []
        for i, branch in enumerate(branches):
            if i in assigned or (pool is not None and branch.hosts):
                before, behind = assigned.get(i, ((), ()))
                guests = [branches[j] for j in before], [branches[j] for j in behind]
                hosts.append(self._host(branch, *guests, pool, shapes))
        return None if None in hosts else _Plan(tuple(hosts), pool)

    def _host(self, branch: Branch, before: list[Branch], behind: list[Branch], pool, shapes) -> _Host | None:
        extra = sum(g.conv.params.num_output for g in before + behind)
        width = self._width(branch.reducer.params.num_output, extra) if branch.reducer else 0
        conv = replace(branch.conv.params, num_output=branch.conv.params.num_output + extra, bias_term=True)
        if pool is not None:
            size, out = shapes[branch.conv.bottom][2:], shapes[pool.top][2:]
            conv = strided(conv, pool.params, size, out, self.options.kernel == "cover")
            if isinstance(conv, str):
                return None
        return _Host(branch, tuple(before), tuple(behind), width, conv)

    def _width(self, own: int, extra: int) -> int:
        """The reducer's filters: `width` times its own number, at most what the exact embedding takes."""
        if self.options.width == "full":
            return own + extra
        return min(max(int(self.options.width * own + 0.5), 1), own + extra) if extra or self.options.width < 1 else own

    def _weigh(self, graph: Graph, concat: Layer, plan: _Plan, shapes):
        """The match, or its refusal where the module would need more MACs than before."""
        touched = {layer for h in plan.hosts for b in (h.branch, *h.guests) for layer in b.merged_layers}
        before = sum(layer_macs(layer, shapes) for layer in touched)
        after = sum(_host_macs(h, shapes, plan.pool) for h in plan.hosts)
        if after > before and not self.options.costly:
            reason = f"the merged module would need {after:,} MACs, not {before:,}"
            refusal = self.refuse(concat, f"{reason}; ask for it by name (--steps) to have it all the same")
            return replace(refusal, costly=True)
        merged = in_order(graph, touched | ({plan.pool} if plan.pool else set()))
        into = tuple(layer for h in plan.hosts for layer in (h.branch.reducer, h.branch.conv) if layer)
        shrunk = any(h.branch.reducer and h.width < h.full_width for h in plan.hosts)
        pooled = any(g.kind == "pooled" for h in plan.hosts for g in h.guests)
        exact = not (shrunk or pooled or plan.pool or self.options.init == "xavier")
        return Match(concat, merged, into, plan, exact)

    def rewrite(self, graph, match):
        made: list[Layer] = []
        for host in match.plan.hosts:
            made += self._merge(graph, host, match.plan.pool)
        concat = match.layer
        for guest in (g for host in match.plan.hosts for g in host.guests):
            graph.drop_bottom(concat, guest.layers[-1].top)
            for layer in reversed(guest.layers):
                graph.remove(layer)
        if match.plan.pool is not None:
            graph.bypass(match.plan.pool)
        if len(concat.bottoms) == 1:
            graph.bypass(concat)
        return made

    def _merge(self, graph: Graph, host: _Host, pool: Layer | None) -> list[Layer]:
        """The host's reducer and convolution with everything in them; new names where their blobs' shapes change."""
        reducer, conv = host.branch.reducer, host.branch.conv
        if conv.weights:
            self._set_weights(host, pool)
        changed = [layer for layer in (reducer, conv) if layer is not None]
        if reducer is not None:
            same = reducer.params.num_output == host.width and reducer.params.bias_term
            reducer.params = replace(reducer.params, num_output=host.width, bias_term=True)
            reducer.name = reducer.name if same else graph.fresh_name(f"{reducer.name}_merged")
        conv.params = host.conv
        conv.name = graph.fresh_name(f"{conv.name}_merged")
        for layer in changed:
            layer.param_specs = []
        return changed

    def _set_weights(self, host: _Host, pool: Layer | None) -> None:
        reducer, conv = host.branch.reducer, host.branch.conv
        small, (weight, bias) = _embedding(host)
        if small is not None:
            if host.width < len(small[0]):
                *small, weight = shrink(*small, weight, host.width, rectified=bool(host.branch.reducer_activations))
            reducer.weights = [self._start(small[0]), small[1]]
        if pool is not None:
            weight = start(weight, conv.params, host.conv, pool.params, "trained")
        conv.weights = [self._start(weight), bias]

    def _start(self, weight: np.ndarray) -> np.ndarray:
        return xavier(weight.shape) if self.options.init == "xavier" else weight


def _embedding(host: _Host) -> tuple[Pair | None, Pair]:
    """Weights and bias of the reducer (None without one) and of the convolution that carry all guests exactly."""
    reducer, conv = host.branch.reducer, host.branch.conv
    small = (reducer.weights[0], bias_or_zero(reducer)) if reducer else None
    own = (conv.weights[0], bias_or_zero(conv))
    guests = [(g.conv.weights[0], bias_or_zero(g.conv)) for g in host.guests]
    ahead = sum(g.conv.params.num_output for g in host.before)
    if not guests:
        return small, own
    return widen(small, own, guests, ahead) if small else (None, join(own, guests, ahead))


def _host_macs(host: _Host, shapes, pool: Layer | None) -> int:
    """Multiply-adds of the merged branch, for one image."""
    _, channels, height, width = shapes[host.branch.entry]
    out = shapes[pool.top if pool is not None else host.branch.conv.top]
    conv = host.conv
    inner = (host.width or channels) * conv.num_output * conv.kernel_h * conv.kernel_w
    return channels * host.width * height * width + inner * out[2] * out[3]
