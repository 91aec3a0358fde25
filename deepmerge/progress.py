"""How long tasks report progress: a function that is called as the work goes on."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the name of the current stage, the number of parts done and the number of parts in all."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
