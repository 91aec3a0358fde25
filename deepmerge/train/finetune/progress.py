"""What has happened so far in a stage, whatever trains it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepmerge.formats.read.solver import Solver

Arrays = dict[str, np.ndarray]
Tell = Callable[[str], None]


class Paused(Exception):
    """The time that --stop-after gives is over; all is in the checkpoint."""


@dataclass
class Story:
    """What has happened so far. losses: [iteration, smoothed loss] at each display. tests: one entry for each test.

    first: the first iteration's loss. recent: the losses that the smoothed one is the mean of.
    """

    iteration: int = 0
    seconds: float = 0.0
    first: float | None = None
    smoothed: float = 0.0
    recent: list[float] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""


def snapshot_prefix(solver: Solver) -> str:
    """What snapshots' names begin with: the solver's prefix without folders, which are those of whoever wrote it."""
    return Path(solver.snapshot_prefix).name or "snapshot"


def smooth(story: Story, loss: float, most: int) -> None:
    """The mean of the last `most` losses. Caffe: Solver::UpdateSmoothedLoss."""
    story.first = loss if story.first is None else story.first
    story.recent = [*story.recent, loss][-most:]
    story.smoothed = math.fsum(story.recent) / len(story.recent)


def way_out(rate: float) -> str:
    """What to do where training has diverged."""
    return f"the learning rate is {rate:.3g}: lower it (--solver base_lr=…), or bound the gradients (--solver clip_gradients=…)"
