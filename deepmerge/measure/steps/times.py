"""Time each step's network, in turns with the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from deepmerge.engines.timing.timing import Budget, compare
from deepmerge.errors import EngineError
from deepmerge.measure.harness.networks import Network
from deepmerge.measure.harness.setup import files_of, loaded
from deepmerge.progress import Progress, of_budget, silent


def step_times(
    networks: Sequence[Network], engine: str, threads: int, seconds: float, progress: Progress = silent
) -> tuple[dict[str, tuple[dict[str, Any], dict[str, Any]]], list[str]]:
    """Return for each label the spread of its forwards' seconds, and its speed-up over the first one, both as dicts.

    One forward of the declared batch at a time, in a process of its own, until every ratio is known to ±1 %, for at
    most `seconds`. ONNX files that the engine does not take are left out; the second value has a line for each.
    Raises EngineError if the engine is not installed or does not take another network.
    """
    with files_of(networks) as files, loaded(engine, files, threads) as (worker, refused):
        left_out = _left_out(networks, refused)
        names = [network.label for network in networks if network.label not in refused]
        runs = {name: (lambda name=name: worker.run(name)) for name in names}
        timings = compare(
            runs, Budget(seconds=seconds), threads=threads, used=of_budget(progress, f"timing on {engine}")
        )
    first = names[0]
    same = {"value": 1.0, "low": 1.0, "high": 1.0}
    times = {
        name: (asdict(timings.spread(name)), same if name == first else _speedup(timings.ratio(name))) for name in names
    }
    return times, left_out


def _left_out(networks: Sequence[Network], refused: Mapping[str, str]) -> list[str]:
    """Return a line for each ONNX file that the engine refuses; EngineError if it refuses another network."""
    files = {network.label: network.source.onnx for network in networks}
    for label, reason in refused.items():
        if files[label] is None:
            raise EngineError(f"{label or 'the original'}: {reason}")
    return [f"{files[label]} is left out of the times: {reason}" for label, reason in refused.items()]


def _speedup(ratio: Any) -> dict[str, float]:
    return {"value": 1 / ratio.value, "low": 1 / ratio.high, "high": 1 / ratio.low}
