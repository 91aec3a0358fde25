"""A module's 1x1 and pooling branches go into its kxk branches, and so does a strided pooling after it.

Given:   x ─┬ 1x1 (n1) ──────────────┐
            ├ 1x1 (r3) → 3x3 (n3) ───┼ Concat → [Pooling, stride 2] → y
            ├ 1x1 (r5) → 5x5 (n5) ───┤
            └ pooling → 1x1 (np) ────┘
Result:  x ─┬ 1x1 (width·r3) → 3x3 (n1 + n3) [stride 2] ┬ Concat → y
            └ 1x1 (width·r5) → 5x5 (n5 + np) [stride 2] ┘

It starts from the exact embedding: the reducer carries the 1x1's filters, and the kxk gives them identity centre
taps. Then the reducer is shrunk to `width` of its size, keeping what matters most. A host without a reducer takes
the 1x1 as centre taps. The Concat's channels keep their order, so that its top means what it meant and later layers
stay as they are: where another branch stands between a host and its guest, a Slice takes the host's output apart
again. Measured in Caffe on one core, the Slice takes 0.02 ms at 17x17x384 and 35x35x192, where a 3x3 convolution of
as many outputs takes 9 ms.

Exact: no (yes where nothing is shrunk and no pooling is merged; see embed_branches).
Source: Li et al., DeepRebirth (AAAI 2018), branch merging.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from deepmerge.errors import PassError
from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Convolution, Slice
from deepmerge.kernels.branches import Filters, join, widen
from deepmerge.kernels.shrink import shrink
from deepmerge.kernels.xavier import xavier
from deepmerge.passes.support.base import Match, Pass, Refused, possible
from deepmerge.passes.support.chains import only_reader
from deepmerge.passes.support.modules import Branch, assign, branches_of, pieces
from deepmerge.passes.support.option_values import KERNELS
from deepmerge.passes.support.streamline import check_strided, start, strided
from deepmerge.passes.support.weights import bias_or_zero

WIDTHS = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0, "full")  # those to choose from by measurement


class Reducer(NamedTuple):
    """A reducer that will be shrunk, as the exact embedding has it.

    layer: the reducer. entry: what it reads. weight, bias: its filters, with the guests' after its own. conv: the
    weights of the convolution that reads it. width: how many filters are kept. rectified: whether a ReLU follows.
    """

    layer: Layer
    entry: Blob
    weight: np.ndarray
    bias: np.ndarray
    conv: np.ndarray
    width: int
    rectified: bool


@dataclass(frozen=True)
class _Host:
    """A kxk branch and the guests that it takes up.

    before, after: the guests on either side in the Concat's order. width: the reducer's new num_output (0 without a
    reducer). conv: the convolution's new parameters.
    """

    branch: Branch
    before: tuple[Branch, ...]
    after: tuple[Branch, ...]
    width: int
    conv: Convolution

    @property
    def guests(self) -> tuple[Branch, ...]:
        return self.before + self.after

    @property
    def full_width(self) -> int:
        """The reducer's num_output in the exact embedding."""
        return self.branch.reducer.params.num_output + sum(g.conv.params.num_output for g in self.guests)


@dataclass(frozen=True)
class _Plan:
    """All hosts, and the pooling after the module that they take up (None if there is none)."""

    hosts: tuple[_Host, ...]
    pool: Layer | None

    @property
    def touched(self) -> set[Layer]:
        """The module's layers that are merged or changed, without activations."""
        return {layer for h in self.hosts for branch in (h.branch, *h.guests) for layer in branch.merged_layers}


class MergeBranches(Pass):
    """Merge a module's 1x1 and pooling branches (and a strided pooling after it) into its kxk branches."""

    name = "merge_branches"
    exact = False
    types = frozenset(("Concat",))
    uses = ("width", "kernel", "init", "absorb", "channels")

    @property
    def guest_kinds(self) -> set[str]:
        """The kinds of branches that may be merged."""
        return {"point", "pooled"} if "pooling" in self.options.absorb else {"point"}

    def match(self, graph, layer, shapes):
        """Look for branches of one blob that fit into each other."""
        if layer.params.axis != 1 or len(layer.bottoms) < 2 or len(shapes.get(layer.top) or ()) != 4:
            return None
        branches = branches_of(graph, layer, self.options.keep)
        if not any(b.hosts for b in branches) or not any(b.kind in ("point", "pooled") for b in branches):
            return None
        if any(b.hosts and b.conv.made_by == self.name for b in branches):
            return None  # it was merged before, with fewer guests: once more would narrow the reducers once more
        entry = next(b.entry for b in branches if b.hosts)
        if strays := [b for b in branches if b.kind != "other" and b.entry is not entry]:
            stray = f"{strays[0].conv.name!r} starts at {strays[0].entry.name!r}"
            raise Refused(layer, f"its branches do not start at one blob: {stray}, others at {entry.name!r}")
        refused = None
        for across in (True, False):  # with fewer guests the module may need no more MACs than before
            try:
                plan = self._choose(layer, branches, shapes, across)
                self._check_work(layer, plan, shapes)
                return self._match(graph, layer, plan)
            except Refused as error:
                refused = refused or error
        if refused.costly and self.options.costly:
            return self._match(graph, layer, self._choose(layer, branches, shapes, across=True))
        raise refused

    def _choose(self, concat: Layer, branches: list[Branch], shapes, across: bool) -> _Plan:
        """Return what becomes of the module; Refused where nothing can."""
        assigned, refused = assign(branches, self.guest_kinds, across)
        if not assigned:
            raise refused[0] if refused else Refused(concat, "none of its branches may be merged")
        pool = self._pool_after(concat, branches, assigned, shapes)
        try:
            plan = self._plan(branches, assigned, pool, shapes)
        except Refused:  # the pooling does not fit, and stays
            plan = self._plan(branches, assigned, None, shapes)
        return plan

    def _pool_after(self, concat: Layer, branches, assigned, shapes) -> Layer | None:
        """Return the strided pooling that is the Concat's only reader, if only hosts will be left of the module."""
        pool = only_reader(concat.top)
        if pool is None or pool.type != "Pooling" or "pooling" not in self.options.absorb:
            return None
        if {pool.name, pool.type} & self.options.keep or not possible(check_strided, pool, shapes):
            return None
        merged = {i for before, after in assigned.values() for i in (*before, *after)}
        return pool if all(b.hosts for i, b in enumerate(branches) if i not in merged) else None

    def _plan(self, branches: list[Branch], assigned, pool: Layer | None, shapes) -> _Plan:
        """Return what becomes of each host; Refused where the pooling's stride does not fit one of them."""
        hosts = []
        for i, branch in enumerate(branches):
            if i in assigned or (pool is not None and branch.hosts):
                before, after = assigned.get(i, ((), ()))
                guests = tuple(branches[j] for j in before), tuple(branches[j] for j in after)
                conv = branch.conv.params
                if pool is not None:
                    conv = strided(branch.conv, pool, shapes, self.options.kernel == "cover")
                hosts.append(self._host(branch, *guests, conv))
        return _Plan(tuple(hosts), pool)

    def _host(self, branch: Branch, before: tuple[Branch, ...], after: tuple[Branch, ...], conv: Convolution) -> _Host:
        extra = sum(g.conv.params.num_output for g in before + after)
        width = self._width(branch.reducer.params.num_output, extra) if branch.reducer else 0
        return _Host(branch, before, after, width, replace(conv, num_output=conv.num_output + extra, bias_term=True))

    def _width(self, own: int, extra: int) -> int:
        """Return how many filters the reducer gets: `width` times its own, at most those of the exact embedding."""
        if self.options.width == "full":
            return own + extra
        return min(max(int(self.options.width * own + 0.5), 1), own + extra)

    def _check_work(self, concat: Layer, plan: _Plan, shapes) -> None:
        """Raise Refused where the module would need more MACs than before."""
        before = sum(layer_macs(layer, shapes) for layer in plan.touched)
        after = sum(_host_macs(h, shapes, plan.pool) for h in plan.hosts)
        if after > before:
            reason = f"the merged module would need {after:,} MACs, not {before:,}"
            raise Refused(concat, f"{reason}; name it in --steps to merge it anyway", costly=True)

    def _match(self, graph: Graph, concat: Layer, plan: _Plan) -> Match:
        merged = tuple(graph.in_order(plan.touched | ({plan.pool} if plan.pool else set())))
        into = tuple(layer for h in plan.hosts for layer in (h.branch.reducer, h.branch.conv) if layer)
        shrunk = any(h.branch.reducer and h.width < h.full_width for h in plan.hosts)
        pooled = any(g.kind == "pooled" for h in plan.hosts for g in h.guests)
        exact = not (shrunk or pooled or plan.pool or self.options.init == "xavier")
        return Match(concat, merged, into, plan, exact)

    def offers(self, match):
        """Offer widths if there are reducers, the pooling left alone, and both kernels if a strided pooling goes in."""
        offered, plan = {}, match.plan
        if any(h.branch.reducer for h in plan.hosts):
            offered["width"] = WIDTHS
        if plan.pool or any(g.kind == "pooled" for h in plan.hosts for g in h.guests):
            offered["absorb"] = (("pooling", "branches"), ("branches",))
        return offered | ({"kernel": KERNELS} if plan.pool else {})

    def reducers(self, match: Match) -> list[Reducer]:
        """Return the reducers that a match shrinks, so that somebody with images can choose what they keep."""
        found = []
        for host in match.plan.hosts:
            branch = host.branch
            if branch.reducer and branch.reducer.weights and host.width < host.full_width:
                (weight, bias), (conv, _) = _embedding(host)
                rectified = bool(branch.reducer_activations)
                found.append(Reducer(branch.reducer, branch.entry, weight, bias, conv, host.width, rectified))
        return found

    def rewrite(self, graph, match):
        """Give each host the filters of its guests, and take out the guests and the pooling."""
        made: list[Layer] = []
        for host in match.plan.hosts:
            made += self._merge(graph, host, match.plan.pool)
        concat = match.layer
        for host in match.plan.hosts:
            _take_apart(graph, concat, host)
        for guest in (g for host in match.plan.hosts for g in host.guests):
            if guest.layers[-1].top.consumers:
                graph.drop_bottom(concat, guest.layers[-1].top)
            for layer in reversed(guest.layers):
                graph.remove(layer)
        if match.plan.pool is not None:
            graph.bypass(match.plan.pool)
        if len(concat.bottoms) == 1:
            graph.bypass(concat)
        return made

    def _merge(self, graph: Graph, host: _Host, pool: Layer | None) -> list[Layer]:
        """Return the host's reducer and convolution with everything in them.

        They get new names where the shapes of their blobs change.
        """
        reducer, conv = host.branch.reducer, host.branch.conv
        if conv.weights:
            self._set_weights(host, pool)
        changed = [layer for layer in (reducer, conv) if layer is not None]
        if reducer is not None:
            same = reducer.params.num_output == host.width and reducer.params.bias_term
            reducer.params = replace(reducer.params, num_output=host.width, bias_term=True)
            if not same:
                graph.rename(reducer, graph.fresh_name(f"{reducer.name}_merged"))
        conv.params = host.conv
        graph.rename(conv, graph.fresh_name(f"{conv.name}_merged"))
        for layer in changed:
            layer.param_specs = []
        return changed

    def _set_weights(self, host: _Host, pool: Layer | None) -> None:
        reducer, conv = host.branch.reducer, host.branch.conv
        small, (weight, bias) = _embedding(host)
        if small is not None:
            if host.width < len(small[0]):
                keep = self._kept(reducer, host)
                *small, weight = shrink(*small, weight, host.width, bool(host.branch.reducer_activations), keep)
            reducer.weights = [self._start(small[0]), small[1]]
        if pool is not None:
            weight = start(weight, conv.params, host.conv, pool.params, "trained")
        conv.weights = [self._start(weight), bias]

    def _kept(self, reducer: Layer, host: _Host) -> Sequence[int] | None:
        """Return the filters that `channels` says the reducer keeps; None where it says nothing."""
        keep = self.options.channels.get(reducer.name)
        if keep is not None and (len(keep) != host.width or max(keep) >= host.full_width):
            text = f"{self.name}: channels has {len(keep)} filters for {reducer.name!r}, up to number {max(keep)}"
            remedy = f"it keeps {host.width} of {host.full_width} filters, numbered from 0"
            raise PassError(text, layer=reducer.name, remedy=remedy)
        return keep

    def _start(self, weight: np.ndarray) -> np.ndarray:
        return xavier(weight.shape) if self.options.init == "xavier" else weight


def _take_apart(graph: Graph, concat: Layer, host: _Host) -> None:
    """Slice a merged host's output where branches of others are between its own in the Concat's order."""
    blobs = [branch.layers[-1].top for branch in (*host.before, host.branch, *host.after)]
    places = [concat.bottoms.index(blob) for blob in blobs]
    runs = pieces(places)
    if len(runs) == 1:
        return
    before, after = ([g.conv.params.num_output for g in guests] for guests in (host.before, host.after))
    own = host.conv.num_output - sum(before) - sum(after)
    width = dict(zip(places, (*before, own, *after), strict=True))
    points = tuple(accumulate(sum(width[place] for place in run) for run in runs))[:-1]
    tops = [Blob(graph.fresh_name(f"{concat.bottoms[run[0]].name}_part")) for run in runs]
    for run, top in zip(runs, tops, strict=True):
        graph.rewire(concat.bottoms[run[0]], top)
    if blobs[len(before)] in concat.bottoms:  # a guest comes first in its run, and has given it its place
        graph.drop_bottom(concat, blobs[len(before)])
    name = graph.fresh_name(f"{host.branch.conv.name}_slice")
    made = Layer(name, "Slice", Slice(axis=1, slice_point=points), [blobs[len(before)]], tops)
    graph.insert(made, before=concat)


def _embedding(host: _Host) -> tuple[Filters | None, Filters]:
    """Return the reducer's (weights, bias), None without one, and the convolution's, which carry all guests exactly."""
    reducer, conv = host.branch.reducer, host.branch.conv
    small = (reducer.weights[0], bias_or_zero(reducer)) if reducer else None
    own = (conv.weights[0], bias_or_zero(conv))
    guests = [(g.conv.weights[0], bias_or_zero(g.conv)) for g in host.guests]
    ahead = sum(g.conv.params.num_output for g in host.before)
    if not guests:
        return small, own
    return widen(small, own, guests, ahead) if small else (None, join(own, guests, ahead))


def _host_macs(host: _Host, shapes, pool: Layer | None) -> int:
    """Return the multiply-adds of the merged branch for one image."""
    _, channels, height, width = shapes[host.branch.entry]
    out = shapes[pool.top if pool is not None else host.branch.conv.top]
    conv = host.conv
    inner = (host.width or channels) * conv.num_output * conv.kernel_h * conv.kernel_w
    return channels * host.width * height * width + inner * out[2] * out[3]
