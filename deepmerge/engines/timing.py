"""Timing networks fairly: turn by turn, so that a machine that slows down slows all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Timed(Protocol):
    def time_once(self) -> float: ...


def time_interleaved(sessions: Mapping[str, Timed], repeat: int = 15, warmup: int = 2) -> dict[str, list[float]]:
    """Forward times of several sessions, measured round robin.

    Each round runs every session once, in the order given. The first ``warmup`` rounds are
    dropped. Returns ``repeat`` wall-clock times in seconds for each session.
    """
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(warmup + repeat):
        for name, session in sessions.items():
            seconds = session.time_once()
            if turn >= warmup:
                times[name].append(seconds)
    return times
