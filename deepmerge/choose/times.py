"""The times of networks and of regions on an engine: turn by turn, in one process of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deepmerge.engines.timing.timing import Budget, compare
from deepmerge.errors import EngineError
from deepmerge.graph.graph import Graph
from deepmerge.measure.harness.networks import Network, Source
from deepmerge.measure.harness.setup import files_of, loaded


def times_of(
    graphs: Mapping[str, Graph], engine: str, threads: int, seconds: float
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the milliseconds of one forward of each network, and why the engine refuses others.

    Each is the first network's median times the median of the ratios of their turns, so that what slows the machine
    down for a while does not favour one of them. Raises EngineError if the engine does not take the first one.
    """
    nothing = Source("", Path(), None)
    with files_of([Network(label, nothing, graph, False) for label, graph in graphs.items()]) as files:
        with loaded(engine, files, threads) as (worker, refused):
            first = next(iter(graphs))
            if first in refused:
                raise EngineError(refused[first])
            runs = {label: (lambda label=label: worker.run(label)) for label in graphs if label not in refused}
            timings = compare(runs, Budget(narrow=0.01, least=6, most=60, seconds=seconds), threads=threads)
    base = timings.spread(first).median * 1000
    found = {label: base * (1.0 if label == first else timings.ratio(label).value) for label in runs}
    return found, refused
