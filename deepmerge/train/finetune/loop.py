"""The iterations of Caffe's solver: test, update, display, snapshot.

An engine does the computing: its Learner. Caffe: solver.cpp, Solver::Step and Solver::Solve.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepmerge.errors import EngineError, TrainingError
from deepmerge.formats.read.solver import Solver
from deepmerge.train.finetune.learner import Arrays, Learner
from deepmerge.train.finetune.log import Say, TrainingLog, place_of, way_out
from deepmerge.train.shared.checkpoint import Paused
from deepmerge.train.shared.guards import DivergedError, replacing, writing
from deepmerge.train.shared.processes import Processes

RETRIES, SLOWER = 3, 0.25  # how often the rate is lowered, and by what it is multiplied
HARM, LEAST = 2.0, 0.1  # the loss may be this many times the first one, which counts as at least LEAST
KEPT = 200  # iterations between two states to go back to
TRIAL, TRIAL_SHARE, LEAST_TRIAL = 30, 50, 5  # most iterations of a trial, as a share of all, and the fewest
TRIAL_TIME = 0.03  # most of the time limit for each trial
TEST_SHARE = 0.2  # most of the time limit for the last test


@dataclass(frozen=True)
class Control:
    """How a loop is saved, stopped and displayed.

    save: writes a checkpoint of arrays and JSON values. snapshots: the folder of PREFIX_iter_N.caffemodel; it may not
    exist before the first `save`. checkpoint_seconds: time between two checkpoints. say: called with a line for each
    display and test. end: time by `clock` at which the stage is to be over, with its last test; None for no limit.
    pause_at: time by `clock` at which to pause with a checkpoint; None for never. step: its name, for errors.
    processes: only the first one tests and writes. trial: whether the first learning rate is tried before it is used.
    """

    save: Callable[[Arrays, dict[str, Any]], None]
    snapshots: Path
    checkpoint_seconds: float = 60.0
    say: Say = lambda line: None
    end: float | None = None
    pause_at: float | None = None
    clock: Callable[[], float] = time.monotonic
    step: str = ""
    processes: Processes = Processes()
    trial: bool = False


class Loop:
    """One solver on one network. log, arrays: the last arguments of `control.save`; {} and None at the beginning."""

    def __init__(
        self,
        solver: Solver,
        learner: Learner,
        control: Control,
        arrays: Arrays | None = None,
        log: dict[str, Any] | None = None,
    ):
        self.solver, self.learner, self.control, self.processes = solver, learner, control, control.processes
        self.log = TrainingLog(**(log or {}))
        self._saved = log is not None  # whether there is a checkpoint
        learner.slowed = self.log.slowed
        self.log.precision = learner.settle(self.log.precision)
        learner.load(arrays or {}, self.log.iteration)
        self._keep()

    def run(self) -> TrainingLog:
        """Train until max_iter or the time limit.

        Where the loss or the weights are not finite, training goes back and on with a smaller rate, RETRIES times.
        TrainingError where that does not help, or the engine fails; Paused at `pause_at`.
        """
        try:
            if self.control.trial and not self.log.iteration and not self.log.tried:
                self._try_rate()
            while True:
                try:
                    return self._run()
                except DivergedError as error:
                    self._go_back(error)
        except EngineError as error:  # images may be gone, for example
            raise TrainingError(f"{self._place()}: {error}") from None

    def _run(self) -> TrainingLog:
        solver, log, clock = self.solver, self.log, self.control.clock
        start = saved = clock()
        before = log.seconds
        self._last_test = self._seconds_of_last_test()
        self._cost = 0.0  # seconds of the last iteration
        self._timed_from: tuple[float, int] | None = None  # the end of the first iteration, which is slower
        if self.processes.first:
            self._match_snapshots()
        while log.iteration < solver.max_iter and not self._time_is_up():
            if self._has_time_to_test():
                self._test()
            begun, done = clock(), log.iteration
            for loss in self.learner.step(self._until_due(), log.scheduled(solver)):
                log.add_iteration(solver, loss, self._place(), self.control.say)
            if log.iteration // KEPT > done // KEPT and not self._has_risen():
                self._check_weights()
                self._keep()
            self._cost = (clock() - begun) / (log.iteration - done)
            log.position += self._skipped()
            log.seconds = before + clock() - start
            if log.snapshot_is_due(solver):
                self._snapshot()
                saved = clock()
            if self.processes.from_first(clock() - saved >= self.control.checkpoint_seconds):
                self._save()
                saved = clock()
        if solver.snapshot_after_train and not log.snapshot_is_due(solver):
            self._snapshot()
        self._test(last=True)
        log.seconds = before + clock() - start
        self._save()
        return log

    # -- learning rates that are too large -----------------------------------------------------------

    def _keep(self) -> None:
        """Keep the weights and the log, to go back to."""
        arrays = {name: array.copy() for name, array in self.learner.state().items()}
        self._kept = arrays, copy.deepcopy(asdict(self.log))

    def _has_risen(self) -> bool:
        """Return whether the loss is far above the first one."""
        return self.log.smoothed > HARM * max(self.log.first, LEAST)

    def _check_weights(self) -> None:
        """Raise DivergedError, in all processes alike, where the weights are not finite."""
        if blob := self.processes.from_first(self.learner.spoilt() if self.processes.first else ""):
            text = f"{self._place()}: the weights {blob} are not finite numbers any more"
            raise DivergedError(text, remedy=way_out(self.log.rate(self.solver, back=1)))

    def _go_back(self, error: DivergedError) -> None:
        """Go back to the kept weights with a smaller learning rate; raise the error if that has been done often."""
        if self.log.backs >= RETRIES:
            raise error
        arrays, log = self._kept
        notes, slowed = self.log.notes, self.log.slowed * SLOWER
        place = place_of(self.control.step, log["iteration"])
        line = f"{self._place()}: the loss or the weights are not finite; back to {place} at {slowed:g} times the rate"
        more = {"slowed": slowed, "notes": [*notes, line], "backs": self.log.backs + 1}
        more |= {"seconds": self.log.seconds, "tried": self.log.tried}
        self.log = TrainingLog(**copy.deepcopy(log) | more)
        self.control.say(line)
        self._load(arrays)
        if self._saved:  # no run may continue from further on, as the snapshots from there are deleted
            self._save()

    def _try_rate(self) -> None:
        """Lower the learning rate until a few iterations do not raise the loss much. No weights change."""
        length = min(TRIAL, self.solver.max_iter // TRIAL_SHARE)
        if length < LEAST_TRIAL:
            return
        self.log.tried = True
        arrays, clock, end = self._kept[0], self.control.clock, self.control.end
        stop = math.inf if end is None else clock() + TRIAL_TIME * (end - clock())
        for _ in range(RETRIES):
            losses: list[float] = []
            while len(losses) < length and all(map(math.isfinite, losses)):
                losses += self.learner.step(length - len(losses), len(losses))
                if self.processes.from_first(clock() >= stop):
                    break
            good = all(map(math.isfinite, losses)) and losses[-1] <= HARM * max(losses[0], LEAST)
            if not good:
                self.log.slowed *= SLOWER
            self._load(arrays)
            if good:
                break
        if self.log.slowed < 1:
            line = f"the learning rate is {self.log.rate(self.solver):.3g}: a larger one raised the loss in a trial"
            self.log.notes.append(f"step {self.control.step!r}: {line}" if self.control.step else line)
            self.control.say(self.log.notes[-1])

    def _load(self, arrays: Arrays) -> None:
        self.learner.slowed = self.log.slowed
        self.learner.load(arrays, self.log.iteration)

    # -- time ----------------------------------------------------------------------------------------

    def _skipped(self) -> float:
        """Return how many iterations of the schedule to skip, so that the rest fits into the time; 0 if it does.

        A stage that is cut off at a high learning rate is worse than one whose rate has fallen to its end.
        """
        control, log = self.control, self.log
        if control.end is None or not self.learner.timed:
            return 0.0
        now = control.clock()
        if self._timed_from is None:
            self._timed_from = now, log.iteration
            return 0.0
        start, first = self._timed_from
        each = max((now - start) / (log.iteration - first), 1e-9)  # with the tests between them
        rest = max(self.solver.max_iter - log.position, 0.0)
        fits = max(1, int((control.end - self._last_test - now) / each + 1e-6))
        skipped = max(rest / fits - 1, min(rest - 1, 0.0))  # it ends at the schedule's last iteration, not after it
        return self.processes.from_first(skipped)

    def _has_time_to_test(self) -> bool:
        """Return whether a test now leaves time for an iteration and the last test."""
        end = self.control.end
        return end is None or end - self.control.clock() >= 2 * self._last_test + self._cost

    def _until_due(self) -> int:
        """Return the number of iterations until something is due, or the end; 1 before any was timed."""
        solver, done, control = self.solver, self.log.iteration, self.control
        intervals = [solver.test_interval if self.learner.tests else 0, solver.snapshot, KEPT]
        due = [solver.max_iter - done, *(interval - done % interval for interval in intervals if interval)]
        ends = [end for end in (control.end, control.pause_at) if end is not None]
        if ends:
            left = min(ends) - self._last_test - control.clock()
            due.append(max(1, int(left / self._cost)) if self._cost else 1)
        return min(due)

    def _seconds_of_last_test(self) -> float:
        """Return about how long the last test will take; 0 if there is no time limit.

        If all images take more than TEST_SHARE of the time that is left, the test gets as many as fit into that.
        """
        self._most: int | None = None  # batches of the last test
        control, learner = self.control, self.learner
        if control.end is None or not learner.tests:
            return 0.0
        learner.test(whole=False, most=1)  # warm up
        start = control.clock()
        images = sum(values["images"] for values in learner.test(whole=False, most=1))
        seconds = control.clock() - start
        batches = learner.test_count * learner.tests / images
        room = TEST_SHARE * (control.end - control.clock())
        if seconds * batches <= room:
            return seconds * batches
        self._most = max(1, int(room / seconds))
        return seconds * self._most

    def _time_is_up(self) -> bool:
        """Return whether the stage's time is over; raise Paused if only this run's time is."""
        control, processes = self.control, self.processes
        if control.pause_at is not None and processes.from_first(control.clock() >= control.pause_at):
            self._save()
            raise Paused
        if control.end is None:
            return False
        left = control.end - control.clock() - self._last_test
        over = processes.from_first(self._cost > 0 and left < self._cost)  # one iteration is always run
        if over:
            self.log.stop(self.solver)
        return over

    def _test(self, last: bool = False) -> None:
        """Run the tests that are due. The last ones take all images."""
        if not self.learner.tests or not self.log.test_is_due(self.solver, last):
            return
        for number, values in enumerate(self.learner.test(whole=last, most=self._most if last else None)):
            self.log.add_test(number, last and values["images"] >= self.learner.test_count, values)
            name = f" {number}" if self.learner.tests > 1 else ""
            results = ", ".join(f"{key} {value:.4g}" for key, value in values.items() if key != "images")
            self.control.say(f"iteration {self.log.iteration}, test{name} on {values['images']} images: {results}")

    def _snapshot_path(self) -> Path:
        return self.control.snapshots / self.log.snapshot_name(self.solver)

    def _snapshot(self) -> None:
        """Write a checkpoint, then the snapshot: its folder is in the checkpoint's."""
        self._save()
        if self.processes.first:
            self._write_snapshot()

    def _match_snapshots(self) -> None:
        """Leave the snapshots of the run up to here: it may have gone back, or was killed before it wrote the last."""
        folder, log = self.control.snapshots, self.log
        with writing(folder):
            for file in folder.glob("*_iter_*.caffemodel"):
                if int(file.stem.rpartition("_")[2]) > log.iteration:
                    file.unlink()
        if log.iteration and log.snapshot_is_due(self.solver) and not self._snapshot_path().exists():
            self._write_snapshot()

    def _write_snapshot(self) -> None:
        """Write a snapshot whole or not at all: a partial one would never be replaced."""
        with replacing(self._snapshot_path()) as aside:
            self.learner.save(aside)

    def _place(self) -> str:
        return place_of(self.control.step, self.log.iteration)

    def _save(self) -> None:
        """Write a checkpoint; DivergedError where the weights are not finite."""
        self._check_weights()
        if self.processes.first:
            self.control.save(self.learner.state(), asdict(self.log))
        self._saved = True
