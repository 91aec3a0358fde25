"""The log of a stage while it runs, and the "finetuning" entry of report.json."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepmerge.formats.read.solver import Solver
from deepmerge.train.finetune.solver import learning_rate
from deepmerge.train.finetune.spec import Job, Stage
from deepmerge.train.shared.guards import require_finite

Arrays = dict[str, np.ndarray]
Say = Callable[[str], None]
_SOLVER_FIELDS = ("type", "base_lr", "lr_policy", "max_iter", "iter_size", "momentum", "weight_decay")


@dataclass
class TrainingLog:
    """What has happened so far in a stage, as a checkpoint holds it.

    iteration: number of iterations done. first: the first iteration's loss. recent: the losses that `smoothed` is the
    mean of. losses: [iteration, smoothed loss] at each display. tests: one entry for each test. stopped: why training
    ended before max_iter, "" if it did not.
    """

    iteration: int = 0
    seconds: float = 0.0
    first: float | None = None
    smoothed: float = 0.0
    recent: list[float] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""

    def add_iteration(self, solver: Solver, loss: float, place: str, say: Say) -> float:
        """Record an iteration's loss, display it if that is due, and return the iteration's learning rate.

        place: where the run is, for the TrainingError that is raised if the loss is not finite.
        The smoothed loss is the mean of the last average_loss losses, as in Caffe's Solver::UpdateSmoothedLoss.
        """
        rate = learning_rate(solver, self.iteration)
        require_finite(loss, place, way_out(rate))
        self.first = loss if self.first is None else self.first
        self.recent = [*self.recent, loss][-solver.average_loss :]
        self.smoothed = math.fsum(self.recent) / len(self.recent)
        if solver.display and self.iteration % solver.display == 0:
            where = f"iteration {self.iteration} of {solver.max_iter}"
            say(f"{where}: loss {self.smoothed:.5g}, learning rate {rate:.3g}")
            self.losses.append([self.iteration, self.smoothed])
        self.iteration += 1
        return rate

    def add_test(self, number: int, last: bool, values: dict[str, float]) -> None:
        """Record the results of test network `number`. last: whether it is the test at the end, on all images."""
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


def way_out(rate: float) -> str:
    """Return what to do when training has diverged."""
    return (
        f"the learning rate is {rate:.3g}: lower it (--solver base_lr=…), "
        "or bound the gradients (--solver clip_gradients=…)"
    )


def stage_entry(stage: Stage, log: TrainingLog, batch_size: int) -> dict[str, Any]:
    """Return the report's entry for one stage."""
    solver = {name: getattr(stage.solver, name) for name in _SOLVER_FIELDS}
    return {
        "step": stage.name or None,
        "solver": solver | {"batch_size": batch_size},
        "iterations": log.iteration,
        "loss_before": log.first,
        "loss_after": log.smoothed,
        "losses": log.losses,
        "tests": log.tests,
        "seconds": round(log.seconds, 3),
        "stopped": log.stopped or None,
    }


def finetuning_entry(job: Job, runs: list[dict[str, Any]], warnings: list[str], seed: int) -> dict[str, Any]:
    """Return the report's "finetuning". Its accuracy is that of the last test, on all test images; None without any."""
    tests = [test for run in runs for test in run["tests"] if test["all"]]
    return {
        "engine": job.engine,
        "seed": seed,
        "data": job.data,
        "vary": job.vary,
        "test_data": job.test_data,
        "distill": _distilling(job),
        "iterations": sum(run["iterations"] for run in runs),
        "seconds": round(sum(run["seconds"] for run in runs), 3),
        "loss_before": runs[0]["loss_before"],
        "loss_after": runs[-1]["loss_after"],
        "accuracy": _accuracy(tests[-1]) if tests else None,
        "runs": runs,
        "warnings": warnings,
    }


def _distilling(job: Job) -> dict[str, Any] | None:
    if job.distill is None:
        return None
    return {"kind": job.distill, "weight": job.distill_weight, "temperature": job.temperature}


def _accuracy(test: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in test.items() if key not in ("iteration", "test", "all")}
