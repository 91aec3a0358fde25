"""Time each step's network, in turns with the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepmerge.engines.timing.timing import Budget, compare
from deepmerge.errors import EngineError
from deepmerge.graph.graph import Graph
from deepmerge.measure.harness.networks import Network, Source
from deepmerge.measure.harness.setup import files_of, loaded


def step_times(
    graphs: Mapping[str, Graph], engine: str, threads: int, seconds: float
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return for each name the spread of its forwards' seconds, and its speed-up over the first one, both as dicts.

    One forward of the declared batch at a time, in a process of its own, until every ratio is known to ±1 %, for at
    most `seconds`. Raises EngineError if the engine is not installed or does not take a network.
    """
    networks = [Network(name, Source(name, Path(), None), graph, False) for name, graph in graphs.items()]
    with files_of(networks) as files, loaded(engine, files, threads) as (worker, refused):
        if refused:
            name, reason = next(iter(refused.items()))
            raise EngineError(f"{name or 'the original'}: {reason}")
        runs = {name: (lambda name=name: worker.run(name)) for name in graphs}
        timings = compare(runs, Budget(seconds=seconds), threads=threads)
    first = next(iter(graphs))
    same = {"value": 1.0, "low": 1.0, "high": 1.0}
    return {
        name: (asdict(timings.spread(name)), same if name == first else _speedup(timings.ratio(name)))
        for name in graphs
    }


def _speedup(ratio: Any) -> dict[str, float]:
    return {"value": 1 / ratio.value, "low": 1 / ratio.high, "high": 1 / ratio.low}
