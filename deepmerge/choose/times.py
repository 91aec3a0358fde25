"""The times of networks and of regions on an engine: turn by turn, in one process of their own."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from deepmerge.engines.timing.timing import Budget, Timings, compare
from deepmerge.errors import EngineError
from deepmerge.graph.graph import Graph
from deepmerge.measure.harness.networks import Network, Source
from deepmerge.measure.harness.process import Worker
from deepmerge.measure.harness.setup import Files, files_of, load_all


class Stopwatch:
    """Times networks on an engine, in a process that stays: real Caffe takes seconds to start.

    It starts with the first networks, and ends with the stopwatch.
    """

    def __init__(self, engine: str, threads: int):
        self.threads = threads
        self._start = functools.partial(Worker, engine, threads)
        self._worker: Worker | None = None

    def times_of(self, graphs: Mapping[str, Graph], seconds: float) -> tuple[dict[str, float], dict[str, str]]:
        """Return the milliseconds of one forward of each network, and why the engine refuses others.

        Each is the first network's median times the median of the ratios of their turns, so that what slows the machine
        down for a while does not favour one of them. Raises EngineError if the engine does not take the first one.
        """
        nothing, first = Source("", Path(), None), next(iter(graphs))
        with files_of([Network(label, nothing, graph, False) for label, graph in graphs.items()]) as files:
            try:
                timings, refused = self._compared(files, seconds)
            except BaseException:  # some networks are still loaded
                self.close()
                raise
        base = timings.spread(first).median * 1000
        labels = [label for label in graphs if label not in refused]
        return {label: base * (1.0 if label == first else timings.ratio(label).value) for label in labels}, refused

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()

    def _compared(self, files: Files, seconds: float) -> tuple[Timings, dict[str, str]]:
        self._worker, refused = load_all(self._running(), files, self._start)
        first = next(iter(files))
        if first in refused:
            raise EngineError(refused[first])
        runs = {label: functools.partial(self._worker.run, label) for label in files if label not in refused}
        timings = compare(runs, Budget(narrow=0.01, least=6, most=60, seconds=seconds), threads=self.threads)
        try:
            for label in runs:
                self._worker.drop(label)
        except EngineError:  # the times are known
            self.close()
        return timings, refused

    def _running(self) -> Worker:
        """Return the process if it still answers, else another one."""
        if self._worker is not None:
            try:
                self._worker.memory()
                return self._worker
            except EngineError:
                self.close()
        return self._start()
