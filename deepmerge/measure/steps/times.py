"""Time each step's network, in turns with the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from deepmerge.engines.timing.timing import Budget, compare
from deepmerge.errors import EngineError
from deepmerge.measure.harness.networks import Network
from deepmerge.measure.harness.setup import files_of, loaded
from deepmerge.progress import Progress, of_budget, silent


def step_times(
    networks: Sequence[Network], engine: str, threads: int, seconds: float, progress: Progress = silent
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return for each label the spread of its forwards' seconds, and its speed-up over the first one, both as dicts.

    One forward of the declared batch at a time, in a process of its own, until every ratio is known to ±1 %, for at
    most `seconds`. Raises EngineError if the engine is not installed or does not take a network.
    """
    names = [network.label for network in networks]
    with files_of(networks) as files, loaded(engine, files, threads) as (worker, refused):
        if refused:
            name, reason = next(iter(refused.items()))
            raise EngineError(f"{name or 'the original'}: {reason}")
        runs = {name: (lambda name=name: worker.run(name)) for name in names}
        timings = compare(
            runs, Budget(seconds=seconds), threads=threads, used=of_budget(progress, f"timing on {engine}")
        )
    first = names[0]
    same = {"value": 1.0, "low": 1.0, "high": 1.0}
    return {
        name: (asdict(timings.spread(name)), same if name == first else _speedup(timings.ratio(name))) for name in names
    }


def _speedup(ratio: Any) -> dict[str, float]:
    return {"value": 1 / ratio.value, "low": 1 / ratio.high, "high": 1 / ratio.low}
