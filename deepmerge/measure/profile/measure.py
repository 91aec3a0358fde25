"""Time networks and their layers: engine after engine, the networks in turns on each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from deepmerge.engines import USUAL
from deepmerge.engines.timing.estimate import spread
from deepmerge.engines.timing.timing import Budget, Timings, compare
from deepmerge.errors import EngineError
from deepmerge.measure.harness.machine import load, machine
from deepmerge.measure.harness.networks import Network
from deepmerge.measure.harness.process import Worker
from deepmerge.measure.harness.setup import files_of, loaded
from deepmerge.measure.profile.places import place_of, places
from deepmerge.progress import Progress, of_budget, silent, within

VERSION = 1
TURNS = 3  # visits to each network to time its layers


@dataclass(frozen=True)
class Settings:
    """How to measure. repeat: forwards whose layers are timed. budget: for the whole forwards on each engine."""

    engines: Sequence[str] = USUAL
    threads: int = 1
    device: str = "cpu"
    repeat: int = 15
    warmup: int = 2
    budget: Budget = field(default_factory=lambda: Budget(seconds=30.0))
    seed: int = 0


def profile(
    networks: Sequence[Network], settings: Settings = Settings(), progress: Progress = silent
) -> dict[str, Any]:
    """Return where the time goes, JSON-ready: machine, settings, networks, engines (with networks and their layers).

    Times are seconds of one forward of the whole batch. `absent` says why an engine is not installed, `refused` why it
    does not take a network.
    """
    before = machine()
    found = []
    with files_of(networks) as files:
        for number, name in enumerate(settings.engines):
            progress(name, number, len(settings.engines))
            try:
                with loaded(name, files, settings.threads, settings.device if name == "torch" else "cpu") as (
                    worker,
                    refused,
                ):
                    entries = _engine(worker, networks, refused, settings, within(name, progress))
                    found.append({"engine": name, "absent": None, "networks": entries})
            except EngineError as error:
                found.append({"engine": name, "absent": str(error), "networks": []})
    return {
        "version": VERSION,
        "machine": before,
        "load_after": load(),
        "settings": {
            "threads": settings.threads,
            "device": settings.device,
            "repeat": settings.repeat,
            "warmup": settings.warmup,
            "budget": asdict(settings.budget),
            "seed": settings.seed,
        },
        "networks": [_about(network) for network in networks],
        "engines": found,
    }


def _about(network: Network) -> dict[str, Any]:
    from deepmerge.graph.costs import non_tensor_share
    from deepmerge.graph.shapes import infer_shapes

    shapes = infer_shapes(network.graph)
    inputs = {blob.name: list(shapes[blob] or ()) for blob in network.graph.inputs}
    return {
        "label": network.label,
        "prototxt": str(network.source.prototxt),
        "caffemodel": str(network.source.caffemodel) if network.source.caffemodel else None,
        "random_weights": network.random,
        "inputs": inputs,
        "non_tensor_layers": non_tensor_share(network.graph),
    }


def _engine(
    worker: Worker, networks: Sequence[Network], refused: dict[str, str], settings: Settings, progress: Progress
) -> list[dict[str, Any]]:
    """Return an entry for each network: the whole forward, then the layers."""
    taken = [network for network in networks if network.label not in refused]
    timings = Timings(settings.threads)
    if taken:
        runs = {network.label: (lambda label=network.label: worker.run(label)) for network in taken}
        how = {"threads": settings.threads, "warmup": settings.warmup, "seed": settings.seed}
        timings = compare(runs, settings.budget, **how, used=of_budget(progress, "timing"))
    layers = _layers(worker, taken, settings, progress)
    entries = []
    for network in networks:
        label = network.label
        if label in refused:
            entries.append({"label": label, "refused": refused[label]})
            continue
        entry = {"label": label, "refused": None, **whole(timings, label)}
        timed = layers[label]
        entry |= {"layers_refused": timed} if isinstance(timed, str) else detail(network, *timed)
        entries.append(entry)
    return entries


def whole(timings: Timings, label: str) -> dict[str, Any]:
    """Return a network's forward: median, quartiles, ratio to the first network's, how long it waited for a core."""
    first = next(iter(timings.samples))
    ratio = None if label == first else asdict(timings.ratio(label))
    return {"forward": asdict(timings.spread(label)), "ratio": ratio, "waited": timings.waited(label)}


def _layers(worker: Worker, networks: Sequence[Network], settings: Settings, progress: Progress) -> dict[str, Any]:
    """Return for each label (layers, forwards) of several visits, see Worker.layers; or why there are none."""
    repeat = math.ceil(settings.repeat / TURNS)
    found: dict[str, Any] = {}
    for turn in range(TURNS):
        for place, network in enumerate(networks if turn % 2 == 0 else reversed(networks)):
            progress("layers", turn * len(networks) + place, TURNS * len(networks))
            label = network.label
            if isinstance(found.get(label), str):
                continue
            try:
                reply = worker.layers(label, repeat, settings.warmup)
            except EngineError as error:
                found[label] = str(error)
                continue
            rows, forwards = found.setdefault(label, ({}, []))
            for name, kind, seconds in reply["layers"]:
                rows.setdefault((name, kind), []).extend(seconds)
            forwards.extend(reply["forwards"] or ())
    return found


def detail(network: Network, rows: dict[tuple[str, str], list[float]], forwards: list[float]) -> dict[str, Any]:
    """Return what the layers' times show.

    layers: each with its place, median and quartiles. sum: that of the layers' medians, which a disturbed forward does
    not move, with the quartiles of the forwards' sums. unfused: the forwards in which the layers were timed, if they
    are not those of the timed whole (fusion off). non_tensor: the share of the sum in non-tensor layers, with
    quartiles.
    """
    known = places(network.graph)
    layers, seconds, tensor = [], [], []
    for (name, kind), times in rows.items():
        place = place_of(name, kind, known)
        if place.type == "Input":
            continue
        spent = spread(times)
        layers.append(
            {"name": name, "type": place.type, "group": place.group, "tensor": place.tensor, "seconds": asdict(spent)}
        )
        seconds.append(times)
        tensor.append(place.tensor)
    table, outside = np.array(seconds), ~np.array(tensor, bool)
    middles, sums = np.median(table, axis=1), table.sum(axis=0)
    shares = table[outside].sum(axis=0) / np.where(sums > 0, sums, 1)
    return {
        "layers_refused": None,
        "sum": _around(float(middles.sum()), sums),
        "unfused": asdict(spread(forwards)) if forwards else None,
        "non_tensor": _around(float(middles[outside].sum() / (middles.sum() or 1)), shares),
        "layers": layers,
    }


def _around(median: float, values: np.ndarray) -> dict[str, float]:
    """Return a figure made of medians, with the quartiles of the same figure of each forward."""
    found = spread(values)
    return {"median": median, "low": found.low, "high": found.high, "count": found.count}
