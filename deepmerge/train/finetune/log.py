"""What has happened in a stage: iterations, losses, tests, and where it is in the solver's schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmerge.formats.read.solver import Solver
from deepmerge.train.finetune.learner import Learner
from deepmerge.train.finetune.solver import learning_rate
from deepmerge.train.shared.guards import require_finite

Say = Callable[[str], None]
_SOLVER_FIELDS = ("type", "base_lr", "lr_policy", "max_iter", "iter_size", "momentum", "weight_decay")


@dataclass
class TrainingLog:
    """What has happened so far in a stage, as a checkpoint holds it.

    iteration: number of iterations done. position: where in the solver's schedule the next one is; further than
    `iteration` where --minutes leaves no time for all. precision: see Learner.settle. first: the first iteration's
    loss. recent: the losses that `smoothed` is the mean of. losses: [iteration, smoothed loss] at each display. tests:
    one entry for each test. stopped: why training ended before max_iter, "" if it did not. slowed: see Learner.
    tried: whether the first learning rate has been tried. notes: why the rate was lowered, one line each. backs: how
    often training went back to earlier weights.
    """

    iteration: int = 0
    position: float = 0.0
    precision: str = ""
    seconds: float = 0.0
    first: float | None = None
    smoothed: float = 0.0
    recent: list[float] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""
    slowed: float = 1.0
    tried: bool = False
    notes: list[str] = field(default_factory=list)
    backs: int = 0

    def scheduled(self, solver: Solver, back: int = 0) -> int:
        """Return the schedule's iteration that is next, or the one `back` before it.

        The first iteration after a pause is not timed, so `position` may be past the schedule's end.
        """
        return max(min(int(self.position) - back, solver.max_iter - 1), 0)

    def rate(self, solver: Solver, back: int = 0) -> float:
        """Return the next iteration's learning rate, or that of the one `back` before it."""
        return self.slowed * learning_rate(solver, self.scheduled(solver, back))

    def add_iteration(self, solver: Solver, loss: float, place: str, say: Say) -> None:
        """Record an iteration's loss, and display it if that is due.

        place: where the run is, for the TrainingError that is raised if the loss is not finite.
        The smoothed loss is the mean of the last average_loss losses, as in Caffe's Solver::UpdateSmoothedLoss.
        """
        rate = self.rate(solver)
        require_finite(loss, place, way_out(rate))
        self.first = loss if self.first is None else self.first
        self.recent = [*self.recent, loss][-solver.average_loss :]
        self.smoothed = math.fsum(self.recent) / len(self.recent)
        if solver.display and self.iteration % solver.display == 0:
            where = f"iteration {self.iteration} of {solver.max_iter}"
            say(f"{where}: loss {self.smoothed:.5g}, learning rate {rate:.3g}")
            self.losses.append([self.iteration, self.smoothed])
        self.iteration += 1
        self.position += 1

    def add_test(self, number: int, last: bool, values: dict[str, float]) -> None:
        """Record the results of test network `number`. last: whether it is one on all images."""
        self.tests.append({"iteration": self.iteration, "test": number, "all": last, **values})

    def test_is_due(self, solver: Solver, last: bool) -> bool:
        """Return whether to test now, and this test has not been done yet."""
        if any(test["iteration"] == self.iteration and test["all"] >= last for test in self.tests):
            return False
        if last:
            return True
        started = self.iteration or solver.test_initialization
        return bool(solver.test_interval and self.iteration % solver.test_interval == 0 and started)

    def snapshot_is_due(self, solver: Solver) -> bool:
        """Return whether the solver writes a snapshot after this iteration."""
        return bool(solver.snapshot) and self.iteration % solver.snapshot == 0

    def snapshot_name(self, solver: Solver) -> str:
        """Return the snapshot's file name. The folders of snapshot_prefix belong to the solver's author: left out."""
        prefix = Path(solver.snapshot_prefix).name or "snapshot"
        return f"{prefix}_iter_{self.iteration}.caffemodel"

    def stop(self, solver: Solver) -> None:
        """Record that the time limit ended the stage."""
        self.stopped = f"the time was up at iteration {self.iteration} of {solver.max_iter}"
        if self.position > self.iteration:
            self.stopped += f"; its learning rate had come to {self.rate(solver):.3g}"

    def entry(self, step: str, solver: Solver, learner: Learner) -> dict[str, Any]:
        """Return the report's entry for the stage. step: its name, "" for the final network."""
        return {
            "step": step or None,
            "solver": {name: getattr(solver, name) for name in _SOLVER_FIELDS} | {"batch_size": learner.batch_size},
            "iterations": self.iteration,
            "loss_before": self.first,
            "loss_after": None if self.first is None else self.smoothed,
            "losses": self.losses,
            "tests": self.tests,
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped or None,
            "precision": self.precision,
            "slowed": self.slowed,
            "images": {"count": learner.count, "skipped": learner.skipped},
        }


def way_out(rate: float) -> str:
    """Return what to do when training has diverged."""
    return (
        f"the learning rate is {rate:.3g}: lower it (--solver base_lr=…), "
        "or bound the gradients (--solver clip_gradients=…), and delete the checkpoint if there is one"
    )


def place_of(step: str, iteration: int) -> str:
    """Return where a run is, for errors. step: its name, "" for the final network."""
    return f"step {step!r}, iteration {iteration}" if step else f"iteration {iteration}"
