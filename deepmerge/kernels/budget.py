"""Ranks for a whole network under a budget of multiply-adds: MACs are saved first where they cost the least error.

Every layer offers settings, each with its MACs and its loss, -log of the share of energy that is kept. The network's
loss is their sum, so that the product of the layers' shares is as large as the budget allows.

Source: Zhang, Zou, He, Sun: Accelerating Very Deep Convolutional Networks for Classification and Detection,
TPAMI 38 (2016), section 2.4 (rank selection by the product of PCA energies, greedily by energy per MAC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Ranks = tuple[int, ...]


@dataclass(frozen=True)
class Setting:
    """One choice for a layer. macs: for one image. ranks: (rank_in, rank_out), or (rank,) for a matrix; () for none."""

    macs: int
    loss: float
    ranks: Ranks = ()


def losses(spectra: np.ndarray) -> np.ndarray:
    """Return the losses (n,) of keeping the first 1, 2, …, n directions in every group.

    spectra: (group, n), energies in falling order. A loss is -log of the share kept: inf if nothing is kept, and 0 if
    there is no energy at all.
    """
    kept = np.cumsum(np.sum(spectra, axis=0))
    if not kept[-1] > 0.0:
        return np.zeros(len(kept))
    with np.errstate(divide="ignore"):
        return np.maximum(-np.log(kept / kept[-1]), 0.0)


def frontier(macs: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Return the indices of the settings that no other setting beats, by rising MACs and so by falling loss.

    macs, loss: (n,). Settings of infinite loss are left out.
    """
    places = np.lexsort((loss, macs))
    places = places[np.isfinite(loss[places])]
    lowest = np.minimum.accumulate(np.concatenate([[np.inf], loss[places]]))[:-1]
    return places[loss[places] < lowest]


def allot(offers: Mapping[str, list[Setting]], budget: int) -> dict[str, Setting]:
    """Return a setting for each layer, with at most `budget` MACs in total, or the cheapest ones if that is too few.

    offers: each layer's settings, in any order. Greedy: starts from the most expensive settings and goes down along
    each layer's convex hull, taking the step that loses least for each MAC saved. The last step goes only as far as
    needed.
    """
    offers = {name: _frontier(settings) for name, settings in offers.items()}
    chains = {name: _hull(settings) for name, settings in offers.items()}
    chosen = {name: chain[-1] for name, chain in chains.items()}
    total = sum(setting.macs for setting in chosen.values())
    steps = [
        (-_slope(low, high), number, -at, name)
        for number, (name, chain) in enumerate(chains.items())
        for at, (low, high) in enumerate(zip(chain, chain[1:], strict=False))
    ]
    for _, _, at, name in sorted(steps):
        if total <= budget:
            break
        low, rest = chains[name][-at], total - chosen[name].macs
        fitting = [s for s in offers[name] if low.macs <= s.macs < chosen[name].macs and rest + s.macs <= budget]
        chosen[name] = min(fitting, key=lambda s: (s.loss, s.macs), default=low)
        total = rest + chosen[name].macs
    return chosen


def _frontier(settings: list[Setting]) -> list[Setting]:
    return [settings[i] for i in frontier(np.array([s.macs for s in settings]), np.array([s.loss for s in settings]))]


def _hull(settings: list[Setting]) -> list[Setting]:
    """Return the lower convex hull of a frontier: the settings that no mixture of two others beats."""
    chain: list[Setting] = []
    for setting in settings:
        while len(chain) > 1 and _slope(chain[-2], chain[-1]) >= _slope(chain[-1], setting):
            chain.pop()
        chain.append(setting)
    return chain


def _slope(low: Setting, high: Setting) -> float:
    return (high.loss - low.loss) / (high.macs - low.macs)
