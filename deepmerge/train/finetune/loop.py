"""The iterations of Caffe's solver: test, gradients, update, display, snapshot.

Caffe: solver.cpp, Solver::Step and Solver::Solve.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from deepmerge.data import Batch, Loader
from deepmerge.data.prefetch import prefetched
from deepmerge.errors import TrainingError
from deepmerge.formats.read.solver import Solver
from deepmerge.train.finetune.report import Arrays, Say, TrainingLog, way_out
from deepmerge.train.finetune.solver import Updates, learning_rate
from deepmerge.train.finetune.student import Student, Tester
from deepmerge.train.shared.checkpoint import Paused
from deepmerge.train.shared.guards import replacing


@dataclass(frozen=True)
class Control:
    """How a loop is saved, stopped and displayed.

    save: writes a checkpoint of arrays and JSON values. snapshots: the folder of PREFIX_iter_N.caffemodel; it may not
    exist before the first `save`. checkpoint_seconds: time between two checkpoints. say: called with a line for each
    display and test. seconds: limit for the stage, earlier runs included; None for none. pause_at: time by `clock` at
    which to pause with a checkpoint; None for never.
    """

    save: Callable[[Arrays, dict[str, Any]], None]
    snapshots: Path
    checkpoint_seconds: float = 60.0
    say: Say = lambda line: None
    seconds: float | None = None
    pause_at: float | None = None
    clock: Callable[[], float] = time.monotonic


class Loop:
    """One solver on one network."""

    def __init__(self, solver: Solver, student: Student, loader: Loader, testers: Sequence[Tester], control: Control):
        self.solver, self.student, self.loader, self.testers = solver, student, loader, list(testers)
        self.control = control
        self.updates = Updates(solver, student.blobs)
        self.log = TrainingLog()

    # -- checkpoints ---------------------------------------------------------------------------------

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Return everything that `load` needs to continue with the same result."""
        arrays = {f"weights/{blob.name}": blob.values.detach().cpu().numpy() for blob in self.student.blobs}
        for name, histories in self.updates.state().items():
            arrays |= {f"history/{number}/{name}": values.cpu().numpy() for number, values in enumerate(histories)}
        return arrays, asdict(self.log)

    def load(self, arrays: Arrays, log: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.log = TrainingLog(**log)
        with torch.no_grad():
            for blob in self.student.blobs:
                blob.values.copy_(torch.from_numpy(arrays[f"weights/{blob.name}"]))
                for number, values in enumerate(blob.history):
                    values.copy_(torch.from_numpy(arrays[f"history/{number}/{blob.name}"]))

    # -- running -------------------------------------------------------------------------------------

    def run(self) -> TrainingLog:
        """Train until max_iter or the time limit. TrainingError where the loss is not finite, Paused at `pause_at`."""
        solver, log, clock = self.solver, self.log, self.control.clock
        start = saved = clock()
        before, first = log.seconds, self.student.processes.first
        if first and log.iteration and log.snapshot_is_due(solver) and not self._snapshot_path().exists():
            self._write_snapshot()  # killed between the checkpoint and its snapshot
        with contextlib.closing(prefetched(self._batches(log.iteration * solver.iter_size))) as batches:
            while log.iteration < solver.max_iter and not self._time_is_up():
                self._test()
                self._step(batches)
                log.seconds = before + clock() - start
                if log.snapshot_is_due(solver):
                    self._snapshot()
                    saved = clock()
                if first and clock() - saved >= self.control.checkpoint_seconds:
                    self._save()
                    saved = clock()
        if solver.snapshot_after_train and not log.snapshot_is_due(solver):
            self._snapshot()
        self._test(last=True)
        log.seconds = before + clock() - start
        if first:
            self._save()
        return log

    def _step(self, batches: Iterator[Batch]) -> None:
        iteration, size = self.log.iteration, self.solver.iter_size
        loss, gradients = self.student.gradients(itertools.islice(batches, size), iteration * size)
        rate = self.log.add_iteration(self.solver, loss, f"iteration {iteration}", self.control.say)
        with torch.no_grad():
            self.updates.apply(gradients, rate, iteration)

    def _batches(self, start: int) -> Iterator[Batch]:
        for index in itertools.count(start):
            yield self.loader.batch(self.student.processes.own_batch(index))

    def _time_is_up(self) -> bool:
        """Return whether the stage's time is over; raise Paused if only this run's time is."""
        control, processes = self.control, self.student.processes
        if control.pause_at is not None and processes.from_first(control.clock() >= control.pause_at):
            if processes.first:
                self._save()
            raise Paused
        if control.seconds is None:
            return False
        over = processes.from_first(self.log.seconds >= control.seconds)
        if over:
            self.log.stop(self.solver)
        return over

    def _test(self, last: bool = False) -> None:
        """Run the tests that are due. The last ones take all images."""
        if not self.student.processes.first or not self.log.test_is_due(self.solver, last):
            return
        for number, tester in enumerate(self.testers):
            values = tester.run(self.student, whole=last)
            self.log.add_test(number, last, values)
            name = f" {number}" if len(self.testers) > 1 else ""
            results = ", ".join(f"{key} {value:.4g}" for key, value in values.items() if key != "images")
            self.control.say(f"iteration {self.log.iteration}, test{name} on {values['images']} images: {results}")

    def _snapshot_path(self) -> Path:
        return self.control.snapshots / self.log.snapshot_name(self.solver)

    def _snapshot(self) -> None:
        """Write a checkpoint, then the snapshot: its folder is in the checkpoint's."""
        if self.student.processes.first:
            self._save()
            self._write_snapshot()

    def _write_snapshot(self) -> None:
        """Write a snapshot whole or not at all: a partial one would never be replaced."""
        with replacing(self._snapshot_path()) as aside:
            self.student.save(aside)

    def _save(self) -> None:
        """Write a checkpoint; TrainingError where the weights are not finite."""
        for blob in self.student.blobs:
            if not torch.isfinite(blob.values).all():
                rate = learning_rate(self.solver, max(self.log.iteration - 1, 0))
                text = f"iteration {self.log.iteration}: the weights {blob.name} are not finite numbers any more"
                raise TrainingError(text, remedy=way_out(rate))
        self.control.save(*self.state())
