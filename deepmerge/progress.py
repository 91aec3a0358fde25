"""How long tasks report progress: a function that is called as the work goes on."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the name of the current stage, the number of parts done and the number of parts in all."""

_PERCENT = 100


def within(name: str, progress: Progress) -> Progress:
    """Return a Progress for the stages of a part of the work, each of which is shown as `name, stage`."""
    return lambda stage, done, total: progress(f"{name}, {stage}", done, total)


def of_budget(progress: Progress, stage: str) -> Callable[[float], None]:
    """Return what reports a share of a budget, from 0 to 1, in percent of it."""
    return lambda share: progress(stage, round(_PERCENT * share), _PERCENT)


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
