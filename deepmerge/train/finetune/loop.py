"""Iterating as Caffe's solver does: test, gradients, update, display, snapshot. Caffe: solver.cpp, Solver::Step and Solve."""

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
from deepmerge.train.finetune.policies import learning_rate
from deepmerge.train.finetune.progress import Arrays, Paused, Story, Tell, smooth, snapshot_prefix, way_out
from deepmerge.train.finetune.student import Student, Tester
from deepmerge.train.finetune.updates import Updates
from deepmerge.train.shared.guards import replacing, require_finite

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Keeping:
    """Where what is worth keeping goes while training runs.

    save: writes a checkpoint of arrays and of what JSON can hold, whole or not at all. snapshots: the folder of
    PREFIX_iter_N.caffemodel, which need not be there before the first `save`. every: seconds between two checkpoints.
    """

    save: Callable[[Arrays, dict[str, Any]], None]
    snapshots: Path
    every: float = CHECKPOINT_SECONDS


class Loop:
    """One solver on one network.

    limit: seconds that the whole may take, those before a resume included; None for no limit. pause: when to stop with a
    checkpoint, by time.monotonic(); None for never.
    """

    def __init__(
        self, solver: Solver, student: Student, loader: Loader, testers: Sequence[Tester], keeping: Keeping,
        tell: Tell = lambda line: None, limit: float | None = None, pause: float | None = None,
    ):  # fmt: skip
        self.solver, self.student, self.loader, self.testers = solver, student, loader, list(testers)
        self.keeping, self.tell, self.limit, self.pause = keeping, tell, limit, pause
        self.updates = Updates(solver, student.blobs)
        self.story = Story()

    # -- checkpoints ---------------------------------------------------------------------------------

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that a later `load` needs to go on as if nothing had happened."""
        arrays = {f"weights/{blob.name}": blob.values.detach().cpu().numpy() for blob in self.student.blobs}
        for name, histories in self.updates.state().items():
            arrays |= {f"history/{number}/{name}": values.cpu().numpy() for number, values in enumerate(histories)}
        return arrays, asdict(self.story)

    def load(self, arrays: Arrays, story: dict[str, Any]) -> None:
        """What `state` gave."""
        self.story = Story(**story)
        with torch.no_grad():
            for blob in self.student.blobs:
                blob.values.copy_(torch.from_numpy(arrays[f"weights/{blob.name}"]))
                for number, values in enumerate(blob.history):
                    values.copy_(torch.from_numpy(arrays[f"history/{number}/{blob.name}"]))

    # -- running -------------------------------------------------------------------------------------

    def run(self) -> Story:
        """Train until max_iter or the time limit. TrainingError, one line, where the loss is no number any more."""
        solver, story = self.solver, self.story
        start = saved = time.monotonic()
        before, first = story.seconds, self.student.processes.first
        if first and story.iteration and self._is_due() and not self._path().exists():
            self._write()  # killed between the checkpoint and its snapshot
        with contextlib.closing(prefetched(self._batches(story.iteration * solver.iter_size))) as batches:
            while story.iteration < solver.max_iter and not self._over(story):
                self._test(story)
                self._step(batches)
                story.seconds = before + time.monotonic() - start
                if self._is_due():
                    self._snapshot()
                    saved = time.monotonic()
                if first and time.monotonic() - saved >= self.keeping.every:
                    self._keep()
                    saved = time.monotonic()
        if solver.snapshot_after_train and not self._is_due():
            self._snapshot()
        self._test(story, last=True)
        story.seconds = before + time.monotonic() - start
        if first:
            self._keep()
        return story

    def _step(self, batches: Iterator[Batch]) -> None:
        solver, story = self.solver, self.story
        taken = itertools.islice(batches, solver.iter_size)
        loss, gradients = self.student.gradients(taken, story.iteration * solver.iter_size)
        rate = learning_rate(solver, story.iteration)
        require_finite(loss, f"iteration {story.iteration}", way_out(rate))
        smooth(story, loss, solver.average_loss)
        if solver.display and story.iteration % solver.display == 0:
            self.tell(
                f"iteration {story.iteration} of {solver.max_iter}: loss {story.smoothed:.5g}, learning rate {rate:.3g}"
            )
            story.losses.append([story.iteration, story.smoothed])
        with torch.no_grad():
            self.updates.apply(gradients, rate, story.iteration)
        story.iteration += 1

    def _batches(self, start: int) -> Iterator[Batch]:
        for index in itertools.count(start):
            yield self.loader.batch(self.student.processes.place(index))

    def _over(self, story: Story) -> bool:
        """Whether the time is up; raises Paused where it is that of this piece alone."""
        told = self.student.processes.told
        if self.pause is not None and told(time.monotonic() >= self.pause):
            if self.student.processes.first:
                self._keep()
            raise Paused
        if self.limit is None:
            return False
        over = told(story.seconds >= self.limit)
        if over:
            story.stopped = f"the time was up at iteration {story.iteration} of {self.solver.max_iter}"
        return over

    def _test(self, story: Story, last: bool = False) -> None:
        """The tests that are due. The last one takes all images there are."""
        interval = self.solver.test_interval
        due = last or (
            interval and story.iteration % interval == 0 and (story.iteration or self.solver.test_initialization)
        )
        if (
            not due
            or not self.student.processes.first
            or any(t["iteration"] == story.iteration and t["all"] >= last for t in story.tests)
        ):
            return
        for number, tester in enumerate(self.testers):
            values = tester.run(self.student, whole=last)
            name = f" {number}" if len(self.testers) > 1 else ""
            story.tests.append({"iteration": story.iteration, "test": number, "all": last, **values})
            told = ", ".join(f"{key} {value:.4g}" for key, value in values.items() if key != "images")
            self.tell(f"iteration {story.iteration}, test{name} on {values['images']} images: {told}")

    def _is_due(self) -> bool:
        return bool(self.solver.snapshot) and self.story.iteration % self.solver.snapshot == 0

    def _path(self) -> Path:
        return self.keeping.snapshots / f"{snapshot_prefix(self.solver)}_iter_{self.story.iteration}.caffemodel"

    def _snapshot(self) -> None:
        """A checkpoint goes first: the snapshots' folder is the checkpoint's."""
        if self.student.processes.first:
            self._keep()
            self._write()

    def _write(self) -> None:
        """A snapshot, whole or not at all: one that was cut off would never be written again."""
        with replacing(self._path()) as aside:
            self.student.save(aside)

    def _keep(self) -> None:
        """A checkpoint of a state that is worth going on from."""
        rate = learning_rate(self.solver, max(self.story.iteration - 1, 0))
        for blob in self.student.blobs:
            if not torch.isfinite(blob.values).all():
                text = f"iteration {self.story.iteration}: the weights {blob.name} are not finite numbers any more"
                raise TrainingError(f"{text}; {way_out(rate)}")
        self.keeping.save(*self.state())
