"""A run: the stages one after the other, and its checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.formats.read.weights import load_weights
from deepmerge.graph.costs import summary
from deepmerge.graph.graph import Graph
from deepmerge.progress import Progress
from deepmerge.train.recover import lsq
from deepmerge.train.recover import report as story
from deepmerge.train.recover.agreement import Judge
from deepmerge.train.recover.budget import SOLVED, TRAINED, default_iterations
from deepmerge.train.recover.images import Sources, sample
from deepmerge.train.recover.segments import Segment
from deepmerge.train.recover.trainer import Pace
from deepmerge.train.recover.write import Weights, arrays_of, weights_in, weights_of
from deepmerge.train.shared.checkpoint import Checkpoint, Paused, Saved
from deepmerge.train.shared.device import cores

if TYPE_CHECKING:
    from deepmerge.train.recover.job import Job

LSQ_IMAGES, REFIT_IMAGES = 1000, 4000
REFIT = {
    "points": 30,
    "memory": 8 << 30,
    "strength": 1e-2,
}  # its layers are nearly right: more images, and shorter steps, than lsq
WHOLE = ("refit", "distill")  # stages that change layers of no segment, which the steps' folders do without


class Run:
    """One recovery under way. `merged` gets its weights stage by stage.

    behind: what refit solves, see refit.py. reached: the weights behind the last of the stages that go segment by segment, {}
    before the first.
    """

    def __init__(
        self, job: Job, original: Graph, merged: Graph, segments: list[Segment], behind: list[Segment], sources: Sources,
        checkpoint: Checkpoint, progress: Progress,
    ):  # fmt: skip
        self.job, self.original, self.merged, self.segments, self.behind = job, original, merged, segments, behind
        self.sources, self.checkpoint, self.progress = sources, checkpoint, progress
        self.threads = job.threads or cores()
        self.reached: Weights = {}
        self.safe, self.safe_agreement = weights_of(merged), -1.0  # to go back to
        self.entries: list[dict[str, Any]] = []
        self.iterations: dict[str, int] = {}
        self.halves = job.precision == "bf16"  # whether distill computes in bfloat16
        self.pace = Pace(time.monotonic(), None if job.stop_after is None else 60 * job.stop_after, time.monotonic())
        self._skipped: list[str] = []
        self.before = 0.0  # seconds that earlier pieces of the run took
        self.judge = Judge(original, sources.input, self._judged, self.threads, **_engine(job.device))
        self._agreement: float | None = None

    def all_stages(self) -> None:
        """Everything that the checkpoint does not say is done."""
        saved = self.checkpoint.load()
        under_way: Saved | None = None
        if saved is not None:
            under_way = self._restore(saved)
        for name in self.job.stages[len(self.entries) :]:
            if name in SOLVED:
                self._solve(name)
            else:
                self._train(name, under_way)
            under_way = None

    def recovery(self, previous: Mapping[str, Any] | None) -> dict[str, Any]:
        """What the report says. previous: what it said of an earlier recovery."""
        job = self.job
        asked = {
            "seed": job.seed,
            "images": self.sources.train.count,
            "held_out": self.sources.held_out,
            "device": job.device,
            "threads": self.threads,
        }
        skipped = list(dict.fromkeys(self._skipped + self.sources.skipped))
        warnings = list(self.sources.notes)
        if skipped:
            many = (
                "1 image could not be read and was"
                if len(skipped) == 1
                else f"{len(skipped)} images could not be read and were"
            )
            warnings.append(f"{many} left out: {skipped[0]}")
        asked["warnings"] = warnings
        return story.recovery(self.entries, asked, self.agreement()) | (
            {"previous": dict(previous)} if previous else {}
        )

    @property
    def elapsed(self) -> float:
        """Seconds since the first piece of the run began, pauses left out."""
        return self.before + time.monotonic() - self.pace.started

    # -- stages ----------------------------------------------------------------------------------

    def _solve(self, name: str) -> None:
        start = time.monotonic()
        before = self.agreement()
        segments, images, how = (self.segments, LSQ_IMAGES, {}) if name == "lsq" else (self.behind, REFIT_IMAGES, REFIT)
        loader = sample(self.sources, images)
        feeds = lambda: ({self.sources.input: batch.data} for batch in loader.once())  # noqa: E731
        options = lsq.Options(seed=self.job.seed, threads=self.threads, **how)
        found = lsq.lsq(self.original, self.merged, segments, feeds, options, self.progress)
        self._skipped += loader.skipped
        entry = story.solved_entry(name, found, time.monotonic() - start, loader.count)
        self._done(entry, before)

    def _train(self, name: str, under_way: Saved | None) -> None:
        from deepmerge.train.recover.stage import TrainedStage

        if name not in self.iterations:
            self._plan()
            self.save(f"the start of stage {name}")  # not to be measured again
        stage = TrainedStage(self, name, under_way)
        before = stage.agreement if under_way is not None else self.agreement()
        stage.agreement = before
        stage.run()
        self._done(stage.entry(), before)

    def _done(self, entry: dict[str, Any], before: float | None) -> None:
        """The end of a stage; one that has done harm is undone.

        So segments counts for little behind lsq, which has looked at the merged network's own inputs already.
        """
        if self.safe_agreement < 0 and before is not None:
            self.safe_agreement = before
        self._agreement = None
        after = self.agreement()
        if after is not None:
            entry |= {"agreement_before": before, "agreement_after": after}
            if did_harm(entry, self.safe_agreement, self.sources.judge.count):
                load_weights(self.merged, self.safe, misfits="skip")
                self._agreement, entry["undone"] = self.safe_agreement, True
            else:
                self.safe, self.safe_agreement = weights_of(self.merged), after
        self.entries.append(entry)
        if entry["name"] not in WHOLE:
            self.reached = weights_of(self.merged)
        self.save(f"the end of stage {entry['name']}")
        if self.pace.over() and len(self.entries) < len(self.job.stages):
            raise Paused

    def _plan(self) -> None:
        """Fix the iterations of all stages that train, and what distill computes in."""
        from deepmerge.train.recover.stage import bears_halves, planned

        stages = [name for name in self.job.stages if name in TRAINED]
        macs = summary(self.original)["macs"], summary(self.merged)["macs"]
        self.iterations = default_iterations(stages, self.job.batch_size, macs)
        if "distill" in stages and self.job.precision == "auto":
            self.halves = bears_halves(self)
        if self.job.minutes is not None:
            self.progress("measuring the speed", 0, 1)
            self.iterations = planned(self, stages, 60 * self.job.minutes - self.elapsed)
        self.iterations |= {name: count for name, count in self.job.counts.items() if name in stages}

    def agreement(self) -> float | None:
        """Of the merged network as it is now."""
        if self._agreement is None:
            self.progress("comparing with the original", 0, 1)
            self._agreement = self.judge.agreement(self.merged)
        return self._agreement

    def _judged(self) -> Iterator[np.ndarray]:
        return (batch.data for batch in self.sources.judge.once())

    # -- checkpoints -----------------------------------------------------------------------------

    def save(
        self, what: str, arrays: Mapping[str, np.ndarray] = {}, under_way: Mapping[str, Any] | None = None
    ) -> None:
        """arrays, under_way: of the stage that is not at its end."""
        start = time.monotonic()
        weights = {"weights": weights_of(self.merged), "reached": self.reached, "safe": self.safe}
        kept = {name: array for kind, one in weights.items() for name, array in arrays_of(one, kind).items()}
        meta = {
            "entries": self.entries,
            "iterations": self.iterations,
            "elapsed": self.elapsed,
            "safe": self.safe_agreement,
        }
        meta["halves"] = self.halves
        self.checkpoint.save(what, {**kept, **arrays}, {**meta, "under_way": under_way})
        self.pace.saved = time.monotonic()
        self.pace.took = self.pace.saved - start

    def _restore(self, saved: Saved) -> Saved | None:
        """Go on from there; what the stage under way needs, if one is."""
        arrays, meta = saved
        load_weights(self.merged, weights_in(arrays, "weights"), misfits="skip")
        self.reached = weights_in(arrays, "reached")
        self.safe, self.safe_agreement = weights_in(arrays, "safe"), meta["safe"]
        self.entries, self.iterations, self.before = meta["entries"], meta["iterations"], meta["elapsed"]
        self.halves = meta["halves"] if self.job.precision == "auto" else self.halves
        return None if meta["under_way"] is None else Saved(arrays, meta["under_way"])


def did_harm(entry: Mapping[str, Any], before: float, images: int) -> bool:
    """Whether a stage had better be undone: a smaller share of the images agrees than `before` it.

    Where the loss of distill or refit fell, a standard error is borne: the loss weighs all that the network says of an image,
    the agreement only what it says first.
    """
    if entry["name"] == "lsq":
        return False
    gained = entry["name"] in WHOLE and entry["loss_after"] < entry["loss_before"]
    borne = math.sqrt(before * (1 - before) / images) if gained else 0.0
    return entry["agreement_after"] < before - borne


def _engine(device: str) -> dict[str, str]:
    return {"engine": "ort"} if device == "cpu" else {"engine": "torch", "device": device}
